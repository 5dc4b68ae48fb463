"""Debian's Chromium without a window, for the tests and the benchmarks of the pages."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

PROGRAMS = ("chromium-headless-shell", "chromium")
"""Debian's packages, the better one first: the shell draws no windows, and takes 0.6 of the other's processor time."""

FLAGS = [
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoChromiumError(Exception):
    """No Chromium is installed."""


def find_chromium() -> str:
    """Return the path of Chromium's program.

    Raises:
        NoChromiumError: none is on the PATH.
    """
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise NoChromiumError(f"no Chromium on the PATH: apt-get install {PROGRAMS[0]}")
    return found


def launch(playwright: Playwright) -> Browser:
    """Start Chromium.

    Raises:
        NoChromiumError: see `find_chromium`.
    """
    return playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
