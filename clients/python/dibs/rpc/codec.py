"""JSON in and out: the payload of tasks, data items and results.

A task's payload is ``{"args": [...], "kwargs": {...}}``; data items and results are any JSON value.
Integers keep their value whatever their size (up to Python's limit of 4,300 digits), text is UTF-8, and
NaN and infinities are refused because JSON has no such numbers.
"""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from ..codecs.codec import no_codec
from ..codecs.sealing import NO_ARGUMENTS
from ..errors import CodecError, PayloadError


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


# check_circular is off for speed: a structure that holds itself ends in a RecursionError.
_OPTIONS: dict[str, Any] = {"separators": (",", ":"), "allow_nan": False, "check_circular": False}
_encoder = json.JSONEncoder(ensure_ascii=False, **_OPTIONS)
_encode_ascii = json.JSONEncoder(ensure_ascii=True, **_OPTIONS).encode


def _make_encode() -> Callable[[object], str]:
    """The encoder's work without its preparations, which JSONEncoder.encode repeats for every value.

    They cost three times what a small value does.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # an interpreter without the C part
        return _encoder.encode
    write = make(None, _encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(write(value, 0))


_encode = _make_encode()
_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_raw_decode = _decoder.raw_decode


def encode_json(value: object) -> bytes:
    """Write `value` as JSON bytes.

    Raises:
        PayloadError: it holds something that JSON cannot express (NaN, bytes, a set, an object of yours),
            is nested too deeply, or holds itself.
    """
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:
        # Lone surrogates have no UTF-8; as \u escapes they survive the way.
        return _encode_ascii(value).encode()
    except RecursionError:
        raise PayloadError("nested too deeply for JSON, or holding itself") from None
    except (TypeError, ValueError) as error:
        raise PayloadError(f"cannot be written as JSON: {error}") from error


def decode_json(data: bytes) -> Any:
    """Read the JSON value that `data` holds.

    Raises:
        PayloadError: it is not JSON in UTF-8.
        CodecError: it is encoded, and nobody has decoded it.
    """
    try:
        text = str(data, "utf-8")
        try:
            value, end = _raw_decode(text)
        except json.JSONDecodeError:
            # raw_decode takes no leading blanks; the full decode does, and says what is wrong otherwise.
            return _decoder.decode(text)
        return value if end == len(text) else _decoder.decode(text)
    except RecursionError:
        raise PayloadError("the JSON is nested too deeply") from None
    except ValueError as error:
        # What codecs have made is never JSON, so it is looked for only here.
        raise no_codec(data) or PayloadError(f"not JSON: {error}") from error


def decode_value(data: bytes) -> Any:
    """Read a data item or a result. What is not JSON, as only another kind of client sends it, stays bytes.

    Raises:
        CodecError: it is encoded, and nobody has decoded it.
    """
    try:
        return decode_json(data)
    except CodecError:
        raise
    except PayloadError:
        return data


def encode_call(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Write the arguments of a call as a task's payload.

    Raises:
        PayloadError: as for `encode_json`.
    """
    if not args and not kwargs:
        return NO_ARGUMENTS
    return encode_json({"args": args, "kwargs": kwargs})


def decode_call(payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Read the arguments of a call from a task's payload; either of the two members may be absent.

    Raises:
        PayloadError: the payload is not JSON, or not an object with a list `args` and an object `kwargs`.
        CodecError: it is encoded, and nobody has decoded it.
    """
    if payload == NO_ARGUMENTS:
        return [], {}
    try:
        call = decode_json(payload)
    except CodecError:
        raise
    except PayloadError as error:
        raise PayloadError(f"the payload of a task is {error}") from error
    if not isinstance(call, dict) or not call.keys() <= {"args", "kwargs"}:
        raise PayloadError('the payload of a task must be {"args": [...], "kwargs": {...}}')
    args = call.get("args", [])
    kwargs = call.get("kwargs", {})
    if not isinstance(args, list):
        raise PayloadError(f'"args" in the payload of a task must be a list, not {_json_type(args)}')
    if not isinstance(kwargs, dict):
        raise PayloadError(f'"kwargs" in the payload of a task must be an object, not {_json_type(kwargs)}')
    return args, kwargs


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
