"""Which files of certificates serve, and what is said of those that do not."""

from __future__ import annotations

import builtins
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from dibs.broker.config.certificates import (
    BadCertificates,
    CertificateFiles,
    Certificates,
    is_open_to_others,
    read_certificates,
)

from ..support.certificates import Authority, Pair, replace

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def read(folder: Path, pair: Pair, client_ca: bytes | None = None, now: datetime = NOW) -> Certificates:
    cert, key = pair.write(folder)
    ca = None if client_ca is None else replace(folder / "ca.pem", client_ca)
    return read_certificates(CertificateFiles(cert, key, ca), now)


def refusal(folder: Path, pair: Pair, client_ca: bytes | None = None, now: datetime = NOW) -> str:
    with pytest.raises(BadCertificates) as caught:
        read(folder, pair, client_ca, now)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
    ids=["P-256", "P-384", "RSA"],
)
def test_a_pair_that_fits_is_read_with_its_end(tmp_path: Path, authority: Authority, key: Any) -> None:
    pair = authority.pair(key=key, ends=40 * DAY)
    found = read(tmp_path, pair)
    assert (found.cert, found.key, found.client_ca, found.client_ca_expires) == (pair.cert, pair.key, None, None)
    assert abs(found.expires - NOW - 40 * DAY) < timedelta(hours=1)
    assert "PRIVATE" not in repr(found)


def test_a_chain_ends_with_the_first_of_it_that_ends(tmp_path: Path, authority: Authority) -> None:
    pair = authority.pair(ends=40 * DAY)
    chain = Pair(pair.cert + Authority("between", ends=20 * DAY).pem, pair.key)
    assert abs(read(tmp_path, chain).expires - NOW - 20 * DAY) < timedelta(hours=1)


def test_an_authority_that_is_over_may_stand_beside_its_successor(tmp_path: Path, authority: Authority) -> None:
    over, next_one = Authority(ends=-DAY).pem, Authority(ends=30 * DAY).pem
    found = read(tmp_path, authority.pair(), over + next_one)
    assert found.client_ca_expires is not None
    assert abs(found.client_ca_expires - NOW - 30 * DAY) < timedelta(hours=1)
    assert "--tls-client-ca" in (text := refusal(tmp_path, authority.pair(), over))
    assert "has expired on" in text


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1())], ids=["Ed25519", "P-521"]
)
def test_a_key_that_grpc_cannot_use_is_refused(tmp_path: Path, authority: Authority, key: Any) -> None:
    assert "gRPC cannot use: take RSA, P-256 or P-384" in refusal(tmp_path, authority.pair(key=key))


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    one, other = authority.pair(), authority.pair()
    assert "is not the key of the first certificate in" in refusal(tmp_path, Pair(one.cert, other.key))


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path, authority: Authority) -> None:
    assert "wants a passphrase" in refusal(tmp_path, authority.pair(passphrase="secret"))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_what_is_no_pem_is_refused_by_the_name_of_its_option(
    tmp_path: Path, authority: Authority, content: bytes
) -> None:
    pair = authority.pair()
    assert refusal(tmp_path, Pair(content, pair.key)).startswith("--tls-cert ")
    assert refusal(tmp_path, Pair(pair.cert, content)).startswith("--tls-key ")
    assert refusal(tmp_path, pair, content).startswith("--tls-client-ca ")


def test_a_certificate_out_of_its_time_is_refused(tmp_path: Path, authority: Authority) -> None:
    assert "has expired on 2" in refusal(tmp_path, authority.pair(ends=DAY), now=NOW + 2 * DAY)
    assert "is not valid before 2" in refusal(tmp_path, authority.pair(begins=-DAY), now=NOW - 2 * DAY)


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path, authority: Authority) -> None:
    cert, key = authority.pair().write(tmp_path)
    with pytest.raises(BadCertificates, match=r"--tls-key .*none cannot be read: No such file"):
        read_certificates(CertificateFiles(cert, tmp_path / "none"), NOW)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadCertificates, match=r"--tls-cert .*pipe is not a file"):
        read_certificates(CertificateFiles(tmp_path / "pipe", key), NOW)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o777])
def test_a_key_that_others_may_read_is_refused_in_one_sentence(tmp_path: Path, authority: Authority, mode: int) -> None:
    cert, key = authority.pair().write(tmp_path)
    key.chmod(mode)
    with pytest.raises(
        BadCertificates, match=rf"--tls-key .* is open to others \(mode 0{mode:o}\): chmod 600 "
    ) as caught:
        read_certificates(CertificateFiles(cert, key), NOW)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("mode", "owner", "is_open"),
    [
        (0o600, 1000, False),
        (0o400, 1000, False),
        (0o640, 1000, True),
        (0o604, 1000, True),
        (0o640, 0, False),
        (0o440, 0, False),
        (0o660, 0, True),
        (0o644, 0, True),
    ],
)
def test_a_key_of_roots_may_be_shared_with_a_group_as_mounted_secrets_are(mode: int, owner: int, is_open: bool) -> None:
    assert is_open_to_others(mode, owner) is is_open


def test_without_the_package_it_is_said_what_to_install(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return really(name, *args)

    pair = authority.pair()
    pair.write(tmp_path)
    monkeypatch.setattr(builtins, "__import__", without)
    assert refusal(tmp_path, pair) == "--tls-cert needs the package cryptography: pip install 'dibs[tls]'"
