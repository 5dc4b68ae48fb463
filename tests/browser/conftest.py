"""A page in Chromium, for the tests of what people see."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from demo.photos import Photo, make_photos
from tests.browser import explored
from tests.browser.chromium import NoChromiumError, find_chromium, launch
from tests.browser.explored import Explorer
from tests.end_to_end.service import Service, manage
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE, wait_until

expect.set_options(timeout=1000 * PATIENCE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for the session; tests take pages of it."""
    try:
        find_chromium()
    except NoChromiumError as error:
        pytest.skip(str(error))
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    """A page of its own context, so without what others left behind; 1280 × 800 pixels, light."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    context.set_default_timeout(1000 * PATIENCE)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def drawn() -> list[Photo]:
    return list(make_photos(12, seed=1))


@pytest.fixture(scope="session")
def drawn_photos(drawn: list[Photo]) -> Iterator[PhotoServer]:
    with PhotoServer({f"/{photo.name}": photo.jpeg for photo in drawn}) as server:
        yield server


@pytest.fixture(scope="session")
def small(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, drawn: list[Photo], drawn_photos: PhotoServer
) -> Iterator[Service]:
    """A service with the logos of a dozen photos, some odd ones, one that waits for an index, and three indexes."""
    data_dir = tmp_path_factory.mktemp("small") / "data"
    with Service(data_dir) as service:
        for photo in drawn:
            explored.add_photo(service, drawn_photos, photo)
        explored.store_odd_logos(data_dir, drawn_photos, drawn)
        assert manage(data_dir, "generate-index").returncode == 0
        explored.draw_map(data_dir, np.array(service.get("/stored").json()["stored"]))
        for name in ("other", explored.ODD_NAME):
            shutil.copytree(data_dir / "efficientnet-b0", data_dir / name, symlinks=True)
        explored.add_photo(service, drawn_photos, drawn[1], [explored.WAITING])
        wait_until(lambda: [service.get("/status").json()[key] for key in ("logos_waiting", "map_points")] == [1, 21])
        yield service


@pytest.fixture(scope="session")
def large(browser: Browser, small: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same with a map of many points."""
    data_dir = tmp_path_factory.mktemp("large") / "data"
    shutil.copytree(small.data_dir, data_dir, symlinks=True)
    explored.draw_map(data_dir, np.arange(1001, 1001 + explored.MANY))
    with Service(data_dir) as service:
        yield service


@pytest.fixture(scope="session")
def empty(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("empty") / "data") as service:
        yield service


@pytest.fixture(scope="session")
def broken(browser: Browser, small: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same with a damaged index."""
    data_dir = tmp_path_factory.mktemp("broken") / "data"
    shutil.copytree(small.data_dir, data_dir, symlinks=True)
    for items in data_dir.glob("efficientnet-b0/generations/*/index.bin"):
        items.write_bytes(items.read_bytes()[:-1000])
    with Service(data_dir) as service:
        yield service


@pytest.fixture(scope="session")
def brands(drawn: list[Photo]) -> dict[int, str]:
    return explored.brands_of(drawn)


@pytest.fixture(scope="session")
def writable(browser: Browser, small: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same for tests that name and delete logos, with a collection of vectors that have no pictures."""
    data_dir = tmp_path_factory.mktemp("writable") / "data"
    shutil.copytree(small.data_dir, data_dir, symlinks=True)
    assert manage(data_dir, "create-collection", "vectors", "--dim", "4").returncode == 0
    with Service(data_dir, ANN_ALLOW_DELETE="1") as service:
        vectors = np.random.default_rng(1).normal(size=(30, 4)).tolist()
        logos = [{"id": i, "embedding": vector} for i, vector in enumerate(vectors, 1)]
        assert service.post("/add_embeddings?index=vectors", {"logos": logos}).json() == {"added": 30}
        assert manage(data_dir, "generate-index", "--index", "vectors").returncode == 0
        yield service


@pytest.fixture
def named(browser_page: Page, writable: Service, brands: dict[int, str]) -> Iterator[Explorer]:
    """The explorer where half of the logos have the names of their brands."""
    explored.name_logos(writable, explored.half_of(brands))
    explored.name_logos(writable, {i: "even" if i % 2 == 0 else "odd" for i in range(1, 31)}, "vectors")
    yield from _explorer(browser_page, writable)


@pytest.fixture
def explorer(browser_page: Page, small: Service) -> Iterator[Explorer]:
    yield from _explorer(browser_page, small)


def _explorer(page: Page, service: Service) -> Iterator[Explorer]:
    explorer = Explorer(page, f"http://127.0.0.1:{service.port}")
    yield explorer
    assert explorer.complaints == []


@pytest.fixture
def large_explorer(browser_page: Page, large: Service) -> Iterator[Explorer]:
    yield from _explorer(browser_page, large)


@pytest.fixture
def empty_explorer(browser_page: Page, empty: Service) -> Iterator[Explorer]:
    yield from _explorer(browser_page, empty)


@pytest.fixture
def broken_explorer(browser_page: Page, broken: Service) -> Iterator[Explorer]:
    yield from _explorer(browser_page, broken)
