"""The operator's commands. Each reads the settings, calls the rooms, and says what came of it.

They exit with 0 when all is well, with 1 when something is wrong and with 2 when they were called wrongly.
What went wrong is one line on the standard error.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from api.progress import logged_progress
from embeddings.convert import export_in_child_process
from embeddings.errors import EmbeddingsError, StoreUnavailableError
from embeddings.layout import inspect
from embeddings.rewrite import rewrite_store
from embeddings.store import EmbeddingStore
from index.audit import audit
from index.build import build_index, build_pair, estimated_size
from index.catalog import IndexCatalog
from index.errors import BuildInProgressError, SearchError
from index.generations import current_generation, list_generations, publish
from index.manifest import Manifest
from settings import Settings, SettingsError

logger = logging.getLogger("manage")

BUSY = 75  # EX_TEMPFAIL of sysexits.h: try again later


class Commands(click.Group):
    """A group whose commands end with one line instead of a traceback when a room refuses."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BuildInProgressError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(BUSY)
        except (EmbeddingsError, SearchError, SettingsError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Look after the logos of robotoff-ann and their indexes.

    The settings come from the environment, as the service's do: ANN_DATA_DIR says where the files lie.
    """
    settings = Settings.from_env()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ctx.obj = settings


def _index_name(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (value.startswith(".") or "/" in value or not value):
        raise click.BadParameter("it takes the name of a directory in the data directory")
    return value


@cli.command()
@click.argument("output", required=False, type=click.Path(path_type=Path))
@click.option("--index", "name", callback=_index_name, help="The index to build. [default: ANN_DEFAULT_INDEX]")
@click.option("--tree-count", type=click.IntRange(1), default=100, show_default=True, help="More trees find more.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Threads that build. [default: all cores; 1 with --seed]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="With one job, the same bytes for the same logos.")
@click.option("--on-disk", is_flag=True, help="Build in the file itself, for stores that do not fit into memory.")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="Generations that are kept.")
@click.option("--wait/--no-wait", default=True, show_default=True, help=f"Wait for another build, or exit with {BUSY}.")
@click.option("--dry-run", is_flag=True, help="Say what would be built, and build nothing.")
@click.pass_obj
def generate_index(
    settings: Settings,
    output: Path | None,
    name: str | None,
    tree_count: int,
    jobs: int | None,
    seed: int | None,
    on_disk: bool,
    keep: int,
    wait: bool,
    dry_run: bool,
) -> None:
    """Build an index of all stored logos.

    Without OUTPUT, a new generation of the index is published, and a running service takes it in by itself.
    With OUTPUT, the original's pair of files, index.bin and index.txt, is written into that directory.
    """
    index_dir = settings.data_dir / (name or settings.default_index)
    damaged = 0
    if _is_original(settings) and not dry_run:
        _rewrite_store(settings)
    with _open_store(settings) as store:
        if not len(store):
            logger.warning("%s holds no logos yet: there is nothing to index", settings.store_path)
            return
        if dry_run:
            click.echo(
                f"would index {len(store)} logos of {store.dim} values with {tree_count} trees into"
                f" {output or index_dir}: about {estimated_size(len(store), store.dim, tree_count) / 1e6:.0f} MB"
            )
            return

        def build(write: Callable[..., Manifest], directory: Path, **more: Any) -> Manifest:
            nonlocal damaged
            snapshot = store.snapshot()  # only now: it may have waited for another build
            with _progress("reading logos", len(snapshot)) as progress:
                manifest = write(
                    directory,
                    snapshot.blocks(),
                    dim=snapshot.dim,
                    rows=len(snapshot),
                    trees=tree_count,
                    seed=seed,
                    jobs=jobs or (1 if seed is not None else -1),
                    on_disk=on_disk,
                    progress=progress,
                    **more,
                )
            damaged = snapshot.damaged
            return manifest

        if output is not None:
            manifest = build(build_pair, output, wait=wait)
            logger.info("wrote %d logos to %s", manifest.items, output)
            if current_generation(output) is not None:
                logger.warning("%s has generations, which are served instead: leave OUTPUT out to publish one", output)
        else:
            origin = {"model_name": store.stamp.name, "weights_digest": store.stamp.digest}
            publish(index_dir, lambda directory: build(build_index, directory, **origin), keep=keep, wait=wait)
    if damaged:
        raise click.ClickException(f"{damaged} damaged rows were left out: see `manage.py verify`")


@cli.command()
@click.option(
    "--capacity",
    type=click.IntRange(1, 2**40),
    help="Room for so many logos. [default: as it is; from the original's layout, at least ANN_STORE_CAPACITY]",
)
@click.pass_obj
def migrate_store(settings: Settings, capacity: int | None) -> None:
    """Rewrite the store: from the original's layout, to another capacity, or to drop deleted logos.

    The rewritten file takes the old one's place in one step; a file of the original is kept beside it. Running
    services notice.
    """
    _rewrite_store(settings, capacity)


@cli.command()
@click.option("--weights", help="bundled, imagenet, noisy-student, or a file of Keras weights. [default: ANN_WEIGHTS]")
@click.option("--output", type=click.Path(path_type=Path), help="A directory. [default: where the service looks]")
@click.pass_obj
def export_model(settings: Settings, weights: str | None, output: Path | None) -> None:
    """Convert a model's weights to the runtime that serves them. Needs TensorFlow.

    imagenet and noisy-student are downloaded first, and kept in a directory downloads beside the converted files.
    """
    model = export_in_child_process(
        settings.model,
        weights or settings.weights,
        output or settings.model_dir,
        timeout_seconds=settings.convert_seconds,
        weights_url=settings.weights_url,
    )
    click.echo(f"wrote {model.path}, weights {model.description.weights_digest[:12]}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def stats(settings: Settings, as_json: bool) -> None:
    """Tell what is stored and indexed, by which model, and how large it is."""
    with _open_store(settings) as store:
        catalog = IndexCatalog(
            settings.data_dir, dim=store.dim, default=settings.default_index, weights_digest=store.stamp.digest
        )
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


@cli.command()
@click.pass_obj
def verify(settings: Settings) -> None:
    """Check every row of the store and every file of the indexes against its checksum.

    Exits with 1 if anything is damaged, and names it.
    """
    damages = []
    with _open_store(settings) as store:
        dim, logos = store.dim, len(store)
        with _progress("checking logos", logos) as progress:
            damages += [
                f"{settings.store_path}: row {row.row}, logo {row.logo_id}, is damaged"
                for row in store.verify(progress)
            ]
    click.echo(f"{settings.store_path}: {logos} logos checked")
    with _progress("checking bytes of indexes", None) as progress:
        for directory, trouble in audit(settings.data_dir, dim=dim, progress=progress):
            if trouble is None:
                click.echo(f"{directory}: good")
            else:
                damages.append(trouble)
    for damage in damages:
        click.echo(damage, err=True)
    if damages:
        raise click.ClickException(f"{len(damages)} damages found")


@contextmanager
def _open_store(settings: Settings) -> Iterator[EmbeddingStore]:
    if not settings.store_path.exists():
        raise StoreUnavailableError(f"there is no store at {settings.store_path}: set ANN_DATA_DIR to where it is")
    with EmbeddingStore(settings.store_path, writable=False) as store:
        yield store


def _is_original(settings: Settings) -> bool:
    layout = inspect(settings.store_path)
    return layout is not None and layout.offsets is None


def _rewrite_store(settings: Settings, capacity: int | None = None) -> None:
    layout = inspect(settings.store_path)
    if layout is not None and layout.offsets is None and capacity is None:
        capacity = max(settings.store_capacity, layout.capacity)
    with _progress("copying rows", None) as progress:
        rewrite_store(settings.store_path, capacity=capacity, progress=progress)


@contextmanager
def _progress(doing: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show progress: a bar with rate and time left on a terminal, a log line every few seconds elsewhere."""
    if not _on_a_terminal():
        yield logged_progress(doing, total)
        return
    with tqdm(desc=doing, total=total, unit_scale=True) as bar:

        def advance(done: int) -> None:
            bar.update(done)

        yield advance


def _generation_names(index_dir: Path) -> list[str]:
    try:
        return [path.name for path in list_generations(index_dir)]
    except OSError:  # the index's own error says so
        return []


def _bytes_below(directory: Path) -> int:
    size = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # a build may be removing its own
            size += path.lstat().st_blocks * 512
    return size


def _on_a_terminal() -> bool:
    return sys.stderr.isatty()


if __name__ == "__main__":
    cli()
