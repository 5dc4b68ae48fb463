"""What the clients of a soak were promised, updated while they all continue.

A logo belongs to one client while its add or delete is running: it is then neither stored nor deleted here. If there is
no answer, it is never judged again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Stored:
    """A logo that was acknowledged: the picture that it was cut from, and when (`time.monotonic`)."""

    picture: str
    since: float


class Ledger:
    """The logos that are stored and deleted according to the service's answers. Threads may share it."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._stored: dict[int, Stored] = {}
        self._deleted: dict[int, float] = {}
        self._order: list[int] = []
        self._next = 1
        self._removals = 0
        self._deletions = 0

    def __len__(self) -> int:
        return len(self._stored)

    def fresh(self, count: int) -> list[int]:
        """Return new ids."""
        with self._mutex:
            self._next += count
            return [*range(self._next - count, self._next)]

    def added(self, logo_ids: Iterable[int], picture: Mapping[int, str]) -> None:
        """Note that logos were acknowledged, and the picture of each."""
        with self._mutex:
            for logo_id in logo_ids:
                self._stored[logo_id] = Stored(picture[logo_id], time.monotonic())
                self._order.append(logo_id)

    def deleted(self, logo_ids: Iterable[int]) -> None:
        """Note that deletions were acknowledged."""
        with self._mutex:
            now = dict.fromkeys(logo_ids, time.monotonic())
            self._deleted.update(now)
            self._deletions += len(now)

    def some(self, dice: random.Random, count: int, *, latest: bool = False) -> dict[int, Stored]:
        """Return up to `count` stored logos, random ones or recent ones."""
        with self._mutex:
            order = self._order[-2 * count :] if latest else self._order
            chosen = dice.sample(order, min(count, len(order)))
            return {logo_id: self._stored[logo_id] for logo_id in chosen if logo_id in self._stored}

    def take_stored(self, dice: random.Random, count: int) -> dict[int, Stored]:
        """Take up to `count` stored logos, so that no other client uses them."""
        chosen = self.some(dice, count)
        with self._mutex:
            taken = {logo_id: self._stored.pop(logo_id) for logo_id in chosen if logo_id in self._stored}
            self._removals += len(taken)
        return taken

    def give_back(self, taken: Mapping[int, Stored]) -> None:
        """Note that the logos taken are unchanged."""
        with self._mutex:
            self._stored.update(taken)

    def take_deleted(self) -> int | None:
        """Take the logo that was deleted first, to add it again."""
        with self._mutex:
            logo_id = next(iter(self._deleted), None)
            if logo_id is not None:
                del self._deleted[logo_id]
            return logo_id

    def still(self, known: Mapping[int, Stored]) -> list[int]:
        """Return the logos that nobody has changed since they were known."""
        return [logo_id for logo_id, stored in known.items() if self._stored.get(logo_id) is stored]

    def deleted_before(self, logo_ids: Iterable[int], moment: float) -> list[int]:
        """Return the ids that were deleted before a moment, and still are."""
        return [logo_id for logo_id in logo_ids if self._deleted.get(logo_id, moment) < moment]

    def remembered(self) -> int:
        """Return how many ids a process of the service may have to remember: of stored logos, and of deleted ones."""
        return len(self._stored) + self._deletions

    def tally(self) -> tuple[int, int]:
        """Return how many logos are stored, and how many were ever taken."""
        with self._mutex:
            return len(self._stored), self._removals

    def all_stored(self) -> dict[int, Stored]:
        """Return all stored logos."""
        with self._mutex:
            return dict(self._stored)

    def losses(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> list[str]:
        """Compare the final content of a store, ids (n,) and embeddings (n, dim), with what was promised."""
        found = {logo_id: row for row, logo_id in enumerate(ids.tolist())}
        wrong = [f"stored twice: {len(ids) - len(found)} logos"] if len(found) < len(ids) else []
        if lost := sorted(self._stored.keys() - found.keys()):
            wrong.append(f"lost {len(lost)} logos: {lost[:20]}")
        if back := sorted(self._deleted.keys() & found.keys()):
            wrong.append(f"deleted, and back again: {back[:20]}")
        first: dict[str, int] = {}
        for logo_id, stored in self._stored.items():
            if (row := found.get(logo_id)) is not None:
                of_picture = first.setdefault(stored.picture, row)
                if not np.allclose(embeddings[row], embeddings[of_picture], atol=1e-2):
                    wrong.append(f"logo {logo_id} has the embedding of another picture than {stored.picture}")
        return wrong
