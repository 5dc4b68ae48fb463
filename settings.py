"""Every setting of the service, read once from the environment.

`Settings` is the table: each field names its variable, the values that the variable may have, and its purpose. Related
fields are in groups (`settings_groups.py`, `settings_milvus.py`), and the kinds of values are in `settings_values.py`.
Tests compare this table with the one in the documentation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Any

from settings_groups import (
    AccessSettings,
    ClientSettings,
    ImageSettings,
    LogSettings,
    ModelSettings,
    ReportSettings,
    RequestLimits,
    WorkerSettings,
)
from settings_milvus import MilvusSettings
from settings_values import (
    ADDRESS,
    DIRECTORY,
    FILE_NAME,
    SECONDS,
    SWITCH,
    SettingsError,
    misspelt,
    one_of,
    read,
    rows_of,
    setting,
    whole,
)

__all__ = [
    "DEFAULT_COLLECTION",
    "AccessSettings",
    "ClientSettings",
    "ImageSettings",
    "LogSettings",
    "MilvusSettings",
    "ModelSettings",
    "ReportSettings",
    "RequestLimits",
    "Settings",
    "SettingsError",
    "WorkerSettings",
    "table",
    "unknown_variables",
]

_OF_DOCKER_COMPOSE = (
    "ANN_DATA_MOUNT_POINT",
    "ANN_EXPOSE",
)  # in the original's .env, which containers get, too

DEFAULT_COLLECTION = "efficientnet-b0"
"""The name of the default index and its store. The original's name is kept, whatever the model is."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the service and the commands. `from_env` reads them; tests create them directly."""

    data_dir: Path = setting(
        "ANN_DATA_DIR", Path("data"), DIRECTORY, "Directory of the store and the indexes; created if missing."
    )
    bind: str = setting(
        "ANN_BIND", ":5501", ADDRESS, "Address that the service listens on; `:PORT` is every IPv4 and IPv6 address."
    )
    default_index: str = setting(
        "ANN_DEFAULT_INDEX", DEFAULT_COLLECTION, FILE_NAME, "Index that is searched when a request names none."
    )
    engine: str = setting(
        "ANN_ENGINE",
        "annoy",
        one_of("annoy", "milvus"),
        "What answers queries: Annoy in this process, or a Milvus server.",
    )
    store_capacity: int = setting(
        "ANN_STORE_CAPACITY",
        10_000_000,
        whole(1, 2**40),
        "Number of logos that a new store has room for. The file is sparse: unused rows take no disk space.",
    )
    reload_seconds: float = setting(
        "ANN_RELOAD_SECONDS", 5.0, SECONDS, "How often a running service looks for a new index."
    )
    search_k: int | None = setting(
        "ANN_SEARCH_K",
        None,
        whole(1),
        "Logos that a query ranks in an index of lists, or nodes that Annoy inspects in one without (in Milvus: `ef`,"
        " `nprobe` or `search_list`). More finds more neighbours and takes longer. Unset: the value measured when the"
        " index was built, or else `max(count, 100)` × trees.",
    )
    search_unindexed: bool = setting(
        "ANN_SEARCH_UNINDEXED",
        False,
        SWITCH,
        "Also search stored logos that are not yet indexed, by an exact scan of their vectors.",
    )
    search_unindexed_max: int = setting(
        "ANN_SEARCH_UNINDEXED_MAX",
        10_000,
        whole(1),
        "Number of logos that this scan covers, the newest ones. A worker process keeps their vectors in memory: 7 KB"
        " for each logo and index.",
    )
    map_points: int = setting(
        "ANN_MAP_POINTS", 20_000, whole(0, 200_000), "Largest number of logos on the map of an index. 0: no map."
    )
    explorer: bool = setting(
        "ANN_EXPLORER", True, SWITCH, "Serve the explorer, a page for looking around in the index, at `/`."
    )
    allow_delete: bool = setting(
        "ANN_ALLOW_DELETE",
        False,
        SWITCH,
        "Answer `DELETE /api/v1/ann/{logo_id}` and `POST /api/v1/ann/delete`. Anyone who can reach the service can then"
        " delete logos, unless `ANN_WRITE_TOKEN` is set.",
    )
    model: ModelSettings = ModelSettings()
    milvus: MilvusSettings = MilvusSettings()
    requests: RequestLimits = RequestLimits()
    access: AccessSettings = AccessSettings()
    workers: WorkerSettings = WorkerSettings()
    clients: ClientSettings = ClientSettings()
    images: ImageSettings = ImageSettings()
    reports: ReportSettings = ReportSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from the environment.

        Raises:
            SettingsError: a variable has a wrong value; the message is one line that names variable and value.
        """
        return read(cls, environ)

    @property
    def store_path(self) -> Path:
        """The HDF5 store of the default index, whatever model made its vectors."""
        return self.data_dir / f"{DEFAULT_COLLECTION}.hdf5"

    @property
    def model_dir(self) -> Path:
        """The directory of converted weights. It is hidden, so that it is never mistaken for an index."""
        return self.data_dir / ".models"


def table() -> tuple[Field[Any], ...]:
    """Return all settings, in order. Their metadata have `variable`, `takes`, `purpose` and `secret`."""
    return tuple(rows_of(Settings))


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return a warning for each variable that begins with `ANN_` and is not a setting: most likely it is misspelt."""
    ours = {name: value for name, value in environ.items() if name not in _OF_DOCKER_COMPOSE}
    return misspelt(ours, [row.metadata["variable"] for row in table()])
