"""The explorer when there is nothing to show, something is broken, or somebody means harm."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Dialog, Page, Route, expect

from demo.photos import Photo
from index.map.logo_map import FEWEST_LOGOS
from index.map.map_file import MAP_NAME
from tests.browser import explored
from tests.browser.explored import Explorer, tiles
from tests.end_to_end.service import Service
from tests.photo_server import PhotoServer
from tests.waiting import wait_until


def test_an_empty_service_says_how_to_add_logos(empty_explorer: Explorer) -> None:
    page = empty_explorer.open()
    expect(page.get_by_role("heading", name="No logo is stored yet")).to_be_visible()
    assert f"curl {empty_explorer.base}/api/v1/ann/add" in page.locator("pre").inner_text()


def test_a_broken_index_says_why_and_what_to_do(broken_explorer: Explorer, broken: Service) -> None:
    for path in ("/", "/?logo=1003"):
        page = broken_explorer.open(path)
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("manage.py generate-index")
    answer = broken.get("/1003")
    assert answer.status_code == 503
    expect(page.get_by_role("alert")).to_contain_text(answer.json()["description"])


def test_a_damaged_newer_index_is_told_while_the_older_one_goes_on(
    browser_page: Page, small: Service, tmp_path: Path
) -> None:
    shutil.copytree(small.data_dir, tmp_path / "data", symlinks=True)
    index = tmp_path / "data" / "efficientnet-b0"
    with Service(tmp_path / "data") as service:
        newer = index / "generations" / "29990101T000000Z"
        shutil.copytree((index / "current").resolve(), newer)
        (newer / "index.bin").write_bytes(b"")
        (index / "next").symlink_to(newer.relative_to(index))
        (index / "next").rename(index / "current")
        wait_until(lambda: service.get("/status").json()["error"])
        page = Explorer(browser_page, f"http://127.0.0.1:{service.port}").open()
        expect(page.locator("#facts .bad")).to_have_text("The newer index is damaged")
        expect(page.locator(".map[data-painted]")).to_be_visible()


def test_an_unknown_logo_is_named(explorer: Explorer) -> None:
    page = explorer.open("/?logo=7")
    expect(page.get_by_role("heading", name="Unknown logo")).to_be_visible()
    expect(page.locator("main")).to_contain_text("7")


def test_an_unknown_index_is_named_and_left(explorer: Explorer) -> None:
    for path in ("/?index=nope", "/?logo=1003&index=nope"):
        page = explorer.open(path)
        expect(page.locator(".notice")).to_contain_text("There is no index named nope.")
        page.get_by_role("link", name="Search the default index").click()
        expect(page.get_by_label("Index")).to_have_value("efficientnet-b0")
        expect(page.locator(".notice")).to_have_count(0)


def test_an_index_of_the_original_is_not_said_to_get_a_map(browser_page: Page, small: Service, tmp_path: Path) -> None:
    shutil.copytree(small.data_dir, tmp_path / "data", symlinks=True)
    newest = (tmp_path / "data" / "efficientnet-b0" / "current").resolve()
    (tmp_path / "data" / "pair").mkdir()
    for name in ("index.bin", "index.txt"):
        shutil.copy(newest / name, tmp_path / "data" / "pair")
    with Service(tmp_path / "data") as service:
        many = {**service.get("/status?index=pair").json(), "logos_stored": FEWEST_LOGOS}
        browser_page.route("**/status?index=pair", lambda route: route.fulfill(json=many))
        page = Explorer(browser_page, f"http://127.0.0.1:{service.port}").open("/?index=pair")
        expect(page.locator(".notice")).to_contain_text("This index has no map")
        expect(page.locator("main")).not_to_contain_text("generate-index")


def test_a_small_index_without_a_map_shows_its_logos(browser_page: Page, small: Service, tmp_path: Path) -> None:
    shutil.copytree(small.data_dir, tmp_path / "data", symlinks=True)
    (tmp_path / "data" / "efficientnet-b0" / "current" / MAP_NAME).unlink()
    with Service(tmp_path / "data") as service:
        page = Explorer(browser_page, f"http://127.0.0.1:{service.port}").open()
        expect(page.get_by_role("heading", name="All 22 logos")).to_be_visible()
        expect(tiles(page)).to_have_count(22)
        expect(page.locator(".notice")).to_have_count(0)


def test_a_token_is_asked_for_until_it_is_right_and_then_kept(
    browser_page: Page, small: Service, tmp_path: Path
) -> None:
    shutil.copytree(small.data_dir, tmp_path / "data", symlinks=True)
    answers = ["wrong-token", "right-token"]
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept(answers[min(len(asked), len(answers)) - 1])

    browser_page.on("dialog", answer)
    with Service(tmp_path / "data", ANN_READ_TOKEN="right-token") as service:
        explorer = Explorer(browser_page, f"http://127.0.0.1:{service.port}")
        for _ in range(2):
            page = explorer.open("/?logo=1003")
            expect(page.locator("main")).to_contain_text("1003")
            expect(page.get_by_role("alert")).not_to_be_visible()
            assert asked == ["Token of this service:", "The token is wrong. Token of this service:"]
        assert not explorer.complaints


def test_what_is_no_id_is_never_asked_for(explorer: Explorer) -> None:
    for asked in ("../count", "1/../../count", "abc", "-1", "1e3", "%3Cimg%20src=x%3E"):
        page = explorer.open(f"/?logo={asked}")
        expect(page.get_by_role("heading", name="No such logo")).to_be_visible()
    asked_for = [urlsplit(request.url).path for request in explorer.requests if "/api/" in request.url]
    assert set(asked_for) <= {"/api/v1/ann/status", "/api/v1/ann/attributes/keys"}


def test_a_service_that_does_not_answer_can_be_tried_again(explorer: Explorer) -> None:
    page = explorer.open()
    page.route("**/api/**", lambda route: route.abort())
    page.get_by_label("Logo id").fill("1003")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    expect(tiles(page).first).to_be_visible()


def test_hostile_provenance_is_neither_followed_nor_read_as_markup(explorer: Explorer) -> None:
    for logo_id in (explored.HOSTILE, explored.MARKUP):
        page = explorer.open(f"/?logo={logo_id}")
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Logo {logo_id}")
        assert page.title() == f"Logo {logo_id} · Logo explorer"
        assert page.locator("[onerror]").count() == 0
        for attribute in ("href", "src"):
            for element in page.locator(f"main [{attribute}]").all():
                assert not (element.get_attribute(attribute) or "").startswith("javascript:")


def test_a_logo_without_a_picture_keeps_its_place(explorer: Explorer, drawn_photos: PhotoServer) -> None:
    page = explorer.open("/?logo=1001")
    gone = page.locator(f'.tile[data-logo="{explored.GONE}"]')
    expect(gone).to_contain_text("photo not available")
    expect(gone).to_contain_text(str(explored.GONE))
    host = drawn_photos.url("").removeprefix("http://")
    expect(page.locator(".results > .help")).to_contain_text(f"2 photos at {host} cannot be shown. Open one")
    shown_there = [drawn_photos.url(path) for path in ("/gone.jpg", quote(explored.MARKUP_PATH, safe="/=()'"))]
    expect(page.locator(".results .source")).to_have_count(1)
    assert page.locator(".results .source").get_attribute("href") in shown_there
    expect(page.locator(f'.tile[data-logo="{explored.UNSEEN}"]')).to_contain_text("no photo kept")


def test_pictures_are_shown_however_few_logos_a_request_may_name(
    browser_page: Page, small: Service, tmp_path: Path
) -> None:
    shutil.copytree(small.data_dir, tmp_path / "data", symlinks=True)
    with Service(tmp_path / "data", ANN_MAX_BATCH_LOGOS="3") as service:
        page = Explorer(browser_page, f"http://127.0.0.1:{service.port}").open("/?logo=1003")
        expect(page.locator(".grid .crop.loading")).to_have_count(0)
        expect(page.locator(".grid .fitted").first).to_be_visible()
        expect(page.get_by_text("photo not known")).to_have_count(0)


@pytest.mark.parametrize(("part", "path"), [("map", "/"), ("map", "/?logo=1003&show=map"), ("box_editor", "/")])
def test_a_part_of_the_page_that_does_not_come_is_said_to_be_missing(
    explorer: Explorer, drawn: list[Photo], part: str, path: str
) -> None:
    page = explorer.page
    page.route(f"**/{part}.js", lambda route: route.abort())
    explorer.open(path)
    if part == "box_editor":
        page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": drawn[2].jpeg})
    expect(page.get_by_role("alert")).to_contain_text("This part of the page is missing")
    assert [complaint for complaint in explorer.complaints if ".js" not in complaint] == []
    explorer.complaints.clear()
    page.unroute(f"**/{part}.js")
    if part == "map":
        page.get_by_role("button", name="Reload the page").click()
        expect(page.locator(".map[data-painted]")).to_be_visible()


def test_a_random_logo_that_comes_late_takes_nobody_away(explorer: Explorer) -> None:
    page = explorer.open()
    late: list[Route] = []
    page.route("**/api/v1/ann?count=1", lambda route: late.append(route))
    page.get_by_role("button", name="Random logo").click()
    page.get_by_label("Logo id").fill("1003")
    page.keyboard.press("Enter")
    expect(tiles(page).first).to_be_visible()
    with page.expect_response("**/api/v1/ann?count=1"):
        late[0].continue_()
    page.wait_for_timeout(200)
    assert page.url.endswith("/?logo=1003")


def test_a_random_logo_of_an_empty_service_is_said_to_be_none(empty_explorer: Explorer) -> None:
    page = empty_explorer.open("/?logo=7")
    page.get_by_role("button", name="Random logo").press("Enter")
    expect(page.get_by_role("heading", name="No logo is stored yet")).to_be_focused()


def test_an_image_that_is_gone_can_be_chosen_again(explorer: Explorer, drawn: list[Photo]) -> None:
    page = explorer.open("/?image=1")
    expect(page.get_by_role("heading", name="The image is gone")).to_be_visible()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose an image").press("Enter")
    chosen.value.set_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": drawn[2].jpeg})
    expect(page.get_by_role("heading", level=1)).to_have_text("Your image")
    expect(tiles(page).first).to_be_visible()


def test_no_box_is_offered_on_a_file_that_is_no_image(explorer: Explorer) -> None:
    page = explorer.open()
    for name, kind in (("a.png", "image/png"), ("a.pdf", "application/pdf")):
        page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": b"no image at all"})
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.locator(".editor")).to_have_count(0)
        expect(page.get_by_role("button", name="Choose an image")).to_be_visible()
