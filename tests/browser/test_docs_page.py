"""The documentation page in a browser: it shows every operation, tries them, and asks no other host."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.openapi.toured_service import TouredService
from tests.photo_server import PhotoServer

ONE_A_METHOD = ("addLogos", "deleteLogo", "setAttributes", "countLogos")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TouredService]:
    with PhotoServer() as photos, TouredService(tmp_path_factory.mktemp("docs"), photos) as service:
        service.take_the_tour()
        yield service


@pytest.fixture
def complaints(browser_page: Page) -> list[str]:
    """What the browser's console says of the page: errors, and what its policy forbade."""
    said: list[str] = []
    browser_page.on("console", lambda message: said.append(message.text) if message.type != "log" else None)
    browser_page.on("pageerror", lambda error: said.append(str(error)))
    return said


@pytest.fixture
def requests(browser_page: Page) -> list[str]:
    """The addresses that the page asks for."""
    asked: list[str] = []
    browser_page.on("request", lambda request: asked.append(request.url))
    return asked


def open_docs(page: Page, service: TouredService, fragment: str = "") -> None:
    page.goto(service.address(f"/docs{fragment}"))
    expect(page.locator(".opblock").first).to_be_visible()


def test_page_shows_every_operation_and_asks_only_its_own_host(
    browser_page: Page, service: TouredService, complaints: list[str], requests: list[str]
) -> None:
    open_docs(browser_page, service)
    operations = [operation for path in service.document["paths"].values() for operation in path.values()]
    expect(browser_page.locator(".opblock")).to_have_count(len(operations))
    browser_page.locator(".opblock-summary-control").first.click()
    expect(browser_page.locator(".opblock-body").first).to_be_visible()
    hosts = {urlsplit(url).netloc for url in requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {f"127.0.0.1:{service.port}"}
    assert complaints == []


def test_operation_can_be_tried(browser_page: Page, service: TouredService, complaints: list[str]) -> None:
    open_docs(browser_page, service, "#/Logos/countLogos")
    browser_page.get_by_role("button", name="Execute").click()
    expect(browser_page.locator(".live-responses-table .response .microlight").first).to_contain_text('"count": 3')
    assert complaints == []


def test_page_works_where_a_proxy_has_put_it(
    browser_page: Page, service: TouredService, complaints: list[str], requests: list[str]
) -> None:
    def passed_on(route: Route) -> None:
        route.fulfill(response=route.fetch(url=route.request.url.replace("/below/", "/")))

    browser_page.route("**/below/**", passed_on)
    browser_page.goto(service.address("/below/docs#/Logos/countLogos"))
    browser_page.get_by_role("button", name="Execute").click()
    expect(browser_page.locator(".live-responses-table .response .microlight").first).to_contain_text('"count": 3')
    assert {urlsplit(url).path.split("/")[1] for url in requests if url.startswith("http")} == {"below"}
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_as_light_or_dark_as_its_reader_likes(browser_page: Page, service: TouredService, scheme: str) -> None:
    browser_page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    open_docs(browser_page, service)
    colour = browser_page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (colour == "rgb(28, 32, 34)") == (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_of_the_page_stands_out(browser_page: Page, service: TouredService, scheme: str) -> None:
    """Of one operation for each method: others have the same colours, and to look at all takes three times as long."""
    browser_page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    some = service.document
    some["paths"] = {
        path: operations
        for path, operations in some["paths"].items()
        if not {operation["operationId"] for operation in operations.values()}.isdisjoint(ONE_A_METHOD)
    }
    browser_page.route("**/openapi.json", lambda route: route.fulfill(json=some))
    open_docs(browser_page, service)
    for operation in ONE_A_METHOD:
        browser_page.locator(f"#operations-Logos-{operation} .opblock-summary-control").click()
    browser_page.locator("#operations-Logos-countLogos").get_by_role("button", name="Execute").click()
    expect(browser_page.locator(".live-responses-table .response .microlight").first).to_be_visible()
    # Buttons change their colours slowly.
    browser_page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished)).then(() => null)")
    found = Axe().run(browser_page, options={"runOnly": ["color-contrast"]})
    assert [node["html"] for rule in found.response["violations"] for node in rule["nodes"]] == []
    assert found.response["passes"]


def test_page_fits_a_phone(browser_page: Page, service: TouredService) -> None:
    browser_page.set_viewport_size({"width": 390, "height": 844})
    open_docs(browser_page, service)
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= 390


def test_page_leads_back_to_the_explorer(browser_page: Page, service: TouredService, complaints: list[str]) -> None:
    open_docs(browser_page, service)
    browser_page.get_by_role("link", name="Logo explorer").press("Enter")
    expect(browser_page.get_by_role("heading", name="Which logos look alike?")).to_be_visible()
    assert complaints == []


def test_page_leads_nowhere_where_the_explorer_is_switched_off(browser_page: Page, service: TouredService) -> None:
    without = service.document
    del without["paths"]["/"]
    browser_page.route("**/openapi.json", lambda route: route.fulfill(json=without))
    open_docs(browser_page, service)
    expect(browser_page.get_by_role("link", name="Logo explorer")).to_have_count(0)


def test_page_is_not_sent_again(browser_page: Page, service: TouredService) -> None:
    open_docs(browser_page, service)
    assert bytes_of(browser_page, "encodedBodySize") < 600_000
    browser_page.goto("about:blank")
    open_docs(browser_page, service)
    assert bytes_of(browser_page, "transferSize") < 10_000


def bytes_of(page: Page, size: str) -> int:
    """Add up a size of all that a page loaded."""
    added: int = page.evaluate(
        "size => performance.getEntriesByType('resource').reduce((sum, entry) => sum + entry[size], 0)", size
    )
    return added
