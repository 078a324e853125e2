"""The certificates that `dibs dev --tls` makes."""

from __future__ import annotations

import builtins
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from dibs.broker.config.certificates import CertificateFiles, read_certificates
from dibs.cli.local_certificates import LocalCertificates, NoCertificates, local_certificates

from ..support.certificates import Authority, replace


def contents(files: LocalCertificates) -> list[bytes]:
    return [path.read_bytes() for path in (files.ca, files.cert, files.key)]


def test_they_serve_a_broker_for_a_year_and_this_machine_is_in_them(tmp_path: Path) -> None:
    files = local_certificates(tmp_path / "new" / "tls", ["broker.example", "10.0.0.7"])
    now = datetime.now(UTC)
    found = read_certificates(CertificateFiles(files.cert, files.key), now)
    assert timedelta(days=364) < found.expires - now <= timedelta(days=365)
    cert = x509.load_pem_x509_certificate(found.cert)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "broker.example"} <= set(names.get_values_for_type(x509.DNSName))
    assert {ip_address(name) for name in ("127.0.0.1", "::1", "10.0.0.7")} == set(
        names.get_values_for_type(x509.IPAddress)
    )


def test_nobody_else_can_read_the_key_and_the_authoritys_is_kept_nowhere(tmp_path: Path) -> None:
    files = local_certificates(tmp_path / "tls")
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert {path.name for path in (tmp_path / "tls").iterdir()} == {"ca.pem", "broker.pem", "broker.key"}
    assert b"PRIVATE" not in files.ca.read_bytes()


def test_they_are_used_again(tmp_path: Path) -> None:
    before = contents(local_certificates(tmp_path, ["a.example"]))
    assert contents(local_certificates(tmp_path, ["a.example"])) == before
    assert contents(local_certificates(tmp_path)) == before


@pytest.mark.parametrize("spoil", ["another host", "no key", "nonsense", "another authority", "its end"])
def test_they_are_made_anew_when_they_do_not_serve(tmp_path: Path, spoil: str) -> None:
    files = local_certificates(tmp_path)
    before = contents(files)
    hosts = []
    if spoil == "another host":
        hosts = ["b.example"]
    elif spoil == "no key":
        files.key.unlink()
    elif spoil == "nonsense":
        files.cert.write_text("nonsense")
    elif spoil == "another authority":
        replace(files.ca, Authority().pem)
    else:
        authority = Authority()
        replace(files.ca, authority.pem)
        authority.pair("localhost", "127.0.0.1", ends=timedelta(days=29)).write(tmp_path)
    after = contents(local_certificates(tmp_path, hosts))
    assert all(new != old for new, old in zip(after, before, strict=True))
    read_certificates(CertificateFiles(files.cert, files.key), datetime.now(UTC))


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoCertificates, match=r"certificates cannot be kept in .*file/tls: Not a directory"):
        local_certificates(tmp_path / "file" / "tls")


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return really(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NoCertificates, match=r"^--tls needs the package cryptography: pip install 'dibs\[tls\]'$"):
        local_certificates(tmp_path)
