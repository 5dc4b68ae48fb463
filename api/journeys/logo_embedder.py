"""Turn an image file and the boxes of its logos into vectors, in the same way for adds and for queries by image."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api.journeys.stages import UNOBSERVED, Stage, Stages
from embeddings.errors import BoundingBoxError
from embeddings.images.decode import BoundingBox
from embeddings.images.photo import Photo
from embeddings.model.embedder import Embedder

Rejections = dict[int | None, BoundingBoxError]
"""The logos that are left out because of their boxes, by id, and what is wrong with each."""


class LogoEmbedder:
    """Cuts logos out of images and embeds them, few images at a time, because decoded images are large.

    Args:
        embedder: makes the vectors.
        concurrency: how many images may be in memory at once; further ones wait.
        max_pixels: the largest image, or crop of one, that is decoded.
        stages: records the times of decoding and embedding.
    """

    def __init__(self, embedder: Embedder, *, concurrency: int, max_pixels: int, stages: Stages = UNOBSERVED) -> None:
        self._embedder = embedder
        self._max_pixels = max_pixels
        self._stages = stages
        self._in_memory = threading.BoundedSemaphore(concurrency)

    def embed(
        self, data: bytes, logos: Iterable[tuple[int | None, BoundingBox]], rejected: Rejections | None = None
    ) -> tuple[NDArray[np.float32], int | None]:
        """Return the vectors of logos, `(n, dim)`, and the orientation of their image (None if there are no logos).

        Args:
            data: the content of the image file.
            logos: the id of each logo, for error messages, or `None`; and its box.
            rejected: receives the logos whose boxes cannot be used, which are left out; `None` raises the first error.

        Raises:
            ImageError: the image or a box cannot be used.
            ModelError: the model cannot be used.
        """
        photos: list[Photo] = []
        crops = self._crops(data, logos, photos, rejected)
        with self._in_memory, self._stages.measure_fed(Stage.EMBED, Stage.DECODE, crops) as decoded:
            vectors = self._embedder.embed(decoded)
        return vectors, photos[0].orientation if photos else None

    def _crops(
        self,
        data: bytes,
        logos: Iterable[tuple[int | None, BoundingBox]],
        photos: list[Photo],
        rejected: Rejections | None,
    ) -> Iterator[Image.Image]:
        photo = Photo(data, preprocessing=self._embedder.description.preprocessing, max_pixels=self._max_pixels)
        photos.append(photo)
        for logo_id, box in logos:
            try:
                crop = photo.crop(box, logo_id=logo_id)
            except BoundingBoxError as error:
                if rejected is None:
                    raise
                rejected[logo_id] = error
            else:
                yield crop
