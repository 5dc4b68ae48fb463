"""What the service counts, for Prometheus: requests, the time they and their stages take, loads of indexes.

Where several worker processes serve, each counts in files that all can read (`metric_files.py`), and whichever is
asked tells the sums. Whatever is so at the moment of asking, such as how many logos are stored, is not kept here but
looked up then (`gauges.py`). Labels take few values, whatever clients send.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.journeys.stages import Stage, Stages
from api.telemetry.metric_files import shared_directory

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "robotoff_ann_"
UNMATCHED = "unmatched"
_OTHER = "other"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STAGE_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


class Metrics:
    """The counters of one app. Threads may share it."""

    def __init__(self) -> None:
        # When a counter began is of no use where workers come and go.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        shared = shared_directory()
        if shared is not None:
            MultiProcessCollector(self._registry, shared)  # type: ignore[no-untyped-call]
        made: dict[str, Any] = {"registry": None if shared else self._registry}
        self._requests = Counter(
            f"{PREFIX}requests",
            "Requests answered, with those that no route was reached by.",
            ["method", "route", "status"],
            **made,
        )
        self._seconds = Histogram(
            f"{PREFIX}request_duration_seconds",
            "From a whole request to its answer, before that is sent.",
            ["method", "route"],
            buckets=_SECONDS,
            **made,
        )
        stages = Histogram(
            f"{PREFIX}stage_duration_seconds",
            "Stages of requests: fetch, decode, embed, append, send, search, serialise.",
            ["stage"],
            buckets=_STAGE_SECONDS,
            **made,
        )
        self._loads = Counter(
            f"{PREFIX}index_loads",
            "Loads of an index by each worker process, the first one among them; result is ok or failed.",
            ["index", "result"],
            **made,
        )
        self._writes_refused = Counter(
            f"{PREFIX}writes_refused",
            "Adds, deletions, queries by image told 503: too many were under way.",
            **made,
        )
        self._connections = Gauge(
            f"{PREFIX}open_connections",
            "Connections that the workers hold open.",
            multiprocess_mode="livesum",
            **made,
        )
        self._held_bytes = Gauge(
            f"{PREFIX}held_bytes",
            "What the workers hold of requests and answers of slow clients.",
            multiprocess_mode="livesum",
            **made,
        )
        observers = {stage: stages.labels(stage.value) for stage in Stage}
        self.stages = Stages(lambda stage, seconds: observers[stage].observe(seconds))

    def count_request(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count an answered request, and its time if it has a route that takes its method.

        Histograms are large, and would outgrow their space if any client could begin new ones (`metric_files.py`).

        Args:
            method: as the client wrote it.
            route: the template of its path, or `UNMATCHED`.
            status: of the answer.
            seconds: that it took; `None` if no app answered it.
        """
        method = method if method in _METHODS else _OTHER
        self._requests.labels(method, route, str(status)).inc()
        if seconds is not None and route != UNMATCHED and status != 405 and method != _OTHER:
            self._seconds.labels(method, route).observe(seconds)

    def count_load(self, index_name: str, taken_in: bool) -> None:
        """Count that an index was loaded, or could not be."""
        for result, times in (("ok", int(taken_in)), ("failed", int(not taken_in))):
            self._loads.labels(index_name, result).inc(times)

    def count_refused_write(self) -> None:
        """Count an add or a deletion that was one too many."""
        self._writes_refused.inc()

    def set_load(self, connections: int, held_bytes: int) -> None:
        """Say what this worker holds now."""
        self._connections.set(connections)
        self._held_bytes.set(held_bytes)

    def add(self, collector: Collector) -> None:
        """Ask a collector, too, whenever the metrics are asked for."""
        self._registry.register(collector)

    def render(self) -> bytes:
        """Write all of it in Prometheus' text format."""
        return generate_latest(self._registry)
