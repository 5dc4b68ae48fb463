"""The app factory: the only place that knows all parts.

`create_app` prepares the data directory, opens the store, loads the indexes, and passes each resource what it needs.
Each worker process calls it once, after the fork. The embedder loads its model at the first add.
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
from api.answers.index_surveys import IndexSurveys
from api.collection_opener import CollectionOpener
from api.journeys.collections import Collections
from api.journeys.health import Health
from api.journeys.logo_attributes import LogoAttributes
from api.journeys.logo_embedder import LogoEmbedder
from api.journeys.stages import Stage, Stages
from api.journeys.write_limit import WriteLimit
from api.routes import attribute_values, distances, explorer, robotoff_search
from api.routes import attributes as attribute_resources
from api.routes import index as index_resources
from api.routes import logos as logo_resources
from api.routes import search as search_resources
from api.routes import service as operator_resources
from api.routes import votes as vote_resources
from api.server.access import AccessTokens
from api.server.body_limit import BodyLimit
from api.server.body_sizes import ADD_EMBEDDINGS, API, FROM_IMAGE, PREDICT, body_sizes
from api.telemetry.error_reports import report_errors
from api.telemetry.gauges import Gauges
from api.telemetry.metrics import Metrics
from api.telemetry.observer import RequestObserver, RouteNote, StartResponse
from embeddings.collection.directory import CollectionDirectory
from embeddings.model.embedder import Embedder
from embeddings.store.store import EmbeddingStore
from index.protocol import Catalog
from runtime.collections import default_names
from runtime.engines import Engine, open_engine
from runtime.startup import image_fetcher, prepare
from settings import Settings
from version import VERSION

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an app keeps open. `close` stops its threads and closes its files.

    Attributes:
        store: the default collection's.
        engine: the indexes of the default collection.
        embedder: makes vectors of images.
        collections: all of them.
        limit: how many requests may change stores, or embed, at once.
    """

    store: EmbeddingStore
    engine: Engine
    embedder: Embedder
    collections: Collections
    limit: WriteLimit

    @property
    def attributes(self) -> LogoAttributes:
        """The attributes of the default collection's logos."""
        return self.collections.default.attributes

    @property
    def catalog(self) -> Catalog:
        """The indexes."""
        return self.engine.catalog

    def close(self) -> None:
        """Stop watching for new indexes, and close the stores and their attributes."""
        self.collections.close()
        self.engine.close()
        self.store.close()
        self.attributes.close()


class AnnApp(falcon.App[falcon.Request, falcon.Response]):
    """The WSGI app. It knows its parts, and reports every request to its observer."""

    observer: RequestObserver

    def __init__(self, parts: Parts, **options: Any) -> None:
        self._routes = CompiledRouter()
        super().__init__(router=self._routes, **options)
        self.parts = parts

    def template_of(self, path: str) -> str | None:
        """Return the route template of a path, or `None`; for requests that were refused before routing."""
        found = self._routes.find(path.rstrip("/") or "/")
        return None if found is None else found[3]

    def __call__(self, env: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Handle a request."""
        return self.observer.observe(env, start_response, super().__call__)


def create_app(settings: Settings | None = None) -> AnnApp:
    """Build the service. By default, the settings come from the environment.

    Raises:
        SettingsError: a variable of the environment has a wrong value.
        EmbeddingsError: the store or the model cannot be used; the message says what to change.
        SearchError: the engine cannot be used on this machine.
    """
    if settings is None:
        settings = Settings.from_env()
    write_token, read_token = settings.access.tokens()
    report_errors(settings.reports)
    metrics = Metrics()
    parts = _open_parts(settings, metrics)
    sizes = body_sizes(
        usual=settings.requests.max_body_bytes,
        image=settings.images.max_bytes,
        embeddings=settings.requests.max_embeddings_bytes,
    )
    access = AccessTokens(write_token, read_token)
    app = AnnApp(parts, cors_enable=True, middleware=[RouteNote(), BodyLimit(sizes), access])
    app.observer = RequestObserver(metrics, app.template_of)
    _configure(app, metrics.stages)
    errors.register(app)
    _add_routes(app, parts, settings)
    _add_operator_routes(app, parts, metrics, settings)
    return app


def _open_parts(settings: Settings, metrics: Metrics) -> Parts:
    model = prepare(settings)
    store = EmbeddingStore(settings.store_path)
    if not store.stamp.digest:
        logger.warning(
            "%s does not say which model made its vectors (a store of the original): new vectors are not comparable"
            " with old ones until the logos are embedded again",
            store.path,
        )
    engine = open_engine(settings, store, on_load=metrics.count_load)
    engine.start()
    embedder = Embedder(model, threads=settings.workers.embed_threads)
    limit = WriteLimit(settings.workers.add_concurrency, on_refusal=metrics.count_refused_write)
    opener = CollectionOpener(
        settings,
        metrics,
        image_fetcher(settings.images),
        LogoEmbedder(
            embedder,
            concurrency=settings.workers.embed_concurrency,
            max_pixels=settings.images.max_pixels,
            stages=metrics.stages,
        ),
        limit,
    )
    collections = Collections(
        opener.default(store, engine),
        default_names(settings),
        CollectionDirectory(settings.data_dir),
        opener.open,
    )
    return Parts(store, engine, embedder, collections, limit)


def _configure(app: AnnApp, stages: Stages) -> None:
    app.req_options.auto_parse_qs_csv = True
    app.req_options.keep_blank_qs_values = True
    app.req_options.strip_url_path_trailing_slash = True

    def dumps(media: object) -> bytes:
        # For NaN, orjson writes null. The standard library writes NaN, which is not JSON.
        with stages.measure(Stage.SERIALISE):
            return orjson.dumps(media, option=orjson.OPT_SERIALIZE_NUMPY)

    json = falcon.media.JSONHandler(dumps=dumps, loads=orjson.loads)
    for options in (app.req_options, app.resp_options):
        options.media_handlers = falcon.media.Handlers({falcon.MEDIA_JSON: json})
    app.resp_options.xml_error_serialization = False


def _add_routes(app: AnnApp, parts: Parts, settings: Settings) -> None:
    collections, requests, maps, surveys = parts.collections, settings.requests, IndexMaps(), IndexSurveys()
    logo = search_resources.LogoNeighboursResource(collections)
    routes: dict[str, Any] = {}
    if settings.allow_delete:
        logo = logo_resources.DeletableLogoResource(collections)
        routes["/delete"] = logo_resources.DeletionsResource(collections, requests.max_batch_logos)
    routes |= {
        "": search_resources.RandomNeighboursResource(collections),
        "/{logo_id:int}": logo,
        "/batch": search_resources.BatchNeighboursResource(collections, requests.max_batch_logos),
        "/from_embedding": search_resources.EmbeddingNeighboursResource(collections),
        "/from_url": search_resources.UrlNeighboursResource(collections),
        FROM_IMAGE.removeprefix(API): search_resources.ImageNeighboursResource(collections, parts.limit),
        "/add": logo_resources.AddResource(collections, requests.max_add_logos),
        ADD_EMBEDDINGS.removeprefix(API): logo_resources.AddEmbeddingsResource(collections, requests.max_add_logos),
        "/count": logo_resources.CountResource(collections),
        "/stored": logo_resources.StoredResource(collections),
        "/provenance": logo_resources.ProvenanceResource(collections, requests.max_batch_logos),
        PREDICT.removeprefix(API): vote_resources.PredictionResource(
            collections, requests.max_batch_logos, parts.limit
        ),
        "/predict/{logo_id:int}": vote_resources.LogoPredictionResource(collections),
        "/search": robotoff_search.RandomSearchResource(collections),
        "/search/{logo_id:int}": robotoff_search.LogoSearchResource(collections),
        "/attributes": attribute_resources.AttributesResource(collections, requests.max_batch_logos),
        "/attributes/keys": attribute_values.AttributeKeysResource(collections),
        "/attributes/values": attribute_values.AttributeValuesResource(collections),
        "/attributes/logos": attribute_values.LogosOfValueResource(collections),
        "/attributes/candidates": attribute_values.CandidatesResource(collections),
        "/status": index_resources.StatusResource(collections, maps, parts.embedder.description),
        "/map": index_resources.MapResource(collections, maps),
        "/map/values": index_resources.MapValuesResource(collections, maps),
        "/distances": distances.DistancesResource(collections, surveys),
        "/duplicates": distances.DuplicatesResource(collections, surveys, settings.allow_delete),
    }
    for path, resource in routes.items():
        app.add_route(API + path, resource)
    if settings.explorer:
        explorer.add_routes(app)
    openapi.add_routes(app, settings, dim=parts.store.dim)


def _add_operator_routes(app: AnnApp, parts: Parts, metrics: Metrics, settings: Settings) -> None:
    health = Health(parts.collections, parts.embedder)
    description = parts.embedder.description
    build = {
        "version": VERSION,
        "revision": settings.reports.revision or "unknown",
        "model": description.name,
        "weights": description.weights,
        "python": platform.python_version(),
    }
    metrics.add(Gauges(parts.collections, health, build))
    app.add_route("/livez", operator_resources.LiveResource())
    app.add_route("/readyz", operator_resources.ReadyResource(health))
    app.add_route("/api/v1/health", operator_resources.HealthResource(health))
    app.add_route("/metrics", operator_resources.MetricsResource(metrics))
