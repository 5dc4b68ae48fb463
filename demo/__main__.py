"""`python -m demo`: add photos with logos, and draw the nearest neighbours into a picture.

The demo runs the three journeys of the service, add, rebuild and query, with real processes and no network. It keeps
its files in a temporary directory, except the picture. With `--serve`, the service and the server of the photos run
until they are stopped, so that a browser can open the explorer.
"""

from __future__ import annotations

import io
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from demo.agreement import brand_agreement
from demo.contact_sheet import NeighbourCell, QueryRow, draw_contact_sheet
from demo.photos import Photo, PhotographedLogo, make_photos
from demo.service import Neighbour, Service, ServiceError
from tests.photo_server import PhotoServer

NEAREST = 4  # neighbours of each logo whose brands are compared
SHOWN = 5  # neighbours in a row of the picture


@click.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("demo-output/neighbours.png"),
    show_default=True,
    help="File of the picture.",
)
@click.option("--photos", "count", type=click.IntRange(6, 500), default=40, show_default=True, help="Number of photos.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same photos.")
@click.option("--serve", is_flag=True, help="Keep serving until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port of the service. [default: a free one]")
def main(output: Path, count: int, seed: int, serve: bool, port: int) -> None:
    """Draw photos with logos, add them, build the index, and draw the nearest neighbours of each brand."""
    for ending in (signal.SIGTERM, signal.SIGHUP):  # exit like Ctrl-C, through the `with` blocks
        signal.signal(ending, signal.default_int_handler)
    try:
        _run(output, count, seed, serve=serve, port=port)
    except (ServiceError, OSError) as error:
        raise click.ClickException(str(error)) from error


@dataclass(frozen=True, slots=True)
class CroppedLogo:
    """A logo as the service sees it: the part of the photo inside its box."""

    brand: str
    crop: Image.Image


def _run(output: Path, count: int, seed: int, *, serve: bool, port: int) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    watch = _Stopwatch()
    photos = list(make_photos(count, seed))
    logos = {
        logo.logo_id: CroppedLogo(logo.brand.name, _cropped(photo, logo)) for photo in photos for logo in photo.logos
    }
    queries = {logo.brand: logo_id for logo_id, logo in reversed(logos.items())}
    _say("photos", f"{count} drawn in {watch.lap()}: {len(logos)} logos of {len(queries)} invented brands")
    jpegs = {f"/{photo.name}": photo.jpeg for photo in photos}
    with (
        tempfile.TemporaryDirectory(prefix="robotoff-ann-demo-") as directory,
        PhotoServer(jpegs) as server,
        Service(Path(directory), port=port) as service,
    ):
        _say("service", f"{service.url} started in {watch.lap()}")
        added = sum(service.add(server.url(f"/{photo.name}"), photo.logos) for photo in photos)
        _say("add", f"{count} photos, {added} logos added in {watch.lap()}")
        service.generate_index()
        built = watch.lap()
        service.wait_for_index(next(iter(logos)))
        _say("rebuild", f"manage.py generate-index took {built}; the running service loaded it {watch.lap()} later")
        shown = {brand: service.neighbours(logo_id, 1 + SHOWN)[1:] for brand, logo_id in sorted(queries.items())}
        batch = service.batch(list(logos), 1 + NEAREST)
        _say("query", f"{len(shown)} logos one by one and {len(batch)} in a batch in {watch.lap()}")
        brands = {logo_id: logo.brand for logo_id, logo in logos.items()}
        share = brand_agreement({key: [n.logo_id for n in found] for key, found in batch.items()}, brands, NEAREST)
        summary = (
            f"{share.found:.1%} of each logo's {NEAREST} nearest have its brand"
            f" (by chance {share.chance:.1%}, at best {share.best:.1%})"
        )
        _say("result", summary)
        _print_table(shown, brands)
        rows = [_row(logos, queries[brand], found) for brand, found in shown.items()]
        draw_contact_sheet("Which known logos look most like this one?", summary, rows).save(output)
        click.echo(f"\nThe picture is {output}")
        if serve:
            click.echo(f"The service runs at {service.root}/ until Ctrl-C")
            with suppress(KeyboardInterrupt):
                threading.Event().wait()


class _Stopwatch:
    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> str:
        """Return the time of the lap, and start the next."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"


def _say(step: str, what: str) -> None:
    click.echo(f"{step:<9}{what}")


def _cropped(photo: Photo, logo: PhotographedLogo) -> Image.Image:
    with Image.open(io.BytesIO(photo.jpeg)) as picture:
        top, left, bottom, right = logo.box
        width, height = picture.size
        return picture.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))


def _print_table(shown: Mapping[str, Sequence[Neighbour]], brands: Mapping[int, str]) -> None:
    click.echo(f"\n{'query':<10}its nearest logos and their distances")
    for brand, found in shown.items():
        cells = (f"{brands[neighbour.logo_id]:<9}{neighbour.distance:>6.2f}" for neighbour in found)
        click.echo(f"{brand:<10}" + "   ".join(cells))


def _row(logos: Mapping[int, CroppedLogo], query_id: int, found: Sequence[Neighbour]) -> QueryRow:
    query = logos[query_id]
    cells = tuple(
        NeighbourCell(
            logos[neighbour.logo_id].crop,
            f"{neighbour.distance:.2f}  {logos[neighbour.logo_id].brand}",
            logos[neighbour.logo_id].brand == query.brand,
        )
        for neighbour in found
    )
    others = sum(logo.brand == query.brand for logo in logos.values()) - 1
    remark = f"{sum(cell.same_brand for cell in cells)} of {min(others, SHOWN)} found"
    return QueryRow(query.brand, remark, query.crop, f"logo {query_id}", cells)


if __name__ == "__main__":
    main()
