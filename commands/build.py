"""`generate-index` and `export-model`: build an index from the store, and convert weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from commands.shell import BUSY, definition_of, open_store, progress, rewrite
from embeddings.collection.directory import CollectionDirectory
from embeddings.errors import EmbeddingsError
from embeddings.model.description import MODEL_NAMES
from embeddings.store.store_path import inspect
from index.build import BuildRequest, LogoSource, build, describe
from index.distances.survey import SEARCHED
from index.errors import BuildInProgressError, SearchError
from index.unit_logos import UnitLogos
from settings import Settings

logger = logging.getLogger("manage")

NICE = 10  # lowers the priority of a build below that of queries; it costs nothing on an idle machine


def _index_name(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (value.startswith(".") or "/" in value or not value):
        raise click.BadParameter("must be the name of a directory in the data directory")
    return value


@click.command()
@click.argument("output", required=False, type=click.Path(path_type=Path))
@click.option("--index", "name", callback=_index_name, help="The index to build. [default: ANN_DEFAULT_INDEX]")
@click.option("--all", "every", is_flag=True, help="Build the default index and that of each collection.")
@click.option(
    "--tree-count",
    type=click.IntRange(1),
    help="More trees find more neighbours. [default: 12 over the centres of lists, 100 over vectors]",
)
@click.option("--no-reduce", is_flag=True, help="Grow the trees over the vectors themselves, as the original does.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Number of threads. [default: all cores; 1 with --seed]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="With one job, the same logos give the same bytes.")
@click.option("--on-disk", is_flag=True, help="Build in the file instead of in memory, for large stores.")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="Number of generations to keep.")
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help=f"Wait for a running build, or exit with {BUSY}."
)
@click.option("--fresh", is_flag=True, help="Read all logos again, including those that an earlier build kept.")
@click.option(
    "--compare",
    type=click.IntRange(0),
    default=SEARCHED,
    show_default=True,
    help="Number of logos to find duplicates of, in an index of over 100,000; 0 measures no distances.",
)
@click.option("--as-indexed", is_flag=True, help="With Milvus: index only the logos of the Annoy index.")
@click.option("--dry-run", is_flag=True, help="Say what would be built, and build nothing.")
@click.pass_obj
def generate_index(
    settings: Settings,
    output: Path | None,
    name: str | None,
    every: bool,
    tree_count: int | None,
    no_reduce: bool,
    jobs: int | None,
    seed: int | None,
    on_disk: bool,
    keep: int,
    wait: bool,
    fresh: bool,
    compare: int,
    as_indexed: bool,
    dry_run: bool,
) -> None:
    """Build an index of all stored logos: of the default store, or of the collection that --index names.

    Without OUTPUT, a new generation of the index is published, and a running service loads it by itself.
    With OUTPUT, the original's pair of files, index.bin and index.txt, is written into that directory.
    With ANN_ENGINE=milvus, a collection is filled, indexed and switched to; --seed, --keep and --fresh apply.
    """
    if every and (name or output):
        raise click.UsageError("--all takes neither --index nor OUTPUT")
    collections = CollectionDirectory(settings.data_dir)
    own_store = name is not None and collections.identity(name) is not None
    in_milvus = settings.engine == "milvus" and output is None and not own_store
    for option, given in {
        "--tree-count": tree_count,
        "--no-reduce": no_reduce or None,
        "--jobs": jobs,
        "--on-disk": on_disk or None,
    }.items():
        if in_milvus and given is not None:
            raise click.UsageError(f"{option} is for Annoy; set ANN_MILVUS_INDEX to choose the type of index in Milvus")
    if as_indexed and (every or not in_milvus):
        raise click.UsageError("--as-indexed needs ANN_ENGINE=milvus, and neither OUTPUT nor --all")
    if _is_original(settings) and not dry_run and not own_store:
        rewrite(settings)  # at normal priority, because services wait for it
    _yield_to_queries()
    request = BuildRequest(
        output or settings.data_dir / (name or settings.default_index),
        pair=output is not None,
        trees=tree_count,
        no_reduce=no_reduce,
        seed=seed,
        jobs=jobs,
        on_disk=on_disk,
        keep=keep,
        wait=wait,
        fresh=fresh,
        map_points=settings.map_points,
        compare=compare,
    )
    if every:
        damaged = _build_every(settings, request, collections.names(), dry_run=dry_run)
    elif own_store and name:
        damaged = _build_own(settings, name, request, dry_run=dry_run)
    else:
        damaged = _build_default(settings, request, as_indexed=as_indexed, dry_run=dry_run)
    if damaged:
        raise click.ClickException(f"{damaged} damaged rows were left out: see `manage.py verify`")


def _build_every(settings: Settings, request: BuildRequest, names: Sequence[str], *, dry_run: bool) -> int:
    """Build the default index and those of collections; one that fails does not keep the others from theirs.

    Raises:
        click.ClickException: some failed; each was logged.
        BuildInProgressError: those that failed are being built by others.
    """
    damaged, failed, busy = 0, [], None
    for name in [None, *names]:
        try:
            if name is None:
                damaged += _build_default(settings, request, as_indexed=False, dry_run=dry_run)
            else:
                own = replace(request, directory=settings.data_dir / name)
                damaged += _build_own(settings, name, own, dry_run=dry_run)
        except BuildInProgressError as error:
            busy = error
            logger.warning("%s", error)
        except (EmbeddingsError, SearchError, OSError) as error:
            failed.append(name or settings.default_index)
            logger.error("the index %s was not built: %s", failed[-1], error)  # noqa: TRY400 - no programming error
    if busy is not None and not failed:
        raise busy
    if failed:
        raise click.ClickException(f"not built: {', '.join(failed)}; the log says why")
    return damaged


def _build_default(settings: Settings, request: BuildRequest, *, as_indexed: bool, dry_run: bool) -> int:
    """Build an index of the default store; return how many damaged rows were left out."""
    with open_store(settings) as store:
        if not len(store):
            logger.warning("%s contains no logos yet: there is nothing to index", settings.store_path)
            return 0
        request = replace(request, model_name=store.stamp.name, weights_digest=store.stamp.digest)
        if settings.engine == "milvus" and not request.pair:
            from commands.build_milvus import build_in_milvus, describe_milvus_build

            if dry_run:
                click.echo(describe_milvus_build(settings, store))
                return 0
            return build_in_milvus(settings, store, request, as_indexed=as_indexed)
        if dry_run:
            click.echo(describe(request, store))
            return 0
        return build(request, store, progress)


def _build_own(settings: Settings, name: str, request: BuildRequest, *, dry_run: bool) -> int:
    """Build the index of a collection with a store of its own; return how many damaged rows were left out."""
    definition = definition_of(settings, name)
    with open_store(settings, name) as store:
        if not len(store):
            logger.warning("%s contains no logos yet: there is nothing to index", store.path)
            return 0
        request = replace(request, model_name=store.stamp.name, weights_digest=store.stamp.digest)
        cosine = definition is not None and definition.metric == "cosine"
        source: LogoSource = UnitLogos(store) if cosine else store
        if dry_run:
            click.echo(describe(request, source))
            return 0
        return build(request, source, progress)


@click.command()
@click.option("--model", type=click.Choice(MODEL_NAMES), help="The model of the weights.  [default: ANN_MODEL]")
@click.option("--weights", help="bundled, imagenet, noisy-student, or a file of Keras weights.  [default: ANN_WEIGHTS]")
@click.option("--output", type=click.Path(path_type=Path), help="A directory. [default: where the service looks]")
@click.pass_obj
def export_model(settings: Settings, model: str | None, weights: str | None, output: Path | None) -> None:
    """Convert the weights of a model for serving. Needs TensorFlow: pip install -r requirements.txt.

    imagenet and noisy-student are first downloaded into the directory downloads beside the converted files.
    """
    from embeddings.model.convert import export_in_child_process

    converted = export_in_child_process(
        model or settings.model.name,
        weights or settings.model.weights,
        output or settings.model_dir,
        timeout_seconds=settings.model.convert_seconds,
        weights_url=settings.model.weights_url,
    )
    click.echo(f"wrote {converted.path}, weights {converted.description.weights_digest[:12]}")


def _yield_to_queries() -> None:
    if os.getpriority(os.PRIO_PROCESS, 0) < NICE:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)


def _is_original(settings: Settings) -> bool:
    layout = inspect(settings.store_path)
    return layout is not None and layout.offsets is None
