"""The explorer's figures: they come out, and the page stays as light as it is said to be."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.explorer import measure_frames, measure_load, report, report_frames
from tests.browser.explored import MANY
from tests.end_to_end.service import Service

MOST_BYTES = 80 * 1024  # of its files, as sent


def test_a_visit_is_measured(browser: Browser, large: Service) -> None:
    load = measure_load(browser, f"http://127.0.0.1:{large.port}/")
    assert 10 < load.requests < 60
    assert 10_000 < load.transferred < MOST_BYTES < load.raw
    assert load.answers > 10_000  # the map
    assert 0 < load.first_paint <= load.interactive
    assert load.first_paint <= load.shown
    assert report("start", load).count("|") == 9


def test_the_frames_of_the_map_are_measured(browser: Browser, large: Service, tmp_path: Path) -> None:
    points, frames = measure_frames(browser, f"http://127.0.0.1:{large.port}/", 1, tmp_path, steps=30)
    assert points == MANY
    assert len(frames.gaps) > 10
    assert len(frames.work) > 5
    assert 0 < frames.gap(0.5) <= frames.gap(0.95)
    assert report_frames(points, 1, frames).count("|") == 8
