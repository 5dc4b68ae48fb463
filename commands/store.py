"""What an operator does to the store: delete, compact, grow, migrate, repair, back up and restore."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from commands import attributes
from commands.shell import open_store, progress, rewrite
from embeddings.errors import StoreError
from embeddings.maintenance.backup import CopyReport, backup_store, restore_store
from embeddings.maintenance.repair import repair_store
from embeddings.store.store import EmbeddingStore
from settings import Settings

NAMED = 20  # ids that one line names

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("logo_ids", nargs=-1, type=click.IntRange(1, 2**63 - 1))
@click.option("--from", "source", type=click.File(), help="A file of ids, one a line; - is the standard input.")
@click.pass_obj
def delete_logos(settings: Settings, logo_ids: tuple[int, ...], source: TextIO | None) -> None:
    """Forget logos: by id, or all that a file names.

    Running services stop answering with them at once. Their room is freed by `compact`.
    """
    ids = [*logo_ids]
    for number, line in enumerate(source or [], 1):
        try:
            ids += [int(line)] if line.strip() else []
        except ValueError:
            raise click.BadParameter(
                f"line {number}: {line.strip()[:40]!r} is no logo id", param_hint="--from"
            ) from None
    if not ids:
        raise click.UsageError("name the logos to delete, or a file of them with --from")
    with open_store(settings, writable=True) as store:
        attributes.drop_attributes(store.path, ids)
        deleted = store.delete(ids)
    click.echo(f"deleted {len(deleted)} logos")
    unknown = [logo_id for logo_id in dict.fromkeys(ids) if logo_id not in set(deleted)]
    if unknown:
        click.echo(f"{len(unknown)} were not stored: {_some(unknown)}", err=True)


@click.command()
@click.pass_obj
def compact(settings: Settings) -> None:
    """Rewrite the store without its deleted and damaged rows, and its attributes. Services go on meanwhile."""
    rewrite(settings)
    attributes.compact(settings.store_path)


@click.command()
@click.argument("capacity", type=click.IntRange(1, 2**40))
@click.pass_obj
def grow(settings: Settings, capacity: int) -> None:
    """Give the store room for CAPACITY logos in all. Services go on meanwhile."""
    with open_store(settings) as store:
        if capacity <= store.capacity:
            raise StoreError(f"{settings.store_path} has room for {store.capacity} logos: name a larger number")
    rewrite(settings, capacity)


@click.command()
@click.option(
    "--capacity",
    type=click.IntRange(1, 2**40),
    help="Room for so many logos. [default: as it is; from the original's layout, at least ANN_STORE_CAPACITY]",
)
@click.pass_obj
def migrate_store(settings: Settings, capacity: int | None) -> None:
    """Rewrite the store, above all from the original's layout.

    The rewritten file takes the old one's place in one step; a file of the original is kept beside it. Running
    services notice.
    """
    rewrite(settings, capacity)


@click.command()
@click.option("--backup", type=FILE, help="Take lost logos from this backup of the store.")
@click.pass_obj
def repair(settings: Settings, backup: Path | None) -> None:
    """Put damaged rows aside, in a file beside the store, so that their logos can be added again.

    `verify` names them first. Services go on meanwhile.
    """
    with open_store(settings) as store:
        rows = len(store)
    with progress("checking logos", rows) as advance:
        report = repair_store(settings.store_path, backup, advance)
    if report.quarantined:
        click.echo(f"put {len(report.quarantined)} damaged rows aside, of logos {_some(report.quarantined)}")
    elif not report.torn:
        click.echo("nothing is damaged")
    if report.torn:
        click.echo(f"mended or removed the damaged provenance of {len(report.torn)} logos: {_some(report.torn)}")
    if report.kept_in is not None:
        click.echo(f"what could be read of them is in {report.kept_in}")
    if backup is not None:
        click.echo(f"took {len(report.restored)} logos from the backup")


@click.command()
@click.argument("target", type=FILE)
@click.pass_obj
def backup(settings: Settings, target: Path) -> None:
    """Copy the store into TARGET while services use it, and read the copy back.

    Its attributes go into TARGET.attributes. An earlier backup at TARGET is brought up to date, a run that was stopped
    goes on. Exits with 1 if rows are damaged.
    """
    with open_store(settings) as store, progress("copying and reading back", 2 * len(store)) as advance:
        report = backup_store(settings.store_path, target, advance)
    attributes.back_up(settings.store_path, target)
    _tell(f"{target} holds", report)


@click.command()
@click.argument("source", metavar="BACKUP", type=FILE)
@click.option("--replace", is_flag=True, help="Take the place of the store that is there; it is kept beside.")
@click.pass_obj
def restore(settings: Settings, source: Path, replace: bool) -> None:
    """Make the store and its attributes from BACKUP, and read it back. Running services go on with it.

    Exits with 1 if rows of the backup are damaged; the others are restored.
    """
    with (
        EmbeddingStore(source, writable=False) as saved,
        progress("copying and reading back", 2 * len(saved)) as advance,
    ):
        report = restore_store(source, settings.store_path, replace=replace, progress=advance)
    if report.kept_as is not None:
        click.echo(f"the former store is kept as {report.kept_as}")
    attributes.restore(source, settings.store_path)
    _tell(f"{settings.store_path} holds", report)


def _tell(beginning: str, report: CopyReport) -> None:
    click.echo(f"{beginning} {report.logos} logos; {report.copied} rows were copied")
    if report.damaged:
        raise click.ClickException(
            f"{len(report.damaged)} damaged rows were left out, of logos {_some(report.damaged)}"
        )


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "")
