"""The SQLite file of attributes: how it is laid out, and how threads and processes share it.

    key        the keys in use, numbered
    pair       each value of each key that some logo has: how many have it, and when that last changed
    attribute  one row for each attribute of a logo: (logo, key) -> pair
    counter    the number of the last change

Triggers keep `pair` up to date, so counts and values are read without a scan of the logos. The number of a change is
its time in microseconds, or one more than the last if the clock did not advance. So numbers only grow, and a restored
file never reuses a number for another change.

The file is in WAL mode with `synchronous=FULL`: a transaction is on disk when its commit returns, and others see it
after that. Readers never wait. Writers of one process queue here; those of several processes wait in SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from durable import sync_directory
from embeddings.errors import DamagedAttributesError, StoreError, StoreFullError, StoreUnavailableError, storage_errors

_APPLICATION_ID = 0x726C_6174  # of our files, in the header of SQLite: "rlat"
_VERSION = 1
_PRAGMAS = (
    "synchronous = FULL",
    "cell_size_check = ON",
    "trusted_schema = OFF",
    "journal_size_limit = 67108864",
)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
_ADVICE = "restore it from a backup, or move it away to start without attributes; the vectors are in another file"
_SCHEMA = """
CREATE TABLE key (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE pair (
    pair INTEGER PRIMARY KEY, key INTEGER NOT NULL, value TEXT NOT NULL, folded TEXT NOT NULL,
    logos INTEGER NOT NULL DEFAULT 0, changed INTEGER NOT NULL, removed INTEGER NOT NULL,
    UNIQUE (key, value)
) STRICT;
CREATE INDEX pair_folded ON pair (key, folded);
CREATE INDEX pair_unused ON pair (pair) WHERE logos = 0;
CREATE TABLE attribute (
    logo INTEGER NOT NULL, key INTEGER NOT NULL, pair INTEGER NOT NULL, change INTEGER NOT NULL,
    PRIMARY KEY (logo, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX attribute_pair ON attribute (pair, change);
CREATE TABLE counter (change INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (0);
CREATE TRIGGER attribute_set AFTER INSERT ON attribute BEGIN
    UPDATE pair SET logos = logos + 1, changed = NEW.change WHERE pair = NEW.pair;
END;
CREATE TRIGGER attribute_replaced AFTER UPDATE ON attribute BEGIN
    UPDATE pair SET logos = logos - 1, changed = NEW.change, removed = NEW.change WHERE pair = OLD.pair;
    UPDATE pair SET logos = logos + 1, changed = NEW.change WHERE pair = NEW.pair;
END;
CREATE TRIGGER attribute_removed AFTER DELETE ON attribute BEGIN
    UPDATE pair SET logos = logos - 1, changed = counter.change, removed = counter.change
    FROM counter WHERE pair = OLD.pair;
END;
"""


class AttributeDatabase:
    """Connections to one file, one for each thread that uses it. Open it after forking.

    Args:
        path: the file, made if missing.
        wait_seconds: how long a writer waits for others.

    Raises:
        DamagedAttributesError: the file is damaged, or is not one of this version.
        StoreFullError, StoreUnavailableError: it cannot be opened or made.
    """

    def __init__(self, path: Path, *, wait_seconds: float) -> None:
        self.path = path.resolve()
        self._wait_seconds = wait_seconds
        self._turn = threading.Lock()  # of this process's writers: SQLite serves waiting writers in no order
        self._local = threading.local()
        self._opened: WeakSet[_OfThread] = WeakSet()
        self._closed = False
        with self._errors("open"), closing(self._connect(create=True)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not is_laid_out(connection, self.path):
                _lay_out(connection)
            connection.execute("COMMIT")
        with storage_errors(f"sync {self.path.parent}"):
            sync_directory(self.path.parent)  # SQLite syncs the directory only for its log

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read the file as of one moment. Errors are those of `writing`."""
        with self._errors("read"):
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Change the file in a transaction, which is on disk at the end of the block; an error rolls it back.

        Raises:
            DamagedAttributesError: the file is damaged.
            StoreFullError: its disk has no room.
            StoreUnavailableError: it is missing or read-only, or other writers held it for too long.
        """
        if not self._turn.acquire(timeout=self._wait_seconds):
            raise StoreUnavailableError(f"{self.path}: other writers held it for too long; try again later")
        try:
            with self._errors("write"):
                connection = self._connection()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    _roll_back(connection)
        finally:
            self._turn.release()

    @contextmanager
    def apart(self) -> Iterator[sqlite3.Connection]:
        """Open a connection of its own for a long job. Errors are those of `writing`."""
        with self._errors("read"), closing(self._connect()) as connection:
            yield connection

    def close(self) -> None:
        """Close the connections of all threads. None may be in use."""
        self._closed = True
        for of_thread in [*self._opened]:
            of_thread.close()

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's connection; open another one if the file was replaced."""
        if self._closed:
            raise StoreUnavailableError(f"{self.path} has been closed")
        known: _OfThread | None = getattr(self._local, "known", None)
        if known is not None:
            if known.file == _identity(self.path):
                return known.connection
            known.close()
        self._local.known = known = _OfThread(self._connect(), _identity(self.path))
        self._opened.add(known)
        return known.connection

    def _connect(self, *, create: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={'rwc' if create else 'rw'}",
            uri=True,
            timeout=self._wait_seconds,
            isolation_level=None,  # transactions begin and end where this module says so
            check_same_thread=False,  # `close` is called by another thread
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            self._use_log(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_log(self, connection: sqlite3.Connection) -> None:
        """Put a new file into WAL mode. SQLite itself does not wait here when another process does the same."""
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL").fetchall()
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            time.sleep(0.005)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Raise errors of SQLite and of the operating system as errors of this room."""
        try:
            with storage_errors(f"{doing} {self.path}"):
                yield
        except sqlite3.Error as error:
            raise database_error(f"{doing} {self.path}", self.path, error) from error


class _OfThread:
    """The connection of one thread, closed when the thread ends.

    Args:
        connection: to the file.
        file: its device and inode.
    """

    def __init__(self, connection: sqlite3.Connection, file: tuple[int, int]) -> None:
        self.connection = connection
        self.file = file

    def close(self) -> None:
        self.connection.close()

    def __del__(self) -> None:  # a connection refers to itself, so only the garbage collector would close it
        self.close()


def database_error(doing: str, path: Path, error: sqlite3.Error) -> StoreError:
    """Return the error of this room for an error of SQLite."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code; the rest is detail
    if code in _DAMAGED:
        return DamagedAttributesError(f"{path} is damaged ({error}): {_ADVICE}")
    if code == sqlite3.SQLITE_FULL:
        return StoreFullError(f"cannot {doing}: {error}; make room on its disk")
    if code == sqlite3.SQLITE_BUSY:
        return StoreUnavailableError(f"cannot {doing}: another process held the file for too long; try again later")
    return StoreUnavailableError(f"cannot {doing}: {error}")


def next_change(connection: sqlite3.Connection) -> int:
    """Return the number of the change that this transaction makes."""
    now = time.time_ns() // 1000
    change: int
    (change,) = connection.execute("UPDATE counter SET change = max(change + 1, ?) RETURNING change", [now]).fetchone()
    return change


def is_laid_out(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether a file holds attributes; False if it is empty.

    Raises:
        DamagedAttributesError: it holds something else.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) == (_APPLICATION_ID, _VERSION):
        return True
    if application == _APPLICATION_ID:
        raise DamagedAttributesError(f"{path} was made by a later release of this service: use that, or another file")
    if connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise DamagedAttributesError(f"{path} is a database of another program: move it away")
    return False


def _lay_out(connection: sqlite3.Connection) -> None:
    for statement in _statements(_SCHEMA):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _identity(path: Path) -> tuple[int, int]:
    """Return device and inode of a file; StoreUnavailableError if it is gone."""
    try:
        status = os.stat(path)  # noqa: PTH116 - each query asks, and Path.stat takes twice as long
    except FileNotFoundError as error:
        raise StoreUnavailableError(f"{path} is gone: put it back, or restart the service") from error
    return status.st_dev, status.st_ino


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; `executescript` would commit first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _roll_back(connection: sqlite3.Connection) -> None:
    """Roll back a transaction that is still open."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):  # after a disk error, SQLite has rolled it back itself
            connection.execute("ROLLBACK")
