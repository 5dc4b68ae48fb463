"""The app factory: the only place that knows all the parts.

`create_app` prepares the data directory, opens the store, loads the indexes and hands every resource what
it needs. It is called once in each worker process, after the fork; the embedder loads its model at the
first add.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import falcon
import falcon.media
import orjson
from falcon.routing import CompiledRouter

from api import errors, openapi
from api.answers.index_maps import IndexMaps
from api.journeys.attribute_setter import AttributeSetter
from api.journeys.backlog import Backlog
from api.journeys.health import Health
from api.journeys.logo_adder import LogoAdder
from api.journeys.logo_attributes import LogoAttributes
from api.journeys.logo_embedder import LogoEmbedder
from api.journeys.logo_remover import LogoRemover
from api.journeys.matching import Filters
from api.journeys.neighbour_search import NeighbourSearch
from api.journeys.stages import Stage, Stages
from api.journeys.unindexed import UnindexedLogos
from api.journeys.write_limit import WriteLimit
from api.routes import attributes as attribute_resources
from api.routes import explorer, robotoff_search
from api.routes import index as index_resources
from api.routes import logos as logo_resources
from api.routes import search as search_resources
from api.routes import service as operator_resources
from api.routes import votes as vote_resources
from api.server.access import AccessTokens
from api.server.body_limit import BodyLimit
from api.server.body_sizes import API, FROM_IMAGE, body_sizes
from api.telemetry.error_reports import report_errors
from api.telemetry.gauges import Gauges
from api.telemetry.metrics import Metrics
from api.telemetry.observer import RequestObserver, RouteNote, StartResponse
from embeddings.model.embedder import Embedder
from embeddings.store.store import EmbeddingStore
from index.protocol import Catalog
from runtime.engines import Engine, open_engine
from runtime.startup import attribute_limits, image_fetcher, prepare
from settings import Settings
from version import VERSION

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an app holds open: `close` ends its thread and closes its files."""

    store: EmbeddingStore
    attributes: LogoAttributes
    engine: Engine
    embedder: Embedder

    @property
    def catalog(self) -> Catalog:
        """The indexes that answer."""
        return self.engine.catalog

    def close(self) -> None:
        """Stop looking for new indexes and close the store and its attributes."""
        self.engine.close()
        self.store.close()
        self.attributes.close()


class AnnApp(falcon.App[falcon.Request, falcon.Response]):
    """The WSGI app, which also knows its parts, and has every request seen."""

    observer: RequestObserver

    def __init__(self, parts: Parts, **options: Any) -> None:
        self._routes = CompiledRouter()
        super().__init__(router=self._routes, **options)
        self.parts = parts

    def template_of(self, path: str) -> str | None:
        """Return the template of the route at a path, `None` if there is none: for requests refused before routing."""
        found = self._routes.find(path.rstrip("/") or "/")
        return None if found is None else found[3]

    def __call__(self, env: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        return self.observer.observe(env, start_response, super().__call__)


def create_app(settings: Settings | None = None) -> AnnApp:
    """Build the service on the data directory that the settings name (the environment's by default).

    Raises:
        SettingsError: a variable of the environment has a wrong value.
        EmbeddingsError: the store or the model cannot be used; the message says what to change.
    """
    if settings is None:
        settings = Settings.from_env()
    write_token, read_token = settings.access.tokens()
    report_errors(settings.reports)
    metrics = Metrics()
    parts = _open_parts(settings, metrics)
    sizes = body_sizes(usual=settings.requests.max_body_bytes, image=settings.images.max_bytes)
    access = AccessTokens(write_token, read_token)
    app = AnnApp(parts, cors_enable=True, middleware=[RouteNote(), BodyLimit(sizes), access])
    app.observer = RequestObserver(metrics, app.template_of)
    _configure(app, metrics.stages)
    errors.register(app)
    _add_routes(app, parts, metrics, settings)
    _add_operator_routes(app, parts, metrics, settings)
    return app


def _open_parts(settings: Settings, metrics: Metrics) -> Parts:
    model = prepare(settings)
    store = EmbeddingStore(settings.store_path)
    if not store.stamp.digest:
        logger.warning(
            "%s does not say which model made its vectors (a store of the original): new vectors are not comparable"
            " with old ones until the logos are embedded anew",
            store.path,
        )
    attributes = LogoAttributes(settings.store_path, attribute_limits(settings.requests))
    engine = open_engine(settings, store, on_load=metrics.count_load)
    engine.start()
    return Parts(store, attributes, engine, Embedder(model, threads=settings.workers.embed_threads))


def _configure(app: AnnApp, stages: Stages) -> None:
    app.req_options.auto_parse_qs_csv = True
    app.req_options.keep_blank_qs_values = True
    app.req_options.strip_url_path_trailing_slash = True

    def dumps(media: object) -> bytes:
        # orjson writes null where the standard library writes a bare NaN, which is no JSON.
        with stages.measure(Stage.SERIALISE):
            return orjson.dumps(media, option=orjson.OPT_SERIALIZE_NUMPY)

    json = falcon.media.JSONHandler(dumps=dumps, loads=orjson.loads)
    for options in (app.req_options, app.resp_options):
        options.media_handlers = falcon.media.Handlers({falcon.MEDIA_JSON: json})
    app.resp_options.xml_error_serialization = False


def _add_routes(app: AnnApp, parts: Parts, metrics: Metrics, settings: Settings) -> None:
    fetcher = image_fetcher(settings.images)
    limit = WriteLimit(settings.workers.add_concurrency, on_refusal=metrics.count_refused_write)
    embedder = LogoEmbedder(
        parts.embedder,
        concurrency=settings.workers.embed_concurrency,
        max_pixels=settings.images.max_pixels,
        stages=metrics.stages,
    )
    feed = parts.engine.feed
    adder = LogoAdder(
        parts.store, fetcher, embedder, limit=limit, stages=metrics.stages, on_added=feed.send if feed else None
    )
    beside = settings.search_unindexed and feed is None  # what is fed new logos needs nobody beside it
    unindexed = UnindexedLogos(parts.store, settings.search_unindexed_max) if beside else None
    filters = Filters(parts.attributes, parts.store.vectors, parts.store.moment)
    search = NeighbourSearch(parts.store, parts.catalog, unindexed, metrics.stages, filters)
    logo = search_resources.LogoNeighboursResource(search)
    max_logos = settings.requests.max_batch_logos
    routes: dict[str, Any] = {}
    if settings.allow_delete:
        forget = feed.forget if feed else None
        remover = LogoRemover(parts.store, parts.attributes, limit=limit, on_removed=forget)
        logo = logo_resources.DeletableLogoResource(search, remover)
        routes["/delete"] = logo_resources.DeletionsResource(remover, max_logos)
    setter = AttributeSetter(parts.store, parts.attributes, limit)
    maps, backlog, description = IndexMaps(), Backlog(parts.store, feed), parts.embedder.description
    routes |= {
        "": search_resources.RandomNeighboursResource(search),
        "/{logo_id:int}": logo,
        "/batch": search_resources.BatchNeighboursResource(search, max_logos),
        "/from_embedding": search_resources.EmbeddingNeighboursResource(search),
        FROM_IMAGE.removeprefix(API): search_resources.ImageNeighboursResource(search, embedder, limit),
        "/add": logo_resources.AddResource(adder, settings.requests.max_add_logos),
        "/count": logo_resources.CountResource(parts.store),
        "/stored": logo_resources.StoredResource(parts.store),
        "/provenance": logo_resources.ProvenanceResource(parts.store, max_logos),
        "/predict": vote_resources.PredictionResource(search, parts.attributes, max_logos),
        "/predict/{logo_id:int}": vote_resources.LogoPredictionResource(search, parts.attributes),
        "/search": robotoff_search.RandomSearchResource(search),
        "/search/{logo_id:int}": robotoff_search.LogoSearchResource(search),
        "/attributes": attribute_resources.AttributesResource(setter, max_logos),
        "/status": index_resources.StatusResource(parts.store, parts.catalog, maps, backlog, description),
        "/map": index_resources.MapResource(parts.catalog, maps),
    }
    for path, resource in routes.items():
        app.add_route(API + path, resource)
    if settings.explorer:
        explorer.add_routes(app)
    openapi.add_routes(app, settings, dim=parts.store.dim)


def _add_operator_routes(app: AnnApp, parts: Parts, metrics: Metrics, settings: Settings) -> None:
    health = Health(parts.store, parts.catalog, parts.embedder, default_index=settings.default_index)
    description = parts.embedder.description
    build = {
        "version": VERSION,
        "revision": settings.reports.revision or "unknown",
        "model": description.name,
        "weights": description.weights,
        "python": platform.python_version(),
    }
    metrics.add(Gauges(parts.store, parts.catalog, health, Backlog(parts.store, parts.engine.feed), build))
    app.add_route("/livez", operator_resources.LiveResource())
    app.add_route("/readyz", operator_resources.ReadyResource(health))
    app.add_route("/api/v1/health", operator_resources.HealthResource(health))
    app.add_route("/metrics", operator_resources.MetricsResource(metrics))
