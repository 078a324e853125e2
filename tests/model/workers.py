"""What workers may do next: connect, lose their stream, begin, finish, fail, die."""

from __future__ import annotations

from .protocol import Bounds, Protocol
from .state import Broker, Fault, Item, Leases, Receipt, Settlement, State, Steps, Worker, put, set_item, show, spend


class Workers:
    """The steps of worker processes.

    Args:
        protocol: what is switched on.
        bounds: how far to look.
    """

    def __init__(self, protocol: Protocol, bounds: Bounds) -> None:
        self._protocol, self._bounds = protocol, bounds

    def steps(self, state: State, at: int, worker: Worker) -> Steps:
        if worker.link < 0:
            yield from self._connects(state, at, worker)
        else:
            yield from self._loses_its_stream(state, at, worker)
        for held in worker.held:
            yield from self._works(state, at, worker, held)
        if worker.held:
            yield from self._dies(state, at, worker)

    def _connects(self, state: State, at: int, worker: Worker) -> Steps:
        for number, broker in enumerate(state.brokers):
            # A broker that nothing has happened to is as good as another such one.
            if at not in broker.links and (number == 0 or state.brokers[0] != Broker()):
                yield (
                    f"worker {at} connects to broker {number}",
                    state._replace(
                        workers=put(state.workers, at, worker._replace(link=number)),
                        brokers=put(state.brokers, number, broker._replace(links=broker.links | {at})),
                    ),
                )

    def _loses_its_stream(self, state: State, at: int, worker: Worker) -> Steps:
        gone = at not in state.brokers[worker.link].links
        if not gone and not state.budget[Fault.BREAK]:
            return
        net = frozenset(
            one
            for one in state.net
            if not (isinstance(one, Receipt) and one.worker == at and one.broker == worker.link)
        )
        yield (
            f"worker {at} sees its stream broken",
            state._replace(
                workers=put(state.workers, at, worker._replace(link=-1)),
                net=net,
                broken=True,
                budget=state.budget if gone else spend(state, self._bounds, Fault.BREAK),
            ),
        )

    def _works(self, state: State, at: int, worker: Worker, held: tuple[int, int, bool]) -> Steps:
        """Begin an item, finish it, or have it fail."""
        number, token, begun = held
        once = self._bounds.once(number)
        if not begun:
            if self._protocol.echo and not once and token not in worker.cleared:
                return
            item: Item = state.items[number]
            running = worker._replace(held=worker.held - {held} | {(number, token, True)})
            after = set_item(state, number, item._replace(begun=item.begun + 1))
            yield (
                f"worker {at} begins item {number} (token {token})",
                after._replace(workers=put(state.workers, at, running)),
            )
            return
        workers = put(state.workers, at, worker._replace(held=worker.held - {held}))
        ack = Settlement("ack", at, worker.life, 0, number, token)
        yield (
            f"worker {at} finishes item {number} (token {token})",
            state._replace(workers=workers, net=state.net if once else state.net | {ack}),
        )
        if not once and state.budget[Fault.FAIL]:
            yield (
                f"item {number} (token {token}) fails on worker {at}",
                state._replace(
                    workers=workers,
                    net=state.net | {ack._replace(what="fail")},
                    budget=spend(state, self._bounds, Fault.FAIL),
                ),
            )

    def _dies(self, state: State, at: int, worker: Worker) -> Steps:
        workers = put(state.workers, at, Worker(life=worker.life + 1))
        leases: Leases = frozenset((number, token) for number, token, _ in worker.held)
        if state.budget[Fault.WORKER_CRASH]:
            words = {
                Settlement("crash" if begun else "not begun", -1, 0, 0, number, token)
                for number, token, begun in worker.held
                if self._protocol.supervisor and not (begun and self._bounds.once(number))
            }
            yield (
                f"worker process {at} is killed, holding {show(leases)}",
                state._replace(
                    workers=workers,
                    net=state.net | words,
                    broken=True,
                    budget=spend(state, self._bounds, Fault.WORKER_CRASH),
                ),
            )
        if state.budget[Fault.MACHINE_CRASH]:
            yield (
                f"the machine of worker {at} dies",
                state._replace(
                    workers=workers,
                    broken=True,
                    machine_died=True,
                    budget=spend(state, self._bounds, Fault.MACHINE_CRASH),
                ),
            )
