"""Every setting of the service: one typed, frozen table, read once from the environment.

The fields of `Settings` are the table. Each carries the variable it is read from, what that variable
takes, and what it is for; the README's table and the start-up errors are held to it by tests. A
variable that is unset or empty means the default.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

PREFIX = "ANN_"
DEFAULT_COLLECTION = "efficientnet-b0"
"""The index and the store of requests that name none: the name that the original gave them, whatever the model is."""
ENGINES = ("annoy", "milvus")
MILVUS_KINDS = ("auto", "FLAT", "IVF_FLAT", "HNSW", "SCANN", "DISKANN")
LOG_FORMATS = ("human", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class SettingsError(ValueError):
    """A variable of the environment has a value that its setting does not take."""


def _setting(
    variable: str, default: T, parse: Callable[[str], T], takes: str, purpose: str, *, secret: bool = False
) -> T:
    """Declare one row of the table: the value of a dataclass field that remembers how it is read.

    A secret one is neither shown by an error nor in the `repr` of the settings.
    """
    metadata = {"variable": variable, "parse": parse, "takes": takes, "purpose": purpose, "secret": secret}
    made: T = field(default=default, metadata=metadata, repr=not secret)
    return made


def _whole(minimum: int, maximum: int = 2**63 - 1) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not minimum <= value <= maximum:
            raise ValueError
        return value

    return parse


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86_400:  # also refuses NaN
        raise ValueError
    return value


def _switch(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}[
        text.lower()
    ]


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text.startswith("unix:") and len(text) > len("unix:"):
        return text
    if (
        ":" not in text
        or not port.isascii()
        or not port.isdigit()
        or int(port) > 65_535
        or (":" in host and not host.startswith("["))
    ):
        raise ValueError
    return text


def _file_name(text: str) -> str:
    if text.startswith(".") or "/" in text or "\0" in text:
        raise ValueError
    return text


def _hosts(text: str) -> frozenset[str]:
    hosts = frozenset(host.strip().lower() for host in text.split(",") if host.strip())
    for host in hosts:
        if host.startswith("["):
            ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]"))
        elif not re.fullmatch(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*", host):
            raise ValueError
    return hosts


def _web_address(text: str) -> str:
    if not re.fullmatch(r"https?://[^@/?#\s]+(/[^?#\s]*)?", text):
        raise ValueError
    return text


def _dsn(text: str) -> str | None:
    if text.lower() == "disabled":
        return None
    address = r"https?://[^@/:\s]+(:[^@/\s]*)?@(\[[0-9a-fA-F:.]+\]|[^@/:\s]+)(:\d{1,5})?/([^\s?#]*/)?\d+"
    if not re.fullmatch(address, text, re.ASCII) or urlsplit(text).port == 0:  # which may raise it, too
        raise ValueError
    return text


def _revision(text: str) -> str:
    if not re.fullmatch(r"[\w.+/-]{1,64}", text, re.ASCII):
        raise ValueError
    return text


def _engine(text: str) -> str:
    if text.lower() not in ENGINES:
        raise ValueError
    return text.lower()


def _milvus_address(text: str) -> str:
    if not re.fullmatch(r"https?://(\[[0-9a-fA-F:.]+\]|[^@/:?#\s]+)(:\d{1,5})?", text) or urlsplit(text).port == 0:
        raise ValueError
    return text


def _milvus_kind(text: str) -> str:
    known = {kind.lower(): kind for kind in MILVUS_KINDS}
    return known[text.lower()]


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w{0,254}", text, re.ASCII):
        raise ValueError
    return text


def _log_format(text: str) -> str:
    if text.lower() not in LOG_FORMATS:
        raise ValueError
    return text.lower()


def _log_level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise ValueError
    return text.upper()


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service was told; `from_env` reads it, tests build it directly."""

    data_dir: Path = _setting(
        "ANN_DATA_DIR", Path("data"), Path, "a directory", "Where the store and the indexes lie; made if missing."
    )
    bind: str = _setting(
        "ANN_BIND", ":5501", _address, "HOST:PORT, :PORT or unix:PATH", "The address that the service listens on."
    )
    default_index: str = _setting(
        "ANN_DEFAULT_INDEX",
        DEFAULT_COLLECTION,
        _file_name,
        "a directory name",
        "The index that answers when a request names none.",
    )
    engine: str = _setting(
        "ANN_ENGINE",
        "annoy",
        _engine,
        " or ".join(ENGINES),
        "What answers queries: Annoy, in this process, or a Milvus elsewhere.",
    )
    model: str = _setting(
        "ANN_MODEL", "efficientnet-lite0", _file_name, "efficientnet-lite0 or efficientnet-b0", "The embedding model."
    )
    weights: str = _setting(
        "ANN_WEIGHTS",
        "bundled",
        str,
        "bundled, imagenet, noisy-student or a path",
        "The model's weights. Others than the bundled ones are converted once, which needs TensorFlow.",
    )
    weights_url: str | None = _setting(
        "ANN_WEIGHTS_URL",
        None,
        _web_address,
        "an http or https address",
        "A mirror's directory, to download imagenet and noisy-student from. Unset: their release on GitHub.",
        secret=True,
    )
    store_capacity: int = _setting(
        "ANN_STORE_CAPACITY",
        10_000_000,
        _whole(1, 2**40),
        "a whole number of rows",
        "Room for logos in a new store. The file is sparse: unused rows take no disk.",
    )
    reload_seconds: float = _setting(
        "ANN_RELOAD_SECONDS", 5.0, _seconds, "seconds", "How often a running service looks for a new index."
    )
    search_k: int | None = _setting(
        "ANN_SEARCH_K",
        None,
        _whole(1),
        "a whole number of candidates",
        "Logos that a query ranks in an index of lists, or nodes that Annoy inspects without lists (of Milvus: ef, "
        "nprobe or search_list): more is slower and finds more. Unset: what was measured when the index was built; "
        "else `max(count, 100)` × trees.",
    )
    milvus_uri: str = _setting(
        "ANN_MILVUS_URI",
        "http://127.0.0.1:19530",
        _milvus_address,
        "http://HOST:PORT, or https:// for TLS",
        "Where Milvus is.",
    )
    milvus_token: str | None = _setting(
        "ANN_MILVUS_TOKEN", None, str, "USER:PASSWORD, or an API key", "What Milvus knows this service by.", secret=True
    )
    milvus_database: str = _setting(
        "ANN_MILVUS_DATABASE", "default", _word, "a name", "The database of Milvus that the collections lie in."
    )
    milvus_ca: Path | None = _setting(
        "ANN_MILVUS_CA",
        None,
        Path,
        "a file",
        "The certificate, in PEM, that Milvus' own is signed with. Unset: gRPC's.",
    )
    milvus_cert: Path | None = _setting(
        "ANN_MILVUS_CERT", None, Path, "a file", "This service's certificate, in PEM, for a Milvus that asks for one."
    )
    milvus_key: Path | None = _setting("ANN_MILVUS_KEY", None, Path, "a file", "The key of that certificate, in PEM.")
    milvus_server_name: str | None = _setting(
        "ANN_MILVUS_SERVER_NAME", None, str, "a host name", "The name on Milvus' certificate, if it is not the host's."
    )
    milvus_connect_seconds: float = _setting(
        "ANN_MILVUS_CONNECT_SECONDS", 3.0, _seconds, "seconds", "The longest wait for Milvus, when asked how it is."
    )
    milvus_query_seconds: float = _setting(
        "ANN_MILVUS_QUERY_SECONDS",
        10.0,
        _seconds,
        "seconds",
        "The longest that a query may take in Milvus, a batch in all; then it is told 503.",
    )
    milvus_write_seconds: float = _setting(
        "ANN_MILVUS_WRITE_SECONDS",
        5.0,
        _seconds,
        "seconds",
        "The longest that an add, whose logos are stored by then, waits for each step of Milvus; later they are sent"
        " again.",
    )
    milvus_build_seconds: float = _setting(
        "ANN_MILVUS_BUILD_SECONDS",
        3600.0,
        _seconds,
        "seconds",
        "How long `generate-index` waits for a Milvus that is away, or does not get on.",
    )
    milvus_index: str = _setting(
        "ANN_MILVUS_INDEX",
        "auto",
        _milvus_kind,
        ", ".join(MILVUS_KINDS),
        "The type of index that Milvus builds; auto: FLAT below 10,000 logos, else HNSW.",
    )
    milvus_feed: bool = _setting(
        "ANN_MILVUS_FEED",
        True,
        _switch,
        "true or false",
        "Send what is stored and deleted here to Milvus. Off for a service that only reads, with a copy of a store.",
    )
    milvus_replicas: int = _setting(
        "ANN_MILVUS_REPLICAS", 1, _whole(1, 1024), "a whole number", "In how many query nodes each logo is in memory."
    )
    milvus_shards: int = _setting(
        "ANN_MILVUS_SHARDS", 1, _whole(1, 64), "a whole number", "Parts of a collection that are written side by side."
    )
    milvus_message_bytes: int = _setting(
        "ANN_MILVUS_MESSAGE_BYTES",
        2**24,
        _whole(2**13, 2**26 - 2**16),
        "bytes, up to 67043328",
        "Vectors in one message to Milvus, which refuses larger ones than 64 MiB.",
    )
    map_points: int = _setting(
        "ANN_MAP_POINTS",
        20_000,
        _whole(0, 200_000),
        "a whole number of logos, up to 200000",
        "How many logos, at most, the map of an index shows; 0: there is no map.",
    )
    search_unindexed: bool = _setting(
        "ANN_SEARCH_UNINDEXED",
        False,
        _switch,
        "true or false",
        "Let queries also search stored logos that the index does not hold yet, exactly: a scan of their vectors.",
    )
    search_unindexed_max: int = _setting(
        "ANN_SEARCH_UNINDEXED_MAX",
        10_000,
        _whole(1),
        "a whole number of logos",
        "How many of them, at most, the newest: a worker process keeps their vectors, 5 KB each, for each index.",
    )
    max_batch_logos: int = _setting(
        "ANN_MAX_BATCH_LOGOS", 1000, _whole(1), "a whole number", "Logo ids that one `/batch` request may name."
    )
    max_add_logos: int = _setting(
        "ANN_MAX_ADD_LOGOS", 1000, _whole(1), "a whole number", "Logos that one `/add` request may name."
    )
    max_body_bytes: int = _setting(
        "ANN_MAX_BODY_BYTES", 2**20, _whole(1), "bytes", "The largest request body that is read, if it is no image."
    )
    explorer: bool = _setting(
        "ANN_EXPLORER", True, _switch, "true or false", "Show the explorer, a page to look around in the index, at `/`."
    )
    allow_delete: bool = _setting(
        "ANN_ALLOW_DELETE",
        False,
        _switch,
        "true or false",
        "Answer `DELETE /api/v1/ann/{logo_id}`. Whoever reaches the service can then delete logos.",
    )
    receive_seconds: float = _setting(
        "ANN_RECEIVE_SECONDS",
        20.0,
        _seconds,
        "seconds",
        "The longest that a client may take to send a request, in all; then it is told 408.",
    )
    send_seconds: float = _setting(
        "ANN_SEND_SECONDS",
        20.0,
        _seconds,
        "seconds",
        "The longest that a client may take nothing of its answer.",
    )
    max_connections: int = _setting(
        "ANN_MAX_CONNECTIONS",
        4096,
        _whole(64, 2**20),
        "a whole number from 64",
        "Connections that one worker process holds open; a new one beyond them closes the one that was idle longest.",
    )
    max_buffer_bytes: int = _setting(
        "ANN_MAX_BUFFER_BYTES",
        2**28,
        _whole(2**20),
        "bytes, from 1048576",
        "What one worker process holds of requests and answers of slow clients; beyond it the slowest are closed.",
    )
    threads: int = _setting(
        "ANN_THREADS", 16, _whole(2, 1024), "a whole number from 2", "Requests that one worker process answers at once."
    )
    add_concurrency: int = _setting(
        "ANN_ADD_CONCURRENCY",
        12,
        _whole(1, 1023),
        "a whole number below `ANN_THREADS`",
        "How many of them may be adds, deletions or queries by image, so that threads are left to the others; more are "
        "told 503.",
    )
    embed_concurrency: int = _setting(
        "ANN_EMBED_CONCURRENCY",
        2,
        _whole(1, 1024),
        "a whole number",
        "Images that one worker process decodes and embeds at once: it bounds memory.",
    )
    embed_threads: int = _setting(
        "ANN_EMBED_THREADS", 2, _whole(1, 1024), "a whole number", "Threads that the embedder computes with."
    )
    convert_seconds: float = _setting(
        "ANN_CONVERT_SECONDS",
        900.0,
        _seconds,
        "seconds",
        "The longest that weights may take to be downloaded and converted.",
    )
    image_hosts: frozenset[str] = _setting(
        "ANN_IMAGE_HOSTS",
        frozenset(),
        _hosts,
        "host names in ASCII, separated by commas",
        "The only hosts that images are fetched from; `.example.org` means its subdomains. Empty: any public host.",
    )
    allow_private_image_hosts: bool = _setting(
        "ANN_ALLOW_PRIVATE_IMAGE_HOSTS",
        False,
        _switch,
        "true or false",
        "Fetch images from private and loopback addresses too. For development only.",
    )
    image_max_bytes: int = _setting(
        "ANN_IMAGE_MAX_BYTES", 20 * 2**20, _whole(1), "bytes", "The largest image file that is fetched, or sent."
    )
    image_max_pixels: int = _setting(
        "ANN_IMAGE_MAX_PIXELS", 89_478_485, _whole(1), "pixels", "The largest image, or crop of it, that is decoded."
    )
    image_connect_seconds: float = _setting(
        "ANN_IMAGE_CONNECT_SECONDS", 5.0, _seconds, "seconds", "The longest wait for a connection to an image's host."
    )
    image_read_seconds: float = _setting(
        "ANN_IMAGE_READ_SECONDS", 10.0, _seconds, "seconds", "The longest silence of an image's host."
    )
    image_total_seconds: float = _setting(
        "ANN_IMAGE_TOTAL_SECONDS", 20.0, _seconds, "seconds", "The longest that fetching one image may take in all."
    )
    image_max_redirects: int = _setting(
        "ANN_IMAGE_MAX_REDIRECTS", 5, _whole(0, 50), "a whole number", "Redirects that are followed for one image."
    )
    sentry_dsn: str | None = _setting(
        "SENTRY_DSN", None, _dsn, "a DSN, or disabled", "Where errors are reported. Unset: nowhere.", secret=True
    )
    instance: str = _setting(
        "ANN_INSTANCE", "dev", str, "a word", "The environment's name in error reports: `dev`, `prod`, ..."
    )
    revision: str | None = _setting(
        "ANN_REVISION",
        None,
        _revision,
        "a word",
        "Which state of the source runs, for error reports and metrics; the image's build argument `REVISION` sets it.",
    )
    log_format: str = _setting(
        "ANN_LOG_FORMAT",
        "human",
        _log_format,
        " or ".join(LOG_FORMATS),
        "How a line of the log looks: for people, or a JSON object.",
    )
    log_level: str = _setting(
        "LOG_LEVEL", "INFO", _log_level, ", ".join(LOG_LEVELS), "The least severe message logged."
    )

    def __post_init__(self) -> None:
        if self.add_concurrency >= self.threads:
            raise SettingsError(
                f"ANN_ADD_CONCURRENCY={self.add_concurrency} takes a whole number below ANN_THREADS={self.threads}:"
                " some threads must be left to the queries"
            )
        if (self.milvus_cert is None) != (self.milvus_key is None) or (self.milvus_cert and self.milvus_ca is None):
            raise SettingsError("ANN_MILVUS_CERT and ANN_MILVUS_KEY take each other, and ANN_MILVUS_CA")
        if (self.milvus_ca or self.milvus_server_name) and not self.milvus_uri.startswith("https:"):
            raise SettingsError(
                "ANN_MILVUS_CA, ANN_MILVUS_CERT and ANN_MILVUS_SERVER_NAME take https:// in ANN_MILVUS_URI: without it,"
                " nothing is encrypted"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the table from the environment.

        Raises:
            SettingsError: a value is not one that its variable takes; one line that names both.
        """
        values = {}
        for row in fields(cls):
            text = environ.get(row.metadata["variable"], "").strip()
            if not text:
                continue
            try:
                values[row.name] = row.metadata["parse"](text)
            except (ValueError, KeyError):
                shown = "..." if row.metadata["secret"] else repr(text)
                raise SettingsError(f"{row.metadata['variable']}={shown} takes {row.metadata['takes']}") from None
        return cls(**values)

    @property
    def store_path(self) -> Path:
        """The HDF5 store of the default collection, whichever model made its vectors."""
        return self.data_dir / f"{DEFAULT_COLLECTION}.hdf5"

    @property
    def model_dir(self) -> Path:
        """Where converted weights are kept; hidden, so that it is never taken for an index."""
        return self.data_dir / ".models"


def table() -> tuple[Field[Any], ...]:
    """The rows of the table, in its order; their metadata hold `variable`, `takes` and `purpose`."""
    return fields(Settings)


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Variables that look like settings but are none: most likely misspelt."""
    known = {row.metadata["variable"] for row in fields(Settings)}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
