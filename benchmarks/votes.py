"""What the votes of neighbours are worth on labelled photos: store them by the service, then `manage.py evaluate`.

    python -m benchmarks.votes FOLDER [--k 10]

FOLDER holds `logos.jsonl`, one `{"logo_id", "photo", "brand", "bounding_box"}` a line, and `photos/`. The photos are
served on loopback, the brand is the attribute `value` of each logo, and the weights are those of the settings.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import click
import requests

from tests.end_to_end.service import Service, manage
from tests.photo_server import PhotoServer
from tests.waiting import PATIENCE


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--k", type=click.IntRange(1, 500), default=10, show_default=True, help="Neighbours that vote.")
def main(folder: Path, k: int) -> None:
    """Print the evaluation."""
    logos = [json.loads(line) for line in (folder / "logos.jsonl").read_text().splitlines()]
    photos = {f"/{path.name}": path.read_bytes() for path in (folder / "photos").iterdir()}
    with (
        tempfile.TemporaryDirectory() as scratch,
        PhotoServer(photos) as server,
        Service(Path(scratch) / "data") as service,
    ):
        for photo, of_photo in itertools.groupby(logos, key=lambda logo: logo["photo"]):
            boxes = [{"id": logo["logo_id"], "bounding_box": logo["bounding_box"]} for logo in of_photo]
            service.post("/add", {"image_url": server.url(f"/{photo}"), "logos": boxes}).raise_for_status()
        changes = [{"id": logo["logo_id"], "attributes": {"value": logo["brand"]}} for logo in logos]
        answer = requests.put(service.url("/attributes"), json={"logos": changes}, timeout=PATIENCE)
        answer.raise_for_status()
        evaluate = ["evaluate", "--attribute", "value", "--k", str(k)]
        for arguments in (["generate-index"], evaluate, [*evaluate, "--other-photos"]):
            ran = manage(service.data_dir, *arguments)
            if ran.returncode:
                raise click.ClickException(ran.stderr)
            click.echo(f"$ manage.py {' '.join(arguments)}\n{ran.stdout}")


if __name__ == "__main__":
    main()
