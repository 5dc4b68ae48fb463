"""What the commands share: their errors, the open store, and progress."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from embeddings.collection.definition import CollectionDefinition
from embeddings.collection.directory import CollectionDirectory
from embeddings.errors import EmbeddingsError, StoreLayoutError, StoreUnavailableError
from embeddings.store.store import EmbeddingStore
from embeddings.store.store_path import inspect
from index.errors import BuildInProgressError, SearchError
from runtime.collections import default_names, prepare_collection
from runtime.progress import logged_progress
from settings import Settings, SettingsError

logger = logging.getLogger("manage")

INDEX = click.option("--index", help="A collection with a store of its own. [default: the default one]")

BUSY = 75  # exit status: EX_TEMPFAIL of sysexits.h, try again later


class _BusyError(click.ClickException):
    """Another process is building the index."""

    exit_code = BUSY


class Commands(click.Group):
    """A group that imports a command when it is called, because some modules are slow to import.

    An error of a room ends the command with one line instead of a traceback, or with an object if the log is JSON.

    Args:
        places: the function of each command, such as `commands.build:generate_index`, by the command's name.
    """

    def __init__(self, *args: Any, places: Mapping[str, str], **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._places:
            return None
        module, _, function = self._places[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return self._invoke(ctx)
        except click.UsageError:
            raise
        except click.ClickException as error:
            if not isinstance(ctx.obj, Settings) or ctx.obj.log.format != "json":
                raise
            logger.error("%s", error.format_message())  # noqa: TRY400 - a traceback adds nothing
            ctx.exit(error.exit_code)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BuildInProgressError as error:
            raise _BusyError(str(error)) from error
        except BrokenPipeError:  # whoever reads the output has seen enough; click ends without a word
            raise
        except (EmbeddingsError, SearchError, SettingsError, OSError) as error:
            raise click.ClickException(str(error)) from error


def definition_of(settings: Settings, index: str | None) -> CollectionDefinition | None:
    """Return the definition of the collection that `--index` names; `None` if it is the default one.

    Raises:
        CollectionError: there is none of that name, or it cannot be used.
    """
    if index is None or index in default_names(settings):
        return None
    return CollectionDirectory(settings.data_dir).get(index)


def store_path_of(settings: Settings, index: str | None) -> Path:
    """Return the path of the store that `--index` names, and make the store of a new collection."""
    definition = definition_of(settings, index)
    return settings.store_path if definition is None else prepare_collection(settings, definition)


@contextmanager
def open_store(settings: Settings, index: str | None = None, *, writable: bool = False) -> Iterator[EmbeddingStore]:
    """Open the store that `--index` names.

    Raises:
        CollectionError: as for `definition_of`.
        StoreError: there is no store, or it cannot be opened.
    """
    with existing_store(store_path_of(settings, index), writable=writable) as store:
        yield store


def existing_store(path: Path, *, writable: bool = False) -> EmbeddingStore:
    """Open the store in a file.

    Raises:
        StoreError: there is no store, or it cannot be opened.
    """
    if not path.exists():
        raise StoreUnavailableError(f"there is no store at {path}: set ANN_DATA_DIR to its directory")
    return EmbeddingStore(path, writable=writable)


def rewrite(settings: Settings, index: str | None = None, capacity: int | None = None) -> None:
    """Rewrite the store.

    Args:
        settings: where the stores are.
        index: the collection of the store; `None` is the default one.
        capacity: the number of logos to make room for; `None` keeps it, except that a store in the original's layout
            gets at least `ANN_STORE_CAPACITY`.
    """
    from embeddings.maintenance.rewrite import rewrite_store

    path = store_path_of(settings, index)
    if capacity is None:
        with suppress(StoreLayoutError):  # the header is damaged; the rewrite deals with it
            layout = inspect(path)
            if layout is not None and layout.offsets is None:
                capacity = max(settings.store_capacity, layout.capacity)
    with progress("copying rows", None) as advance:
        rewrite_store(path, capacity=capacity, progress=advance)


@contextmanager
def progress(doing: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show progress: on a terminal a bar with rate and time left, otherwise a log line every few seconds."""
    if not _on_a_terminal():
        yield logged_progress(doing, total)
        return
    from tqdm import tqdm

    with tqdm(desc=doing, total=total, unit_scale=True) as bar:

        def advance(done: int) -> None:
            bar.update(done)

        yield advance


def _on_a_terminal() -> bool:
    return sys.stderr.isatty()
