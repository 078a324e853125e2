"""What brokers may do next: ask, ask again, pass on, give back, see a broken stream, die."""

from __future__ import annotations

from .protocol import Bounds, Protocol
from .state import LEASED, OUT, WAITING, Batch, Broker, Fault, Request, Settlement, State, Steps, put, show, spend


class Brokers:
    """The steps of brokers.

    Args:
        protocol: what is switched on.
        bounds: how far to look.
    """

    def __init__(self, protocol: Protocol, bounds: Bounds) -> None:
        self._protocol, self._bounds = protocol, bounds

    def steps(self, state: State, at: int, broker: Broker) -> Steps:
        wanted = any(item.state in (WAITING, LEASED, OUT) for item in state.items)
        if not broker.asking and not broker.held and broker.links and broker.call < self._bounds.asks and wanted:
            call = broker.call + 1
            yield (
                f"broker {at} asks, call {call}",
                state._replace(
                    brokers=put(state.brokers, at, broker._replace(asking=True, call=call)),
                    net=state.net | {Request(at, broker.life, call, 0)},
                ),
            )
        if broker.asking and state.budget[Fault.RETRY]:
            yield from self._asks_again(state, at, broker)
        if broker.held:
            yield from self._passes_on(state, at, broker)
        for link in broker.links:
            yield from self._sees_broken(state, at, broker, link)
        if state.budget[Fault.BROKER_CRASH]:
            yield (
                f"broker {at} is killed, and starts again",
                state._replace(
                    brokers=put(state.brokers, at, Broker(life=broker.life + 1)),
                    broken=True,
                    budget=spend(state, self._bounds, Fault.BROKER_CRASH),
                ),
            )

    def _asks_again(self, state: State, at: int, broker: Broker) -> Steps:
        budget = spend(state, self._bounds, Fault.RETRY)
        if not self._protocol.named_lease:
            given_up = put(state.brokers, at, broker._replace(asking=False))
            yield f"broker {at} gives call {broker.call} up", state._replace(brokers=given_up, budget=budget)
            return
        again = Request(at, broker.life, broker.call, 1)
        if again not in state.net:
            yield f"broker {at} asks again, call {broker.call}", state._replace(net=state.net | {again}, budget=budget)

    def _passes_on(self, state: State, at: int, broker: Broker) -> Steps:
        """Write to a worker, or give back."""
        for link in broker.links:
            sent = {(item, token, link) for item, token in broker.held if not self._bounds.once(item)}
            batch = Batch(at, broker.life, link, state.workers[link].life, broker.held)
            written = broker._replace(held=frozenset(), sent=broker.sent | sent)
            yield (
                f"broker {at} writes {show(broker.held)} to worker {link}",
                state._replace(brokers=put(state.brokers, at, written), net=state.net | {batch}),
            )
        if state.budget[Fault.RETURN]:
            words = {
                Settlement("restore" if self._bounds.once(item) else "unsent", at, broker.life, 0, item, token)
                for item, token in broker.held
            }
            yield (
                f"broker {at} gives back {show(broker.held)}",
                state._replace(
                    brokers=put(state.brokers, at, broker._replace(held=frozenset())),
                    net=state.net | words,
                    budget=spend(state, self._bounds, Fault.RETURN),
                ),
            )

    def _sees_broken(self, state: State, at: int, broker: Broker, link: int) -> Steps:
        gone = state.workers[link].link != at
        if not gone and not state.budget[Fault.BREAK]:
            return
        words = {
            Settlement("unreceived", at, broker.life, 0, item, token) for item, token, to in broker.sent if to == link
        }
        left = broker._replace(
            links=broker.links - {link}, sent=frozenset(one for one in broker.sent if one[2] != link)
        )
        yield (
            f"broker {at} sees its stream to worker {link} broken",
            state._replace(
                brokers=put(state.brokers, at, left),
                net=state.net | words,
                broken=True,
                budget=state.budget if gone else spend(state, self._bounds, Fault.BREAK),
            ),
        )
