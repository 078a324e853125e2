"""Dropping what can have no effect any more, so that there are fewer states.

A token that is over is never used again, so that nothing is hidden by it.
"""

from __future__ import annotations

from .protocol import Protocol
from .state import LEASED, OUT, Answer, Batch, Lease, Mark, Message, Receipt, Request, Settlement, State


def tidy(state: State, protocol: Protocol) -> State:
    """The same state without messages, answers and memories that nobody will ever look at."""
    leased = {(at, item.token) for at, item in enumerate(state.items) if item.state == LEASED}
    out = {(at, item.token) for at, item in enumerate(state.items) if item.state == OUT}
    net = frozenset(message for message in state.net if _matters(state, protocol, message, leased, out))
    asked = {message[:2] for message in net if isinstance(message, Request)}
    restoring = {(one.sender, one.life) for one in net if isinstance(one, Settlement) and one.what == "restore"}
    waiting = {(at, broker.life) for at, broker in enumerate(state.brokers) if broker.asking}
    callers = asked | restoring | waiting
    answers = frozenset(answer for answer in state.answers if answer[:2] in callers)
    restored = frozenset(name for name in state.restored if name[:2] in asked | restoring)
    tokens = {token for _, token in leased}
    return state._replace(
        net=net,
        answers=answers,
        restored=restored,
        seen=state.seen & _alive(state, net, answers, leased) if state.seen else state.seen,
        # Exact: forgotten when none of its leases is left; in Redis, when it is older than the first due time.
        unreceived=frozenset(token for token in state.unreceived if token in tokens),
    )


def _matters(state: State, protocol: Protocol, message: Message, leased: set[Lease], out: set[Lease]) -> bool:
    """Whether a message can still do anything."""
    if isinstance(message, Request):
        return not (protocol.named_lease and _is_overtaken(state, message))
    if isinstance(message, Answer):
        broker = state.brokers[message.broker]
        return (broker.life, broker.asking, broker.call) == (message.life, True, message.call)
    if isinstance(message, Batch):
        worker = state.workers[message.worker]
        return (worker.life, worker.link) == (message.worker_life, message.broker)
    if isinstance(message, Receipt):
        broker = state.brokers[message.broker]
        return broker.life == message.life and message.worker in broker.links
    if isinstance(message, Mark):
        return message.token in state.unreceived or protocol.echo
    if message.what == "restore":
        return True
    lease = (message.item, message.token)
    return lease in leased or (message.what == "not begun" and lease in out)


def _is_overtaken(state: State, request: Request) -> bool:
    """Whether a later call, or the same one of a dead broker, has been carried out."""
    for answer in state.answers:
        if answer[:2] == request[:2]:
            if answer.call > request.call:
                return True
            if answer.call == request.call and state.brokers[request.broker].life != request.life:
                return True
    return False


def _alive(state: State, net: frozenset[Message], answers: frozenset[Answer], leased: set[Lease]) -> set[Lease]:
    """Leases that may still be heard of."""
    alive = set(leased)
    for broker in state.brokers:
        alive |= broker.held
    for message in (*net, *answers):
        if isinstance(message, Answer | Batch):
            alive |= message.leases
    return alive
