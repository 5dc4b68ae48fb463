"""A model of the worst possible disk: what it may hold after a power cut.

A file's content is durable once the file is synced, and a name once its directory is, each as it was at that moment. Of
everything later, any part may have reached the disk, in any order, with three exceptions: a sector of 512 bytes is
written whole or not at all, a rename is one step, and a truncate is one step. No file system is as bad as that, but
each is as bad in some respect: see Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014, table 1.

`Disk` replays a record of operations. The functions below it choose which pending operations survive.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Self

SECTOR = 512  # bytes
DIRECTORY = 0  # the inode of every directory: only their names matter

Tree = dict[str, bytes | None]
"""The files of a disk: path to content, which is None for a directory."""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes written to a file."""

    inode: int
    offset: int
    content: bytes

    def sectors(self) -> list[Write]:
        """Return the write in the pieces that a disk writes whole."""
        end = self.offset + len(self.content)
        bounds = [self.offset, *range(self.offset - self.offset % SECTOR + SECTOR, end, SECTOR), end]
        return [
            Write(self.inode, first, self.content[first - self.offset : stop - self.offset])
            for first, stop in itertools.pairwise(bounds)
        ]

    def __str__(self) -> str:
        return f"write {len(self.content)} bytes at {self.offset} of file {self.inode}"


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file given a size, by truncating it or appending zeros."""

    inode: int
    size: int

    def __str__(self) -> str:
        return f"truncate file {self.inode} to {self.size} bytes"


@dataclass(frozen=True, slots=True)
class Rename:
    """Names that change in one step: path to inode, or to None if it is removed. A link counts as one, too."""

    names: dict[str, int | None]

    def __str__(self) -> str:
        return ", ".join(f"{path} is {'gone' if inode is None else inode}" for path, inode in self.names.items())


@dataclass(frozen=True, slots=True)
class Sync:
    """A sync of a file: its changes are durable."""

    inode: int

    def __str__(self) -> str:
        return f"sync file {self.inode}"


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    """A sync of a directory: its names are durable."""

    path: str

    def __str__(self) -> str:
        return f"sync {self.path}"


Change = Write | Truncate | Rename
Operation = Change | Sync | SyncDirectory


@dataclass(slots=True)
class Disk:
    """What is durable, and what is pending.

    Attributes:
        contents: inode to the durable content of a file.
        names: path to inode, of durable names. The root is "/" and always exists.
        pending: later changes, in order.
    """

    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def copy(self) -> Self:
        """Return an independent copy."""
        return type(self)({**self.contents}, {**self.names}, [*self.pending])

    def do(self, operation: Operation) -> None:
        """Apply the next operation of the record."""
        if isinstance(operation, Sync | SyncDirectory):
            done, self.pending = _made_durable(self.pending, operation)
            self.contents, self.names = self._with(done)
        else:
            self.pending.append(operation)

    def settle(self) -> None:
        """Make everything durable."""
        self.contents, self.names = self._with(self.pending)
        self.pending = []

    def after(self, kept: Iterable[Change]) -> Tree:
        """Return the files on the disk if only these pending changes reached it, in this order."""
        contents, names = self._with(kept)
        tree: Tree = {}
        for path in sorted(names):  # a directory before its files; a file without a directory is lost
            parent, inode = posixpath.dirname(path), names[path]
            if parent == "/" or parent in tree:
                tree[path] = None if inode == DIRECTORY else contents.get(inode, b"")
        return tree

    def _with(self, changes: Iterable[Change]) -> tuple[dict[int, bytes], dict[str, int]]:
        names = {**self.names}
        changed: dict[int, bytearray] = {}
        for change in changes:
            if isinstance(change, Rename):
                names.update({path: inode for path, inode in change.names.items() if inode is not None})
                for path in [path for path, inode in change.names.items() if inode is None]:
                    names.pop(path, None)
                continue
            content = changed.setdefault(change.inode, bytearray(self.contents.get(change.inode, b"")))
            size = change.size if isinstance(change, Truncate) else change.offset
            content.extend(bytes(max(0, size - len(content))))
            if isinstance(change, Truncate):
                del content[size:]
            else:
                content[size : size + len(change.content)] = change.content
        return {**self.contents, **{inode: bytes(content) for inode, content in changed.items()}}, names


def _made_durable(pending: Sequence[Change], sync: Sync | SyncDirectory) -> tuple[list[Change], list[Change]]:
    """Return the changes that a sync makes durable, and those that stay pending."""
    done: list[Change] = []
    left: list[Change] = []
    names: set[str] = set()
    for change in reversed(pending):
        if isinstance(change, Rename):
            here = isinstance(sync, SyncDirectory) and sync.path in map(posixpath.dirname, change.names)
            # A rename is one step in both directories: no earlier change of its names can come after it.
            durable = here or not names.isdisjoint(change.names)
            names.update(change.names if durable else ())
        else:
            durable = isinstance(sync, Sync) and change.inode == sync.inode
        (done if durable else left).append(change)
    return done[::-1], left[::-1]


def digest(tree: Tree) -> bytes:
    """Return a hash that differs for different disks."""
    state = blake2b(digest_size=16)
    for path, content in sorted(tree.items()):
        state.update(f"{path}\0{-1 if content is None else len(content)}\0".encode())
        state.update(content or b"")
    return state.digest()


def file_losses(pending: Sequence[Change]) -> Iterator[list[Change]]:
    """Yield changes that may survive whole: none, all, each change of a file alone, all but it, all in reverse."""
    files, names = _split(pending)
    yield []
    yield [*pending]
    for place, change in enumerate(files):
        yield [change]
        yield [change, *names]
        yield [*files[:place], *files[place + 1 :], *names]
    yield [*reversed(files), *names]


def name_losses(pending: Sequence[Change]) -> Iterator[list[Change]]:
    """Yield names that may survive whole: each alone, all but it, all up to it; with all changes of files, or none."""
    files, names = _split(pending)
    for place, name in enumerate(names):
        for some in ([name], [*names[:place], *names[place + 1 :]], names[: place + 1]):
            yield [*some]
            yield [*files, *some]


def torn_losses(pending: Sequence[Change], chance: Random) -> Iterator[list[Change]]:
    """Yield pending writes torn at each sector, with the first or last part, and others kept or lost; shuffled."""
    cuts = [
        (place, cut, first, others)
        for place, change in enumerate(pending)
        if isinstance(change, Write)
        for cut in range(1, len(change.sectors()))
        for first in (True, False)
        for others in ("none", "names", "all")
    ]
    chance.shuffle(cuts)
    for place, cut, first, others in cuts:
        torn = pending[place]
        assert isinstance(torn, Write)
        pieces = torn.sectors()[:cut] if first else torn.sectors()[cut:]
        before, after = ([*part] if others == "all" else [] for part in (pending[:place], pending[place + 1 :]))
        yield [*before, *pieces, *after, *(_split(pending)[1] if others == "names" else [])]


def random_losses(pending: Sequence[Change], chance: Random) -> Iterator[list[Change]]:
    """Yield random parts of the pending changes for ever; writes are torn anywhere, and sometimes reordered."""
    files, names = _split(pending)
    while pending:
        often = chance.choice([0.1, 0.5, 0.9])
        kept: list[Change] = []
        for change in files:
            if isinstance(change, Write) and chance.random() < 0.5:
                kept += [piece for piece in change.sectors() if chance.random() < often]
            elif chance.random() < often:
                kept.append(change)
        if chance.random() < 0.2:
            chance.shuffle(kept)
        if chance.random() < 0.5:
            kept += names[: chance.randint(0, len(names))]
        else:
            kept += [change for change in names if chance.random() < often]
        yield kept


def _split(pending: Sequence[Change]) -> tuple[list[Change], list[Change]]:
    """Return the changes of files, and those of names."""
    return (
        [change for change in pending if not isinstance(change, Rename)],
        [change for change in pending if isinstance(change, Rename)],
    )
