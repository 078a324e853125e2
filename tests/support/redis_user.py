"""The user that docs/security.md has operators make for the broker in Redis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .imports import SOURCES

PASSWORD = "S3cret"
NAME = "dibs"


def documented_rights() -> list[str]:
    """The words of the line in the document, behind the password."""
    page = (SOURCES / "docs" / "security.md").read_text()
    (line,) = re.findall(rf"^ACL SETUSER {NAME} on >PASSWORD (.+)$", page, re.MULTILINE)
    return str(line).split()


def make_user(raw: Any, rights: Sequence[str]) -> None:
    """Makes the user anew, and locks everybody else out who comes over the network."""
    raw.execute_command("ACL", "SETUSER", NAME, "reset", "on", f">{PASSWORD}", *rights)


def denied(raw: Any) -> list[str]:
    """What users were not let do: commands, keys and channels."""
    return [f"{entry['reason']} {entry['object']}" for entry in raw.acl_log()]
