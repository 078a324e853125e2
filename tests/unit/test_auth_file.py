"""The file of principals: what it says, and what is refused."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dibs.broker.config.auth_file import BadAuthFile, read_auth_file
from dibs.broker.config.principals import CallLimits, Grant, Names, NamespaceLimits, Principal, Role, with_held

from ..support.auth import digest_of
from ..support.imports import SOURCES

DIGEST = digest_of("secret")
GOOD = f"""
[[principal]]
name = "shop-web"
tokens_sha256 = ["{DIGEST}", "{digest_of("next").upper()}"]
certificate = ["spiffe://prod/shop-web", "CN=Shop Web"]
grants = [
    {{ namespace = "shop", roles = ["produce"], queues = ["mail", "mail.*"] }},
    {{ namespace = "shop.*", roles = ["read"] }},
]
limits = {{ calls_per_second = 2000, burst = 10, streams = 500, in_flight_bytes = "64MiB" }}

[[principal]]
name = "ops"
grants = [{{ namespace = "*", roles = ["admin"] }}]

[limits.shop]
max_items = 1000
max_bytes = "1GiB"

[limits."*"]
max_queues = 7
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "auth.toml"
    path.write_text(text)
    return path


def may(*roles: Role) -> frozenset[Role]:
    return frozenset(roles)


def test_principals_are_known_by_tokens_and_by_certificates(tmp_path: Path) -> None:
    found = read_auth_file(written(tmp_path, GOOD))

    web = found.by_digest(bytes.fromhex(DIGEST))
    assert web is not None
    assert web.name == "shop-web"
    assert found.by_digest(bytes.fromhex(digest_of("next"))) is web
    assert found.by_digest(bytes.fromhex(digest_of("other"))) is None
    assert found.by_digest(bytes.fromhex(DIGEST)[:8]) is None
    assert found.by_digest(b"") is None
    assert found.by_certificate["spiffe://prod/shop-web"] is found.by_certificate["CN=Shop Web"] is web
    assert found.count == 2


def test_limits_are_read_with_their_units(tmp_path: Path) -> None:
    found = read_auth_file(written(tmp_path, GOOD))

    web = found.by_certificate["CN=Shop Web"]
    assert web.limits == CallLimits(2000, 10, 500, 64 * 1024 * 1024)
    assert found.namespaces == {"shop": NamespaceLimits(max_items=1000, max_bytes=1024**3)}
    assert found.every_namespace == NamespaceLimits(max_queues=7)


def test_grants_hold_in_their_namespaces_for_their_queues(tmp_path: Path) -> None:
    web = read_auth_file(written(tmp_path, GOOD)).by_certificate["CN=Shop Web"]

    produces = web.scope("shop", may(Role.PRODUCE))
    assert [name in produces for name in ("mail", "mail.a", "mailx", "other", "")] == [True, True, False, False, False]
    assert not produces.everything
    assert not web.scope("shop", may(Role.READ, Role.CONSUME))
    assert web.scope("shop.eu", may(Role.READ, Role.CONSUME)).everything
    assert not web.scope("shop.eu", may(Role.PRODUCE))
    assert [web.sees(namespace) for namespace in ("shop", "shop.eu", "shopping", "default")] == [
        True,
        True,
        False,
        False,
    ]


def test_several_grants_of_a_role_add_up(tmp_path: Path) -> None:
    text = GOOD.replace('["read"] }', '["read"] }, { namespace = "shop", roles = ["read"], queues = ["a"] }, '
                        '{ namespace = "shop", roles = ["operate"], queues = ["b*"] }')  # fmt: skip
    web = read_auth_file(written(tmp_path, text)).by_certificate["CN=Shop Web"]

    assert web.scope("shop", may(Role.READ)) == Names.of(["a", "b*"])
    assert web.scope("shop", may(Role.READ)) == Names.of(["a", "b*"])


def test_what_is_remembered_of_a_principal_has_a_bound() -> None:
    one = Principal("ops", (Grant(Names.of(["t*"]), may(Role.READ)),))

    for at in range(2000):
        assert one.scope(f"t{at}", may(Role.READ)).everything
        assert not one.scope(f"x{at}", may(Role.READ))

    assert len(one._scopes) == 1024


def test_roles_hold_others() -> None:
    assert with_held([Role.OPERATE]) == {Role.OPERATE, Role.READ}
    assert with_held([Role.ADMIN]) == set(Role)
    assert with_held([Role.PRODUCE]) == {Role.PRODUCE}


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('"admin"', '"root"', "principal[1].grants[0].roles[0] (of 'ops'): input should be 'produce', 'consume', "),
        (DIGEST, "zz" + DIGEST[2:], "principal[0].tokens_sha256[0] (of 'shop-web'): must be a SHA-256 digest in hexa"),
        (DIGEST, "dibs_plain", "tokens_sha256[0] (of 'shop-web'): must be a SHA-256 digest"),
        ('name = "ops"', 'nam = "ops"', "principal[1].name: field required"),
        ('name = "ops"', 'name = "ops"\nrole = "x"', "principal[1].role (of 'ops'): there is no such key"),
        ('name = "ops"', 'name = "shop-web"', "there are two principals named 'shop-web'"),
        ('name = "ops"', 'name = "ops"\ncertificate = ["CN=Shop Web"]', "'CN=Shop Web' of principal 'ops' is that of"),
        ('name = "ops"', f'name = "ops"\ntokens_sha256 = ["{DIGEST}"]', "a token of principal 'ops' is that of"),
        ('"mail.*"', '"ma*l"', "queues[1] (of 'shop-web'): must be a name of [A-Za-z0-9_./@-], the beginning of names"),
        ('roles = ["produce"]', 'roles = ["lock"]', "role lock of principal 'shop-web' cannot be granted for some"),
        ('roles = ["produce"]', "roles = []", "principal[0].grants[0].roles (of 'shop-web'): tuple should have"),
        ("streams = 500", "streams = 0", "principal[0].limits.streams (of 'shop-web'): input should be greater"),
        ("64MiB", "64MB!", "principal[0].limits.in_flight_bytes (of 'shop-web'): must be an amount of bytes such as"),
        ("max_items = 1000", 'max_items = "1000"', "limits.shop.max_items: input should be a valid integer"),
        ('limits."*"', 'limits."s*"', "limits.'s*' must be the name of a namespace, or '*' for all that have none"),
        ("[limits.shop]", "[limit.shop]", "limit: there is no such key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_in_one_sentence(tmp_path: Path, good: str, bad: str, said: str) -> None:
    assert good in GOOD
    path = written(tmp_path, GOOD.replace(good, bad, 1))
    with pytest.raises(BadAuthFile) as caught:
        read_auth_file(path)
    text = str(caught.value)
    assert text.startswith(f"--auth-file {path}")
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize(("text", "said"), [("", "principal: field required"), ("= 1", "is not valid TOML: ")])
def test_a_file_without_principals_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadAuthFile, match=said):
        read_auth_file(written(tmp_path, text))


def test_a_file_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    path.chmod(0o666)
    with pytest.raises(BadAuthFile, match=r"can be written by everybody \(mode 0666\): chmod o-w "):
        read_auth_file(path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadAuthFile, match="is not a file"):
        read_auth_file(tmp_path)
    with pytest.raises(BadAuthFile, match="cannot be read: No such file"):
        read_auth_file(tmp_path / "none")
    with pytest.raises(BadAuthFile, match="is larger than"):
        read_auth_file(written(tmp_path, "#" * (4 * 1024 * 1024 + 1)))


def test_a_file_that_has_not_changed_is_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    before = read_auth_file(path)
    assert read_auth_file(path, before) is before
    path.write_text(GOOD + "\n")
    assert read_auth_file(path, before) is not before


def test_the_file_that_the_page_shows_serves(tmp_path: Path) -> None:
    [shown] = re.findall(r"```toml\n(.*?)```", (SOURCES / "docs/security.md").read_text(), re.DOTALL)
    found = read_auth_file(written(tmp_path, shown))
    assert found.count == 3
    mailer = found.by_digest(bytes.fromhex(shown.split('"mailer"')[1].split('"')[1]))
    assert mailer is not None
    assert mailer.scope("shop", may(Role.CONSUME)) == Names.of(["mail", "mail.*"])


def test_the_page_has_every_key_and_every_role() -> None:
    page = (SOURCES / "docs/security.md").read_text()
    for limits in (CallLimits, NamespaceLimits):
        for field in fields(limits):
            assert f"`{field.name}`" in page
    for role in Role:
        assert f"| `{role}` | " in page
