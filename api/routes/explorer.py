"""The explorer: a page to look around in the index, and the files that it is made of.

They are plain modules and one style sheet, served as they lie in the folder. The page asks the routes of this service,
and the browser fetches photos from where they were seen: so pictures may come from any host, and nothing else may.
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
    """Answer the page at `/`, and its files under `/explorer/`."""
    files = StaticFolder(FOLDER, POLICY)
    app.add_route("/", files.page("index.html"))
    app.add_route("/explorer/{file}", files)
