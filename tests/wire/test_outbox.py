"""Calls that go through a table: what is committed is enqueued once, whatever crashes in between."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, func, insert, select
from sqlalchemy.orm import Session

import dibs
from dibs import Dibs, State
from dibs.codecs import AesGcm
from dibs.contrib.sqlalchemy import Outbox, Relay, outbox_table

from ..support.broker_thread import BrokerThread
from ..support.imports import SOURCES
from ..support.ports import free_port
from ..support.waiting import until

METADATA = MetaData()
ORDERS = Table("orders", METADATA, Column("id", Integer, primary_key=True), Column("what", String))
CALLS = outbox_table(METADATA)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


def send_receipt(order: int, text: str = "") -> None:
    """Not called here: what is looked at is what is enqueued."""


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        count: int = connection.execute(select(func.count()).select_from(CALLS)).scalar_one()
        return count


def waiting(app: Dibs, queue: str = "default") -> int:
    return sum(size for name, _, size in app.queue_sizes() if name == queue)


def test_a_call_is_enqueued_when_its_transaction_is_committed_and_relayed(app: Dibs, engine: Engine) -> None:
    task = app.task(name="receipt")(send_receipt)
    with Session(engine) as session, session.begin():
        session.execute(insert(ORDERS).values(what="tea"))
        handle = task.on(Outbox(session, CALLS, app)).execute(1)
    assert (rows(engine), handle.state) == (1, State.UNKNOWN)
    assert Relay(engine, CALLS, app).run_once() == 1
    assert (rows(engine), handle.state) == (0, State.WAITING)
    assert handle.args == ([1], {})
    assert Relay(engine, CALLS, app).run_once() == 0


def test_what_is_rolled_back_is_never_enqueued(app: Dibs, engine: Engine) -> None:
    task = app.task(name="receipt")(send_receipt)
    with Session(engine) as session:
        task.on(Outbox(session, CALLS, app)).execute(1)
        session.rollback()
    assert rows(engine) == 0
    assert Relay(engine, CALLS, app).run_once() == 0


def test_what_is_sent_and_not_noted_is_sent_again_and_there_once(app: Dibs, engine: Engine) -> None:
    task = app.task(name="receipt", save_results=60)(send_receipt)
    with Session(engine) as session, session.begin():
        outbox = Outbox(session, CALLS, app)
        for number in range(5):
            task.on(outbox).execute(number)
    with engine.connect() as connection:
        kept = connection.execute(select(CALLS)).mappings().all()
    assert Relay(engine, CALLS, app).run_once() == 5
    # As if the process had died before its deletion was committed.
    with engine.begin() as connection:
        connection.execute(insert(CALLS), [dict(row) for row in kept])
    assert Relay(engine, CALLS, app).run_once() == 5
    assert waiting(app) == 5


def test_a_process_that_dies_after_its_commit_has_enqueued(app: Dibs, broker: BrokerThread, engine: Engine) -> None:
    program = f"""
import os
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
import dibs
from dibs import Dibs
from dibs.contrib.sqlalchemy import Outbox
from tests.wire.test_outbox import CALLS, send_receipt
app = Dibs({broker.target!r})
with Session(create_engine({str(engine.url)!r})) as session, session.begin():
    app.task(name="receipt")(send_receipt).on(Outbox(session, CALLS, app)).execute(7)
os.kill(os.getpid(), 9)
"""
    died = subprocess.run([sys.executable, "-c", program], check=False)
    assert died.returncode == -9
    assert Relay(engine, CALLS, app).run_once() == 1
    assert waiting(app) == 1


def test_a_call_that_no_broker_takes_stays_with_the_reason_and_holds_up_nothing(app: Dibs, engine: Engine) -> None:
    task = app.task(name="receipt")(send_receipt)
    with Session(engine) as session, session.begin():
        outbox = Outbox(session, CALLS, app)
        task.on(outbox).execute(1)
        too_large = task.on(outbox).execute(2, text="x" * 300_000)
        task.on(outbox).execute(3)
    assert Relay(engine, CALLS, app).run_once() == 3
    assert waiting(app) == 2
    with engine.connect() as connection:
        (row,) = connection.execute(select(CALLS)).all()
    assert row.id == too_large.taskid
    assert "payload" in row.refused
    assert Relay(engine, CALLS, app).run_once() == 0


def test_calls_wait_in_the_table_while_there_is_no_broker(broker: BrokerThread, engine: Engine) -> None:
    with Dibs(f"127.0.0.1:{free_port()}", timeout=0.3) as away:
        with Session(engine) as session, session.begin():
            away.task(name="receipt")(send_receipt).on(Outbox(session, CALLS, away)).execute(1)
        with pytest.raises(ConnectionError):
            Relay(engine, CALLS, away).run_once()
        assert rows(engine) == 1
        stop = threading.Event()
        relay = threading.Thread(target=Relay(engine, CALLS, away).run, args=(stop,), daemon=True)
        relay.start()
        away.connect(broker.target)
        until(lambda: rows(engine) == 0)
        stop.set()
        relay.join(20)
        assert not relay.is_alive()


def test_more_than_one_request_carries_go_in_several(app: Dibs, engine: Engine) -> None:
    task = app.task(name="receipt")(send_receipt)
    with Session(engine) as session, session.begin():
        outbox = Outbox(session, CALLS, app)
        for number in range(1_200):
            task.on(outbox).execute(number)
    relay = Relay(engine, CALLS, app)
    assert [relay.run_once(), relay.run_once(), relay.run_once()] == [1_000, 200, 0]
    assert waiting(app) == 1_200


def test_payloads_are_encrypted_before_they_are_in_the_table(broker: BrokerThread, engine: Engine) -> None:
    with Dibs(broker.target, codec=AesGcm({"k": bytes(32)})) as app:
        task = app.task(name="receipt")(send_receipt)
        with Session(engine) as session, session.begin():
            handle = task.on(Outbox(session, CALLS, app)).execute(1, text="a secret")
        with engine.connect() as connection:
            assert b"secret" not in connection.execute(select(CALLS.c.item)).scalar_one()
        Relay(engine, CALLS, app).run_once()
        assert handle.args == ([1], {"text": "a secret"})


def test_options_of_a_call_hold(app: Dibs, engine: Engine) -> None:
    task = app.task(name="receipt")(send_receipt)
    with Session(engine) as session, session.begin():
        handle = task.on(Outbox(session, CALLS, app)).options(delay=600, queue="later", taskid="mine").execute(1)
    Relay(engine, CALLS, app).run_once()
    assert (handle.taskid, handle.queue, handle.state) == ("mine", "later", State.SCHEDULED)


def test_the_page_of_the_docs_does_what_it_says(broker: BrokerThread, engine: Engine) -> None:
    page = (SOURCES / "docs/frameworks.md").read_text()
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Outbox" in block)
    metadata = MetaData()
    orders = Table("orders", metadata, Column("id", Integer, primary_key=True), Column("what", String))
    scope: dict[str, Any] = {"METADATA": metadata, "ORDERS": orders, "engine": engine, "__name__": "page"}
    dibs.connect(broker.target)
    try:
        exec(block, scope)
        assert scope["handle"].state is State.WAITING
        assert rows(engine) == 0
    finally:
        dibs.close()
