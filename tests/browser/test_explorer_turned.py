"""Photos that their Exif turns: every view of the explorer shows the stored pixels, as the service embedded them.

The photos come from another host than the page, so the browser turns them whatever the page's style says.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from playwright.sync_api import Browser, FilePayload, FloatRect, Locator, Page, Response, Route, expect

from index.map.map_file import LogoMap, write_map
from tests.browser.explored import Explorer, difference, draw_box, name_logos
from tests.browser.test_explorer_map import _places_on_map
from tests.end_to_end.service import Service, manage
from tests.photo_server import PhotoServer
from tests.waiting import wait_until

WIDTH, HEIGHT = 600, 360
BOX = (0.125, 0.1, 0.625, 0.7)
FORMATS = ("JPEG", "PNG", "WEBP")
TURNED = {100 * (1 + FORMATS.index(kind)) + turn: (kind, turn) for kind in FORMATS for turn in range(1, 9)}
SOME = (101, 102, 103, 105, 106, 107, 108, 206, 306)


def picture() -> Image.Image:
    """Make an image of which no part is like another, and which no turn leaves as it is."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    bands = np.stack([255 * x / WIDTH, 255 * y / HEIGHT, 60 + 0 * x], axis=-1).astype(np.uint8)
    bands[40:140, 60:160] = (255, 255, 0)
    bands[200:230, 60:420] = (0, 0, 255)
    return Image.fromarray(bands)


def held() -> Image.Image:
    top, left, bottom, right = BOX
    return picture().crop((round(left * WIDTH), round(top * HEIGHT), round(right * WIDTH), round(bottom * HEIGHT)))


def turned(kind: str, turn: int) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = turn
    picture().save(file, kind, exif=exif, quality=95)
    return file.getvalue()


@pytest.fixture(scope="module")
def service(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a logo of a photo of each format and orientation, on a map."""
    data_dir = tmp_path_factory.mktemp("turned") / "data"
    names = {logo_id: f"/{logo_id}.{kind.lower()}" for logo_id, (kind, _) in TURNED.items()}
    with (
        PhotoServer({names[logo_id]: turned(*what) for logo_id, what in TURNED.items()}) as photos,
        Service(data_dir) as service,
    ):
        for logo_id in TURNED:
            logos = [{"id": logo_id, "bounding_box": list(BOX)}]
            added = service.post("/add", {"image_url": photos.url(names[logo_id]), "logos": logos})
            assert added.json() == {"added": 1}
        assert manage(data_dir, "generate-index").returncode == 0
        places = np.array([(column, row) for row in range(4) for column in range(6)]) * 10_000
        write_map((data_dir / "efficientnet-b0" / "current").resolve(), LogoMap(np.array([*TURNED]), places))
        wait_until(lambda: service.get("/status").json()["map_points"] == len(TURNED))
        yield service


@pytest.fixture
def explorer(browser_page: Page, service: Service) -> Iterator[Explorer]:
    explorer = Explorer(browser_page, f"http://127.0.0.1:{service.port}")
    yield explorer
    assert explorer.complaints == []


def seen(shown: Locator) -> Image.Image:
    expect(shown).to_be_visible()
    return Image.open(io.BytesIO(shown.screenshot(animations="disabled")))


def assert_holes_show_logos(holes: Locator, count: int) -> None:
    expect(holes).to_have_count(count)
    for number in range(count):
        expect(holes.nth(number)).to_have_css("opacity", "1")
        assert difference(seen(holes.nth(number)), held()) < 12


def assert_sheet_shows_photo(sheet: Locator) -> None:
    expect(sheet.locator(".mark")).to_be_visible()
    hide = "parts => parts.forEach((part) => { part.style.visibility = 'hidden'; })"
    sheet.locator(":is(.mark, .shade)").evaluate_all(hide)
    assert shape(sheet) == pytest.approx(WIDTH / HEIGHT, rel=0.02)
    assert difference(seen(sheet), picture()) < 8


def shape(sheet: Locator) -> float:
    box = sheet.bounding_box()
    assert box is not None
    return box["width"] / box["height"]


def asks_for_box(answer: Response) -> bool:
    return answer.url.endswith("/from_url") and "bounding_box" in (answer.request.post_data or "")


def address_of(service: Service, logo_id: int) -> str:
    known = service.get(f"/provenance?logo_ids={logo_id}").json()["provenance"]
    return str(known[str(logo_id)]["image_url"])


@pytest.mark.parametrize("logo_id", TURNED)
def test_the_crop_and_the_whole_photo_show_stored_pixels(explorer: Explorer, logo_id: int) -> None:
    page = explorer.open(f"/?logo={logo_id}&count=3")
    expect(page.locator(".large .fitted")).to_have_css("opacity", "1")
    assert difference(seen(page.locator(".large .hole")), held()) < 8
    assert_sheet_shows_photo(page.locator(".photo .sheet"))


def test_the_neighbours_show_stored_pixels(explorer: Explorer) -> None:
    page = explorer.open("/?logo=101&count=50")
    assert_holes_show_logos(page.locator(".grid .hole.fitted"), len(TURNED) - 1)


@pytest.mark.parametrize(("one", "other"), [(103, 106), (205, 308)])
def test_logos_that_are_compared_show_stored_pixels(explorer: Explorer, one: int, other: int) -> None:
    page = explorer.open(f"/?logo={one}&with={other}")
    assert_holes_show_logos(page.locator(".side .large .hole.fitted"), 2)
    for sheet in page.locator(".side .photo .sheet").all():
        assert_sheet_shows_photo(sheet)


def test_logos_of_a_name_and_candidates_for_it_show_stored_pixels(explorer: Explorer, service: Service) -> None:
    name_logos(service, {logo_id: "acme" for logo_id in TURNED if logo_id < 200})
    page = explorer.open("/?value=acme")
    assert_holes_show_logos(page.locator(".of-value .hole.fitted"), 8)
    assert_holes_show_logos(page.locator(".results .hole.fitted"), 16)
    name_logos(service, {})


def test_duplicates_show_stored_pixels(explorer: Explorer) -> None:
    page = explorer.open("/?duplicates=1")
    assert_holes_show_logos(page.locator(".group .hole.fitted"), len(TURNED))


@pytest.mark.parametrize("logo_id", SOME)
def test_a_box_is_drawn_on_the_stored_pixels_of_an_image_of_the_web(
    explorer: Explorer, service: Service, logo_id: int
) -> None:
    page = explorer.open(f"/?url={address_of(service, logo_id)}&count=1")
    with page.expect_response(asks_for_box) as answered:
        draw_box(page, BOX)
    asked = json.loads(answered.value.request.post_data or "")
    assert asked["bounding_box"] == pytest.approx(list(BOX), abs=0.005)
    (nearest,) = answered.value.json()["results"]
    assert nearest["distance"] < 0.1  # the box of another part: 0.5 at least
    assert_sheet_shows_photo(page.locator(".stage"))


def test_no_box_can_be_drawn_before_the_service_says_how_the_image_lies(explorer: Explorer, service: Service) -> None:
    held_back: list[Route] = []
    page = explorer.page
    page.route("**/from_url", lambda route: held_back.append(route))
    with page.expect_request("**/from_url"):
        page.goto(f"{explorer.base}/?url={address_of(service, 106)}&count=1")
    image = page.locator(".stage img")
    expect(image).to_have_js_property("complete", True)
    expect(image).to_be_hidden()
    stage = page.locator(".stage").bounding_box()
    assert stage is not None
    page.mouse.move(stage["x"] + stage["width"] / 4, stage["y"] + stage["height"] / 4)
    page.mouse.down()
    page.mouse.move(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2, steps=4)
    page.mouse.up()
    expect(page.locator(".mark")).to_have_count(0)
    held_back[0].continue_()
    expect(page.locator(".stage .mark")).to_have_attribute("aria-label", "Box: the whole image")
    assert len(held_back) == 1
    assert_sheet_shows_photo(page.locator(".stage"))


@pytest.mark.parametrize("told", [{}, {"orientation": None}], ids=["absent", "null"])
def test_an_image_of_which_nobody_knows_how_it_lies_is_shown_as_the_browser_shows_it(
    explorer: Explorer, service: Service, told: dict[str, None]
) -> None:
    answer: dict[str, Any] = {"results": [], "count": 0, **told}
    explorer.page.route("**/from_url", lambda route: route.fulfill(json=answer))
    page = explorer.open(f"/?url={address_of(service, 106)}")
    expect(page.locator(".stage .mark")).to_be_visible()
    assert shape(page.locator(".stage")) == pytest.approx(HEIGHT / WIDTH, rel=0.02)


def test_a_box_that_was_drawn_is_there_after_going_back(explorer: Explorer, service: Service) -> None:
    page = explorer.open(f"/?url={address_of(service, 106)}&count=1")
    with page.expect_response(asks_for_box):
        draw_box(page, BOX)
    drawn = page.locator(".mark").get_attribute("aria-label")
    assert drawn is not None
    page.locator(".grid .tile").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Logo")
    page.go_back()
    expect(page.locator(".stage .mark")).to_have_attribute("aria-label", drawn)
    assert_sheet_shows_photo(page.locator(".stage"))


@pytest.mark.parametrize("logo_id", [206, 303])
def test_an_image_of_ones_own_that_is_no_jpeg_shows_stored_pixels(explorer: Explorer, logo_id: int) -> None:
    kind, turn = TURNED[logo_id]
    image: FilePayload = {"name": "image", "mimeType": f"image/{kind.lower()}", "buffer": turned(kind, turn)}
    page = explorer.open()
    page.set_input_files("#file", image)
    assert_sheet_shows_photo(page.locator(".stage"))


@pytest.mark.parametrize("logo_id", SOME)
def test_the_map_and_its_card_show_stored_pixels(explorer: Explorer, logo_id: int) -> None:
    page = explorer.open()
    area = page.locator(".area").bounding_box()
    assert area is not None
    expected = held()
    width, height = (48 * side / max(expected.size) for side in expected.size)
    left, top = _places_on_map(page)[str(logo_id)]
    corner = area["x"] + left - width / 2, area["y"] + top - height / 2
    clip: FloatRect = {"x": corner[0], "y": corner[1], "width": width, "height": height}

    def shows_logo() -> bool:
        return difference(Image.open(io.BytesIO(page.screenshot(clip=clip))), expected) < 22  # a turn: 44 at least

    wait_until(shows_logo)
    page.mouse.move(area["x"] + left, area["y"] + top)
    expect(page.locator(".tip .id")).to_have_text(str(logo_id))
    expect(page.locator(".tip .fitted")).to_have_css("opacity", "1")
    assert difference(seen(page.locator(".tip .hole")), expected) < 12


def test_a_photo_of_which_nobody_knows_how_it_lies_is_shown_as_the_browser_shows_it(
    explorer: Explorer, service: Service
) -> None:
    known = service.get("/provenance?logo_ids=106").json()
    known["provenance"]["106"]["orientation"] = None
    explorer.page.route("**/provenance?logo_ids=106", lambda route: route.fulfill(json=known))
    page = explorer.open("/?logo=106&count=1")
    expect(page.locator(".photo .sheet.laid-out")).to_be_visible()
    assert shape(page.locator(".photo .sheet")) == pytest.approx(HEIGHT / WIDTH, rel=0.02)
