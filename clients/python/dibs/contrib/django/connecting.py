"""The instances that DIBS, a setting of Django, describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ...client.dibs import Dibs
from ...client.instance import default
from ...middleware.connections import CloseOldConnections

#: Name of the instance that the functions of the package belong to.
DEFAULT = "default"
_made: dict[str, Dibs] = {DEFAULT: default()}


def instance(name: str = DEFAULT) -> Dibs:
    """The instance of that name; "default" is `dibs.default()`.

    Raises:
        ImproperlyConfigured: DIBS has none of that name.
    """
    found = _made.get(name)
    if found is None:
        if name not in described():
            raise ImproperlyConfigured(f"DIBS describes no instance {name!r}, only {', '.join(sorted(described()))}")
        found = _made[name] = Dibs()
        _set_up(name, found)
    return found


def instances() -> list[str]:
    """Names of all instances."""
    return sorted({DEFAULT, *described()})


def connect() -> None:
    """Say where each instance connects.

    Raises:
        ImproperlyConfigured: DIBS makes no sense.
    """
    for name in instances():
        made = instance(name)
        if name == DEFAULT:
            _set_up(name, made)


def described() -> Mapping[str, Mapping[str, Any]]:
    """What DIBS says of each instance.

    Raises:
        ImproperlyConfigured: it is no dict, of arguments or of such dicts.
    """
    found = getattr(settings, "DIBS", {})
    if not isinstance(found, Mapping):
        raise ImproperlyConfigured(f"DIBS must be a dict, not {found!r}")
    if any(isinstance(value, Mapping) for value in found.values()):
        wrong = [name for name, value in found.items() if not isinstance(value, Mapping)]
        if wrong:
            raise ImproperlyConfigured(f"DIBS describes instances by name, but {', '.join(wrong)} is no dict")
        return found
    return {DEFAULT: found} if found else {}


def _set_up(name: str, made: Dibs) -> None:
    # Connections to databases that are too old or broken are closed around tasks, as around requests.
    made.use(CloseOldConnections())
    arguments = described().get(name)
    if arguments is None:
        return
    try:
        made.connect(**arguments)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"DIBS, instance {name!r}: {error}") from error
