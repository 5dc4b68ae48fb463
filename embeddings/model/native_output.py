"""What compiled libraries write on the standard error behind Python's back, caught so that it can be logged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def caught_stderr() -> Iterator[list[str]]:
    """Catch what this process writes on descriptor 2 within the `with` block; it must not be entered twice at once.

    Yields:
        A list that holds the lines after the block. Where nothing can be caught they go where they would have gone.
    """
    lines: list[str] = []
    try:
        caught, kept = os.memfd_create("stderr"), os.dup(2)
    except OSError:  # no descriptor is left, or the standard error is closed
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
