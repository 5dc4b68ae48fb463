"""The explorer's page of duplicates: groups that are kept, or of which some logos are deleted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from index.distances.survey_file import NearPairs, Survey, write_survey
from tests.browser.explored import Explorer, tiles
from tests.end_to_end.service import Service
from tests.waiting import wait_until

GROUPS = [["1001", "1002", "1003"], ["1005", "1006"]]


@pytest.fixture
def doubled(browser_page: Page, small: Service, tmp_path: Path, request: pytest.FixtureRequest) -> Explorer:
    """A service whose build found two groups of near pairs; logos can be deleted."""
    data_dir = tmp_path / "data"
    shutil.copytree(small.data_dir, data_dir, symlinks=True)
    pairs = NearPairs(np.array([[1001, 1002], [1002, 1003], [1005, 1006]]), np.array([0.0, 0.1, 0.3]))
    percentiles = np.linspace(0.2, 1.5, 101)
    write_survey((data_dir / "efficientnet-b0" / "current").resolve(), Survey(percentiles, percentiles, 21, 0.4, pairs))
    service = Service(data_dir, ANN_ALLOW_DELETE=getattr(request, "param", "1"))
    request.addfinalizer(service.kill)
    service.start()
    return Explorer(browser_page, f"http://127.0.0.1:{service.port}")


def groups_on(page: Page) -> list[list[str]]:
    groups = page.locator(".group").all()
    return [[tile.get_attribute("data-logo") or "" for tile in group.locator(".tile").all()] for group in groups]


def test_groups_are_shown_the_largest_first_up_to_a_distance(doubled: Explorer) -> None:
    page = doubled.open()
    page.get_by_role("link", name="Duplicates").click()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.locator(".state")).to_contain_text("2 groups of logos nearer than 0.40")
    expect(page.locator(".group")).to_have_count(2)
    assert groups_on(page) == GROUPS
    page.get_by_label("Largest distance").click()
    expect(page.locator(".state")).to_contain_text("1 group of logos nearer than 0.2")
    assert groups_on(page) == GROUPS[:1]
    assert "duplicates=1" in page.url
    assert "within=0.2" in page.url


def test_all_but_one_are_deleted_with_the_keyboard_if_one_is_sure(doubled: Explorer) -> None:
    page = doubled.open("/?duplicates=1")
    sure = [False, True]
    page.on("dialog", lambda dialog: dialog.accept() if sure.pop(0) else dialog.dismiss())
    page.get_by_role("button", name="Select all but the first").first.press("Enter")
    expect(page.get_by_text("2 selected")).to_be_visible()
    delete = page.get_by_role("button", name="Delete")
    delete.press("Enter")
    assert groups_on(page) == GROUPS
    delete.press("Enter")
    expect(page.locator(".group")).to_have_count(1)
    assert groups_on(page) == GROUPS[1:]
    stored = page.request.get(f"{doubled.base}/api/v1/ann/stored").json()["stored"]
    assert {1001, 1002, 1003} & set(stored) == {1001}


def test_a_group_is_kept_and_stays_so(doubled: Explorer) -> None:
    page = doubled.open("/?duplicates=1")
    page.get_by_role("button", name="Keep all").first.click()
    expect(page.locator(".group")).to_have_count(1)
    expect(page.get_by_role("button", name="Keep all")).to_be_focused()
    page.reload()
    expect(page.locator(".group")).to_have_count(1)
    assert groups_on(page) == GROUPS[1:]
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Keep all").press("Enter")
    page.reload()
    expect(page.get_by_role("heading", name="All groups are kept")).to_be_visible()


@pytest.mark.parametrize("doubled", ["0"], indirect=True)
def test_nothing_is_offered_for_deletion_where_it_is_not_allowed(doubled: Explorer) -> None:
    page = doubled.open("/?duplicates=1")
    expect(page.locator(".group")).to_have_count(2)
    expect(page.get_by_role("button", name="Select all but the first")).to_have_count(0)
    tiles(page).first.press("Space")
    expect(page.get_by_text("1 selected")).to_be_visible()
    expect(page.get_by_role("button", name="Delete")).to_be_hidden()


def test_a_deletion_that_is_refused_is_told(doubled: Explorer) -> None:
    page = doubled.open("/?duplicates=1")
    page.on("dialog", lambda dialog: dialog.accept())
    page.route("**/delete", lambda route: route.fulfill(status=507, json={"title": "store full"}))
    tiles(page).first.press("Space")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was deleted: store full")
    assert groups_on(page) == GROUPS


def test_an_index_that_was_not_measured_says_what_measures_it(explorer: Explorer) -> None:
    refusal = {"title": "no distances", "description": "The distances of this index were not measured."}
    explorer.page.route("**/duplicates?*", lambda route: route.fulfill(status=404, json=refusal))
    page = explorer.open("/?duplicates=1")
    expect(page.locator(".notice")).to_contain_text("Duplicates are not known yet")
    expect(page.locator(".notice")).to_contain_text("generate-index")


def test_a_build_without_near_pairs_has_no_duplicates(explorer: Explorer, small: Service) -> None:
    found = small.get("/duplicates?max_distance=0").json()
    assert found["groups"] == []
    page = explorer.open("/?duplicates=1&within=0.000001")
    expect(page.get_by_role("heading", name="No duplicates")).to_be_visible()
    wait_until(lambda: page.locator(".state").inner_text().startswith("0 groups"))
