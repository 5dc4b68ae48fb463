"""A store of drawn logos that a run of hours is made on: it stays for the next one."""

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
    """Answer the ids of the logos in a data directory's store, (n,), which is drawn if it is not there.

    Args:
        folder: the data directory.
        logos: how many.
        room: for so many more.
        seed: that they are drawn by.

    Raises:
        click.ClickException: the store that is there holds another number of logos.
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
        raise click.ClickException(f"{settings.store_path} holds {len(logo_ids)} logos: remove it, or say --logos")
    return logo_ids


def say(what: str) -> None:
    """Tell on the standard error what is done now."""
    click.echo(f"{time.strftime('%H:%M:%S')}  {what}", err=True)
