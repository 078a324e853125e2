"""Payloads and results that codecs encode, from a client over a real broker to a worker and back."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import pytest
from redis import Redis

from dibs import CURRENT_TASK, DEADLETTER_QUEUE, AsyncDibs, CodecError, Dibs, EnqueuedTask
from dibs.codecs import AesGcm, AnyCodec, Codecs, Sealed, Zlib
from dibs.contract.headers import CODEC
from dibs.contract.sealed import unseal
from dibs.data.flows import BaseData
from dibs.rpc import operations
from dibs.rpc.flow import do
from dibs.v1 import types_pb2 as tpb
from dibs.worker.process import not_read_here
from dibs.worker.runtime import Worker
from dibs.worker.shared.settings import WorkerSettings

from ..support.broker_thread import BrokerThread
from ..support.redis import RedisServer
from ..support.waiting import until

OLD, NEW = bytes(32), bytes(range(32))
SECRET = "a secret that is in no Redis " * 50


def encrypting(**keys: bytes) -> AesGcm:
    return AesGcm(keys or {"new": NEW})


@contextmanager
def client(broker: BrokerThread, codec: AnyCodec | None = None) -> Iterator[Dibs]:
    with Dibs(broker.target, timeout=20, try_timeout=20, codec=codec) as app:
        yield app


@pytest.fixture
def app(broker: BrokerThread) -> Iterator[Dibs]:
    with client(broker, [Zlib(), encrypting()]) as app:
        yield app


@asynccontextmanager
async def working(app: Dibs, codec: AnyCodec | None = None, *, same: bool = True) -> AsyncIterator[None]:
    """A worker with the tasks of `app`, and its codec or another."""
    with Dibs(app.connection.target, codec=codec) as other:
        sealing = app.sealing if same else other.sealing
        names = app.registry.names()
        worker = Worker(app.connection, app.registry.find, names, WorkerSettings(), sealing=sealing)
        run = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop()
            await run


async def result_of(handle: EnqueuedTask[Any], timeout: float = 20) -> Any:
    return await asyncio.to_thread(handle.get, timeout)


def content_of(app: Dibs, id: str) -> tpb.Content:
    """What the broker has of an item."""
    found = app.run(do(operations.result(app.namespace, [id], include_content=True)))
    return found[0].content


def redis_holds(redis: RedisServer, text: str) -> bool:
    """Whether any value of any key has that text in it."""
    with Redis.from_url(redis.url) as db:
        db.config_set("rdbcompression", "no")
        values = [cast(bytes, db.dump(key)) or b"" for key in db.scan_iter()]
    return any(text.encode() in value for value in values)


async def test_arguments_and_results_are_encoded_on_their_way_and_in_redis(
    app: Dibs, redis_server: RedisServer
) -> None:
    @app.task(name="shout", save_results=60, vis_timeout=30)
    def shout(text: str) -> str:
        return text + "!"

    handle = shout.execute(SECRET[:40])
    content = content_of(app, handle.taskid)
    assert content.headers[CODEC] == "aes-gcm:new"
    assert b"secret" not in content.payload
    assert handle.args == ([SECRET[:40]], {})
    async with working(app):
        assert await result_of(handle) == SECRET[:40] + "!"
    assert app.result(handle.taskid) == app.results([handle.taskid])[0] == handle.result == SECRET[:40] + "!"
    assert redis_holds(redis_server, shout.name)
    assert not redis_holds(redis_server, "secret")
    raw = app.run(do(operations.result(app.namespace, [handle.taskid])))[0].result
    assert (unseal(raw) or ("",))[0] == "aes-gcm:new"


async def test_the_same_from_asyncio_and_in_batches(app: Dibs, broker: BrokerThread) -> None:
    @app.task(name="shout", save_results=60)
    async def shout(text: str) -> str:
        assert CURRENT_TASK.task is not None
        return f"{text} {dict(CURRENT_TASK.task.headers)}"

    async with AsyncDibs(of=app) as adibs, working(app):
        one = await shout.on(adibs).execute("a")
        async with adibs.batch():
            batched = [await shout.on(adibs).execute(str(n)) for n in range(3)]
        assert await one.get(20) == "a {}"
        assert [await handle.get(20) for handle in batched] == ["0 {}", "1 {}", "2 {}"]
        assert await one.result == await adibs.result(one.taskid) == "a {}"
        with app.batch():
            handles = [shout.options(headers={"trace": "x"}).execute(SECRET + str(n)) for n in range(3)]
        assert [await result_of(handle) for handle in handles] == [f"{SECRET}{n} {{'trace': 'x'}}" for n in range(3)]
        called = await asyncio.to_thread(app.call_task, shout.name, None, "by name")
        assert await result_of(called) == "by name {}"
    async with AsyncDibs(broker.target, codec=encrypting()) as other:
        data = other.Data("d", vis_timeout=30)
        await data.put_data(["x"])
        assert list((await data.get_data()).values()) == ["x"]


async def test_a_retry_carries_its_own_payload(app: Dibs) -> None:
    @app.task(name="twice", save_results=60, attempts=3, vis_timeout=30, retry_delay=0)
    def twice(text: str) -> str | None:
        if text == SECRET:
            twice.retry("second")
            return None
        return text

    handle = twice.execute(SECRET)
    assert content_of(app, handle.taskid).headers[CODEC] == "zlib,aes-gcm:new"
    async with working(app):
        assert await result_of(handle) == "second"


async def test_dead_letters_are_read_and_redriven(app: Dibs) -> None:
    fail = threading.Event()
    fail.set()

    @app.task(name="sometimes", save_results=60, vis_timeout=30, use_dead=True)
    def sometimes(text: str) -> str:
        assert not fail.is_set()
        return text

    handle = sometimes.execute("kept")
    dead = app.Data(DEADLETTER_QUEUE, is_tasks=True)
    async with working(app):
        await asyncio.to_thread(handle.wait, 20, until="done")
        [entry] = (await asyncio.to_thread(dead.get_data, 10, -1)).values()
        assert entry[1:4] == [sometimes.name, ["kept"], {}]
        [info] = app.admin.dead_letters(include_content=True)
        assert info.call() == (["kept"], {})
        fail.clear()
        assert await asyncio.to_thread(dead.redrive) == 1
        assert await result_of(handle) == "kept"


async def test_a_rotation_loses_nothing_and_stops_nothing(broker: BrokerThread) -> None:
    """Producers with the new key before all workers have it: its items wait, those of the old one are worked on."""
    with (
        client(broker, encrypting(old=OLD)) as before,
        client(broker, AesGcm({"old": OLD, "new": NEW})) as after,
    ):

        @before.task(name="echo", save_results=60, vis_timeout=30, attempts=1)
        def echo(text: str) -> str:
            return text

        new = echo.on(after).execute("new")
        old = echo.execute("old")
        async with working(before):
            assert await result_of(old) == "old"
            await until_async(lambda: sizes(before, "delayed") == [new.taskid])
        before.flush_tasks(force_delayed=True, timeout=0)
        async with working(before, AesGcm({"old": OLD, "new": NEW}), same=False):
            assert await result_of(after.handle(new.taskid)) == "new"


def sizes(app: Dibs, section: Any, queue: str = "default") -> list[str]:
    return [item.id for item in app.admin.items(queue, section)]


async def until_async(holds: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, holds)


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        (None, "this program has no codec"),
        (Zlib(), "there is no codec aes-gcm here"),
        (encrypting(other=NEW), "there is no key 'new' here, only other"),
        (encrypting(new=OLD), "changed, moved from another item, or encrypted with another key called 'new'"),
    ],
    ids=["no codec", "another codec", "another name", "another key"],
)
@pytest.mark.parametrize("lease_s", [30, 0], ids=["at least once", "at most once"])
async def test_what_a_worker_cannot_read_goes_back_unharmed(
    app: Dibs, codec: AnyCodec | None, said: str, lease_s: int, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    @app.task(name="task", save_results=60, vis_timeout=lease_s, attempts=1)
    def task(text: str) -> None:
        calls.append(text)

    handle = task.execute("x")
    with caplog.at_level(logging.ERROR):
        async with working(app, codec, same=False):
            await until_async(lambda: sizes(app, "delayed") == [handle.taskid])
    assert said in caplog.text
    assert "give this worker its codec and key" in caplog.text
    [item] = app.admin.items("default", "delayed")
    assert (item.attempt, calls) == (0, [])
    app.flush_tasks(force_delayed=True, timeout=0)
    async with working(app):
        await result_of(handle)
    assert calls == ["x"]


async def test_the_log_tells_of_a_problem_once_a_minute(
    app: Dibs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="task", vis_timeout=30)
    def task(n: int) -> None: ...

    with app.batch():
        for n in range(20):
            task.execute(n)
    async with working(app, None, same=False):
        await until_async(lambda: len(sizes(app, "delayed")) == 20)
    assert caplog.text.count("cannot be read here") == 1
    assert not_read_here._LOG_EVERY_S == 60


async def test_what_is_delivered_at_most_once_and_cannot_be_read_is_told_as_lost(
    app: Dibs, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="task")
    def task(n: int) -> None: ...

    handle = task.execute(1)
    async with working(app, None, same=False):
        await until_async(lambda: "lost: delivered at most once" in caplog.text)
    assert handle.taskid in caplog.text


async def test_an_item_with_another_s_arguments_is_not_run(app: Dibs, broker: BrokerThread) -> None:
    """Who can write to the queue, but has no key, cannot have one task called with the arguments of another."""
    calls: list[str] = []

    @app.task(name="log", save_results=60, vis_timeout=30)
    def log(text: str) -> None:
        calls.append(text)

    @app.task(name="pay", save_results=60, vis_timeout=30)
    def pay(text: str) -> None:
        calls.append(text)

    content = content_of(app, log.execute("x", delay=3600).taskid)
    with client(broker) as attacker:
        stolen = attacker.bind(pay.definition)
        attacker.put_now(stolen.definition.form, content.payload, "stolen")
        async with working(app):
            await until_async(lambda: "stolen" in sizes(app, "delayed"))
    assert calls == []


async def test_nothing_plain_is_run_where_it_is_not_taken(broker: BrokerThread) -> None:
    with client(broker, Codecs(encrypting(), plain=False)) as app, client(broker) as plain:
        calls: list[Any] = []

        @app.task(name="task", save_results=60, vis_timeout=30)
        def task(n: int = 0) -> int:
            calls.append(n)
            return n

        refused = task.on(plain).execute(1)
        scheduled = task.on(plain).execute()
        async with working(app):
            await until_async(lambda: sizes(app, "delayed") == [refused.taskid])
            assert await result_of(app.handle(scheduled.taskid)) == 0
            assert await result_of(task.execute(2)) == 2
    assert calls == [0, 2]


async def test_a_result_that_is_not_readable_is_told_and_kept(app: Dibs, broker: BrokerThread) -> None:
    @app.task(name="task", save_results=60)
    def task() -> str:
        return "x"

    handle = task.execute()
    async with working(app):
        assert await result_of(handle) == "x"
    with client(broker) as other, client(broker, encrypting(other=OLD)) as wrong:
        for one in (other, wrong):
            for read in (one.handle(handle.taskid).get, lambda one=one: one.results([handle.taskid])):
                with pytest.raises(CodecError, match="encoded with aes-gcm:new"):
                    read()
    assert handle.result == "x"


async def test_a_result_that_no_codec_takes_fails_its_task(broker: BrokerThread) -> None:
    with client(broker, Zlib(least_bytes=0, max_bytes=100)) as app:

        @app.task(name="task", save_results=60)
        def task() -> str:
            return "x" * 1000

        async with working(app):
            handle = task.execute()
            await asyncio.to_thread(handle.wait, 20, until="done")
        with pytest.raises(Exception, match=r"is 1,002 bytes long; this Zlib takes 100"):
            handle.get(1)


# Data


def put(app: Dibs, *items: Any, lease_s: float = 30, queue: str = "d") -> BaseData:
    data = app.Data(queue, vis_timeout=lease_s, attempts=2)
    data.put_data(list(items))
    return data


def test_data_is_put_read_and_streamed(app: Dibs) -> None:
    queue = app.Data("d", vis_timeout=30)
    queue.put_data([SECRET, {"b": 1}])
    with app.batch():
        queue.put_data(["batched"])
    assert sorted(map(str, queue.get_data(10, -1).values())) == sorted(["batched", SECRET, "{'b': 1}"])
    items = list(app.admin.items("d", include_content=True, is_data=True))
    assert all(unseal(item.payload) for item in items)
    assert [item.data() for item in items] == [SECRET, {"b": 1}, "batched"]
    found: list[Any] = []
    for batch in queue.stream(get_timeout=1):
        found += batch.values()
        if len(found) == 3:
            break
    assert found == [SECRET, {"b": 1}, "batched"]


@pytest.mark.parametrize("codec", [None, encrypting(new=OLD)], ids=["no codec", "another key"])
def test_leased_data_that_cannot_be_read_goes_back_and_the_rest_is_given(
    app: Dibs, broker: BrokerThread, codec: AnyCodec | None, caplog: pytest.LogCaptureFixture
) -> None:
    put(app, "secret")
    with client(broker, codec) as other:
        queue = other.Data("d", vis_timeout=30)
        queue.put_data(["readable"])
        assert list(queue.get_data(10).values()) == ["readable"]
        assert queue.get_data(10, get_timeout=0.2) == {}
        assert "1 leased items cannot be read here and go back for 30 s" in caplog.text
        [item] = other.admin.items("d", "delayed", is_data=True)
        assert item.attempt == 0


async def test_streams_give_back_what_they_cannot_read(app: Dibs, broker: BrokerThread) -> None:
    put(app, "secret")
    with client(broker) as other:
        queue = other.Data("d", vis_timeout=30)
        queue.put_data(["readable"])
        found = [list(batch.values()) for batch in queue.stream(get_timeout=0.5)]
        assert found == [["readable"]]
        assert queue.currently_available() == (0, 1)
        put(app, "secret", queue="e")
        async with AsyncDibs(of=other) as adibs:
            aqueue = adibs.Data("e", vis_timeout=30)
            await aqueue.put_data(["readable"])
            found = [list(batch.values()) async for batch in aqueue.stream(get_timeout=0.5)]
            assert found == [["readable"]]
            assert await aqueue.currently_available() == (0, 1)


def test_data_that_is_taken_and_cannot_be_read_is_kept_for_later(app: Dibs, broker: BrokerThread) -> None:
    put(app, "secret", lease_s=0)
    with client(broker) as other:
        [peeked] = other.Data("d").get_data(1, -1).values()
        [taken] = other.Data("d").get_data(1).values()
    for found in (peeked, taken):
        assert isinstance(found, Sealed)
        assert repr(found) == "<encrypted with key new: 52 bytes>"
        assert json.loads(found.open(encrypting())) == "secret"


def test_dead_data_that_cannot_be_read_is_kept_for_later(app: Dibs, broker: BrokerThread) -> None:
    queue = app.Data("d", vis_timeout=0.2, attempts=1, use_dead=True)
    queue.put_data(["secret"])
    assert list(queue.get_data().values()) == ["secret"]
    until(lambda: bool(app.admin.dead_letter_queues()))
    [dead] = app.Data(DEADLETTER_QUEUE).get_data(1, -1).values()
    assert dead[2] == "secret"
    with client(broker) as other:
        [dead] = other.Data(DEADLETTER_QUEUE).get_data(1).values()
    assert json.loads(dead[2].open(encrypting())) == "secret"


def test_instances_without_a_codec_say_nothing_of_codecs(broker: BrokerThread) -> None:
    with client(broker) as plain:

        @plain.task(name="task", save_results=60)
        def task(n: int) -> int:
            return n

        content = content_of(plain, task.execute(1).taskid)
        assert (content.payload, dict(content.headers)) == (b'{"args":[1],"kwargs":{}}', {})


def test_names_of_dibs_are_not_for_headers_of_users(app: Dibs) -> None:
    @app.task(name="task")
    def task() -> None: ...

    with pytest.raises(ValueError, match="begin with dibs- are set by dibs itself: rename 'dibs-x'"):
        task.options(headers={"dibs-x": "1"})


def test_another_place_has_another_codec(broker: BrokerThread) -> None:
    with client(broker, encrypting()) as app:

        @app.task(name="task", save_results=60)
        def task(n: int) -> int:
            return n

        app.connect(broker.target, codec=Zlib())
        assert content_of(app, task.execute(1).taskid).payload == b'{"args":[1],"kwargs":{}}'
        app.connect(broker.target, namespace="other", codec=encrypting())
        assert task.execute(2).args == ([2], {})
        with pytest.raises(ValueError, match="of goes without the other arguments"):
            AsyncDibs(of=app, codec=Zlib())
