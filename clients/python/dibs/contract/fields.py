"""What a field of a message is, said by every release of protobuf that there may be."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor


def is_repeated(field: Any) -> bool:
    """Whether a field is a list or a map."""
    # `label` is deprecated in new releases of protobuf, `is_repeated` is missing in old ones.
    repeated = getattr(field, "is_repeated", None)
    return field.label == FieldDescriptor.LABEL_REPEATED if repeated is None else bool(repeated)
