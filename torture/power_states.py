"""Create the possible states of a disk after a power cut in a directory, one after the other, and judge them.

Each prefix of a writer's record is a moment of the power cut. `disk_model.py` chooses which pending changes survive,
and `power_promises.py` judges with the real store.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar
from unittest import mock

from embeddings.errors import EmbeddingsError
from torture.disk_model import (
    Change,
    Disk,
    Operation,
    Tree,
    digest,
    file_losses,
    name_losses,
    random_losses,
    torn_losses,
)
from torture.power_promises import Scenario, hear_all, served_losses, spoil_sector
from torture.power_writer import store_path

_FRUITLESS = 1000  # known states in a row, after which there are hardly any new ones
_ROTS = 10  # one power cut in this many is followed by a bad sector, where the scenario asks for it

_Item = TypeVar("_Item")


@dataclass(slots=True)
class Explored:
    """The result of exploring.

    Attributes:
        disks: digests of the states of the disk, each counted once, whatever was promised.
        losses: what was lost, each with the state that shows it.
    """

    disks: set[bytes] = field(default_factory=set)
    losses: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A prefix of a record: its name, the disk, and the acknowledgements so far."""

    number: int
    name: str
    disk: Disk
    heard: tuple[bytes, ...]


def explore(
    scenario: Scenario,
    written: Sequence[Operation | bytes],
    *,
    states: int,
    seed: int,
    share: tuple[int, int] = (0, 1),
    until_lost: bool = False,
) -> Explored:
    """Judge states of the disk after a power cut.

    Args:
        scenario: the judge.
        written: the record.
        states: number of different states to judge, if there are that many.
        seed: determines torn and random states.
        share: `(a, b)` selects the moments whose number is `a` modulo `b`.
        until_lost: whether to stop at the first loss.
    """
    explored = Explored()
    judged: set[tuple[bytes, int]] = set()
    moments = _moments(written)[share[0] :: share[1]]
    fruitless = 0
    with tempfile.TemporaryDirectory() as directory, _quietly():
        for moment, kept, spoils in _power_cuts(scenario, moments, seed):
            tree, promises = moment.disk.after(kept), hear_all(moment.heard)
            if spoils:
                path = "/" + str(store_path(Path()))
                content = tree.get(path)
                if not content or not promises.of_store.stored:
                    continue  # the store, or its first rows, are still being written
                known = sorted(promises.of_store.stored | promises.of_store.deleted | {*promises.appending})
                tree[path], promises.damaged = spoil_sector(content, known, spoils)
                promises.of_store.stored -= promises.damaged
            state = digest(tree)
            if not spoils:
                fruitless = 0 if state not in explored.disks else fruitless + 1
            explored.disks.add(state)
            if (state, len(moment.heard)) not in judged:
                judged.add((state, len(moment.heard)))
                _make(tree, root := Path(directory))
                try:
                    losses = (served_losses if spoils else scenario.losses)(root, promises)
                except (EmbeddingsError, OSError, RuntimeError, ValueError, KeyError) as error:
                    losses = [f"failed: {error!r}"]
                explored.losses += [f"{_described(moment, kept, bool(spoils))}: {loss}" for loss in losses]
            if len(explored.disks) >= states or fruitless > _FRUITLESS or (until_lost and explored.losses):
                break
    return explored


def _moments(written: Sequence[Operation | bytes]) -> list[_Moment]:
    """Return the prefixes of a record from the acknowledgement "begin" on; the power stays on before it."""
    disk, begun = Disk(), False
    heard: tuple[bytes, ...] = ()
    moments: list[_Moment] = []
    for number, operation in enumerate(written):
        if isinstance(operation, bytes):
            heard = (*heard, operation)
            if operation == b'["begin"]':
                begun = True
                disk.settle()
        else:
            disk.do(operation)
        if begun:
            name = operation.decode() if isinstance(operation, bytes) else str(operation)
            moments.append(_Moment(number, name, disk.copy(), heard))
    return moments


def _power_cuts(
    scenario: Scenario, moments: Sequence[_Moment], seed: int
) -> Iterator[tuple[_Moment, list[Change], Random | None]]:
    """Yield a moment, the pending changes that survive, of all kinds in turn, and a generator if a sector goes bad."""
    chance = Random(seed)
    names = [(moment, kept) for moment in moments for kept in name_losses(moment.disk.pending)]
    files = [(moment, kept) for moment in moments for kept in file_losses(moment.disk.pending)]
    chance.shuffle(names)
    chance.shuffle(files)
    torn, drawn = (
        [
            zip(itertools.repeat(moment), losses(moment.disk.pending, Random(f"{seed} {moment.number}")), strict=False)
            for moment in moments
        ]
        for losses in (torn_losses, random_losses)
    )
    cuts = _in_turn([iter(names), iter(files), _in_turn(torn), _in_turn(drawn)])
    for number, (moment, kept) in enumerate(cuts):
        yield moment, kept, None
        if scenario.rots and number % _ROTS == 0:
            moment = chance.choice(moments)
            yield moment, moment.disk.pending, Random(f"spoilt {seed} {number}")


def _in_turn(streams: Sequence[Iterator[_Item]]) -> Iterator[_Item]:
    """Yield the first item of each stream, then the second of each, and so on, until all are exhausted."""
    while streams:
        left = []
        for stream in streams:
            for item in itertools.islice(stream, 1):
                left.append(stream)
                yield item
        streams = left


def _make(tree: Tree, root: Path) -> None:
    """Make a directory hold exactly the files of a disk."""
    for old in sorted(root.rglob("*"), reverse=True):  # files before their directory
        if not old.is_dir():
            old.unlink()
        elif f"/{old.relative_to(root)}" not in tree:
            old.rmdir()
    for path, content in tree.items():
        if content is None:
            (root / path[1:]).mkdir(exist_ok=True)
        else:
            (root / path[1:]).write_bytes(content)


@contextmanager
def _quietly() -> Iterator[None]:
    """Omit the syncs of the judge, which needs none, and the log of errors that it sees a thousand times."""
    logging.disable()
    try:
        with mock.patch("os.fsync"), mock.patch("os.fdatasync"):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _described(moment: _Moment, kept: Sequence[Change], spoilt: bool) -> str:
    changes = "; ".join(map(str, kept[:6])) + (f"; and {len(kept) - 6} more" if len(kept) > 6 else "")
    return (
        f"after step {moment.number} ({moment.name[:60]}), of {len(moment.disk.pending)} pending changes kept: "
        f"{changes or 'none'}{'; one sector spoilt' if spoilt else ''}"
    )
