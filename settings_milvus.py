"""The settings of Milvus, a group like those of `settings_groups.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from settings_values import (
    FILE,
    MILVUS_ADDRESS,
    MILVUS_TOKEN,
    NAME,
    SECONDS,
    SWITCH,
    WORD,
    SettingsError,
    one_of,
    setting,
    whole,
)

MILVUS_KINDS = ("auto", "FLAT", "IVF_FLAT", "HNSW", "SCANN", "DISKANN")


@dataclass(frozen=True, slots=True)
class MilvusSettings:
    """The address of Milvus, how to connect to it, and how it indexes."""

    uri: str = setting("ANN_MILVUS_URI", "http://127.0.0.1:19530", MILVUS_ADDRESS, "Address of Milvus.")
    token: str | None = setting("ANN_MILVUS_TOKEN", None, MILVUS_TOKEN, "Credentials for Milvus.", secret=True)
    database: str = setting("ANN_MILVUS_DATABASE", "default", WORD, "Milvus database that holds the collections.")
    ca: Path | None = setting(
        "ANN_MILVUS_CA",
        None,
        FILE,
        "CA certificate (PEM) that signed Milvus' certificate. Unset: those that come with gRPC.",
    )
    cert: Path | None = setting(
        "ANN_MILVUS_CERT", None, FILE, "Client certificate (PEM), for a Milvus that requires one."
    )
    key: Path | None = setting("ANN_MILVUS_KEY", None, FILE, "Private key (PEM) of the client certificate.")
    server_name: str | None = setting(
        "ANN_MILVUS_SERVER_NAME", None, NAME, "Host name in Milvus' certificate, if it differs from the address."
    )
    connect_seconds: float = setting(
        "ANN_MILVUS_CONNECT_SECONDS", 3.0, SECONDS, "Longest wait for Milvus to connect and to report its state."
    )
    query_seconds: float = setting(
        "ANN_MILVUS_QUERY_SECONDS",
        10.0,
        SECONDS,
        "Longest time for a query in Milvus, or for a whole batch; after it the answer is 503.",
    )
    write_seconds: float = setting(
        "ANN_MILVUS_WRITE_SECONDS",
        5.0,
        SECONDS,
        "Longest time that an add waits for each write to Milvus. Its logos are stored by then, and are sent to Milvus"
        " again later.",
    )
    build_seconds: float = setting(
        "ANN_MILVUS_BUILD_SECONDS",
        3600.0,
        SECONDS,
        "How long `generate-index` waits for a Milvus that is unreachable or makes no progress.",
    )
    index: str = setting(
        "ANN_MILVUS_INDEX",
        "auto",
        one_of(*MILVUS_KINDS),
        "Type of the index in Milvus. `auto`: `FLAT` below 10,000 logos, otherwise `HNSW`.",
    )
    feed: bool = setting(
        "ANN_MILVUS_FEED",
        True,
        SWITCH,
        "Send new and deleted logos to Milvus. Turn it off for a read-only service that has a copy of the store.",
    )
    replicas: int = setting(
        "ANN_MILVUS_REPLICAS", 1, whole(1, 1024), "Number of query nodes that hold each logo in memory."
    )
    shards: int = setting(
        "ANN_MILVUS_SHARDS", 1, whole(1, 64), "Number of shards of a collection, written in parallel."
    )
    message_bytes: int = setting(
        "ANN_MILVUS_MESSAGE_BYTES",
        2**24,
        whole(2**13, 2**26 - 2**16, "bytes"),
        "Size of the vectors in one message to Milvus, which rejects messages over 64 MiB.",
    )

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None) or (self.cert and self.ca is None):
            raise SettingsError("ANN_MILVUS_CERT and ANN_MILVUS_KEY must be set together, and require ANN_MILVUS_CA")
        if (self.ca or self.server_name) and not self.uri.startswith("https:"):
            raise SettingsError(
                f"ANN_MILVUS_URI={self.uri!r}: must begin with https:// if ANN_MILVUS_CA, ANN_MILVUS_CERT or"
                " ANN_MILVUS_SERVER_NAME is set; http:// is not encrypted"
            )
