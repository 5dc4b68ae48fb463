"""`POST /api/v1/ann/from_image`: an image in, its nearest logos out, and nothing stored."""

from __future__ import annotations

from dataclasses import dataclass

import falcon

from api.journeys.logo_embedder import LogoEmbedder
from api.journeys.neighbour_search import NeighbourSearch
from api.journeys.write_limit import WriteLimit
from api.routes.logos import listed
from api.routes.parameters import bounding_box_of, count_of
from embeddings.images.decode import check_box


@dataclass(frozen=True, slots=True)
class ImageNeighboursResource:
    """The nearest logos to one on an image that is not stored.

    The vector that is searched for is the very one that `/add` would store. Embedding takes a thread for as long as an
    add without its image's fetching, so it counts as one: queries by id keep theirs.
    """

    search: NeighbourSearch
    embedder: LogoEmbedder
    limit: WriteLimit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the neighbours of what the `bounding_box` holds of the body, an image's file."""
        if not (req.content_type or "").lower().startswith("image/"):
            text = "Send an image's file as the body, with its Content-Type: image/jpeg, image/png, ..."
            raise falcon.HTTPUnsupportedMediaType(title="not an image", description=text)
        count, index_name, box = count_of(req), req.get_param("index"), bounding_box_of(req)
        check_box(box, logo_id=None)
        self.search.catalog.get(index_name)  # if there is none, nothing need be embedded
        with self.limit.turn():
            vector = self.embedder.embed(req.bounded_stream.read(), [(None, box)])[0]
        resp.media = listed(self.search.of_vector(vector, count, index_name))
