"""Batches of crops, drawn by worker processes while the network trains.

Batch number `i` depends on `(seed, i)` alone, not on the worker that draws it. So an interrupted run resumes with the
crops that it would have seen.
"""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from embeddings.model.preprocessing import LITE0_PREPROCESSING
from training.artwork import VARIANT_WORDS, Artwork, Gallery
from training.grounds import Grounds
from training.labels import Fonts, LabelPainter, open_fonts
from training.packages import TABLE, read_table
from training.photographs import photograph

# The brands on the photos that docs/model-card.md reports figures for. Training excludes them, so that the figures show
# how the weights do on logos that they have never seen.
REPORTED_BRANDS = frozenset(
    "apple bmw coca cocacola ferrari heineken hewlettpackard hp intel mini nike pepsi puma redbull unicef"
    " vodafone".split()
)
# Names that begin like this show such a brand too. An apple or a puma may be a picture of one, so these two count only
# in packages that name icons after owners. "coca", "hp", "intel" and "mini" begin the names of other owners too.
BEGINNINGS = tuple("bmw cocacola ferrari heineken hewlettpackard nike pepsi redbull unicef vodafone".split())
OWNERS_BEGINNINGS = ("apple", "puma")
ALSO_REPORTED = frozenset({"assemblyintel", "ccapplepay", "hpinc"})
VALIDATION_SHARE = 25  # one class in this many is kept for validation
WORDMARK_SHARE = 0.35  # of the labels of a batch: most brands on packaging are names
VALIDATION_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of downloads and rendered icons, the table of their packages, and a folder of photographs."""

    downloads: Path
    artwork: Path
    table: Path = TABLE
    grounds: Path | None = None

    @classmethod
    def under(cls, root: Path, table: Path = TABLE, grounds: Path | None = None) -> Folders:
        """Return the folders that `python -m training` creates in `root`."""
        return cls(root / "packages", root / "artwork", table, grounds)


@dataclass(frozen=True, slots=True)
class BatchShape:
    """`labels` logos, each photographed `views` times, in crops of `size` by `size` pixels."""

    labels: int
    views: int
    size: int


class Studio:
    """Draws batches. Use one per process: it maps the rendered icons and keeps the fonts open."""

    def __init__(self, folders: Folders) -> None:
        cv2.setNumThreads(1)
        self._gallery = Gallery(folders.artwork)
        packages = tuple(package for package in read_table(folders.table) if package.kind == "font")
        self._grounds = None if folders.grounds is None else Grounds(folders.grounds)
        self._fonts: Fonts = open_fonts(packages, folders.downloads)
        classes = {name: works for name, works in self._gallery.classes().items() if not is_reported(name)}
        self.training = tuple(works for name, works in classes.items() if not is_validation(name))
        self.validation = tuple(works for name, works in classes.items() if is_validation(name))

    def batch(self, seed: int, number: int, shape: BatchShape) -> npt.NDArray[np.uint8]:
        """Return crops `(labels * views, size, size, 3)` uint8; row `i` shows label `i // views`."""
        return self._draw(self.training, np.random.default_rng((seed, number)), shape)

    def validation_batch(self, number: int, shape: BatchShape) -> npt.NDArray[np.uint8]:
        """Return a batch as `batch` does, of classes and names that training does not show.

        Training may still show a similar drawing under another name.
        """
        return self._draw(self.validation, np.random.default_rng((VALIDATION_SEED, number)), shape)

    def _draw(
        self, classes: tuple[tuple[Artwork, ...], ...], rng: np.random.Generator, shape: BatchShape
    ) -> npt.NDArray[np.uint8]:
        painter = LabelPainter(self._gallery, self._fonts, rng)
        words = round(shape.labels * WORDMARK_SHARE)
        labels = [painter.word_label() for _ in range(words)]
        rows = rng.choice(len(classes), shape.labels - words, replace=False)
        labels += [painter.icon_label(classes[int(row)]) for row in rows]
        seen_as = replace(LITE0_PREPROCESSING, size=shape.size)
        return np.stack(
            [photograph(label, seen_as, rng, self._grounds) for label in labels for _ in range(shape.views)]
        )


def is_reported(class_name: str) -> bool:
    """Return whether an icon shows a brand that figures are reported for, judging by the name of its class."""
    package, _, icon = class_name.rpartition(":")
    words = icon.split("-")
    while len(words) > 1 and words[-1] in VARIANT_WORDS:
        words.pop()
    name = "".join(words)
    beginnings = BEGINNINGS if package else BEGINNINGS + OWNERS_BEGINNINGS
    return name in REPORTED_BRANDS or name in ALSO_REPORTED or name.startswith(beginnings)


def is_validation(class_name: str) -> bool:
    """Return whether a class is excluded from training, for choosing between approaches.

    Only its name counts, not its package, because the same thing is drawn in several packages.
    """
    return zlib.crc32(class_name.rpartition(":")[2].encode()) % VALIDATION_SHARE == 0


def draw_batches(
    folders: Folders, seed: int, numbers: range, shape: BatchShape, workers: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the batches of `numbers`, in order, drawn by `workers` processes."""
    context = multiprocessing.get_context("spawn")
    readers: list[Connection] = []
    processes = []
    for worker in range(workers):
        # A pipe, not a queue: a worker ends when its reader is gone, and a reader notices when a worker is gone.
        reader, writer = context.Pipe(duplex=False)
        work = (folders, seed, numbers[worker::workers], shape, writer)
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
                    "a worker that draws crops is gone, perhaps for lack of memory: try fewer (--workers)"
                ) from error
            if isinstance(drawn, Exception):
                raise drawn
            yield drawn
    finally:
        for process in processes:
            process.kill()
            process.join()


def _work(folders: Folders, seed: int, numbers: range, shape: BatchShape, writer: Connection) -> None:
    try:
        studio = Studio(folders)
        for number in numbers:
            writer.send(studio.batch(seed, number, shape))
    except BrokenPipeError:
        return
    except Exception as error:  # the reader waits for a batch, so it must get the error
        writer.send(error)
        raise
