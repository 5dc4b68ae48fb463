"""The explorer's map: that it shows all, moves, and leads to the logos."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Page, Route, expect

from demo.photos import Photo
from tests.browser import explored
from tests.browser.explored import MANY, Explorer, crop_of, difference
from tests.end_to_end.service import Service
from tests.waiting import wait_until


def test_the_map_draws_every_one_of_many_points(large_explorer: Explorer) -> None:
    page = large_explorer.open()
    drawn_map = page.locator(".map")
    expect(drawn_map).to_have_attribute("data-points", str(MANY))
    expect(drawn_map).to_have_attribute("data-painted", str(MANY))
    bare = page.evaluate(
        """async () => {
          const [{ fitted, toScreen }, service] = await Promise.all([
            import("/explorer/camera.js"), import("/explorer/service.js"),
          ]);
          const { x, y } = await service.map(null);
          const canvas = document.querySelector(".area canvas");
          const size = { width: canvas.width, height: canvas.height };
          const { data } = canvas.getContext("2d").getImageData(0, 0, size.width, size.height);
          const camera = fitted(x, y, size);
          return x.filter((_, i) => {
            const [left, top] = toScreen(camera, size, x[i], y[i]).map(Math.floor);
            return data[4 * (top * size.width + left) + 3] < 64;
          }).length;
        }"""
    )
    assert bare == 0  # points without ink


def test_the_map_is_painted_only_when_something_changed(large_explorer: Explorer) -> None:
    page = large_explorer.open()
    expect(page.locator(".map")).to_have_attribute("data-painted", str(MANY))
    page.evaluate(
        """() => {
          window.paintings = 0;
          const paint = CanvasRenderingContext2D.prototype.putImageData;
          CanvasRenderingContext2D.prototype.putImageData = function (...image) {
            paintings++;
            return paint.apply(this, image);
          };
        }"""
    )
    page.wait_for_timeout(400)
    assert page.evaluate("paintings") == 0
    page.locator(".area").press("+")
    page.wait_for_timeout(200)
    assert page.evaluate("paintings") in (1, 2)  # the zoom, and the pointer on what is in the middle


def test_the_map_is_panned_zoomed_and_shown_whole_again(large_explorer: Explorer) -> None:
    page = large_explorer.open()
    drawn_map = page.locator(".map")
    expect(drawn_map).to_have_attribute("data-painted", str(MANY))
    area = page.locator(".area").bounding_box()
    assert area is not None
    x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    expect(drawn_map).not_to_have_attribute("data-painted", str(MANY))
    page.get_by_role("button", name="Show all").click()
    expect(drawn_map).to_have_attribute("data-painted", str(MANY))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + area["width"] / 2, y, steps=5)
    page.mouse.up()
    expect(drawn_map).not_to_have_attribute("data-painted", str(MANY))
    assert page.url.endswith("/")  # a drag opens nothing


def test_pointing_at_the_map_shows_a_logo_and_clicking_opens_it(explorer: Explorer) -> None:
    page = explorer.open()
    expect(page.locator(".map[data-painted]")).to_be_visible()
    area = page.locator(".area").bounding_box()
    assert area is not None
    left, top = _places_on_map(page)["1003"]
    page.mouse.move(area["x"] + left, area["y"] + top)
    expect(page.locator(".tip .id")).to_have_text("1003")
    expect(page.locator(".tip .fitted")).to_be_visible()
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_role("heading", level=1)).to_have_text("Logo 1003")


def test_the_map_marks_the_logo_and_its_neighbours(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003&count=12&show=map")
    expect(page.locator(".legend")).to_have_text(re.compile(r"logo 1003\s*12 of its 12 nearest"))
    page = explorer.open(f"/?logo={explored.WAITING}&show=map")
    expect(page.locator(".legend")).to_contain_text(f"Logo {explored.WAITING} is not on the map")


def test_near_enough_the_map_shows_the_logos_themselves(explorer: Explorer, drawn: list[Photo]) -> None:
    page = explorer.open()
    area = page.locator(".area").bounding_box()
    assert area is not None
    held = crop_of(drawn[0])
    size = [48 * side / max(held.size) for side in held.size]
    left, top = _places_on_map(page)[str(drawn[0].logos[0].logo_id)]  # the first of the map: it always has room
    corner = [area["x"] + left - size[0] / 2, area["y"] + top - size[1] / 2]
    clip: FloatRect = {"x": corner[0], "y": corner[1], "width": size[0], "height": size[1]}

    def shows_logo() -> bool:
        return difference(Image.open(io.BytesIO(page.screenshot(clip=clip))), held) < 12

    wait_until(shows_logo)
    page.locator(".area").press("-")
    assert not shows_logo()


def test_the_map_is_usable_with_the_keyboard(large_explorer: Explorer) -> None:
    page = large_explorer.open()
    area = page.locator(".area")
    area.press("0")
    first = page.locator(".tip .id").inner_text()
    for _ in range(4):
        area.press("+")
    for _ in range(3):
        area.press("ArrowLeft")
    expect(page.locator(".tip .id")).not_to_have_text(first)
    told = page.locator(".tip .id").inner_text()
    expect(page.locator("#said")).to_have_text(f"Logo {told}")


def test_enter_opens_the_logo_that_was_told_however_far_from_the_middle(explorer: Explorer) -> None:
    page = explorer.open()
    area = page.locator(".area")
    area.press("0")
    for _ in range(20):
        area.press("ArrowRight")
    told = page.locator(".tip .id").inner_text()
    area.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Logo {told}")


def test_the_map_is_offered_as_soon_as_there_is_one_and_no_longer(explorer: Explorer) -> None:
    page = explorer.page
    late: list[Route] = []
    page.route("**/ann/status", lambda route: late.append(route))
    page.route("**/ann/status?*", lambda route: route.continue_())
    page.goto(f"{explorer.base}/?logo=1003")
    expect(explored.tiles(page).first).to_be_visible()
    late[0].fulfill(json={**late[0].fetch().json(), "map_points": 0})
    expect(page.get_by_role("link", name="Map", exact=True)).to_be_hidden()
    page.route("**/ann/1003?*index=other", lambda route: late.append(route))
    page.get_by_label("Index").select_option("other")
    expect(page.get_by_role("link", name="Map", exact=True)).to_be_visible()


def test_a_map_that_comes_late_takes_the_place_of_no_other(explorer: Explorer) -> None:
    page = explorer.page
    late: list[Route] = []
    page.route("**/ann/map", lambda route: late.append(route))
    page.route(
        "**/ann/map?*", lambda route: route.fulfill(json={"generation": "", "logo_ids": [1], "x": [1], "y": [1]})
    )
    page.goto(explorer.base)
    while not late:
        page.wait_for_timeout(50)
    page.get_by_label("Index").select_option("other")
    expect(page.locator(".map")).to_have_attribute("data-points", "1")
    with page.expect_response("**/ann/map"):
        late[0].continue_()
    page.wait_for_timeout(200)
    expect(page.locator(".map")).to_have_attribute("data-points", "1")


@pytest.fixture
def touched(browser: Browser, small: Service) -> Iterator[Explorer]:
    """The explorer on a phone."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    explorer = Explorer(context.new_page(), f"http://127.0.0.1:{small.port}")
    yield explorer
    context.close()
    assert explorer.complaints == []


def test_a_finger_sees_the_logo_before_it_opens_it(touched: Explorer) -> None:
    page = touched.open()
    expect(page.locator(".map[data-painted]")).to_be_visible()
    page.locator(".area").scroll_into_view_if_needed()
    area = page.locator(".area").bounding_box()
    assert area is not None
    left, top = _places_on_map(page)["1003"]
    page.touchscreen.tap(area["x"] + left, area["y"] + top)
    expect(page.locator(".tip .id")).to_have_text("1003")
    assert page.url.endswith("/")
    page.locator(".tip a").tap()
    expect(page.get_by_role("heading", level=1)).to_have_text("Logo 1003")


def test_two_fingers_zoom_the_map(touched: Explorer) -> None:
    page = touched.open()
    drawn_map = page.locator(".map")
    all_points = drawn_map.get_attribute("data-points")
    expect(drawn_map).to_have_attribute("data-painted", all_points or "")
    page.locator(".area").scroll_into_view_if_needed()
    area = page.locator(".area").bounding_box()
    assert area is not None
    x, y = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    session = page.context.new_cdp_session(page)
    for kind, apart in [("touchStart", 20), ("touchMove", 60), ("touchMove", 120), ("touchEnd", None)]:
        fingers = [] if apart is None else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    expect(drawn_map).not_to_have_attribute("data-painted", all_points or "")
    assert int(drawn_map.get_attribute("data-painted") or 0) < int(all_points or 0)


def _places_on_map(page: Page) -> dict[str, list[float]]:
    """Where each logo is on the map's area when the map shows all, in pixels."""
    places: dict[str, list[float]] = page.evaluate(
        """async () => {
          const [{ fitted, toScreen }, service] = await Promise.all([
            import("/explorer/camera.js"), import("/explorer/service.js"),
          ]);
          const { ids, x, y } = await service.map(null);
          const { clientWidth: width, clientHeight: height } = document.querySelector(".area");
          const camera = fitted(x, y, { width, height });
          return Object.fromEntries(ids.map((id, i) => [id, toScreen(camera, { width, height }, x[i], y[i])]));
        }"""
    )
    return places
