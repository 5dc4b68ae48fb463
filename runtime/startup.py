"""What must be true of the data directory before the service opens it.

`prepare` is safe to call from several processes at once and costs nothing when all is well, so the
gunicorn master calls it once before it forks (where a migration may take its minutes, and an error ends
the start in one line), and every app calls it again.
"""

from __future__ import annotations

import logging
import os

from embeddings.attributes.limits import AttributeLimits
from embeddings.errors import ModelError, StoreUnavailableError
from embeddings.images.fetch import ImageFetcher
from embeddings.images.metered_http import FetchLimits
from embeddings.maintenance.rewrite import prepare_store
from embeddings.model.convert import export_in_child_process
from embeddings.model.description import ConvertedModel, locate_model
from embeddings.store.layout import ModelStamp
from runtime.progress import logged_progress
from settings import ImageSettings, RequestLimits, Settings

logger = logging.getLogger(__name__)


def prepare(settings: Settings) -> ConvertedModel:
    """Make the data directory, convert the weights if need be, create or migrate the store.

    Raises:
        ModelError: the configured weights cannot be had.
        StoreError: the store cannot be created, read or migrated, or holds another model's vectors.
        OSError: the data directory cannot be made.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    model = configured_model(settings)
    stamp = ModelStamp(model.description.name, model.description.weights_digest)
    report = prepare_store(
        settings.store_path,
        capacity=settings.store_capacity,
        dim=model.description.dim,
        stamp=stamp,
        progress=logged_progress("copying rows into the migrated store"),
    )
    if report is not None and report.kept_as is not None:
        logger.warning(
            "migrated %s from the original's layout: %d logos, %d doubled ids (the last counts); the old file is %s",
            settings.store_path,
            report.rows,
            report.duplicates,
            report.kept_as,
        )
    if not os.access(settings.store_path, os.R_OK | os.W_OK):
        raise StoreUnavailableError(f"{settings.store_path} cannot be written: give this user the right to")
    return model


def configured_model(settings: Settings) -> ConvertedModel:
    """Return the model that the settings name, having converted its weights if need be.

    Raises:
        ModelError: the weights cannot be had.
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


def attribute_limits(limits: RequestLimits) -> AttributeLimits:
    """Return which attributes the settings allow."""
    return AttributeLimits(per_logo=limits.max_attributes, value_length=limits.max_attribute_length)


def image_fetcher(images: ImageSettings) -> ImageFetcher:
    """Return a fetcher that stays within the limits of the settings."""
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
