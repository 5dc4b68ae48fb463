"""Capture what compiled libraries write to standard error behind Python's back, so that it can be logged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def caught_stderr() -> Iterator[list[str]]:
    """Capture what this process writes to descriptor 2 within the `with` block. The blocks must not overlap.

    Yields:
        A list that holds the lines after the block. If capturing is impossible, the lines go to standard error.
    """
    lines: list[str] = []
    try:
        caught, kept = os.memfd_create("stderr"), os.dup(2)
    except OSError:  # no descriptor is left, or standard error is closed
        yield lines
        return
    try:
        os.dup2(caught, 2)
        yield lines
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        lines += os.pread(caught, 2**20, 0).decode(errors="replace").splitlines()
        os.close(caught)
