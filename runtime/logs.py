"""The format of log lines: text for people, or JSON objects, with the id of the request that they belong to.

A message is always one line of limited length. Control characters are escaped, so that clients cannot forge lines. Only
tracebacks have several lines: they are indented, and in JSON they are a field.

A record may have `fields`, a dict of the values in its message, for JSON.
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
MAX_TRACEBACK = 20_000  # characters; the end is kept, because it names the error

_TALKATIVE = ("PIL", "urllib3", "h5py", "asyncio")  # at DEBUG, some of them log the content of images and URLs


class RequestIdFilter(logging.Filter):
    """Adds the id of the thread's request to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id, and keep the record."""
        record.request_id = request_id.current()
        return True


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the standard error as it is now, even if descriptor 2 is redirected later (`native_output.py`)."""

    def __init__(self) -> None:
        super().__init__(os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace"))


class HumanFormatter(logging.Formatter):
    """Writes lines such as `2026-11-25 03:00:00,123 INFO 17 api.app [4f0c]: it happened`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and of its traceback."""
        request = getattr(record, "request_id", None)
        where = f"{record.name} [{request}]" if request else record.name
        line = f"{self.formatTime(record)} {record.levelname} {record.process} {where}: {_message(record)}"
        traceback = _traceback(self, record)
        return "\n  ".join([line, *map(escaped, traceback.splitlines())]) if traceback else line


class JsonFormatter(logging.Formatter):
    """Writes objects with `time` (UTC), `level`, `process`, `logger`, `message`, perhaps `request_id`, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
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
        except orjson.JSONEncodeError:  # a lone surrogate is not UTF-8, but a file name may contain one
            return json.dumps(line, default=repr)


def configuration(level: str, form: str) -> dict[str, Any]:
    """Return the argument for `logging.config.dictConfig` that logs everything to the standard error.

    Args:
        level: the least severe level that is logged.
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
    """Configure the log of this process, unless it has one already, and log Python's warnings."""
    if not logging.getLogger().handlers:
        logging.config.dictConfig(configuration(level, form))
    logging.captureWarnings(True)


def escaped(text: str) -> str:
    """Escape characters that cannot be printed, line ends included, as Python literals do."""
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
