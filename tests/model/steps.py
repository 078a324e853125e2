"""Everything that can happen next: each step with its name in words and the state after it."""

from __future__ import annotations

from .brokers import Brokers
from .protocol import Bounds, Protocol
from .scripts import Scripts
from .state import (
    LEASED,
    Answer,
    Batch,
    Fault,
    Mark,
    Receipt,
    Request,
    Settlement,
    State,
    Steps,
    put,
    set_item,
    show,
    spend,
)
from .workers import Workers


class Model:
    """The steps of a protocol.

    Args:
        protocol: what is switched on.
        bounds: how far to look.
    """

    def __init__(self, protocol: Protocol, bounds: Bounds) -> None:
        self._protocol, self._bounds = protocol, bounds
        self._scripts = Scripts(protocol, bounds)
        self._brokers, self._workers = Brokers(protocol, bounds), Workers(protocol, bounds)

    def steps(self, state: State) -> Steps:
        """All of them."""
        for message in state.net:
            rest = state._replace(net=state.net - {message})
            if isinstance(message, Request):
                yield self._lease(rest, message)
            elif isinstance(message, Answer):
                yield from self._answered(rest, message)
            elif isinstance(message, Batch):
                yield self._received(rest, message)
            elif isinstance(message, Receipt):
                yield self._receipted(rest, message)
            elif isinstance(message, Mark):
                yield self._marked(rest, message)
            else:
                yield from self._settled(rest, message)
        for at, item in enumerate(state.items):
            if item.state == LEASED:
                yield f"the lease of item {at} (token {item.token}) runs out", self._scripts.expire(state, at)
        for at, broker in enumerate(state.brokers):
            yield from self._brokers.steps(state, at, broker)
        for at, worker in enumerate(state.workers):
            yield from self._workers.steps(state, at, worker)

    # What arrives

    def _lease(self, state: State, request: Request) -> tuple[str, State]:
        leases, after = self._scripts.lease(state, request)
        name = f"Redis carries out call {request.call} copy {request.copy} of broker {request.broker}.{request.life}"
        if leases is None:
            return f"{name}: not at all", after
        answer = Answer(request.broker, request.life, request.call, leases)
        return f"{name}: {show(leases)}", after._replace(net=after.net | {answer})

    def _answered(self, state: State, answer: Answer) -> Steps:
        broker = state.brokers[answer.broker]
        got = broker._replace(asking=False, held=broker.held | answer.leases)
        yield (
            f"broker {answer.broker} gets answer {answer.call}",
            state._replace(brokers=put(state.brokers, answer.broker, got)),
        )
        yield f"answer {answer.call} to broker {answer.broker} is lost", state

    def _received(self, state: State, batch: Batch) -> tuple[str, State]:
        worker = state.workers[batch.worker]
        for at, _ in batch.leases:
            item = state.items[at]
            state = set_item(state, at, item._replace(received=item.received + 1))
        tokens = {token for at, token in batch.leases if not self._bounds.once(at)}
        receipts = {Receipt(batch.worker, batch.worker_life, batch.broker, batch.life, token) for token in tokens}
        held = worker.held | {(at, token, False) for at, token in batch.leases}
        after = state._replace(
            twice=state.twice or bool(state.seen & batch.leases),
            seen=state.seen | batch.leases,
            net=state.net | receipts,
            workers=put(state.workers, batch.worker, worker._replace(held=held)),
        )
        return f"worker {batch.worker} receives {show(batch.leases)} and writes its receipt", after

    def _receipted(self, state: State, receipt: Receipt) -> tuple[str, State]:
        broker = state.brokers[receipt.broker]
        sent = frozenset(one for one in broker.sent if one[1] != receipt.token)
        after = state._replace(brokers=put(state.brokers, receipt.broker, broker._replace(sent=sent)))
        if self._protocol.receipt_counts:
            mark = Mark(receipt.broker, receipt.life, receipt.token, receipt.worker, receipt.worker_life)
            after = after._replace(net=after.net | {mark})
        return f"the receipt of share {receipt.token} reaches broker {receipt.broker}", after

    def _marked(self, state: State, mark: Mark) -> tuple[str, State]:
        after = state._replace(unreceived=state.unreceived - {mark.token})
        alive = state.brokers[mark.broker].life == mark.life and state.workers[mark.worker].life == mark.worker_life
        if self._protocol.echo and mark.token in state.unreceived and alive:
            worker = after.workers[mark.worker]
            told = worker._replace(cleared=worker.cleared | {mark.token})
            after = after._replace(workers=put(after.workers, mark.worker, told))
        return f"the receipt of share {mark.token} is in Redis", after

    def _settled(self, state: State, word: Settlement) -> Steps:
        after = self._scripts.settle(state, word)
        yield f"Redis carries out {word.what} of item {word.item} token {word.token}", after
        if word.what != "restore":
            return
        if not self._protocol.retry_restore:
            yield f"restore of item {word.item} is lost", state
        elif word.copy == 0 and state.budget[Fault.RETRY]:
            again = after._replace(
                net=after.net | {word._replace(copy=1)}, budget=spend(after, self._bounds, Fault.RETRY)
            )
            yield "... and its answer is lost, so that it is sent again", again
