"""The browser of the tests itself: that it shows a page, and keeps nothing from one test to the next."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page


@pytest.mark.parametrize("_", ["first", "second"])
def test_each_page_begins_with_nothing(browser_page: Page, _: str) -> None:
    browser_page.route(
        "http://page.test/", lambda route: route.fulfill(content_type="text/html", body="<h1>Hello</h1>")
    )
    browser_page.goto("http://page.test/")
    assert browser_page.inner_text("h1") == "Hello"
    assert browser_page.evaluate("localStorage.length") == 0
    browser_page.evaluate("localStorage.setItem('left', 'behind')")
