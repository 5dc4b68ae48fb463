"""The original's way of serving, rebuilt from what is known of it, as a rival for the service.

One synchronous worker; the HDF5 file, in chunks of many rows by few values, is opened for every look-up; neighbours
come from Annoy with its default effort; JSON is the standard library's; a logo is embedded by calling the Keras model.
"""

from __future__ import annotations

import io
import os
import urllib.request
from functools import cached_property
from pathlib import Path
from typing import Any

import falcon
import h5py
import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray
from PIL import Image

DIM = 1280
COUNT = 100
INPUT_SIZE = 224
CHUNK = (19_532, 5)  # rows and values
FOLDER_VARIABLE = "ORIGINAL_SERVICE_FOLDER"
STORE, INDEX, KEYS = "efficientnet-b0.hdf5", "index.bin", "index.txt"


def create_store(path: Path, capacity: int) -> h5py.File:
    """Create the original's store for `capacity` logos, and return it open; an id of 0 marks an empty row."""
    file = h5py.File(path, "w")
    file.create_dataset("embedding", (capacity, DIM), "f4", chunks=(min(CHUNK[0], capacity), CHUNK[1]))
    file.create_dataset("external_id", (capacity,), "i4")
    return file


class OriginalLogos:
    """The logos of a folder with a store and an index in the original's layout."""

    def __init__(self, folder: Path) -> None:
        self._store = folder / STORE
        self._annoy = AnnoyIndex(DIM, "euclidean")
        self._annoy.load(str(folder / INDEX))
        self._keys = [int(line) for line in (folder / KEYS).read_text().splitlines()]
        self._items = {key: item for item, key in enumerate(self._keys)}

    def neighbours(self, logo_id: int, count: int) -> list[dict[str, Any]] | None:
        """Return the nearest logos to one that is indexed or stored; `None` if it is neither."""
        item = self._items.get(logo_id)
        if item is not None:
            found, distances = self._annoy.get_nns_by_item(item, count, include_distances=True)
        elif (vector := self._stored(logo_id)) is not None:
            found, distances = self._annoy.get_nns_by_vector(vector, count, include_distances=True)
        else:
            return None
        rows = zip(found, distances, strict=True)
        return [{"distance": distance, "logo_id": self._keys[item]} for item, distance in rows]

    def add(self, image_url: str, logos: list[dict[str, Any]]) -> int:
        """Fetch an image, embed its logos, and store them."""
        with urllib.request.urlopen(image_url, timeout=30) as answer:  # noqa: S310
            image = Image.open(io.BytesIO(answer.read())).convert("RGB")
        crops = []
        for logo in logos:
            y_min, x_min, y_max, x_max = logo["bounding_box"]
            box = (x_min * image.width, y_min * image.height, x_max * image.width, y_max * image.height)
            crops.append(np.asarray(image.crop(box).resize((INPUT_SIZE, INPUT_SIZE)), np.float32))
        vectors = np.asarray(self._model(np.stack(crops)))
        with h5py.File(self._store, "r+") as file:
            ids = file["external_id"][:]
            first = int(np.flatnonzero(ids == 0)[0])
            file["embedding"][first : first + len(logos)] = vectors
            file["external_id"][first : first + len(logos)] = [logo["id"] for logo in logos]
        return len(logos)

    def _stored(self, logo_id: int) -> NDArray[np.float32] | None:
        with h5py.File(self._store, "r") as file:
            rows = np.flatnonzero(file["external_id"][:] == logo_id)
            if not len(rows):
                return None
            vector: NDArray[np.float32] = file["embedding"][rows[0]]
            return vector

    @cached_property
    def _model(self) -> Any:
        os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        from efficientnet.tfkeras import EfficientNetB0

        shape = (INPUT_SIZE, INPUT_SIZE, 3)
        return EfficientNetB0(include_top=False, weights=None, input_shape=shape, pooling="max")


class _One:
    def __init__(self, logos: OriginalLogos) -> None:
        self._logos = logos

    def on_get(self, request: falcon.Request, response: falcon.Response, logo_id: int) -> None:
        found = self._logos.neighbours(logo_id, request.get_param_as_int("count", default=COUNT))
        if found is None:
            raise falcon.HTTPNotFound
        response.media = {"results": found, "count": len(found)}


class _Batch:
    def __init__(self, logos: OriginalLogos) -> None:
        self._logos = logos

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        count = request.get_param_as_int("count", default=COUNT)
        ids = request.get_param("logo_ids", required=True).split(",")
        results = {logo_id: self._logos.neighbours(int(logo_id), count) for logo_id in ids}
        response.media = {"results": results, "count": len(results)}


class _Add:
    def __init__(self, logos: OriginalLogos) -> None:
        self._logos = logos

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        wanted = request.get_media()
        response.media = {"added": self._logos.add(wanted["image_url"], wanted["logos"])}


def create_app() -> falcon.App[falcon.Request, falcon.Response]:
    """Return an app for the folder named in the environment."""
    logos = OriginalLogos(Path(os.environ[FOLDER_VARIABLE]))
    app = falcon.App()
    app.add_route("/api/v1/ann/{logo_id:int}", _One(logos))
    app.add_route("/api/v1/ann/batch", _Batch(logos))
    app.add_route("/api/v1/ann/add", _Add(logos))
    return app
