"""Rights for some queues hold for every way to an item, and what one may not see does not show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from dibs.broker.border.rights import TABLE
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import lock_pb2 as lpb
from dibs.v1 import types_pb2 as tpb

from ..support.auth import bearer, grant
from ..support.guarded import Guarded, guarded
from ..support.redis import RedisServer
from ..support.waiting import until
from .conftest import item
from .statuses import next_of, refused

DENIED = grpc.StatusCode.PERMISSION_DENIED
TASK = tpb.QUEUE_KIND_TASK
MINE, THEIRS = "mail.out", "bills"
SOME: dict[str, Any] = {"namespace": "shop", "kind": TASK}
PRINCIPALS = {
    "all": [grant("*", "admin")],
    "mail": [grant("shop", "admin", queues=["mail", "mail.*"])],
    "reader": [grant("shop", "read", queues=["mail.*"])],
    "tenant": [grant("tenant.*", "admin"), grant("shared", "read", "server")],
}


@pytest.fixture
async def shop(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(redis_server, tmp_path, PRINCIPALS) as broker:
        yield broker


async def put(shop: Guarded, *items: pb.EnqueueItem, who: str = "all", namespace: str = "shop") -> list[int]:
    request = pb.EnqueueRequest(namespace=namespace, items=items)
    return [done.outcome for done in (await shop.broker.Enqueue(request, metadata=bearer(who))).items]


async def leased(shop: Guarded, queue: str, who: str = "all") -> tpb.Delivery:
    request = pb.LeaseRequest(**SOME, queues=[queue])
    reply: pb.LeaseResponse = await next_of(shop.broker.Lease(request, metadata=bearer(who)))
    [found] = reply.deliveries
    return found


async def code_of(call: Any) -> grpc.StatusCode:
    """How a call ends, or OK if something comes."""
    try:
        async with asyncio.timeout(20):
            await (call if hasattr(call, "__await__") else call.read())
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def denied(call: Any, queue: str | None = THEIRS) -> None:
    """The call must end because of the right for that queue; None: because all queues would be needed.

    A queue that the request does not name is not told.
    """
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if hasattr(call, "__await__") else call.read())
    assert caught.value.code() is DENIED, caught.value
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # an AioRpcError has what it needs
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert (info.reason, info.metadata["namespace"]) == ("MISSING_ROLE", "shop")
    if queue is not None and "for the queue of what the request names" in str(caught.value.details()):
        assert queue not in f"{caught.value.details()} {info}"
    else:
        assert info.metadata.get("queue") == queue


def requests_about(queue: str, id: str, token: int) -> Iterator[tuple[str, str, Any]]:
    """Every request that reaches an item or a queue, by the service and name of its method."""
    ids: dict[str, Any] = {"namespace": "shop", "ids": [id]}
    named: dict[str, Any] = {**SOME, "queue": queue}
    policy = tpb.DeliveryPolicy(use_dead_letter=True, dead_letter_queue=queue)
    content = tpb.Content(task_name="task")
    dying = pb.EnqueueItem(id="dying", queue=MINE, kind=TASK, content=content, policy=policy)
    replacing = item(id, MINE)
    replacing.on_conflict = pb.ON_CONFLICT_REPLACE
    unless = item(id, MINE)
    unless.on_conflict = pb.ON_CONFLICT_REPLACE_UNLESS_RUNNING
    for one in (item("new", queue), dying, replacing, unless):
        yield "broker", "Enqueue", pb.EnqueueRequest(namespace="shop", items=[item("fine", MINE), one])
    yield "broker", "Lease", pb.LeaseRequest(**SOME, queues=[MINE, queue])
    yield "broker", "Lease", pb.LeaseRequest(**SOME, queues=[queue], peek=True)
    yield "broker", "Lease", pb.LeaseRequest(**SOME, queues=[MINE], default_dead_letter_queue=queue)
    yield "broker", "Ack", pb.AckRequest(namespace="shop", entries=[pb.AckEntry(id=id, lease_token=token)])
    yield "broker", "Ack", pb.AckRequest(namespace="shop", entries=[pb.AckEntry(id=id, unfenced=True)])
    yield "broker", "Nack", pb.NackRequest(namespace="shop", entries=[pb.NackEntry(id=id, lease_token=token)])
    yield "broker", "Refresh", pb.RefreshRequest(namespace="shop", entries=[pb.RefreshEntry(id=id, lease_token=token)])
    yield "broker", "Cancel", pb.CancelRequest(**ids)
    yield "broker", "Result", pb.ResultRequest(**ids)
    yield "broker", "Result", pb.ResultRequest(**ids, include_content=True)
    yield "admin", "DeleteItems", apb.DeleteItemsRequest(**ids)
    yield "admin", "ListQueues", apb.ListQueuesRequest(namespace="shop", names=[MINE, queue])
    yield "admin", "SetPriority", apb.SetPriorityRequest(**named, priority=1)
    yield "admin", "PauseQueue", apb.PauseQueueRequest(**named)
    yield "admin", "ResumeQueue", apb.ResumeQueueRequest(**named)
    yield "admin", "ListItems", apb.ListItemsRequest(**named)
    yield "admin", "RedriveSetAside", apb.RedriveSetAsideRequest(**named)
    yield "admin", "ClearQueue", apb.ClearQueueRequest(**named)
    yield "admin", "ListDeadLetters", apb.ListDeadLettersRequest(**named)
    yield "admin", "TakeDeadLetters", apb.TakeDeadLettersRequest(**named)
    yield "admin", "RedriveDeadLetters", apb.RedriveDeadLettersRequest(**named)
    yield "admin", "PurgeDeadLetters", apb.PurgeDeadLettersRequest(**named)
    yield "admin", "Flush", apb.FlushRequest(namespace="shop", queues=[queue], timeout=Duration(nanos=1_000_000))
    task = apb.TaskDefinition(name=f"of {queue}", queue=queue)
    yield "admin", "RegisterTasks", apb.RegisterTasksRequest(namespace="shop", tasks=[task])
    moved = apb.TaskDefinition(name=f"there {queue}", queue=MINE)
    yield "admin", "RegisterTasks", apb.RegisterTasksRequest(namespace="shop", tasks=[moved])
    for name, group, replaces in ((f"new {queue}", "g", False), (f"s {queue}", "g", False), ("x", f"g {queue}", True)):
        to = queue if name.startswith("new") else MINE
        schedule = apb.Schedule(name=name, queue=to, content=content, interval=Duration(seconds=3600))
        request = apb.PutSchedulesRequest(namespace="shop", group=group, schedules=[schedule], replace_group=replaces)
        yield "admin", "PutSchedules", request
    yield "admin", "DeleteSchedules", apb.DeleteSchedulesRequest(namespace="shop", names=[f"s {queue}"])


async def stock(shop: Guarded) -> None:
    """In each of the two queues: an item that is leased, one that waits, a task and a schedule."""
    for queue in (MINE, THEIRS):
        await put(shop, item(f"leased-{queue}", queue), item(f"waits-{queue}", queue))
        task = apb.TaskDefinition(name=f"there {queue}", queue=queue)
        await shop.admin.RegisterTasks(apb.RegisterTasksRequest(namespace="shop", tasks=[task]), metadata=bearer("all"))
        schedule = apb.Schedule(
            name=f"s {queue}", queue=queue, content=tpb.Content(task_name="t"), interval=Duration(seconds=3600)
        )
        await shop.admin.PutSchedules(
            apb.PutSchedulesRequest(namespace="shop", group=f"g {queue}", schedules=[schedule]), metadata=bearer("all")
        )


async def counts(shop: Guarded) -> str:
    """How everything stands in the queue of others."""
    found = await shop.admin.ListQueues(apb.ListQueuesRequest(namespace="shop", names=[THEIRS]), metadata=bearer("all"))
    ids = [f"leased-{THEIRS}", f"waits-{THEIRS}"]
    states = await shop.broker.Result(pb.ResultRequest(namespace="shop", ids=ids), metadata=bearer("all"))
    tasks = await shop.admin.ListTasks(apb.ListTasksRequest(namespace="shop"), metadata=bearer("all"))
    schedules = await shop.admin.ListSchedules(apb.ListSchedulesRequest(namespace="shop"), metadata=bearer("all"))
    return f"{found}{states}{tasks}{schedules}"


def test_every_method_is_tried() -> None:
    tried = {method for _, method, _ in (*requests_about(THEIRS, "id", 1), *ABOUT_ALL)}
    # These have tests of their own: streams, and lists that leave out what may not be seen.
    tried |= {"EnqueueStream", "Work", "ListTasks", "ListSchedules", "ListWorkers", "ListDeadLetterQueues"}
    about_namespaces = {name for (service, name), right in TABLE.items() if right is not None and not right.anywhere}
    assert tried == about_namespaces


async def test_no_request_reaches_what_is_in_another_queue(shop: Guarded) -> None:
    await stock(shop)
    delivery = await leased(shop, THEIRS)
    before = await counts(shop)
    for stub, method, request in requests_about(THEIRS, delivery.id, delivery.lease_token):
        await denied(getattr(getattr(shop, stub), method)(request, metadata=bearer("mail")))
    assert await counts(shop) == before
    await refused(
        shop.broker.Ack(
            pb.AckRequest(namespace="other", entries=[pb.AckEntry(id="a", unfenced=True)]), metadata=bearer("mail")
        ),
        DENIED,
    )


async def test_ids_that_are_made_for_a_request_reach_no_item_of_another_queue(shop: Guarded) -> None:
    request = pb.EnqueueRequest(namespace="shop", request_id="order-17", items=[item("", THEIRS)])
    [theirs] = (await shop.broker.Enqueue(request, metadata=bearer("all"))).items
    for conflict in (pb.ON_CONFLICT_REPLACE, pb.ON_CONFLICT_REPLACE_UNLESS_RUNNING):
        mine = item("", MINE)
        mine.on_conflict = conflict
        stolen = pb.EnqueueRequest(namespace="shop", request_id="order-17", items=[mine])
        await denied(shop.broker.Enqueue(stolen, metadata=bearer("mail")))
    found = await shop.broker.Result(pb.ResultRequest(namespace="shop", ids=[theirs.id]), metadata=bearer("all"))
    assert found.results[0].queue == THEIRS


@pytest.mark.parametrize("includes", [False, True])
async def test_who_waits_is_not_told_of_what_takes_the_place_in_another_queue(
    shop: Guarded, redis_server: RedisServer, includes: bool
) -> None:
    await put(shop, item("a", MINE), who="mail")
    request = pb.ResultRequest(namespace="shop", ids=["a"], until=pb.WAIT_UNTIL_DONE, include_content=includes)
    request.timeout.seconds = 60
    waits = shop.broker.Result(request, metadata=bearer("mail"))
    with redis.Redis.from_url(redis_server.url) as raw:
        await asyncio.to_thread(until, lambda: raw.zscore("dibs:{shop:0}:watch", "a") is not None)
    theirs = item("a", THEIRS)
    theirs.on_conflict = pb.ON_CONFLICT_REPLACE
    assert await put(shop, theirs) == [pb.ENQUEUE_OUTCOME_REPLACED]
    delivery = await leased(shop, THEIRS)
    done = pb.AckRequest(namespace="shop", entries=[pb.AckEntry(id="a", lease_token=delivery.lease_token)])
    await shop.broker.Ack(done, metadata=bearer("all"))
    await refused(waits, DENIED, says="for the queue of what the request names")


async def test_in_which_queue_something_is_is_not_told_to_those_who_may_not_see_it(shop: Guarded) -> None:
    await stock(shop)
    task = apb.TaskDefinition(name=f"there {THEIRS}", queue=MINE)
    schedules = apb.DeleteSchedulesRequest(namespace="shop", names=[f"s {THEIRS}"])
    for call in (
        shop.broker.Cancel(pb.CancelRequest(namespace="shop", ids=[f"waits-{THEIRS}"]), metadata=bearer("mail")),
        shop.admin.RegisterTasks(apb.RegisterTasksRequest(namespace="shop", tasks=[task]), metadata=bearer("mail")),
        shop.admin.DeleteSchedules(schedules, metadata=bearer("mail")),
    ):
        await refused(call, DENIED, says="in namespace 'shop' for the queue of what the request names")


async def test_nobody_enqueues_in_the_place_of_a_run_of_a_schedule(shop: Guarded) -> None:
    await stock(shop)
    # When a schedule is due next is easily guessed.
    run = f"schedule:s {THEIRS}:1800000000000000".replace(" ", "-")
    request = pb.EnqueueRequest(namespace="shop", items=[item("a", MINE), item(run, MINE)])
    await refused(
        shop.broker.Enqueue(request, metadata=bearer("mail")),
        grpc.StatusCode.INVALID_ARGUMENT,
        field="items[1].id",
    )
    # Its next attempt is for whoever has its lease, and those who have all queues may do as they like.
    assert await put(shop, item(run, MINE)) == [pb.ENQUEUE_OUTCOME_CREATED]
    delivery = await leased(shop, MINE, "mail")
    while delivery.id != run:
        delivery = await leased(shop, MINE, "mail")
    again = item(run, MINE)
    again.on_conflict, again.lease_token = pb.ON_CONFLICT_REPLACE, delivery.lease_token
    assert await put(shop, again, who="mail") == [pb.ENQUEUE_OUTCOME_REPLACED]


async def test_a_request_id_of_somebody_else_is_another_one(shop: Guarded) -> None:
    mine = pb.EnqueueRequest(namespace="shop", request_id="nightly", items=[item("mine", MINE)])
    await shop.broker.Enqueue(mine, metadata=bearer("mail"))
    theirs = pb.EnqueueRequest(namespace="shop", request_id="nightly", items=[item("a", THEIRS), item("b", THEIRS)])
    first = await shop.broker.Enqueue(theirs, metadata=bearer("all"))
    assert await shop.broker.Enqueue(theirs, metadata=bearer("all")) == first
    assert [one.outcome for one in first.items] == [pb.ENQUEUE_OUTCOME_CREATED] * 2
    request = pb.ResultRequest(namespace="shop", ids=["a", "b"])
    found = await shop.broker.Result(request, metadata=bearer("all"))
    assert [one.queue for one in found.results] == [THEIRS] * 2


async def test_the_same_requests_are_fine_for_ones_own_queues(shop: Guarded) -> None:
    await stock(shop)
    delivery = await leased(shop, MINE, "mail")
    for stub, method, request in requests_about(MINE, delivery.id, delivery.lease_token):
        call = getattr(getattr(shop, stub), method)(request, metadata=bearer("mail"))
        # An earlier one may have removed what this is about.
        assert await code_of(call) in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND), (method, request)


#: Requests that reach more than some queues.
ABOUT_ALL: list[tuple[str, str, Any]] = [
    ("broker", "Lease", pb.LeaseRequest(**SOME)),
    ("admin", "Flush", apb.FlushRequest(namespace="shop")),
    ("admin", "Flush", apb.FlushRequest(namespace="shop", queues=[MINE], force_delayed=True)),
    ("admin", "DeleteNamespace", apb.DeleteNamespaceRequest(namespace="shop")),
    ("admin", "CommandWorker", apb.CommandWorkerRequest(namespace="shop", worker="w")),
    ("lock", "Acquire", lpb.AcquireRequest(namespace="shop", name="l")),
    ("lock", "RefreshLock", lpb.RefreshLockRequest(namespace="shop", name="l", owner="o")),
    ("lock", "Release", lpb.ReleaseRequest(namespace="shop", name="l", owner="o")),
    ("lock", "ListLocks", lpb.ListLocksRequest(namespace="shop")),
]


@pytest.mark.parametrize(
    ("stub", "method", "request_"), ABOUT_ALL, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_what_is_about_all_queues_needs_a_right_for_all(
    shop: Guarded, stub: str, method: str, request_: Any
) -> None:
    assert await code_of(getattr(getattr(shop, stub), method)(request_, metadata=bearer("mail"))) is DENIED


async def to_the_end(call: Any) -> None:
    async with asyncio.timeout(20):
        while await call.read() is not grpc.aio.EOF:
            pass


async def test_items_of_others_cannot_be_settled_on_a_stream(shop: Guarded) -> None:
    await put(shop, item("theirs", THEIRS), item("mine", MINE))
    theirs = await leased(shop, THEIRS)
    call = shop.broker.Work(metadata=bearer("mail"))
    hello = pb.WorkHello(namespace="shop", kind=TASK, worker_id="w", queues=[MINE, "mail"])
    await call.write(pb.WorkRequest(hello=hello, add_credit=1))
    while not (response := await next_of(call)).deliveries:
        pass
    [mine] = response.deliveries
    await call.write(pb.WorkRequest(sequence=1, acks=[pb.AckEntry(id="mine", lease_token=mine.lease_token)]))
    while (await next_of(call)).done_sequence != 1:
        pass

    settling: list[dict[str, Any]] = [
        {"acks": [pb.AckEntry(id="theirs", lease_token=theirs.lease_token)]},
        {"acks": [pb.AckEntry(id="theirs", unfenced=True)]},
        {"nacks": [pb.NackEntry(id="theirs", lease_token=theirs.lease_token)]},
        {"refreshes": [pb.RefreshEntry(id="theirs", lease_token=theirs.lease_token)]},
        {"begun": [pb.BegunEntry(id="theirs", lease_token=theirs.lease_token)]},
    ]
    for entries in settling:
        call = shop.broker.Work(metadata=bearer("mail"))
        await call.write(pb.WorkRequest(hello=hello, add_credit=1))
        await call.write(pb.WorkRequest(sequence=1, **entries))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await to_the_end(call)
        assert caught.value.code() is DENIED
        assert "in namespace 'shop' for the queue of what the request names" in str(caught.value.details())

    done = pb.AckRequest(namespace="shop", entries=[pb.AckEntry(id="theirs", lease_token=theirs.lease_token)])
    assert (await shop.broker.Ack(done, metadata=bearer("all"))).outcomes[0].outcome == tpb.OUTCOME_OK


async def test_a_worker_for_every_queue_needs_a_right_for_every_queue(shop: Guarded) -> None:
    call = shop.broker.Work(metadata=bearer("mail"))
    await call.write(pb.WorkRequest(hello=pb.WorkHello(namespace="shop", kind=TASK, worker_id="w"), add_credit=1))
    await denied(call, None)


async def test_lists_and_their_pages_are_as_if_there_were_nothing_else(shop: Guarded) -> None:
    queues = [f"{prefix}{at:02}" for at in range(12) for prefix in ("aa.", "mail.", "zz.")]
    await put(shop, *(item(f"i-{queue}", queue) for queue in queues))
    tasks = [apb.TaskDefinition(name=f"t {queue}", queue=queue) for queue in queues]
    await shop.admin.RegisterTasks(apb.RegisterTasksRequest(namespace="shop", tasks=tasks), metadata=bearer("all"))
    content = tpb.Content(task_name="t", payload=b"secret", headers={"a": "b"})
    schedules = [
        apb.Schedule(name=f"s {queue}", queue=queue, content=content, interval=Duration(seconds=3600))
        for queue in queues
    ]
    await shop.admin.PutSchedules(
        apb.PutSchedulesRequest(namespace="shop", group="g", schedules=schedules), metadata=bearer("all")
    )
    mine = [queue for queue in queues if queue.startswith("mail.")]

    async def listed(method: str, request: Any, entries: str) -> list[Any]:
        found = []
        pages = 0
        while True:
            reply = await getattr(shop.admin, method)(request, metadata=bearer("reader"))
            page = getattr(reply, entries)
            found += page
            pages += 1
            assert len(page) == 4
            if not reply.next_page_token:
                # No empty page behind the last: that would tell that there are others.
                assert pages == 3
                return found
            request.page_token = reply.next_page_token

    page: dict[str, Any] = {"namespace": "shop", "page_size": 4}
    found = await listed("ListQueues", apb.ListQueuesRequest(**page), "queues")
    assert [one.name for one in found] == mine
    found = await listed("ListTasks", apb.ListTasksRequest(**page), "tasks")
    assert [one.definition.name for one in found] == [f"t {queue}" for queue in mine]
    found = await listed("ListSchedules", apb.ListSchedulesRequest(**page), "schedules")
    assert [one.schedule.name for one in found] == [f"s {queue}" for queue in mine]
    # Contents are for those who have the role.
    assert {(one.schedule.content.task_name, one.schedule.content.payload) for one in found} == {("t", b"")}
    named = apb.ListTasksRequest(namespace="shop", names=["t aa.00", "t mail.00", "t none"])
    reply = await shop.admin.ListTasks(named, metadata=bearer("reader"))
    assert [one.definition.name for one in reply.tasks] == ["t mail.00"]


async def test_workers_and_dead_letter_queues_of_others_are_not_listed(shop: Guarded) -> None:
    calls = []
    for name, queues in (("mine", [MINE]), ("both", [MINE, THEIRS]), ("every", [])):
        call = shop.broker.Work(metadata=bearer("all"))
        hello = pb.WorkHello(namespace="shop", kind=TASK, worker_id=name, queues=queues)
        await call.write(pb.WorkRequest(hello=hello))
        await next_of(call)
        calls.append(call)

    async def workers(who: str) -> list[str]:
        reply = await shop.admin.ListWorkers(apb.ListWorkersRequest(namespace="shop"), metadata=bearer(who))
        return [worker.worker_id for worker in reply.workers]

    async with asyncio.timeout(20):
        while len(await workers("all")) < 3:  # noqa: ASYNC110 (the broker tells nobody when it has reported)
            await asyncio.sleep(0.02)
    assert await workers("reader") == ["mine"]
    for call in calls:
        call.cancel()

    for queue in ("mail.dead", "bills.dead"):
        policy = tpb.DeliveryPolicy(
            attempts=1, lease_timeout=Duration(seconds=30), use_dead_letter=True, dead_letter_queue=queue
        )
        content = tpb.Content(task_name="task")
        await put(shop, pb.EnqueueItem(id=queue, queue="x", kind=TASK, content=content, policy=policy))
        delivery = await leased(shop, "x")
        entry = pb.NackEntry(id=queue, lease_token=delivery.lease_token, reason=pb.NACK_REASON_FAILED)
        await shop.broker.Nack(pb.NackRequest(namespace="shop", entries=[entry]), metadata=bearer("all"))
    reply = await shop.admin.ListDeadLetterQueues(
        apb.ListDeadLetterQueuesRequest(namespace="shop"), metadata=bearer("reader")
    )
    assert [queue.name for queue in reply.queues] == ["mail.dead"]


async def test_another_namespace_is_neither_seen_nor_listed_nor_told_by_an_error(shop: Guarded) -> None:
    await put(shop, item("a", "q"))
    await put(shop, item("a", "q"), namespace="tenant.1")

    answers = set()
    for namespace in ("shop", "there-is-none"):
        for call in (
            shop.admin.ListQueues(apb.ListQueuesRequest(namespace=namespace, names=["q"]), metadata=bearer("tenant")),
            shop.admin.PauseQueue(
                apb.PauseQueueRequest(namespace=namespace, queue="q", kind=TASK), metadata=bearer("tenant")
            ),
            shop.admin.ListItems(
                apb.ListItemsRequest(namespace=namespace, queue="q", kind=TASK, page_token="x"),
                metadata=bearer("tenant"),
            ),
            shop.broker.Result(pb.ResultRequest(namespace=namespace, ids=["a"]), metadata=bearer("tenant")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            answers.add((caught.value.code(), str(caught.value.details()).replace(namespace, "...")))
    assert {code for code, _ in answers} == {DENIED}
    assert len(answers) <= 4  # one for each method, whichever namespace it is

    info = await shop.admin.GetServerInfo(apb.GetServerInfoRequest(), metadata=bearer("tenant"))
    assert list(info.namespaces) == ["tenant.1"]
    info = await shop.admin.GetServerInfo(apb.GetServerInfoRequest(), metadata=bearer("all"))
    assert {"shop", "tenant.1"} <= set(info.namespaces)


async def test_results_are_for_those_who_produce_consume_or_may_see_contents(shop: Guarded) -> None:
    await put(shop, item("a", "mail.a"))
    delivery = await leased(shop, "mail.a")
    entry = pb.AckEntry(id="a", lease_token=delivery.lease_token, result=b'"secret"')
    await shop.broker.Ack(pb.AckRequest(namespace="shop", entries=[entry]), metadata=bearer("all"))

    request = pb.ResultRequest(namespace="shop", ids=["a", "unknown"])
    [seen, _] = (await shop.broker.Result(request, metadata=bearer("all"))).results
    [read, unknown] = (await shop.broker.Result(request, metadata=bearer("reader"))).results

    assert (seen.result, seen.withheld) == (b'"secret"', False)
    assert (read.HasField("result"), read.withheld, read.state) == (False, True, tpb.ITEM_STATE_SUCCEEDED)
    assert (unknown.withheld, unknown.state) == (False, tpb.ITEM_STATE_UNKNOWN)


async def test_an_outage_of_redis_refuses_nobody_and_ends_no_stream(redis_server: RedisServer, tmp_path: Path) -> None:
    async with guarded(redis_server, tmp_path, PRINCIPALS, redis_timeout="200ms") as shop:
        await put(shop, item("mine", MINE))
        work = shop.broker.Work(metadata=bearer("mail"))
        hello = pb.WorkHello(namespace="shop", kind=TASK, worker_id="w", queues=[MINE])
        await work.write(pb.WorkRequest(hello=hello, add_credit=1))
        while not (response := await next_of(work)).deliveries:
            pass
        [mine] = response.deliveries
        puts = shop.broker.EnqueueStream(metadata=bearer("mail"))
        replacing = item("other", MINE)
        replacing.on_conflict = pb.ON_CONFLICT_REPLACE
        request = pb.EnqueueStreamRequest(request=pb.EnqueueRequest(namespace="shop", items=[replacing]))

        with redis_server.frozen():
            await work.write(pb.WorkRequest(sequence=1, acks=[pb.AckEntry(id="mine", lease_token=mine.lease_token)]))
            await puts.write(request)
            assert (await next_of(puts)).error.code == grpc.StatusCode.UNAVAILABLE.value[0]

        async with asyncio.timeout(20):
            while (await next_of(work)).done_sequence != 1:
                pass
            while True:
                await puts.write(request)
                if (await next_of(puts)).response.items:
                    break
