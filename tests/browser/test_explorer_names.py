"""The explorer with names: seen under pictures, said by neighbours, searched for, and the page of a name."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser import explored
from tests.browser.explored import Explorer, shown_on, tiles
from tests.end_to_end.service import Service


def item(page: Page, logo_id: int) -> Locator:
    """The place of a logo in a grid."""
    return page.locator(".grid .item", has=page.locator(f'[data-logo="{logo_id}"]')).first


def of_brand(brands: dict[int, str], like: int) -> list[int]:
    return [logo_id for logo_id, brand in brands.items() if brand == brands[like]]


def test_names_are_under_the_pictures_and_those_of_the_query_are_marked(
    named: Explorer, brands: dict[int, str]
) -> None:
    known = explored.half_of(brands)
    query = next(iter(known))
    page = named.open(f"/?logo={query}")
    expect(page.locator(".named")).to_have_text(known[query])
    for logo_id in (int(shown) for shown, _ in shown_on(page)):
        expect(item(page, logo_id).locator(".name")).to_have_text(known.get(logo_id, "no name"))
        same = known.get(logo_id) == known[query]
        expect(item(page, logo_id)).to_have_class(re.compile(r"\bsame\b") if same else re.compile(r"^(?!.*\bsame\b)"))
    expect(page.locator(".item.same")).to_have_count(1)


def test_neighbours_say_what_a_logo_is_and_one_takes_their_word_and_takes_it_back(
    named: Explorer, writable: Service, brands: dict[int, str]
) -> None:
    known = explored.half_of(brands)
    query = next(logo_id for logo_id in brands if logo_id not in known)
    page = named.open(f"/?logo={query}")
    verdict = page.locator(".verdict")
    expect(verdict).to_contain_text(re.compile(rf"named neighbours say: {brands[query]}, \d+ % of their vote"))
    expect(page.locator(".named")).to_have_text("No name yet")
    deciders = {logo_id for logo_id, name in known.items() if name == brands[query]}
    expect(page.locator(".item.decided")).to_have_count(len(deciders))
    assert {int(link.get_attribute("title")[5:]) for link in verdict.locator(".deciders a").all()} == deciders  # type: ignore[index]
    verdict.get_by_role("button", name=f"Name it {brands[query]}").click()
    expect(page.locator(".named")).to_have_text(brands[query])
    assert explored.names_in(writable)[query] == brands[query]
    verdict.get_by_role("button", name="Undo").press("Enter")
    expect(page.locator(".named")).to_have_text("No name yet")
    assert explored.names_in(writable) == known


def test_the_vote_is_that_of_the_named_neighbours(named: Explorer, writable: Service, brands: dict[int, str]) -> None:
    query = next(logo_id for logo_id in brands if logo_id not in explored.half_of(brands))
    page = named.open(f"/?logo={query}")
    vote = writable.get(f"/predict/{query}?attribute=value&k=20").json()
    shares = {row["value"]: row["share"] for row in vote["shares"] if row["value"] is not None}
    best = max(shares, key=lambda value: shares[value])
    percent = f"{best}, {100 * shares[best] / sum(shares.values()):.0f} %"
    expect(page.locator(".verdict")).to_contain_text(percent)


def test_without_any_name_nothing_is_said_of_names(explorer: Explorer) -> None:
    page = explorer.open("/?logo=1003")
    expect(tiles(page).first).to_be_visible()
    expect(page.locator(".verdict")).to_be_hidden()
    expect(page.get_by_text("no name", exact=True)).to_have_count(0)
    expect(page.get_by_label("Names by")).to_be_hidden()


def test_names_that_come_late_are_shown(named: Explorer, brands: dict[int, str]) -> None:
    page = named.page
    late: list[Route] = []
    page.route("**/attributes/keys", lambda route: late.append(route))
    page.goto(f"{named.base}/?logo=1001")
    expect(tiles(page).first).to_be_visible()
    expect(page.locator(".grid .name").filter(has_text=brands[1002])).to_have_count(0)
    late[0].continue_()
    expect(item(page, 1002).locator(".name")).to_have_text(brands[1002])
    expect(page.locator(".named")).to_have_text(brands[1001])


def test_a_name_is_completed_with_its_number_of_logos(named: Explorer, brands: dict[int, str]) -> None:
    page = named.open()
    name = next(iter(brands.values()))
    field = page.get_by_role("combobox", name="Logo id")
    field.fill(name[:2].lower())
    option = page.get_by_role("option", name=re.compile(f"^{name}"))
    expect(option).to_contain_text("2 logos")
    option.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    assert "value=" in page.url


def test_a_name_is_found_with_the_keyboard_alone(named: Explorer, brands: dict[int, str]) -> None:
    page = named.open()
    name = next(iter(brands.values()))
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.type(name[:2].lower())
    expect(page.locator(".options:visible li").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(page.locator('[role="option"][aria-selected="true"]')).to_contain_text(name)
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_have_count(0)
    page.keyboard.press("Enter")  # without an option, the first name that begins so
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_the_page_of_a_name_shows_its_logos_then_the_nearest_without_a_name(
    named: Explorer, writable: Service, brands: dict[int, str]
) -> None:
    known = explored.half_of(brands)
    name = next(iter(brands.values()))
    page = named.open(f"/?value={name}")
    expect(page.locator(".state")).to_have_text("2 logos have this name")
    shown = [tile.get_attribute("data-logo") for tile in page.locator(".of-value .tile").all()]
    assert shown == [str(logo_id) for logo_id in sorted(known) if known[logo_id] == name]
    answer = writable.get(f"/attributes/candidates?attribute=value&value={name}&count=24").json()["results"]
    nearest = [tile.get_attribute("data-logo") for tile in page.locator(".results .tile").all()]
    assert nearest == [str(row["logo_id"]) for row in answer]
    right = [i for i in brands if brands[i] == name and i not in known]
    for logo_id in right:
        expect(item(page, logo_id).locator(".name")).to_have_text(re.compile(rf"{name} \d+ %"))


def test_a_name_that_no_logo_has_says_so(named: Explorer) -> None:
    page = named.open()
    page.get_by_role("combobox", name="Logo id").fill("zzz")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("zzz")
    expect(page.locator(".state")).to_have_text("0 logos have this name")
    expect(page.locator(".notice")).to_contain_text("No logo without a name is near")


def test_another_attribute_can_be_chosen_and_is_in_the_address(
    named: Explorer, writable: Service, brands: dict[int, str]
) -> None:
    logo_id = next(iter(brands))
    body = {"logos": [{"id": logo_id, "attributes": {"shelf": "top, left"}}]}
    page = named.page
    assert page.request.put(writable.url("/attributes"), data=body).ok
    page = named.open(f"/?logo={logo_id}")
    expect(page.locator(".named")).to_have_text(brands[logo_id])
    page.get_by_label("Names by").select_option("shelf")
    expect(page.locator(".named")).to_have_text("top, left")
    assert page.url.endswith("&by=shelf")
    page.locator(".named a").click()
    expect(page.locator(".state")).to_have_text("1 logo has this shelf")


def test_pointing_at_the_map_tells_the_name(named: Explorer, brands: dict[int, str]) -> None:
    page = named.open()
    expect(page.locator(".map")).to_have_attribute("data-colours", str(len(set(brands.values()))))
    area = page.locator(".area")
    area.press("0")
    told = int(page.locator(".tip .id").inner_text())
    name = explored.half_of(brands).get(told)
    expect(page.locator(".tip .name")).to_have_text(name or "")
    expect(page.locator("#said")).to_have_text(f"Logo {told}, {name}" if name else f"Logo {told}")


@pytest.mark.parametrize("hostile", ['<img src=x onerror="document.title=1">', "a, b: \\ c"])
def test_a_name_may_hold_anything(named: Explorer, writable: Service, hostile: str) -> None:
    explored.name_logos(writable, {1001: hostile, explored.BEYOND_EXACT: hostile})
    page = named.open("/?logo=1001")
    expect(page.locator(".named")).to_have_text(hostile)
    page.locator(".named a").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(hostile)
    expect(page.locator(".of-value .tile")).to_have_count(2)
    ids = [tile.get_attribute("data-logo") for tile in page.locator(".of-value .tile").all()]
    assert ids == ["1001", str(explored.BEYOND_EXACT)]
    assert page.locator("[onerror]").count() == 0
