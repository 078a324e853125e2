"""What a person is told of each setting: its flag, environment variable, form and default, taken from the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dibs.contract.sizes import format_size

from .call_limits import CallerLimits
from .limits import Limits
from .quotas import NamespaceQuotas
from .settings import ENV_PREFIX, Settings
from .units import Size, format_span

#: Classes that settings are put together of, in the order in which they are told; what is left comes before them.
_PARTS: tuple[type[BaseModel], ...] = (CallerLimits, NamespaceQuotas, Limits)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a broker.

    Attributes:
        name: of the field, and in the file.
        form: what a value looks like, such as `TIME`, or the values that there are; "" for a switch.
        default: as it would be written; "" when the description says it.
        description: what it means.
        is_limit: it bounds what clients may ask for.
    """

    name: str
    form: str
    default: str
    description: str
    is_limit: bool

    @property
    def flag(self) -> str:
        """On the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        """In the environment."""
        return ENV_PREFIX + self.name.upper()


def options() -> Iterator[Option]:
    """Every setting: of the broker, of callers, of namespaces, then its limits, each in the order of its class."""
    fields = Settings.model_fields
    for name in sorted(fields, key=_place):
        field = fields[name]
        yield Option(name, _form(field), _default(field), field.description or "", name in Limits.model_fields)


def _place(name: str) -> int:
    return next((at for at, part in enumerate(_PARTS, 1) if name in part.model_fields), 0)


def _form(field: FieldInfo) -> str:
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    if field.annotation is bool:
        return ""
    if get_origin(field.annotation) is Literal:
        return "|".join(str(choice) for choice in kinds)
    if get_origin(kinds[0]) is Literal:
        return "|".join(str(choice) for choice in get_args(kinds[0]))
    if get_origin(field.annotation) is tuple:
        return "ADDRESS,..."
    kind = get_args(kinds[0])[0] if get_args(kinds[0]) else kinds[0]
    if kind is timedelta:
        return "TIME"
    if _is_size(field):
        return "SIZE"
    return {int: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _is_size(field: FieldInfo) -> bool:
    return any(mark in field.metadata for mark in get_args(Size)[1:])


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.default_factory is not None or value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, timedelta):
        return format_span(value)
    if isinstance(value, tuple):
        return ",".join(value)
    return format_size(value) if _is_size(field) else str(value)


def configuration_table(limits: bool) -> str:
    """The options, or the limits among them, as the table in `docs/configuration.md`."""
    lines = ["| option | environment | value | default | meaning |", "|---|---|---|---|---|"]
    for option in options():
        if option.is_limit is limits:
            form = option.form.replace("|", "\\|") or "(switch)"
            default = f"`{option.default}`" if option.default else ""
            lines.append(f"| `{option.flag}` | `{option.env}` | {form} | {default} | {option.description} |")
    return "\n".join(lines) + "\n"
