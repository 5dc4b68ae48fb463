"""The one way to Milvus: a connection made at first use, a time-out on every call, and errors of ours.

pymilvus is imported at first use, too: who serves with Annoy does without it.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.errors import EngineError, EngineTimeoutError, EngineUnreachableError

_CONNECTION_FAILED = 2  # pymilvus' code of a server that does not answer, or that refuses to be talked to
_MESSAGE = 300  # characters of an error that are kept: some of the server's quote whole stacks
_GRPC = {
    # Milliseconds. Servers hang up on clients that ask for signs of life more often, as pymilvus does by itself.
    "grpc.keepalive_time_ms": 300_000,
    # gRPC by itself tries to connect ever more seldom, in the end every two minutes.
    "grpc.initial_reconnect_backoff_ms": 500,
    "grpc.min_reconnect_backoff_ms": 3_000,
    "grpc.max_reconnect_backoff_ms": 2_000,
}


LARGEST_MESSAGE = 2**26
"""Bytes that Milvus takes in one message, at most."""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Where Milvus is, and how it is talked to.

    Attributes:
        uri: `http://host:port`, or `https://host:port` for TLS.
        token: `user:password`, or an API key; empty if none is asked for.
        database: of the server's.
        ca: the certificate, in PEM, that the server's is signed with; `None` takes those of the system.
        cert: the client's own certificate, in PEM, for a server that wants one; it needs `ca` and `key`.
        key: of that certificate.
        server_name: the name on the server's certificate, if it is not that of the URI; empty if it is.
        connect_seconds: the longest that a connection, or a sign of life, may take.
        query_seconds: the longest that a query may take.
        write_seconds: the longest that an add may wait for the engine.
        message_bytes: of vectors in one message, at most; Milvus refuses messages over 64 MiB.
    """

    uri: str
    token: str = ""
    database: str = "default"
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""
    connect_seconds: float = 3.0
    query_seconds: float = 10.0
    write_seconds: float = 10.0
    message_bytes: int = 2**24

    def rows_a_message(self, dim: int) -> int:
        """Answer how many vectors of so many values one message takes."""
        return max(1, self.message_bytes // (4 * dim + 16))


class Milvus:
    """A connection. Threads may share it; a process that forks must not have used it before.

    Attributes:
        connection: where it leads.
        on_silence: is told of every call that was not answered.
    """

    def __init__(self, connection: ConnectionOptions) -> None:
        self.connection = connection
        self.on_silence: Callable[[EngineUnreachableError], None] = lambda error: None
        self._mutex = threading.Lock()
        self._client: Any = None

    def call(self, method: str, *args: Any, seconds: float, **options: Any) -> Any:
        """Call a method of `pymilvus.MilvusClient`.

        Raises:
            EngineTimeoutError: the server did not answer in time.
            EngineUnreachableError: it did not answer.
            EngineError: it refused.
        """
        pymilvus = _imported()
        import grpc  # which pymilvus brings

        try:
            return getattr(self._connected(), method)(*args, timeout=seconds, **options)
        except (pymilvus.exceptions.MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
            translated = self._translated(method, error)
            if isinstance(translated, EngineUnreachableError):
                self.on_silence(translated)
            raise translated from None  # pymilvus' stacks say nothing more

    def schema(self, dim: int) -> Any:
        """Return the schema of a collection: `logo_id`, `embedding` of so many values, and `in_build`."""
        pymilvus = _imported()
        schema = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("logo_id", pymilvus.DataType.INT64, is_primary=True)
        schema.add_field("embedding", pymilvus.DataType.FLOAT_VECTOR, dim=dim)
        schema.add_field("in_build", pymilvus.DataType.BOOL)
        return schema

    def index_params(self, kind: str, params: dict[str, int | bool]) -> Any:
        """Return how `embedding` is indexed."""
        indexes = _imported().MilvusClient.prepare_index_params()
        indexes.add_index("embedding", index_type=kind, metric_type="L2", params=params)
        return indexes

    def close(self) -> None:
        """Let go of the connection; the next call makes another."""
        with self._mutex:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Any:
        client = self._client
        if client is not None:
            return client
        with self._mutex:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        made = self.connection
        with_client_certificate = {
            "ca_pem_path": str(made.ca),
            "client_pem_path": str(made.cert),
            "client_key_path": str(made.key),
        }
        tls = with_client_certificate if made.cert else {"server_pem_path": str(made.ca)} if made.ca else {}
        if made.server_name:
            tls["server_name"] = made.server_name
        return _imported().MilvusClient(
            uri=made.uri,
            token=made.token,
            db_name=made.database,
            timeout=made.connect_seconds,
            secure=made.uri.startswith("https:"),
            dedicated=True,  # else pymilvus shares connections, and closes them, by address
            grpc_options=_GRPC,
            **tls,
        )

    def _translated(self, method: str, error: Exception) -> EngineError:
        import grpc

        if isinstance(error, grpc.FutureTimeoutError):
            return EngineTimeoutError(f"Milvus at {self.connection.uri}: {method}: no answer in time")
        if isinstance(error, grpc.RpcError):
            code, says = getattr(error, "code", lambda: None)(), getattr(error, "details", lambda: "")()
            kind = EngineError if code in _refusals() else EngineUnreachableError
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                kind = EngineTimeoutError
            return kind(f"Milvus at {self.connection.uri}: {method}: {says or code}"[:_MESSAGE])
        code = getattr(error, "code", None)
        if code == _CONNECTION_FAILED and isinstance(error.__cause__, grpc.RpcError):
            return self._translated(method, error.__cause__)  # which says why
        says = getattr(error, "message", "") or str(error)
        message = f"Milvus at {self.connection.uri}: {method}: {says}"[:_MESSAGE]
        if code == _CONNECTION_FAILED or isinstance(code, grpc.StatusCode):
            return EngineUnreachableError(message)
        return EngineError(message, code=code if isinstance(code, int) else None)


@functools.cache
def _refusals() -> frozenset[Any]:
    """Return gRPC's codes of a server that is there, and does not do what it is asked."""
    from grpc import StatusCode as Code

    return frozenset({Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.RESOURCE_EXHAUSTED, Code.UNAUTHENTICATED})


def check_installed() -> None:
    """See to it that pymilvus can be imported, without importing it.

    Raises:
        EngineError: it is not installed; the message says how to.
    """
    if importlib.util.find_spec("pymilvus") is None:
        raise EngineError(
            "ANN_ENGINE=milvus needs pymilvus: `pip install -r requirements-milvus.txt`, or build the image with"
            " --build-arg MILVUS=1"
        )


@functools.cache
def _imported() -> Any:
    """Import pymilvus, and keep it from logging, with a stack each, errors that are ours to log."""
    check_installed()
    # Else what other parts of this process fork (`embeddings.store.hdf5_probe`) is brought to an end by gRPC's threads.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import pymilvus

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return pymilvus
