"""JSON in gzip: files that a build adds to a published generation. gzip's own checksum shows whether one is whole."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import orjson

from index.errors import IndexDamagedError
from index.files.regular_file import read_regular

_GZIP = 31  # zlib's name for a gzip stream with a window of 32 KB

Parsed = TypeVar("Parsed")


def read_gzip_json(path: Path, parse: Callable[[Any], Parsed], *, max_bytes: int) -> tuple[bytes, Parsed] | None:
    """Read a file; return its bytes and what it holds, or `None` if there is none.

    Args:
        path: the file.
        parse: checks and converts the JSON value; it raises ValueError or TypeError if that is wrong.
        max_bytes: the largest JSON, in bytes.

    Raises:
        IndexDamagedError: it cannot be read, is no gzip stream or no JSON, is too large, or `parse` refuses it.
    """
    try:
        compressed = read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IndexDamagedError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return compressed, parse(orjson.loads(_unzip(compressed, max_bytes)))
    except (ValueError, TypeError, OverflowError, zlib.error) as error:
        raise IndexDamagedError(f"{path}: {error}") from error


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return values that identify a file; `None` if it is missing."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called in every request for what it holds
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _unzip(compressed: bytes, max_bytes: int) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    plain = stream.decompress(compressed, max_bytes)
    if not stream.eof or stream.unused_data:
        raise ValueError("it is not one gzip stream of a reasonable length")
    return plain
