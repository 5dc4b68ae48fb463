"""Writers that are killed while they hold the writer's lock: the lock is released, and the others continue."""

from __future__ import annotations

import time

from torture.kill_children import ANSWERS, Child, ChildError, Herd
from torture.kill_writers import Stage

_SECONDS = 30.0


class Holding(Stage):
    """Each writer is stopped while it holds the lock, and killed; then another request must be answered."""

    name = "append and delete, the lock held"
    children = 5
    share = 2
    seconds = _SECONDS  # after which the others count as blocked

    def kill(self, herd: Herd, child: Child, at: float) -> None:
        """Kill a child that holds the lock."""
        del at
        end = time.monotonic() + _SECONDS
        while not herd.stop(child).held and not herd.anybody_ended():
            if time.monotonic() > end:
                raise ChildError("a writer never gets the lock")
            herd.resume(child)
            self.listen(herd)
            time.sleep(self.chance.uniform(0, 0.002))
        self.listen(herd)  # a request made and answered after this took the lock after the dead child
        herd.kill(child)
        if herd.children:
            self._check_that_others_continue(herd)

    def _check_that_others_continue(self, herd: Herd) -> None:
        end = time.monotonic() + self.seconds
        asked: set[int] = set()
        answered: set[int] = set()
        while not asked & answered and not herd.anybody_ended():
            if time.monotonic() > end:
                raise ChildError("a dead writer's lock stops the others")
            for record in self.listen(herd, seconds=1):
                if record.what not in ANSWERS:
                    asked.add(record.writer)
                elif record.writer in asked:
                    answered.add(record.writer)
