"""Let HDF5 describe a file without a sound header, in a child process with limits.

On damaged metadata libhdf5 may hang, crash or allocate gigabytes, mostly because of an attribute whose text lies
elsewhere in the file, or an index of chunks that refers to itself. Such a file is refused like any other damaged one,
and the caller continues. The child is forked, as gunicorn forks its workers. That takes milliseconds, but the threads
of this process must be idle, as they are before a service or a command begins its work.
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

_CPU_SECONDS = 10  # a good file of any size takes a fraction of a second
_SECONDS = 300.0  # in all, for a slow disk
_MEMORY = 2**30  # bytes, in addition to what the child has at its start


def describe(fd: int, path: Path) -> Layout:
    """Return HDF5's description of an open file. `offsets` is None, so the file is to be migrated.

    Args:
        fd: the file.
        path: its name in messages.

    Raises:
        StoreLayoutError: it is neither a file of the original nor a store of ours, or libhdf5 failed on it.
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
        raise StoreLayoutError(f"{path} is damaged or not a store: HDF5 {found} reading it; restore it from a backup")
    return found


def _start(child: ForkProcess) -> None:
    """Start the child with garbage collection off: collecting objects of this process may need its threads."""
    collects = gc.isenabled()
    gc.disable()
    try:
        child.start()
    finally:
        if collects:
            gc.enable()


def _answer(fd: int, path: Path, answer: Connection) -> None:
    """Send HDF5's description of a file, or the reason for refusing it."""
    _close_all_but(fd, answer.fileno())
    _limit()
    found: Layout | StoreLayoutError
    try:
        found = hdf5_file.read_description(fd, path)
    except StoreLayoutError as error:
        found = error
    answer.send(found)


def _close_all_but(*fds: int) -> None:
    """Close all other files. One is the writer's lock, which this process would keep if its parent died."""
    places = [2, *sorted(fds), os.sysconf("SC_OPEN_MAX")]
    for before, after in itertools.pairwise(places):
        os.closerange(before + 1, after)


def _limit() -> None:
    """Limit this process to what a good file needs; beyond that it is killed, or reading fails."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for which, most in ((resource.RLIMIT_AS, taken + _MEMORY), (resource.RLIMIT_CPU, _CPU_SECONDS)):
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end(exit_code: int) -> str:
    return f"died of {signal.Signals(-exit_code).name}" if exit_code < 0 else f"failed with status {exit_code}"
