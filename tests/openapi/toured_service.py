"""A running service that holds what the README's tour adds: the logos of the document's examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from demo.photos import make_photos
from embeddings.store.store import EmbeddingStore
from index.files.generations import current_generation
from index.map.logo_map import add_map
from settings import DEFAULT_COLLECTION
from tests.end_to_end.service import Service, manage
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE, wait_until

TOUR_PHOTOS = ("photo-002.jpg", "photo-003.jpg")


class TouredService(Service):
    """The service, and the photos that it may fetch; deleting is allowed, so that there is every operation."""

    def __init__(self, folder: Path, photos: PhotoServer, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder / "data", workers=1, **{"ANN_ALLOW_DELETE": "1", **(settings or {})})
        self.photos = photos
        drawn = list(make_photos(12, 1))
        photos.photos = {f"/{photo.name}": photo.jpeg for photo in drawn}
        self._tour = {photo.name: photo.logos for photo in drawn if photo.name in TOUR_PHOTOS}

    def take_the_tour(self) -> None:
        """Add the three logos, build an index of them, and wait until it is served."""
        for name, logos in self._tour.items():
            boxes = [{"id": logo.logo_id, "bounding_box": [round(x, 4) for x in logo.box]} for logo in logos]
            answer = self.post("/add", {"image_url": self.photos.url(f"/{name}"), "logos": boxes})
            assert answer.json() == {"added": len(boxes)}
        built = manage(self.data_dir, "generate-index")
        assert built.returncode == 0, built.stderr
        wait_until(lambda: self.get("?count=3").json()["count"] == 3)
        self._draw_map()

    def _draw_map(self) -> None:
        """Draw the map that the document shows; a build draws none of so few logos."""
        generation = current_generation(self.data_dir / DEFAULT_COLLECTION)
        assert generation is not None
        with EmbeddingStore(self.data_dir / f"{DEFAULT_COLLECTION}.hdf5", writable=False) as store:
            add_map(generation, store.vectors)
        wait_until(lambda: self.get("/map").status_code == 200)

    @property
    def document(self) -> Any:
        """The document that it serves."""
        return self.request("GET", "/openapi.json").json()

    def address(self, path: str) -> str:
        """The address of any path, not only under /api/v1/ann."""
        return f"http://127.0.0.1:{self.port}{path}"

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request to any path."""
        return requests.request(method, self.address(path), timeout=PATIENCE, **arguments)
