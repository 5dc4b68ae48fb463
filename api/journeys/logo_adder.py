"""The add journey: an image's address and the boxes of its logos, to rows of the store.

A box that cannot be used refuses the request before anything is stored, unless the caller takes the good logos alone.
Fetching waits for others, so many adds may do it at once; decoding and embedding hold an image in memory, so few may.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.journeys.logo_embedder import LogoEmbedder, Rejections
from api.journeys.stages import UNOBSERVED, Stage, Stages
from api.journeys.write_limit import WriteLimit
from embeddings.errors import BoundingBoxError
from embeddings.images.decode import BoundingBox, check_box
from embeddings.images.fetch import ImageFetcher
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore


@dataclass(frozen=True, slots=True)
class Logo:
    """A logo to add: its id, and its `(y_min, x_min, y_max, x_max)` in fractions of height and width."""

    id: int
    bounding_box: BoundingBox


class LogoAdder:
    """Adds logos to the store, within limits.

    Args:
        limit: of what may be changing the store at once.
        stages: is told of fetching and of appending, and of what comes after.
        on_added: is told the ids of logos that were stored, when they are on the disk.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        fetcher: ImageFetcher,
        embedder: LogoEmbedder,
        *,
        limit: WriteLimit,
        stages: Stages = UNOBSERVED,
        on_added: Callable[[list[int]], None] | None = None,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._embedder = embedder
        self._limit = limit
        self._stages = stages
        self._on_added = on_added

    def add(self, image_url: str, logos: Sequence[Logo], rejected: Rejections | None = None) -> int:
        """Store the logos that are not stored yet and return their number.

        Nothing is fetched if there are none. If an id is named twice, its first box counts.

        Args:
            image_url: the address of the image.
            logos: the logos on it.
            rejected: is given the logos whose boxes cannot be used, and the others are stored; `None` raises the first
                error, and nothing is stored.

        Raises:
            ImageError: the image cannot be had or a box cannot be used; nothing was stored.
            StoreError: the store cannot take them.
            TooManyWritesError: as many changes as allowed are under way; to be tried again.
        """
        boxes = {logo.id: logo.bounding_box for logo in reversed(logos)}
        new_ids = self._store.missing([logo.id for logo in logos])
        if not new_ids:
            return 0
        new = _with_good_boxes([Logo(logo_id, boxes[logo_id]) for logo_id in new_ids], rejected)
        if not new:
            return 0
        with self._limit.turn():
            with self._stages.measure(Stage.FETCH):
                data = self._fetcher.fetch(image_url)
            boxed = [(logo.id, logo.bounding_box) for logo in new]
            embeddings, orientation = self._embedder.embed_oriented(data, boxed, rejected)
            new = [logo for logo in new if logo.id not in (rejected or ())]
            origins = [Provenance(image_url, logo.bounding_box, orientation) for logo in new]
            with self._stages.measure(Stage.APPEND):  # it may have to wait for another process
                added = self._store.append([logo.id for logo in new], embeddings, origins)
            if added and self._on_added is not None:
                with self._stages.measure(Stage.SEND):
                    self._on_added(added)
            return len(added)


def _with_good_boxes(logos: Sequence[Logo], rejected: Rejections | None) -> list[Logo]:
    """Return the logos whose boxes can be used on some image: that spares fetching one for none of them."""
    good = []
    for logo in logos:
        try:
            check_box(logo.bounding_box, logo_id=logo.id)
        except BoundingBoxError as error:
            if rejected is None:
                raise
            rejected[logo.id] = error
        else:
            good.append(logo)
    return good
