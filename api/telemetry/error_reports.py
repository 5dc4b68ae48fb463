"""Report errors to Sentry, with the id of the request and without secrets.

A report contains no bodies, no values of variables (they may hold embeddings and URLs), no cookies, no credentials, and
no queries of fetched URLs, which may be signed.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from api.telemetry.access_line import shown_query
from runtime import request_id
from settings import ReportSettings
from version import VERSION

_DROPPED = ("cookies", "data", "env")
_KEPT_HEADERS = frozenset({"Accept", "Content-Length", "Content-Type", "Host", "User-Agent", "X-Request-Id"})
_ADDRESS = re.compile(r"https?://[^\s'\"<>]+", re.IGNORECASE)


def release(settings: ReportSettings) -> str:
    """Return the release in Sentry's form: `robotoff-ann@2.0.0+4f2a9c1`."""
    return f"robotoff-ann@{VERSION}{f'+{settings.revision}' if settings.revision else ''}"


def report_errors(settings: ReportSettings) -> None:
    """Start reporting errors, if the settings name a Sentry project."""
    if settings.sentry_dsn is None:
        return
    import sentry_sdk  # only if it is used, because the import takes 0.1 s

    sentry_sdk.init(
        dsn=settings.sentry_dsn,
        environment=settings.instance,
        release=release(settings),
        include_local_variables=False,
        max_request_body_size="never",  # bodies hold embeddings
        trace_propagation_targets=[],  # send no trace headers to the hosts of images
        before_send=_without_secrets,  # type: ignore[arg-type]  # Sentry's Event is a TypedDict
        before_breadcrumb=_breadcrumb_without_secrets,
    )


def _without_secrets(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    named = request_id.current()
    if named is not None:
        event.setdefault("tags", {})["request_id"] = named
    request = event.get("request", {})
    for key in _DROPPED:
        request.pop(key, None)
    if "query_string" in request:
        request["query_string"] = shown_query(str(request["query_string"]))
    if "headers" in request:
        request["headers"] = {name: text for name, text in request["headers"].items() if name in _KEPT_HEADERS}
    return {key: _addresses_shortened(value) for key, value in event.items()}


def _breadcrumb_without_secrets(crumb: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    data = crumb.get("data")
    if isinstance(data, dict):
        data.pop("http.query", None)
        data.pop("http.fragment", None)
    return {key: _addresses_shortened(value) for key, value in crumb.items()}


def _addresses_shortened(thing: Any) -> Any:
    """Remove credentials and queries from all URLs in a value and in whatever it contains."""
    if isinstance(thing, str):
        return _ADDRESS.sub(lambda found: _shortened(found[0]), thing)
    if isinstance(thing, dict):
        return {key: _addresses_shortened(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [_addresses_shortened(value) for value in thing]
    return thing


def _shortened(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return "..."
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
