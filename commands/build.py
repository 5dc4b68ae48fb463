"""`generate-index` and `export-model`: what is built from the store and from weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from commands.build_milvus import build_in_milvus
from commands.shell import BUSY, open_store, progress, rewrite
from embeddings.model.convert import export_in_child_process
from embeddings.model.description import MODEL_NAMES
from embeddings.store.layout import inspect
from embeddings.store.store import EmbeddingStore
from index.annoy.build import build_index, build_pair, estimated_size
from index.files.generations import current_generation, publish
from index.files.manifest import Manifest
from index.lists.build import build_lists
from index.lists.plan import LISTS_FROM, ListsPlan
from index.map.logo_map import add_map, earlier_map
from index.map.map_file import LogoMap
from index.map.tsne import STEPS
from index.milvus.kinds import IndexKind
from index.sample import SIZE as SAMPLE_SIZE
from index.sample import Sample
from settings import Settings

logger = logging.getLogger("manage")

TREES = 100  # of an index without lists, as the original has
KEPT_ROWS = ".kept"  # in the directory of an index


def _index_name(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (value.startswith(".") or "/" in value or not value):
        raise click.BadParameter("it takes the name of a directory in the data directory")
    return value


@click.command()
@click.argument("output", required=False, type=click.Path(path_type=Path))
@click.option("--index", "name", callback=_index_name, help="The index to build. [default: ANN_DEFAULT_INDEX]")
@click.option(
    "--tree-count",
    type=click.IntRange(1),
    help="More trees find more. [default: 12 over centres of lists, 100 over vectors]",
)
@click.option("--no-reduce", is_flag=True, help="Grow the trees over the vectors themselves, as the original does.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Threads that build. [default: all cores; 1 with --seed]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="With one job, the same bytes for the same logos.")
@click.option("--on-disk", is_flag=True, help="Build in the file itself, for stores that do not fit into memory.")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="Generations that are kept.")
@click.option("--wait/--no-wait", default=True, show_default=True, help=f"Wait for another build, or exit with {BUSY}.")
@click.option("--nice", type=click.IntRange(0, 19), default=10, show_default=True, help="0 takes no step back.")
@click.option("--fresh", is_flag=True, help="Read all logos again, also those that an earlier build has read.")
@click.option("--map/--no-map", "with_map", default=True, show_default=True, help="Draw the map of the index, too.")
@click.option(
    "--as-indexed", is_flag=True, help="With Milvus: take the very logos of the Annoy index; the others go on waiting."
)
@click.option("--dry-run", is_flag=True, help="Say what would be built, and build nothing.")
@click.pass_obj
def generate_index(
    settings: Settings,
    output: Path | None,
    name: str | None,
    tree_count: int | None,
    no_reduce: bool,
    jobs: int | None,
    seed: int | None,
    on_disk: bool,
    keep: int,
    wait: bool,
    nice: int,
    fresh: bool,
    with_map: bool,
    as_indexed: bool,
    dry_run: bool,
) -> None:
    """Build an index of all stored logos.

    Without OUTPUT, a new generation of the index is published, and a running service takes it in by itself.
    With OUTPUT, the original's pair of files, index.bin and index.txt, is written into that directory.
    With ANN_ENGINE=milvus, a collection is filled, indexed and switched to; --seed, --keep, --fresh and --map hold.
    """
    in_milvus = settings.engine == "milvus" and output is None
    for option, given in {
        "--tree-count": tree_count,
        "--no-reduce": no_reduce or None,
        "--jobs": jobs,
        "--on-disk": on_disk or None,
    }.items():
        if in_milvus and given is not None:
            raise click.UsageError(f"{option} is for Annoy; ANN_MILVUS_INDEX says how Milvus indexes")
    if as_indexed and not in_milvus:
        raise click.UsageError("--as-indexed takes ANN_ENGINE=milvus, and no OUTPUT")
    index_dir = settings.data_dir / (name or settings.default_index)
    damaged = 0
    if _is_original(settings) and not dry_run:
        rewrite(settings)  # at full speed, for services wait for it
    if nice > os.getpriority(os.PRIO_PROCESS, 0):  # queries go first
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    with open_store(settings) as store:
        if not len(store):
            logger.warning("%s holds no logos yet: there is nothing to index", settings.store_path)
            return
        if in_milvus and dry_run:
            kind = IndexKind.of(settings.milvus_index, len(store)).name
            click.echo(
                f"would index {len(store)} logos of {store.dim} values in Milvus at {settings.milvus_uri}, {kind}"
            )
            return
        if in_milvus:
            damaged = build_in_milvus(
                settings,
                store,
                index_dir,
                keep=keep,
                seed=seed or 0,
                fresh=fresh,
                as_indexed=as_indexed,
                wait=wait,
                with_map=with_map,
            )
            _refuse_damage(damaged)
            return
        in_lists = output is None and not no_reduce and len(store) >= LISTS_FROM
        plan = ListsPlan.of(len(store), store.dim, trees=tree_count)
        trees = plan.trees if in_lists else tree_count or TREES
        size = plan.estimated_size if in_lists else estimated_size(len(store), store.dim, trees)
        why = "as asked for" if output or no_reduce else f"for there are fewer than {LISTS_FROM:,}"
        reason = plan.reason if in_lists else f"{trees} trees over the vectors of {len(store):,} logos, {why}"
        logger.info("%s", reason)
        if dry_run:
            click.echo(
                f"would index {len(store)} logos of {store.dim} values with {trees} trees into"
                f" {output or index_dir}: about {size / 1e6:.0f} MB ({reason})"
            )
            return

        options: dict[str, Any] = {"trees": trees, "seed": seed, "jobs": jobs or (1 if seed is not None else -1)}
        origin = {"model_name": store.stamp.name, "weights_digest": store.stamp.digest}

        def build(write: Callable[..., Manifest], directory: Path, **more: Any) -> Manifest:
            nonlocal damaged
            snapshot = store.snapshot()  # only now: it may have waited for another build
            if write is build_lists:
                manifest = write(directory, snapshot, store.vectors, stage=progress, **options, **more)
            else:
                of_store = {"dim": snapshot.dim, "rows": len(snapshot), "on_disk": on_disk}
                with progress("reading logos", len(snapshot)) as advance:
                    manifest = write(directory, snapshot.blocks(), progress=advance, **of_store, **options, **more)
            damaged = snapshot.damaged
            return manifest

        def build_generation(directory: Path) -> Manifest:
            if in_lists:
                return build(build_lists, directory, kept_in=index_dir / KEPT_ROWS, fresh=fresh, **origin)
            sample = Sample(*store.snapshot().sample(SAMPLE_SIZE, seed or 0))
            return build(build_index, directory, sample=sample, **origin)

        if output is not None:
            manifest = build(build_pair, output, wait=wait)
            logger.info("wrote %d logos to %s", manifest.items, output)
            if current_generation(output) is not None:
                logger.warning("%s has generations, which are served instead: leave OUTPUT out to publish one", output)
        else:
            draws = with_map and settings.map_points > 0
            # It is read now, for it may be removed with its generation.
            earlier = earlier_map(index_dir, weights_digest=store.stamp.digest) if draws else None
            generation = publish(index_dir, build_generation, keep=keep, wait=wait)
            if draws:
                _draw_map(generation, store, settings.map_points, earlier, seed or 0)
    _refuse_damage(damaged)


@click.command()
@click.option("--model", type=click.Choice(MODEL_NAMES), help="The model of the weights.  [default: ANN_MODEL]")
@click.option("--weights", help="bundled, imagenet, noisy-student, or a file of Keras weights.  [default: ANN_WEIGHTS]")
@click.option("--output", type=click.Path(path_type=Path), help="A directory. [default: where the service looks]")
@click.pass_obj
def export_model(settings: Settings, model: str | None, weights: str | None, output: Path | None) -> None:
    """Convert a model's weights to the runtime that serves them. Needs TensorFlow.

    imagenet and noisy-student are downloaded first, and kept in a directory downloads beside the converted files.
    """
    converted = export_in_child_process(
        model or settings.model,
        weights or settings.weights,
        output or settings.model_dir,
        timeout_seconds=settings.convert_seconds,
        weights_url=settings.weights_url,
    )
    click.echo(f"wrote {converted.path}, weights {converted.description.weights_digest[:12]}")


def _refuse_damage(rows: int) -> None:
    if rows:
        raise click.ClickException(f"{rows} damaged rows were left out: see `manage.py verify`")


def _draw_map(generation: Path, store: EmbeddingStore, max_points: int, earlier: LogoMap | None, seed: int) -> None:
    """Put a map into a generation that is published: whatever goes wrong, the build went well."""
    try:
        with progress("drawing the map", STEPS) as advance:
            add_map(generation, store.vectors, max_points=max_points, earlier=earlier, seed=seed, progress=advance)
    except Exception:
        logger.exception("%s has no map; the next one will have", generation)


def _is_original(settings: Settings) -> bool:
    layout = inspect(settings.store_path)
    return layout is not None and layout.offsets is None
