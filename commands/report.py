"""`stats` and `verify`: show what is stored and indexed, and check it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from commands.shell import open_store, progress
from index.errors import IndexDamagedError
from index.files.audit import audit
from index.files.generations import list_generations
from index.map.map_file import MapFile
from runtime.engines import open_engine
from settings import Settings

_IDS_AT_ONCE = 8192


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def stats(settings: Settings, as_json: bool) -> None:
    """Show what is stored and indexed, the model that made it, and its size."""
    with open_store(settings) as store:
        catalog = open_engine(settings, store).catalog
        file = settings.store_path.stat()
        logos = len(store)
        report: dict[str, Any] = {
            "store": {
                "path": str(settings.store_path),
                "logos": logos,
                "capacity": store.capacity,
                "dim": store.dim,
                "model": store.stamp.name or "unknown (a store of the original)",
                "weights": store.stamp.digest or "unknown",
                "bytes_on_disk": file.st_blocks * 512,
                "bytes_with_holes": file.st_size,
            },
            "indexes": {
                status.name: {
                    "serving": status.source or None,
                    "logos": status.items,
                    "logos_not_indexed": max(0, logos - status.items),
                    "trees": status.trees,
                    "recall_at_10": None if status.recall is None else status.recall.at_10,
                    "recall_at_100": None if status.recall is None else status.recall.at_100,
                    "points_on_map": _points_on_map(status.directory),
                    "error": status.error,
                    "generations": _generation_names(settings.data_dir / status.name),
                    "bytes_on_disk": _bytes_below(settings.data_dir / status.name),
                }
                for status in catalog.status()
            },
        }
    if as_json:
        click.echo(json.dumps(report, indent=2, default=str))
        return
    for title, values in (("store", report["store"]), *report["indexes"].items()):
        click.echo(title)
        for key, value in values.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            click.echo(f"  {key.replace('_', ' '):18} {'-' if shown in (None, '') else shown}")


@click.command()
@click.pass_obj
def verify(settings: Settings) -> None:
    """Check every row of the store and every file of the indexes against its checksum.

    Names everything that is damaged, and exits with 1.
    """
    damages = []
    with open_store(settings) as store:
        dim, logos = store.dim, len(store)
        with progress("checking logos", logos) as advance:
            damages += [
                f"{settings.store_path}: row {row.row}, logo {row.logo_id}, "
                + ("is damaged" if row.embedding else "has damaged provenance; its vector is good")
                for row in store.verify(advance)
            ]
    click.echo(f"{settings.store_path}: {logos} logos checked")
    with progress("checking bytes of indexes", None) as advance:
        for directory, trouble in audit(settings.data_dir, dim=dim, progress=advance):
            if trouble is None:
                click.echo(f"{directory}: good")
            else:
                damages.append(trouble)
    for damage in damages:
        click.echo(damage, err=True)
    if settings.engine == "milvus":
        _compare_with_engine(settings)
    if damages:
        raise click.ClickException(f"{len(damages)} damages found")


def _compare_with_engine(settings: Settings) -> None:
    """Print how many stored logos Milvus lacks. That is no damage, because the store has them."""
    with open_store(settings) as store:
        index = open_engine(settings, store).catalog.get(None)
        ids = store.ids()
        with progress("asking Milvus for logos", len(ids)) as advance:
            lacking = 0
            for first in range(0, len(ids), _IDS_AT_ONCE):
                some = ids[first : first + _IDS_AT_ONCE]
                lacking += len(index.absent(some))
                advance(len(some))
    click.echo(f"{settings.milvus.uri}: {lacking} of {len(ids)} stored logos are not in it")


def _generation_names(index_dir: Path) -> list[str]:
    try:
        return [path.name for path in list_generations(index_dir)]
    except OSError:  # the error of the index already says so
        return []


def _points_on_map(directory: Path | None) -> int | None:
    if directory is None:
        return None
    with suppress(IndexDamagedError):  # `verify` names it
        file = MapFile.read(directory)
        return None if file is None else file.points
    return None


def _bytes_below(directory: Path) -> int:
    size = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # a build may be removing its files
            size += path.lstat().st_blocks * 512
    return size
