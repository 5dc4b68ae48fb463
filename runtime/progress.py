"""Progress of long work as log lines, for where there is no terminal to draw a bar on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


def logged_progress(doing: str, total: int | None = None) -> Callable[[int], None]:
    """Return a function to call with the number of units just done; every few seconds it logs how far the work is.

    Args:
        doing: what the line begins with, such as `copying rows`.
        total: how many units there are, if that is known; then the line also tells the time left.
    """
    done = 0
    started = time.monotonic()
    next_line = started + SECONDS_BETWEEN_LINES

    def progress(units: int) -> None:
        nonlocal done, next_line
        done += units
        now = time.monotonic()
        if now < next_line:
            return
        next_line = now + SECONDS_BETWEEN_LINES
        rate = done / (now - started)
        if total is None:
            logger.info("%s: %d done, %.0f a second", doing, done, rate)
        else:
            left = max(0, total - done) / rate if rate else float("inf")
            logger.info("%s: %d of %d done, %.0f a second, %.0f s left", doing, done, total, rate, left)

    return progress
