"""docs/security.md, performed: its commands from top to bottom, in one shell, each with what it prints."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from dibs.broker import server
from dibs.broker.border import audit_log, auditing, file_watch, jwt_tokens, tls
from dibs.broker.config.auth_file import claimed
from dibs.broker.config.options import options
from dibs.broker.config.settings import Settings
from dibs.cli import checks
from dibs.codecs import zlib
from dibs.data import batch
from dibs.v1 import admin_pb2 as apb
from dibs.worker.process import not_read_here

from ..support.certificates import Authority, replace
from ..support.imports import SOURCES
from ..support.pages import commands, matches
from ..support.ports import free_port
from ..support.processes import running_broker, running_dibs

PAGE = (SOURCES / "docs" / "security.md").read_text()
COMMANDS = list(commands(PAGE))
MARK = "--- "


def script(port: int) -> str:
    """All commands; each goes on when a broker that was begun listens, and is followed by a mark."""
    lines = ["set -m"]
    for command, _ in COMMANDS:
        lines.append(command.replace("7411", str(port)))
        if command.endswith("&"):
            lines.append(f"until (: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null; do kill -0 %1 || exit; sleep 0.05; done")
        lines.append(f"echo '{MARK}'")
    return "\n".join([*lines, "wait"])


def test_every_command_does_what_the_page_says(tmp_path: Path) -> None:
    authority, clients = Authority(), Authority("of clients")
    replace(tmp_path / "authority.pem", authority.pem)
    replace(tmp_path / "clients.pem", clients.pem)
    for name in ("broker", "next"):
        authority.pair().write(tmp_path, name)
    clients.pair().write(tmp_path, "me")
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("DIBS_")}
    env = {
        **own,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(SOURCES / "clients" / "python"),
        "XDG_DATA_HOME": str(tmp_path),
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1 3>broker.log; {_logging_apart(script(port))}"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
    )
    log = (tmp_path / "broker.log").read_text()
    printed = done.stdout.replace(str(port), "7411").split(MARK)
    assert len(printed) > len(COMMANDS), done.stdout + log
    for (command, shown), said in zip(COMMANDS, printed, strict=False):
        assert matches(shown, said), f"$ {command}\nprinted\n{said}\ninstead of\n{shown}\n{log}"
    assert "new connections get another TLS certificate" in log
    assert "no longer listening" in log


def test_its_module_encrypts(tmp_path: Path) -> None:
    [module] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "secrets_of_ours.py").write_text(module)
    program = """
import dibs
from secrets_of_ours import charge

handle = charge.execute("4111111111111111", 100)
assert handle.get(30) == "charged 1111"
dibs.connect()  # without the codec
try:
    handle.get(1)
except dibs.CodecError as error:
    assert error.codec == "aes-gcm:2026-11", error.codec
else:
    raise AssertionError("nobody has encrypted it")
"""
    with running_broker() as broker:
        env = {
            **os.environ,
            "PYTHONPATH": f"{tmp_path}:{SOURCES / 'clients' / 'python'}",
            "DIBS_TARGET": broker.address,
            "QUEUE_KEY_2026_11": base64.b64encode(os.urandom(32)).decode(),
        }
        with running_dibs("worker", "secrets_of_ours", env=env, cwd=tmp_path) as worker:
            worker.until_printed("registered")
            command = [sys.executable, "-c", program]
            done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr


def test_the_page_has_the_numbers_of_codecs() -> None:
    assert batch.PUT_OFF == not_read_here._DELAY == timedelta(seconds=30)
    assert PAGE.count("goes back for 30 s") == 2
    assert not_read_here._LOG_EVERY_S == 60
    assert "the same one once a minute" in PAGE
    assert (zlib.DEFAULT_LEAST_BYTES, zlib.DEFAULT_MAX_BYTES) == (1024, 4 * 1024**2)
    assert "longer than 1 KiB (`least_bytes`)" in PAGE
    assert "more than 4 MiB before compression (`max_bytes`)" in PAGE


def test_the_page_has_the_options_and_numbers_of_issuers() -> None:
    for option in options():
        if option.name.startswith("jwt_"):
            assert f"`{option.flag}" in PAGE
    claims, _ = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    grants, _ = claimed("jwt:shop-web", json.loads(claims)["dibs"])
    assert [str(role) for role in sorted(grants[0].roles)] == ["produce", "read"]
    assert (jwt_tokens.LOOK_FOR_UNKNOWN_S, jwt_tokens._AGAIN_S) == (30, 10)
    assert "every 30 s at most" in PAGE
    assert "every 10 s while\n  that fails" in PAGE
    defaults = Settings.model_fields
    assert (defaults["jwt_leeway"].default, defaults["jwt_refresh"].default) == (
        timedelta(seconds=30),
        timedelta(minutes=5),
    )


def test_the_page_has_the_line_and_the_numbers_of_the_audit_log() -> None:
    _, shown = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    lines: list[bytes] = []

    class Context:
        def peer(self) -> str:
            return "ipv4:10.0.0.7:41234"

    call = auditing.AuditedCall(lines.append, "dibs.v1.AdminService/DeleteItems", Context())
    call.request = apb.DeleteItemsRequest(namespace="shop", ids=["a", "b"])
    call.tell(None)
    written, told = json.loads(lines[0]), json.loads(shown)
    assert list(written) == list(told)
    assert set(written) <= set(re.findall(r"`(\w+)`", PAGE))
    own = ("time", "seconds", "principal")
    assert {key: written[key] for key in written if key not in own} == {
        key: told[key] for key in told if key not in own
    }
    assert (audit_log.MOST_WAITING, server._AUDIT_END_S) == (10_000, 2)
    assert "10,000\nlines wait" in PAGE
    assert "waits 2 s for what is not\nwritten" in PAGE


def _logging_apart(text: str) -> str:
    return re.sub(r"&$", ">&3 2>&3 &", text, flags=re.MULTILINE)


def test_the_page_has_every_option_of_tls_and_the_days_of_the_warning() -> None:
    for option in options():
        if option.name.startswith(("tls_", "redis_c", "redis_k")):
            assert f"`{option.flag}" in PAGE
    assert tls.SOON == checks.CERTIFICATE_SOON == timedelta(days=14)
    assert "from 14 days before" in PAGE
    assert file_watch.LOOK_S == 10
    assert "every 10 s" in PAGE
