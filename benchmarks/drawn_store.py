"""A store of drawn logos for runs that take hours; it is kept for the next run."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.logos import draw_logos
from embeddings.store.store import EmbeddingStore
from runtime.startup import prepare
from settings import Settings


def drawn_store(folder: Path, logos: int, *, room: int, seed: int) -> NDArray[np.int64]:
    """Return the ids of the logos in a data directory's store, (n,); draw the store if there is none.

    Args:
        folder: the data directory.
        logos: number of logos.
        room: free rows beyond those.
        seed: determines the logos.

    Raises:
        click.ClickException: the existing store holds another number of logos.
    """
    settings = Settings(data_dir=folder, store_capacity=logos + room)
    if not settings.store_path.exists():
        say(f"drawing {logos:,} logos")
        prepare(settings)
        with EmbeddingStore(settings.store_path) as store:
            for logo_ids, vectors in draw_logos(logos, seed):
                store.append(logo_ids, vectors)
    with EmbeddingStore(settings.store_path, writable=False) as store:
        logo_ids = store.ids()
    if len(logo_ids) != logos:
        raise click.ClickException(f"{settings.store_path} holds {len(logo_ids)} logos: remove it, or pass --logos")
    return logo_ids


def say(what: str) -> None:
    """Print the current step to standard error."""
    click.echo(f"{time.strftime('%H:%M:%S')}  {what}", err=True)
