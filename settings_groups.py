"""The groups of settings. A part of the service receives its group as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from settings_values import (
    DSN,
    FILE,
    HOSTS,
    MILVUS_ADDRESS,
    MILVUS_TOKEN,
    MODEL,
    NAME,
    REVISION,
    SECONDS,
    SWITCH,
    WEB_ADDRESS,
    WEIGHTS,
    WORD,
    SettingsError,
    matching,
    one_of,
    setting,
    whole,
)
from version import VERSION

MILVUS_KINDS = ("auto", "FLAT", "IVF_FLAT", "HNSW", "SCANN", "DISKANN")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model embeds logos, and where its weights come from."""

    name: str = setting("ANN_MODEL", "efficientnet-lite0", MODEL, "Embedding model.")
    weights: str = setting(
        "ANN_WEIGHTS",
        "bundled",
        WEIGHTS,
        "Weights of the model. All but the bundled ones are converted once, which needs TensorFlow.",
    )
    weights_url: str | None = setting(
        "ANN_WEIGHTS_URL",
        None,
        WEB_ADDRESS,
        "Directory of a mirror to download `imagenet` and `noisy-student` from. Unset: their release on GitHub.",
        secret=True,
    )
    convert_seconds: float = setting(
        "ANN_CONVERT_SECONDS", 900.0, SECONDS, "Longest time to download and convert weights."
    )


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


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How large a request may be."""

    max_batch_logos: int = setting(
        "ANN_MAX_BATCH_LOGOS", 1000, whole(1), "Largest number of logo ids in one `/batch` request."
    )
    max_add_logos: int = setting("ANN_MAX_ADD_LOGOS", 1000, whole(1), "Largest number of logos in one `/add` request.")
    max_body_bytes: int = setting(
        "ANN_MAX_BODY_BYTES", 2**20, whole(1, unit="bytes"), "Largest request body, unless it is an image."
    )


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How many requests, images and threads one worker process handles at a time."""

    threads: int = setting(
        "ANN_THREADS", 16, whole(2, 1024), "Number of requests that one worker process handles at a time."
    )
    add_concurrency: int = setting(
        "ANN_ADD_CONCURRENCY",
        12,
        whole(1, 1023),
        "How many of these may be adds, deletions or queries by image; further ones are answered with 503. Must be"
        " below `ANN_THREADS`, so that threads remain for queries.",
    )
    embed_concurrency: int = setting(
        "ANN_EMBED_CONCURRENCY",
        2,
        whole(1, 1024),
        "Number of images that one worker process decodes and embeds at a time. It bounds memory.",
    )
    embed_threads: int = setting("ANN_EMBED_THREADS", 2, whole(1, 1024), "Number of threads that compute embeddings.")

    def __post_init__(self) -> None:
        if self.add_concurrency >= self.threads:
            raise SettingsError(
                f"ANN_ADD_CONCURRENCY={self.add_concurrency}: must be below ANN_THREADS={self.threads}, so that threads"
                " remain for queries"
            )


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How much time, memory and how many connections the clients of a worker process may use."""

    receive_seconds: float = setting(
        "ANN_RECEIVE_SECONDS", 20.0, SECONDS, "Longest time for a client to send a request; after it the answer is 408."
    )
    send_seconds: float = setting(
        "ANN_SEND_SECONDS", 20.0, SECONDS, "Longest time that a client may read nothing of its answer."
    )
    max_connections: int = setting(
        "ANN_MAX_CONNECTIONS",
        4096,
        whole(64, 2**20),
        "Number of connections that one worker process holds open. A new one beyond them closes the one that has been"
        " idle longest.",
    )
    max_buffer_bytes: int = setting(
        "ANN_MAX_BUFFER_BYTES",
        2**28,
        whole(2**20, unit="bytes"),
        "Memory of one worker process for requests and answers of slow clients. Beyond it the slowest are closed.",
    )


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Which images are downloaded, how large they may be, and how long a download may take."""

    hosts: frozenset[str] = setting(
        "ANN_IMAGE_HOSTS",
        frozenset(),
        HOSTS,
        "The only hosts that images are downloaded from; `.example.org` means its subdomains. Empty: any public host.",
    )
    allow_private_hosts: bool = setting(
        "ANN_ALLOW_PRIVATE_IMAGE_HOSTS",
        False,
        SWITCH,
        "Also download images from private and loopback addresses. For development only.",
    )
    user_agent: str = setting(
        "ANN_USER_AGENT",
        f"robotoff-ann/{VERSION} (+https://github.com/openfoodfacts/robotoff-ann)",
        matching(r"[!-~][ -~]{0,255}", "text in ASCII, at most 256 characters"),
        "How the service names itself to hosts of images. Open Food Facts and Wikimedia want a page or an address of"
        " yours in it.",
    )
    max_bytes: int = setting(
        "ANN_IMAGE_MAX_BYTES", 20 * 2**20, whole(1, unit="bytes"), "Largest image file, downloaded or sent."
    )
    max_pixels: int = setting(
        "ANN_IMAGE_MAX_PIXELS", 89_478_485, whole(1, unit="pixels"), "Largest image, or crop of one, that is decoded."
    )
    connect_seconds: float = setting(
        "ANN_IMAGE_CONNECT_SECONDS", 5.0, SECONDS, "Longest wait for a connection to an image's host."
    )
    read_seconds: float = setting(
        "ANN_IMAGE_READ_SECONDS", 10.0, SECONDS, "Longest time that an image's host may send nothing."
    )
    total_seconds: float = setting("ANN_IMAGE_TOTAL_SECONDS", 20.0, SECONDS, "Longest time to download one image.")
    max_redirects: int = setting(
        "ANN_IMAGE_MAX_REDIRECTS", 5, whole(0, 50), "Number of redirects that are followed for one image."
    )


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """Where errors are reported, and how reports name this service."""

    sentry_dsn: str | None = setting(
        "SENTRY_DSN", None, DSN, "Sentry project that errors are reported to. Unset or `disabled`: none.", secret=True
    )
    instance: str = setting("ANN_INSTANCE", "dev", NAME, "Name of the environment in error reports: `dev`, `prod`, ...")
    revision: str | None = setting(
        "ANN_REVISION",
        None,
        REVISION,
        "Revision of the source that runs, for error reports and metrics. The image's build argument `REVISION` sets"
        " it.",
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and in which form."""

    format: str = setting(
        "ANN_LOG_FORMAT", "human", one_of("human", "json"), "Form of each log line: text for people, or a JSON object."
    )
    level: str = setting(
        "LOG_LEVEL",
        "INFO",
        one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        "Least severe level that is logged.",
    )
