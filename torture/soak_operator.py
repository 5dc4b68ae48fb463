"""What an operator does to a running service, and what happens to it: commands of `manage.py`, kills, reloads.

The plan is given in fractions of the run. Kills always hit the youngest worker, so that between the two reloads the
other one lives long enough to be judged.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.end_to_end.service import Service, manage
from torture.soak_ledger import Ledger, Stored
from torture.soak_samples import children

RELOADS = (0.08, 0.94)  # fractions of the run
KILL_SECONDS = 240.0  # between two kills
EXPLAINED_SECONDS = 40.0  # after a kill or a reload: gunicorn's graceful_timeout, and a little more
MAP_POINTS = "1000"  # few, because an index is built every few seconds


def plan(seconds: float) -> list[tuple[float, str]]:
    """Return the events of a run: (seconds from the start, `reload` or `kill`), in order."""
    first, last = (seconds * at for at in RELOADS)
    kills = max(1, round((last - first) / KILL_SECONDS) - 1)
    events = [(first + (last - first) * (k + 1) / (kills + 1), "kill") for k in range(kills)]
    return [(first, "reload"), *events, (last, "reload")]


def explained(done: Sequence[tuple[float, str]], began: float, ended: float) -> bool:
    """Return whether a kill or a reload may explain that a request of that time was not answered."""
    return any(began - EXPLAINED_SECONDS < at < ended for at, _ in done)


@dataclass
class Disruptions:
    """Kills and reloads: those ahead, and those done, with their times (`time.monotonic`)."""

    service: Service
    ahead: list[tuple[float, str]]
    began: float
    done: list[tuple[float, str]] = field(default_factory=list)

    def next(self) -> None:
        """Do what is due."""
        while self.ahead and time.monotonic() - self.began >= self.ahead[0][0]:
            _, event = self.ahead.pop(0)
            master = self.service.process.pid
            if event == "reload":
                os.kill(master, signal.SIGHUP)
            elif len(workers := children(master)) > 1:
                os.kill(workers[-1], signal.SIGKILL)
            else:
                continue
            self.done.append((time.monotonic(), event))


class Operator:
    """Runs commands of `manage.py` one after the other, each repeatedly, in a thread.

    Args:
        data_dir: of the service; backups lie beside it.
        ledger: what the clients were promised.
        every: command line -> seconds between two runs.

    Attributes:
        backup: the last one, unless a compaction has outdated it.
        backed_up: what was acknowledged before its last run began.
        commands: how often each was run.
        wrong: those that failed.
    """

    def __init__(self, data_dir: Path, ledger: Ledger, every: dict[str, float]) -> None:
        self._data_dir = data_dir
        self._ledger = ledger
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)
        self.backup: Path | None = None
        self.backed_up: dict[int, Stored] = {}
        self.commands: Counter[str] = Counter()
        self.wrong: list[str] = []

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the running command, and stop."""
        self._stopping.set()
        self._thread.join()

    def run(self, *command: str) -> bool:
        """Run a command to its end; return whether it exited with 0."""
        self.commands[command[0]] += 1
        try:
            done = manage(self._data_dir, *command, LOG_LEVEL="WARNING", ANN_MAP_POINTS=MAP_POINTS)
        except subprocess.TimeoutExpired as error:
            self.wrong.append(f"manage.py {' '.join(command)} does not end: {error}")
            return False
        if done.returncode:
            self.wrong.append(f"manage.py {' '.join(command)} exited with {done.returncode}: {done.stderr[-2000:]}")
        return done.returncode == 0

    def _run(self) -> None:
        due = {command: time.monotonic() + seconds for command, seconds in self._every.items()}
        special: dict[str, Callable[[], bool]] = {"compact": self._compact, "backup": self._backup}
        while due:
            command = min(due, key=lambda name: due[name])
            if self._stopping.wait(max(0, due[command] - time.monotonic())):
                return
            if command in special:
                special[command]()
            else:
                self.run(*command.split())
            due[command] = time.monotonic() + self._every[command]

    def _compact(self) -> bool:
        done = self.run("compact")
        if done and self.backup is not None:  # its rows have moved: the old backup is refused from now on
            self.backup.unlink()
            self.backup = None
        return done

    def _backup(self) -> bool:
        before = self._ledger.all_stored()
        target = self.backup or self._data_dir.parent / "backup.hdf5"
        done = self.run("backup", str(target))
        if done:
            self.backup, self.backed_up = target, before
        return done
