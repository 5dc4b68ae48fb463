"""The groups of settings. A part of the service receives its group as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from settings_values import (
    DSN,
    FILE,
    HOSTS,
    MODEL,
    NAME,
    REVISION,
    SECONDS,
    SWITCH,
    TOKEN,
    WEB_ADDRESS,
    WEIGHTS,
    SettingsError,
    matching,
    one_of,
    setting,
    token_in,
    whole,
)
from version import VERSION


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
class RequestLimits:
    """How large a request may be."""

    max_batch_logos: int = setting(
        "ANN_MAX_BATCH_LOGOS",
        1000,
        whole(1),
        "Largest number of logos in one request to `/batch`, `/attributes`, `/provenance`, `/predict` or `/delete`.",
    )
    max_add_logos: int = setting(
        "ANN_MAX_ADD_LOGOS", 1000, whole(1), "Largest number of logos in one `/add` or `/add_embeddings` request."
    )
    max_body_bytes: int = setting(
        "ANN_MAX_BODY_BYTES",
        2**20,
        whole(1, unit="bytes"),
        "Largest request body, unless it is an image or embeddings.",
    )
    max_embeddings_bytes: int = setting(
        "ANN_MAX_EMBEDDINGS_BYTES",
        2**24,
        whole(1, unit="bytes"),
        "Largest body of `/add_embeddings`. 1,000 embeddings of 512 values take 3 MB as base64, and about 10 MB as"
        " numbers.",
    )
    max_attributes: int = setting(
        "ANN_MAX_ATTRIBUTES", 16, whole(1, 256), "Largest number of attributes that a logo can have."
    )
    max_attribute_length: int = setting(
        "ANN_MAX_ATTRIBUTE_LENGTH", 256, whole(1, 4096), "Longest value of an attribute, in characters."
    )


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Which tokens requests must carry."""

    write_token: str | None = setting(
        "ANN_WRITE_TOKEN",
        None,
        TOKEN,
        "Token that requests must carry to change something; it also reads. Unset: anyone can.",
        secret=True,
    )
    write_token_file: Path | None = setting(
        "ANN_WRITE_TOKEN_FILE", None, FILE, "File that holds the write token, such as a Docker secret."
    )
    read_token: str | None = setting(
        "ANN_READ_TOKEN",
        None,
        TOKEN,
        "Token that requests must carry to search and to look up. Unset: anyone can.",
        secret=True,
    )
    read_token_file: Path | None = setting(
        "ANN_READ_TOKEN_FILE", None, FILE, "File that holds the read token, such as a Docker secret."
    )

    def __post_init__(self) -> None:
        for name in ("write", "read"):
            if getattr(self, f"{name}_token") is not None and getattr(self, f"{name}_token_file") is not None:
                raise SettingsError(f"ANN_{name.upper()}_TOKEN and ANN_{name.upper()}_TOKEN_FILE: set one of them")

    def tokens(self) -> tuple[str | None, str | None]:
        """Return the write token and the read token, from their files where these are set.

        Raises:
            SettingsError: a file cannot be read, or holds no token.
        """
        return (
            self.write_token or token_in("ANN_WRITE_TOKEN_FILE", self.write_token_file),
            self.read_token or token_in("ANN_READ_TOKEN_FILE", self.read_token_file),
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
    query_threads: int = setting(
        "ANN_QUERY_THREADS",
        2,
        whole(1, 16),
        "Number of threads that share the lists of one query among 200,000 logos or more. With 1, a query takes longer"
        " while a processor is idle, and a little less processor time.",
    )

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
