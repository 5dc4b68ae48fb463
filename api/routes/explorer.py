"""The explorer: a page for browsing the index.

Its files are plain modules and one style sheet, served without a build step. The page calls the routes of this service,
and the browser loads photos from their original hosts. So images may come from any host, and everything else must come
from this one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import falcon

from api.answers.folder import StaticFolder

FOLDER = Path(__file__).parents[1] / "pages" / "explorer"
POLICY = (
    "default-src 'self'; img-src * data: blob:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)


def add_routes(app: falcon.App[Any, Any]) -> None:
    """Serve the page at `/`, and its files under `/explorer/`."""
    files = StaticFolder(FOLDER, POLICY)
    app.add_route("/", files.page("index.html"))
    app.add_route("/explorer/{file}", files)
