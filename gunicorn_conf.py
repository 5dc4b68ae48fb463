"""How gunicorn serves the app: threads in a few processes.

Annoy, the embedder and the disk all release the GIL, so threads answer side by side; a second process
takes the rest. `WEB_CONCURRENCY` and `GUNICORN_CMD_ARGS` change any of this.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from settings import Settings, SettingsError

try:
    _settings = Settings.from_env()
except SettingsError as error:
    sys.exit(f"robotoff-ann: {error}")

wsgi_app = "api.app:create_app()"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h; see mallopt(3)
bind = _settings.bind
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = _settings.threads
timeout = 60  # seconds without a sign of life before a worker is replaced; long requests do not count
graceful_timeout = 30  # seconds that requests under way are given at shutdown; Robotoff waits no longer
keepalive = 30  # seconds; Robotoff's and the browsers' next request comes on the same connection
limit_request_line = 8190  # bytes, gunicorn's largest: some 700 ids in `logo_ids`
control_socket_disable = True  # it would lie in the home directory, where two services collide
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - heartbeats must not wait for a disk
accesslog = "-"
loglevel = _settings.log_level.lower()
logconfig_dict: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": _settings.log_level, "handlers": ["stderr"]},
    "loggers": {
        "gunicorn.error": {"level": _settings.log_level, "handlers": [], "propagate": True},
        "gunicorn.access": {"level": _settings.log_level, "handlers": [], "propagate": True},
    },
}


def post_fork(server: Any, worker: Any) -> None:
    """Have glibc give the memory of each decoded image back at once, instead of keeping it for the next."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            ctypes.CDLL(None).mallopt(parameter, 2**22)  # bytes: far above what a query allocates


def on_starting(server: Any) -> None:
    """Prepare the data directory once, before any worker is forked, however long a migration takes."""
    from api.startup import prepare
    from embeddings.errors import EmbeddingsError

    try:
        model = prepare(_settings)
    except (EmbeddingsError, OSError) as error:
        sys.exit(f"robotoff-ann: {error}")
    weights = f"{model.description.weights}{'' if model.description.is_trained else ', untrained'}"
    logging.getLogger("robotoff-ann").info("serving %s (weights: %s)", _settings.store_path, weights)
