"""Embed stored logos again with another model, from the images that they came from.

Each image is fetched once for all its logos that are adjacent in the source (`sources_in` orders a store's logos that
way), while the next images are being fetched. Its logos are appended durably as soon as they are embedded, and logos
that the new store already holds are skipped. So a run that was interrupted, or could not fetch all images, is simply
started again.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import (
    BoundingBoxError,
    ImageError,
    StoreModelError,
    StoreUnavailableError,
    storage_errors,
)
from embeddings.images.decode import BoundingBox
from embeddings.images.photo import Photo
from embeddings.maintenance.exclusive_file import open_exclusive
from embeddings.maintenance.polite_fetcher import PoliteFetcher
from embeddings.model.embedder import Embedder
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore

_BLOCK = 1024  # logos whose provenance is read at once
_AHEAD = 2  # images queued for embedding, for each that is being fetched

Sources = Iterable[tuple[list[int], list[Provenance | None]]]
"""Blocks of logo ids, and the provenance of each logo."""


@dataclass
class ReembeddingReport:
    """The result for the logos that the new store lacked.

    Attributes:
        embedded: how many are stored now.
        failed: how many could not be embedded; the file of failures says why.
        unknown: ids of logos without provenance.
        forgotten: how many were deleted from the new store, because they were deleted from the old one.
    """

    embedded: int = 0
    failed: int = 0
    unknown: list[int] = field(default_factory=list)
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class ReembeddingLimits:
    """Limits of a run.

    Attributes:
        fetches: number of images fetched at once.
        max_pixels: the largest image, or crop of it, that is accepted.
        give_up_after: number of consecutive times that a host could not be reached, or was busy in all tries, after
            which this run fetches nothing more from it. A missing image does not count as one: otherwise every run
            would stop at the same missing images.
    """

    fetches: int = 4
    max_pixels: int = 89_478_485
    give_up_after: int = 100


def sources_in(store: EmbeddingStore, *, but_not_in: EmbeddingStore) -> Sources:
    """Yield the provenance of the logos of a store, except those that another store holds.

    Logos of one image are adjacent, at the place of the first of them.
    """
    ids = store.ids()
    missing = ids[~np.isin(ids, but_not_in.ids())]
    missing = missing[_by_image(store, missing)]
    for block in _blocks(missing):
        known = store.provenance(block.tolist())
        yield block.tolist(), [known.get(logo_id) for logo_id in block.tolist()]


def _blocks(ids: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(ids, range(_BLOCK, len(ids), _BLOCK))


def _by_image(store: EmbeddingStore, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order, (n,), that makes logos of one image adjacent. It needs 8 bytes for each address.

    Two addresses with the same hash become adjacent too; they are told apart later.
    """
    images = [np.zeros(0, np.int64)]
    for block in _blocks(ids):
        known = store.provenance(block.tolist())
        images.append(
            np.array([hash(known[key].image_url) if key in known else -1 for key in block.tolist()], np.int64)
        )
    _, first, image = np.unique(np.concatenate(images), return_index=True, return_inverse=True)
    return np.argsort(first[image], kind="stable")


def forget_deleted(source: EmbeddingStore, target: EmbeddingStore) -> int:
    """Delete from a new store the logos that its source has deleted since they were embedded; return their number."""
    kept = target.ids()
    return len(target.delete(kept[np.isin(kept, [*source.deleted_among(kept.tolist())])].tolist()))


def reembed(
    sources: Sources,
    target: EmbeddingStore,
    embedder: Embedder,
    fetch: Callable[[str], bytes],
    *,
    limits: ReembeddingLimits,
    failures: Path,
    progress: Callable[[int], None] = lambda logos: None,
) -> ReembeddingReport:
    """Embed the logos that a store does not hold yet, and store them.

    Args:
        sources: the logos, and the provenance of each.
        target: the new store, of the embedder's model.
        embedder: makes the vectors.
        fetch: returns the image at an address; raises ImageFetchError. Threads call it.
        limits: the limits of the run.
        failures: a file, overwritten with a line of JSON for each image whose logos failed; removed if none failed.
        progress: called with the number of logos just finished, embedded or not.

    Raises:
        StoreModelError: the store is of another model.
        ModelError: the model cannot be used.
        StoreError: the store cannot store the vectors.
    """
    model = embedder.description
    if target.stamp.digest != model.weights_digest:
        raise StoreModelError(
            f"{target.path} is not a store of {model.name} ({model.weights_digest}): name another file"
        )
    report = ReembeddingReport()
    stopped = threading.Event()
    fetcher = PoliteFetcher(fetch, give_up_after=limits.give_up_after, wait=stopped.wait)
    with _failure_log(failures) as note, ThreadPoolExecutor(limits.fetches, "fetch") as threads:
        try:
            for image in _fetched(_images(sources, target, report, progress), threads, fetcher, limits):
                _embed(image, target, embedder, limits, report, note)
                progress(len(image.logos))
        except BaseException:
            stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return report


@dataclass(frozen=True, slots=True)
class _Image:
    """An image, and the logos to embed from it."""

    url: str
    logos: list[tuple[int, BoundingBox]]
    data: Future[bytes] | None = None


Note = Callable[[_Image, list[int], ImageError], None]


def _images(
    sources: Sources, target: EmbeddingStore, report: ReembeddingReport, progress: Callable[[int], None]
) -> Iterator[_Image]:
    """Yield the images of logos that the target lacks; adjacent logos of one image share it."""

    def wanted() -> Iterator[tuple[str, int, BoundingBox]]:
        for ids, provenance in sources:
            missing = set(target.missing(ids))
            progress(len(ids) - len(missing))
            for logo_id, known in zip(ids, provenance, strict=True):
                if logo_id not in missing:
                    continue
                missing.discard(logo_id)  # a file may name it twice
                if known is None:
                    report.unknown.append(logo_id)
                    progress(1)
                else:
                    yield known.image_url, logo_id, known.bounding_box

    for url, logos in itertools.groupby(wanted(), key=lambda logo: logo[0]):
        yield _Image(url, [(logo_id, box) for _, logo_id, box in logos])


def _fetched(
    images: Iterator[_Image], threads: ThreadPoolExecutor, fetcher: PoliteFetcher, limits: ReembeddingLimits
) -> Iterator[_Image]:
    """Yield images that are being fetched, in their order, while the next few are fetched too."""
    under_way: deque[_Image] = deque()
    for image in images:
        under_way.append(_Image(image.url, image.logos, threads.submit(fetcher.fetch, image.url)))
        if len(under_way) > _AHEAD * limits.fetches:
            yield under_way.popleft()
    yield from under_way


def _embed(
    image: _Image,
    target: EmbeddingStore,
    embedder: Embedder,
    limits: ReembeddingLimits,
    report: ReembeddingReport,
    note: Note,
) -> None:
    """Embed the logos of an image one by one, then store them."""
    assert image.data is not None
    waiting = deque(image.logos)
    embedded: list[tuple[int, BoundingBox, NDArray[np.float32]]] = []
    orientation = None
    try:
        photo = Photo(
            image.data.result(), preprocessing=embedder.description.preprocessing, max_pixels=limits.max_pixels
        )
        orientation = photo.orientation
        while waiting:
            logo_id, box = waiting[0]
            try:
                embedded.append((logo_id, box, embedder.embed([photo.crop(box, logo_id=logo_id)])[0]))
            except BoundingBoxError as error:
                note(image, [logo_id], error)
            waiting.popleft()
    except ImageError as error:
        note(image, [logo_id for logo_id, _ in waiting], error)
    report.failed += len(image.logos) - len(embedded)
    if embedded:
        ids, boxes, vectors = zip(*embedded, strict=True)
        report.embedded += len(
            target.append(ids, np.stack(vectors), [Provenance(image.url, box, orientation) for box in boxes])
        )


@contextmanager
def _failure_log(path: Path) -> Iterator[Note]:
    """Write failures to a file that no other run may have open; remove it if there were none."""
    with storage_errors(f"write {path}"), open_exclusive(path) as file:
        if file is None:
            raise StoreUnavailableError(f"another run is embedding the same logos: it writes {path}")
        lines = file

        def note(image: _Image, logo_ids: list[int], error: ImageError) -> None:
            line = {"logo_ids": logo_ids, "image_url": image.url, "reason": str(error)}
            lines.write(json.dumps(line).encode() + b"\n")
            lines.flush()

        try:
            yield note
        finally:
            if not file.tell():
                path.unlink(missing_ok=True)
