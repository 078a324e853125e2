"""Files of principals for tests, and tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .certificates import replace


def token_of(name: str) -> str:
    """The token of a principal, unless a test gives it others."""
    return f"dibs_token-of-{name}"


def digest_of(token: str) -> str:
    """As the file has it."""
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(name: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call with that principal's token."""
    return (("authorization", f"Bearer {token_of(name)}"),)


def grant(namespace: str, *roles: str, queues: Sequence[str] = ()) -> dict[str, Any]:
    """One grant."""
    found: dict[str, Any] = {"namespace": namespace, "roles": list(roles)}
    if queues:
        found["queues"] = list(queues)
    return found


def write_auth_file(
    path: Path,
    principals: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    tokens: Mapping[str, Sequence[str]] | None = None,
    certificates: Mapping[str, Sequence[str]] | None = None,
    limits: Mapping[str, Mapping[str, int]] | None = None,
    calls: Mapping[str, Mapping[str, float]] | None = None,
) -> Path:
    """The file has those principals, by name, from one moment to the next.

    Args:
        path: the file.
        principals: the grants of each.
        tokens: of those that do not have `token_of` alone.
        certificates: names in theirs.
        limits: of namespaces, by name.
        calls: limits of principals, by name.
    """
    lines = []
    for name, grants in principals.items():
        own = [digest_of(token) for token in (tokens or {}).get(name, (token_of(name),))]
        lines += ["[[principal]]", f"name = {json.dumps(name)}", f"tokens_sha256 = {json.dumps(own)}"]
        lines.append(f"certificate = {json.dumps(list((certificates or {}).get(name, ())))}")
        lines.append(f"grants = [{', '.join(map(_inline, grants))}]")
        if name in (calls or {}):
            lines.append(f"limits = {_inline((calls or {})[name])}")
    for namespace, numbers in (limits or {}).items():
        lines += [f"[limits.{json.dumps(namespace)}]", *(f"{name} = {number}" for name, number in numbers.items())]
    return replace(path, "\n".join((*lines, "")).encode())


def _inline(grant: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in grant.items()) + " }"
