"""Whatever well-formed messages say, no call ends in a fault of the broker, and nothing stays behind in Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator

import grpc
import pytest
import redis
from hypothesis import HealthCheck, given, settings

from dibs.broker.border.rights import TABLE
from dibs.broker.config.principals import Role, with_held

from ..support import processes
from ..support.auth import grant, write_auth_file
from ..support.extreme_broker import FAULTS, NAMESPACES, OWN, ExtremeBroker
from ..support.extreme_messages import Messages, requests
from ..support.redis import running
from ..support.requests import GOOD, METHODS, NAMESPACE

#: Calls of each method; a deeper look takes more of them.
EXAMPLES = int(os.environ.get("DIBS_FUZZ_EXAMPLES", "40"))
#: The same for each role.
EXAMPLES_OF_A_ROLE = max(EXAMPLES // 10, 3)
#: Refused before anything was done.
REFUSED = (grpc.StatusCode.INVALID_ARGUMENT,)
#: They change nothing, whatever they say.
LOOKING = (Role.READ, Role.CONTENT, Role.SERVER, Role.LOCK)


def many(examples: int) -> settings:
    """How Hypothesis makes so many calls."""
    return settings(
        max_examples=examples,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


@pytest.fixture(scope="module")
def running_one(redis_program: str) -> Iterator[ExtremeBroker]:
    """One for all methods; at the end it still works and has complained of nothing."""
    with (
        running(redis_program) as server,
        redis.Redis.from_url(server.url) as raw,
        processes.running_broker("--redis", server.url) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        broker = ExtremeBroker(process, channel, raw)
        yield broker
        assert broker.call("Enqueue", *GOOD["Enqueue"], patience_s=20) is grpc.StatusCode.OK
        assert broker.complaints() == []


@pytest.fixture
def broker(running_one: ExtremeBroker) -> Iterator[ExtremeBroker]:
    """Has something of everything that good requests speak of; at the end all of that and more can be taken out."""
    running_one.fill()
    yield running_one
    running_one.forget_everything()


@pytest.mark.parametrize("method", GOOD)
def test_no_message_is_a_fault_of_the_broker(broker: ExtremeBroker, method: str) -> None:
    refused: list[Messages] = []

    @many(EXAMPLES)
    @given(requests(method))
    def calls(messages: Messages) -> None:
        code = broker.call(method, *messages.all)
        assert code not in FAULTS, code
        assert broker.complaints() == []
        if code in REFUSED and not METHODS[method].client_streaming:
            refused.append(messages)

    calls()
    # With nothing there that has a time of its own, what is new in Redis is of these calls.
    broker.forget_everything()
    before = broker.keys()
    again = [broker.call(method, *messages.all, patience_s=20) for messages in refused]
    assert set(again) <= {*REFUSED}
    assert broker.keys() <= before


@pytest.fixture(scope="module")
def guarded(redis_programs: dict[int, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExtremeBroker]:
    """One that asks who calls: a principal for each role, in one namespace, and one for everything."""
    principals = {role.value: [grant(NAMESPACE, role.value)] for role in Role}
    principals["some-queues"] = [grant(NAMESPACE, "admin", queues=["q", "dead"])]
    principals["everything"] = [grant("*", "admin")]
    file = write_auth_file(tmp_path_factory.mktemp("auth") / "auth.toml", principals)
    with (
        running(redis_programs[max(redis_programs)]) as server,
        redis.Redis.from_url(server.url) as raw,
        processes.running_broker("--redis", server.url, "--auth-file", str(file)) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        broker = ExtremeBroker(process, channel, raw, "everything")
        yield broker
        broker.forget_everything()
        assert broker.complaints() == []


def try_method(caller: ExtremeBroker, method: str, may: bool) -> None:
    """Call it with this and that."""

    @many(EXAMPLES_OF_A_ROLE)
    @given(requests(method))
    def calls(messages: Messages) -> None:
        code = caller.call(method, *messages.all)
        assert code not in FAULTS, code
        # The requests of a stream are refused one by one.
        assert may or code is not grpc.StatusCode.OK or method == "EnqueueStream"

    calls()


def try_everything(broker: ExtremeBroker, principal: str, allowed: frozenset[Role]) -> None:
    """Call every method as a principal that has some roles."""
    for method, descriptor in METHODS.items():
        right = TABLE[descriptor.containing_service.full_name, method]
        assert right is not None
        try_method(broker.by(principal), method, may=bool({*right.roles, Role.ADMIN} & allowed))
    assert broker.complaints() == []


@pytest.mark.parametrize("role", Role)
def test_so_it_is_for_each_role_and_nothing_changes_that_it_has_no_right_to(guarded: ExtremeBroker, role: Role) -> None:
    guarded.fill()
    items = guarded.raw.hgetall(f"dibs:{{{NAMESPACE}:0}}:item")
    assert len(items) == 4

    try_everything(guarded, role.value, with_held([role]))

    assert guarded.raw.smembers(NAMESPACES) <= {NAMESPACE.encode()}
    own = f"dibs:{{{NAMESPACE}:0}}:".encode()
    assert [key for key in guarded.keys() - OWN - {NAMESPACES.encode()} if not key.startswith(own)] == []
    if role in LOOKING:
        assert guarded.raw.hgetall(own + b"item") == items


@pytest.mark.parametrize("principal", ["some-queues", "nobody"])
def test_so_it_is_with_rights_for_some_queues_and_for_strangers(guarded: ExtremeBroker, principal: str) -> None:
    guarded.fill()
    items = guarded.raw.hgetall(f"dibs:{{{NAMESPACE}:0}}:item")
    before = guarded.keys()

    try_everything(guarded, principal, with_held([Role.ADMIN]) if principal == "some-queues" else frozenset())

    assert guarded.raw.smembers(NAMESPACES) <= {NAMESPACE.encode()}
    if principal == "nobody":
        assert guarded.keys() <= before
        assert guarded.raw.hgetall(f"dibs:{{{NAMESPACE}:0}}:item") == items
