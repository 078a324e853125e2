"""The oldest releases that dibs is tested with are those that it says it works with."""

from __future__ import annotations

import re
import tomllib

from ..support.imports import SOURCES

_WITH_LOWER_BOUND = re.compile(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)(?:,!=[\d.*]+)*")


def test_lowest_txt_has_the_lower_bounds_of_what_is_installed_with_dibs() -> None:
    project = tomllib.loads((SOURCES / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *(line for extra in ("cli", "broker", "worker", "typed", "tls", "jwt", "metrics") for line in extras[extra]),
    ]
    bounds = {match[1]: match[2] for line in needed if (match := _WITH_LOWER_BOUND.fullmatch(line))}

    lowest = (SOURCES / "tests/lowest.txt").read_text().splitlines()
    tested = {name: version for name, _, version in (line.partition("==") for line in lowest) if version}
    assert {name: _padded(version) for name, version in tested.items()} == {
        name: _padded(version) for name, version in bounds.items()
    }


def _padded(version: str) -> str:
    return ".".join([*version.split("."), "0", "0"][:3])
