"""Programs in other languages: their stubs are made of the contract and compiled, and they talk to a real broker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..support.processes import Broker, environment, running_broker

CLIENTS = Path(__file__).parents[2] / "examples" / "clients"
#: What the tools fetch and keep stays in the checkout.
CACHE = Path(__file__).parents[2] / ".cache" / "clients"
CACHES = {
    "CARGO_HOME": str(CACHE / "cargo"),
    # The folder of configurations is moved for go's counters of its own calls; its settings are those of the machine.
    "GOENV": os.environ.get("GOENV", str(Path.home() / ".config" / "go" / "env")),
    "XDG_CONFIG_HOME": str(CACHE / "config"),
    "GOFLAGS": "-modcacherw",
    "GOMODCACHE": str(CACHE / "go"),
    "MAVEN_OPTS": f"-Dmaven.repo.local={CACHE / 'maven'}",
    "XDG_CACHE_HOME": str(CACHE),
    "npm_config_cache": str(CACHE / "npm"),
}
#: Some compile what they depend on, once; that takes a minute on an idle machine.
BUILD_S = 900


@dataclass(frozen=True)
class Client:
    """How the example of a language is made.

    Attributes:
        folder: it.
        tools: programs that it takes: the words that print a version, and the oldest that will do.
        fetch: the command that gets what it depends on.
        build: commands that make it, stubs and all.
        run: the program, which is told the broker's address.
    """

    folder: str
    tools: tuple[tuple[str, tuple[int, int]], ...]
    fetch: str
    build: tuple[str, ...]
    run: str


LANGUAGES = (
    Client(
        "go", (("go version", (1, 25)),), "go mod download", ("buf generate", "go build -o gen/client ."), "gen/client"
    ),
    Client(
        "java",
        (("javac --version", (17, 0)), ("mvn --version", (3, 6))),
        "mvn --quiet --batch-mode dependency:resolve",
        ("mvn --quiet --batch-mode package",),
        "java -cp target/classes:target/lib/* example.Main",
    ),
    Client(
        "rust",
        (("cargo --version", (1, 88)), ("protoc --version", (3, 15))),
        "cargo fetch --quiet",
        ("cargo build --quiet",),
        "target/debug/dibs-client-example",
    ),
    Client(
        "typescript",
        (("node --version", (18, 0)), ("npm --version", (8, 0))),
        "npm ci --no-audit --no-fund",
        ("npm run build",),
        "node dist/main.js",
    ),
)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker() as started:
        yield started


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = environment({**CACHES, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})
    return subprocess.run(
        command.split(), cwd=folder, env=env, capture_output=True, text=True, timeout=BUILD_S, check=False
    )


def done(command: str, folder: Path) -> str:
    """What the command prints; it must end well."""
    ran = run(command, folder)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def need(words: str, least: tuple[int, int]) -> None:
    """Skips the test where a program is missing or older than that."""
    program = words.split()[0]
    if shutil.which(program) is None:
        pytest.skip(f"no {program} on this machine")
    # Not the number of a colour.
    found = re.search(r"(?<!\[)(\d+)(?:\.(\d+))?", done(words, CLIENTS))
    assert found, f"{words} names no version"
    if (int(found[1]), int(found[2] or 0)) < least:
        pytest.skip(f"{program} {found[0]} is older than {least[0]}.{least[1]}")


@pytest.mark.timeout(BUILD_S + 60)
@pytest.mark.parametrize("client", LANGUAGES, ids=[client.folder for client in LANGUAGES])
def test_a_client_is_compiled_and_enqueues_a_task(client: Client, broker: Broker) -> None:
    for words, least in client.tools:
        need(words, least)
    folder = CLIENTS / client.folder
    fetched = run(client.fetch, folder)
    if fetched.returncode != 0:
        pytest.skip(f"{client.fetch} gets nothing here: {(fetched.stdout + fetched.stderr)[:200]}")
    for command in client.build:
        done(command, folder)
    printed = done(f"{client.run} {broker.address}", folder)
    assert re.fullmatch(r"\w+-[\w-]+ ITEM_STATE_WAITING\n", printed)


def test_every_client_has_its_test() -> None:
    assert sorted(path.name for path in CLIENTS.iterdir() if path.is_dir()) == [one.folder for one in LANGUAGES]


def test_locked_packages_are_told_by_name_and_hash_alone() -> None:
    # Where they come from is a matter of whoever builds; .npmrc keeps npm from writing it down.
    locked = (CLIENTS / "typescript/package-lock.json").read_text()
    assert locked.count('"integrity": "sha512-') == locked.count('"node_modules/')
    assert "://" not in locked
