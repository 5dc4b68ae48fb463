"""The counters of the service, for Prometheus: requests, their times and stages, loads of indexes.

Several worker processes count in files that all of them can read (`metric_files.py`), so each can return the sums.
Values that describe the present, such as the number of stored logos, are read at each scrape (`gauges.py`). Labels have
few values, whatever clients send.
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
        # The creation times of counters mean nothing, because workers are replaced.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        shared = shared_directory()
        if shared is not None:
            MultiProcessCollector(self._registry, shared)  # type: ignore[no-untyped-call]
        made: dict[str, Any] = {"registry": None if shared else self._registry}
        self._requests = Counter(
            f"{PREFIX}requests",
            "Requests answered, including those that matched no route.",
            ["method", "route", "status"],
            **made,
        )
        self._seconds = Histogram(
            f"{PREFIX}request_duration_seconds",
            "Time from a complete request to its answer, without sending it.",
            ["method", "route"],
            buckets=_SECONDS,
            **made,
        )
        stages = Histogram(
            f"{PREFIX}stage_duration_seconds",
            "Time of each stage of a request: fetch, decode, embed, append, send, search, serialise.",
            ["stage"],
            buckets=_STAGE_SECONDS,
            **made,
        )
        self._loads = Counter(
            f"{PREFIX}index_loads",
            "Loads of an index by each worker process, including the first; result is ok or failed.",
            ["index", "result"],
            **made,
        )
        self._writes_refused = Counter(
            f"{PREFIX}writes_refused",
            "Adds, deletions and queries by image refused with 503, because too many were under way.",
            **made,
        )
        self._connections = Gauge(
            f"{PREFIX}open_connections",
            "Open connections of the workers.",
            multiprocess_mode="livesum",
            **made,
        )
        self._held_bytes = Gauge(
            f"{PREFIX}held_bytes",
            "Memory of the workers for requests and answers of slow clients.",
            multiprocess_mode="livesum",
            **made,
        )
        observers = {stage: stages.labels(stage.value) for stage in Stage}
        self.stages = Stages(lambda stage, seconds: observers[stage].observe(seconds))

    def count_request(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count an answered request, and its time if a route accepts its method.

        Other requests are not timed: histograms are large, and clients could create any number (`metric_files.py`).

        Args:
            method: as the client wrote it.
            route: the route template of the path, or `UNMATCHED`.
            status: the status of the answer.
            seconds: the time that it took; `None` if the app did not answer.
        """
        method = method if method in _METHODS else _OTHER
        self._requests.labels(method, route, str(status)).inc()
        if seconds is not None and route != UNMATCHED and status != 405 and method != _OTHER:
            self._seconds.labels(method, route).observe(seconds)

    def count_load(self, index_name: str, loaded: bool) -> None:
        """Count a load of an index, or a failed one."""
        for result, times in (("ok", int(loaded)), ("failed", int(not loaded))):
            self._loads.labels(index_name, result).inc(times)

    def count_refused_write(self) -> None:
        """Count an add, a deletion or a query by image that was refused."""
        self._writes_refused.inc()

    def set_load(self, connections: int, held_bytes: int) -> None:
        """Set the open connections and the buffered bytes of this worker."""
        self._connections.set(connections)
        self._held_bytes.set(held_bytes)

    def add(self, collector: Collector) -> None:
        """Add a collector, which is then asked at each scrape."""
        self._registry.register(collector)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
