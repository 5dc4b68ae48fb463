"""Batches of crops, drawn by worker processes beside the network.

Batch number `i` is drawn from `(seed, i)` alone: it is the same whoever draws it, so a run that was interrupted goes on
with the crops that it would have seen.
"""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from training.artwork import Artwork, Gallery
from training.labels import Fonts, LabelPainter, open_fonts
from training.packages import TABLE, read_table
from training.photographs import photograph

# The brands on the photos that the README reports figures for. They are kept out, so that the figures tell how the
# weights do on logos which they have never seen.
REPORTED_BRANDS = frozenset(
    "apple bmw coca cocacola ferrari heineken hewlettpackard hp intel mini nike pepsi puma redbull unicef"
    " vodafone".split()
)
VALIDATION_SHARE = 25  # one class in so many is kept for validation
WORDMARK_SHARE = 0.35  # of the labels of a batch: most brands on packaging are names
VALIDATION_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the downloads and the rendered icons lie, and the table of the packages that they are of."""

    downloads: Path
    artwork: Path
    table: Path = TABLE

    @classmethod
    def under(cls, root: Path, table: Path = TABLE) -> Folders:
        """The folders that `python -m training` makes in `root`."""
        return cls(root / "packages", root / "artwork", table)


@dataclass(frozen=True, slots=True)
class BatchShape:
    """`labels` logos, each photographed `views` times, in crops of `size` by `size` pixels."""

    labels: int
    views: int
    size: int


class Studio:
    """Draws batches. One per process: it maps the rendered icons and keeps the fonts open."""

    def __init__(self, folders: Folders) -> None:
        cv2.setNumThreads(1)
        self._gallery = Gallery(folders.artwork)
        packages = tuple(package for package in read_table(folders.table) if package.kind == "font")
        self._fonts: Fonts = open_fonts(packages, folders.downloads)
        classes = {name: works for name, works in self._gallery.classes().items() if not is_reported(name)}
        self.training = tuple(works for name, works in classes.items() if not is_validation(name))
        self.validation = tuple(works for name, works in classes.items() if is_validation(name))

    def batch(self, seed: int, number: int, shape: BatchShape, severity: float = 1.0) -> npt.NDArray[np.uint8]:
        """Crops `(labels * views, size, size, 3)` uint8; row `i` shows label `i // views`."""
        return self._draw(self.training, np.random.default_rng((seed, number)), shape, severity)

    def validation_batch(self, number: int, shape: BatchShape) -> npt.NDArray[np.uint8]:
        """As `batch`, of classes that training never shows and of names that it has not shown.

        A drawing may still have a like one in training, under the name of another package: the flags, say.
        """
        return self._draw(self.validation, np.random.default_rng((VALIDATION_SEED, number)), shape, 1.0)

    def _draw(
        self, classes: tuple[tuple[Artwork, ...], ...], rng: np.random.Generator, shape: BatchShape, severity: float
    ) -> npt.NDArray[np.uint8]:
        painter = LabelPainter(self._gallery, self._fonts, rng)
        words = round(shape.labels * WORDMARK_SHARE)
        labels = [painter.word_label() for _ in range(words)]
        rows = rng.choice(len(classes), shape.labels - words, replace=False)
        labels += [painter.icon_label(classes[int(row)]) for row in rows]
        return np.stack([photograph(label, shape.size, rng, severity) for label in labels for _ in range(shape.views)])


def is_reported(class_name: str) -> bool:
    """Whether an icon shows a brand that figures are reported for. Apple's mark is in the icons of all its products."""
    owner = class_name.rpartition(":")[2]
    return owner.removesuffix("-logo") in REPORTED_BRANDS or class_name.startswith("apple")


def is_validation(class_name: str) -> bool:
    """Whether an icon is kept out of training, to choose between approaches by."""
    return zlib.crc32(class_name.encode()) % VALIDATION_SHARE == 0


def draw_batches(
    folders: Folders, seed: int, numbers: range, shape: BatchShape, full_severity_at: int, workers: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """The batches of `numbers`, in order, drawn by `workers` processes.

    Crops are good at first, and as bad as photos from batch `full_severity_at` on.
    """
    context = multiprocessing.get_context("spawn")
    readers: list[Connection] = []
    processes = []
    for worker in range(workers):
        # A pipe, not a queue: a worker whose reader is gone ends, and a reader hears of a worker that is gone.
        reader, writer = context.Pipe(duplex=False)
        work = (folders, seed, numbers[worker::workers], shape, full_severity_at, writer)
        processes.append(context.Process(target=_work, args=work, daemon=True))
        processes[-1].start()
        writer.close()
        readers.append(reader)
    try:
        for turn in range(len(numbers)):
            try:
                drawn = readers[turn % workers].recv()
            except EOFError as error:
                raise ChildProcessError(
                    "a worker that draws crops is gone; short of memory? Try fewer (--workers)"
                ) from error
            if isinstance(drawn, Exception):
                raise drawn
            yield drawn
    finally:
        for process in processes:
            process.kill()
            process.join()


def _work(
    folders: Folders, seed: int, numbers: range, shape: BatchShape, full_severity_at: int, writer: Connection
) -> None:
    try:
        studio = Studio(folders)
        for number in numbers:
            writer.send(studio.batch(seed, number, shape, min(1.0, number / max(1, full_severity_at))))
    except BrokenPipeError:
        return
    except Exception as error:  # the reader waits for a batch: it must hear of this
        writer.send(error)
        raise
