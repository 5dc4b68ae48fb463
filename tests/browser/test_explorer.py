"""The explorer in a real browser, on a real service: what a person sees of logos and their neighbours."""

from __future__ import annotations

import io
import re
import shlex

import pytest
import requests
from PIL import Image, ImageChops
from playwright.sync_api import expect

from demo.photos import Photo
from tests.browser import explored
from tests.browser.explored import Explorer, answered, crop_of, difference, shown_on, tiles
from tests.end_to_end.service import Service
from tests.waiting import PATIENCE


def test_start_shows_the_map_and_how_the_index_is(explorer: Explorer, small: Service) -> None:
    page = explorer.open()
    status = small.get("/status").json()
    facts = page.locator("#facts").inner_text()
    assert f"{status['logos_indexed']} of {status['logos_stored']} logos indexed" in facts
    assert "built just now" in facts or "minute" in facts
    assert "finds 100 % of the true nearest 10" in facts
    expect(page.locator(".map")).to_have_attribute("data-painted", str(status["map_points"]))


def test_the_age_of_an_index_is_said_in_words(explorer: Explorer) -> None:
    page = explorer.open("/?logo=none")
    said = page.evaluate(
        "async (ages) => ages.map((await import('/explorer/facts.js')).age)", [3, 60, 7199, 7200, 200_000]
    )
    assert said == ["just now", "1 minute ago", "1 hour ago", "2 hours ago", "2 days ago"]


def test_a_store_without_room_for_where_logos_were_seen_says_so(explorer: Explorer, small: Service) -> None:
    page = explorer.page
    earlier = {**small.get("/status").json(), "keeps_provenance": False}
    page.route("**/status", lambda route: route.fulfill(json=earlier))
    explorer.open()
    expect(page.locator("#facts")).to_contain_text("no photos are kept: see manage.py compact")


def test_a_logo_shows_its_neighbours_as_the_service_answers_them(explorer: Explorer, small: Service) -> None:
    shown = shown_on(explorer.open("/?logo=1003&count=12"))
    itself, *others = answered(small.get("/1003?count=13").text)
    assert itself == ("1003", "0.00")
    assert shown == others


def test_a_picture_is_what_the_box_holds_of_the_photo(explorer: Explorer, drawn: list[Photo]) -> None:
    page = explorer.open("/?logo=1003")
    photo = next(photo for photo in drawn if photo.logos[0].logo_id == 1003)
    expect(page.locator(".large .fitted")).to_have_css("opacity", "1")  # it fades in
    seen = Image.open(io.BytesIO(page.locator(".large .hole").screenshot()))
    held = crop_of(photo)
    shifted = ImageChops.offset(held, held.width // 20, 0)
    assert difference(seen, held) < 8 < 16 < difference(shifted, held)


def test_the_whole_photo_is_marked_where_the_logo_is(explorer: Explorer, drawn: list[Photo]) -> None:
    page = explorer.open("/?logo=1003")
    expect(page.locator(".photo .mark")).to_be_visible()
    sheet, mark = page.locator(".photo .sheet").bounding_box(), page.locator(".photo .mark").bounding_box()
    assert sheet is not None
    assert mark is not None
    top, left, bottom, right = next(logo.box for photo in drawn for logo in photo.logos if logo.logo_id == 1003)
    assert mark["x"] - sheet["x"] == pytest.approx(left * sheet["width"], abs=1.5)
    assert mark["y"] - sheet["y"] == pytest.approx(top * sheet["height"], abs=1.5)
    assert mark["width"] == pytest.approx((right - left) * sheet["width"], abs=1.5)
    assert mark["height"] == pytest.approx((bottom - top) * sheet["height"], abs=1.5)


def test_one_clicks_from_neighbour_to_neighbour_and_goes_back(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    first = shown_on(page)[0][0]
    tiles(page).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Logo {first}")
    assert page.url.endswith(f"/?logo={first}")
    second = shown_on(page)[1][0]
    tiles(page).nth(1).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Logo {second}")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Logo {first}")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Logo 1003")
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Logo {first}")


def test_going_back_finds_the_place_that_one_left(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    page.wait_for_load_state("networkidle")
    left_at = page.evaluate("(scrollTo(0, 1e6), scrollY)")
    assert left_at > 100
    tiles(page).last.evaluate("(tile) => tile.click()")
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Logo 1003")
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Logo 1003")
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")
    assert page.evaluate("scrollY") == pytest.approx(left_at, abs=2)


def test_random_takes_one_to_some_logo(explorer: Explorer) -> None:
    page = explorer.open()
    page.get_by_role("button", name="Random logo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Logo \d+"))
    expect(tiles(page).first).to_be_visible()


def test_how_many_are_shown_can_be_chosen_and_is_in_the_address(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    page.get_by_label("How many").select_option("12")
    expect(tiles(page)).to_have_count(12)
    assert page.url.endswith("/?logo=1003&count=12")


def test_another_index_can_be_chosen_and_is_in_the_address(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    page.get_by_label("Index").select_option("other")
    expect(page).to_have_url(re.compile(r"/\?logo=1003&index=other$"))
    expect(page.locator(".call a")).to_have_text("/api/v1/ann/1003?count=25&index=other")
    expect(tiles(page).first).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Index")).to_have_value("efficientnet-b0")


def test_an_id_beyond_what_javascript_counts_exactly_stays_itself(explorer: Explorer, small: Service) -> None:
    page = explorer.open(f"/?logo={explored.BEYOND_EXACT}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Logo {explored.BEYOND_EXACT}")
    expect(page.locator(".large .fitted")).to_be_visible()
    assert shown_on(page) == answered(small.get(f"/{explored.BEYOND_EXACT}?count=25").text)[1:]
    page = explorer.open("/?logo=1001")
    assert str(explored.BEYOND_EXACT) in dict(shown_on(page))


def test_an_id_with_zeros_before_it_is_the_same_logo(explorer: Explorer) -> None:
    page = explorer.open("/?logo=0001003")
    expect(page.get_by_role("heading", level=1)).to_have_text("Logo 1003")
    expect(page.locator(".state")).to_have_text("In the index")
    assert "1003" not in dict(shown_on(page))


def test_a_logo_that_waits_for_the_index_says_so(explorer: Explorer) -> None:
    page = explorer.open(f"/?logo={explored.WAITING}&count=12")
    expect(page.locator(".state")).to_contain_text("Not yet indexed")
    expect(tiles(page)).to_have_count(12)


def test_the_same_query_can_be_had_as_a_call_of_the_api(explorer: Explorer, small: Service) -> None:
    page = explorer.open("/?logo=1003&count=12")
    explorer.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"curl '{small.url('/1003?count=13')}'"
    assert page.locator(".call a").get_attribute("href") == small.url("/1003?count=13")


def test_an_index_may_have_any_name_that_a_directory_may(explorer: Explorer, small: Service) -> None:
    page = explorer.open("/?logo=1003&count=12")
    explorer.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("Index").select_option(explored.ODD_NAME)
    expect(tiles(page)).to_have_count(12)
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command, address = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert command == "curl"
    assert answered(requests.get(address, timeout=PATIENCE).text)[1:] == shown_on(page)
