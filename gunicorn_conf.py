"""How gunicorn serves the app: threads in a few processes.

Annoy, the embedder and the disk all release the GIL, so threads answer side by side; a second process
takes the rest. `WEB_CONCURRENCY` and `GUNICORN_CMD_ARGS` change any of this.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))
# Before NumPy is imported: the products of a query are small, and threads that wait for each other hold up the others.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from api.server import worker
from api.server.bodies import body_sizes
from api.server.client_limits import ClientLimits
from api.server.logger import GunicornLogger
from api.telemetry.metric_files import MetricFiles
from runtime import logs as log_lines
from settings import Settings, SettingsError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h; see mallopt(3)
_FEWEST_CONNECTIONS = 64  # with fewer, a few idle browsers would be in each other's way


def _stop(reason: object) -> NoReturn:
    sys.exit(f"robotoff-ann: {reason}")


def _workers() -> int:
    text = os.environ.get("WEB_CONCURRENCY", "").strip() or "2"  # gunicorn itself refuses an empty one, and words
    if not text.isdecimal() or int(text) < 1:
        _stop(f"WEB_CONCURRENCY={text!r} takes a whole number from 1")
    return int(text)


def _connections(wanted: int, threads: int) -> int:
    """Return how many connections a worker can hold, having raised the limit of open files as far as it goes."""
    others = 64 + 4 * threads  # files of the store and the indexes; a thread's image, its lock, its connection
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + others:
        soft = wanted + others if hard == resource.RLIM_INFINITY else min(hard, wanted + others)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft - others)
    if possible < _FEWEST_CONNECTIONS:
        _stop(f"{hard} open files are allowed, {others + _FEWEST_CONNECTIONS} are needed: raise `ulimit -n`")
    return possible


def _memory_directory() -> str | None:
    """Return a directory that does not wait for a disk; None if there is none."""
    try:
        with tempfile.TemporaryFile(dir="/dev/shm"):
            return "/dev/shm"  # noqa: S108 - what is put there has no name, or is for this user only
    except OSError:  # missing, full, or not for this user
        return None


try:
    _settings = Settings.from_env()
except SettingsError as error:
    _stop(error)


class BufferingWorker(worker.BufferingWorker):
    """gunicorn's threads, kept from waiting for clients."""

    limits = ClientLimits(
        receive_seconds=_settings.receive_seconds,
        send_seconds=_settings.send_seconds,
        bodies=body_sizes(usual=_settings.max_body_bytes, image=_settings.image_max_bytes),
        buffer_bytes=_settings.max_buffer_bytes,
    )


wsgi_app = "api.app:create_app()"
bind = _settings.bind
backlog = 2048  # connections that wait for a worker to take them; Linux caps it at net.core.somaxconn
workers = _workers()
worker_class = BufferingWorker
threads = _settings.threads
worker_connections = _connections(_settings.max_connections, _settings.threads)
timeout = 60  # seconds without a sign of life before a worker is replaced; long requests do not count
graceful_timeout = 30  # seconds that requests under way are given at shutdown; Robotoff waits no longer
keepalive = 30  # seconds; Robotoff's and the browsers' next request comes on the same connection
limit_request_line = 8190  # bytes, gunicorn's largest: some 700 ids in `logo_ids`
limit_request_fields = 100  # of at most `limit_request_field_size`; a head of more than 64 KiB is refused before
limit_request_field_size = 8190  # bytes: room for a browser's cookies of other services on the host
control_socket_disable = True  # it would lie in the home directory, where two services collide
worker_tmp_dir = _memory_directory()
logger_class = GunicornLogger
loglevel = _settings.log_level.lower()
logconfig_dict = log_lines.configuration(_settings.log_level, _settings.log_format)


def pre_fork(server: Any, worker: Any) -> None:
    """Choose where the new worker counts."""
    worker.metric_slot = server.metric_files.free_slot(other.metric_slot for other in server.WORKERS.values())


def post_fork(server: Any, worker: Any) -> None:
    """Count in files that all workers read, and have glibc give the memory of each decoded image back at once."""
    logging.captureWarnings(True)
    try:
        server.metric_files.use(worker.metric_slot)
    except OSError as error:  # answers matter more
        server.log.warning("what worker %d counts is not in /metrics: %s", os.getpid(), error)
    with contextlib.suppress(OSError, AttributeError):  # another C library
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            ctypes.CDLL(None).mallopt(parameter, 2**22)  # bytes: far above what a query allocates


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a worker had open; what it counted stays."""
    server.metric_files.forget(worker.metric_slot)


def on_exit(server: Any) -> None:
    """Remove what the workers counted in."""
    server.metric_files.remove()


def on_starting(server: Any) -> None:
    """Prepare the data directory once, before any worker is forked, however long a migration takes."""
    from embeddings.errors import EmbeddingsError
    from index.errors import SearchError
    from runtime.engines import check_engine
    from runtime.startup import prepare

    logger = logging.getLogger("robotoff-ann")
    if worker_connections < _settings.max_connections:
        logger.warning(
            "each worker can hold %d connections, not the %d of ANN_MAX_CONNECTIONS: raise `ulimit -n`",
            worker_connections,
            _settings.max_connections,
        )
    try:
        check_engine(_settings)
        model = prepare(_settings)
        server.metric_files = MetricFiles.make(Path(_memory_directory() or tempfile.gettempdir()))
    except (EmbeddingsError, SearchError, OSError) as error:
        if _settings.log_format == "json":
            logger.critical("%s", error)
            sys.exit(1)
        _stop(error)
    weights = f"{model.description.weights}{'' if model.description.is_trained else ', untrained'}"
    logger.info("serving %s (weights: %s)", _settings.store_path, weights)
