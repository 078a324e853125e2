"""What TLS and tokens cost a data queue in batches: the same work on one Redis, in the plain and secured, in turns."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dibs
from dibs.cli.local_certificates import local_certificates

from ..dibs_data import BATCH, PAYLOAD
from ..measure import Figure
from ..stack import running_broker, running_redis

#: Rounds in which each way has its turn; fewer only with --quick. The order changes from round to round.
_ROUNDS = 15
_PLAIN = "dibs Data in plaintext"
_NOTE = f"put + get + done, batches of {BATCH}, one blocking caller, {{rounds}} rounds in turns; to be above 0.90"


@dataclass(frozen=True)
class _Way:
    """A way to call a broker.

    Attributes:
        name: of its figure.
        options: of the broker.
        connecting: arguments of the client, but for its target.
    """

    name: str
    options: tuple[str, ...]
    connecting: dict[str, Any]


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Figures of each way; those that are secured beside plaintext."""
    rounds = runs if quick else max(runs, _ROUNDS)
    count = 10_000 if quick else 20_000
    with ExitStack() as stack:
        ways = _ways(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dibs-bench-"))))
        server = stack.enter_context(running_redis())
        clients = []
        for number, way in enumerate(ways):
            target = stack.enter_context(running_broker(server, *way.options))
            scheme = "https://" if "ca" in way.connecting else ""
            client = dibs.Dibs(f"{scheme}{target}", namespace=f"way-{number}", **way.connecting)
            clients.append(stack.enter_context(client))
        values: list[list[float]] = [[] for _ in ways]
        for turn in range(-1, rounds):
            for step in range(len(ways)):
                number = (turn + step) % len(ways)
                rate = _rate(clients[number], count)
                # The first turn warms all of them up.
                if turn >= 0:
                    values[number].append(rate)
        for way, found in zip(ways, values, strict=True):
            against = "" if way.name == _PLAIN else _PLAIN
            yield Figure(way.name, "items/s", found, _NOTE.format(rounds=rounds), against=against)


def _ways(folder: Path) -> list[_Way]:
    files = local_certificates(folder)
    token = secrets.token_urlsafe(32)
    auth = folder / "auth.toml"
    auth.write_text(
        f'[[principal]]\nname = "bench"\ntokens_sha256 = ["{hashlib.sha256(token.encode()).hexdigest()}"]\n'
        'grants = [{ namespace = "way-*", roles = ["produce", "consume", "read"] }]\n'
    )
    tls = ("--tls-cert", str(files.cert), "--tls-key", str(files.key))
    trusting = {"ca": files.ca}
    asking = ("--auth-file", str(auth))
    return [
        _Way(_PLAIN, (), {}),
        _Way("dibs Data over TLS", tls, trusting),
        _Way("dibs Data over TLS with a token", (*tls, *asking), {**trusting, "token": token}),
    ]


def _rate(client: dibs.Dibs, count: int) -> float:
    queue = client.Data("bench", attempts=3, vis_timeout=60)
    seen = bytearray(count)
    started = time.perf_counter()
    for at in range(0, count, BATCH):
        queue.put_data([[number, PAYLOAD] for number in range(at, at + BATCH)])
    for _ in range(0, count, BATCH):
        found = queue.get_data(BATCH)
        for number, _payload in found.values():
            seen[number] += 1
        if queue.done_data(found) != BATCH:
            raise AssertionError("items were not ours")
    took = time.perf_counter() - started
    if seen != b"\x01" * count or any(queue.currently_available()):
        raise AssertionError("items did not come out once each")
    return count / took
