"""Naming logos on the page: selecting tiles, giving and taking names, undo, and what happens if the service refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser import explored
from tests.browser.explored import Explorer, tiles
from tests.end_to_end.service import Service


def selected(page: Page) -> list[int]:
    """The places of the selected tiles."""
    boxes = page.locator(".grid .pick").all()
    return [place for place, box in enumerate(boxes) if box.get_attribute("aria-checked") == "true"]


def ids_on(page: Page) -> list[int]:
    expect(tiles(page).first).to_be_visible()
    return [int(tile.get_attribute("data-logo") or 0) for tile in tiles(page).all()]


def pick(page: Page, place: int) -> None:
    page.locator(".grid .item").nth(place).hover()
    page.locator(".grid .pick").nth(place).click()


def test_tiles_are_selected_with_the_mouse(named: Explorer) -> None:
    page = named.open("/?logo=1003")
    everything = len(ids_on(page))
    pick(page, 1)
    expect(page.get_by_text("1 selected")).to_be_visible()
    tiles(page).nth(4).click(modifiers=["Shift"])
    assert selected(page) == [1, 2, 3, 4]
    tiles(page).nth(2).click()  # while some are selected, a click selects
    assert selected(page) == [1, 3, 4]
    page.get_by_role("button", name="Select all", exact=True).click()
    assert selected(page) == [*range(everything)]
    page.get_by_role("button", name="Done").click()
    assert selected(page) == []
    expect(page.locator(".selection")).to_have_count(0)
    tiles(page).nth(2).click()  # and now it opens
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Logo 1003")


def test_tiles_are_selected_with_the_keyboard(named: Explorer) -> None:
    page = named.open("/?logo=1003")
    everything = len(ids_on(page))
    tiles(page).nth(1).focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_text("3 selected")).to_be_visible()
    assert selected(page) == [1, 2, 3]
    page.keyboard.press("Space")
    assert selected(page) == [1, 2]
    page.keyboard.press("Control+a")
    assert selected(page) == [*range(everything)]
    page.keyboard.press("Escape")
    assert selected(page) == []
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Logo 1003")


def test_logos_are_named_and_it_is_undone_with_the_mouse(
    named: Explorer, writable: Service, brands: dict[int, str]
) -> None:
    before = explored.half_of(brands)
    page = named.open("/?logo=1003")
    ids = ids_on(page)[:3]
    pick(page, 0)
    tiles(page).nth(2).click(modifiers=["Shift"])
    field = page.get_by_label("Name for the selected logos")
    field.fill("new name")
    page.get_by_role("button", name="Name them").click()
    expect(page.locator(".selection .told")).to_contain_text("3 logos named new name.")
    assert explored.names_in(writable) == before | dict.fromkeys(ids, "new name")
    expect(tiles(page).first.locator(".name")).to_have_text("new name")
    assert selected(page) == []
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".selection .told")).to_contain_text("Undone")
    assert explored.names_in(writable) == before
    expect(tiles(page).first.locator(".name")).to_have_text(before.get(ids[0], "no name"))


def test_logos_are_named_and_it_is_undone_with_the_keyboard(
    named: Explorer, writable: Service, brands: dict[int, str]
) -> None:
    before = explored.half_of(brands)
    name = next(iter(brands.values()))
    page = named.open("/?logo=1003")
    ids = ids_on(page)[:2]
    tiles(page).first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_text("2 selected")).to_be_visible()
    field = page.get_by_label("Name for the selected logos")
    for _ in range(60):
        page.keyboard.press("Tab")
        if field.evaluate("(field) => field === document.activeElement"):
            break
    expect(field).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type(name[:3])
    expect(page.locator(".options:visible li").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(field).to_have_value(name)
    page.keyboard.press("Enter")
    expect(page.locator(".selection .told")).to_contain_text(f"2 logos named {name}.")
    assert explored.names_in(writable) == before | dict.fromkeys(ids, name)
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Control+z")
    expect(page.locator(".selection .told")).to_contain_text("Undone")
    assert explored.names_in(writable) == before


def test_a_name_is_removed(named: Explorer, writable: Service, brands: dict[int, str]) -> None:
    before = explored.half_of(brands)
    name = next(iter(brands.values()))
    page = named.open(f"/?value={name}")
    pick(page, 0)
    page.get_by_role("button", name="Remove name").click()
    expect(page.locator(".selection .told")).to_contain_text("1 logo: name removed.")
    first = min(logo_id for logo_id in before if before[logo_id] == name)
    assert explored.names_in(writable) == {i: other for i, other in before.items() if i != first}


def test_on_the_page_of_a_name_the_likely_ones_are_named_at_once(
    named: Explorer, writable: Service, brands: dict[int, str]
) -> None:
    name = next(iter(brands.values()))
    page = named.open(f"/?value={name}")
    page.get_by_role("button", name="Select the likely ones").click()
    expect(page.get_by_label("Name for the selected logos")).to_have_value(name)
    page.get_by_role("button", name="Name them").or_(page.get_by_role("button", name="Name it", exact=True)).click()
    expect(page.locator(".selection .told")).to_contain_text(f"named {name}.")
    called_so = {i for i, other in explored.names_in(writable).items() if other == name}
    assert called_so & set(brands) == {i for i, brand in brands.items() if brand == name}
    expect(page.locator(".of-value .tile")).to_have_count(len(called_so))


def test_what_the_service_refuses_changes_nothing_and_says_why(
    named: Explorer, writable: Service, brands: dict[int, str]
) -> None:
    page = named.open("/?logo=1003")
    ids_on(page)
    pick(page, 0)
    pick(page, 1)
    field = page.get_by_label("Name for the selected logos")
    field.fill("a\u2028b")
    page.get_by_role("button", name="Name them").click()
    alert = page.locator(".selection").get_by_role("alert")
    expect(alert).to_contain_text("Nothing was changed")
    expect(alert).to_contain_text("control character or line break")
    assert selected(page) == [0, 1]
    page.route("**/attributes", lambda route: route.abort())
    field.fill("new name")
    page.get_by_role("button", name="Name them").click()
    expect(alert).to_contain_text("The service does not answer")
    assert explored.names_in(writable) == explored.half_of(brands)


def test_a_logo_that_is_gone_meanwhile_is_told(named: Explorer, writable: Service) -> None:
    page = named.open(f"/?logo={explored.GONE}")
    ids = ids_on(page)
    pick(page, ids.index(explored.UNSEEN))
    page.route("**/attributes", lambda route: route.fulfill(json={"updated": 0, "unknown": [explored.UNSEEN]}))
    page.get_by_label("Name for the selected logos").fill("new name")
    page.get_by_role("button", name="Name it", exact=True).click()
    expect(page.locator(".selection .told")).to_contain_text("1 logo no longer stored")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def test_an_id_beyond_what_javascript_counts_is_named_exactly(named: Explorer, writable: Service) -> None:
    page = named.open("/?logo=1001")
    pick(page, ids_on(page).index(explored.BEYOND_EXACT))
    page.get_by_label("Name for the selected logos").fill("huge")
    page.get_by_role("button", name="Name it", exact=True).click()
    expect(page.locator(".selection .told")).to_contain_text("1 logo named huge.")
    assert explored.names_in(writable)[explored.BEYOND_EXACT] == "huge"


@pytest.mark.parametrize("answers", [["wrong-token", "write-token"], [None]])
def test_a_change_wants_the_write_token(
    browser_page: Page, small: Service, tmp_path: Path, answers: list[str | None]
) -> None:
    shutil.copytree(small.data_dir, tmp_path / "data", symlinks=True)
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        token = answers[min(len(asked), len(answers)) - 1]
        dialog.dismiss() if token is None else dialog.accept(token)

    browser_page.on("dialog", answer)
    with Service(tmp_path / "data", ANN_WRITE_TOKEN="write-token") as service:
        page = Explorer(browser_page, f"http://127.0.0.1:{service.port}").open("/?logo=1003")
        ids = ids_on(page)
        assert asked == []
        pick(page, 0)
        page.get_by_label("Name for the selected logos").fill("new name")
        page.get_by_role("button", name="Name it", exact=True).click()
        if answers == [None]:
            expect(page.locator(".selection").get_by_role("alert")).to_contain_text("Nothing was changed")
            assert explored.names_in(service) == {}
        else:
            expect(page.locator(".selection .told")).to_contain_text("1 logo named new name.")
            assert explored.names_in(service) == {ids[0]: "new name"}
            assert len(asked) == 2
