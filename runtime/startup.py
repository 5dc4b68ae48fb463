"""Prepare the data directory before the service opens it.

Several processes may call `prepare` at once, and it takes no time if there is nothing to do. The gunicorn master calls
it before it forks, because a migration may take minutes and an error should end the start in one line. Then every app
calls it again.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from embeddings.errors import ModelError, StoreUnavailableError
from embeddings.images.fetch import ImageFetcher
from embeddings.images.metered_http import FetchLimits
from embeddings.maintenance.rewrite import prepare_store
from embeddings.model.convert import export_in_child_process
from embeddings.model.description import ConvertedModel, locate_model
from embeddings.store.layout import ModelStamp
from runtime.progress import logged_progress
from settings import ImageSettings, Settings

logger = logging.getLogger(__name__)

ORIGINAL_DIRECTORIES = (Path("ann_data"), Path("/opt/ann/data"))
"""Where the original kept its data: in its checkout, and in its container."""


def prepare(settings: Settings) -> ConvertedModel:
    """Create the data directory, convert the weights if necessary, and create or migrate the store.

    Returns:
        The model that the settings name.

    Raises:
        ModelError: the weights cannot be found, downloaded or converted.
        StoreError: the store cannot be created, read or migrated, or another model made its vectors.
        OSError: the data directory cannot be created.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    is_new = not settings.store_path.exists()
    model = configured_model(settings)
    stamp = ModelStamp(model.description.name, model.description.weights_digest)
    report = prepare_store(
        settings.store_path,
        capacity=settings.store_capacity,
        dim=model.description.dim,
        stamp=stamp,
        progress=logged_progress("copying rows into the migrated store"),
    )
    if is_new:
        _warn_of_other_stores(settings)
    if report is not None and report.kept_as is not None:
        logger.warning(
            "migrated %s from the original's layout: %d logos, %d duplicate ids (the last counts); the old file is %s",
            settings.store_path,
            report.rows,
            report.duplicates,
            report.kept_as,
        )
    if not os.access(settings.store_path, os.R_OK | os.W_OK):
        raise StoreUnavailableError(f"{settings.store_path} cannot be written: give this user write permission")
    return model


def _warn_of_other_stores(settings: Settings) -> None:
    """Name the stores that an operator may have meant, since this service has just begun with an empty one."""
    directories = (settings.data_dir, settings.data_dir.absolute().parent / "ann_data", *ORIGINAL_DIRECTORIES)
    found = {path.resolve() for directory in directories for path in directory.glob("*.hdf5")}
    others = sorted(found - {settings.store_path.resolve()})
    if others:
        logger.warning(
            "the store is empty, but there are others, which are not used: %s; stop the service and set ANN_DATA_DIR,"
            " or put that store in place of %s",
            ", ".join(map(str, others)),
            settings.store_path,
        )


def configured_model(settings: Settings) -> ConvertedModel:
    """Return the model that the settings name; convert its weights first if necessary.

    Raises:
        ModelError: the weights cannot be found, downloaded or converted.
    """
    try:
        return locate_model(settings.model.name, settings.model.weights, settings.model_dir)
    except ModelError as missing:
        if settings.model.weights == "bundled":
            raise
        logger.warning("%s; converting the weights now", missing)
    return export_in_child_process(
        settings.model.name,
        settings.model.weights,
        settings.model_dir,
        timeout_seconds=settings.model.convert_seconds,
        weights_url=settings.model.weights_url,
    )


def image_fetcher(images: ImageSettings) -> ImageFetcher:
    """Return a fetcher with the limits of the settings."""
    return ImageFetcher(
        FetchLimits(
            max_bytes=images.max_bytes,
            connect_seconds=images.connect_seconds,
            read_seconds=images.read_seconds,
            total_seconds=images.total_seconds,
            max_redirects=images.max_redirects,
        ),
        allowed_hosts=images.hosts,
        allow_private=images.allow_private_hosts,
        user_agent=images.user_agent,
    )
