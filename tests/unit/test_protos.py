"""The contract lints clean, and the committed stubs are what the generator makes of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "clients" / "python" / "dibs" / "v1"
GENERATOR = ROOT / ".cache" / "gen-protos" / "bin" / "python"
RULES = {"version": "v2", "lint": {"use": ["STANDARD"], "ignore": ["google"]}}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stubs made anew."""
    out = tmp_path_factory.mktemp("stubs")
    subprocess.run([ROOT / "scripts" / "gen_protos.sh", out], check=True, timeout=300)
    return out / "dibs" / "v1"


@pytest.mark.timeout(300)
def test_the_committed_stubs_are_those_of_the_contract(generated: Path) -> None:
    made = {path.name: path.read_text() for path in generated.iterdir()}
    committed = {path.name: path.read_text() for path in STUBS.iterdir() if path.is_file()}
    assert sorted(made) == sorted(committed)
    changed = [name for name, text in made.items() if text != committed[name]]
    assert changed == [], "run scripts/gen_protos.sh"


def test_the_contract_lints_clean(generated: Path, tmp_path: Path) -> None:
    buf = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    assert buf, "buf comes with the extra `dev`"
    common = subprocess.run(
        [GENERATOR, "-c", "import google.rpc; print(list(google.rpc.__path__)[0])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    image = tmp_path / "image.binpb"
    protos = sorted((ROOT / "proto" / "dibs" / "v1").glob("*.proto"))
    subprocess.run(
        [
            *(GENERATOR, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"-I{Path(common).parents[1]}"),
            *("--include_imports", "--include_source_info", f"--descriptor_set_out={image}"),
            *protos,
        ],
        check=True,
    )
    lint = subprocess.run(
        [buf, "lint", image, "--config", json.dumps(RULES)], capture_output=True, text=True, check=False
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")
