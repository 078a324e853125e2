"""What deploy/ and docs/deployment.md say is true of the settings."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import dibs.rpc.connection
from dibs.broker.config.options import options
from dibs.broker.config.settings import Settings
from dibs.broker.config.units import parse_span
from dibs.cli.health import command as health_command
from dibs.worker.cli import command as worker_command

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
#: Flags of other programs.
FOREIGN = {
    "--appendfsync",
    "--appendonly",
    "--build",
    "--build-arg",
    "--cap-drop",
    "--create-home",
    "--from",
    "--gid",
    "--home-dir",
    "--interval",
    "--maxmemory-policy",
    "--mode",
    "--no-cache-dir",
    "--now",
    "--read-only",
    "--retries",
    "--security-opt",
    "--shell",
    "--start-period",
    "--system",
    "--timeout",
    "--tmpfs",
    "--uid",
}


def texts() -> Iterator[tuple[str, str]]:
    for path in [*DEPLOY.rglob("*"), ROOT / "docs" / "deployment.md"]:
        if path.is_file() and path.suffix != ".pyc":
            yield str(path.relative_to(ROOT)), path.read_text()


def documents(path: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / path).read_text()))


def of_kind(path: str, kind: str) -> dict[str, Any]:
    (found,) = [document for document in documents(path) if document["kind"] == kind]
    return dict(found)


def worker_variables() -> set[str]:
    return {str(parameter.envvar) for parameter in worker_command.params if parameter.envvar}


def flags_of(command: Any) -> set[str]:
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


def span(text: str) -> timedelta:
    value = parse_span(text)
    assert isinstance(value, timedelta), text
    return value


def test_every_variable_is_a_setting() -> None:
    client = set(re.findall(r'"(DIBS_[A-Z_]+)"', Path(str(dibs.rpc.connection.__file__)).read_text()))
    known = {option.env for option in options()} | worker_variables() | client
    unknown = {
        (path, name) for path, text in texts() for name in re.findall(r"DIBS_[A-Z_]*[A-Z]", text) if name not in known
    }
    # "DIBS_WORKER_*" in a text stands for all of them.
    assert {one for one in unknown if one[1] != "DIBS_WORKER"} == set()


def test_every_flag_is_an_option() -> None:
    known = {"--config", *(option.flag for option in options())}
    known |= flags_of(worker_command) | flags_of(health_command) | FOREIGN | {"--help"}
    unknown = {
        (path, flag)
        for path, text in texts()
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+[a-z]", text)
        if flag not in known
    }
    assert unknown == set()


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.name)
def test_yaml_is_well_formed(path: Path) -> None:
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(path.read_text()))


def test_settings_of_the_brokers_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compose = documents("docker/docker-compose.yml")[0]["x-broker"]["environment"]
    manifest = of_kind("kubernetes/settings.yaml", "ConfigMap")["data"]
    secret = tmp_path / "redis-url"
    secret.write_text("redis://dibs:secret@redis:6379/0\n")
    for environment in (compose, manifest):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                assert isinstance(value, str), f"{name} must be text"
                patch.setenv(name, value)
            patch.setenv("DIBS_REDIS_FILE", str(secret))
            settings = Settings.load({})
        assert settings.redis == "redis://dibs:secret@redis:6379/0"
        # HAProxy's 1.5 s and Envoy's 2 s.
        assert settings.drain_delay > timedelta(seconds=3)
        assert settings.max_connection_age is not None


def test_brokers_and_workers_are_given_the_time_that_they_may_take() -> None:
    compose = documents("docker/docker-compose.yml")[0]
    broker = compose["x-broker"]
    leave = span(broker["environment"]["DIBS_DRAIN_DELAY"]) + span(broker["environment"]["DIBS_GRACE"])
    assert span(broker["stop_grace_period"]) > leave
    assert span(compose["x-worker"]["stop_grace_period"]) > worker_leave(compose["x-worker"]["command"])

    pod = of_kind("kubernetes/broker.yaml", "Deployment")["spec"]["template"]["spec"]
    data = of_kind("kubernetes/settings.yaml", "ConfigMap")["data"]
    before = timedelta(seconds=int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1]))
    leave = before + span(data["DIBS_DRAIN_DELAY"]) + span(data["DIBS_GRACE"])
    assert timedelta(seconds=pod["terminationGracePeriodSeconds"]) > leave
    pod = of_kind("kubernetes/worker.yaml", "Deployment")["spec"]["template"]["spec"]
    assert timedelta(seconds=pod["terminationGracePeriodSeconds"]) > worker_leave(pod["containers"][0]["args"])

    unit = (DEPLOY / "systemd" / "dibs-broker.service").read_text()
    grace = span(re.findall(r"DIBS_GRACE=(\w+)", unit)[0])
    assert span(re.findall(r"(?m)^TimeoutStopSec=(\d+)$", unit)[0]) > grace + timedelta(seconds=60)
    unit = (DEPLOY / "systemd" / "dibs-worker@.service").read_text()
    wait = span(re.findall(r"DIBS_WORKER_WAIT=(\d+)", unit)[0])
    assert span(re.findall(r"(?m)^TimeoutStopSec=(\d+)$", unit)[0]) > wait + timedelta(seconds=5)


def worker_leave(command: list[str]) -> timedelta:
    """What `--wait` says, and the 5 s that a connector gives its processes beyond it."""
    return span(command[command.index("--wait") + 1]) + timedelta(seconds=5)


def test_nginx_gives_idle_connections_up_before_the_broker_pings_them() -> None:
    upstream = (DEPLOY / "nginx" / "dibs.conf").read_text().partition("server {")[0]
    (kept,) = re.findall(r"(?m)^ +keepalive_timeout (\w+);", upstream)
    assert span(kept) < Settings().keepalive_time


def test_clients_ping_less_often_than_the_broker_minds() -> None:
    pings_ms = dict(dibs.rpc.connection.Connection().options)["grpc.keepalive_time_ms"]
    assert timedelta(milliseconds=pings_ms) > Settings().min_ping_interval


def test_all_balancers_know_the_same_two_brokers() -> None:
    services = documents("docker/docker-compose.yml")[0]["services"]
    for path in ("nginx/dibs.conf", "haproxy/haproxy.cfg"):
        assert set(re.findall(r"broker-\d(?=:7411)", (DEPLOY / path).read_text())) == {"broker-1", "broker-2"}
    envoy = documents("envoy/envoy.yaml")[0]["static_resources"]["clusters"][0]["load_assignment"]["endpoints"]
    addresses = [one["endpoint"]["address"]["socket_address"] for one in envoy[0]["lb_endpoints"]]
    assert [one["address"] for one in addresses] == ["broker-1", "broker-2"]
    assert {one["port_value"] for one in addresses} == {7411}
    assert {"broker-1", "broker-2", "redis", "haproxy", "worker-1", "worker-2"} == set(services)


def test_files_that_are_referred_to_are_there() -> None:
    compose = documents("docker/docker-compose.yml")[0]
    build = compose["x-broker"]["build"]
    context = (DEPLOY / "docker" / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).is_file()
    mounts = [*compose["x-worker"]["volumes"], *compose["services"]["haproxy"]["volumes"]]
    for mount in mounts:
        assert (DEPLOY / "docker" / mount.split(":")[0]).exists(), mount
    for resource in documents("kubernetes/kustomization.yaml")[0]["resources"]:
        assert (DEPLOY / "kubernetes" / resource).is_file()
    sent = [
        line for line in (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for line in sent:
        assert (ROOT / line[1:]).exists(), line
    for path in re.findall(r"`(deploy/[^`*{ ]+)`", (ROOT / "docs" / "deployment.md").read_text()):
        assert (ROOT / path).exists(), path


def test_the_workers_of_the_compose_file_have_a_task() -> None:
    code = "import tasks; print(tasks.hello.name)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=DEPLOY / "docker" / "tasks", capture_output=True, text=True, check=True
    )
    assert "hello" in done.stdout


def test_the_systemd_units_are_valid(tmp_path: Path) -> None:
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("no systemd on this machine")
    units = []
    for unit in (DEPLOY / "systemd").iterdir():
        units.append(tmp_path / unit.name.replace("@", "@shop.tasks"))
        # It looks whether the program is there.
        units[-1].write_text(unit.read_text().replace("/opt/dibs/bin/dibs", sys.executable))
    done = subprocess.run([verifier, "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
