"""Back up, restore, compact and check attributes while services use them.

A backup is one SQLite file, as of one moment. SQLite's own backup copies it; it is checked and synced, and only then
renamed. Restoring overwrites the file in one transaction, so services that have it open keep using it.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from durable import sync_directory, sync_file
from embeddings.attributes.database import AttributeDatabase, database_error, is_laid_out
from embeddings.errors import BackupError, DamagedAttributesError, storage_errors
from embeddings.maintenance.replacement import keep
from embeddings.store.writer_lock import writer_lock

_NAMED = 20  # the most faults of a kind that are named
_WRONG_COUNTS = """
SELECT name, value, logos, (SELECT count(*) FROM attribute WHERE attribute.pair = pair.pair) AS counted
FROM pair JOIN key USING (key) WHERE logos <> counted LIMIT ?
"""
_LOOSE = "SELECT logo FROM attribute WHERE pair NOT IN (SELECT pair FROM pair) LIMIT ?"

logger = logging.getLogger(__name__)


def back_up_attributes(database: AttributeDatabase, target: Path) -> None:
    """Copy a file of attributes to a backup, which replaces an earlier one. Services may be using the file.

    Raises:
        BackupError: `target` is a file of another kind, or the copy fails its check.
        StoreError: the copy failed; the message says why. An earlier backup is unchanged.
    """
    target = target.resolve()
    if target == database.path:
        raise BackupError(f"{target} is the file to back up: name another one")
    if target.exists():
        with _opened(target) as earlier, _as_backup(target):
            if not is_laid_out(earlier, target):
                raise DamagedAttributesError(f"{target} is empty")
    draft = target.with_name(f"{target.name}.partial")
    with database.apart() as source, _draft(draft) as copy:
        source.backup(copy)
        _make_sole_file(copy, draft)
        draft.replace(target)
        sync_directory(target.parent)


def restore_attributes(backup: Path, path: Path, *, wait_seconds: float = 10.0) -> Path | None:
    """Replace the content of a file of attributes by that of a backup. Services may be using the file.

    Args:
        backup: the file that `back_up_attributes` made.
        path: the file of attributes, made if missing.
        wait_seconds: how long to wait for writers.

    Returns:
        Where the former file is kept, if it was damaged; `None` if it was overwritten.

    Raises:
        BackupError: the backup is damaged.
        StoreError: restoring failed; the message says why. The file is unchanged.
    """
    backup, path = backup.resolve(), path.resolve()
    draft = path.with_name(f"{path.name}.restoring")
    with _opened(backup) as saved, _draft(draft) as copy:
        with _as_backup(backup):
            if not is_laid_out(saved, backup):
                raise DamagedAttributesError(f"{backup} is empty")
            saved.backup(copy)
        _mark_as_changed(copy)
        _make_sole_file(copy, draft)
        try:
            with closing(AttributeDatabase(path, wait_seconds=wait_seconds)) as database, database.apart() as target:
                copy.backup(target)
        except DamagedAttributesError:
            return _replace(draft, path)
    return None


def compact_attributes(database: AttributeDatabase) -> None:
    """Rewrite a file of attributes without its unused pages. Services may be using it; their writes wait.

    Raises:
        DamagedAttributesError: it is damaged.
        StoreFullError: its disk has no room for a second copy.
        StoreUnavailableError: it cannot be written, or another writer holds it for too long.
    """
    with database.apart() as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def faults_of(database: AttributeDatabase) -> list[str]:
    """Check a whole file of attributes, and return its faults, at most `_NAMED` of each kind.

    Raises:
        DamagedAttributesError: it is too damaged for SQLite to check.
        StoreUnavailableError: it cannot be read.
    """
    with database.apart() as connection:
        return _faults_of(connection)


def _faults_of(connection: sqlite3.Connection) -> list[str]:
    connection.execute("BEGIN")
    try:
        damage = [line for (line,) in connection.execute(f"PRAGMA integrity_check({_NAMED})") if line != "ok"]
        return damage or [
            *(
                f"{logos} logos are counted for {name}:{value}, but {counted} have it"
                for name, value, logos, counted in connection.execute(_WRONG_COUNTS, [_NAMED])
            ),
            *(f"an attribute of logo {logo_id} has no value" for (logo_id,) in connection.execute(_LOOSE, [_NAMED])),
        ]
    finally:
        connection.execute("ROLLBACK")


def _mark_as_changed(connection: sqlite3.Connection) -> None:
    """Mark every value as changed, so that no service trusts what it read before the restore."""
    now = time.time_ns() // 1000
    connection.execute("UPDATE counter SET change = max(change + 1, ?)", [now])
    connection.execute("UPDATE pair SET changed = counter.change, removed = counter.change FROM counter")


def _make_sole_file(copy: sqlite3.Connection, path: Path) -> None:
    """Check a copy, and sync it as one file without a log beside it; BackupError if it has faults."""
    copy.execute("PRAGMA journal_mode = DELETE").fetchone()
    if faults := _faults_of(copy):
        raise BackupError(f"{path} was copied wrongly: {'; '.join(faults)}")
    sync_file(path)


def _replace(draft: Path, path: Path) -> Path:
    """Replace a damaged file, and return where it is kept."""
    kept_as = keep(path, path, "damaged")
    path.unlink()
    for suffix in ("-wal", "-shm"):  # SQLite must not apply the damaged file's log to the new file
        log_path = Path(f"{path}{suffix}")
        with suppress(FileNotFoundError):
            log_path.replace(f"{kept_as}{suffix}")
    sync_directory(path.parent)
    draft.rename(path)
    sync_directory(path.parent)
    logger.warning("%s was damaged: it is kept as %s", path, kept_as)
    return kept_as


@contextmanager
def _draft(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a new database under a temporary name. At the end, and after a killed run, what is left there is removed."""

    def remove() -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)

    with storage_errors(f"write {path}"), writer_lock(path):
        remove()
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise database_error(f"write {path}", path, error) from error
        finally:
            remove()


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a backup for reading; it is never written to."""
    with storage_errors(f"open {path}"):
        path.stat()
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)) as connection:
        yield connection


@contextmanager
def _as_backup(path: Path) -> Iterator[None]:
    """Raise errors that say that a file is damaged as BackupError."""
    try:
        yield
    except (sqlite3.DatabaseError, DamagedAttributesError) as error:
        raise BackupError(f"{path} is no backup of attributes, or a damaged one: {error}") from error
