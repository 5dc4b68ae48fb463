"""What a distance means, what is downloaded, two logos side by side, images by address, and the latest queries."""

from __future__ import annotations

import csv
import json
import re

import pytest
from playwright.sync_api import Page, expect

from demo.photos import Photo
from tests.browser import explored
from tests.browser.explored import Explorer, answered, shown_on, tiles
from tests.end_to_end.service import Service
from tests.photo_server import PhotoServer


def visible(page: Page) -> list[str]:
    """The ids of the tiles that are not hidden."""
    expect(tiles(page).first).to_be_attached()
    return [tile.get_attribute("data-logo") or "" for tile in page.locator(".grid .item:not([hidden]) .tile").all()]


def test_distances_lie_between_the_same_picture_and_any_two_logos(explorer: Explorer, small: Service) -> None:
    page = explorer.open("/?logo=1003")
    shown = shown_on(page)
    far = small.get("/distances").json()["any_two"][50]
    expect(page.locator(".scale")).to_contain_text("Same picture")
    expect(page.locator(".scale")).to_contain_text("As far as any two logos")
    expect(page.locator(".scale .ticks i")).to_have_count(len(shown))
    first = page.locator(".grid .length i").first
    width = float((first.get_attribute("style") or "").split("width: ")[1].rstrip("%; "))
    assert width == pytest.approx(min(100, 100 * float(shown[0][1]) / far), abs=1)
    expect(page.locator(".grid .length").first).to_have_attribute("title", re.compile(r"nearer than|nearly the same"))


def test_a_cut_off_hides_what_is_farther_and_is_in_the_address(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    shown = shown_on(page)
    slider = page.get_by_label("Largest distance")
    slider.click()
    cut = float(re.search(r"within=([\d.]+)", page.url)[1])  # type: ignore[index]
    near = [logo_id for logo_id, distance in shown if float(distance) <= cut + 0.006]
    assert set(visible(page)) <= set(near)
    expect(page.locator(".scale .told")).to_contain_text(f"{len(visible(page))} of {len(shown)} within")
    page.reload()
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")
    assert set(visible(page)) <= set(near)
    tiles(page).first.click()
    assert f"within={cut:g}" in page.url


def test_the_cut_off_is_moved_with_the_keyboard(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    everything = visible(page)
    slider = page.get_by_label("Largest distance")
    slider.focus()
    page.keyboard.press("Home")
    assert visible(page) == []
    expect(slider).to_have_attribute("aria-valuetext", re.compile(f"0 of {len(everything)} within"))
    page.keyboard.press("End")
    assert visible(page) == everything
    assert "within" not in page.url


def test_all_are_shown_whatever_the_largest_distance(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    expect(tiles(page).first).to_be_visible()
    told = page.evaluate("""async () => {
      const { scaleBar } = await import("/explorer/scale.js");
      const ends = Array.from({ length: 500 }, (_, i) => 0.37 + i * 0.0917);
      const bar = (end) => scaleBar({ far: end / 2, percentiles: [] }, [end / 3, end], null, () => {}, () => {});
      return [...new Set(ends.map((end) => bar(end).querySelector(".told").textContent))];
    }""")
    assert told == ["All shown"]


def test_an_index_that_was_not_measured_has_no_scale(explorer: Explorer) -> None:
    explorer.page.route("**/distances", lambda route: route.fulfill(status=404, json={"title": "no distances"}))
    page = explorer.open("/?logo=1003")
    expect(tiles(page).first).to_be_visible()
    expect(page.locator(".scale")).to_have_count(0)
    expect(page.locator(".grid .length")).to_have_count(0)


def test_what_is_shown_is_downloaded(named: Explorer, writable: Service, brands: dict[int, str]) -> None:
    explored.name_logos(writable, {explored.BEYOND_EXACT: '=1+1, "quoted"', **explored.half_of(brands)})
    page = named.open("/?logo=1001")
    shown = shown_on(page)
    with page.expect_download() as as_json:
        page.get_by_role("button", name="JSON").click()
    found = json.loads(as_json.value.path().read_text())
    assert as_json.value.suggested_filename == "logos-like-1001.json"
    assert [(str(row["logo_id"]), f"{row['distance']:.2f}") for row in found] == shown
    origin = writable.get("/provenance?logo_ids=1002").json()["provenance"]["1002"]
    of_one = next(row for row in found if row["logo_id"] == 1002)
    assert (of_one["name"], of_one["image_url"]) == (brands[1002], origin["image_url"])
    assert of_one["bounding_box"] == pytest.approx(origin["bounding_box"])
    with page.expect_download() as as_csv:
        page.get_by_role("button", name="CSV").press("Enter")
    rows = list(csv.DictReader(as_csv.value.path().read_text().splitlines()))
    assert [row["logo_id"] for row in rows] == [logo_id for logo_id, _ in shown]
    assert rows[[row["logo_id"] for row in rows].index(str(explored.BEYOND_EXACT))]["name"] == '\'=1+1, "quoted"'


def test_two_logos_are_compared_side_by_side(explorer: Explorer, small: Service) -> None:
    page = explorer.open("/?logo=1003")
    shown = shown_on(page)
    tiles(page).nth(2).focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.get_by_role("button", name="Compare").press("Enter")
    pair = [shown[2][0], shown[3][0]]
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Logos {pair[0]} and {pair[1]}")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.locator(".side .large .fitted")).to_have_count(2)
    between = dict(answered(small.get(f"/{pair[0]}?count=500").text))[pair[1]]
    expect(page.locator(".between")).to_contain_text(f"Distance {between}")
    page.reload()
    expect(page.locator(".between")).to_contain_text(f"Distance {between}")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Logo 1003")


def test_a_logo_that_is_unknown_cannot_be_compared(explorer: Explorer) -> None:
    page = explorer.open("/?logo=7&with=1003")
    expect(page.locator(".notice")).to_contain_text("Unknown logo")
    page = explorer.open("/?logo=1003&with=x")
    expect(page.locator(".notice")).to_contain_text("No such logo")


def test_an_image_is_searched_by_its_address(explorer: Explorer, drawn: list[Photo], drawn_photos: PhotoServer) -> None:
    address = drawn_photos.url(f"/{drawn[2].name}")
    page = explorer.open()
    page.get_by_role("combobox", name="Logo id").fill(address)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("An image of the web")
    expect(tiles(page).first).to_be_visible()
    mark = page.locator(".mark.editable")
    mark.press("ArrowRight")
    expect(page.locator(".call .code")).to_contain_text("POST /api/v1/ann/from_url")
    with page.expect_request("**/from_url") as asked:
        mark.press("ArrowRight")
    sent = json.loads(asked.value.post_data or "")
    assert sent["image_url"] == address
    assert sent["bounding_box"] == pytest.approx([0.25, 0.27, 0.75, 0.77])
    expect(tiles(page).first).to_be_visible()
    expect(mark).to_be_focused()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("An image of the web")
    expect(tiles(page).first).to_be_visible()


def test_an_address_that_is_pasted_is_searched(
    explorer: Explorer, drawn: list[Photo], drawn_photos: PhotoServer
) -> None:
    page = explorer.open()
    page.evaluate(
        """(address) => {
          const held = new DataTransfer();
          held.setData("text/plain", address);
          const event = new ClipboardEvent("paste", { clipboardData: held, bubbles: true });
          document.querySelector("main").dispatchEvent(event);
        }""",
        drawn_photos.url(f"/{drawn[2].name}"),
    )
    expect(page.get_by_role("heading", level=1)).to_have_text("An image of the web")


def test_an_address_without_an_image_says_why(explorer: Explorer, drawn_photos: PhotoServer) -> None:
    page = explorer.open(f"/?url={drawn_photos.url('/gone.jpg')}")
    expect(page.get_by_role("alert")).to_contain_text("The image was refused")
    expect(page.locator(".editor")).to_have_count(0)


def test_the_latest_queries_are_offered_again(explorer: Explorer) -> None:
    for logo_id in range(1001, 1013):
        explorer.open(f"/?logo={logo_id}")
    page = explorer.open("/?logo=1012")
    page.locator(".home").click()
    offered = page.locator(".queries a")
    assert offered.all_inner_texts() == [f"Logo {logo_id}" for logo_id in range(1012, 1002, -1)]
    page.get_by_role("combobox", name="Logo id").focus()
    expect(page.locator(".options:visible li")).to_have_count(10)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Logo 1011")


def test_a_collection_without_pictures_shows_ids_and_names_and_says_why(named: Explorer) -> None:
    page = named.open()
    page.get_by_label("Index").select_option("vectors")
    expect(page.locator(".all")).to_have_text("All 30 logos")
    expect(page.get_by_text("There are no pictures")).to_be_visible()
    expect(page.locator(".grid.bare .tile")).to_have_count(30)
    expect(page.locator(".grid .crop").first).to_be_hidden()
    expect(tiles(page).first).to_have_text(re.compile(r"odd\s*1"))
    tiles(page).first.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Logo 1")
    expect(page.locator(".named")).to_have_text("odd")
    assert "index=vectors" in page.url
    page.get_by_label("Index").select_option("efficientnet-b0")
    expect(page.get_by_role("heading", level=1)).to_have_text("Unknown logo")


def test_a_collection_without_an_embedder_says_that_it_takes_no_images(named: Explorer, drawn: list[Photo]) -> None:
    page = named.open("/?index=vectors")
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": drawn[2].jpeg})
    expect(page.locator(".notice")).to_contain_text("This collection cannot be searched by image")
