"""Progress in log lines."""

from __future__ import annotations

import logging

import pytest

from runtime import progress as module
from runtime.progress import logged_progress


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO)
    return caplog


def test_line_has_the_rate_and_the_time_left(lines: pytest.LogCaptureFixture) -> None:
    advance = logged_progress("copying rows", 100)
    advance(20)
    advance(30)
    assert "copying rows: 20 of 100 done" in lines.messages[0]
    assert "copying rows: 50 of 100 done" in lines.messages[1]
    assert "s left" in lines.messages[1]


def test_line_of_unknown_total_has_what_is_done(lines: pytest.LogCaptureFixture) -> None:
    logged_progress("copying rows")(7)
    assert "copying rows: 7 done" in lines.messages[0]


def test_lines_are_seconds_apart(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 1e6)
    logged_progress("copying rows")(7)
    assert not lines.messages
