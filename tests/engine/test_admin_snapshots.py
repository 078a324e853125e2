"""Which tasks a flush waits for."""

from __future__ import annotations

from dibs.broker.engine.engine import Engine

from .helpers import HOUR_US, LEASED, NS, ack, ids_of, lease, put


async def snapshot(engine: Engine, *, delayed_too: bool = False, leased_too: bool = False) -> set[str]:
    found: set[str] = set()
    async for ids in engine.snapshots.tasks(NS, "q", delayed_too=delayed_too, leased_too=leased_too):
        found.update(ids)
    return found


async def test_ready_ones_are_always_in_it_and_others_as_asked(engine: Engine) -> None:
    await put(engine, "leased")
    await lease(engine)
    await put(engine, "cancelled", "ready")
    await engine.cancel(NS, ["cancelled"])
    await put(engine, "delayed", due=f"+{HOUR_US}")
    await put(engine, "elsewhere", spec=LEASED._replace(queue="other"))
    assert await snapshot(engine) == {"ready"}
    assert await snapshot(engine, leased_too=True) == {"ready", "leased"}
    assert await snapshot(engine, delayed_too=True) == {"ready", "delayed"}
    assert ids_of(await lease(engine)) == ["elsewhere", "ready", "delayed"]


async def test_many_are_read_in_steps(engine: Engine) -> None:
    ids = {f"{n}" for n in range(2500)}
    in_order = sorted(ids)
    for at in range(0, 2500, 1000):
        await put(engine, *in_order[at : at + 1000])
    assert await snapshot(engine) == ids
    await lease(engine, 1000)
    await lease(engine, 1000)
    await lease(engine, 1000)
    assert await snapshot(engine, leased_too=True) == ids


async def test_what_is_leased_meanwhile_is_not_missed(engine: Engine) -> None:
    ids = {f"{n}" for n in range(3000)}
    in_order = sorted(ids)
    for at in range(0, 3000, 1000):
        await put(engine, *in_order[at : at + 1000])
    found: set[str] = set()
    done: set[str] = set()
    async for some in engine.snapshots.tasks(NS, "q", delayed_too=False, leased_too=False):
        found.update(some)
        for item in await lease(engine, 400):
            if len(done) < 100:
                done.add(item.id)
                await ack(engine, item)
    assert found | done == ids
