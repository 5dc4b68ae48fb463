"""The states in which a power cut may leave a disk, made in a directory one after the other, and judged.

Each prefix of a writer's record is a moment of the power cut; what survives of the changes that are pending then is
chosen by `disk_model.py`; `power_promises.py` judges with the real store.
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

_FRUITLESS = 1000  # states in a row that were all known: there are hardly any others
_ROTS = 10  # of so many power cuts, one is followed by a bad sector, where that is wanted

_Item = TypeVar("_Item")


@dataclass(slots=True)
class Explored:
    """What was seen.

    Attributes:
        disks: digests of the states of the disk, each counted once, whatever was promised.
        losses: what was lost, each with the state that shows it.
    """

    disks: set[bytes] = field(default_factory=set)
    losses: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A prefix of a record: a name for it, the disk, and the acknowledgements."""

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
        states: how many different states to judge, if there are so many.
        seed: what torn and random states are drawn from.
        share: of all moments, those whose number is the first, modulo the second.
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
                    continue  # a store that is made, or its first rows are being written
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
    """Return the prefixes of a record from the acknowledgement "begin" on; before it the power stays on."""
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
    """Yield what survives of the pending changes of some moment, of all kinds in turn, and what draws a bad sector."""
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
    """Yield the first of each, the second of each, and so on, of those that have one."""
    while streams:
        left = []
        for stream in streams:
            for item in itertools.islice(stream, 1):
                left.append(stream)
                yield item
        streams = left


def _make(tree: Tree, root: Path) -> None:
    """Put the files of a disk into a directory, and nothing else."""
    for old in sorted(root.rglob("*"), reverse=True):  # what is in a directory comes before it
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
    """Leave out the syncs of the judge, which loses no power, and the log of what it is shown a thousand times."""
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
