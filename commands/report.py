"""`stats` and `verify`: show what is stored and indexed, and check it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from commands import attributes
from commands.shell import INDEX, definition_of, open_store, progress
from index.errors import IndexDamagedError
from index.files.audit import audit
from index.files.generations import index_directories, list_generations
from index.map.map_file import MapFile
from index.protocol import Catalog
from runtime.collections import has_own_store, open_collection_catalog
from runtime.engines import open_engine
from settings import Settings

_IDS_AT_ONCE = 8192


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@INDEX
@click.pass_obj
def stats(settings: Settings, index: str | None, as_json: bool) -> None:
    """Show what is stored and indexed, the model that made it, and its size."""
    definition = definition_of(settings, index)
    with open_store(settings, index) as store:
        catalog: Catalog
        if definition is None:
            catalog = open_engine(settings, store).catalog
            unknown = "unknown (a store of the original)"
        else:
            catalog = open_collection_catalog(settings, definition, store)
            unknown = "none: clients send vectors"
        file = store.path.stat()
        logos = len(store)
        report: dict[str, Any] = {
            "store": {
                "path": str(store.path),
                "logos": logos,
                "capacity": store.capacity,
                "dim": store.dim,
                "metric": "euclidean" if definition is None else definition.metric,
                "model": store.stamp.name or unknown,
                "weights": store.stamp.digest or "unknown",
                "bytes_on_disk": file.st_blocks * 512,
                "bytes_with_holes": file.st_size,
            },
            "attributes": attributes.report(store.path),
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
    for title, values in ({"store": report["store"], "attributes": report["attributes"]} | report["indexes"]).items():
        if values is None:
            continue
        click.echo(title)
        for key, value in values.items():
            shown = ", ".join(value) if isinstance(value, (list, dict)) else value
            click.echo(f"  {key.replace('_', ' '):18} {'-' if shown in (None, '') else shown}")


@click.command()
@INDEX
@click.pass_obj
def verify(settings: Settings, index: str | None) -> None:
    """Check every row of the store, its attributes, and every file of the indexes against its checksum.

    Names everything that is damaged, and exits with 1.
    """
    damages = []
    definition = definition_of(settings, index)
    with open_store(settings, index) as store:
        path, dim, logos = store.path, store.dim, len(store)
        with progress("checking logos", logos) as advance:
            damages += [
                f"{path}: row {row.row}, logo {row.logo_id}, "
                + ("is damaged" if row.embedding else "has damaged provenance; its vector is good")
                for row in store.verify(advance)
            ]
    click.echo(f"{path}: {logos} logos checked")
    damages += attributes.faults(path)
    if definition is None:
        index_dirs = [path for path in index_directories(settings.data_dir) if not has_own_store(path)]
    else:
        index_dirs = [settings.data_dir / definition.name]
    with progress("checking bytes of indexes", None) as advance:
        for directory, trouble in audit(index_dirs, dim=dim, progress=advance):
            if trouble is None:
                click.echo(f"{directory}: good")
            else:
                damages.append(trouble)
    for damage in damages:
        click.echo(damage, err=True)
    if settings.engine == "milvus" and definition is None:
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
