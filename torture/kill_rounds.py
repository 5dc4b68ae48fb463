"""Rounds of kills: children work on one store, all are killed, and then the store is judged and written to again.

Mostly they begin at the same moment, when all have started. Their lifetime then adapts itself, so that a given share of
them lives to its first answer: kills interrupt short and long operations, on slow and on fast disks.
"""

from __future__ import annotations

import logging
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embeddings.errors import StoreError
from torture.kill_children import ChildError, Herd, Moment
from torture.kill_writers import Stage

_SHORTEST, _LONGEST = 0.0005, 2.0  # of a span, in seconds
_STARTING = 1 / 5  # of the rounds do not wait until all children have started
_TOLD = 10  # losses reported of one round
_ROUND_SECONDS = 120  # after which a round counts as hanging


def kill_children(
    stage_of: type[Stage],
    kills: int,
    seed: int,
    directory: Path | None = None,
    sabotage: Callable[[], None] = lambda: None,
    *,
    to_the_first_loss: bool = False,
) -> tuple[Counter[Moment], list[str]]:
    """Kill `kills` children or a few more, on stores below a directory.

    Args:
        stage_of: what the children do, and to what.
        kills: number of kills.
        seed: the source of all random choices.
        directory: for the stores; None for that of temporary files.
        sabotage: called first in each child; a test breaks the product with it.
        to_the_first_loss: whether to stop there.

    Returns:
        What the kills interrupted, and what was lost.
    """
    logging.disable()  # the damage is intended
    chance = random.Random(f"{seed} {stage_of.name}")
    moments: Counter[Moment] = Counter()
    losses: list[str] = []
    span = stage_of.span
    while moments.total() < kills and not (losses and to_the_first_loss):
        with tempfile.TemporaryDirectory(dir=directory) as home:
            stage = stage_of(Path(home).resolve(), chance)
            while True:
                wrong = _round(stage, span, moments, sabotage)
                when = f"{stage.name}, seed {seed}, after {moments.total()} kills"
                losses += [f"{when}: {loss}" for loss in wrong[:_TOLD]]
                enough = len(stage.answered) > stage.answering * stage.children
                span = min(max(span * (0.8 if enough else 1.5), _SHORTEST), _LONGEST)
                if wrong or stage.worn or moments.total() >= kills:
                    break
    return moments, losses


def _round(stage: Stage, span: float, moments: Counter[Moment], sabotage: Callable[[], None]) -> list[str]:
    """Start all children, kill them, and return what is wrong afterwards."""
    stage.answered.clear()
    try:
        with _deadline(), Herd(stage.path, sabotage) as herd:
            children = [herd.fork(work) for work in stage.works()]
            if stage.chance.random() > _STARTING:
                _gather(stage, herd)
            herd.open_gate()
            stage.chance.shuffle(children)
            begun = time.monotonic()
            ages = sorted(stage.chance.uniform(0, span) for _ in children)
            for child, age in zip(children, ages, strict=True):
                stage.kill(herd, child, begun + age)
                stage.listen(herd)
            moments.update(herd.bury())
            stage.listen(herd)
            return stage.judge()
    except (ChildError, StoreError, OSError) as error:
        return [f"{type(error).__name__}: {error}"]


def _gather(stage: Stage, herd: Herd) -> None:
    """Wait until all children are at the gate. If one fails before, `bury` reports why."""
    told: set[int] = set()
    while len(told) < len(herd.children) and not herd.anybody_ended():
        told.update(record.writer for record in stage.listen(herd, seconds=1))


@contextmanager
def _deadline() -> Iterator[None]:
    """Raise TimeoutError if the block takes too long."""

    def hanging(*_: object) -> None:
        raise TimeoutError(f"a round hangs, or takes more than {_ROUND_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, hanging)
    signal.setitimer(signal.ITIMER_REAL, _ROUND_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
