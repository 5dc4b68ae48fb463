"""`export`, `import` and `re-embed`: move logos to and from other systems, and to another model."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from pathlib import Path

import click

from commands import attributes
from commands.attributes import attributes_of
from commands.shell import INDEX, definition_of, existing_store, open_store, progress, store_path_of
from commands.store import FILE
from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.collection.directory import CollectionDirectory
from embeddings.errors import StoreModelError
from embeddings.maintenance import parquet
from embeddings.maintenance.reembedding import (
    ReembeddingLimits,
    ReembeddingReport,
    Sources,
    forget_deleted,
    reembed,
    sources_in,
)
from embeddings.maintenance.rewrite import prepare_store
from embeddings.model.embedder import Embedder
from embeddings.store.damaged_rows import some_ids
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from runtime.collections import embedder_stamp
from runtime.startup import attribute_limits, configured_model, image_fetcher
from settings import Settings


@click.command(name="export")
@click.argument("target", metavar="FILE", type=FILE)
@click.option("--replace", is_flag=True, help="Replace an existing Parquet file.")
@INDEX
@click.pass_obj
def export_logos(settings: Settings, index: str | None, target: Path, replace: bool) -> None:
    """Write all logos into a Parquet FILE: ids, vectors, image URLs, boxes and attributes. Services keep running.

    Exits with 1 if damaged rows were left out.
    """
    with (
        open_store(settings, index) as store,
        attributes_of(store.path) as known,
        progress("exporting logos", len(store)) as advance,
    ):
        report = parquet.export_logos(store, target, attributes=known, replace=replace, progress=advance)
    click.echo(f"{target} holds {report.logos} logos, {report.with_provenance} of them with provenance")
    if report.damaged:
        raise click.ClickException(f"{report.damaged} damaged rows were left out: see `manage.py verify`")


@click.command(name="import")
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--any-model", is_flag=True, help="Assume that the store's model made the vectors, whatever FILE says.")
@INDEX
@click.pass_obj
def import_logos(settings: Settings, index: str | None, source: Path, any_model: bool) -> None:
    """Store the logos of a Parquet FILE that are not stored yet. Services keep running.

    Creates the store if there is none. After a stopped run, run it again.
    """
    rows = parquet.count_rows(source)
    definition = definition_of(settings, index)
    if definition is not None and definition.model is None:
        any_model = True  # clients made the vectors, and nobody knows how
    if not store_path_of(settings, index).exists():
        _make_store(settings, settings.store_path, rows)
    with (
        open_store(settings, index, writable=True) as store,
        progress("importing logos", rows) as advance,
        ExitStack() as files,
    ):

        @functools.cache
        def attribute_store() -> AttributeStore:  # their file is made only if there are some
            limits = attribute_limits(settings.requests)
            return files.enter_context(AttributeStore(attributes_path(store.path), limits=limits))

        report = parquet.import_logos(source, store, attributes=attribute_store, any_model=any_model, progress=advance)
    click.echo(f"{source} holds {report.logos} logos, {report.stored} of them were new")


@click.command()
@click.argument("target", metavar="STORE", type=FILE)
@click.option("--from", "source", type=FILE, help="A Parquet file of ids, image URLs and boxes, instead of the store.")
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Images fetched at once.")
@click.option(
    "--give-up-after",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="After this many failed connections in a row, this run skips the host.",
)
@INDEX
@click.pass_obj
def re_embed(
    settings: Settings, index: str | None, target: Path, source: Path | None, jobs: int, give_up_after: int
) -> None:
    """Embed all logos again, with the model that the settings name, into a new file STORE.

    Attributes are copied. A collection without an embedder cannot be embedded again: its clients have the vectors.
    Images are fetched again from their URLs. Services keep using the old store. A stopped run resumes when it is
    run again; so does a complete one, for logos that were added or failed since. STORE.failed.jsonl lists the failures.
    Exits with 1 if the new store lacks logos.
    """
    embedder = Embedder(configured_model(settings), threads=settings.workers.embed_threads)
    definition, store_path = definition_of(settings, index), settings.store_path
    if definition is not None:
        embedder_stamp(definition, embedder.description)
        store_path = CollectionDirectory(settings.data_dir).store_path(definition.name)
    limits = ReembeddingLimits(jobs, settings.images.max_pixels, give_up_after)
    failures = target.with_name(f"{target.name}.failed.jsonl")
    fetch = image_fetcher(settings.images).fetch

    def run(sources: Sources, new: EmbeddingStore, total: int) -> ReembeddingReport:
        with progress("embedding logos", total) as advance:
            return reembed(sources, new, embedder, fetch, limits=limits, failures=failures, progress=advance)

    if source is not None:
        total = parquet.count_rows(source)
        with _opened(settings, target, total) as new:
            report = run(parquet.read_provenance(source), new, total)
            logos = len(new)
    else:
        with existing_store(store_path) as store:
            _refuse_same_model(store, embedder)
            with _opened(settings, target, store.capacity) as new:
                report = run(sources_in(store, but_not_in=new), new, max(0, len(store) - len(new)))
                report.forgotten = forget_deleted(store, new)
                logos = len(new)
    click.echo(f"{target} holds {logos} logos; this run embedded {report.embedded}")
    if report.forgotten:
        click.echo(f"removed {report.forgotten} logos that were deleted from the old store")
    if source is None:
        attributes.back_up(store_path, target)
    if report.failed:
        click.echo(f"{report.failed} failed: see {failures}", err=True)
    if report.unknown:
        click.echo(f"{len(report.unknown)} have no provenance: {some_ids(report.unknown)}", err=True)
    if report.failed or report.unknown:
        raise click.ClickException(f"{target} lacks {report.failed + len(report.unknown)} logos")
    if target.resolve() != store_path.resolve():
        of = f"--index {definition.name} " if definition else ""
        click.echo(
            f"to switch to it: `manage.py restore {of}--replace {target}`, `manage.py generate-index {of}".rstrip()
            + "`, and restart the service, all with these settings"
        )


def _refuse_same_model(store: EmbeddingStore, embedder: Embedder) -> None:
    model = embedder.description
    if store.stamp == ModelStamp(model.name, model.weights_digest):
        raise StoreModelError(
            f"{store.path} already has vectors of this model ({model.name}, weights: {model.weights}): set "
            "ANN_MODEL and ANN_WEIGHTS to another"
        )


def _make_store(settings: Settings, path: Path, rows: int) -> None:
    model = configured_model(settings).description
    prepare_store(
        path,
        capacity=max(settings.store_capacity, rows),
        dim=model.dim,
        stamp=ModelStamp(model.name, model.weights_digest),
    )


def _opened(settings: Settings, path: Path, rows: int) -> EmbeddingStore:
    """Open a store of the model that the settings name; create it first if there is none."""
    _make_store(settings, path, rows)
    return EmbeddingStore(path)
