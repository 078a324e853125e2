"""`dibs broker` and `dibs dev` as processes, and any gRPC tool as their client."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ..support.processes import grpcurl, run_dibs, running_broker, running_dibs
from ..support.redis import running

ITEM = {"id": "a", "queue": "q", "kind": "QUEUE_KIND_DATA", "content": {"payload": "aGk="}}


def test_grpcurl_works_a_queue_with_no_proto_files() -> None:
    with running_broker() as broker:
        put = grpcurl(broker.address, "dibs.v1.BrokerService/Enqueue", json.dumps({"items": [ITEM]}))
        assert json.loads(put.stdout)["items"][0]["outcome"] == "ENQUEUE_OUTCOME_CREATED", put.stderr
        lease = json.dumps({"queues": ["q"], "kind": "QUEUE_KIND_DATA", "max_items": 1})
        got = grpcurl(broker.address, "dibs.v1.BrokerService/Lease", lease)
        assert json.loads(got.stdout)["deliveries"][0]["content"]["payload"] == "aGk=", got.stderr
        result = grpcurl(broker.address, "dibs.v1.BrokerService/Result", json.dumps({"ids": ["a"]}))
        assert json.loads(result.stdout)["results"][0]["id"] == "a", result.stderr
        health = grpcurl(broker.address, "grpc.health.v1.Health/Check")
        assert json.loads(health.stdout) == {"status": "SERVING"}, health.stderr


def test_sigterm_ends_it_in_peace_while_a_watch_is_open() -> None:
    with running_broker("--drain-delay", "300ms") as broker, grpc.insecure_channel(broker.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)  # its types know no methods
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        broker.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert list(watch) == []
        assert broker.wait() == 0


def test_a_second_signal_ends_it_at_once() -> None:
    with running_broker("--drain-delay", "60s") as broker:
        broker.terminate()
        broker.until_printed("NOT_SERVING")
        broker.terminate()
        assert broker.wait(5) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("words", "env", "sentence"),
    [
        (("--listen", "0.0.0.0:0"), {}, "listen on loopback, or say --insecure"),
        (("--grace", "soon"), {}, "--grace (DIBS_GRACE) is 'soon'"),
        (("--config", "/no/such/file"), {}, "--config /no/such/file cannot be read"),
        (("--redis", "redis://:a/b@127.0.0.1:1"), {}, "--redis (DIBS_REDIS): must be redis://[user:password@]host"),
        ((), {"DIBS_REDIS_FILE": "/no/such/file"}, "--redis-file /no/such/file: cannot be read"),
        ((), {"DIBS_MAX_CREDIT": "-1"}, "--max-credit (DIBS_MAX_CREDIT) is '-1'"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_exit_code_1(
    words: tuple[str, ...], env: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    done = run_dibs("broker", "--data-dir", str(tmp_path), *words, env=env)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_redis_that_wants_a_password_ends_it_with_one_sentence(redis_program: str) -> None:
    with running(redis_program) as server:
        with redis.Redis.from_url(server.url) as raw:
            raw.config_set("requirepass", "s3cret")
        done = run_dibs("broker", "--listen", "127.0.0.1:0", "--redis", server.url)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("dibs broker: this Redis is not open to the broker:")
    assert "Authentication required" in last
    assert "Traceback" not in done.stderr


def test_dev_runs_both_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "my_tasks.py").write_text("import dibs\n\n@dibs.task\ndef hello() -> None:\n    print('hi')\n")
    with running_dibs("dev", "my_tasks", "--listen", "127.0.0.1:0", cwd=tmp_path) as dev:
        dev.until_printed("DIBS_TARGET=")
        dev.until_printed("tasks=1")
        os.kill(dev.process.pid, signal.SIGINT)
        assert dev.wait() == 0
        assert dev.output.index("worker │") < dev.output.index("leaving: health says NOT_SERVING")
    with running_dibs("dev", "no_such_module", "--listen", "127.0.0.1:0", cwd=tmp_path) as dev:
        assert dev.wait() == 1
        assert "the worker ended with code" in dev.output


def test_dev_with_tls_prints_how_to_connect(tmp_path: Path) -> None:
    (tmp_path / "my_tasks.py").write_text("import dibs\n\n@dibs.task\ndef hello() -> None:\n    print('hi')\n")
    with running_dibs("dev", "my_tasks", "--tls", "--listen", "127.0.0.1:0", cwd=tmp_path) as dev:
        dev.until_printed("tasks=1")
        (said,) = re.findall(r"producers connect with (.+)", dev.output)
        env = dict(word.split("=", 1) for word in shlex.split(said))
        assert env["DIBS_TARGET"].startswith("https://127.0.0.1:")
        assert env["DIBS_CA_FILE"] == str(tmp_path / ".dibs" / "tls" / "ca.pem")
        assert run_dibs("health", env=env).stdout == "SERVING\n"
        assert len(json.loads(run_dibs("workers", "--json", env=env).stdout)["workers"]) == 1
        assert run_dibs("health", env={**env, "DIBS_CA_FILE": ""}).returncode == 4


@pytest.mark.parametrize(
    ("words", "env", "source"),
    [((), {"DIBS_TARGET": "redis://x"}, "DIBS_TARGET"), (("--target", "redis://x"), {}, "--target")],
)
def test_a_worker_with_a_target_that_is_none_ends_at_once(
    words: tuple[str, ...], env: dict[str, str], source: str, tmp_path: Path
) -> None:
    (tmp_path / "their_tasks.py").write_text("import dibs\n\n@dibs.task\ndef hello() -> None: ...\n")
    done = run_dibs("worker", str(tmp_path / "their_tasks.py"), *words, env=env)
    assert done.returncode == 78
    assert f"the target 'redis://x' from {source} has the scheme 'redis', which is none of gRPC's" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_password_of_a_redis_is_neither_in_a_log_nor_in_the_list_of_processes(tmp_path: Path) -> None:
    (tmp_path / "my_tasks.py").write_text("")
    url = "redis://:S3cret@127.0.0.1:1/3"
    (tmp_path / "url").write_text(url)
    with running_broker("--redis-file", str(tmp_path / "url")) as broker:
        broker.until_printed("working on the Redis at redis://127.0.0.1:1/3\n")
        assert "S3cret" not in broker.output
    with running_dibs("dev", "my_tasks", "--listen", "127.0.0.1:0", "--redis", url, cwd=tmp_path) as dev:
        dev.until_printed("DIBS_TARGET=")
        parent = psutil.Process(dev.process.pid)
        # A child that was just forked still shows what the user wrote.
        lines = [child.cmdline() for child in parent.children(recursive=True)]
        family = [line for line in lines if line != parent.cmdline()]
        assert family
        assert "S3cret" not in str(family)
        assert "S3cret" not in dev.output
        assert "working on the Redis at redis://127.0.0.1:1/3" in dev.output


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children of their parent's death on Linux only")
def test_nothing_is_left_of_dev_when_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "my_tasks.py").write_text("import dibs\n\n@dibs.task\ndef hello() -> None:\n    print('hi')\n")
    with running_dibs("dev", "my_tasks", "--listen", "127.0.0.1:0", cwd=tmp_path) as dev:
        dev.until_printed("tasks=1")
        family = psutil.Process(dev.process.pid).children(recursive=True)
        # The broker, its Redis, and the connector with its task process.
        assert len(family) >= 3
        dev.kill()
        _, left = psutil.wait_procs(family, timeout=20)
        assert left == []
    # What it kept is whole, and nobody holds it.
    with running_dibs("dev", "my_tasks", "--listen", "127.0.0.1:0", cwd=tmp_path) as dev:
        dev.until_printed("tasks=1")
        assert "taking over" not in dev.output
        os.kill(dev.process.pid, signal.SIGINT)
        assert dev.wait() == 0


def test_with_json_every_line_is_json_also_what_grpc_writes_by_itself() -> None:
    noisy = {"GRPC_VERBOSITY": "DEBUG", "GRPC_TRACE": "http"}
    with running_broker("--log-format", "json", env=noisy) as broker:
        grpcurl(broker.address, "grpc.health.v1.Health/Check")
        broker.terminate()
        assert broker.wait() == 0
        lines = [json.loads(line) for line in broker.output.splitlines()]
    loggers = {line["logger"] for line in lines}
    assert {"dibs.broker.server", "dibs.broker.stderr"} <= loggers
