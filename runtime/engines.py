"""Open the engine that the settings name: Annoy with files in the data directory, or a Milvus server.

Milvus modules load only with ANN_ENGINE=milvus; they would add 30 ms to other starts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embeddings.errors import EmbeddingsError
from embeddings.store.store import EmbeddingStore
from index.catalog import IndexCatalog
from index.errors import EngineError
from index.protocol import Catalog
from index.status import OnLoad
from runtime.collections import check_default_index, has_own_store
from settings import MilvusSettings, Settings

if TYPE_CHECKING:
    from index.milvus.client import Milvus
    from index.milvus.feed import Feed
    from index.milvus.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine: its indexes, and the feed that keeps them up to date.

    Attributes:
        catalog: the indexes.
        feed: sends new and deleted logos to Milvus; `None` for Annoy, whose indexes change only by a build.
    """

    catalog: Catalog
    feed: Feed | None = None

    def start(self) -> None:
        """Start watching for new indexes, and start the feed."""
        self.catalog.start()
        if self.feed is not None:
            self.feed.start()

    def close(self) -> None:
        """Stop the feed, and stop watching."""
        if self.feed is not None:
            self.feed.close()
        self.catalog.close()


def open_engine(settings: Settings, store: EmbeddingStore, *, on_load: OnLoad = lambda name, loaded: None) -> Engine:
    """Open the engine that the settings name.

    A Milvus that cannot be reached is no error here: its queries fail until it can be.

    Raises:
        CollectionError: ANN_DEFAULT_INDEX names a collection with a store of its own.
        EngineError: as for `check_engine`.
    """
    check_default_index(settings)
    if settings.engine == "annoy":
        return Engine(
            IndexCatalog(
                settings.data_dir,
                dim=store.dim,
                default=settings.default_index,
                vectors=store.vectors,
                search_k=settings.search_k,
                query_threads=settings.workers.query_threads,
                weights_digest=store.stamp.digest,
                reload_seconds=settings.reload_seconds,
                on_load=on_load,
                passes_over=has_own_store,
            )
        )
    from index.milvus.catalog import MilvusCatalog
    from index.milvus.feed import Feed

    milvus, outbox = milvus_of(settings.milvus), outbox_of(settings)
    catalog = MilvusCatalog(
        milvus,
        settings.data_dir,
        dim=store.dim,
        default=settings.default_index,
        vectors=store.vectors,
        weights_digest=store.stamp.digest,
        search_k=settings.search_k,
        reload_seconds=settings.reload_seconds,
        stored_logo=store.any_id,
        deleted=lambda: len(store.ever_deleted()),
        replicas=settings.milvus.replicas,
        was_served=lambda: outbox.read() is not None,
        on_load=on_load,
    )
    return Engine(
        catalog,
        Feed(
            store,
            catalog,
            milvus,
            outbox,
            seconds=settings.reload_seconds,
            sends=settings.milvus.feed,
            source_errors=(EmbeddingsError,),
        ),
    )


def check_engine(settings: Settings) -> None:
    """Check that this machine has what the engine needs; a Milvus server need not be running.

    Raises:
        EngineError: pymilvus is not installed, or a certificate cannot be read; the message says what to change.
    """
    if settings.engine == "milvus":
        _check_milvus(settings.milvus)


def milvus_of(settings: MilvusSettings) -> Milvus:
    """Return the Milvus that the settings name; it connects at the first call.

    Raises:
        EngineError: as for `check_engine`.
    """
    from index.milvus.client import ConnectionOptions, Milvus

    _check_milvus(settings)
    return Milvus(
        ConnectionOptions(
            uri=settings.uri,
            token=settings.token or "",
            database=settings.database,
            ca=settings.ca,
            cert=settings.cert,
            key=settings.key,
            server_name=settings.server_name or "",
            connect_seconds=settings.connect_seconds,
            query_seconds=settings.query_seconds,
            write_seconds=settings.write_seconds,
            message_bytes=settings.message_bytes,
        )
    )


def _check_milvus(settings: MilvusSettings) -> None:
    from index.milvus.client import check_installed

    check_installed()
    for variable, path in (
        ("ANN_MILVUS_CA", settings.ca),
        ("ANN_MILVUS_CERT", settings.cert),
        ("ANN_MILVUS_KEY", settings.key),
    ):
        if path is not None and not os.access(path, os.R_OK):
            raise EngineError(f"{variable}={path}: cannot be read; correct the path or its permissions")


def outbox_of(settings: Settings) -> Outbox:
    """Return the outbox of the default index."""
    from index.milvus.outbox import Outbox

    return Outbox(settings.data_dir / settings.default_index)
