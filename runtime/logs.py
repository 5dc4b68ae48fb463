"""How a line of the log looks: for people, or as a JSON object; with the id of the request that it belongs to.

Whatever a message quotes, it is one line, and one of bounded length: control characters are escaped, so that nobody can
write lines of his own into the log. Only tracebacks have more lines, which are indented; in JSON they are a field.

A record may carry `fields`, a dict of what its message says, for JSON.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from runtime import request_id

MAX_MESSAGE = 8_000  # characters
MAX_TRACEBACK = 20_000  # characters, the last ones: they say what went wrong

_TALKATIVE = ("PIL", "urllib3", "h5py", "asyncio")  # at DEBUG some of them log what is in images and addresses


class RequestIdFilter(logging.Filter):
    """Puts the id of the thread's request into each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        record.request_id = request_id.current()
        return True


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to where the standard error goes now, whatever becomes of descriptor 2 later (`native_output.py`)."""

    def __init__(self) -> None:
        super().__init__(os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace"))


class HumanFormatter(logging.Formatter):
    """Lines such as `2026-11-25 03:00:00,123 INFO 17 api.app [4f0c]: it happened`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        request = getattr(record, "request_id", None)
        where = f"{record.name} [{request}]" if request else record.name
        line = f"{self.formatTime(record)} {record.levelname} {record.process} {where}: {_message(record)}"
        traceback = _traceback(self, record)
        return "\n  ".join([line, *map(escaped, traceback.splitlines())]) if traceback else line


class JsonFormatter(logging.Formatter):
    """Objects with `time` (UTC), `level`, `process`, `logger`, `message`; maybe `request_id` and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": time,
            "level": record.levelname,
            "process": record.process,
            "logger": record.name,
            "message": _message(record),
        }
        if request := getattr(record, "request_id", None):
            line["request_id"] = request
        line |= getattr(record, "fields", {})
        if traceback := _traceback(self, record):
            line["exception"] = traceback
        try:
            return orjson.dumps(line).decode()
        except orjson.JSONEncodeError:  # half a surrogate pair: no UTF-8, but a file name may hold one
            return json.dumps(line, default=repr)


def configuration(level: str, form: str) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes, for everything to go to the standard error.

    Args:
        level: the least severe that is logged.
        form: `human` or `json`.
    """
    formatter = {"human": HumanFormatter, "json": JsonFormatter}[form]
    own = {"level": level, "handlers": [], "propagate": True}
    quiet = {"level": max(logging.getLevelName(level), logging.INFO)}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "filters": {"request": {"()": RequestIdFilter}},
        "handlers": {"stderr": {"()": StderrHandler, "formatter": "line", "filters": ["request"]}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": own, "gunicorn.access": own, **dict.fromkeys(_TALKATIVE, quiet)},
    }


def configure(level: str, form: str) -> None:
    """Have this process log so, warnings of Python's too, unless it logs in some way already."""
    if not logging.getLogger().handlers:
        logging.config.dictConfig(configuration(level, form))
    logging.captureWarnings(True)


def escaped(text: str) -> str:
    """Write what cannot be printed, line ends among it, as a literal of Python would."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}... ({len(message)} characters)"
    return escaped(message)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = formatter.formatException(record.exc_info) if record.exc_info else record.exc_text or ""
    if record.stack_info:
        text += f"\n{record.stack_info}"
    return text if len(text) <= MAX_TRACEBACK else f"...{text[-MAX_TRACEBACK:]}"
