"""What deploy/docker says of containers, tried without any: linted, its Redis with its users, its walls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import yaml

from dibs import Dibs

from ..support.imports import SOURCES
from ..support.ports import free_port
from ..support.processes import environment, run_dibs, running_broker
from ..support.redis import running
from ..support.waiting import until

DOCKER = SOURCES / "deploy" / "docker"
COMPOSE = DOCKER / "docker-compose.yml"
LINTER = ("dclint", "3.1.0")
#: A container with a read-only root, a /tmp of its own, no capabilities, and no way to get any.
WALLS = """
for mount in $(cut -d' ' -f5 /proc/self/mountinfo); do
    case $mount in /proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro "$mount" || exit 125 ;; esac
done
mount -t tmpfs -o size=64m,mode=1777 tmpfs /tmp || exit 125
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What make-secrets.sh makes."""
    folder = tmp_path / "secrets"
    subprocess.run([DOCKER / "make-secrets.sh", folder], check=True, capture_output=True)
    return folder


def test_the_linter_of_compose_files_finds_no_error() -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on this machine")
    name, version = LINTER
    folder = SOURCES / ".cache" / f"{name}-{version}"
    program = folder / "node_modules" / ".bin" / name
    if not program.exists():
        install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
        done = subprocess.run([*install, f"{name}@{version}"], capture_output=True, text=True, check=False, timeout=100)
        if done.returncode:
            pytest.skip(f"{name} cannot be fetched: {done.stderr.strip()[-200:]}")
    done = subprocess.run([program, "--quiet", COMPOSE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_secrets_are_made_once_and_nobody_else_on_the_machine_gets_at_them(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert before.keys() == {Path(one["file"]).name for one in yaml.safe_load(COMPOSE.read_text())["secrets"].values()}
    assert secrets.stat().st_mode & 0o077 == 0
    # Containers' users have other numbers.
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in secrets.iterdir())

    again = subprocess.run([DOCKER / "make-secrets.sh", secrets], check=True, capture_output=True, text=True)

    assert "are there already" in again.stdout
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    other = secrets.with_name("other")
    subprocess.run([DOCKER / "make-secrets.sh", other], check=True, capture_output=True)
    assert (other / "redis-url").read_text() != before["redis-url"]


def test_the_redis_of_compose_has_the_user_of_the_manual(secrets: Path) -> None:
    (line,) = [
        line
        for line in (SOURCES / "docs" / "security.md").read_text().splitlines()
        if line.startswith("ACL SETUSER dibs ")
    ]
    (user,) = [line for line in (secrets / "redis.conf").read_text().splitlines() if line.startswith("user dibs ")]
    password = user.split()[3]
    assert len(password) == len(">") + 64
    assert user == line.replace("ACL SETUSER", "user").replace(">PASSWORD", password)


def test_the_redis_of_compose_lets_the_broker_in_and_nobody_else(secrets: Path, redis_program: str) -> None:
    port = free_port()
    (secrets / "redis.conf").write_text((secrets / "redis.conf").read_text().replace("dir /data\n", ""))
    url = secrets / "redis-url"
    url.write_text(url.read_text().replace("@redis:6379/", f"@127.0.0.1:{port}/"))
    with (
        running(redis_program, "--port", str(port), conf=secrets / "redis.conf") as server,
        running_broker("--redis-file", str(url)) as broker,
        Dibs(broker.address) as app,
    ):
        queue = app.Data("q")
        queue.put_data("a")
        assert list(queue.get_data().values()) == ["a"]
        assert "append-only" not in broker.output
        with redis.Redis(port=port) as stranger:
            assert stranger.ping()
            with pytest.raises(redis.exceptions.NoPermissionError):
                stranger.keys("*")
        assert server.process.poll() is None
        password = url.read_text().split(":")[2].partition("@")[0]
        assert password not in broker.output
        assert password not in run_dibs("doctor", "--target", broker.address).stdout


@contextmanager
def walled(*words: str, log: Path, cwd: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`dibs WORDS...` behind the walls that compose and Kubernetes put up."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", WALLS, "sh", sys.executable, "-m", "dibs"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *words],
            cwd=cwd,
            env=environment({"PYTHONDONTWRITEBYTECODE": "1", **env}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def test_brokers_and_workers_need_no_more_than_a_tmp_of_their_own(redis_program: str, tmp_path: Path) -> None:
    if os.getuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        pytest.skip("needs root to put up the walls")
    tried = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", WALLS, "sh", "touch", "/usr/x"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Read-only file system" not in tried.stderr:
        pytest.skip(f"walls cannot be put up here: {tried.stderr}")
    redis_port, port = free_port(), free_port()
    target = f"127.0.0.1:{port}"
    # No logs in /tmp, which the processes have one of their own of; descriptors that are open stay.
    with (
        running(redis_program, "--port", str(redis_port)),
        walled(
            *("broker", "--listen", target, "--redis", f"redis://127.0.0.1:{redis_port}"),
            log=tmp_path / "broker",
            cwd=SOURCES,
            env={},
        ) as broker,
        Dibs(target, timeout=60) as app,
        walled(
            *("worker", "tasks", "--threads", "8", "--wait", "20"),
            log=tmp_path / "worker",
            cwd=DOCKER / "tasks",
            env={"DIBS_TARGET": target},
        ) as worker,
    ):
        until(lambda: f"listening on {target}" in (tmp_path / "broker").read_text(), "the broker")
        hello = app.task(name="tasks.hello", queue="hello", save_results=60)(lambda name: "")
        assert hello.execute("walls").get(timeout=60) == "Hello, walls!"
        assert run_dibs("health", "--target", target).stdout == "SERVING\n"
    assert (broker.returncode, worker.returncode) == (0, 0)
    for name in ("broker", "worker"):
        assert "Traceback" not in (tmp_path / name).read_text()
        assert "Read-only file system" not in (tmp_path / name).read_text()
