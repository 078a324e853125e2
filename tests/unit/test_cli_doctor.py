"""What `dibs doctor` makes of what it finds."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dibs import errors
from dibs.cli.checks import Asked, Facts, Finding, Status, examine
from dibs.cli.doctor import summary
from dibs.rpc.addresses import each_address
from dibs.rpc.connection import Connection
from dibs.v1 import admin_pb2 as admin
from dibs.v1 import types_pb2 as tpb

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SUBJECTS = [
    "connection",
    "version",
    "redis",
    "memory",
    "settings",
    "clock",
    "limits",
    "workers",
    "schedules",
    "queues",
    "dead letters",
]


def stamp(time: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(time)
    return made


def well(**changes: Any) -> Facts:
    """Of a broker that is well, but for what a test changes."""
    fields: dict[str, Any] = {
        "version": "1.2.3",
        "redis_ready": True,
        "redis_version": "redis 7.2.5",
        "redis_latency": Duration(nanos=300_000),
        "redis_time": stamp(NOW),
        "redis_memory_bytes": 2**20,
        "settings": [admin.Setting(name="max_payload_bytes", value="256KiB")],
    }
    info = admin.GetServerInfoResponse(**{**fields, **changes})
    return Facts("host:7411", "1.2.0", info=info, latency=0.001, asked=NOW)


def found(facts: Facts, subject: str) -> Finding:
    [finding] = [finding for finding in examine(facts) if finding.subject == subject]
    return finding


def task_queue(name: str = "q", **fields: Any) -> admin.QueueInfo:
    return admin.QueueInfo(name=name, kind=tpb.QUEUE_KIND_TASK, **fields)


def test_all_is_well() -> None:
    findings = examine(well())
    assert [finding.subject for finding in findings] == SUBJECTS
    assert {finding.status for finding in findings} == {Status.OK}
    assert summary(findings) == "All is well."
    assert found(well(), "limits").text == "max_payload_bytes 256KiB"


@pytest.mark.parametrize(
    ("error", "text", "advice"),
    [
        (
            errors.Unavailable("x: Connection refused"),
            "no broker answers at host:7411 (Connection refused)",
            "dibs broker",
        ),
        (errors.DeadlineExceeded("x"), "no answer from host:7411 in time", "firewall"),
        (errors.Unauthenticated("no token"), "does not allow this: no token", "DIBS_TOKEN"),
        (errors.PermissionDenied("no role server"), "no role server", "needs the role server"),
        (errors.BrokerError("no such method"), "no such method", "of this version"),
    ],
)
def test_without_a_connection_only_that_is_said(error: errors.BrokerError, text: str, advice: str) -> None:
    [finding] = examine(Facts("host:7411", "1.2.0", error=error))
    assert finding.status is Status.FAIL
    assert text in finding.text
    assert advice in finding.advice
    assert summary([finding]) == "1 failed, 0 to look at."


def test_a_redis_that_is_there_and_does_not_serve_is_called_what_it_is() -> None:
    why = admin.Advice(reason="REDIS_READ_ONLY", text="Redis is read-only.")
    finding = found(well(redis_ready=False, advices=[why]), "redis")
    assert finding.status is Status.FAIL
    assert finding.text == "Redis is read-only. (REDIS_READ_ONLY)"
    assert "start it" not in finding.advice


def test_without_redis_nothing_is_said_of_what_is_in_it() -> None:
    facts = well(redis_ready=False, settings=[admin.Setting(name="redis", value="redis://10.0.0.1")])
    assert [finding.subject for finding in examine(facts)] == ["connection", "version", "redis"]
    finding = found(facts, "redis")
    assert finding.status is Status.FAIL
    assert finding.text == "Redis does not answer the broker at redis://10.0.0.1"
    assert "start it" in finding.advice


@pytest.mark.parametrize(
    ("changes", "subject", "status", "text"),
    [
        ({"version": "2.0.0"}, "version", Status.WARN, "the broker is 2.0.0, this program is 1.2.0"),
        ({"redis_latency": Duration(nanos=50_000_000)}, "redis", Status.WARN, "50 ms"),
        ({"redis_max_memory_bytes": 2**30}, "memory", Status.OK, "1 MiB of 1 GiB"),
        ({"redis_max_memory_bytes": 1_200_000}, "memory", Status.WARN, "1 MiB of"),
        ({"redis_max_memory_bytes": 2**20}, "memory", Status.FAIL, "refused when it is full"),
        ({"redis_time": stamp(NOW + timedelta(seconds=60))}, "clock", Status.WARN, "1 m 0 s behind Redis"),
        ({"redis_time": stamp(NOW - timedelta(seconds=60))}, "clock", Status.WARN, "1 m 0 s ahead of Redis"),
        ({"redis_time": stamp(NOW - timedelta(seconds=1))}, "clock", Status.OK, "agree to 1.0 s"),
        (
            {"advices": [admin.Advice(reason="NO_AOF", text="Turn it on.")]},
            "settings",
            Status.WARN,
            "Turn it on. (NO_AOF)",
        ),
    ],
)
def test_what_a_broker_says_of_itself(changes: dict[str, Any], subject: str, status: Status, text: str) -> None:
    finding = found(well(**changes), subject)
    assert finding.status is status
    assert text in finding.text
    assert bool(finding.advice) is (status is not Status.OK)


def test_a_slow_connection_is_worth_a_word() -> None:
    facts = well()
    facts.latency = 0.5
    assert found(facts, "connection").status is Status.WARN


def test_tasks_that_wait_for_nobody() -> None:
    facts = well()
    facts.queues = [
        task_queue("unserved", ready=1),
        task_queue("served", ready=1),
        task_queue("empty"),
        task_queue("resting", ready=1, paused=True),
        admin.QueueInfo(name="data", kind=tpb.QUEUE_KIND_DATA, ready=1),
    ]
    facts.workers = [admin.WorkerInfo(worker_id="w", kind=tpb.QUEUE_KIND_TASK, queues=["served"], broker_id="b")]
    finding = found(facts, "workers")
    assert (finding.status, finding.text) == (Status.WARN, "no worker serves unserved, where tasks wait")
    facts.workers = [admin.WorkerInfo(worker_id="w", kind=tpb.QUEUE_KIND_TASK, broker_id="b")]
    assert found(facts, "workers").text == "1 connected on 1 broker(s); no task waits in vain"


def test_workers_that_run_what_is_not_theirs_any_more_or_are_silent() -> None:
    facts = well()
    late = tpb.WorkerState(
        overdue=[
            tpb.OverdueItem(id=f"i{n}", task_name="shop.send", overdue=Duration(seconds=90 - n)) for n in range(7)
        ],
        overdue_count=12,
    )
    still = tpb.WorkerState(silence=Duration(seconds=34))
    names = {"web:1-1/threads": late, "web:1-2/threads": still, "web:1-2/async-tasks": still}
    facts.workers = [
        admin.WorkerInfo(worker_id=name, kind=tpb.QUEUE_KIND_TASK, broker_id="b", state=state)
        for name, state in names.items()
    ]
    findings = [finding for finding in examine(facts) if finding.subject == "workers"]
    assert [finding.status for finding in findings] == [Status.OK] + [Status.WARN] * 7
    assert [finding.text for finding in findings[:3]] == [
        "2 connected on 1 broker(s); no task waits in vain",
        "web:1-2 has given no sign of life for 34 s",
        "web:1-1/threads runs shop.send i0, whose lease has been over for 1 m 30 s",
    ]
    assert findings[-1].text == "web:1-1/threads runs 7 more whose leases are over"


def test_workers_of_the_same_name_are_counted_each() -> None:
    facts = well()
    names = ["w", "w", "w/threads", "w/async-tasks", "v/threads", "v/threads", "v/async-tasks"]
    facts.workers = [admin.WorkerInfo(worker_id=name, kind=tpb.QUEUE_KIND_TASK, broker_id="b") for name in names]
    assert found(facts, "workers").text.startswith("4 connected")


def test_queues_that_stand_still() -> None:
    facts = well()
    facts.queues = [
        task_queue("resting", paused=True, ready=1, oldest_ready_time=stamp(NOW - timedelta(days=1))),
        task_queue("late", ready=1, oldest_ready_time=stamp(NOW - timedelta(hours=1))),
        task_queue("early", ready=1, oldest_ready_time=stamp(NOW - timedelta(seconds=1))),
    ]
    findings = [finding for finding in examine(facts) if finding.subject == "queues"]
    assert [finding.text for finding in findings] == ["paused: resting", "items have waited for up to 1 h 0 m in late"]


def test_queues_of_one_name_are_told_apart() -> None:
    facts = well()
    early = stamp(NOW - timedelta(seconds=1))
    facts.queues = [
        task_queue("q", ready=1, oldest_ready_time=stamp(NOW - timedelta(hours=1))),
        admin.QueueInfo(name="q", kind=tpb.QUEUE_KIND_DATA, ready=1, oldest_ready_time=early),
    ]
    assert found(facts, "queues").text == "items have waited for up to 1 h 0 m in q"


def test_schedules_and_dead_letters() -> None:
    facts = well()
    facts.schedules = [
        admin.ScheduleInfo(schedule=admin.Schedule(name=f"s{number}"), state=admin.SCHEDULE_STATE_NO_WORKER)
        for number in range(8)
    ]
    facts.dead = [admin.DeadLetterQueueInfo(name="a", size=2), admin.DeadLetterQueueInfo(name="empty")]
    assert found(facts, "schedules").text.startswith("s0, s1, s2, s3, s4 and 3 more: due")
    assert found(facts, "dead letters").text == "2 in a"


def test_what_is_set_aside_is_told_with_the_remedy() -> None:
    facts = well()
    facts.queues = [task_queue("a", set_aside=2), task_queue("b", set_aside=1), task_queue("c")]
    finding = found(facts, "set aside")
    assert (finding.status, finding.text) == (Status.WARN, "3 item(s) of a, b")
    assert "dibs redrive QUEUE --all" in finding.advice


def test_tasks_that_no_worker_knows_are_told() -> None:
    facts = well()
    facts.queues = [task_queue("a", parked_tasks=[admin.ParkedTask(task_name="shop.send", items=3)])]
    finding = found(facts, "tasks")
    assert (finding.status, finding.text) == (Status.WARN, "3 calls of shop.send wait, no worker knows it")


def test_schedules_that_the_broker_cannot_read_are_named() -> None:
    facts = well()
    facts.schedules = [admin.ScheduleInfo(schedule=admin.Schedule(name="s"), state=admin.SCHEDULE_STATE_UNREADABLE)]
    finding = found(facts, "schedules")
    assert finding.status is Status.WARN
    assert finding.text == "s: this broker cannot read them; they do not run until one can"


def test_what_could_not_be_asked_for_fails() -> None:
    facts = well()
    facts.failures["namespace"] = errors.PermissionDenied("not yours")
    finding = found(facts, "namespace")
    assert finding.status is Status.FAIL
    assert "not yours" in finding.text
    # Nothing is said of what is not known, least of all that it is well.
    said = [one.subject for one in examine(facts)]
    assert said == ["connection", "version", "redis", "memory", "settings", "clock", "limits", "namespace"]


def test_a_proxy_on_the_way_is_named() -> None:
    facts = well()
    facts.proxy = "proxy:3128 (https_proxy)"
    assert found(facts, "proxy") == Finding(Status.OK, "proxy", "calls go through proxy:3128 (https_proxy)")
    away = Facts("host:7411", "1.2.0", error=errors.Unavailable("x: Connection refused"), proxy=facts.proxy)
    assert found(away, "proxy").status is Status.WARN
    assert "no_proxy" in found(away, "proxy").advice


@pytest.mark.parametrize(
    ("left", "status", "text"),
    [
        (timedelta(days=80, hours=1), Status.OK, "its certificate is good for 80 more days"),
        (timedelta(days=13, hours=1), Status.WARN, "its certificate expires in 13 day(s)"),
        (-timedelta(hours=1), Status.FAIL, "its certificate has expired: nobody can connect any more"),
    ],
)
def test_the_end_of_a_certificate_is_told_in_days(left: timedelta, status: Status, text: str) -> None:
    seen = found(well(tls_expire_time=stamp(NOW + left)), "tls")
    assert (seen.status, seen.text) == (status, text)


def test_the_end_of_the_authority_of_clients_is_told_beside_it_also_without_redis() -> None:
    ends = {"tls_expire_time": stamp(NOW + timedelta(days=90, hours=1)), "redis_ready": False}
    ends["tls_client_ca_expire_time"] = stamp(NOW + timedelta(days=3, hours=1))
    seen = [(one.status, one.text) for one in examine(well(**ends)) if one.subject == "tls"]
    assert seen == [
        (Status.OK, "its certificate is good for 90 more days"),
        (Status.WARN, "the authority of clients' certificates expires in 3 day(s)"),
    ]


def test_a_file_of_principals_that_does_not_serve_is_told() -> None:
    facts = well(advices=[admin.Advice(reason="AUTH_FILE_UNUSABLE", text="--auth-file /a is not valid TOML")])
    seen = [(one.status, one.text) for one in examine(facts) if one.subject == "auth"]
    assert seen == [(Status.FAIL, "--auth-file /a is not valid TOML (AUTH_FILE_UNUSABLE)")]
    assert found(facts, "settings").status is Status.OK


def test_files_of_certificates_that_do_not_serve_are_told_and_are_no_matter_of_redis() -> None:
    advices = [
        admin.Advice(reason="TLS_CERT_EXPIRES", text="expires"),
        admin.Advice(reason="TLS_FILES_UNUSABLE", text="--tls-key /k does not hold a key"),
    ]
    facts = well(advices=advices, tls_expire_time=stamp(NOW + timedelta(days=3)))
    seen = [(one.status, one.text) for one in examine(facts) if one.subject == "tls"]
    assert seen == [
        (Status.WARN, "its certificate expires in 3 day(s)"),
        (Status.FAIL, "--tls-key /k does not hold a key (TLS_FILES_UNUSABLE)"),
    ]
    assert found(facts, "settings").status is Status.OK


def broker(name: str, **settings: str) -> Asked:
    said = [admin.Setting(name=key, value=value) for key, value in settings.items()]
    return Asked(f"ipv4:{name}:7411", admin.GetServerInfoResponse(broker_id=name, settings=said))


def test_brokers_that_differ_in_a_setting_are_named() -> None:
    facts = well()
    facts.brokers = [
        broker("one", max_payload_bytes="256KiB", listen="a:1", grace="30s"),
        broker("two", max_payload_bytes="1KiB", listen="b:1", grace="30s"),
        broker("one", max_payload_bytes="256KiB", listen="a:1", grace="30s"),
    ]

    finding = found(facts, "brokers")

    assert finding.status is Status.WARN
    assert finding.text == "max_payload_bytes is 256KiB at one, 1KiB at two"
    assert "the same settings" in finding.advice


def test_brokers_with_the_same_settings_are_well_but_for_those_that_do_not_answer() -> None:
    facts = well()
    facts.brokers = [broker("one", grace="30s"), broker("two", grace="30s")]
    assert found(facts, "brokers") == Finding(Status.OK, "brokers", "2 were reached, and have the same settings")

    facts.brokers = [*facts.brokers, Asked("ipv4:three:7411", None, errors.Unavailable("Connection refused"))]
    silent, well_ = [finding for finding in examine(facts) if finding.subject == "brokers"]
    assert (silent.status, well_.status) == (Status.WARN, Status.OK)
    assert "ipv4:three:7411" in silent.text


def test_of_one_broker_nothing_is_said() -> None:
    facts = well()
    facts.brokers = [broker("one"), broker("one")]
    assert not [finding for finding in examine(facts) if finding.subject == "brokers"]


@pytest.mark.parametrize(
    ("target", "addresses"),
    [
        ("ipv4:10.0.0.1:7411,10.0.0.2:7411", ["ipv4:10.0.0.1:7411", "ipv4:10.0.0.2:7411"]),
        ("ipv4:10.0.0.1:7411", ["ipv4:10.0.0.1:7411"]),
        ("ipv6:[::1]:1,[::1]:2", ["ipv6:[::1]:1", "ipv6:[::1]:2"]),
        ("127.0.0.1:7411", ["127.0.0.1:7411"]),
        ("unix:/tmp/a", ["unix:/tmp/a"]),
        ("nowhere.invalid:7411", ["nowhere.invalid:7411"]),
    ],
)
def test_each_address_of_a_target_is_asked(target: str, addresses: list[str]) -> None:
    assert [one.target for one in each_address(Connection(target=target))] == addresses


def test_a_name_with_several_addresses_keeps_its_name_for_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        assert (host, port) == ("queue.example.org", 443)
        v4, v6 = socket.AF_INET, socket.AF_INET6
        two = [(v4, 1, 6, "", ("10.0.0.1", port)), (v4, 1, 6, "", ("10.0.0.2", port))]
        return [*two, (v6, 1, 6, "", ("fe80::1", port, 0, 0)), two[0]]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)

    found = each_address(Connection(target="dns:///queue.example.org:443", tls=True))

    assert [one.target for one in found] == ["ipv4:10.0.0.1:443", "ipv4:10.0.0.2:443"]
    assert all(("grpc.ssl_target_name_override", "queue.example.org") in one.channel_options for one in found)


@pytest.mark.parametrize(
    ("used", "status"), [(None, None), (1, Status.OK), (8, Status.WARN), (10, Status.FAIL), (12, Status.FAIL)]
)
def test_a_namespace_that_gets_full_is_told(used: int | None, status: Status | None) -> None:
    facts = well()
    facts.quotas = [admin.QuotaUse(quota="items", used=used, limit=10), admin.QuotaUse(quota="locks", used=3)]

    told = [finding for finding in examine(facts) if finding.subject == "quotas"]

    assert [finding.status for finding in told] == ([] if status is None else [status])
    assert all("10 items" in finding.text and "locks" not in finding.text for finding in told)
    assert all(bool(finding.advice) is (finding.status is not Status.OK) for finding in told)
