"""What to say when the library is not there that a middleware is made for."""

from __future__ import annotations

from ..errors import DibsError


def needs(what: str, install: str, error: ModuleNotFoundError) -> DibsError:
    """The error to raise.

    Args:
        what: the middleware.
        install: what to install.
        error: what was missing.
    """
    return DibsError(f"{what} needs {error.name}: pip install '{install}'")
