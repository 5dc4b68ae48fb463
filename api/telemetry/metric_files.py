"""The files in which gunicorn's workers count, so that whichever is asked for /metrics returns the sum.

They are those of prometheus_client's multiprocess mode. By itself it has three faults that users notice, all measured:

- It gives each process id files of its own and never removes them. Each worker that dies takes 190 KiB of shared memory
  for good and makes each scrape 7 ms slower: after 200 deaths a scrape takes 1.4 s, and after 300 Docker's /dev/shm of
  64 MB is full. Here a worker counts in the files of its *slot*, a number that no other living worker has. The worker
  that replaces a dead one takes its slot and continues its counts.
- It maps files with holes. On a full disk, or a full /dev/shm, the first count kills the worker by SIGBUS. Here the
  files get their space when the worker starts. Without space, only what this worker counts is lost.
- It leaves the directory to its user. Here the master creates one at each start and removes it at its end. What a
  killed master left is removed by the next start.

Counting and reading are prometheus_client's own. This module does not import it: it decides at its import where it
counts.
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
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's
_LIVE = "gauge_livesum"
_FILES = {"counter": 2**18, "histogram": 2**19, _LIVE: 2**16}  # bytes; prometheus_client enlarges them if need be


@dataclass(frozen=True, slots=True)
class MetricFiles:
    """The directory of one master.

    Attributes:
        directory: holds the files.
        lock: a descriptor that holds a lock on the directory as long as the master or one of its workers lives.
    """

    directory: Path
    lock: int

    @classmethod
    def make(cls, parent: Path) -> MetricFiles:
        """Create the directory, and remove those of masters that are gone.

        Raises:
            OSError: it cannot be created.
        """
        for left in parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):  # its master lives, it is another user's, or it was removed meanwhile
                lock = _locked(left)
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
        made = Path(tempfile.mkdtemp(prefix=f"new-{_PREFIX}", dir=parent))
        lock = _locked(made)  # before it has the name by which others look for it
        return cls(made.rename(parent / made.name.removeprefix("new-")), lock)

    def free_slot(self, taken: Iterable[int]) -> int:
        """Return the lowest number that is not taken."""
        numbers = set(taken)
        return next(number for number in range(len(numbers) + 1) if number not in numbers)

    def forget(self, slot: int) -> None:
        """Remove what a dead worker had open from the sums; what it counted stays."""
        with suppress(OSError):  # somebody may have tidied up
            self._path(_LIVE, slot).unlink()

    def use(self, slot: int) -> None:
        """Make this process, a worker, count in the files of a slot. Call it before anything is counted.

        Raises:
            OSError: there is no space for them. What this process counts is lost then; it still returns what the
                others count.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)  # somebody may have tidied up
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
    """Return the directory in which this process and others count; `None` if this one counts alone."""
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


def _locked(directory: Path) -> int:
    """Open a directory and lock it.

    Raises:
        OSError: somebody else has locked it.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd
