"""Child processes to kill: each is forked in a millisecond, and reports what it does and what the kill interrupted.

A child reports to its judge through one pipe, which all children of a herd share, in records far below the size that a
pipe writes atomically (`PIPE_BUF`): a record is there whole, or the kill came before it. A child also notes what it is
doing in three bytes of shared memory, which outlive it, at each call that takes the writer's lock or changes the disk.

Fork from a process that has one thread and has no store open, as `torture.kills` does.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import signal
import struct
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple, Self

MOMENTS = ("starting", "elsewhere", "waiting", "writing", "syncing", "naming")
_STARTING, _ELSEWHERE, _WAITING, _WRITING, _SYNCING, _NAMING = range(len(MOMENTS))
_CALLS = {
    _WRITING: ("pwrite", "write", "ftruncate"),
    _SYNCING: ("fdatasync", "fsync"),
    _NAMING: ("link", "replace", "unlink", "mkdir"),
}
ASKS, ASKS_APPEND, ASKS_DELETE, ASKS_REPLACE = range(4)  # reported before the operation
ANSWERS = DONE, APPENDED, DELETED, REPLACED = range(4, 8)  # reported after its acknowledgement
_RECORD = struct.Struct("<BBqi")
_write = os.write


@dataclass(frozen=True, slots=True)
class Record:
    """A request or an acknowledgement of a child, its number, and the ids `first` to `first + count - 1`."""

    what: int
    writer: int
    first: int = 0
    count: int = 0

    @property
    def ids(self) -> range:
        """The logos of the operation."""
        return range(self.first, self.first + self.count)


Tell = Callable[[Record], None]
Work = Callable[[Tell], None]


class Moment(NamedTuple):
    """What a kill interrupted.

    Attributes:
        doing: one of `MOMENTS`: `starting` is before the gate opens, `elsewhere` is outside all other calls.
        asked: whether the child had requested something that was not acknowledged yet.
        held: whether it held the writer's lock of the store.
    """

    doing: str
    asked: bool
    held: bool


@dataclass(frozen=True, slots=True)
class Child:
    """A process that runs until it is killed."""

    pid: int
    state: memoryview  # the three bytes of its moment

    @property
    def moment(self) -> Moment:
        """What it is doing now, or was doing when it died."""
        return Moment(MOMENTS[self.state[0]], bool(self.state[1]), bool(self.state[2]))


class ChildError(Exception):
    """A child failed, or ended by itself."""


class Herd:
    """The children of one round. Each waits at a gate at its first report.

    Args:
        store: the store file, whose writer's lock is watched.
        sabotage: called first in each child; a test breaks the product with it.
    """

    def __init__(self, store: Path, sabotage: Callable[[], None] = lambda: None) -> None:
        self.children: list[Child] = []
        self._killed: list[Child] = []
        self._sabotage = sabotage
        self._lock = Path(f"{store}.lock")
        self._states = memoryview(mmap.mmap(-1, mmap.PAGESIZE))
        self._records, self._telling = os.pipe()
        os.set_blocking(self._records, False)
        self._gate, self._gatepost = os.pipe()
        self._tracebacks = os.memfd_create("tracebacks")

    def fork(self, work: Work) -> Child:
        """Start a child that does the work, which never ends."""
        state, self._states = self._states[:3], self._states[3:]
        pid = os.fork()
        if pid == 0:
            self._live(work, state)
        child = Child(pid, state)
        self.children.append(child)
        return child

    def open_gate(self) -> None:
        """Let all children start."""
        os.close(self._gatepost)

    def kill(self, child: Child) -> None:
        """Kill a child."""
        os.kill(child.pid, signal.SIGKILL)
        self.children.remove(child)
        self._killed.append(child)

    def bury(self) -> list[Moment]:
        """Wait until all killed children are dead, and return what they were doing.

        Raises:
            ChildError: one of them had ended before it was killed.
        """
        moments = []
        while self._killed:
            child = self._killed.pop(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
            if status != -signal.SIGKILL:
                told = os.pread(self._tracebacks, 1 << 20, 0).decode().strip()
                raise ChildError(f"a process ended with {status} by itself: {told}")
            moments.append(child.moment)
        return moments

    def anybody_ended(self) -> bool:
        """Return whether a child has ended by itself, which none may."""
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return any(os.waitid(os.P_PID, child.pid, how) for child in self.children)

    def stop(self, child: Child) -> Moment:
        """Stop a child, and return what it is doing."""
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return child.moment

    def resume(self, child: Child) -> None:
        """Let a stopped child continue."""
        os.kill(child.pid, signal.SIGCONT)

    def told(self, seconds: float = 0) -> Iterator[Record]:
        """Yield what was reported since the last call; wait up to `seconds` if there is nothing yet."""
        select.select([self._records], [], [], seconds)
        try:
            while told := os.read(self._records, _RECORD.size * 2048):
                yield from starmap(Record, _RECORD.iter_unpack(told))
        except BlockingIOError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in [*self.children]:
            self.kill(child)
        for child in self._killed:
            os.waitpid(child.pid, 0)
        for fd in (self._records, self._telling, self._gate, self._tracebacks):
            os.close(fd)

    def _live(self, work: Work, state: memoryview) -> None:
        def tell(record: Record) -> None:
            state[1] = record.what not in ANSWERS
            _write(self._telling, _RECORD.pack(record.what, record.writer, record.first, record.count))
            if state[0] == _STARTING:
                os.read(self._gate, 1)
                state[0] = _ELSEWHERE

        try:
            os.close(self._records)  # without a reader of the pipe, children whose judge was killed end,
            os.close(self._gatepost)  # and without a writer, the gate is open
            _watch(state, self._lock)
            self._sabotage()
            work(tell)
        except BaseException:  # noqa: BLE001 - no exception may unwind into the judge's code
            _write(self._tracebacks, traceback.format_exc().encode())
        finally:
            os._exit(1)


def _watch(state: memoryview, lock: Path) -> None:
    """Make this process note in `state` what it does."""
    flock = fcntl.flock
    held: set[int] = set()

    def noting(real: Callable[..., Any], doing: int) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            before, state[0] = state[0], doing
            try:
                return real(*args, **named)
            finally:
                state[0] = before

        return call

    def noting_flock(fd: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN and fd in held:
            held.remove(fd)
            state[2] = 0
        noting(flock, _WAITING)(fd, operation)
        if operation == fcntl.LOCK_EX and Path(f"/proc/self/fd/{fd}").readlink() == lock:
            held.add(fd)
            state[2] = 1

    fcntl.flock = noting_flock  # type: ignore[assignment]
    for doing, names in _CALLS.items():
        for name in names:
            setattr(os, name, noting(getattr(os, name), doing))
