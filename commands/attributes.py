"""What the commands do to the attributes beside a store: they go where its logos go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import numpy as np

from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.attributes.copies import back_up_attributes, compact_attributes, faults_of, restore_attributes
from embeddings.errors import DamagedAttributesError
from embeddings.store.store import EmbeddingStore


@contextmanager
def attributes_of(store_path: Path) -> Iterator[AttributeStore | None]:
    """Open the attributes beside a store; `None` if there are none."""
    path = attributes_path(store_path)
    if not path.exists():
        yield None
        return
    with closing(AttributeStore(path)) as attributes:
        yield attributes


def drop_attributes(store_path: Path, logo_ids: list[int]) -> None:
    """Remove the attributes of logos that are about to be deleted."""
    with attributes_of(store_path) as attributes:
        if attributes is not None:
            attributes.drop(logo_ids)


def compact(store_path: Path) -> None:
    """Remove what belongs to no stored logo, and give the room back."""
    with attributes_of(store_path) as attributes:
        if attributes is not None:
            _drop_orphans(attributes, store_path)
            compact_attributes(attributes.database)


def back_up(store_path: Path, target: Path) -> None:
    """Copy the attributes to beside the backup of their store, and say so."""
    with attributes_of(store_path) as attributes:
        if attributes is not None:
            copy = attributes_path(target)
            back_up_attributes(attributes.database, copy)
            click.echo(f"{copy} holds the attributes of {len(attributes)} logos")


def restore(backup: Path, store_path: Path, *, former: Path | None) -> None:
    """Restore the attributes that lie beside the backup of their store; without any, those of its logos stay.

    Args:
        backup: of the store.
        store_path: the store that was just restored.
        former: where the store that was there before is kept; its attributes are kept beside it.
    """
    saved, path = attributes_path(backup), attributes_path(store_path)
    if former is not None and path.exists():
        with suppress(DamagedAttributesError):  # these are kept below, as they are
            back_up(store_path, former)
    if saved.exists():
        kept_as = restore_attributes(saved, path)
        if kept_as is not None:
            click.echo(f"the former attributes were damaged, and are kept as {kept_as}")
    elif path.exists():
        click.echo(f"there are no attributes beside {backup}: those of its logos stay")
    with attributes_of(store_path) as attributes:
        if attributes is not None:
            _drop_orphans(attributes, store_path)
            click.echo(f"{path} holds the attributes of {len(attributes)} logos")


def faults(store_path: Path) -> list[str]:
    """Return what is wrong with the attributes beside a store, and say that they were checked."""
    path = attributes_path(store_path)
    try:
        with attributes_of(store_path) as attributes:
            if attributes is None:
                return []
            found = faults_of(attributes.database)
            if not found:
                click.echo(f"{path}: the attributes of {len(attributes)} logos checked")
    except DamagedAttributesError as error:
        return [str(error)]
    return [f"{path}: {fault}" for fault in found]


def report(store_path: Path) -> dict[str, Any] | None:
    """Return what `stats` tells of the attributes beside a store; `None` if there are none."""
    path = attributes_path(store_path)
    with suppress(FileNotFoundError), attributes_of(store_path) as attributes:
        if attributes is not None:
            return {
                "path": str(path),
                "logos": len(attributes),
                "keys": {key.key: {"logos": key.logos, "values": key.values} for key in attributes.keys()},  # noqa: SIM118 - no mapping
                "bytes_on_disk": path.stat().st_blocks * 512,
            }
    return None


def _drop_orphans(attributes: AttributeStore, store_path: Path) -> None:
    """Remove the attributes of logos that are not stored; there are some after a crash, or in a backup."""
    with EmbeddingStore(store_path, writable=False) as store:
        ids = attributes.logo_ids()
        missing = store.missing(ids[np.isin(ids, store.ids(), invert=True)].tolist())  # look again: it may be new
        if missing:
            attributes.drop(missing)
