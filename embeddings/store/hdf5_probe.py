"""What a file without a sound header is, as HDF5 tells it: asked in a child process with limits.

On damaged metadata libhdf5 may hang, crash or take gigabytes (mostly over an attribute whose text lies elsewhere in the
file, or an index of chunks that leads to itself). Such a file is refused like any other damaged one, and whoever asks
goes on. The child is forked, as gunicorn forks its workers: that takes milliseconds, and needs a process whose threads
are idle, as they are before a service or a command begins its work.
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import resource
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

from embeddings.errors import StoreLayoutError
from embeddings.store import hdf5_file
from embeddings.store.layout import Layout

_CPU_SECONDS = 10  # far beyond the fraction of a second that a good file of any size takes
_SECONDS = 300.0  # in all, for a disk that is slow
_MEMORY = 2**30  # bytes, beyond what the child has when it begins


def describe(fd: int, path: Path) -> Layout:
    """Return what HDF5 says of an open file. `offsets` is None: it is to be migrated.

    Args:
        fd: the file.
        path: what messages call it.

    Raises:
        StoreLayoutError: it is neither a file of the original nor a store of ours, or libhdf5 did not survive it.
        OSError: no process could be started.
    """
    processes = multiprocessing.get_context("fork")
    answers, answer = processes.Pipe(duplex=False)
    with answers:
        with answer:
            child = processes.Process(target=_answer, args=(fd, path, answer))
            _start(child)
        try:
            found = answers.recv() if answers.poll(_SECONDS) else f"took more than {_SECONDS:g} s"
        except EOFError:
            child.join()
            found = _end(child.exitcode or 0)
        finally:
            child.kill()
            child.join()
    if isinstance(found, StoreLayoutError):
        raise found
    if not isinstance(found, Layout):
        raise StoreLayoutError(f"{path} is damaged or no store: HDF5 {found} reading it; restore it from a backup")
    return found


def _start(child: ForkProcess) -> None:
    """Start the child without the collector of garbage: what this process still has to end may need its threads."""
    collects = gc.isenabled()
    gc.disable()
    try:
        child.start()
    finally:
        if collects:
            gc.enable()


def _answer(fd: int, path: Path, answer: Connection) -> None:
    """Send what HDF5 says of a file, or why it is refused."""
    _let_go_of_all_but(fd, answer.fileno())
    _limit()
    found: Layout | StoreLayoutError
    try:
        found = hdf5_file.read_description(fd, path)
    except StoreLayoutError as error:
        found = error
    answer.send(found)


def _let_go_of_all_but(*fds: int) -> None:
    """Close the other files; among them is the writer's lock, which this process would hold if its parent died."""
    places = [2, *sorted(fds), os.sysconf("SC_OPEN_MAX")]
    for before, after in itertools.pairwise(places):
        os.closerange(before + 1, after)


def _limit() -> None:
    """Keep this process within what a good file takes; beyond it, it ends or the reading fails."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for which, most in ((resource.RLIMIT_AS, taken + _MEMORY), (resource.RLIMIT_CPU, _CPU_SECONDS)):
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end(exit_code: int) -> str:
    return f"died of {signal.Signals(-exit_code).name}" if exit_code < 0 else f"failed with status {exit_code}"
