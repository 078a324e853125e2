"""Log lines that people read and machines parse: a text and fields, as ``key=value`` or as JSON.

Texts are harmless (`texts.py`) and of bounded length, whoever wrote them; a line of the log begins with its time, and
nothing else does.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from .texts import json_text, plain

#: Most characters of one text in a line: of the message, of a field, of a traceback, which keeps its end.
MAX_TEXT = 8 * 1024

#: The names that `send_to_stderr` takes for its format.
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
        fields = (f"{key}={_in_line(value)}" for key, value in self.fields.items() if key != _TRACEBACK)
        lines = _end(str(self.fields.get(_TRACEBACK) or "")).splitlines()
        return "\n".join([" ".join([self.text, *fields]), *map(_indented, lines)])


class TextFormatter(logging.Formatter):
    """One line for people; what goes on below it is indented, so that it looks like no line of the log."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Write the line itself."""
        if not isinstance(record.msg, Said):
            first, *more = plain(record.message, MAX_TEXT).split("\n")
            record.message = "\n".join([first, *map(_indented, more)])
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        """Write the traceback below it."""
        return "\n".join(map(_indented, _end(super().formatException(ei)).splitlines()))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, process, message, fields, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        said = record.msg if isinstance(record.msg, Said) else None
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": _beginning(said.text if said else record.getMessage()),
        }
        for key, value in said.fields.items() if said else ():
            entry[key] = _end(str(value)) if key == _TRACEBACK and value else _member(value)
        if record.exc_info:
            entry[_TRACEBACK] = _end(self.formatException(record.exc_info))
        return json_text(entry, default=str)


def send_to_stderr(level: int | str, log_format: str) -> None:
    """Send the logs of this process to stderr.

    Args:
        level: least level to show, as in `logging`.
        log_format: one of `FORMATS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _beginning(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _end(text: str) -> str:
    """A traceback says most at its end."""
    return text if len(text) <= MAX_TEXT else "…" + text[1 - MAX_TEXT :]


def _indented(line: str) -> str:
    return "    " + plain(line)


def _in_line(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else _beginning(str(value))
    return plain(json_text(text)) if not text or not text.isprintable() or " " in text else text


def _member(value: Any) -> Any:
    """A field for JSON: what is too long as a list or an object becomes the beginning of its text."""
    if isinstance(value, str):
        return _beginning(value)
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    return value if len(text) <= MAX_TEXT else _beginning(text)
