"""Where the worker processes of one gunicorn count, so that any of them can tell the sum.

The master makes a directory at each start and removes it at its end; what a master that was killed left is removed by
the next. A worker counts in the files of its *slot*, a number that no other worker alive has. The one that takes the
place of a dead worker gets a free slot and counts on where that one stopped: nothing that was counted is lost, and
there are never more files than there were workers at a time.

This module does not import prometheus_client, which decides at its import where it counts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "robotoff-ann-metrics-"
_LOCK = "lock"
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's
_LIVE = "gauge_livesum"
_FILES = {"counter": 2**18, "histogram": 2**19, _LIVE: 2**16}  # bytes; prometheus_client enlarges them if need be


@dataclass(frozen=True, slots=True)
class MetricFiles:
    """The directory of one master.

    Attributes:
        directory: where the files are.
        lock: a descriptor that holds a lock for as long as the master or one of its workers lives.
    """

    directory: Path
    lock: int

    @classmethod
    def make(cls, parent: Path) -> MetricFiles:
        """Make the directory, and remove those of masters that are gone.

        Raises:
            OSError: it cannot be made.
        """
        for left in parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):  # it is another user's, or was removed meanwhile
                lock = _locked(left / _LOCK)
                shutil.rmtree(left)
                os.close(lock)
        made = Path(tempfile.mkdtemp(prefix=f"new-{_PREFIX}", dir=parent))
        lock = _locked(made / _LOCK, create=True)  # before it has the name by which others look for it
        return cls(made.rename(parent / made.name.removeprefix("new-")), lock)

    def free_slot(self, taken: Iterable[int]) -> int:
        """Answer the lowest number that is not taken."""
        numbers = set(taken)
        return next(number for number in range(len(numbers) + 1) if number not in numbers)

    def forget(self, slot: int) -> None:
        """Forget what a worker that died had open; what it counted stays."""
        with suppress(OSError):  # somebody may have tidied up
            self._path(_LIVE, slot).unlink()

    def use(self, slot: int) -> None:
        """Have this process, a worker, count in the files of a slot. Call it before anything is counted.

        The files have their space from the start: to write into a mapped hole of a full disk would kill the process.

        Raises:
            OSError: there is no space for them. What this process counts is lost then; it can tell what others count.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)  # as above
        os.environ[_VARIABLE] = str(self.directory)
        from prometheus_client import values

        values.ValueClass = values.MutexValue
        for kind, size in _FILES.items():
            _make_space(self._path(kind, slot), size)
        values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]

    def remove(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _path(self, kind: str, slot: int) -> Path:
        return self.directory / f"{kind}_{slot}.db"


def shared_directory() -> str | None:
    """Return where several processes count, this one among them; `None` if it counts for itself."""
    return os.environ.get(_VARIABLE) or None


def _make_space(path: Path, size: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError:
        if os.fstat(fd).st_size == 0:  # prometheus_client cannot read an empty one
            path.unlink()
        raise
    finally:
        os.close(fd)


def _locked(path: Path, *, create: bool = False) -> int:
    """Open a file and lock it.

    Raises:
        OSError: somebody else has locked it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd
