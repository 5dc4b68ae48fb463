"""One file system with one store, whose writers are cut off again and again."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

from embeddings.maintenance.rewrite import prepare_store
from torture.expectation import STAMP
from torture.ext4_image import Ext4Image, MountError
from torture.ext4_promises import Promises
from torture.ext4_writers import CAPACITY, DIM, STORE, Told, write

IDS_A_WRITER = 10**6
MOST_LOGOS = 30_000
MOST_SECONDS = 0.2  # that writers go on until they are cut off
PATIENCE_SECONDS = 60.0  # until they have begun, or have noticed that they are cut off
COPIES = 100  # tries to find the device at rest
MIXES: tuple[tuple[str, ...], ...] = (
    ("append",),
    ("append", "append"),
    ("append", "append", "rewrite"),
    ("append", "rewrite", "save"),
    ("append", "save"),
    ("append", "create"),
    ("create", "create"),
    ("rewrite", "create"),
)


@dataclass
class Running:
    """The processes of one round."""

    children: list[ForkServerProcess]
    pipes: list[Connection]

    def told(self, until: float) -> Iterator[Told]:
        """Yield what they tell until a time (`time.monotonic`), or until all have ended; at least what is there."""
        while self.pipes:
            ready = wait(self.pipes, max(0.0, until - time.monotonic()))
            if not ready:
                return
            for pipe in ready:
                assert isinstance(pipe, Connection)
                try:
                    yield pipe.recv()
                except (EOFError, OSError):
                    self.pipes.remove(pipe)
            if self.pipes and time.monotonic() > until and not wait(self.pipes, 0):
                return

    def freeze(self) -> None:
        """Stop them, each where it is; one that is in the kernel comes back from there first."""
        for child in self.children:
            _send(child, signal.SIGSTOP)
        while any(_is_running(child) for child in self.children):
            time.sleep(0.001)

    def thaw(self) -> None:
        """Have them go on."""
        for child in self.children:
            _send(child, signal.SIGCONT)

    def end(self) -> list[str]:
        """Wait for their end, which the store's own errors bring about; return what is wrong with it."""
        for child in self.children:
            child.join(PATIENCE_SECONDS)
        codes = [child.exitcode for child in self.children if child.exitcode != 0]
        return [f"a writer ended with {code}, and not with the store's own error" for code in codes]

    def kill(self) -> None:
        """Leave none of them."""
        for child in self.children:
            child.kill()
            child.join()


class Bench:
    """A new file system in a file, with a new store; used for some rounds.

    Args:
        directory: where the image lies.
        dice: what everything random is drawn from.
        sabotage: a name of `SABOTAGE`.
        options: for `mount -o`.

    Raises:
        MountError: on entering: this cannot be done here.
    """

    def __init__(self, directory: Path, dice: random.Random, *, sabotage: str = "", options: str = "") -> None:
        self.promises = Promises()
        self._directory = directory
        self._dice = dice
        self._sabotage = sabotage
        self._options = options
        self._next = 1
        self._stack = ExitStack()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torture.ext4_writers"])

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._image = stack.enter_context(
                Ext4Image.new(self._directory / "ext4.img", self._directory / "mnt", self._options)
            )
            prepare_store(self._image.place / STORE, capacity=CAPACITY, dim=DIM, stamp=STAMP)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def round(self, *, copied: bool) -> Iterator[tuple[str, list[str]]]:
        """Start writers, copy the device beneath them if that is wanted, and stop the file system.

        Yields:
            `copied` or `stopped`, and what that cut lost.
        """
        self.promises.new_round()
        running = Running([], [])
        try:
            self._start(running)
            if self._dice.random() < 0.9:  # else the cut meets some of them as they start
                self._wait(running, PATIENCE_SECONDS, first=True)
            if copied:
                self._wait(running, self._dice.uniform(0, MOST_SECONDS))
                running.freeze()
                self._wait(running, 0)
                yield "copied", self._judge_copy()
                running.thaw()
            self._wait(running, self._dice.uniform(0, MOST_SECONDS))
            yield "stopped", [*self._cut(running), *self._judge(self._image)]
        finally:
            running.kill()
        for path in (*self._image.place.glob("new-*"), *self._image.place.glob("backup-*")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @property
    def worn(self) -> bool:
        """Whether there is so much in it that judging it takes longer than filling it."""
        return len(self.promises.expectation.stored) > MOST_LOGOS

    def _start(self, running: Running) -> None:
        mix = self._dice.choice(MIXES)
        known = sorted(self.promises.expectation.stored)
        old = self._dice.sample(known, min(len(known), 20 * len(mix)))
        for number, kind in enumerate(mix):
            pipe, of_child = self._context.Pipe(duplex=False)
            seed, first = self._dice.randrange(2**32), self._take(IDS_A_WRITER)
            child = self._context.Process(
                target=write,
                args=(kind, self._image.place, seed, first, old[number :: len(mix)], self._sabotage, of_child),
            )
            child.start()
            of_child.close()
            running.children.append(child)
            running.pipes.append(pipe)

    def _take(self, count: int) -> int:
        self._next += count
        return self._next - count

    def _wait(self, running: Running, seconds: float, *, first: bool = False) -> None:
        for told in running.told(time.monotonic() + seconds):
            self.promises.take(told)
            if first:
                return

    def _cut(self, running: Running) -> list[str]:
        """Stop the file system, and mount it again when all writers have ended."""
        self._wait(running, 0)
        self._image.cut()
        stopped = time.monotonic()
        wrong = [f"a writer was refused before the cut: {why}" for why in self.promises.refusals]
        for told in running.told(stopped + PATIENCE_SECONDS):
            if told.what == "asks":
                self.promises.take(told)
            elif told.what != "refused" and told.began > stopped:
                wrong.append(f"{told.what} was acknowledged, although it was asked for after the cut")
        wrong += running.end()
        running.kill()
        self._image.unmount()
        self._image.mount()
        return wrong

    def _judge_copy(self) -> list[str]:
        """Mount a copy of what the device has, and judge that."""
        copy = self._directory / "copy.img"
        if not any(self._image.copy(copy) for _ in range(COPIES)):
            raise MountError("the device is never at rest, although nobody writes")
        try:
            with Ext4Image(copy, self._directory / "copy", self._options) as image:
                return self._judge(image)
        finally:
            copy.unlink()

    def _judge(self, image: Ext4Image) -> list[str]:
        """Return what is wrong with a file system that was cut off and mounted again."""
        first = self._take(3)
        ids = [*range(first, first + 3)]
        wrong = []
        try:
            wrong += self.promises.losses(image.place)
            wrong += self.promises.after_going_on(image.place, ids)
            if image is self._image:
                self.promises.expectation.stored.update(ids)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody's logos are not there
            wrong.append(f"it cannot be used: {error!r}")
        image.unmount()
        trouble = image.trouble()
        image.mount()
        return [*wrong, trouble] if trouble else wrong


def _send(child: ForkServerProcess, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # one that was refused too early has ended: that is found out later
        os.kill(child.pid or 0, number)


def _is_running(child: ForkServerProcess) -> bool:
    try:
        state = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "TtZX"
