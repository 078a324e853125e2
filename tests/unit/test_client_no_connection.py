"""What is made of gRPC's words when there is no connection; what they are with this release is in the tests of TLS."""

from __future__ import annotations

import pytest

from dibs.rpc.no_connection import why_not_connected

FAILED = "failed to connect to all addresses; last error: "
#: As with a policy that goes round all brokers, such as a worker's.
ALL_FAILED = "connections to all backends failing; last error: "
OF_1_71 = f"{FAILED}UNKNOWN: ipv4:127.0.0.1:1: Ssl handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{OF_1_71}:CERTIFICATE_VERIFY_FAILED: certificate has expired", "its certificate has expired"),
        (f"{OF_1_71}:CERTIFICATE_VERIFY_FAILED: self signed certificate", "its certificate is of no authority that is"),
        (f"{OF_1_71}:WRONG_VERSION_NUMBER", "it speaks plaintext"),
        (f"{FAILED}UNAVAILABLE: ipv4:127.0.0.1:1: Failed parsing HTTP/2 (Expected SETTINGS frame)", "Redis at 6379"),
        (f"{FAILED}UNKNOWN: ipv4:1.1.1.1:1: Peer name a is not in peer certificate", "is for another host name"),
        (f"{FAILED}UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed", "does it want a client certificate"),
        (f"{FAILED}UNKNOWN: ipv4:127.0.0.1:1: recvmsg:Connection reset by peer", "does it want a client certificate"),
        (f"{FAILED}UNKNOWN: ipv4:127.0.0.1:1: Handshake read failed (Socket closed)", "does it want a client"),
    ],
)
def test_a_failed_handshake_is_told_in_words(text: str, words: str) -> None:
    said = why_not_connected(text, tls=True)
    assert words in said
    # The command shows what stands behind the last colon and blank.
    assert ": " not in said


@pytest.mark.parametrize("failed", [FAILED, ALL_FAILED])
def test_who_is_cut_off_in_plaintext_is_asked_for_tls(failed: str) -> None:
    assert "does it want TLS" in why_not_connected(f"{failed}UNAVAILABLE: ipv4:1.1.1.1:1: Socket closed", tls=False)


@pytest.mark.parametrize(
    "text",
    [
        f"{FAILED}UNKNOWN: ipv4:127.0.0.1:1: connect: Connection refused (111)",
        f"{FAILED}UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Timeout occurred: FD Shutdown",
        f"{FAILED}UNKNOWN: ipv4:127.0.0.1:1: tcp handshaker shutdown",
        f"{FAILED}UNAVAILABLE: ipv4:127.0.0.1:1: Handshake read failed (Endpoint closing)",
        "Socket closed",
        "recvmsg:Connection reset by peer",
        "the broker is leaving",
        "",
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_everything_else_stays_as_it_is(text: str, tls: bool) -> None:
    assert why_not_connected(text, tls=tls) == text
