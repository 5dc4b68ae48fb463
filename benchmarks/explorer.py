"""How fast the explorer is: its bytes, its first paint, when it becomes usable, and the frames of its map.

    python -m benchmarks.explorer [--logos 20000] [--base http://127.0.0.1:5501]

Measured in Debian's Chromium, headless and without a GPU, with an empty cache. The processor is slowed down by
`SLOWED`, as Lighthouse does for a phone, except where the table says otherwise. Without `--base`, a service is started
on drawn logos that appear on drawn photos.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from benchmarks.explorer_data import served_logos
from tests.browser.chromium import NoChromiumError, find_chromium, launch

SLOWED = 4  # times; https://github.com/GoogleChrome/lighthouse/blob/main/docs/throttling.md
STEPS = 240  # of the mouse, while it drags the map to and fro; a quarter as many of the wheel

# Records what Chromium reports only to observers: long tasks (https://w3c.github.io/longtasks/), and when the page
# shows its content.
WATCH = """
window.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((task) => [task.startTime, task.duration])))
  .observe({ type: "longtask", buffered: true });
window.shown = new Promise((resolve) => {
  new MutationObserver((_, observer) => {
    if (!document.querySelector(".map[data-painted], .grid .tile")) return;
    observer.disconnect();
    resolve(performance.now());
  }).observe(document, { subtree: true, childList: true, attributes: true });
});
"""
FRAMES = """() => {
  window.frames_ = [];
  let last = null;
  const note = (now) => {
    if (last !== null) frames_.push(now - last);
    last = now;
    window.frameWatch = requestAnimationFrame(note);
  };
  window.frameWatch = requestAnimationFrame(note);
}"""


@dataclass(frozen=True, slots=True)
class Load:
    """One visit of a page with an empty cache; times in milliseconds since its start, sizes in bytes.

    Attributes:
        transferred: as sent, with headers; of the page's own files, and of the service's answers.
        raw: the same uncompressed, without headers.
        shown: when the map, or the first neighbour, was visible.
        interactive: the end of the last long task, or the first paint or load if they came later.
        blocked: total time of long tasks beyond 50 ms each.
    """

    requests: int
    transferred: int
    raw: int
    answers: int
    first_paint: float
    shown: float
    interactive: float
    long_tasks: int
    blocked: float


def measure_load(browser: Browser, address: str) -> Load:
    """Visit a page once."""
    with _page(browser) as (page, session):
        sent: dict[str, int] = {}
        addresses: dict[str, str] = {}
        session.on("Network.responseReceived", lambda e: addresses.update({e["requestId"]: e["response"]["url"]}))
        session.on("Network.loadingFinished", lambda e: sent.update({e["requestId"]: e["encodedDataLength"]}))
        session.send("Network.enable")
        _slow_down(session, SLOWED)
        page.add_init_script(WATCH)
        page.goto(address)
        shown = page.evaluate("shown")
        page.wait_for_load_state("networkidle")
        told: dict[str, Any] = page.evaluate(
            """() => ({
              tasks: longTasks,
              paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
              loaded: performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd,
              raw: [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
                .filter((entry) => !entry.name.includes("/api/"))
                .reduce((sum, entry) => sum + entry.decodedBodySize, 0),
            })"""
        )
    origin = address.split("/", 3)[:3]
    own = [key for key, url in addresses.items() if url.split("/", 3)[:3] == origin]
    files = [key for key in own if "/api/" not in addresses[key]]
    tasks = told["tasks"]
    return Load(
        requests=len(own),
        transferred=sum(sent.get(key, 0) for key in files),
        raw=told["raw"],
        answers=sum(sent.get(key, 0) for key in own) - sum(sent.get(key, 0) for key in files),
        first_paint=told["paint"],
        shown=shown,
        interactive=max(told["paint"], told["loaded"], *(start + length for start, length in tasks), 0),
        long_tasks=len(tasks),
        blocked=sum(length - 50 for _, length in tasks),
    )


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames while the map was dragged and zoomed.

    Attributes:
        gaps: milliseconds from one frame to the next.
        work: milliseconds of the page's script in each frame that painted.
    """

    gaps: list[float]
    work: list[float]

    def gap(self, share: float) -> float:
        """Return the gap that this share of the frames stay within."""
        return sorted(self.gaps)[min(int(share * len(self.gaps)), len(self.gaps) - 1)]

    @property
    def rate(self) -> float:
        """Frames a second."""
        return 1000 / statistics.mean(self.gaps)


def measure_frames(
    browser: Browser, address: str, slowed: int, scratch: Path, steps: int = STEPS
) -> tuple[int, Frames]:
    """Drag and zoom the map of the start page; return its number of points, and the frames."""
    with _page(browser) as (page, session):
        page.goto(address)
        page.wait_for_selector(".map[data-painted]")
        page.wait_for_load_state("networkidle")
        _slow_down(session, slowed)
        box = page.locator(".area").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        trace = scratch / f"trace-{slowed}.json"
        browser.start_tracing(page=page, path=trace, categories=["devtools.timeline"])
        page.evaluate(FRAMES)
        page.mouse.move(x, y)
        page.mouse.down()
        for step in range(steps):
            page.mouse.move(x + 120 * math.sin(step / 20), y + 60 * math.sin(step / 13))
        page.mouse.up()
        for step in range(steps // 4):
            page.mouse.wheel(0, -40 if step < steps / 8 else 40)
        gaps = page.evaluate("() => { cancelAnimationFrame(frameWatch); return frames_; }")
        points = int(page.get_attribute(".map", "data-points") or 0)
        browser.stop_tracing()
    events = json.loads(trace.read_text())["traceEvents"]
    work = [event["dur"] / 1000 for event in events if event["name"] == "FireAnimationFrame" and "dur" in event]
    return points, Frames(gaps, [each for each in work if each > 0.2])  # less is the recording of frames itself


@contextlib.contextmanager
def _page(browser: Browser) -> Iterator[tuple[Page, CDPSession]]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    yield page, context.new_cdp_session(page)
    context.close()


def _slow_down(session: CDPSession, times: int) -> None:
    session.send("Emulation.setCPUThrottlingRate", {"rate": times})


def report(name: str, load: Load) -> str:
    """Return one row of the table of visits."""
    return (
        f"| {name} | {load.requests} | {load.transferred / 1024:.1f} KB ({load.raw / 1024:.0f} KB raw) |"
        f" {load.answers / 1024:.1f} KB | {load.first_paint:.0f} ms | {load.interactive:.0f} ms | {load.shown:.0f} ms |"
        f" {load.long_tasks}, {load.blocked:.0f} ms |"
    )


def report_frames(points: int, slowed: int, frames: Frames) -> str:
    """Return one row of the table of frames."""
    gaps = f"{frames.gap(0.5):.1f} ms | {frames.gap(0.95):.1f} ms | {max(frames.gaps):.1f} ms"
    return (
        f"| {points:,} points, processor ÷ {slowed} | {len(frames.gaps)} | {frames.rate:.0f}/s | {gaps} |"
        f" {statistics.median(frames.work):.1f} ms |"
    )


@click.command()
@click.option("--logos", default=20_000, show_default=True, help="Number of logos to draw for the service.")
@click.option("--base", help="Measure the service at this address instead; it needs an index with a map.")
@click.option("--repetitions", default=5, show_default=True, help="Visits of each page; the median is shown.")
def main(logos: int, base: str | None, repetitions: int) -> None:
    """Measure the explorer and print two tables."""
    try:
        find_chromium()
    except NoChromiumError as error:
        raise click.ClickException(str(error)) from error
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        scratch = Path(directory)
        address = base or stack.enter_context(served_logos(logos, scratch / "data", click.echo))
        browser = launch(stack.enter_context(sync_playwright()))
        stack.callback(browser.close)
        logo = _some_logo(browser, address)
        click.echo(f"\nprocessor ÷ {SLOWED}, empty cache, medians of {repetitions} visits\n")
        click.echo(
            "| page | requests | its files | answers | first paint | interactive | shown | long tasks, over 50 ms |"
        )
        click.echo("|---|---|---|---|---|---|---|---|")
        for name, path in (("the start, with the map", "/"), ("a logo and its 24 nearest", f"/?logo={logo}")):
            visits = [measure_load(browser, address.rstrip("/") + path) for _ in range(repetitions)]
            click.echo(report(name, sorted(visits, key=lambda load: load.shown)[len(visits) // 2]))
        click.echo("\n| the map, dragged and zoomed | frames | rate | median | 95 % | longest | script a frame |")
        click.echo("|---|---|---|---|---|---|---|")
        for slowed in (1, SLOWED):
            points, frames = measure_frames(browser, address, slowed, scratch)
            click.echo(report_frames(points, slowed, frames))


def _some_logo(browser: Browser, address: str) -> int:
    with _page(browser) as (page, _):
        answer = page.request.get(f"{address.rstrip('/')}/api/v1/ann?count=1").json()
    logo_id: int = answer["results"][0]["logo_id"]
    return logo_id


if __name__ == "__main__":
    main()
