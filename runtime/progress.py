"""Log the progress of long work, for use without a terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


def logged_progress(doing: str, total: int | None = None) -> Callable[[int], None]:
    """Return a function that takes the number of units just done, and logs the progress every few seconds.

    Args:
        doing: the beginning of the line, such as `copying rows`.
        total: the number of units, if it is known; the line then shows the time left.
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
