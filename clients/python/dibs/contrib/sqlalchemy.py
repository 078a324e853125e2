"""An outbox in a database that SQLAlchemy knows. Needs ``pip install 'dibs[sqlalchemy]'``.

Example::

    outbox_calls = outbox_table(Base.metadata)  # made by your migrations like any other table

    with Session(engine) as session, session.begin():
        session.add(Order(...))
        send_receipt.on(Outbox(session, outbox_calls)).execute(order_id)

    Relay(engine, outbox_calls).run()  # in any process, or several
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ..client.dibs import Dibs
from ..client.instance import default
from ..contract.pauses import Pauses
from ..contract.standing import Standing
from ..errors import DibsError
from .outbox import Kept, StandIn, send

_log = logging.getLogger("dibs")

#: Calls that are taken out of the table at a time, and kept from other relays meanwhile.
MOST_AT_A_TIME = 1_000
#: Seconds after which an empty table is looked at again.
LOOK_EVERY_SECONDS = 1.0


def outbox_table(metadata: MetaData, name: str = "dibs_outbox") -> Table:
    """The table that calls are kept in, as your migrations are to make it.

    Args:
        metadata: of your tables.
        name: of the table.
    """
    return Table(
        name,
        metadata,
        # SQLite counts up only what it takes for an integer of its own.
        Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("id", String(128), nullable=False),
        Column("queue", String(128), nullable=False),
        Column("item", LargeBinary, nullable=False),
        Column("kept_at", DateTime(timezone=True), nullable=False),
        Column("refused", Text, nullable=True, index=True),
    )


class Outbox(StandIn):
    """What tasks are `on` whose calls belong to a transaction; see the module.

    Args:
        session: whose transaction keeps them.
        table: where.
        dibs: where they go in the end. Default: `dibs.default()`.
    """

    def __init__(self, session: Session, table: Table, dibs: Dibs | None = None) -> None:
        super().__init__(dibs or default())
        self._session = session
        self._table = table

    def keep(self, call: Kept, queue: str) -> None:
        """Write a row; it is there when the transaction is committed."""
        row = {"id": call.id, "queue": queue, "item": call.item, "kept_at": datetime.now(UTC)}
        self._session.execute(insert(self._table), row)


class Relay:
    """Sends what the table has, oldest first, and removes it. Any number of them may run, in any process.

    A call that no broker will ever take (it is too large, or its queue cannot be) stays, with the reason in the column
    `refused`, and holds up nothing. Whatever else goes wrong is tried again.

    Args:
        engine: of the database.
        table: the table.
        dibs: where calls go. Default: `dibs.default()`.
    """

    def __init__(self, engine: Engine, table: Table, dibs: Dibs | None = None) -> None:
        self._engine = engine
        self._table = table
        self._dibs = dibs or default()

    def run_once(self) -> int:
        """Send what there is, up to `MOST_AT_A_TIME`, and answer how many rows are dealt with.

        Raises:
            BrokerError: no broker took them; they stay.
        """
        table = self._table
        with self._engine.begin() as connection:
            waiting = (
                select(table.c.number, table.c.id, table.c.item)
                .where(table.c.refused.is_(None))
                .order_by(table.c.number)
                .limit(MOST_AT_A_TIME)
                # Another relay takes the next ones; where a database cannot do that it sends the same: harmless.
                .with_for_update(skip_locked=True)
            )
            rows = connection.execute(waiting).all()
            refused = send(self._dibs, [Kept(row.id, bytes(row.item)) for row in rows])
            for id, reason in refused.items():
                _log.error("call %s in the outbox is refused for good: %s", id, reason)
            numbers = [row.number for row in rows if row.id not in refused]
            connection.execute(delete(table).where(table.c.number.in_(numbers)))
            for row in rows:
                if row.id in refused:
                    this = update(table).where(table.c.number == row.number)
                    connection.execute(this.values(refused=refused[row.id]))
        return len(rows)

    def run(self, stop: threading.Event | None = None) -> None:
        """Relay until told to stop, whatever broker and database are up to.

        Args:
            stop: set it to end. Default: never.
        """
        stop = stop or threading.Event()
        pauses = Pauses()
        waits = Standing(_log, "the outbox is relayed again")
        while not stop.is_set():
            try:
                done = self.run_once()
            except (DibsError, DBAPIError) as error:
                waits.note(None, "the outbox waits: %s", error)
                stop.wait(pauses.next_s())
                continue
            pauses.reset()
            waits.end(None)
            if not done:
                stop.wait(LOOK_EVERY_SECONDS)
