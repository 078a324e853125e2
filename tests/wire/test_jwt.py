"""Tokens of an issuer at a real broker, with keys from a file and from a web server that goes away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dibs import Dibs, errors
from dibs.broker.border import jwt_tokens
from dibs.broker.config import jwks
from dibs.broker.config.jwks import read_keys
from dibs.broker.config.jwks_source import BadKeys, check_source
from dibs.broker.config.settings import Settings
from dibs.broker.server import Server
from dibs.rpc.connection import Connection
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.runtime import Worker
from dibs.worker.shared.settings import WorkerSettings

from ..support import waiting
from ..support.auth import bearer, grant, write_auth_file
from ..support.certificates import replace
from ..support.issuer import AUDIENCE, ISSUER, Issuer, KeyServer
from ..support.redis import RedisServer
from ..support.workers import Job
from .conftest import item
from .statuses import refused

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
LONGEST_S = 20.0
PRODUCE = grant("shop", "produce")
CANCEL = pb.CancelRequest(namespace="shop", ids=["x"])


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer.of("RS256", "ES256", "EdDSA")


class Broker:
    """A broker that takes tokens of an issuer."""

    def __init__(self, server: Server, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.stub: Any = broker_pb2_grpc.BrokerServiceStub(channel)
        self.admin: Any = admin_pb2_grpc.AdminServiceStub(channel)

    @property
    def tokens(self) -> jwt_tokens.JwtTokens:
        assert self.server._identities is not None
        assert self.server._identities.tokens is not None
        return self.server._identities.tokens

    def cancel(self, token: str) -> Any:
        """A call that a principal with `produce` in `shop` may make."""
        return self.stub.Cancel(CANCEL, metadata=(("authorization", f"Bearer {token}"),), timeout=LONGEST_S)

    async def looked(self, keys: int) -> None:
        """Returns when so many keys are known."""
        await until(lambda: len(self.tokens.current.by_id) == keys)


async def until(holds: Callable[[], bool]) -> None:
    await asyncio.to_thread(waiting.until, holds)


@asynccontextmanager
async def broker_with(redis: RedisServer, keys: str | Path, **settings: Any) -> AsyncIterator[Broker]:
    given = {
        "redis": redis.url,
        "listen": ("127.0.0.1:0",),
        "jwt_jwks": str(keys),
        "jwt_issuer": ISSUER,
        "jwt_audience": ("other", AUDIENCE),
        "jwt_leeway": timedelta(0),
        **settings,
    }
    async with (
        Server(Settings(**given)) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        yield Broker(server, channel)


@pytest.fixture
async def broker(redis_server: RedisServer, tmp_path: Path, issuer: Issuer) -> AsyncIterator[Broker]:
    async with broker_with(redis_server, replace(tmp_path / "keys.json", issuer.published())) as broker:
        yield broker


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_token_lets_its_subject_do_what_its_claim_grants(
    broker: Broker, issuer: Issuer, algorithm: str
) -> None:
    await broker.cancel(issuer.token(PRODUCE, key=algorithm))
    denied = broker.cancel(issuer.token(grant("other", "produce"), key=algorithm, sub="alice smith"))
    await refused(
        denied, grpc.StatusCode.PERMISSION_DENIED, says="principal 'jwt:alice%20smith'", reason="MISSING_ROLE"
    )


def unsigned(claims: dict[str, Any], header: dict[str, Any], secret: bytes | None = None) -> str:
    """A token that nobody signed, or somebody with a secret (HS256)."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = b"" if secret is None else hmac.digest(secret, b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def forgeries(issuer: Issuer) -> dict[str, str]:
    """Tokens that must not be taken, by what is wrong with them."""
    claims = jwt.decode(issuer.token(PRODUCE), options={"verify_signature": False})
    pem = (
        issuer.keys["RS256"][1]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    good = issuer.token(PRODUCE)
    head, body, signature = good.split(".")
    return {
        "none": unsigned(claims, {"alg": "none", "kid": "RS256"}),
        "None": unsigned(claims, {"alg": "None", "kid": "RS256"}),
        "public key as secret": unsigned(claims, {"alg": "HS256", "kid": "RS256"}, pem),
        "public JWK as secret": unsigned(
            claims, {"alg": "HS256", "kid": "RS256"}, json.dumps(issuer.public("RS256")).encode()
        ),
        "algorithm of another key": issuer.token(PRODUCE, key="RS256", headers={"kid": "ES256"}),
        "signed by another": Issuer.of("RS256").token(PRODUCE),
        "key of its own": Issuer.of("RS256").token(PRODUCE, headers={"jwk": issuer.public("RS256")}),
        "changed": f"{head}.{body[:-4]}{'AAAA'}.{signature}",
        "without signature": f"{head}.{body}.",
        "critical": issuer.token(PRODUCE, headers={"crit": ["b64"], "b64": True}),
        "no token": "a.b.c",
        "dots": "..",
        "deep": unsigned(claims, {"alg": "RS256", "kid": "RS256", "x": "y" * 4000}),
    }


@pytest.mark.parametrize("what", forgeries(Issuer.of("RS256", "ES256")))
async def test_what_the_issuer_did_not_sign_is_refused(broker: Broker, issuer: Issuer, what: str) -> None:
    await refused(broker.cancel(forgeries(issuer)[what]), UNAUTHENTICATED, reason="TOKEN_REFUSED")


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"aud": "others"}, "it is for somebody else (aud)"),
        ({"iss": "https://evil.example.org"}, "it is of another issuer (iss)"),
        ({"iss": [ISSUER]}, "it is of another issuer (iss)"),
        ({"nbf": time.time() + 3600}, "it is not good yet"),
        ({"without": ["exp"]}, "it lacks the claim 'exp'"),
        ({"without": ["sub"]}, "it lacks the claim 'sub'"),
        ({"without": ["aud"]}, "it lacks the claim 'aud'"),
        ({"without": ["dibs"]}, "it lacks the claim 'dibs'"),
        ({"exp": "soon"}, "a claim makes no sense"),
        ({"exp": 10**400}, "a claim makes no sense"),
        ({"sub": 7}, "a claim makes no sense"),
        ({"sub": "s" * 300}, "its subject is too long"),
        ({"sub": ""}, "its subject is empty"),
        ({"sub": "\ud800"}, "its subject is no text"),
        ({"dibs": []}, "its claim 'dibs' makes no sense"),
        ({"dibs": {"grants": [{"namespace": "shop", "roles": ["king"]}]}}, "its claim 'dibs' makes no sense: grants"),
        ({"dibs": {"grants": [], "more": 1}}, "there is no such key"),
    ],
)
async def test_what_is_wrong_with_a_token_is_told(
    broker: Broker, issuer: Issuer, claims: dict[str, Any], said: str
) -> None:
    token = issuer.token(PRODUCE, **claims)
    await refused(broker.cancel(token), UNAUTHENTICATED, says=said, reason="TOKEN_REFUSED")


async def test_clocks_may_differ_by_the_leeway(redis_server: RedisServer, tmp_path: Path, issuer: Issuer) -> None:
    keys = replace(tmp_path / "keys.json", issuer.published())
    async with broker_with(redis_server, keys, jwt_leeway=timedelta(minutes=1)) as broker:
        await broker.cancel(issuer.token(PRODUCE, lasts_s=-30))
        await broker.cancel(issuer.token(PRODUCE, nbf=int(time.time()) + 30))
        await refused(broker.cancel(issuer.token(PRODUCE, lasts_s=-61)), UNAUTHENTICATED, reason="TOKEN_EXPIRED")
        late = issuer.token(PRODUCE, nbf=int(time.time()) + 90)
        await refused(broker.cancel(late), UNAUTHENTICATED, reason="TOKEN_REFUSED")


async def test_a_token_that_was_taken_is_refused_when_it_has_expired(broker: Broker, issuer: Issuer) -> None:
    token = issuer.token(PRODUCE, lasts_s=2)
    await broker.cancel(token)

    expires = jwt.decode(token, options={"verify_signature": False})["exp"]
    await until(lambda: time.time() >= expires)
    await refused(broker.cancel(token), UNAUTHENTICATED, reason="TOKEN_EXPIRED")


async def test_streams_and_waits_end_when_their_token_expires(broker: Broker, issuer: Issuer) -> None:
    token = issuer.token(grant("shop", "consume"), lasts_s=2)
    metadata = (("authorization", f"Bearer {token}"),)
    work = broker.stub.Work(metadata=metadata, timeout=LONGEST_S)
    await work.write(pb.WorkRequest(hello=pb.WorkHello(namespace="shop", kind=tpb.QUEUE_KIND_TASK, worker_id="w")))
    request = pb.LeaseRequest(namespace="shop", kind=tpb.QUEUE_KIND_TASK, follow=True)
    lease = broker.stub.Lease(request, metadata=metadata, timeout=LONGEST_S)

    async def end_of(call: Any) -> Any:
        while await call.read() is not grpc.aio.EOF:
            pass

    await asyncio.gather(
        refused(end_of(work), UNAUTHENTICATED, reason="TOKEN_EXPIRED"),
        refused(end_of(lease), UNAUTHENTICATED, reason="TOKEN_EXPIRED"),
    )


async def test_clients_send_the_token_that_is_in_their_file(broker: Broker, tmp_path: Path, issuer: Issuer) -> None:
    path = replace(tmp_path / "token", issuer.token(PRODUCE, lasts_s=1).encode() + b"\n")
    with Dibs(broker.server.addresses[0], namespace="shop", token_file=path) as app:

        def cancels() -> bool:
            app.handle("x").cancel()
            return True

        def expires() -> bool:
            with suppress(errors.Unauthenticated):
                return not cancels()
            return True

        assert await asyncio.to_thread(cancels)
        await until(expires)
        replace(path, issuer.token(PRODUCE).encode())

        def works() -> bool:
            with suppress(errors.Unauthenticated):
                return cancels()
            return False

        await until(works)


async def test_a_worker_goes_on_with_the_next_token(broker: Broker, tmp_path: Path, issuer: Issuer) -> None:
    consume = grant("shop", "consume")
    path = replace(tmp_path / "token", issuer.token(consume, lasts_s=2).encode())
    connection = Connection.build(broker.server.addresses[0], "shop", token_file=path)
    ran: list[int] = []
    worker = Worker(connection, lambda name: Job("task", lambda: ran.append(1)), ["task"], WorkerSettings())
    run = asyncio.create_task(worker.run())
    try:
        metadata = (("authorization", f"Bearer {issuer.token(PRODUCE)}"),)

        async def enqueue(id: str) -> None:
            request = pb.EnqueueRequest(namespace="shop", items=[item(id)])
            await broker.stub.Enqueue(request, metadata=metadata, timeout=LONGEST_S)

        await enqueue("a")
        await until(lambda: len(ran) == 1)
        first = issuer_says(path)
        replace(path, issuer.token(consume).encode())
        await until(lambda: time.time() > first)
        await enqueue("b")
        await until(lambda: len(ran) == 2)
    finally:
        worker.stop()
        await run


def issuer_says(path: Path) -> float:
    """When the token in a file expires."""
    expires: float = jwt.decode(path.read_text(), options={"verify_signature": False})["exp"]
    return expires


async def test_principals_of_the_file_and_of_the_issuer_call_side_by_side(
    redis_server: RedisServer, tmp_path: Path, issuer: Issuer
) -> None:
    keys = replace(tmp_path / "keys.json", issuer.published())
    auth_file = write_auth_file(tmp_path / "auth.toml", {"web": [PRODUCE]})
    async with broker_with(redis_server, keys, auth_file=auth_file) as broker:
        await broker.cancel(issuer.token(PRODUCE))
        await broker.stub.Cancel(CANCEL, metadata=bearer("web"), timeout=LONGEST_S)
        await refused(broker.cancel("dibs_unknown"), UNAUTHENTICATED, reason="TOKEN_UNKNOWN")
        await refused(broker.stub.Cancel(CANCEL), UNAUTHENTICATED, reason="TOKEN_MISSING")


async def test_a_key_that_is_taken_away_ends_what_was_allowed_by_it(
    broker: Broker, tmp_path: Path, issuer: Issuer
) -> None:
    kept, gone = issuer.token(PRODUCE, key="ES256"), issuer.token(grant("shop", "consume"), key="RS256")
    await broker.cancel(kept)
    request = pb.LeaseRequest(namespace="shop", kind=tpb.QUEUE_KIND_TASK, follow=True, heartbeats=True)
    lease = broker.stub.Lease(request, metadata=(("authorization", f"Bearer {gone}"),), timeout=LONGEST_S)
    await lease.read()
    replace(tmp_path / "keys.json", Issuer({"ES256": issuer.keys["ES256"]}).published())
    broker.server.look_at_files()
    await refused(lease.read(), UNAUTHENTICATED, reason="TOKEN_REFUSED")
    await broker.cancel(kept)


async def test_keys_of_a_url_survive_its_absence(
    redis_server: RedisServer, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeyServer(issuer.published())
    with ExitStack() as away:
        away.enter_context(keys.running())
        refresh = timedelta(seconds=1)
        async with broker_with(redis_server, keys.url, jwt_refresh=refresh) as broker:
            await broker.looked(3)
            await broker.cancel(issuer.token(PRODUCE))
            away.close()
            await until(lambda: "cannot be fetched" in broker.tokens.complaint)
            await broker.cancel(issuer.token(PRODUCE, sub="somebody new"))
            ops = (("authorization", f"Bearer {issuer.token(grant('*', 'admin'))}"),)
            info = await broker.admin.GetServerInfo(apb.GetServerInfoRequest(), metadata=ops)
            assert [advice.reason for advice in info.advices if "JWT" in advice.reason] == ["JWT_KEYS_UNUSABLE"]
            assert caplog.text.count("tokens are verified with the keys that were read before") == 1
            with keys.running():
                broker.server.look_at_files()
                await until(lambda: not broker.tokens.complaint)


async def test_a_broker_starts_without_its_keys_and_asks_to_come_back(
    redis_server: RedisServer, issuer: Issuer
) -> None:
    keys = KeyServer(issuer.published())
    with keys.running():
        pass
    async with broker_with(redis_server, keys.url) as broker:
        token = issuer.token(PRODUCE)
        await until(lambda: bool(broker.tokens.complaint))
        await refused(broker.cancel(token), UNAVAILABLE, says="try again in a moment", reason="TOKEN_KEYS_MISSING")
        with keys.running():
            broker.server.look_at_files()
            await broker.looked(3)
            await broker.cancel(token)


async def test_nothing_waits_for_a_web_server_that_is_silent(redis_server: RedisServer, issuer: Issuer) -> None:
    keys = KeyServer(issuer.published())
    with keys.running():
        keys.answers.clear()
        async with broker_with(redis_server, keys.url) as broker:
            await until(lambda: keys.asked == 1)
            before = time.monotonic()
            await refused(broker.cancel(issuer.token(PRODUCE)), UNAVAILABLE, reason="TOKEN_KEYS_MISSING")
            assert time.monotonic() - before < 5
            keys.answers.set()
            await broker.looked(3)


async def test_a_new_key_is_looked_for_at_once_and_strangers_cannot_have_it_looked_for_often(
    redis_server: RedisServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyServer(Issuer({"ES256": issuer.keys["ES256"]}).published())
    with keys.running():
        async with broker_with(redis_server, keys.url) as broker:
            await broker.looked(1)
            await refused(broker.cancel(issuer.token(PRODUCE)), UNAUTHENTICATED, reason="TOKEN_REFUSED")
            assert keys.asked == 1
            monkeypatch.setattr(jwt_tokens, "LOOK_FOR_UNKNOWN_S", 0.0)
            keys.content = issuer.published()
            await refused(broker.cancel(issuer.token(PRODUCE)), UNAVAILABLE, reason="TOKEN_KEYS_MISSING")
            await broker.looked(3)
            await broker.cancel(issuer.token(PRODUCE))
            monkeypatch.undo()
            for _ in range(20):
                await refused(broker.cancel(issuer.token(PRODUCE, headers={"kid": "?"})), UNAUTHENTICATED)
            assert keys.asked == 2


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"{", 200, "Expecting"),
        (b"[]", 200, 'must be JSON with a list "keys"'),
        (b'{"keys": []}', 200, "has no key for RS256, ES256 or EdDSA"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', 200, "has no key for"),
        (b" " * (1024**2 + 1), 200, "is larger than 1048576 bytes"),
        (b"no", 404, "the server answered 404"),
        (b"no", 302, "the server answered 302"),
    ],
)
async def test_keys_that_do_not_serve_change_nothing(
    redis_server: RedisServer, issuer: Issuer, content: bytes, status: int, said: str
) -> None:
    keys = KeyServer(issuer.published())
    with keys.running():
        async with broker_with(redis_server, keys.url) as broker:
            await broker.looked(3)
            keys.content, keys.status = content, status
            broker.server.look_at_files()
            await until(lambda: said in broker.tokens.complaint)
            await broker.cancel(issuer.token(PRODUCE))


async def test_a_web_server_that_takes_its_time_is_given_up(
    redis_server: RedisServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyServer(issuer.published(), at_once=1, between_s=0.1)
    monkeypatch.setattr(jwks, "LONGEST_S", 0.3)
    with keys.running():
        async with broker_with(redis_server, keys.url) as broker:
            await until(lambda: "not all of it came within 0.3 s" in broker.tokens.complaint)
            keys.at_once = 1 << 30
            broker.server.look_at_files()
            await broker.looked(3)


async def test_a_proxy_is_for_elsewhere(
    redis_server: RedisServer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    keys = KeyServer(issuer.published())
    with keys.running():
        async with broker_with(redis_server, keys.url) as broker:
            await broker.looked(3)


async def test_long_tokens_reach_the_broker(broker: Broker, issuer: Issuer) -> None:
    many = [grant("shop", "produce", queues=[f"queue-{n:03}" for n in range(380)])]
    token = issuer.token(*many, key="ES256")
    assert 6500 < len(token) < 7168
    await refused(broker.cancel(token + "x"), UNAUTHENTICATED, reason="TOKEN_REFUSED")
    await broker.cancel(token)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("http://issuer.example.org/keys", "keys that come in plaintext can be anybody's"),
        ("ftp://issuer.example.org/keys", "keys that come in plaintext can be anybody's"),
        ("https://user:secret@issuer.example.org/keys", "without a password"),
        ("https:///keys", "a URL with a host"),
    ],
)
def test_keys_come_from_where_they_can_be_trusted(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        check_source(source)
    assert "secret" not in str(caught.value)


def test_private_short_and_double_keys_are_refused(tmp_path: Path, issuer: Issuer) -> None:
    short = Issuer({"k": ("RS256", rsa.generate_private_key(65537, 1024))}).public("k")
    private = jwt.get_algorithm_by_name("ES256").to_jwk(issuer.keys["ES256"][1], as_dict=True)
    double = issuer.public("ES256")
    for entries, said in (
        ([short], "has 1024 bits; 2048 are taken at least"),
        ([private], "is a private one"),
        ([double, double], "two keys with the id 'ES256'"),
        ([{**double, "x": "no"}], "is not a key"),
        ([{**double, "kid": str(n)} for n in range(101)], "100 are taken at most"),
    ):
        path = replace(tmp_path / "keys.json", json.dumps({"keys": entries}).encode())
        with pytest.raises(BadKeys, match=said):
            read_keys(str(path))
    with pytest.raises(BadKeys, match="cannot be read"):
        read_keys(str(tmp_path / "none"))
