"""The collections with a store of their own, as the settings have them: their files, stores and indexes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embeddings.collection.definition import CollectionDefinition
from embeddings.collection.directory import DEFINITION_NAME, CollectionDirectory
from embeddings.errors import CollectionError
from embeddings.maintenance.rewrite import prepare_store
from embeddings.model.description import ConvertedModel, ModelDescription
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from index.catalog import IndexCatalog
from index.cosine import at_unit_length
from index.protocol import Vectors
from index.status import OnLoad
from runtime.startup import configured_model
from settings import DEFAULT_COLLECTION, Settings


def has_own_store(directory: Path) -> bool:
    """Return whether a directory of the data directory is a collection, and no index of the default store."""
    return (directory / DEFINITION_NAME).exists()


def default_names(settings: Settings) -> set[str]:
    """Return the names that no other collection may have."""
    return {DEFAULT_COLLECTION, settings.default_index}


def check_default_index(settings: Settings) -> None:
    """Check that the default index belongs to the default store.

    Raises:
        CollectionError: it does not; the message says what to change.
    """
    if has_own_store(settings.data_dir / settings.default_index):
        raise CollectionError(
            f"ANN_DEFAULT_INDEX={settings.default_index}: that is a collection with a store of its own; requests name"
            f" it with ?index={settings.default_index}"
        )


def prepare_collection(
    settings: Settings,
    definition: CollectionDefinition,
    model_of: Callable[[Settings], ConvertedModel] = configured_model,
) -> Path:
    """Make sure that the store of a collection exists, and return its path.

    Args:
        settings: name the data directory, the capacity of a new store, and the model of a collection with an embedder.
        definition: of the collection, which was created.
        model_of: returns the model that the settings name; it is called only if the collection has an embedder.

    Raises:
        CollectionError: the collection embeds with another model than the settings name.
        StoreError: the store cannot be made or used.
    """
    stamp = ModelStamp("", "")
    if definition.model is not None:
        stamp = embedder_stamp(definition, model_of(settings).description)
    path = CollectionDirectory(settings.data_dir).store_path(definition.name)
    prepare_store(path, capacity=settings.store_capacity, dim=definition.dim, stamp=stamp)
    return path


def embedder_stamp(definition: CollectionDefinition, model: ModelDescription) -> ModelStamp:
    """Return the stamp of a collection's store if a model embeds its images.

    Raises:
        CollectionError: the collection has no embedder, or one of another model; the message says what to do.
    """
    if definition.model is None:
        raise CollectionError(
            f"the collection {definition.name} has no embedder: its clients make the vectors, and can replace them with"
            f" POST /api/v1/ann/add_embeddings?index={definition.name}&replace=true"
        )
    if (definition.model, definition.dim) != (model.name, model.dim):
        raise CollectionError(
            f"the collection {definition.name} embeds with {definition.model}, {definition.dim} values: set"
            f" ANN_MODEL={definition.model}, or create another collection"
        )
    return ModelStamp(model.name, model.weights_digest)


def compared_vectors(definition: CollectionDefinition, store: EmbeddingStore) -> Vectors:
    """Return what gives the vectors of a collection's logos as its indexes compare them."""
    return at_unit_length(store.vectors) if definition.metric == "cosine" else store.vectors


def open_collection_catalog(
    settings: Settings,
    definition: CollectionDefinition,
    store: EmbeddingStore,
    *,
    on_load: OnLoad = lambda name, loaded: None,
) -> IndexCatalog:
    """Open the one index of a collection: Annoy's, also with ANN_ENGINE=milvus."""
    return IndexCatalog(
        settings.data_dir,
        dim=definition.dim,
        default=definition.name,
        vectors=compared_vectors(definition, store),
        search_k=settings.search_k,
        query_threads=settings.workers.query_threads,
        weights_digest=store.stamp.digest,
        reload_seconds=settings.reload_seconds,
        on_load=on_load,
        passes_over=lambda directory: True,
    )
