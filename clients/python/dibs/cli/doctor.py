"""`dibs doctor`: looks at everything, and says what is wrong and what to change."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version

from rich.table import Table
from rich.text import Text

from ..errors import BrokerError
from ..rpc.addresses import each_address
from ..rpc.connection import Connection
from ..rpc.targets import proxy_for
from .calls import Calls
from .checks import Asked, Facts, Finding, Status, examine
from .command import single
from .exits import Exit
from .session import Session
from .tables import cell

#: Connections that are made where a target has one address, and how long each broker has to answer, in seconds.
_SAMPLES, _ASK_SECONDS = 4, 5.0

_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


def doctor(session: Session) -> Exit:
    """Check connection, versions, Redis, clocks, limits, workers, schedules, queues and dead letters.

    Each line says ok, warn or fail, and what to do. Exit code 1 if one of them fails.
    """
    with session.waiting("looking"):
        facts = gather(session.calls)
    findings = examine(facts)
    failed = any(finding.status is Status.FAIL for finding in findings)
    if session.as_json:
        session.document(ok=not failed, checks=[asdict(finding) for finding in findings])
    else:
        session.show(findings_table(findings))
        session.say(summary(findings))
    return Exit.NO if failed else Exit.OK


def gather(calls: Calls) -> Facts:
    """Ask the broker for everything that the checks look at; what cannot be had is a fact too."""
    facts = Facts(calls.connection.place, _own_version(), proxy=proxy_for(calls.connection.target, os.environ))
    # The first call opens the connection; what it takes says nothing of the broker.
    try:
        calls.server_info()
        began, asked = time.monotonic(), datetime.now(UTC)
        facts.info = calls.server_info()
        facts.latency = time.monotonic() - began
        facts.asked = asked + timedelta(seconds=facts.latency / 2)
    except BrokerError as error:
        facts.info, facts.error = None, error
        return facts
    facts.brokers = ask_each(calls.connection)
    if not facts.info.redis_ready:
        return facts
    try:
        facts.quotas = calls.quotas(calls.namespace)
        facts.queues = calls.queues()
        facts.dead = calls.dead_queues()
        facts.workers = calls.workers()
        facts.schedules = calls.schedules()
    except BrokerError as error:
        facts.failures["namespace"] = error
    return facts


def ask_each(connection: Connection) -> list[Asked]:
    """What each broker says that the target leads to: at each of its addresses, or over some connections of their own.

    Behind a load balancer it is chance which brokers these reach.
    """
    there = each_address(connection)
    if len(there) == 1:
        there *= _SAMPLES
    with ThreadPoolExecutor(len(there), "dibs-doctor") as pool:
        return list(pool.map(_ask, there))


def _ask(connection: Connection) -> Asked:
    calls = Calls(replace(connection, timeout=min(connection.timeout, _ASK_SECONDS)))
    try:
        return Asked(connection.target, calls.server_info())
    except BrokerError as error:
        return Asked(connection.target, None, error)
    finally:
        calls.close()


def _own_version() -> str:
    try:
        return version("dibs")
    except PackageNotFoundError:
        return "unknown"


def findings_table(findings: Sequence[Finding]) -> Table:
    """The findings for people, each with its advice below it."""
    made = Table.grid(padding=(0, 2))
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True, style="bold")
    made.add_column(overflow="fold")
    for finding in findings:
        text = cell(finding.text)
        if finding.advice:
            text.append("\n→ ", style="dim").append(finding.advice, style="italic")
        made.add_row(Text(finding.status.value, style=_STYLES[finding.status]), finding.subject, text)
    return made


def summary(findings: Sequence[Finding]) -> str:
    """The last line."""
    fails = sum(finding.status is Status.FAIL for finding in findings)
    warns = sum(finding.status is Status.WARN for finding in findings)
    if not fails and not warns:
        return "All is well."
    return f"{fails} failed, {warns} to look at."


command = single(doctor)
