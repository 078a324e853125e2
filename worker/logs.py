"""Log lines that people read and machines parse: a text and fields, as ``key=value`` or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

#: The names that `configure` takes for its format.
FORMATS = ("text", "json")

#: The field that takes more than a line.
_TRACEBACK = "traceback"


class Said:
    """A log message with fields; formats itself only when a handler writes it.

    As text the field `traceback` stands below the line, indented, for people to read; all others stand in the line.

    Example:
        ``log.info(Said("connected", target="localhost:50051"))`` is ``connected target=localhost:50051``.
    """

    __slots__ = ("fields", "text")

    def __init__(self, text: str, **fields: Any) -> None:
        self.text = text
        self.fields = fields

    def __str__(self) -> str:
        """The text, then the fields, then the traceback."""
        fields = (f"{key}={_plain(value)}" for key, value in self.fields.items() if key != _TRACEBACK)
        return "\n".join([" ".join([self.text, *fields]), *_indented(self.fields.get(_TRACEBACK))])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Writes one line."""
        said = record.msg if isinstance(record.msg, Said) else None
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": said.text if said else record.getMessage(),
        }
        if said:
            entry.update(said.fields)
        if record.exc_info:
            entry[_TRACEBACK] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def configure(level: str = "info", log_format: str = "text") -> None:
    """Sends the logs of this process to stderr.

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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)


def _indented(traceback: Any) -> list[str]:
    """The lines of a traceback. Never at the beginning of a line: what an exception says might look like a log line."""
    lines = str(traceback or "").splitlines()
    return ["    " + "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line) for line in lines]


def _plain(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if not text or not text.isprintable() or " " in text else text
