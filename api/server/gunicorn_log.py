"""gunicorn's logger without its access log: the app writes a line of each request, and does so under any server."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger


class GunicornLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """See the module."""

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Leave it to the app."""
