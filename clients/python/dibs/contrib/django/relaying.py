"""Enqueues what the outbox has."""

from __future__ import annotations

import logging
import threading
from itertools import groupby

from django.db import DatabaseError, close_old_connections, connections, router, transaction

from ...contract.pauses import Pauses
from ...contract.standing import Standing
from ...errors import DibsError
from ..outbox import Kept, send
from .connecting import instance
from .models import OutboxCall

_log = logging.getLogger("dibs")

#: Calls that are taken at a time, and kept from other relays meanwhile.
MOST_AT_A_TIME = 1_000
#: Seconds after which an empty table is looked at again.
LOOK_EVERY_SECONDS = 1.0


def relay_once() -> int:
    """Enqueue what there is, oldest first, up to `MOST_AT_A_TIME`, and answer how many rows are dealt with.

    Raises:
        DibsError: no broker took them; they stay.
    """
    using = router.db_for_write(OutboxCall)
    features = connections[using].features
    with transaction.atomic(using=using):
        waiting = OutboxCall.objects.using(using).filter(refused="").order_by("number")
        if features.has_select_for_update:
            # Another relay takes the next ones; where a database cannot do that it sends the same: harmless.
            waiting = waiting.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
        rows = list(waiting[:MOST_AT_A_TIME])
        done: list[int] = []
        for name, some in groupby(rows, key=lambda row: row.instance):
            group = list(some)
            refused = send(instance(name), [Kept(row.id, bytes(row.item)) for row in group])
            for row in group:
                if row.id in refused:
                    _log.error("call %s in the outbox is refused for good: %s", row.id, refused[row.id])
                    row.refused = refused[row.id]
                    row.save(update_fields=["refused"])
                else:
                    done.append(row.number)
        OutboxCall.objects.using(using).filter(number__in=done).delete()
    return len(rows)


def relay(stop: threading.Event) -> None:
    """Relay until the event is set, whatever broker and database are up to."""
    pauses = Pauses()
    waits = Standing(_log, "the outbox is relayed again")
    while not stop.is_set():
        try:
            dealt = relay_once()
        except (DibsError, DatabaseError) as error:
            waits.note(None, "the outbox waits: %s", error)
            close_old_connections()
            stop.wait(pauses.next_s())
            continue
        pauses.reset()
        waits.end(None)
        if not dealt:
            stop.wait(LOOK_EVERY_SECONDS)
