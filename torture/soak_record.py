"""What the clients of a soak saw: answers, how long they took, and what was wrong with them."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Record:
    """What all clients saw. Threads may share it.

    Attributes:
        seconds: how long each answer took, by the kind of request.
        unanswered: requests without an answer: when they began and ended (`time.monotonic`), and what they were.
        statuses: how many answers had which.
        hung_up: how many requests were abandoned.
        wrong: what no answer should be; each a sentence that begins with the kind of request.
        mutex: for whoever counts.
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
        """How many requests were answered."""
        return sum(self.statuses.values())
