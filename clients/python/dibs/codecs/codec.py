"""What a codec is, and the codecs of an instance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from ..contract import sealed
from ..errors import CodecError, PayloadError


class Codec(ABC):
    """One way to encode payloads and results: a compression, an encryption, or another. Safe to use from any thread.

    Attributes:
        name: what encoded items call it, 1-32 of ``a-z``, ``0-9`` and ``-``.
        key: name of the key that it encodes with; empty: it has none.
        encrypts: whether only those who have a key can make what it decodes, and read it. What a codec without that has
            made counts as plain where nothing plain is taken (`Codecs`): a compression proves nothing of who sends.

    Example::

        class Mirrored(Codec):
            name = "mirrored"

            def encode(self, data: bytes, about: bytes) -> bytes:
                return data[::-1]

            def decode(self, data: bytes, key: str, about: bytes) -> bytes:
                return data[::-1]
    """

    name: str
    key: str = ""
    encrypts: bool = False

    @abstractmethod
    def encode(self, data: bytes, about: bytes) -> bytes | None:
        """Encode a payload or a result.

        Args:
            data: what to encode.
            about: what it belongs to: its namespace, task and id, and the codecs up to this one. The same bytes are
                there when it is decoded, so an encryption can tell whether somebody has moved it elsewhere.

        Returns:
            What `decode` makes `data` of; None: it is better left as it is.
        """

    @abstractmethod
    def decode(self, data: bytes, key: str, about: bytes) -> bytes:
        """Decode what `encode` made, here or in another program.

        Args:
            data: what to decode.
            key: name of the key that it was encoded with.
            about: as for `encode`.

        Raises:
            Exception: it cannot be decoded; the text says why. Callers see a `CodecError` with that text.
        """


class Codecs:
    """The codecs of an instance: those that it writes with, and those that it reads besides.

    Args:
        writes: applied in this order, so that compression stands before encryption. None: what is written stays plain.
        reads: codecs that are not written with (any more), and still understood.
        plain: whether what no codec has encrypted is taken, too. Without it such items are refused as if they had been
            changed on their way, only compressed ones as well, except for calls without any arguments, which schedules
            make; and nothing is written that no codec has encrypted.

    Raises:
        ValueError: the name of a codec or of its key is none, two of them have the same, or nothing plain is taken
            and none of those to write with encrypts (`Codec.encrypts`).

    Example::

        dibs.connect(codec=Codecs(Zlib(), AesGcm({"2026-11": key}), plain=False))
    """

    __slots__ = ("_reads", "_writes", "plain")

    def __init__(self, *writes: Codec, reads: Iterable[Codec] = (), plain: bool = True) -> None:
        self._writes: list[tuple[Codec, str]] = []
        self._reads: dict[str, Codec] = {}
        self.plain = plain
        if not plain and not any(codec.encrypts for codec in writes):
            raise ValueError("where nothing plain is taken, there must be a codec to write with that encrypts")
        for codec in writes:
            sealed.check_step(codec.name, codec.key)
            self._writes.append((codec, sealed.written((codec.name, codec.key))))
        for codec in (*writes, *reads):
            sealed.check_step(codec.name, codec.key)
            if codec.name in self._reads:
                raise ValueError(f"two codecs are called {codec.name!r}: one codec with the keys of both reads either")
            self._reads[codec.name] = codec

    def encode(self, data: bytes, about: bytes) -> bytes:
        """Encode, and say how; `data` itself if no codec made anything of it.

        Raises:
            PayloadError: a codec refused it, or it would be plain where nothing plain is taken.
        """
        steps, encrypted = "", False
        made = data
        for codec, step in self._writes:
            then = f"{steps},{step}" if steps else step
            encoded = codec.encode(made, b"%b\0%b" % (about, then.encode()))
            if encoded is not None:
                steps, made, encrypted = then, encoded, encrypted or codec.encrypts
        if not encrypted and not self.plain:
            raise PayloadError("is left plain by every codec that encrypts, and nothing plain is taken")
        return sealed.seal(steps, made) if steps else data

    def decode(self, data: bytes, about: bytes) -> bytes:
        """Decode what `encode` made; what is plain is given back as it is, if that is taken.

        Raises:
            CodecError: it cannot be decoded here.
        """
        try:
            found = sealed.unseal(data)
        except ValueError as error:
            raise CodecError(str(error)) from error
        if found is None:
            if not self.plain:
                raise CodecError("it is not encrypted, and nothing plain is taken here")
            return data
        text, made = found
        steps = text.split(",")
        if not self.plain and not any(self._encrypts(step) for step in steps):
            # Anybody could have made it so.
            raise CodecError(
                f"it is encoded with {text} and not encrypted, and nothing plain is taken here", codec=text
            )
        for place in range(len(steps), 0, -1):
            name, _, key = steps[place - 1].partition(":")
            codec = self._reads.get(name)
            if codec is None:
                raise CodecError(f"it is encoded with {text}, and there is no codec {name} here", codec=text)
            try:
                made = codec.decode(made, key, b"%b\0%b" % (about, ",".join(steps[:place]).encode()))
            except Exception as error:
                raise CodecError(f"it is encoded with {text}, and cannot be decoded: {error}", codec=text) from error
        return made

    def _encrypts(self, step: str) -> bool:
        codec = self._reads.get(step.partition(":")[0])
        # What nobody here can decode is told as that.
        return codec is None or codec.encrypts


#: What may be given as `codec`: one, several to be applied in that order, or `Codecs`.
AnyCodec: TypeAlias = Codec | Sequence[Codec] | Codecs


def codecs_of(codec: AnyCodec | None) -> Codecs | None:
    """What an instance was given as `codec`.

    Raises:
        TypeError: it is none.
        ValueError: as for `Codecs`.
    """
    if codec is None or isinstance(codec, Codecs):
        return codec
    several = (codec,) if isinstance(codec, Codec) else tuple(codec)
    for one in several:
        if not isinstance(one, Codec):
            raise TypeError(f"a codec is a dibs.codecs.Codec, not {one!r}")
    return Codecs(*several)


def no_codec(data: bytes) -> CodecError | None:
    """Why bytes are not what they seem where there is no codec at all; None: no codec has made them."""
    try:
        found = sealed.unseal(data)
    except ValueError as error:
        return CodecError(str(error))
    if found is None:
        return None
    return CodecError(f"it is encoded with {found[0]}, and this program has no codec (codec=)", codec=found[0])
