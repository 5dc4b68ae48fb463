"""How fast and how rightly logos are named in the explorer: a session of real clicks on labelled photos.

    python -m benchmarks.naming FOLDER [--named 5] [--minutes 5] [--pace 1]

FOLDER is as `benchmarks.labelled_photos` describes it. A service gets all its logos, and the names of a few of each
brand; the other names are hidden. Then a mouse and a keyboard work on the page in Chromium, no faster than a person.
For one brand after another, they search for the name, select the logos that the page calls likely, and name them, until
time is up or nothing is likely any more. Nobody looks at the pictures, so this measures how far the page can be
trusted. In the end, the names that were given are compared with the hidden ones.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import requests
from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.labelled_photos import LabelledPhotos
from tests.browser.chromium import NoChromiumError, find_chromium, launch
from tests.browser.explored import names_in
from tests.end_to_end.service import Service, manage
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE

LABEL = "Name for the selected logos"
MOST_ROUNDS = 10  # of one brand: each makes other logos likely


@dataclass
class Hand:
    """A mouse and a keyboard that act no faster than a person.

    Attributes:
        page: what they act on.
        pace: seconds from one action to the next, at least.
        actions: number of clicks, and of texts typed with their Enter.
    """

    page: Page
    pace: float
    actions: int = 0

    def search(self, name: str) -> None:
        """Type a name into the search field, and press Enter."""
        self.page.get_by_role("combobox", name="Logo id").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", level=1)).to_have_text(name)
        expect(self.page.locator("main")).to_have_attribute("aria-busy", "false")
        self._rest()

    def press(self, button: str) -> None:
        """Click a button."""
        self.page.get_by_role("button", name=button).click()
        self._rest()

    def _rest(self) -> None:
        self.actions += 1
        self.page.wait_for_timeout(1000 * self.pace)


def name_all(page: Page, brands: list[str], seconds: float, pace: float) -> Hand:
    """Name the likely logos of each brand, for so many seconds at most."""
    hand, end = Hand(page, pace), time.monotonic() + seconds
    for brand in brands:
        hand.search(brand)
        for _ in range(MOST_ROUNDS):
            page.wait_for_load_state("networkidle")  # the votes on the candidates have come
            likely = page.locator(".item.likely").count()
            if not likely or time.monotonic() > end:
                break
            hand.press("Select the likely ones")
            expect(page.get_by_label(LABEL)).to_have_value(brand)
            hand.press("Name it" if likely == 1 else "Name them")
            expect(page.locator(".selection .told")).to_contain_text(f"named {brand}")
    return hand


@contextlib.contextmanager
def labelled_service(labelled: LabelledPhotos, named: int, seed: int, directory: Path) -> Iterator[Service]:
    """Start a service with all logos of a folder, and the names of some of each brand."""
    photos = {f"/{name}": (labelled.folder / "photos" / name).read_bytes() for name in set(labelled.photos)}
    of_photo, of_brand = defaultdict(list), defaultdict(list)
    for logo in labelled.logos:
        of_photo[logo.photo].append({"id": logo.logo_id, "bounding_box": logo.box})
        of_brand[logo.brand].append(logo.logo_id)
    dice = random.Random(seed)
    known = {i: brand for brand, ids in of_brand.items() for i in dice.sample(ids, min(named, len(ids)))}
    with PhotoServer(photos) as server, Service(directory / "data") as service:
        for photo, logos in of_photo.items():
            answer = service.post("/add", {"image_url": server.url(f"/{photo}"), "logos": logos})
            answer.raise_for_status()
        built = manage(service.data_dir, "generate-index")
        if built.returncode:
            raise click.ClickException(built.stderr)
        changes = [{"id": i, "attributes": {"value": brand}} for i, brand in known.items()]
        requests.put(service.url("/attributes"), json={"logos": changes}, timeout=PATIENCE).raise_for_status()
        yield service


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--named", default=5, show_default=True, help="Logos of each brand whose names are not hidden.")
@click.option("--minutes", default=5.0, show_default=True, help="How long the session lasts, at most.")
@click.option("--pace", default=1.0, show_default=True, help="Seconds from one action to the next, at least.")
@click.option("--seed", default=1, show_default=True, help="Which names are not hidden.")
def main(folder: Path, named: int, minutes: float, pace: float, seed: int) -> None:
    """Name the logos of FOLDER on the page, and compare the names with the true ones."""
    try:
        find_chromium()
    except NoChromiumError as error:
        raise click.ClickException(str(error)) from error
    labelled = LabelledPhotos.read(folder)
    truth = {logo.logo_id: logo.brand for logo in labelled.logos}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = stack.enter_context(labelled_service(labelled, named, seed, directory))
        known = names_in(service)
        browser = launch(stack.enter_context(sync_playwright()))
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{service.port}/")
        started = time.monotonic()
        hand = name_all(page, sorted(set(labelled.brands)), 60 * minutes, pace)
        took = time.monotonic() - started
        given = {i: name for i, name in names_in(service).items() if i not in known}
    right = sum(truth[i] == name for i, name in given.items())
    hidden = len(truth) - len(known)
    click.echo("| names known before | hidden | named | right | actions | time |")
    click.echo("|---|---|---|---|---|---|")
    click.echo(
        f"| {len(known)} | {hidden} | {len(given)} | {right} ({right / max(1, len(given)):.1%}) | {hand.actions} |"
        f" {took / 60:.1f} min |"
    )


if __name__ == "__main__":
    main()
