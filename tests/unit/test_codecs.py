"""Codecs: what they make, what they refuse, and how it is named."""

from __future__ import annotations

import base64
import pickle
import random
import re
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibs import CodecError, PayloadError
from dibs.cli import machine, words
from dibs.codecs import AesGcm, Codec, Codecs, Sealed, Zlib, aes_gcm
from dibs.codecs.codec import codecs_of
from dibs.codecs.sealing import NO_ARGUMENTS, Sealing
from dibs.contract import sealed
from dibs.contract.headers import CODEC
from dibs.rpc.codec import decode_call, decode_json, decode_value, encode_call, encode_json
from dibs.rpc.encoding import ItemForm
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

KEY, OLD = bytes(range(32)), bytes(32)
LONG = b'"' + b"long " * 1000 + b'"'


class Backwards(Codec):
    """Keeps `about` to look at."""

    name = "backwards"

    def __init__(self) -> None:
        self.about: list[bytes] = []

    def encode(self, data: bytes, about: bytes) -> bytes:
        self.about.append(about)
        return data[::-1]

    def decode(self, data: bytes, key: str, about: bytes) -> bytes:
        assert about in self.about
        return data[::-1]


def encrypted(keys: dict[str, bytes] | None = None, **options: Any) -> AesGcm:
    return AesGcm(keys or {"2026-11": KEY}, **options)


@given(st.text(max_size=5000).map(encode_json), st.binary(max_size=50))
def test_what_was_encoded_is_decoded(data: bytes, about: bytes) -> None:
    for codecs in (Codecs(), Codecs(Zlib(least_bytes=0)), Codecs(encrypted()), Codecs(Zlib(), encrypted())):
        assert codecs.decode(codecs.encode(data, about), about) == data


def test_the_order_of_codecs_is_named_and_undone() -> None:
    made = Codecs(Zlib(), encrypted()).encode(LONG, b"")
    steps, content = sealed.unseal(made) or ("", b"")
    assert steps == "zlib,aes-gcm:2026-11"
    assert len(content) < 200
    assert Codecs(reads=[encrypted(), Zlib()]).decode(made, b"") == LONG


def test_short_payloads_and_those_that_do_not_shrink_are_not_compressed() -> None:
    codecs = Codecs(Zlib(), encrypted())
    assert (sealed.unseal(codecs.encode(LONG[:1000], b"")) or ("",))[0] == "aes-gcm:2026-11"
    noise = random.Random(7).randbytes(2000)
    assert Codecs(Zlib()).encode(noise, b"") == noise


def test_what_a_codec_has_made_is_no_json_to_who_has_none() -> None:
    made = Codecs(encrypted()).encode(b"1", b"")
    for read in (decode_json, decode_value, decode_call):
        with pytest.raises(CodecError, match=r"encoded with aes-gcm:2026-11, and this program has no codec") as caught:
            read(made)
        assert caught.value.codec == "aes-gcm:2026-11"
    with pytest.raises(UnicodeDecodeError):
        made.decode()


@pytest.mark.parametrize(
    ("codecs", "said"),
    [
        (Codecs(encrypted({"other": KEY})), "there is no key '2026-11' here, only other"),
        (Codecs(encrypted({"2026-11": OLD})), "changed, moved from another item, or encrypted with another key called"),
        (Codecs(Zlib()), "there is no codec aes-gcm here"),
    ],
)
def test_what_cannot_be_decoded_says_why(codecs: Codecs, said: str) -> None:
    made = Codecs(encrypted()).encode(b"1", b"about")
    with pytest.raises(CodecError, match=said) as caught:
        codecs.decode(made, b"about")
    assert caught.value.codec == "aes-gcm:2026-11"


def test_every_changed_byte_and_every_other_place_is_noticed() -> None:
    codecs = Codecs(encrypted())
    made = codecs.encode(b"secret", b"here")
    for place in range(len(made)):
        changed = bytearray(made)
        changed[place] ^= 1
        with pytest.raises(CodecError):
            Codecs(encrypted(), plain=False).decode(bytes(changed), b"here")
    for cut in range(len(made)):
        with pytest.raises(CodecError):
            Codecs(encrypted(), plain=False).decode(made[:cut], b"here")
    with pytest.raises(CodecError, match="moved from another item"):
        codecs.decode(made, b"elsewhere")


def test_a_codec_cannot_be_taken_off_the_text() -> None:
    made = Codecs(Zlib(), encrypted()).encode(LONG, b"")
    _, content = sealed.unseal(made) or ("", b"")
    with pytest.raises(CodecError):
        Codecs(Zlib(), encrypted()).decode(sealed.seal("aes-gcm:2026-11", content), b"")


def test_keys_are_rotated() -> None:
    before = Codecs(encrypted({"old": OLD}))
    both = Codecs(encrypted({"old": OLD, "new": KEY}, write="old"))
    switched = Codecs(encrypted({"old": OLD, "new": KEY}))
    after = Codecs(encrypted({"new": KEY}))
    assert both.decode(before.encode(b"1", b""), b"") == before.decode(both.encode(b"1", b""), b"") == b"1"
    assert both.decode(switched.encode(b"2", b""), b"") == after.decode(switched.encode(b"2", b""), b"") == b"2"
    assert switched.decode(both.encode(b"3", b""), b"") == b"3"


def test_nothing_is_encrypted_twice_alike_and_keys_are_not_shown() -> None:
    codec = encrypted()
    assert len({codec.encode(b"same", b"") for _ in range(1000)}) == 1000
    assert repr(codec) == "<AesGcm writes 2026-11, reads 2026-11>"
    with pytest.raises(TypeError, match="its keys would go along"):
        pickle.dumps(codec)


def test_a_derived_key_is_replaced_before_it_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aes_gcm, "_PER_SALT", 3)
    codec = encrypted()
    made = [codec.encode(b"x", b"") for _ in range(7)]
    assert [len({one[:16] for one in made[at : at + 3]}) for at in (0, 3, 6)] == [1, 1, 1]
    assert len({one[:16] for one in made}) == 3
    assert {codec.decode(one, "2026-11", b"") for one in made} == {b"x"}


def test_a_payload_that_was_encrypted_once_is_read_for_ever() -> None:
    """The format that `docs/protocol.md` tells other languages; this was made by the first release that had it."""
    kept = base64.b64decode(
        "/2RpYnMBD2Flcy1nY206MjAyNi0xMQABAgMEBQYHCAkKCwwNDg9kZGRkZGRkZGRkZGTj5YtpKi6FzQGHJCwohkCHs9LGWGxKPZRKC5p47Q=="
    )
    about = b"payload\0billing\0charge\x007f"
    assert Codecs(encrypted()).decode(kept, about) == b'{"args":[17]}'


def test_bombs_are_bounded() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(CodecError, match=r"longer than 4,194,304 bytes when it is decompressed \(max_bytes\)"):
        Codecs(Zlib()).decode(sealed.seal("zlib", bomb), b"")
    with pytest.raises(PayloadError, match=r"is 51 bytes long; this Zlib takes 50 \(max_bytes\)"):
        Zlib(max_bytes=50, least_bytes=0).encode(bytes(51), b"")
    at_most = Zlib(max_bytes=50, least_bytes=0)
    assert at_most.decode(at_most.encode(bytes(50), b"") or b"", "", b"") == bytes(50)


@pytest.mark.parametrize("data", [b"", b"x", zlib.compress(b"cut off")[:-1], zlib.compress(b"more") + b"x"])
def test_what_zlib_did_not_make_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError, match="not what zlib makes"):
        Codecs(Zlib()).decode(sealed.seal("zlib", data), b"")


def test_codecs_of_users_learn_what_payloads_belong_to() -> None:
    codec = Backwards()
    sealing = Sealing(Codecs(codec), "billing")
    payload = sealing.seal_payload("7", "charge", b"abc")
    result = sealing.seal_result("7", b"abc")
    assert codec.about == [b"payload\0billing\0charge\x007\0backwards", b"result\0billing\x007\0backwards"]
    assert sealing.open_payload("7", "charge", payload) == sealing.open_result("7", result) == b"abc"
    with pytest.raises(CodecError):
        sealing.open_payload("8", "charge", payload)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Codecs(Zlib(), reads=[Zlib()]), "two codecs are called 'zlib'"),
        (lambda: AesGcm({}), "needs a key at least"),
        (lambda: AesGcm({"k": b"short"}), "key 'k' has 5 bytes, and not 32"),
        (lambda: AesGcm({"k": "no base 64!"}), "key 'k' is not in base 64"),
        (lambda: AesGcm({"k": KEY}, write="j"), "there is no key 'j' to write with: k"),
        (lambda: Codecs(AesGcm({"a b": KEY})), "the name of a key has 1-64"),
        (lambda: Zlib(0), "level must be 1 to 9"),
        (lambda: Zlib(least_bytes=-1), "least_bytes must not be below 0"),
        (lambda: Zlib(max_bytes=0), "max_bytes must be 1 at least"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_what_is_no_codec_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a codec is a dibs\.codecs\.Codec"):
        codecs_of([Zlib(), "zlib"])  # type: ignore[list-item]
    assert codecs_of(None) is None


def test_keys_may_be_written_in_base_64() -> None:
    made = Codecs(AesGcm({"k": base64.b64encode(KEY).decode() + "\n"})).encode(b"1", b"")
    assert Codecs(AesGcm({"k": KEY})).decode(made, b"") == b"1"


def test_where_nothing_plain_is_taken_schedules_still_run() -> None:
    sealing = Sealing(Codecs(encrypted(), plain=False), "n")
    for task_name, payload in (("t", b'{"args":[1]}'), ("", b"1"), ("", NO_ARGUMENTS)):
        with pytest.raises(CodecError, match="nothing plain is taken here"):
            sealing.open_payload("1", task_name, payload)
    with pytest.raises(CodecError, match="nothing plain"):
        sealing.open_result("1", b"1")
    assert sealing.open_payload("1", "t", encode_call((), {})) == NO_ARGUMENTS


def test_nothing_is_written_that_would_not_be_read() -> None:
    class Sometimes(AesGcm):
        def encode(self, data: bytes, about: bytes) -> bytes | None:  # type: ignore[override]  # as any codec may
            return super().encode(data, about) if data.startswith(b"secret") else None

    some = Codecs(Zlib(least_bytes=0), Sometimes({"k": KEY}), plain=False)
    assert some.decode(some.encode(b"secret", b""), b"") == b"secret"
    with pytest.raises(PayloadError, match="left plain by every codec that encrypts"):
        some.encode(LONG, b"")
    for writes in ([], [Zlib()]):
        with pytest.raises(ValueError, match="there must be a codec to write with that encrypts"):
            Codecs(*writes, reads=[encrypted()], plain=False)


def test_what_is_only_compressed_proves_nothing_where_nothing_plain_is_taken() -> None:
    call = b'{"args":["to whom he likes"],"kwargs":{}}'
    forged = sealed.seal("zlib", zlib.compress(call))
    for codecs in (
        Codecs(Zlib(), encrypted(), plain=False),
        Codecs(encrypted(), reads=[Zlib()], plain=False),
    ):
        with pytest.raises(CodecError, match="encoded with zlib and not encrypted") as caught:
            codecs.decode(forged, b"")
        assert caught.value.codec == "zlib"
    both = Codecs(Zlib(), encrypted(), plain=False)
    assert both.decode(both.encode(LONG, b""), b"") == LONG
    assert Codecs(Zlib(), encrypted()).decode(forged, b"") == call


def test_no_codec_is_named_twice() -> None:
    twice = sealed.seal("zlib,zlib", zlib.compress(zlib.compress(b"1")))
    with pytest.raises(CodecError, match="damaged"):
        Codecs(Zlib()).decode(twice, b"")


def test_an_item_is_sent_with_what_it_was_encoded_with() -> None:
    content = tpb.Content(task_name="charge", headers={"traceparent": "x"})
    form = ItemForm(pb.EnqueueItem(queue="q", kind=tpb.QUEUE_KIND_TASK, content=content))
    sealing = Sealing(Codecs(Zlib(), encrypted()), "billing")
    [item] = pb.EnqueueRequest.FromString(form.sealed_entry("7", LONG, sealing)).items
    assert item.content.task_name == "charge"
    assert dict(item.content.headers) == {"traceparent": "x", CODEC: "zlib,aes-gcm:2026-11"}
    assert sealing.open_payload("7", "charge", item.content.payload) == LONG
    assert LONG not in item.SerializeToString()
    compressing = Sealing(Codecs(Zlib()), "billing")
    [item] = pb.EnqueueRequest.FromString(form.sealed_entry("7", b"short", compressing)).items
    assert (item.content.payload, dict(item.content.headers)) == (b"short", {"traceparent": "x"})


@pytest.mark.parametrize(
    ("codecs", "shown"),
    [
        (Codecs(encrypted()), "<encrypted with key 2026-11: 5046 bytes>"),
        (Codecs(Zlib(), encrypted()), r"<encrypted with key 2026-11: \d\d bytes>"),
        (Codecs(Backwards()), "<encoded with backwards: 5002 bytes>"),
        (Codecs(Zlib()), '"(long )+"'),
    ],
)
def test_the_command_says_what_it_cannot_show(codecs: Codecs, shown: str) -> None:
    data = codecs.encode(LONG, b"")
    assert re.fullmatch(shown, words.payload(data))
    assert re.fullmatch(shown, words.arguments(tpb.Content(task_name="t", payload=data)))


def test_programs_that_read_the_command_learn_of_the_codec() -> None:
    data = Codecs(encrypted()).encode(b"1", b"")
    said = machine.as_json(tpb.Content(payload=data))
    assert (said["payload"], said["payload_codec"]) == (None, "aes-gcm:2026-11")
    assert base64.b64decode(said["payload_base64"]) == data
    assert machine.as_json(tpb.Content(payload=Codecs(Zlib()).encode(LONG, b"")))["payload"] == LONG.decode()[1:-1]


@pytest.mark.parametrize(
    "damaged", [sealed.MARK, sealed.MARK + b"\x09aes", sealed.MARK + b"\x01\n", sealed.MARK + b"\x00abc"]
)
def test_damaged_beginnings_are_told(damaged: bytes) -> None:
    with pytest.raises(CodecError, match="damaged"):
        decode_value(damaged)
    with pytest.raises(CodecError, match="damaged"):
        Codecs(encrypted()).decode(damaged, b"")
    assert words.payload(damaged) == f"<encoded, and damaged: {len(damaged)} bytes>"


def test_what_was_kept_is_read_later() -> None:
    sealing = Sealing(Codecs(encrypted({"old": OLD})), "n")
    payload = sealing.seal_payload("1", "", b"[1]")
    kept = Sealed("n", "1", "", payload, CodecError("no key", codec="aes-gcm:old"))
    assert repr(kept) == "<encrypted with key old: 47 bytes>"
    assert (kept.problem, kept.codec) == ("no key", "aes-gcm:old")
    assert kept.open(encrypted({"old": OLD})) == b"[1]"
    with pytest.raises(CodecError):
        kept.open(encrypted())
