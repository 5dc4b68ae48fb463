"""The cost of a server on this machine: processor time, memory and disk, as the kernel counts them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
STEADY_BYTES = 8 * 2**20
STEADY_SECONDS = 5.0
STOP_SECONDS = 30.0


@dataclass(slots=True)
class Spent:
    """Wall time and time of all processors in seconds, set when the block ends."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Server:
    """A server and its data folder; its idle processor time is subtracted.

    Args:
        command: starts it; once it serves, the last word of its output is the process id.
        folder: its data.
        idle_seconds: how long to measure its idle processor time.
    """

    def __init__(self, command: str, folder: Path, idle_seconds: float = 10.0) -> None:
        self._command = command
        self._folder = folder
        self._start()
        time.sleep(STEADY_SECONDS)
        before = self._cpu_seconds()
        time.sleep(idle_seconds)
        self.idle_cpu = (self._cpu_seconds() - before) / idle_seconds

    def restart(self) -> None:
        """Stop it and start it again, so that it holds nothing of earlier work."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """Stop it, by force if it takes longer than `STOP_SECONDS`."""
        for kind, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            os.kill(self._pid, kind)
            end = time.monotonic() + patience
            while time.monotonic() < end:
                if not self._proc.exists() or "State:\tZ" in (self._proc / "status").read_text():
                    return
                time.sleep(0.1)

    @contextmanager
    def spending(self) -> Iterator[Spent]:
        """Measure what the server spends within a block."""
        spent = Spent()
        started, before = time.perf_counter(), self._cpu_seconds()
        yield spent
        spent.seconds = time.perf_counter() - started
        spent.cpu_seconds = max(0.0, self._cpu_seconds() - before - self.idle_cpu * spent.seconds)

    def memory(self, patience: float = 60.0) -> int:
        """Return the process's own memory in bytes once it is steady, because freed memory is returned late."""
        held = self._held()
        end = time.monotonic() + patience
        while time.monotonic() < end:
            time.sleep(STEADY_SECONDS)
            before, held = held, self._held()
            if abs(before - held) < STEADY_BYTES:
                break
        return held

    def disk(self) -> int:
        """Return the bytes of the folder on disk."""
        total = 0
        for file in self._folder.rglob("*"):
            try:
                if file.is_file():
                    total += file.stat().st_blocks * 512
            except FileNotFoundError:  # files come and go
                continue
        return total

    def _start(self) -> None:
        printed = subprocess.run(shlex.split(self._command), check=True, stdout=subprocess.PIPE, text=True).stdout
        self._pid = int(printed.split()[-1])
        self._proc = Path("/proc") / str(self._pid)

    def _cpu_seconds(self) -> float:
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND  # utime and stime: proc_pid_stat(5)

    def _held(self) -> int:
        match = re.search(r"^RssAnon:\s+(\d+) kB$", (self._proc / "status").read_text(), re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024
