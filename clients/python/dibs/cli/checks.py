"""The checks of `dibs doctor`, on facts that were gathered before: what is well, what is not, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from ..errors import BrokerError, DeadlineExceeded, PermissionDenied, Unauthenticated, Unavailable
from ..v1 import admin_pb2 as admin
from ..v1.types_pb2 import QUEUE_KIND_TASK
from . import words, worker_conditions
from .exits import sentence_of
from .waiting_tasks import unknown_tasks

#: Answers of Redis that take longer than this, in seconds, hold everything up.
SLOW_REDIS = 0.02
#: Calls that take longer than this, in seconds, are worth a word.
SLOW_CALL = 0.25
#: Difference of clocks, in seconds, from which on times in the future come noticeably early or late.
CLOCK_DIFFERENCE = 2.0
#: Share of Redis's memory from which on there is something to do, and from which on it is an emergency.
MEMORY_HIGH, MEMORY_FULL = 0.8, 0.95
#: An item that has been ready for longer than this, in seconds, is not served as it should be.
LONG_WAIT = 600.0
#: Certificates that end sooner than this are worth a word.
CERTIFICATE_SOON = timedelta(days=14)
#: Settings that say where a broker is and what it writes there, and may differ.
_OF_ONE_BROKER = frozenset(
    [
        "listen",
        "insecure",
        "tls_cert",
        "tls_key",
        "tls_client_ca",
        "auth_file",
        "jwt_jwks",
        "audit_log",
        "metrics",
        "redis",
        "redis_file",
        "redis_ca",
        "redis_cert",
        "redis_key",
        "data_dir",
        "ready_file",
        "log_level",
        "log_format",
    ]
)
#: Names that one line lists.
_LISTED = 5


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        status: how it stands.
        subject: what was looked at.
        text: what was found.
        advice: what to do; empty: nothing.
    """

    status: Status
    subject: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Asked:
    """What one of several brokers said.

    Attributes:
        address: where it was asked.
        info: its answer; None: it gave none.
        error: why.
    """

    address: str
    info: admin.GetServerInfoResponse | None
    error: BrokerError | None = None


@dataclass
class Facts:
    """What is known of a broker.

    Attributes:
        target: where it is.
        client_version: version of this program.
        error: why it did not answer; None: it did.
        info: what it says of itself; None: it did not answer.
        latency: seconds that it took to answer.
        asked: this machine's clock in the middle of that call.
        proxy: what calls go through on their way there, and which variable says so; "": nothing.
        failures: what could not be asked for, and why.
        brokers: what each broker said that the target leads to, as far as they were reached.
    """

    target: str
    client_version: str
    error: BrokerError | None = None
    info: admin.GetServerInfoResponse | None = None
    latency: float = 0.0
    asked: datetime = field(default_factory=lambda: datetime.now(UTC))
    quotas: Sequence[admin.QuotaUse] = ()
    queues: Sequence[admin.QueueInfo] = ()
    dead: Sequence[admin.DeadLetterQueueInfo] = ()
    workers: Sequence[admin.WorkerInfo] = ()
    schedules: Sequence[admin.ScheduleInfo] = ()
    failures: dict[str, BrokerError] = field(default_factory=dict)
    proxy: str = ""
    brokers: Sequence[Asked] = ()

    def setting(self, name: str) -> str:
        """A setting of the broker's; empty when it does not tell."""
        settings = self.info.settings if self.info is not None else ()
        return next((setting.value for setting in settings if setting.name == name), "")


def examine(facts: Facts) -> list[Finding]:
    """All checks, the fundamental ones first; what rests on one that fails is left out."""
    findings = [*_proxy(facts), *_connection(facts)]
    if facts.info is None:
        return findings
    findings += _versions(facts, facts.info)
    findings += _tls(facts, facts.info)
    findings += _auth(facts, facts.info)
    findings += _redis(facts, facts.info)
    if facts.info.redis_ready:
        for check in (*_ON_REDIS, *((_failures,) if facts.failures else _ON_LISTS)):
            findings += check(facts, facts.info)
    return findings


def _proxy(facts: Facts) -> Iterator[Finding]:
    if facts.proxy:
        advice = "name the broker's host in no_proxy if they are not to"
        status = Status.OK if facts.error is None else Status.WARN
        yield Finding(status, "proxy", f"calls go through {facts.proxy}", advice if facts.error else "")


def _connection(facts: Facts) -> Iterator[Finding]:
    if facts.error is None:
        text = f"{facts.target} answers in {words.age(facts.latency)}"
        if facts.latency > SLOW_CALL:
            yield Finding(Status.WARN, "connection", text, "look at the network in between and at the broker's load")
        else:
            yield Finding(Status.OK, "connection", text)
        return
    text = sentence_of(facts.error, facts.target)
    if isinstance(facts.error, Unauthenticated):
        advice = "give a token that the broker knows with DIBS_TOKEN or --token, or a certificate (docs/security.md)"
    elif isinstance(facts.error, PermissionDenied):
        advice = "doctor needs the role server: have it granted in the broker's --auth-file, or use another token"
    elif isinstance(facts.error, Unavailable | DeadlineExceeded):
        advice = (
            "is a broker running there (dibs broker), is --target or DIBS_TARGET right, is a firewall in between, "
            "does it speak TLS (https://, --ca-file), or does it not?"
        )
    else:
        advice = "is that a broker of dibs, and of this version? Its log says more"
    yield Finding(Status.FAIL, "connection", text, advice)


def _versions(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    if info.version.split(".")[:2] == facts.client_version.split(".")[:2]:
        yield Finding(Status.OK, "version", f"broker {info.version}, this program {facts.client_version}")
    else:
        text = f"the broker is {info.version}, this program is {facts.client_version}"
        yield Finding(Status.WARN, "version", text, "update the older of the two")


def _tls(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    ends = {"its certificate": "tls_expire_time", "the authority of clients' certificates": "tls_client_ca_expire_time"}
    for name, field_name in ends.items():
        if not info.HasField(field_name):  # type: ignore[arg-type]  # the names are literals there
            continue
        left = getattr(info, field_name).ToDatetime(UTC) - facts.asked
        advice = "put a new one in place of the file: it is taken within 10 s, without a restart"
        if left < timedelta(0):
            yield Finding(Status.FAIL, "tls", f"{name} has expired: nobody can connect any more", advice)
        elif left < CERTIFICATE_SOON:
            yield Finding(Status.WARN, "tls", f"{name} expires in {left.days} day(s)", advice)
        else:
            yield Finding(Status.OK, "tls", f"{name} is good for {left.days} more days")
    for said in info.advices:
        if said.reason == "TLS_FILES_UNUSABLE":
            text = f"{words.one_line(said.text)} ({said.reason})"
            yield Finding(Status.FAIL, "tls", text, "until then new connections get the certificates from before")


def _auth(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    for said in info.advices:
        if said.reason == "AUTH_FILE_UNUSABLE":
            text = f"{words.one_line(said.text)} ({said.reason})"
            yield Finding(Status.FAIL, "auth", text, "until then the principals and rights from before hold")
        elif said.reason == "AUDIT_LOG_LOST":
            text = f"{words.one_line(said.text)} ({said.reason})"
            yield Finding(
                Status.FAIL, "audit", text, "look at the disk and at who reads the file; it goes on by itself"
            )
        elif said.reason == "JWT_KEYS_UNUSABLE":
            text = f"{words.one_line(said.text)} ({said.reason})"
            yield Finding(Status.FAIL, "auth", text, "until then tokens are verified with the keys from before")


def _redis(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    if not info.redis_ready:
        if info.advices:
            for why in info.advices:
                text = f"{words.one_line(why.text)} ({words.plain(why.reason)})"
                yield Finding(Status.FAIL, "redis", text, "work goes on by itself then; the broker's log says more")
            return
        where = facts.setting("redis")
        text = "Redis does not answer the broker" + (f" at {where}" if where else "")
        advice = (
            "start it, or look at its log and at the network between it and the broker; work goes on by itself then"
        )
        yield Finding(Status.FAIL, "redis", text, advice)
        return
    latency = words.seconds_of(info.redis_latency)
    text = f"{info.redis_version} answers in {words.age(latency)}"
    if latency > SLOW_REDIS:
        yield Finding(Status.WARN, "redis", text, "bring it closer to the broker, or give it a faster machine")
    else:
        yield Finding(Status.OK, "redis", text)
    yield from _memory(info)


def _memory(info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    used, most = info.redis_memory_bytes, info.redis_max_memory_bytes
    if not most:
        yield Finding(Status.OK, "memory", f"Redis uses {words.size(used)}, without a limit of its own")
        return
    text = f"Redis uses {words.size(used)} of {words.size(most)}"
    advice = "raise maxmemory, work off or clear queues, purge dead letters, keep results for a shorter time"
    if used >= MEMORY_FULL * most:
        yield Finding(Status.FAIL, "memory", f"{text}: new items are refused when it is full", advice)
    elif used >= MEMORY_HIGH * most:
        yield Finding(Status.WARN, "memory", text, advice)
    else:
        yield Finding(Status.OK, "memory", text)


def _quotas(facts: Facts, _: admin.GetServerInfoResponse) -> Iterator[Finding]:
    limited = [one for one in facts.quotas if one.limit and one.HasField("used")]
    advice = "work off or remove what is there, or raise its quota (docs/limits.md)"
    worst = Status.OK
    said = []
    for one in limited:
        if one.used >= one.limit:
            worst = Status.FAIL
        elif one.used >= MEMORY_HIGH * one.limit and worst is Status.OK:
            worst = Status.WARN
        said.append(f"{one.used:,} of {one.limit:,} {words.plain(one.quota)}")
    if said:
        text = f"the namespace holds {', '.join(said)}"
        text += ": what would be more is refused" if worst is Status.FAIL else ""
        yield Finding(worst, "quotas", text, "" if worst is Status.OK else advice)


def _advices(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    advices = [advice for advice in info.advices if not advice.reason.startswith(("TLS_", "AUTH_"))]
    for advice in advices:
        text = f"{words.one_line(advice.text)} ({words.plain(advice.reason)})"
        yield Finding(Status.WARN, "settings", text, "docs/deployment.md says how a Redis for dibs is set up")
    if not advices:
        yield Finding(Status.OK, "settings", "nothing to change")


def _clock(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    difference = (facts.asked - info.redis_time.ToDatetime(UTC)).total_seconds()
    # What the call took may be on either side.
    if abs(difference) <= CLOCK_DIFFERENCE + facts.latency / 2:
        yield Finding(Status.OK, "clock", f"this machine and Redis agree to {words.age(abs(difference))}")
    else:
        word = "ahead of" if difference > 0 else "behind"
        text = f"this machine is {words.age(abs(difference))} {word} Redis, whose clock is the one that counts"
        yield Finding(Status.WARN, "clock", text, "let NTP set both; items enqueued for a time come early or late")


def _limits(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    names = ("max_payload_bytes", "max_batch_items", "max_message_bytes", "max_credit")
    said = ", ".join(f"{name} {facts.setting(name)}" for name in names if facts.setting(name))
    yield Finding(Status.OK, "limits", said or "the broker does not tell")


def _brokers(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    """All brokers are to have the same settings, for it is chance which one a call comes to."""
    silent = [asked for asked in facts.brokers if asked.error is not None]
    for asked in silent[:_LISTED]:
        text = "" if asked.error is None else sentence_of(asked.error, asked.address)
        yield Finding(Status.WARN, "brokers", text, "start a broker there, or take the address out of the target")
    there = {asked.info.broker_id: asked.info for asked in facts.brokers if asked.info is not None}
    differing = []
    values = [{setting.name: setting.value for setting in one.settings} for one in there.values()]
    for name in sorted(set().union(*values) - _OF_ONE_BROKER):
        said = {broker: settings.get(name, "not there") for broker, settings in zip(there, values, strict=True)}
        if len(set(said.values())) > 1:
            differing.append(f"{name} is " + ", ".join(f"{value} at {broker}" for broker, value in said.items()))
    if differing:
        text = "; ".join(differing[:_LISTED]) + (f"; and {len(differing) - _LISTED} more" * (len(differing) > _LISTED))
        advice = "give all brokers the same settings: it is chance which of them a call comes to"
        yield Finding(Status.WARN, "brokers", text, advice)
    elif len(there) > 1:
        yield Finding(Status.OK, "brokers", f"{len(there)} were reached, and have the same settings")


def _workers(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    unserved = [queue.name for queue in facts.queues if _is_unserved(queue, facts.workers)]
    if unserved:
        text = f"no worker serves {_listed(unserved)}, where tasks wait"
        yield Finding(Status.WARN, "workers", text, "start one: dibs worker MODULE --queues NAME")
    else:
        brokers = len({worker.broker_id for worker in facts.workers})
        where = f" on {brokers} broker(s)" if brokers else ""
        connected = worker_conditions.count(facts.workers)
        yield Finding(Status.OK, "workers", f"{connected} connected{where}; no task waits in vain")
    for sentence in worker_conditions.silent(facts.workers):
        advice = (
            "a task that holds the interpreter does that, or a process that is frozen; the worker's log says its pid "
            "and what it runs. If it hangs, kill that process: it is replaced"
        )
        yield Finding(Status.WARN, "workers", sentence, advice)
    for sentence in worker_conditions.overdue(facts.workers):
        advice = (
            "it may run elsewhere, too: give the task lease= instead of vis_timeout=, or a longer one. If it hangs, "
            "kill its process: it is replaced"
        )
        yield Finding(Status.WARN, "workers", sentence, advice)


def _unknown_tasks(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    for sentence in unknown_tasks(facts.queues):
        yield Finding(Status.WARN, "tasks", sentence, "start a worker whose module defines it, or: dibs clear QUEUE")


def _is_unserved(queue: admin.QueueInfo, workers: Sequence[admin.WorkerInfo]) -> bool:
    if queue.kind != QUEUE_KIND_TASK or not queue.ready or queue.paused:
        return False
    kind = (worker for worker in workers if worker.kind == QUEUE_KIND_TASK)
    return not any(not worker.queues or queue.name in worker.queues for worker in kind)


def _schedules(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    stuck = [one.schedule.name for one in facts.schedules if one.state == admin.SCHEDULE_STATE_NO_WORKER]
    if stuck:
        text = f"{_listed(stuck)}: due, but no connected worker knows the task"
        yield Finding(Status.WARN, "schedules", text, "start a worker with that task, or: dibs schedules delete NAME")
    unreadable = [one.schedule.name for one in facts.schedules if one.state == admin.SCHEDULE_STATE_UNREADABLE]
    if unreadable:
        text = f"{_listed(unreadable)}: this broker cannot read them; they do not run until one can"
        advice = "update the brokers to one version; have them put again, or: dibs schedules delete NAME"
        yield Finding(Status.WARN, "schedules", text, advice)
    if not stuck and not unreadable:
        yield Finding(Status.OK, "schedules", f"{len(facts.schedules)}, all can run")


def _queues(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    paused = [queue.name for queue in facts.queues if queue.paused]
    if paused:
        yield Finding(Status.WARN, "queues", f"paused: {_listed(paused)}", "when that is over: dibs resume QUEUE")
    now = info.redis_time.ToDatetime(UTC)
    waits = [
        (queue.name, words.since(queue.oldest_ready_time, now))
        for queue in facts.queues
        if queue.HasField("oldest_ready_time") and not queue.paused
    ]
    late = [name for name, seconds in waits if seconds > LONG_WAIT]
    if late:
        text = f"items have waited for up to {words.age(max(seconds for _, seconds in waits))} in {_listed(late)}"
        yield Finding(Status.WARN, "queues", text, "more workers, or a higher priority: dibs priority QUEUE NUMBER")
    if not paused and not late:
        yield Finding(Status.OK, "queues", f"{len(facts.queues)}, none paused, none held up")


def _set_aside(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    some = [queue for queue in facts.queues if queue.set_aside]
    if some:
        text = f"{sum(queue.set_aside for queue in some):,} item(s) of {_listed([queue.name for queue in some])}"
        advice = (
            "see why: dibs tasks QUEUE --section set-aside. Once the cause is gone (brokers of one version, a larger "
            "--max-message-bytes): dibs redrive QUEUE --all; or dibs delete ID"
        )
        yield Finding(Status.WARN, "set aside", text, advice)


def _dead_letters(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    full = [queue for queue in facts.dead if queue.size]
    if full:
        text = f"{sum(queue.size for queue in full):,} in {_listed([queue.name for queue in full])}"
        advice = "see what they died of: dibs dead show; then dibs dead redrive or dibs dead purge"
        yield Finding(Status.WARN, "dead letters", text, advice)
    else:
        yield Finding(Status.OK, "dead letters", "none")


def _failures(facts: Facts, info: admin.GetServerInfoResponse) -> Iterator[Finding]:
    for subject, error in facts.failures.items():
        yield Finding(Status.FAIL, subject, sentence_of(error, facts.target), "ask the broker's log")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(words.plain(name) for name in names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


_Check: TypeAlias = Callable[[Facts, admin.GetServerInfoResponse], Iterator[Finding]]
#: What rests on Redis, and what on the lists of the namespace besides.
_ON_REDIS: tuple[_Check, ...] = (_advices, _clock, _limits, _brokers)
_ON_LISTS: tuple[_Check, ...] = (_quotas, _workers, _unknown_tasks, _schedules, _queues, _set_aside, _dead_letters)
