"""Several logos at once are answered as one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import VectorUnavailableError
from index.lists import batch
from index.lists.batch import in_threads
from index.loading import load_index
from tests.index.lists.samples import DIM, build, kept, logos_of

LOGOS = logos_of(2000)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lists")
    build(directory, LOGOS)
    return directory


@pytest.mark.parametrize("processors", [1, 2, 5])
@pytest.mark.parametrize("asked", [1, 3, 20, 100])
def test_a_batch_is_answered_as_its_logos_are(
    directory: Path, monkeypatch: pytest.MonkeyPatch, asked: int, processors: int
) -> None:
    monkeypatch.setattr(batch, "_processors", lambda: processors)
    index = load_index(directory, dim=DIM, vectors=kept(LOGOS))
    ids = LOGOS[0][:asked].tolist()
    prefetched = index.prefetched([*ids, ids[0], 10**9], 15)
    for logo_id in ids:
        assert prefetched.nearest_to_logo(logo_id, 15) == index.nearest_to_logo(logo_id, 15)


def test_vectors_are_read_before_the_batch_is_asked_for_its_answers(directory: Path) -> None:
    read: list[int] = []

    def vectors(logo_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        read.extend(logo_ids.tolist())
        return kept(LOGOS)(logo_ids)

    prefetched = load_index(directory, dim=DIM, vectors=vectors).prefetched(LOGOS[0][:20].tolist(), 15)
    read.clear()
    assert len(prefetched.nearest_to_logo(int(LOGOS[0][3]), 15).logo_ids) == 15
    assert read == []
    assert len(prefetched.nearest_to_logo(int(LOGOS[0][3]), 16).logo_ids) == 16  # deleted ones ask for more
    assert len(prefetched.nearest_to_logo(int(LOGOS[0][21]), 15).logo_ids) == 15
    assert len(prefetched.nearest_to_vector(LOGOS[1][0], 15).logo_ids) == 15
    assert read


def test_what_no_index_holds_or_cannot_be_read_is_told_when_it_is_asked_for(directory: Path) -> None:
    lost = int(LOGOS[0][2])
    index = load_index(directory, dim=DIM, vectors=kept(LOGOS, lost=(lost,)))
    prefetched = index.prefetched([lost, 10**9, *LOGOS[0][3:9].tolist()], 5)
    with pytest.raises(VectorUnavailableError):
        prefetched.nearest_to_logo(lost, 5)
    with pytest.raises(KeyError):
        prefetched.nearest_to_logo(10**9, 5)
    assert (len(prefetched), prefetched.dim, lost in prefetched) == (2000, DIM, True)
    assert prefetched.absent(np.array([lost, 10**9])).tolist() == [10**9]
    assert len(index.prefetched([], 5)) == 2000


def test_an_error_of_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_processors", lambda: 2)

    def fail(queries: NDArray[np.float32]) -> list[int]:
        raise OSError("bad disk")

    with pytest.raises(OSError, match="bad disk"):
        in_threads(fail, np.zeros((20, 4), np.float32))
