"""`dibs token`: what it makes is what a broker takes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from typer.testing import CliRunner

from dibs.broker.config.auth_file import read_auth_file
from dibs.cli.tokens import app


def test_the_line_for_the_file_makes_the_token_known(tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["new"])

    token = made.stdout.strip()
    assert made.stdout == f"{token}\n"
    assert token.startswith("dibs_")
    assert token not in made.stderr
    path = tmp_path / "auth.toml"
    path.write_text(f'[[principal]]\nname = "web"\n{made.stderr.splitlines()[-1]}\n')
    known = read_auth_file(path).by_digest(hashlib.sha256(token.encode()).digest())
    assert known is not None
    assert known.name == "web"


def test_tokens_have_256_bits_and_are_not_made_twice() -> None:
    made = [json.loads(CliRunner().invoke(app, ["new", "--json"]).stdout) for _ in range(20)]

    assert len({one["token"] for one in made}) == 20
    for one in made:
        assert len(one["token"].removeprefix("dibs_")) == 43
        assert one["sha256"] == hashlib.sha256(one["token"].encode()).hexdigest()
