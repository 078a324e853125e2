"""Namespaces share Redis by what their calls cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Kind, LeaseQuery

from .helpers import LEASED, new

#: Calls of the greedy namespace that wait when the quiet one comes, and how many of them it may have to wait for.
WAITING, PASSED = 300, 30


async def leases_of_many_names(engine: Engine, number: int) -> None:
    await engine.lease("greedy", LeaseQuery(Kind.DATA, tuple(f"{number}-{n}" for n in range(1000))), 1000)


async def lookups_of_many_ids(engine: Engine, number: int) -> None:
    await engine.lookup("greedy", [f"{number}-{n}" for n in range(1000)])


async def lists_of_many_queues(engine: Engine, number: int) -> None:
    await engine.queues.names("greedy", Kind.DATA)


@pytest.mark.parametrize("call", [leases_of_many_names, lookups_of_many_ids, lists_of_many_queues])
async def test_a_namespace_does_not_wait_for_all_that_another_one_asks(
    engine: Engine, call: Callable[[Engine, int], Awaitable[None]]
) -> None:
    await engine.enqueue(
        "greedy", "", [new(f"i{n}", LEASED._replace(kind=Kind.DATA, queue=f"q{n}")) for n in range(1000)]
    )
    await engine.enqueue("quiet", "", [new("before")])
    await call(engine, 0)
    done = 0

    async def one(number: int) -> None:
        nonlocal done
        await call(engine, number)
        done += 1

    greedy = [asyncio.create_task(one(number)) for number in range(WAITING)]
    await asyncio.sleep(0)
    await engine.enqueue("quiet", "", [new("quiet")])
    done_before = done
    await asyncio.gather(*greedy)

    assert done_before <= PASSED
    assert done == WAITING
