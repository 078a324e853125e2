"""The file of `--auth-file`: who the principals are, how they are known, and what they and namespaces may use.

Every name is checked and nothing unknown is taken, for a word that is misspelt here would open or close something.
"""

from __future__ import annotations

import hmac
import stat
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from .principals import EVERYTHING, CallLimits, Grant, Names, NamespaceLimits, Principal, Role, with_held
from .units import Size

#: Most bytes of the file; ten thousand principals take less.
_MAX_BYTES: Final = 4 * 1024 * 1024
#: Bytes of a digest that are looked up; the rest is compared.
_LOOKED_UP: Final = 8
#: Roles that are about no queue.
_NOT_OF_QUEUES = frozenset((Role.LOCK, Role.SERVER))

_Pattern = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_./@-]{1,256}\*?|\*)$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
_PrincipalName = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$")]
#: Common names hold blanks and any letters.
_CertificateName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
_Count = Annotated[int, Field(ge=1, le=2**53, strict=True)]


class BadAuthFile(Exception):
    """The file does not serve; the text is one sentence that says what is wrong with it."""


@dataclass(frozen=True)
class AuthFile:
    """What the file says.

    Attributes:
        by_certificate: principals by what stands in their certificates: `spiffe://...` or another name or address among
            the subject's alternative names as it is there, or `CN=` and the common name.
        namespaces: how much namespaces may hold, by name.
        every_namespace: the same for those that are not named.
        count: how many principals there are.
    """

    by_certificate: Mapping[str, Principal]
    namespaces: Mapping[str, NamespaceLimits]
    every_namespace: NamespaceLimits
    count: int
    #: Principals and the SHA-256 digests of their tokens, by the first bytes of the digests.
    _by_digest: Mapping[bytes, Sequence[tuple[bytes, Principal]]] = field(repr=False)
    _content: bytes = field(repr=False)

    def by_digest(self, digest: bytes) -> Principal | None:
        """The principal with a token of that digest, in a time that tells nothing of the digests that there are."""
        for known, principal in self._by_digest.get(digest[:_LOOKED_UP], ()):
            if hmac.compare_digest(known, digest):
                return principal
        return None

    def call_limits(self) -> set[CallLimits]:
        """What principals may use, of all of them."""
        by_digest = (principal for bucket in self._by_digest.values() for _, principal in bucket)
        return {principal.limits for principal in (*by_digest, *self.by_certificate.values())}

    def is_made_of(self, content: bytes) -> bool:
        """Whether the file held that."""
        return self._content == content


#: Where there is no file: nobody, and nothing is limited.
NO_FILE = AuthFile({}, {}, NamespaceLimits(), 0, {}, b"")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Grant(_Model):
    namespace: _Pattern
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    queues: Annotated[tuple[_Pattern, ...], Field(min_length=1)] | None = None


class _CallLimits(_Model):
    calls_per_second: Annotated[float, Field(gt=0, le=1e9)] | None = None
    burst: _Count | None = None
    streams: _Count | None = None
    in_flight_bytes: Annotated[Size, Field(ge=1, le=2**53)] | None = None


class _NamespaceLimits(_Model):
    max_items: _Count | None = None
    max_bytes: Annotated[Size, Field(ge=1, le=2**53)] | None = None
    max_queues: _Count | None = None
    max_schedules: _Count | None = None
    max_locks: _Count | None = None
    max_tasks: _Count | None = None


class _Principal(_Model):
    name: _PrincipalName
    tokens_sha256: tuple[_Digest, ...] = ()
    certificate: tuple[_CertificateName, ...] = ()
    grants: tuple[_Grant, ...] = ()
    limits: _CallLimits = _CallLimits()


class _Claim(_Model):
    grants: tuple[_Grant, ...]
    limits: _CallLimits = _CallLimits()


class _File(_Model):
    principal: Annotated[tuple[_Principal, ...], Field(min_length=1)]
    limits: dict[_Pattern, _NamespaceLimits] = Field(default_factory=dict)


def read_auth_file(path: Path, before: AuthFile | None = None) -> AuthFile:
    """Read the file.

    Args:
        path: where it is.
        before: what it was when it was read last; if it has not changed, it is answered again.

    Raises:
        BadAuthFile: it cannot be read, others may write it, or something in it is not as it must be.
    """
    content = _content(path)
    if before is not None and before.is_made_of(content):
        return before
    try:
        found = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadAuthFile(f"--auth-file {path} is not valid TOML: {error}") from None
    try:
        return _auth_file(_File.model_validate(found), content)
    except ValidationError as error:
        raise BadAuthFile(f"--auth-file {path}: {_sentence(error, found)}") from None
    except ValueError as error:
        raise BadAuthFile(f"--auth-file {path}: {error}") from None


def claimed(principal: str, found: Any) -> tuple[tuple[Grant, ...], CallLimits]:
    """What a token says that its principal may do: an object with `grants`, and maybe `limits`, as in the file.

    Raises:
        BadAuthFile: something in it is not as it must be; the text says what.
    """
    try:
        claim = _Claim.model_validate(found)
        return tuple(_grant(principal, grant) for grant in claim.grants), CallLimits(**dict(claim.limits))
    except ValidationError as error:
        raise BadAuthFile(_sentence(error, {})) from None
    except ValueError as error:
        raise BadAuthFile(str(error)) from None


def _content(path: Path) -> bytes:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise BadAuthFile(f"--auth-file {path} is not a file")
        if about.st_mode & stat.S_IWOTH:
            raise BadAuthFile(
                f"--auth-file {path} can be written by everybody (mode {stat.S_IMODE(about.st_mode):04o}): "
                f"chmod o-w {path}"
            )
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BadAuthFile(f"--auth-file {path} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise BadAuthFile(f"--auth-file {path} is larger than {_MAX_BYTES} bytes")
    return content


def _auth_file(file: _File, content: bytes) -> AuthFile:
    by_digest: dict[bytes, Principal] = {}
    by_certificate: dict[str, Principal] = {}
    names: set[str] = set()
    for one in file.principal:
        if one.name in names:
            raise ValueError(f"there are two principals named {one.name!r}")
        names.add(one.name)
        grants = tuple(_grant(one.name, grant) for grant in one.grants)
        principal = Principal(one.name, grants, CallLimits(**dict(one.limits)))
        for text in one.tokens_sha256:
            _add(by_digest, bytes.fromhex(text), principal, "a token")
        for name in one.certificate:
            _add(by_certificate, name, principal, f"certificate {name!r}")
    limits = {name: NamespaceLimits(**dict(given)) for name, given in file.limits.items()}
    for name in limits:
        if name.endswith("*") and name != "*":
            raise ValueError(f"limits.{name!r} must be the name of a namespace, or '*' for all that have none")
    buckets: defaultdict[bytes, list[tuple[bytes, Principal]]] = defaultdict(list)
    for digest, principal in by_digest.items():
        buckets[digest[:_LOOKED_UP]].append((digest, principal))
    every = limits.pop("*", NamespaceLimits())
    return AuthFile(by_certificate, limits, every, len(names), dict(buckets), content)


def _add(known: dict[Any, Principal], key: Any, principal: Principal, what: str) -> None:
    other = known.setdefault(key, principal)
    if other is not principal:
        raise ValueError(f"{what} of principal {principal.name!r} is that of {other.name!r}, too")


def _grant(principal: str, found: _Grant) -> Grant:
    if found.queues is None:
        return Grant(Names.of((found.namespace,)), with_held(found.roles))
    for role in found.roles:
        if role in _NOT_OF_QUEUES:
            raise ValueError(
                f"role {role} of principal {principal!r} cannot be granted for some queues, it is about none: "
                "put it into a grant without queues"
            )
    queues = Names.of(found.queues)
    roles = with_held(found.roles) - _NOT_OF_QUEUES
    return Grant(Names.of((found.namespace,)), roles, EVERYTHING if queues.everything else queues)


def _sentence(error: ValidationError, found: Mapping[str, Any]) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ""
    for part in first["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        text = "there is no such key"
    elif first["type"] == "string_pattern_mismatch":
        text = _PATTERNS.get(str(first["loc"][-1]), _PATTERNS.get(str(first["loc"][-2]), text))
    named = ""
    if first["loc"][:1] == ("principal",) and len(first["loc"]) > 1 and isinstance(first["loc"][1], int):
        one = found["principal"][first["loc"][1]]
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            named = f" (of {one['name']!r:.80})"
    return f"{where.lstrip('.')}{named}: {text[:1].lower()}{text[1:]}"


_PATTERNS = {
    "tokens_sha256": "must be a SHA-256 digest in hexadecimal, as `dibs token new` writes it",
    "namespace": "must be a name of [A-Za-z0-9_./@-], the beginning of names and then *, or * alone",
    "queues": "must be a name of [A-Za-z0-9_./@-], the beginning of names and then *, or * alone",
    "name": "must be 1 to 256 printable ASCII characters without blanks",
    "certificate": "must be 1 to 256 printable characters",
}
