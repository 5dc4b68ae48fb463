"""Write photos into a folder, with a list of their logos, for trying out the service.

    python -m demo.draw FOLDER [--photos 36] [--seed 1]

It writes `photos/*.jpg` and `logos.jsonl`, with one `{"logo_id", "photo", "brand", "bounding_box"}` per line.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from demo.photos import make_photos


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--photos", "count", type=click.IntRange(6, 500), default=36, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Another seed draws other photos.")
def main(folder: Path, count: int, seed: int) -> None:
    """Draw product photos of invented brands into FOLDER."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    lines = []
    for photo in make_photos(count, seed):
        (folder / "photos" / photo.name).write_bytes(photo.jpeg)
        lines += [
            {
                "logo_id": logo.logo_id,
                "photo": photo.name,
                "brand": logo.brand.name,
                "bounding_box": [round(x, 4) for x in logo.box],
            }
            for logo in photo.logos
        ]
    (folder / "logos.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    click.echo(f"{count} photos with {len(lines)} logos are in {folder}")


if __name__ == "__main__":
    main()
