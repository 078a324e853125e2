"""The log of a worker, as text for people or as JSON for machines."""

from __future__ import annotations

import logging

from dibs.contract.log_lines import FORMATS, Said, send_to_stderr

__all__ = ["FORMATS", "Said", "configure"]


def configure(level: str = "info", log_format: str = "text") -> None:
    """Send the logs of this process to stderr.

    Args:
        level: least level to show: debug, info, warning, error.
        log_format: text (``key=value``) or json.

    Raises:
        ValueError: level or format is not one of these.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"the log level is debug, info, warning or error, not {level!r}")
    if log_format not in FORMATS:
        raise ValueError(f"the log format is text or json, not {log_format!r}")
    send_to_stderr(number, log_format)
