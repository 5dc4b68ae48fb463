"""The connection to Milvus: opened at first use, with a time-out on every call, and errors of this room.

pymilvus is imported at first use too, so serving with Annoy does not need it.
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

_CONNECTION_FAILED = 2  # pymilvus' code for a server that does not answer, or refuses the connection
_MESSAGE = 300  # characters of an error message to keep: some of the server's quote whole stacks
_GRPC = {
    # Milliseconds. Servers disconnect clients that send keepalives more often, as pymilvus does by default.
    "grpc.keepalive_time_ms": 300_000,
    # By default gRPC tries to reconnect less and less often, in the end every two minutes.
    "grpc.initial_reconnect_backoff_ms": 500,
    "grpc.min_reconnect_backoff_ms": 3_000,
    "grpc.max_reconnect_backoff_ms": 2_000,
}


LARGEST_MESSAGE = 2**26
"""The largest message that Milvus accepts, in bytes."""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Where Milvus is, and how to connect to it.

    Attributes:
        uri: `http://host:port`, or `https://host:port` for TLS.
        token: `user:password`, or an API key; empty if not required.
        database: the server's database.
        ca: the certificate, in PEM, that signed the server's; `None` uses those of the system.
        cert: the client's own certificate, in PEM, for a server that requires one; it needs `ca` and `key`.
        key: the key of that certificate.
        server_name: the name on the server's certificate, if it is not the one in the URI; else empty.
        connect_seconds: limit for a connection, or a sign of life.
        query_seconds: limit for a query.
        write_seconds: how long an add may wait for the engine.
        message_bytes: the largest size of the vectors in one message; Milvus refuses messages over 64 MiB.
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
        """Return how many vectors of `dim` values fit into one message."""
        return max(1, self.message_bytes // (4 * dim + 16))


class Milvus:
    """A connection. Threads may share it; a process that forks must not have used it before.

    Attributes:
        connection: its options.
        on_silence: called with the error after every call without a response.
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
            EngineError: it refused the call.
        """
        pymilvus = _imported()
        import grpc  # installed with pymilvus

        try:
            return getattr(self._connected(), method)(*args, timeout=seconds, **options)
        except (pymilvus.exceptions.MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
            translated = self._translated(method, error)
            if isinstance(translated, EngineUnreachableError):
                self.on_silence(translated)
            raise translated from None  # pymilvus' stacks add nothing

    def schema(self, dim: int) -> Any:
        """Return the schema of a collection: `logo_id`, `embedding` of `dim` values, and `in_build`."""
        pymilvus = _imported()
        schema = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("logo_id", pymilvus.DataType.INT64, is_primary=True)
        schema.add_field("embedding", pymilvus.DataType.FLOAT_VECTOR, dim=dim)
        schema.add_field("in_build", pymilvus.DataType.BOOL)
        return schema

    def index_params(self, kind: str, params: dict[str, int | bool]) -> Any:
        """Return how to index `embedding`."""
        indexes = _imported().MilvusClient.prepare_index_params()
        indexes.add_index("embedding", index_type=kind, metric_type="L2", params=params)
        return indexes

    def close(self) -> None:
        """Close the connection; the next call opens another."""
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
            dedicated=True,  # else pymilvus shares connections by address, and closes shared ones
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
            return self._translated(method, error.__cause__)  # it has the reason
        says = getattr(error, "message", "") or str(error)
        message = f"Milvus at {self.connection.uri}: {method}: {says}"[:_MESSAGE]
        if code == _CONNECTION_FAILED or isinstance(code, grpc.StatusCode):
            return EngineUnreachableError(message)
        return EngineError(message, code=code if isinstance(code, int) else None)


@functools.cache
def _refusals() -> frozenset[Any]:
    """Return gRPC's codes of a server that is reachable, but refuses a call."""
    from grpc import StatusCode as Code

    return frozenset({Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.RESOURCE_EXHAUSTED, Code.UNAUTHENTICATED})


def check_installed() -> None:
    """Check that pymilvus can be imported, without importing it.

    Raises:
        EngineError: it is not installed; the message says how to install it.
    """
    if importlib.util.find_spec("pymilvus") is None:
        raise EngineError(
            "ANN_ENGINE=milvus needs pymilvus: `pip install -r requirements-milvus.txt`, or build the image with"
            " --build-arg MILVUS=1"
        )


@functools.cache
def _imported() -> Any:
    """Import pymilvus, and keep it from logging a stack for each error: this room logs them."""
    check_installed()
    # Otherwise gRPC's threads end processes that other parts of this one fork (`embeddings.store.hdf5_probe`).
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import pymilvus

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return pymilvus
