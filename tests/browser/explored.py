"""What the explorer's tests look at: services with drawn photos behind them, small, empty and broken."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page, Request, expect

from demo.photos import Photo
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from index.map.map_file import LogoMap, write_map
from runtime.startup import prepare
from settings import Settings
from tests.end_to_end.service import Service
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE

MANY = 20_000  # points of the large map
BEYOND_EXACT = 2**53 + 1  # a JavaScript number reads it as 2**53
GONE, HOSTILE, MARKUP, UNSEEN = 501, 502, 503, 504
WAITING = 601
ODD_NAME = "it's 1,2"  # of an index

HOSTILE_URL = "javascript:document.title='taken over'"
MARKUP_PATH = '/"><img src=x onerror="document.title=\'taken over\'">'


def store_odd_logos(data_dir: Path, photos: PhotoServer, known: list[Photo]) -> None:
    """Store logos whose provenance is missing, gone, or means harm, beside the vectors of known ones."""
    box = known[0].logos[0].box
    odd: dict[int, Provenance | None] = {
        GONE: Provenance(photos.url("/gone.jpg"), box),
        HOSTILE: Provenance(HOSTILE_URL, box),
        MARKUP: Provenance(photos.url(MARKUP_PATH), box),
        UNSEEN: None,
        BEYOND_EXACT: Provenance(photos.url(f"/{known[0].name}"), box),
    }
    settings = Settings(data_dir=data_dir, store_capacity=5000)
    prepare(settings)
    with EmbeddingStore(settings.store_path) as store:
        vector = store.vectors(np.array([known[0].logos[0].logo_id]))
        noise = np.random.default_rng(1).normal(0, 0.05, (len(odd), store.dim))
        store.append(list(odd), (vector + noise).astype(np.float32), list(odd.values()))


def brands_of(photos: list[Photo]) -> dict[int, str]:
    """The brand of each drawn logo."""
    return {logo.logo_id: logo.brand.name for photo in photos for logo in photo.logos}


def half_of(brands: dict[int, str]) -> dict[int, str]:
    """Two logos of each brand: as if somebody had named them and left the others to name."""
    return {i: brand for i, brand in brands.items() if [*brands.values()][: [*brands].index(i)].count(brand) < 2}


def name_logos(service: Service, names: dict[int, str], index: str = "efficientnet-b0") -> None:
    """Give logos their names, and take all others away."""
    changes: dict[int, dict[str, str | None]] = {
        logo_id: dict.fromkeys(("value", "shelf")) for logo_id in service.get(f"/stored?index={index}").json()["stored"]
    }
    changes |= {logo_id: {"value": name, "shelf": None} for logo_id, name in names.items()}
    logos = [{"id": logo_id, "attributes": attributes} for logo_id, attributes in changes.items()]
    answer = requests.put(service.url(f"/attributes?index={index}"), json={"logos": logos}, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text


def names_in(service: Service) -> dict[int, str]:
    """The names that the service knows."""
    ids = ",".join(map(str, service.get("/stored").json()["stored"]))
    found = service.get(f"/attributes?logo_ids={ids}").json()["attributes"]
    return {int(logo_id): of_logo["value"] for logo_id, of_logo in found.items() if "value" in of_logo}


def draw_map(data_dir: Path, logo_ids: NDArray[np.int64]) -> None:
    """Put a map of logos anywhere into the index in use: a real one takes the time of its libraries' start."""
    positions = np.random.default_rng(1).integers(0, 2**16, (len(logo_ids), 2))
    write_map((data_dir / "efficientnet-b0" / "current").resolve(), LogoMap(logo_ids, positions))


def add_photo(service: Service, photos: PhotoServer, photo: Photo, logo_ids: list[int] | None = None) -> None:
    """Add the logos of a photo, as a client does; under other ids if some are given."""
    ids = logo_ids or [logo.logo_id for logo in photo.logos]
    logos = [{"id": i, "bounding_box": list(logo.box)} for i, logo in zip(ids, photo.logos, strict=False)]
    answer = service.post("/add", {"image_url": photos.url(f"/{photo.name}"), "logos": logos})
    assert answer.json() == {"added": len(logos)}, answer.text


@dataclass
class Explorer:
    """A page of the explorer, and what it asked for and complained of.

    Attributes:
        page: in Chromium.
        base: the address of the service.
        complaints: errors on the console, violations of the policy, and exceptions. A request that was answered with an
            error is no complaint: the page says so itself.
        requests: all that it sent.
    """

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("console", lambda message: self._hear(message.type, message.text))

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def open(self, path: str = "/") -> Page:
        """Go to a page of the explorer and wait until it is there; its pictures may still be coming."""
        self.page.goto(self.base + path)
        expect(self.page.locator("main")).to_have_attribute("aria-busy", "false")
        return self.page

    def hosts(self) -> Iterator[tuple[str, str]]:
        """Yield the host and the kind of each request over the network."""
        for request in self.requests:
            if request.url.startswith("http"):
                yield request.url.split("/")[2], request.resource_type


def difference(one: Image.Image, other: Image.Image) -> float:
    """How far apart two pictures are, seen at 32 × 32 pixels: the mean over channels, 0 to 255."""
    seen = [np.asarray(picture.convert("RGB").resize((32, 32)), np.float64) for picture in (one, other)]
    return float(np.abs(seen[0] - seen[1]).mean())


def crop_of(photo: Photo, number: int = 0) -> Image.Image:
    """What the box of a logo holds of its photo."""
    with Image.open(io.BytesIO(photo.jpeg)) as picture:
        top, left, bottom, right = photo.logos[number].box
        width, height = picture.size
        return picture.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))


def tiles(page: Page) -> Locator:
    return page.locator(".grid .tile")


def shown_on(page: Page) -> list[tuple[str, str]]:
    """Ids and distances of the pictures."""
    expect(tiles(page).first).to_be_visible()
    ids = [tile.get_attribute("data-logo") or "" for tile in tiles(page).all()]
    return list(zip(ids, page.locator(".grid .distance").all_inner_texts(), strict=True))


def draw_box(page: Page, box: tuple[float, float, float, float]) -> None:
    """Draw a box on an image with the mouse, as soon as the page lets people draw."""
    expect(page.locator(".stage .mark")).to_be_visible()
    stage = page.locator(".stage").bounding_box()
    assert stage is not None
    top, left, bottom, right = box
    page.mouse.move(stage["x"] + left * stage["width"], stage["y"] + top * stage["height"])
    page.mouse.down()
    page.mouse.move(stage["x"] + right * stage["width"], stage["y"] + bottom * stage["height"], steps=4)
    page.mouse.up()


def send_image(service: Service, path: str, image: bytes, content_type: str) -> requests.Response:
    return requests.post(service.url(path), data=image, headers={"Content-Type": content_type}, timeout=PATIENCE)


def answered(text: str) -> list[tuple[str, str]]:
    """Ids and distances of an answer of the service, without reading its numbers as floats that lose digits."""
    rows = re.findall(r'"distance": ?([\d.e-]+), ?"logo_id": ?(\d+)', text)
    assert rows
    return [(logo_id, f"{float(distance):.2f}") for distance, logo_id in rows]
