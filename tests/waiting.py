"""Wait for what another thread or process does, for as long as a loaded machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 300.0
"""Seconds after which a test no longer waits for something that takes one on a quiet machine."""


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until something is true.

    Raises:
        TimeoutError: it was not within `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not become true in {PATIENCE} s")
        time.sleep(0.02)
