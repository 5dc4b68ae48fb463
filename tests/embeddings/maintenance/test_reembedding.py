"""Logos get the vectors of another model from the images that they came from."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import HostUnreachableError, ImageFetchError, StoreModelError, StoreUnavailableError
from embeddings.images.fetch import ImageFetcher
from embeddings.images.photo import Photo
from embeddings.maintenance.reembedding import (
    ReembeddingLimits,
    ReembeddingReport,
    Sources,
    forget_deleted,
    reembed,
    sources_in,
)
from embeddings.maintenance.rewrite import prepare_store
from embeddings.model.description import ConvertedModel, locate_model
from embeddings.model.embedder import Embedder
from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from tests.original_files import random_vectors
from tests.photo_server import PhotoServer, photo

MODEL = locate_model("efficientnet-lite0", "bundled", Path("no-models"))
STAMP = ModelStamp(MODEL.description.name, MODEL.description.weights_digest)
BOX = (0.1, 0.2, 0.6, 0.7)
OTHER_BOX = (0.0, 0.0, 0.5, 0.5)
PIXELS = 10**7
FETCHER = ImageFetcher(allow_private=True)
LIMITS = ReembeddingLimits()


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(MODEL, threads=1)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[EmbeddingStore]:
    prepare_store(tmp_path / "old.hdf5", capacity=100, dim=MODEL.description.dim, stamp=ModelStamp("other", "old"))
    with EmbeddingStore(tmp_path / "old.hdf5") as store:
        yield store


@pytest.fixture
def new(tmp_path: Path) -> Iterator[EmbeddingStore]:
    prepare_store(tmp_path / "new.hdf5", capacity=100, dim=MODEL.description.dim, stamp=STAMP)
    with EmbeddingStore(tmp_path / "new.hdf5") as store:
        yield store


def add(store: EmbeddingStore, logos: Iterable[tuple[int, str | None, tuple[float, float, float, float]]]) -> None:
    for logo_id, url, box in logos:
        store.append([logo_id], random_vectors(1), [None if url is None else Provenance(url, box)])


Run = Callable[..., ReembeddingReport]


@pytest.fixture
def run(old: EmbeddingStore, new: EmbeddingStore, embedder: Embedder, tmp_path: Path) -> Run:
    def reembed_all(
        sources: Sources | None = None,
        fetch: Callable[[str], bytes] = FETCHER.fetch,
        limits: ReembeddingLimits = LIMITS,
        progress: Callable[[int], None] = lambda logos: None,
    ) -> ReembeddingReport:
        return reembed(
            sources_in(old, but_not_in=new) if sources is None else sources,
            new,
            embedder,
            fetch,
            limits=limits,
            failures=tmp_path / "failed.jsonl",
            progress=progress,
        )

    return reembed_all


def test_the_vectors_are_those_that_an_add_would_make(
    old: EmbeddingStore, new: EmbeddingStore, run: Run, photos: PhotoServer, embedder: Embedder
) -> None:
    add(old, [(7, photos.url("/1.jpg"), BOX), (8, photos.url("/1.jpg"), OTHER_BOX), (9, photos.url("/2.jpg"), BOX)])
    done: list[int] = []
    assert run(progress=done.append) == ReembeddingReport(embedded=3)
    assert sum(done) == 3
    assert new.ids().tolist() == [7, 8, 9]
    crops = Photo(photo(1), preprocessing=MODEL.description.preprocessing, max_pixels=PIXELS)
    assert np.array_equal(new.get(8), embedder.embed([crops.crop(OTHER_BOX, logo_id=8)])[0])
    assert new.provenance([7, 9]) == {
        7: Provenance(photos.url("/1.jpg"), BOX, 1),
        9: Provenance(photos.url("/2.jpg"), BOX, 1),
    }


def test_an_image_is_fetched_once_for_all_its_logos(old: EmbeddingStore, run: Run, photos: PhotoServer) -> None:
    add(old, [(logo_id, photos.url("/1.jpg"), BOX) for logo_id in range(1, 8)])
    assert run().embedded == 7
    assert photos.requests == 1


def test_logos_of_one_image_that_lie_apart_are_fetched_with_it(
    old: EmbeddingStore, new: EmbeddingStore, run: Run, photos: PhotoServer
) -> None:
    places = [1, 2, None, 1, 3, None, 2, 1]
    add(old, [(10 + k, None if place is None else photos.url(f"/{place}.jpg"), BOX) for k, place in enumerate(places)])
    assert run() == ReembeddingReport(embedded=6, unknown=[12, 15])
    assert photos.requests == 3
    assert new.ids().tolist() == [10, 13, 17, 11, 16, 14]
    assert new.provenance([16]) == {16: Provenance(photos.url("/2.jpg"), BOX, 1)}


def test_a_second_run_takes_only_what_is_missing(
    old: EmbeddingStore, new: EmbeddingStore, run: Run, photos: PhotoServer
) -> None:
    add(old, [(7, photos.url("/1.jpg"), BOX)])
    run()
    add(old, [(8, photos.url("/2.jpg"), BOX)])
    assert run() == ReembeddingReport(embedded=1)
    assert photos.requests == 2
    assert new.ids().tolist() == [7, 8]


def test_what_fails_is_noted_and_tried_again(
    old: EmbeddingStore, new: EmbeddingStore, run: Run, photos: PhotoServer, tmp_path: Path
) -> None:
    add(
        old,
        [(7, photos.url("/gone.jpg"), BOX), (8, photos.url("/1.jpg"), BOX), (9, photos.url("/1.jpg"), (2, 2, 3, 3))],
    )
    photos.photos["/broken.jpg"] = photo(3)[:1000]
    add(old, [(10, photos.url("/broken.jpg"), BOX), (11, photos.url("/broken.jpg"), OTHER_BOX)])
    assert run() == ReembeddingReport(embedded=1, failed=4)
    lines = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert [sorted(line["logo_ids"]) for line in lines] == [[7], [9], [10, 11]]
    assert "status 404" in lines[0]["reason"]
    assert "logo 9" in lines[1]["reason"]
    assert lines[2]["image_url"] == photos.url("/broken.jpg")
    photos.photos |= {"/gone.jpg": photo(4), "/broken.jpg": photo(3)}
    assert run() == ReembeddingReport(embedded=3, failed=1)
    assert sorted(new.ids().tolist()) == [7, 8, 10, 11]


def test_no_file_of_failures_is_left_by_a_run_without(
    old: EmbeddingStore, run: Run, photos: PhotoServer, tmp_path: Path
) -> None:
    (tmp_path / "failed.jsonl").write_text("of an earlier run")
    add(old, [(7, photos.url("/1.jpg"), BOX)])
    run()
    assert not (tmp_path / "failed.jsonl").exists()


def test_a_second_run_at_once_is_refused(old: EmbeddingStore, new: EmbeddingStore, run: Run, tmp_path: Path) -> None:
    refused: list[str] = []

    def fetch(url: str) -> bytes:
        with pytest.raises(StoreUnavailableError, match=r"another run .*failed\.jsonl") as error:
            run()
        refused.append(str(error.value))
        raise ImageFetchError("gone")

    add(old, [(7, "http://example.org/7.jpg", BOX)])
    assert run(fetch=fetch).failed == 1
    assert len(refused) == 1
    assert "gone" in (tmp_path / "failed.jsonl").read_text()


def test_logos_of_unknown_provenance_are_named(old: EmbeddingStore, run: Run, photos: PhotoServer) -> None:
    add(old, [(7, None, BOX), (8, photos.url("/1.jpg"), BOX)])
    assert run() == ReembeddingReport(embedded=1, unknown=[7])


def test_a_host_that_is_gone_is_given_up(old: EmbeddingStore, run: Run, photos: PhotoServer) -> None:
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        if "dead" in url:
            raise HostUnreachableError("no answer")
        return photo(1)

    add(old, [(k, f"http://dead.example/{k}.jpg", BOX) for k in range(1, 31)])
    add(old, [(k, f"http://alive.example/{k}.jpg", BOX) for k in range(31, 41)])
    assert run(fetch=fetch, limits=ReembeddingLimits(fetches=1, give_up_after=5)) == ReembeddingReport(
        embedded=10, failed=30
    )
    assert sum("dead" in url for url in asked) == 5


def test_a_host_that_has_lost_many_images_is_not_given_up(
    old: EmbeddingStore, new: EmbeddingStore, run: Run, photos: PhotoServer
) -> None:
    add(old, [(k, photos.url(f"/gone-{k}.jpg"), BOX) for k in range(1, 31)] + [(31, photos.url("/1.jpg"), BOX)])
    assert run(limits=ReembeddingLimits(fetches=1, give_up_after=5)) == ReembeddingReport(embedded=1, failed=30)
    assert new.ids().tolist() == [31]


def test_images_are_fetched_ahead_but_not_all_at_once(old: EmbeddingStore, run: Run) -> None:
    begun: list[str] = []
    gate = threading.Event()
    held: list[int] = []

    def fetch(url: str) -> bytes:
        begun.append(url)
        if len(begun) == 1:
            gate.wait(0.5)  # the first image takes its time: how many does the run ask for meanwhile?
            held.append(len(begun))
        return photo(1)

    add(old, [(k, f"http://example.org/{k}.jpg", BOX) for k in range(1, 41)])
    assert run(fetch=fetch, limits=ReembeddingLimits(fetches=3)).embedded == 40
    assert 1 < held[0] <= 7


def test_an_id_named_twice_by_a_file_is_embedded_once(new: EmbeddingStore, run: Run, photos: PhotoServer) -> None:
    known = Provenance(photos.url("/1.jpg"), BOX)
    assert run(sources=[([5, 5], [known, known])]) == ReembeddingReport(embedded=1)
    assert new.ids().tolist() == [5]


def test_deleted_logos_are_deleted_from_the_new_store(
    old: EmbeddingStore, new: EmbeddingStore, run: Run, photos: PhotoServer
) -> None:
    add(old, [(7, photos.url("/1.jpg"), BOX), (8, photos.url("/2.jpg"), BOX)])
    run()
    old.delete([7])
    assert forget_deleted(old, new) == 1
    assert new.ids().tolist() == [8]


def test_a_store_of_another_model_is_refused(
    old: EmbeddingStore, new: EmbeddingStore, photos: PhotoServer, tmp_path: Path
) -> None:
    stranger = dataclasses.replace(MODEL.description, weights_digest="0" * 64)
    with pytest.raises(StoreModelError, match=r"new\.hdf5 is not a store of"):
        reembed(
            sources_in(old, but_not_in=new),
            new,
            Embedder(ConvertedModel(MODEL.path, stranger)),
            lambda url: b"",
            limits=ReembeddingLimits(),
            failures=tmp_path / "failed.jsonl",
        )
