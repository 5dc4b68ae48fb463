"""What the clients of a soak saw: answers, their times, and what was wrong with them."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Record:
    """What all clients saw. Threads may share it.

    Attributes:
        seconds: the time of each answer, by the kind of request.
        unanswered: requests without an answer: when they began and ended (`time.monotonic`), and what they were.
        statuses: number of answers with each status.
        hung_up: number of abandoned requests.
        wrong: wrong answers; each a sentence that begins with the kind of request.
        mutex: for counting.
    """

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    unanswered: list[tuple[float, float, str]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    hung_up: int = 0
    wrong: list[str] = field(default_factory=list)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, kind: str, seconds: float, status: int) -> None:
        """Note an answer."""
        with self.mutex:
            self.seconds[kind].append(seconds)
            self.statuses[status] += 1

    @property
    def requests(self) -> int:
        """The number of answered requests."""
        return sum(self.statuses.values())
