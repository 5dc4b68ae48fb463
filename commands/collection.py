"""`create-collection`, `list-collections` and `drop-collection`: stores of their own, beside the default one."""

from __future__ import annotations

import click

from embeddings.collection.definition import MAX_DIM, METRICS, MIN_DIM, CollectionDefinition, Metric
from embeddings.collection.directory import CollectionDirectory
from embeddings.store.store import EmbeddingStore
from runtime.collections import default_names, prepare_collection
from runtime.startup import configured_model
from settings import Settings


@click.command()
@click.argument("name")
@click.option("--dim", type=click.IntRange(MIN_DIM, MAX_DIM), help="The number of values of a vector.")
@click.option("--metric", type=click.Choice(METRICS), default="euclidean", show_default=True, help="How they compare.")
@click.option("--embedder", is_flag=True, help="Also embed images, with the model of the settings. Needs no --dim.")
@click.option(
    "--fresh/--no-fresh",
    default=True,
    show_default=True,
    help="Find new logos among neighbours before the next index is built.",
)
@click.pass_obj
def create_collection(
    settings: Settings, name: str, dim: int | None, metric: Metric, embedder: bool, fresh: bool
) -> None:
    """Create the collection NAME, for vectors of your own. Running services find it at once, as ?index=NAME."""
    if name in default_names(settings):
        raise click.UsageError(f"{name} is the name of the default collection: choose another one")
    model = configured_model(settings).description if embedder else None
    if model is not None and dim in (None, model.dim):
        dim = model.dim
    elif model is not None:
        raise click.UsageError(f"--dim {dim}: vectors of {model.name} have {model.dim} values; leave --dim out")
    if dim is None:
        raise click.UsageError("--dim is missing: say how many values a vector has")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    definition = CollectionDefinition(name, dim, metric, model.name if model else None, fresh)
    path = CollectionDirectory(settings.data_dir).create(definition)
    click.echo(f"created {path}: {_describe(definition)}")


@click.command()
@click.pass_obj
def list_collections(settings: Settings) -> None:
    """List the collections that have a store of their own, and how many logos each holds."""
    directory = CollectionDirectory(settings.data_dir)
    for name in directory.names():
        definition = directory.get(name)
        with EmbeddingStore(prepare_collection(settings, definition), writable=False) as store:
            click.echo(f"{name}: {len(store)} logos; {_describe(definition)}")


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-files/--delete-files", default=True, show_default=True, help="Keep the files as a backup.")
@click.pass_obj
def drop_collection(settings: Settings, name: str, yes: bool, keep_files: bool) -> None:
    """Drop the collection NAME, with its indexes. Running services notice at the next request.

    The files are kept in a hidden directory beside, unless --delete-files is given.
    """
    directory = CollectionDirectory(settings.data_dir)
    definition = directory.get(name)
    if not yes:
        doing = "kept beside" if keep_files else "deleted for good"
        click.confirm(f"Drop {name} ({_describe(definition)})? Its files are {doing}.", abort=True)
    kept = directory.drop(name, keep=keep_files)
    click.echo(f"dropped {name}" + ("" if kept is None else f"; its files are in {kept}"))


def _describe(definition: CollectionDefinition) -> str:
    embedder = f"embeds images with {definition.model}" if definition.model else "takes vectors only"
    fresh = "finds new logos at once" if definition.fresh else "finds new logos with the next index"
    return f"{definition.dim} values, {definition.metric}, {embedder}, {fresh}"
