"""The contract: well formed, compiled by itself, compatible with what was released, and the stubs are made of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
STUBS = ROOT / "clients" / "python" / "dibs" / "v1"
GENERATOR = ROOT / ".cache" / "gen-protos" / "bin" / "python"
#: What the contract was at the last release, made by `buf build`.
RELEASED = next(Path(__file__).parent.glob("contract-*.binpb"))
#: Fields, and their messages, that `ignore_only` of buf.yaml is for: it can name files, and no field.
EXCEPTED = [("use_dead_letter", "DeliveryPolicy")]


def buf(*words: str, cwd: Path = ROOT) -> tuple[int, str]:
    """The exit code of a `buf` command, and what it printed."""
    program = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    assert program, "buf comes with the extra `dev`"
    done = subprocess.run([program, *words], cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stubs made anew."""
    out = tmp_path_factory.mktemp("stubs")
    subprocess.run([ROOT / "scripts" / "gen_protos.sh", out], check=True, timeout=300)
    return out / "dibs" / "v1"


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the contract, to be changed."""
    shutil.copytree(PROTO, tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


@pytest.mark.timeout(300)
def test_the_committed_stubs_are_those_of_the_contract(generated: Path) -> None:
    made = {path.name: path.read_text() for path in generated.iterdir()}
    committed = {path.name: path.read_text() for path in STUBS.iterdir() if path.is_file()}
    assert sorted(made) == sorted(committed)
    differing = [name for name, text in made.items() if text != committed[name]]
    assert differing == [], "run scripts/gen_protos.sh"


@pytest.mark.timeout(300)
def test_protoc_needs_no_other_folder(generated: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.binpb"
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    subprocess.run(
        [GENERATOR, "-m", "grpc_tools.protoc", "-I", PROTO, f"--descriptor_set_out={image}", *files], check=True
    )
    assert image.stat().st_size > 0
    assert len(files) > 1


def test_the_contract_lints_clean() -> None:
    assert buf("lint") == (0, "")


def test_the_contract_is_formatted() -> None:
    assert buf("format", "--diff", "--exit-code") == (0, "")


def test_programs_made_for_the_last_release_go_on() -> None:
    assert buf("breaking", "--against", str(RELEASED)) == (0, "")


def test_what_buf_excepts_of_a_whole_file_is_one_field(changed: Path) -> None:
    config = changed / "buf.yaml"
    config.write_text(config.read_text().partition("  ignore_only:\n")[0])
    _, printed = buf("breaking", "--against", str(RELEASED), cwd=changed)
    told = [(rule[1], rule[2]) for rule in re.finditer(r'name "(\w+)" on message "(\w+)" changed cardinality', printed)]
    assert told == EXCEPTED
    assert len(printed.splitlines()) == len(EXCEPTED), printed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("bool peek = 7;", "bool peek = 17;", id="another number"),
        pytest.param("bool peek = 7;", "bool look = 7;", id="another name"),
        pytest.param("bool peek = 7;", "reserved 7;", id="a field less"),
        pytest.param("int64 received_batch = 3;", "string received_batch = 3;", id="another type"),
        pytest.param("rpc Refresh(", "rpc Renew(", id="another method"),
    ],
)
def test_what_would_stop_a_program_is_noticed(changed: Path, old: str, new: str) -> None:
    file = changed / "proto" / "dibs" / "v1" / "broker.proto"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    code, printed = buf("breaking", "--against", str(RELEASED), cwd=changed)
    assert code != 0
    assert "broker.proto" in printed
