"""The commands for the store: delete logos, compact, grow, migrate, repair, back up and restore."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from commands import attributes
from commands.shell import INDEX, definition_of, open_store, progress, rewrite, store_path_of
from embeddings.collection.directory import CollectionDirectory
from embeddings.errors import StoreError
from embeddings.maintenance.backup import CopyReport, backup_store, restore_store
from embeddings.maintenance.repair import repair_store
from embeddings.store.store import EmbeddingStore
from settings import Settings

NAMED = 20  # the most ids in one line of output

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("logo_ids", nargs=-1, type=click.IntRange(1, 2**63 - 1))
@click.option("--from", "source", type=click.File(), help="A file of ids, one per line; - is the standard input.")
@INDEX
@click.pass_obj
def delete_logos(settings: Settings, index: str | None, logo_ids: tuple[int, ...], source: TextIO | None) -> None:
    """Delete logos by id, or all ids in a file.

    Running services leave them out of answers at once. `compact` frees their space.
    """
    ids = [*logo_ids]
    for number, line in enumerate(source or [], 1):
        try:
            ids += [int(line)] if line.strip() else []
        except ValueError:
            raise click.BadParameter(
                f"line {number}: {line.strip()[:40]!r} is not a logo id", param_hint="--from"
            ) from None
    if not ids:
        raise click.UsageError("name the logos to delete, or a file of their ids with --from")
    with open_store(settings, index, writable=True) as store:
        attributes.drop_attributes(store.path, ids)
        deleted = store.delete(ids)
        attributes.drop_attributes(store.path, store.missing(deleted))  # a service may have set some meanwhile
    click.echo(f"deleted {len(deleted)} logos")
    unknown = [logo_id for logo_id in dict.fromkeys(ids) if logo_id not in set(deleted)]
    if unknown:
        click.echo(f"{len(unknown)} were not stored: {_some(unknown)}", err=True)


@click.command()
@INDEX
@click.pass_obj
def compact(settings: Settings, index: str | None) -> None:
    """Rewrite the store without its deleted and damaged rows, and its attributes. Services keep running."""
    rewrite(settings, index)
    attributes.compact(store_path_of(settings, index))


@click.command()
@click.argument("capacity", type=click.IntRange(1, 2**40))
@INDEX
@click.pass_obj
def grow(settings: Settings, index: str | None, capacity: int) -> None:
    """Rewrite the store with room for CAPACITY logos in all. Services keep running."""
    with open_store(settings, index) as store:
        if capacity <= store.capacity:
            raise StoreError(f"{store.path} already has room for {store.capacity} logos: name a larger number")
    rewrite(settings, index, capacity)


@click.command()
@click.option(
    "--capacity",
    type=click.IntRange(1, 2**40),
    help="Rows of the new store. [default: as before; from the original's layout, at least ANN_STORE_CAPACITY]",
)
@INDEX
@click.pass_obj
def migrate_store(settings: Settings, index: str | None, capacity: int | None) -> None:
    """Rewrite the store, for example from the original's layout.

    The new file replaces the old one in one step; a file in the original's layout is kept beside it. Running services
    switch to the new file.
    """
    rewrite(settings, index, capacity)


@click.command()
@click.option("--backup", type=FILE, help="Restore lost logos from this backup of the store.")
@INDEX
@click.pass_obj
def repair(settings: Settings, index: str | None, backup: Path | None) -> None:
    """Move damaged rows into a file beside the store, so that their logos can be added again.

    `verify` names the rows without changing them. Services keep running.
    """
    with open_store(settings, index) as store:
        rows = len(store)
    with progress("checking logos", rows) as advance:
        report = repair_store(store.path, backup, advance)
    if report.quarantined:
        click.echo(f"moved {len(report.quarantined)} damaged rows aside, of logos {_some(report.quarantined)}")
    elif not report.torn:
        click.echo("nothing is damaged")
    if report.torn:
        click.echo(f"repaired or removed the damaged provenance of {len(report.torn)} logos: {_some(report.torn)}")
    if report.kept_in is not None:
        click.echo(f"what could still be read is in {report.kept_in}")
    if backup is not None:
        click.echo(f"restored {len(report.restored)} logos from the backup")


@click.command()
@click.argument("target", type=FILE)
@INDEX
@click.pass_obj
def backup(settings: Settings, index: str | None, target: Path) -> None:
    """Copy the store to TARGET while services use it, and verify the copy.

    Its attributes are copied to TARGET.attributes. If TARGET is an earlier backup, it is updated; if it is the rest of
    a stopped run, the run resumes. Exits with 1 if rows are damaged.
    """
    with open_store(settings, index) as store, progress("copying and reading back", 2 * len(store)) as advance:
        report = backup_store(store.path, target, advance)
    attributes.back_up(store.path, target)
    _print_report(target, report)


@click.command()
@click.argument("source", metavar="BACKUP", type=FILE)
@click.option("--replace", is_flag=True, help="Replace an existing store, which is kept beside the new one.")
@INDEX
@click.pass_obj
def restore(settings: Settings, index: str | None, source: Path, replace: bool) -> None:
    """Restore the store and its attributes from BACKUP, and verify it. Running services switch to it.

    If rows of the backup are damaged, the others are restored, and the exit status is 1.
    """
    definition = definition_of(settings, index)
    path = settings.store_path
    if definition is not None:
        path = CollectionDirectory(settings.data_dir).store_path(definition.name)
    with (
        EmbeddingStore(source, writable=False) as saved,
        progress("copying and reading back", 2 * len(saved)) as advance,
    ):
        report = restore_store(source, path, replace=replace, progress=advance)
    if report.kept_as is not None:
        click.echo(f"the previous store is kept as {report.kept_as}")
    attributes.restore(source, path, former=report.kept_as)
    _print_report(path, report)


def _print_report(store: Path, report: CopyReport) -> None:
    click.echo(f"{store} holds {report.logos} logos; {report.copied} rows were copied")
    if report.damaged:
        raise click.ClickException(
            f"{len(report.damaged)} damaged rows were left out, of logos {_some(report.damaged)}"
        )


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "")
