"""The configuration of gunicorn: a few processes with many threads.

Annoy, the embedder and the disk release the GIL, so the threads of a process run in parallel there. A second process
runs the Python code in parallel, too. `WEB_CONCURRENCY` and `GUNICORN_CMD_ARGS` override these values.
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
from api.server.body_sizes import body_sizes
from api.server.client_limits import ClientLimits
from api.server.gunicorn_log import GunicornLogger
from api.server.listening import check_addresses, gunicorn_binds, listen
from api.server.refusal import MOST_HEADER_BYTES, MOST_HEADERS
from api.telemetry.metric_files import MetricFiles
from runtime import logs
from settings import Settings, SettingsError, unknown_variables

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h; see mallopt(3)
_FEWEST_CONNECTIONS = 64  # with fewer, a few idle browsers would close each other's connections


def _stop(reason: object) -> NoReturn:
    sys.exit(f"robotoff-ann: {reason}")


def _workers() -> int:
    text = os.environ.get("WEB_CONCURRENCY", "").strip() or "2"  # gunicorn rejects an empty value and words
    if not text.isdecimal() or int(text) < 1:
        _stop(f"WEB_CONCURRENCY={text!r}: must be a whole number of at least 1")
    return int(text)


def _connections(wanted: int, threads: int) -> int:
    """Return how many connections a worker can hold; raise the limit of open files first if necessary and allowed."""
    others = (
        64 + 4 * threads
    )  # files of the store and the indexes; for each thread, its image, its lock and its connection
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + others:
        soft = wanted + others if hard == resource.RLIM_INFINITY else min(hard, wanted + others)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft - others)
    if possible < _FEWEST_CONNECTIONS:
        _stop(f"{hard} open files are allowed, {others + _FEWEST_CONNECTIONS} are needed: raise `ulimit -n`")
    return possible


def _memory_directory() -> str | None:
    """Return a directory in memory; `None` if there is none."""
    try:
        with tempfile.TemporaryFile(dir="/dev/shm"):
            return "/dev/shm"  # noqa: S108 - files there have no name, or belong to this user only
    except OSError:  # missing, full, or not writable
        return None


try:
    _settings = Settings.from_env()
    _settings.access.tokens()  # a file that cannot be read stops the start, not each worker
except SettingsError as error:
    _stop(error)


class BufferingWorker(worker.BufferingWorker):
    """The worker with the limits of the settings."""

    limits = ClientLimits(
        receive_seconds=_settings.clients.receive_seconds,
        send_seconds=_settings.clients.send_seconds,
        bodies=body_sizes(
            usual=_settings.requests.max_body_bytes,
            image=_settings.images.max_bytes,
            embeddings=_settings.requests.max_embeddings_bytes,
        ),
        buffer_bytes=_settings.clients.max_buffer_bytes,
    )


wsgi_app = "api.app:create_app()"
bind = gunicorn_binds(_settings.bind)
backlog = 2048  # connections that no worker has accepted yet; Linux limits it to net.core.somaxconn
workers = _workers()
worker_class = BufferingWorker
threads = _settings.workers.threads
worker_connections = _connections(_settings.clients.max_connections, _settings.workers.threads)
timeout = 60  # seconds without a sign of life before a worker is replaced; long requests do not count
graceful_timeout = 30  # seconds for running requests to finish at shutdown; Robotoff waits no longer
keepalive = 30  # seconds; Robotoff and browsers send the next request on the same connection
limit_request_line = 8190  # bytes, the most that gunicorn allows: about 900 ids in `logo_ids`
limit_request_fields = MOST_HEADERS  # the worker already refuses a head of more than 64 KiB
limit_request_field_size = MOST_HEADER_BYTES
control_socket_disable = True  # it would be in the home directory, where two services collide
worker_tmp_dir = _memory_directory()
logger_class = GunicornLogger
loglevel = _settings.log.level.lower()
logconfig_dict = logs.configuration(_settings.log.level, _settings.log.format)


def pre_fork(server: Any, worker: Any) -> None:
    """Choose the slot in whose files the new worker counts."""
    worker.metric_slot = server.metric_files.free_slot(other.metric_slot for other in server.WORKERS.values())


def post_fork(server: Any, worker: Any) -> None:
    """Count in files that all workers read, and make glibc return the memory of each decoded image at once."""
    logging.captureWarnings(True)
    try:
        server.metric_files.use(worker.metric_slot)
    except OSError as error:  # serving matters more than counting
        server.log.warning("/metrics lacks the counts of worker %d: %s", os.getpid(), error)
    with contextlib.suppress(OSError, AttributeError):  # another C library
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            ctypes.CDLL(None).mallopt(parameter, 2**22)  # bytes: far above what a query allocates


def child_exit(server: Any, worker: Any) -> None:
    """Remove the open connections of a dead worker from the metrics; its counts stay."""
    server.metric_files.forget(worker.metric_slot)


def on_exit(server: Any) -> None:
    """Remove the files of the metrics."""
    server.metric_files.remove()


def on_starting(server: Any) -> None:
    """Prepare the data directory once, before the workers are forked, because a migration may take minutes."""
    from embeddings.errors import EmbeddingsError
    from index.errors import SearchError
    from runtime.engines import check_engine
    from runtime.startup import prepare

    logger = logging.getLogger("robotoff-ann")
    for sentence in unknown_variables():
        logger.warning("%s", sentence)
    if worker_connections < _settings.clients.max_connections:
        logger.warning(
            "each worker can hold %d connections, not the %d of ANN_MAX_CONNECTIONS: raise `ulimit -n`",
            worker_connections,
            _settings.clients.max_connections,
        )
    try:
        check_addresses([] if server.cfg.reuse_port else server.cfg.address)
        check_engine(_settings)
        model = prepare(_settings)
        server.LISTENERS = listen(server.cfg, server.log)
        server.metric_files = MetricFiles.make(Path(_memory_directory() or tempfile.gettempdir()))
    except (EmbeddingsError, SearchError, OSError) as error:
        if _settings.log.format == "json":
            logger.critical("%s", error)
            sys.exit(1)
        _stop(error)
    weights = f"{model.description.weights}{'' if model.description.is_trained else ', untrained'}"
    logger.info("serving %s (weights: %s)", _settings.store_path, weights)
