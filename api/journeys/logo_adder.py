"""The add journey: from the URL of an image and the boxes of its logos to rows of the store.

If one box cannot be used, nothing is stored, unless the caller asks for the good logos alone. Many adds may fetch
images at once, because fetching only waits for other servers. Few may decode and embed at once, because each holds an
image in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """A logo to add: its id, and its box `(y_min, x_min, y_max, x_max)` in fractions of height and width."""

    id: int
    bounding_box: BoundingBox


class LogoAdder:
    """Adds logos to the store, within limits.

    Args:
        store: the logos.
        fetcher: downloads the image.
        embedder: cuts the logos out and embeds them.
        limit: how many requests may change the store at once.
        stages: records the times of fetching, appending and sending.
        on_added: called with the ids of the new logos, once they are on disk.
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

    def embed(self, image_url: str, box: BoundingBox) -> tuple[NDArray[np.float32], int | None]:
        """Return the vector, `(dim,)`, and the orientation that a logo would be stored with; nothing is stored.

        Args:
            image_url: the URL of the image.
            box: of the logo.

        Raises:
            ImageError, ModelError, TooManyWritesError: as for `add`.
        """
        check_box(box, logo_id=None)
        with self._limit.turn():
            with self._stages.measure(Stage.FETCH):
                data = self._fetcher.fetch(image_url)
            (vector,), orientation = self._embedder.embed(data, [(None, box)])
            return vector, orientation

    def add(self, image_url: str, logos: Sequence[Logo], rejected: Rejections | None = None) -> int:
        """Store the logos that are not stored yet and return their number.

        If all are already stored, nothing is fetched. If an id is named twice, the first box counts.

        Args:
            image_url: the URL of the image.
            logos: the logos on it.
            rejected: receives the logos whose boxes cannot be used; the others are stored. With `None`, the first such
                box raises its error, and nothing is stored.

        Raises:
            ImageError: the image cannot be fetched or decoded, or a box cannot be used; nothing was stored.
            ModelError: the model cannot be used; nothing was stored.
            StoreError: the store cannot be written or is full; nothing was stored.
            TooManyWritesError: as many requests as allowed are changing the store; try again.
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
            embeddings, orientation = self._embedder.embed(data, boxed, rejected)
            new = [logo for logo in new if logo.id not in (rejected or ())]
            origins = [Provenance(image_url, logo.bounding_box, orientation) for logo in new]
            with self._stages.measure(Stage.APPEND):  # another process may hold the writer lock
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
