"""Try hostile files in child processes with limits, so that crashes, hangs and large allocations are noticed."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Case = TypeVar("Case")

_SILENT_SECONDS = 120.0  # for a child that waits without using the processor; generous, for busy machines


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one file.

    Attributes:
        seconds: processor time.
        memory: bytes of memory in addition to what the child had at its start.
    """

    seconds: int = 5
    memory: int = 300 * 2**20


def try_in_children(
    cases: Sequence[Case], trial: Callable[[Case], list[str]], limits: Limits
) -> Iterator[tuple[Case, list[str]]]:
    """Try each case, and yield it with what went wrong.

    One child tries them all; a new one continues after a case that ended the child or exceeded a limit. The calling
    process must have no other threads.

    Args:
        cases: the cases to try.
        trial: tries one and returns what went wrong; an exception counts as something wrong.
        limits: for each case.
    """
    first = 0
    while first < len(cases):
        for wrong in _try(cases[first:], trial, limits):
            yield cases[first], wrong
            first += 1


def _try(cases: Sequence[Case], trial: Callable[[Case], list[str]], limits: Limits) -> Iterator[list[str]]:
    """Yield what went wrong with the cases, up to the first that ends the child."""
    answer, of_child = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_child(cases, trial, limits, of_child)
    os.close(of_child)
    done = 0
    try:
        for line in _lines(answer):
            done += 1
            yield json.loads(line)
        is_silent = False
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        is_silent = True
    finally:
        os.close(answer)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if is_silent:
        yield [f"did nothing for {_SILENT_SECONDS:g} s"]
    elif ended == -signal.SIGXCPU:
        yield [f"hung: more than {limits.seconds} s of the processor"]
    elif ended < 0:
        yield [f"died of {signal.Signals(-ended).name}"]
    elif done < len(cases):
        yield [f"ended the process with status {ended}"]


def _lines(pipe: int) -> Iterator[bytes]:
    """Yield each line as it arrives; TimeoutError if none does."""
    unread = b""
    while select.select([pipe], [], [], _SILENT_SECONDS)[0]:
        part = os.read(pipe, 1 << 16)
        if not part:
            return
        *lines, unread = (unread + part).split(b"\n")
        yield from lines
    raise TimeoutError


def _be_the_child(cases: Sequence[Case], trial: Callable[[Case], list[str]], limits: Limits, answer: int) -> None:
    """Write a line of what went wrong for each case. Never returns."""
    ended = 99
    try:
        _silence_output()
        # Far more than is allowed, but no danger to the machine: memory that is reserved but never used does not count.
        space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 2**32
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        for case in cases:
            _allow_seconds(limits.seconds)
            _forget_peak()
            before = _peak()
            try:
                wrong = trial(case)
            except BaseException as error:  # noqa: BLE001
                wrong = [f"raised {type(error).__name__}: {error}"]
            grown = _peak() - before
            if grown > limits.memory:
                wrong.append(f"took {grown / 2**20:.0f} MiB")
            lines = [line.replace("\n", " ")[:300] for line in wrong[:20]]
            os.write(answer, json.dumps(lines).encode() + b"\n")
        ended = 0
    finally:
        os._exit(ended)


def _silence_output() -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _allow_seconds(seconds: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def _forget_peak() -> None:
    with suppress(OSError):  # a container may forbid this: then the peak of all earlier cases counts
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak of the resident set


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
