"""The codecs of an instance at work: what they encode, bound to what it belongs to."""

from __future__ import annotations

from ..contract import sealed
from ..errors import CodecError
from .codec import AnyCodec, Codecs, codecs_of

#: A call without arguments, as schedules make it; see `Codecs.plain`.
NO_ARGUMENTS = b'{"args":[],"kwargs":{}}'


class Sealing:
    """Encodes and decodes what items carry. Safe to use from any thread.

    Args:
        codecs: how.
        namespace: of the items.
    """

    __slots__ = ("_codecs", "_namespace")

    def __init__(self, codecs: Codecs, namespace: str) -> None:
        self._codecs = codecs
        self._namespace = namespace

    def seal_payload(self, id: str, task_name: str, payload: bytes) -> bytes:
        """A payload as it is sent.

        Raises:
            PayloadError: a codec refused it.
        """
        return self._codecs.encode(payload, self._payload(id, task_name))

    def seal_result(self, id: str, result: bytes) -> bytes:
        """A result as it is sent.

        Raises:
            PayloadError: a codec refused it.
        """
        return self._codecs.encode(result, self._result(id))

    def open_payload(self, id: str, task_name: str, payload: bytes) -> bytes:
        """A payload that came in.

        Raises:
            CodecError: it cannot be decoded here.
        """
        if payload == NO_ARGUMENTS and task_name:
            return payload
        return self._codecs.decode(payload, self._payload(id, task_name))

    def open_result(self, id: str, result: bytes) -> bytes:
        """A result that came in.

        Raises:
            CodecError: it cannot be decoded here.
        """
        return self._codecs.decode(result, self._result(id))

    def _payload(self, id: str, task_name: str) -> bytes:
        return f"payload\0{self._namespace}\0{task_name}\0{id}".encode()

    def _result(self, id: str) -> bytes:
        return f"result\0{self._namespace}\0{id}".encode()


class Sealed:
    """The payload of an item that was taken for good, or only looked at, where it could not be decoded.

    Attributes:
        payload: its bytes, as they came.
        problem: why they could not be decoded.
        codec: how they say that they were encoded; empty: they are plain where nothing plain is taken.

    Example::

        if isinstance(item, Sealed):
            value = json.loads(item.open(AesGcm({"2026-05": old_key})))
    """

    __slots__ = ("_id", "_namespace", "_task_name", "codec", "payload", "problem")

    def __init__(self, namespace: str, id: str, task_name: str, payload: bytes, problem: CodecError) -> None:
        self._namespace = namespace
        self._id = id
        self._task_name = task_name
        self.payload = payload
        self.problem = str(problem)
        self.codec = problem.codec

    def open(self, codec: AnyCodec) -> bytes:
        """Decode it with other codecs or keys.

        Raises:
            CodecError: they cannot decode it either.
        """
        codecs = codecs_of(codec) or Codecs()
        return Sealing(codecs, self._namespace).open_payload(self._id, self._task_name, self.payload)

    def __repr__(self) -> str:
        """How it is encoded, and how long it is."""
        return sealed.shown(self.payload) or f"<plain: {len(self.payload)} bytes>"
