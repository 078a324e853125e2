"""Takes data and dead letters while faults happen, a thread for each way of doing it.

``python -m tests.robustness.consumers SEED ADDRESS...``; the client's brokers are in `DIBS_TARGET`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc

import dibs
from dibs.errors import BrokerError
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from . import kinds
from .calls import PATIENCE_S, Broker, Brokers, is_outage
from .history import FOLDER, UNKNOWN, Event, Flags, own_writer
from .letters import take_letters
from .roles import CONSUMER_CLIENT, CONSUMER_FOLLOW, CONSUMER_LETTERS, CONSUMER_STREAM, CONSUMER_UNARY

#: Share of the leases that are left to run out, and of those that are given back as failed.
_LEFT, _FAILED = 0.03, 0.05
_ACK_S = 12.0

_write = own_writer()
_flags = Flags(Path(os.environ[FOLDER]))


def by_leases(addresses: list[str]) -> None:
    """Lease for a moment, then settle each item by itself: when the call has ended, its batch counts as received."""
    brokers = Brokers(addresses)
    request = pb.LeaseRequest(
        queues=[kinds.DATA, kinds.SLOW_DATA],
        kind=tpb.QUEUE_KIND_DATA,
        max_items=5,
        get_timeout=kinds.duration(0.5),
    )
    while not _flags.up(Flags.STOP_CONSUMING):
        deliveries: list[tpb.Delivery] = []
        try:
            for response in brokers.present.items.Lease(request, timeout=PATIENCE_S):
                deliveries += _received(response, CONSUMER_UNARY)
        except grpc.RpcError as error:
            if not is_outage(error):
                raise
            brokers.move_on()
        for delivery in deliveries:
            _settle(brokers, delivery, CONSUMER_UNARY)


def by_following(addresses: list[str]) -> None:
    """One stream that goes on, now and then a new one."""
    brokers = Brokers(addresses, first=1)
    request = pb.LeaseRequest(queues=[kinds.FOLLOWED_DATA], kind=tpb.QUEUE_KIND_DATA, max_items=200, follow=True)
    while not _flags.up(Flags.STOP_CONSUMING):
        try:
            # A stream that is silent for that long is opened anew elsewhere: its broker may be frozen.
            for response in brokers.present.items.Lease(request, timeout=2 * PATIENCE_S):
                for delivery in _received(response, CONSUMER_FOLLOW):
                    _settle(brokers, delivery, CONSUMER_FOLLOW)
        except grpc.RpcError as error:
            if not is_outage(error):
                raise
            brokers.move_on()


def _received(response: pb.LeaseResponse, role: str) -> list[tpb.Delivery]:
    """Note the items of a batch."""
    for delivery in response.deliveries:
        said = json.loads(delivery.content.payload)
        event = Event(
            what="delivered",
            uid=said["uid"],
            kind=said["kind"],
            id=delivery.id,
            token=delivery.lease_token,
            attempt=delivery.attempt,
            leased_at=response.lease_time.ToNanoseconds() / 1e9,
            lease_s=delivery.lease_timeout.ToNanoseconds() / 1e9,
        )
        _write(event, role=role)
    return list(response.deliveries)


def _settle(brokers: Brokers, delivery: tpb.Delivery, role: str) -> None:
    """Ack it, or nack it, or leave it alone."""
    chance = random.random()
    if not delivery.lease_timeout.ToNanoseconds() or chance < _LEFT:
        return
    since = time.monotonic()

    def ack(broker: Broker) -> tpb.EntryOutcome:
        entry = pb.AckEntry(id=delivery.id, lease_token=delivery.lease_token)
        return broker.items.Ack(pb.AckRequest(entries=[entry]), timeout=PATIENCE_S).outcomes[0]

    def nack(broker: Broker) -> tpb.EntryOutcome:
        entry = pb.NackEntry(
            id=delivery.id, lease_token=delivery.lease_token, reason=pb.NACK_REASON_FAILED, error="was to fail"
        )
        entry.delay.CopyFrom(kinds.duration(0.2))
        return broker.items.Nack(pb.NackRequest(entries=[entry]), timeout=PATIENCE_S).outcomes[0]

    failing = chance < _LEFT + _FAILED
    outcome = brokers.call(nack if failing else ack, _ACK_S)
    text = UNKNOWN if outcome is None else tpb.Outcome.Name(outcome.outcome).removeprefix("OUTCOME_")
    said = json.loads(delivery.content.payload)
    event = Event(
        what="nacked" if failing else "acked",
        uid=said["uid"],
        kind=said["kind"],
        id=delivery.id,
        token=delivery.lease_token,
        ok=text == "OK",
        since=since,
        text=text,
    )
    _write(event, role=role)


def by_client() -> None:
    """The Python client's Data: receive, then done."""
    data = dibs.Data(kinds.CLIENT_DATA, vis_timeout=kinds.DATA_CLIENT.lease_s)
    while not _flags.up(Flags.STOP_CONSUMING):
        try:
            items = data.get_data(5, get_timeout=0.5)
        except BrokerError:
            continue
        for id, said in items.items():
            _write(Event(what="delivered", uid=said["uid"], kind=said["kind"], id=id), role=CONSUMER_CLIENT)
        for id, said in items.items():
            since = time.monotonic()
            try:
                done = data.done_data([id])
            except BrokerError as error:
                text = f"{UNKNOWN}: {error!r}"
            else:
                text = "OK" if done else "NOT_FOUND"
            ok = text == "OK"
            event = Event(what="acked", uid=said["uid"], kind=said["kind"], id=id, ok=ok, since=since, text=text)
            _write(event, role=CONSUMER_CLIENT)


def by_streaming() -> None:
    """The same over a stream of its own: what the body has not marked is done when it ends."""
    data = dibs.Data(kinds.STREAMED_DATA, vis_timeout=kinds.DATA_STREAMED.lease_s)
    while not _flags.up(Flags.STOP_CONSUMING):
        try:
            for batch in data.stream(items=5, get_timeout=0.5):
                for id, said in batch.items():
                    _write(Event(what="delivered", uid=said["uid"], kind=said["kind"], id=id), role=CONSUMER_STREAM)
        except BrokerError:
            continue


def by_letters(addresses: list[str]) -> None:
    """Take dead letters, each answer asked for again until it has come."""
    brokers = Brokers(addresses)
    while not _flags.up(Flags.STOP_CONSUMING):
        for kind in (tpb.QUEUE_KIND_TASK, tpb.QUEUE_KIND_DATA):
            take_letters(brokers, lambda event: _write(event, role=CONSUMER_LETTERS), kind)
        time.sleep(0.3)


def main() -> None:
    """Run all until told to stop."""
    random.seed(int(sys.argv[1]))
    addresses = sys.argv[2:]
    parts: list[Callable[[], None]] = [
        lambda: by_leases(addresses),
        lambda: by_following(addresses),
        by_client,
        by_streaming,
        lambda: by_letters(addresses),
    ]
    threads = [threading.Thread(target=part) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
