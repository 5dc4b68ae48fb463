"""Turn an image file and the boxes of its logos into vectors, in the same way for adds and for queries by image."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api.journeys.stages import UNOBSERVED, Stage, Stages
from embeddings.images.decode import BoundingBox
from embeddings.images.photo import Photo
from embeddings.model.embedder import Embedder


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

    def embed(self, data: bytes, logos: Iterable[tuple[int | None, BoundingBox]]) -> NDArray[np.float32]:
        """Return the vectors of logos, `(n, dim)`.

        Args:
            data: the content of the image file.
            logos: the id of each logo, for error messages, or `None`; and its box.

        Raises:
            ImageError: the image or a box cannot be used.
            ModelError: the model cannot be used.
        """
        crops = self._crops(data, logos)
        with self._in_memory, self._stages.measure_fed(Stage.EMBED, Stage.DECODE, crops) as decoded:
            return self._embedder.embed(decoded)

    def _crops(self, data: bytes, logos: Iterable[tuple[int | None, BoundingBox]]) -> Iterator[Image.Image]:
        photo = Photo(data, preprocessing=self._embedder.description.preprocessing, max_pixels=self._max_pixels)
        for logo_id, box in logos:
            yield photo.crop(box, logo_id=logo_id)
