"""Ids for items that came without one: the same for the same request id, at every broker of every version.

An id is the UUID of version 5 of "<request id>/<place in the request>". The hash of what the ids of a request have in
common is made once, which is a fifth of what `uuid.uuid5` takes for each.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8").bytes
#: The digit that has a UUID's two bits of variant in it, for each that the hash may have there.
_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}


def completed(ids: Sequence[str], request_id: str) -> list[str]:
    """The ids, with new ones where they are empty.

    Args:
        ids: of the items of one request.
        request_id: the request's; without one the new ids are random.
    """
    base = hashlib.sha1(_NAMESPACE + f"{request_id or uuid.uuid4().hex}/".encode(), usedforsecurity=False)
    return [id or _made(base.copy(), at) for at, id in enumerate(ids)]


def _made(hashed: hashlib._Hash, at: int) -> str:
    hashed.update(b"%d" % at)
    digits = hashed.hexdigest()
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"
