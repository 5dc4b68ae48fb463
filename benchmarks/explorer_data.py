"""A service for the explorer: drawn logos with the statistics of real ones, each shown on a drawn photo.

Logos of one class are shown as the same brand, so that neighbours look alike, as they should. Three of four have a
name: their class. The map colours the most frequent ones.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.logo_statistics import LogoStatistics
from benchmarks.logos import LogoSource, draw_logos
from demo.photos import make_photos
from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from runtime.startup import prepare
from settings import Settings
from tests.end_to_end.service import ROOT, Service, environment
from tests.photo_server import PhotoServer

PHOTOS = 60
SEED = 1


@contextlib.contextmanager
def served_logos(count: int, data_dir: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Serve `count` drawn logos with their pictures and a map; yield the service's address."""
    photos = list(make_photos(PHOTOS, SEED))
    with PhotoServer({f"/{photo.name}": photo.jpeg for photo in photos}) as server:
        seen = [Provenance(server.url(f"/{photo.name}"), logo.box) for photo in photos for logo in photo.logos]
        say(f"storing {count} logos")
        settings = Settings(data_dir=data_dir, store_capacity=count)
        prepare(settings)
        of_logos = LogoSource(count, SEED, LogoStatistics.load()).class_of.tolist()
        classes = iter(of_logos)
        ids: list[int] = []
        with EmbeddingStore(settings.store_path) as store:
            for logo_ids, vectors in draw_logos(count, SEED):
                ids += map(int, logo_ids)
                store.append(logo_ids, vectors, [seen[next(classes) % len(seen)] for _ in logo_ids])
        say("generate-index")
        command = [sys.executable, "manage.py", "generate-index"]
        subprocess.run(command, cwd=ROOT, env=environment(data_dir), stderr=subprocess.DEVNULL, check=True)
        names = {i: f"brand {number}" for i, number in zip(ids, of_logos, strict=True) if i % 4}
        with AttributeStore(attributes_path(settings.store_path)) as attributes:
            attributes.merge({logo_id: {"value": name} for logo_id, name in names.items()})
        with Service(data_dir) as service:
            yield f"http://127.0.0.1:{service.port}"
