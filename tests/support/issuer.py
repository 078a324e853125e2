"""An issuer of tokens: its keys, what it signs, and a web server that publishes the keys, and goes away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = "https://issuer.example.org", "dibs"

#: What makes a key for each algorithm.
MAKERS: dict[str, Any] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@dataclass
class Issuer:
    """Signs tokens.

    Attributes:
        keys: its private keys by id, each with the algorithm that it is for.
    """

    keys: dict[str, tuple[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, *algorithms: str) -> Issuer:
        """One with a key for each of these, called by its name."""
        return cls({name: (name, MAKERS[name]()) for name in algorithms})

    def public(self, id: str) -> dict[str, Any]:
        """A public key as it is published."""
        algorithm, key = self.keys[id]
        made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
        return {**made, "kid": id, "use": "sig"}

    def published(self) -> bytes:
        """What is published."""
        return json.dumps({"keys": [self.public(id) for id in self.keys]}).encode()

    def token(
        self,
        *grants: dict[str, Any],
        key: str = "",
        headers: dict[str, Any] | None = None,
        lasts_s: float = 300,
        without: Sequence[str] = (),
        **claims: Any,
    ) -> str:
        """A token with these grants, signed with the first key or the one that is named."""
        id = key or next(iter(self.keys))
        algorithm, private = self.keys[id]
        said = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "web",
            "exp": int(time.time() + lasts_s),
            "dibs": {"grants": list(grants)},
            **claims,
        }
        for name in without:
            del said[name]
        # Not jwt.encode, which signs no claims that make no sense.
        return jwt.PyJWS().encode(json.dumps(said).encode(), private, algorithm, headers={"kid": id, **(headers or {})})


@dataclass
class KeyServer:
    """A web server with the keys.

    Attributes:
        content: what it answers with.
        status: and with which status.
        asked: how often it was asked.
        at_once: bytes that it sends at a time.
        between_s: seconds from one time to the next.
    """

    content: bytes
    status: int = 200
    port: int = 0
    asked: int = 0
    at_once: int = 1 << 30
    between_s: float = 0.0
    #: Set: it answers; else it takes requests, and keeps silent.
    answers: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where the keys are."""
        return f"http://127.0.0.1:{self.port}/keys"

    @contextmanager
    def running(self) -> Iterator[KeyServer]:
        """It is there inside the with, always at the same port."""
        state = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                state.asked += 1
                state.answers.wait(60)
                self.send_response(state.status)
                self.send_header("Content-Length", str(len(state.content)))
                if state.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                for at in range(0, len(state.content), state.at_once):
                    self.wfile.write(state.content[at : at + state.at_once])
                    time.sleep(state.between_s)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that has gone away is no error here."""

        self.answers.set()
        server = Quiet(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.answers.set()
            server.shutdown()
            server.server_close()
            thread.join()
