"""The files in which gunicorn's workers count, so that any worker can return the sums on /metrics.

They are the files of prometheus_client's multiprocess mode. Used alone, that mode has three faults, all measured:

- It creates files for each process id and never removes them. Each worker that dies leaves 190 KiB of shared memory
  in use and makes each scrape 7 ms slower: after 200 deaths a scrape takes 1.4 s, and after 300 deaths Docker's
  /dev/shm of 64 MB is full. Here a worker counts in the files of its *slot*, a number that no other living worker has.
  A worker that replaces a dead one reuses its slot and continues its counts.
- It maps sparse files. On a full disk, or a full /dev/shm, the first count kills the worker by SIGBUS. Here the space
  is allocated when the worker starts. Without space, only the counts of this worker are lost.
- It does not manage the directory. Here the master creates one when it starts and removes it when it ends. The next
  start removes what a killed master left.

prometheus_client does the counting and reading. This module imports it late, because it decides at import time where to
count.
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
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client
_LIVE = "gauge_livesum"
_FILES = {"counter": 2**18, "histogram": 2**19, _LIVE: 2**16}  # bytes; prometheus_client enlarges full files


@dataclass(frozen=True, slots=True)
class MetricFiles:
    """The directory of one master.

    Attributes:
        directory: contains the files.
        lock: a descriptor that locks the directory as long as the master or one of its workers lives.
    """

    directory: Path
    lock: int

    @classmethod
    def make(cls, parent: Path) -> MetricFiles:
        """Create the directory, and remove the directories of dead masters.

        Raises:
            OSError: it cannot be created.
        """
        for left in parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):  # in use, owned by another user, or already removed
                lock = _locked(left)
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
        made = Path(tempfile.mkdtemp(prefix=f"new-{_PREFIX}", dir=parent))
        lock = _locked(made)  # lock it before it gets the name that other masters search for
        return cls(made.rename(parent / made.name.removeprefix("new-")), lock)

    def free_slot(self, taken: Iterable[int]) -> int:
        """Return the lowest number that is not taken."""
        numbers = set(taken)
        return next(number for number in range(len(numbers) + 1) if number not in numbers)

    def forget(self, slot: int) -> None:
        """Remove the open connections of a dead worker from the sums; its counts stay."""
        with suppress(OSError):  # somebody may have removed the file
            self._path(_LIVE, slot).unlink()

    def use(self, slot: int) -> None:
        """Make this worker process count in the files of a slot. Call it before anything is counted.

        Raises:
            OSError: there is no space for the files. This process then loses its own counts, and still returns those
                of the others.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)  # somebody may have removed it
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
    """Return the directory in which the workers count; `None` if this process counts alone."""
    return os.environ.get(_VARIABLE) or None


def _make_space(path: Path, size: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError:
        if os.fstat(fd).st_size == 0:  # prometheus_client cannot read an empty file
            path.unlink()
        raise
    finally:
        os.close(fd)


def _locked(directory: Path) -> int:
    """Open a directory and lock it.

    Raises:
        OSError: another process has locked it.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd
