"""Why there is no connection, for people: what gRPC says of failed handshakes, in words."""

from __future__ import annotations

_UNTRUSTED = (
    "its certificate is of no authority that is trusted here; DIBS_CA_FILE (--ca-file, ca=) names the file of the "
    "right one"
)
#: Parts of what gRPC, in several releases, says of a failed handshake, and what is the matter, the special ones first.
_HANDSHAKES = (
    ("certificate has expired", "its certificate has expired"),
    ("certificate is not yet valid", "its certificate is not valid yet; is this machine's clock right?"),
    ("CERTIFICATE_VERIFY_FAILED", _UNTRUSTED),
    # Of an authority that has the name of one that is trusted, but another key.
    ("certificate signature failure", _UNTRUSTED),
    ("Hostname Verification Check failed", "its certificate is for another host name"),
    ("is not in peer certificate", "its certificate is for another host name"),
    ("Failed parsing HTTP/2", "it speaks no gRPC; a broker listens at 7411 as a rule, Redis at 6379"),
    ("WRONG_VERSION_NUMBER", "it speaks plaintext; leave out https:// and the files of certificates"),
)

#: How gRPC begins when it has not got a connection, as opposed to one that broke.
_NOT_CONNECTED = ("failed to connect to all addresses", "connections to all backends failing")
_CUT = ("Socket closed", "Connection reset by peer", "Broken pipe")


def why_not_connected(text: str, *, tls: bool) -> str:
    """What is the matter.

    Args:
        text: what gRPC says.
        tls: whether TLS was spoken.

    Returns:
        Words without a colon and a blank behind it; `text` itself if it needs none.
    """
    for part, words in _HANDSHAKES:
        if part in text:
            return words
    if not (text.startswith(_NOT_CONNECTED) and text.rstrip(")").endswith(_CUT)):
        return text
    # With TLS 1.3 a broker that wants another certificate says so when our side has finished, by hanging up.
    if tls:
        return (
            "it hung up; does it want a client certificate (DIBS_CLIENT_CERT_FILE and DIBS_CLIENT_KEY_FILE), or one "
            "of another authority?"
        )
    return "it hung up; does it want TLS (https:// before the host)?"
