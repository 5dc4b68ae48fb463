from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.waiting import wait_until
from training.artwork import Gallery, class_name
from training.batches import (
    REPORTED_BRANDS,
    BatchShape,
    Folders,
    Studio,
    draw_batches,
    is_reported,
    is_validation,
)
from training.grounds import GroundsError

ROOT = Path(__file__).parents[2]
SHAPE = BatchShape(labels=4, views=3, size=32)


def test_a_batch_has_the_views_of_each_label(studio: Studio) -> None:
    batch = studio.batch(1, 0, SHAPE)
    assert batch.shape == (12, 32, 32, 3)
    assert batch.dtype == np.uint8
    assert len({crop.tobytes() for crop in batch}) == 12


def test_views_of_a_label_follow_each_other(studio: Studio) -> None:
    within: list[float] = []
    across: list[float] = []
    for number in range(30):
        small = [cv2.resize(crop, (4, 4), interpolation=cv2.INTER_AREA) for crop in studio.batch(1, number, SHAPE)]
        for one, other in combinations(range(12), 2):
            distance = np.abs(small[one].astype(float) - small[other]).mean()
            (within if one // 3 == other // 3 else across).append(distance)
    assert np.mean(within) < 0.85 * np.mean(across)


def test_a_batch_depends_on_its_seed_and_number_alone(folders: Folders, studio: Studio) -> None:
    drawn = {number: studio.batch(1, number, SHAPE).tobytes() for number in (0, 1, 2)}
    another = Studio(folders)
    another.validation_batch(0, SHAPE)
    assert {number: another.batch(1, number, SHAPE).tobytes() for number in (2, 0, 1)} == drawn
    assert len({*drawn.values(), another.batch(2, 0, SHAPE).tobytes()}) == 4


def test_validation_draws_other_batches_than_training(studio: Studio) -> None:
    first = studio.validation_batch(0, SHAPE).tobytes()
    assert first == studio.validation_batch(0, SHAPE).tobytes()
    assert first not in (studio.validation_batch(1, SHAPE).tobytes(), studio.batch(1, 0, SHAPE).tobytes())


def test_reported_brands_and_validation_classes_are_not_trained_on(studio: Studio, gallery: Gallery) -> None:
    assert set(gallery.classes()) >= REPORTED_BRANDS
    training, validation = (
        {work.class_name for works in classes for work in works} for classes in (studio.training, studio.validation)
    )
    assert (len(training), len(validation)) == (len(studio.training), len(studio.validation))
    assert not training & validation
    assert not (training | validation) & REPORTED_BRANDS
    assert not any(is_validation(name) for name in training)
    assert all(is_validation(name) for name in validation)


@pytest.mark.parametrize(
    ("package", "icon"),
    [
        ("simple-icons", "cocacola"),
        ("@iconify-json/logos", "coca-cola"),
        ("@iconify-json/logos", "coca-cola-wordmark"),
        ("@iconify-json/devicon", "apple-original"),
        ("@iconify-json/fa6-brands", "red-bull"),
        ("@iconify-json/vscode-icons", "file-type-apple"),
        ("@iconify-json/logos", "hp-inc"),
        ("@iconify-json/logos", "bmw-motorrad"),
        ("@iconify-json/game-icons", "puma"),
        ("@iconify-json/streamline-ultimate-color", "coca-cola-logo"),
        ("@iconify-json/streamline-ultimate-color", "red-bull-can"),
    ],
)
def test_reported_brands_are_known_in_every_package(package: str, icon: str) -> None:
    assert is_reported(class_name(package, icon))


def test_every_class_of_the_pinned_packages_that_shows_a_reported_brand_is_kept_out() -> None:
    """As all 17,185 classes were looked through; `assemblyintel` shows Intel's oval, `ccapplepay` Apple's mark."""
    classes = (
        "@iconify-json/streamline-ultimate-color:apple-logo apple appleappstore applearcade applemusic applenews"
        " applepay applepodcasts applescript appletv assemblyintel bmw ccapplepay cocacola ferrari ferrarinv"
        " hewlettpackard hp intel mini nike puma redbull vodafone"
    )
    assert [name for name in classes.split() if not is_reported(name)] == []


@pytest.mark.parametrize("name", ["logos:coca-cola", "coca-cola-wordmark", "hp-inc", "red-bull", "bmw-motorrad"])
def test_hyphens_and_packages_hide_no_reported_brand(name: str) -> None:
    assert is_reported(name)


def test_other_classes_are_not_reported() -> None:
    classes = (
        "minio minimal minimax minitab minizinc intellij intellijidea grapple php hpp gemini cakephp jordan macos"
        " unitednations appstore @iconify-json/game-icons:apple-core @iconify-json/game-icons:apple-seeds"
        " @iconify-json/noto:red-apple @iconify-json/fxemoji:pineapple @iconify-json/game-icons:mini-submarine"
        " @iconify-json/fluent-emoji-flat:minibus @iconify-json/game-icons:charging-bull"
    )
    assert [name for name in classes.split() if is_reported(name)] == []


def test_the_split_is_the_same_for_ever() -> None:
    assert [number for number in range(200) if is_validation(f"brand{number}")] == [8, 80, 119, 120, 132, 169, 172]


def test_one_name_is_on_one_side_of_the_split_in_all_packages() -> None:
    for number in range(200):
        bare = is_validation(f"brand{number}")
        assert is_validation(f"@iconify-json/noto:brand{number}") is bare
        assert is_validation(f"flag-icons:brand{number}") is bare


def test_one_class_in_twenty_five_is_kept_for_validation() -> None:
    assert 0.03 < np.mean([is_validation(f"class {number}") for number in range(10_000)]) < 0.05


def test_workers_deliver_what_one_process_draws_in_order(folders: Folders, studio: Studio) -> None:
    numbers = range(7, 12)
    drawn = list(draw_batches(folders, 3, numbers, SHAPE, workers=2))
    assert len(drawn) == len(numbers)
    for number, batch in zip(numbers, drawn, strict=True):
        np.testing.assert_array_equal(batch, studio.batch(3, number, SHAPE))


def test_a_failure_in_a_worker_reaches_who_waits_for_its_batch(folders: Folders, tmp_path: Path) -> None:
    nothing = replace(folders, artwork=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"artwork\.json"):
        next(draw_batches(nothing, 1, range(4), SHAPE, workers=1))


def test_photographs_become_the_grounds_of_some_crops(folders: Folders, studio: Studio, tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), (0, 255, 0)).save(tmp_path / "meadow.png")
    shape = BatchShape(labels=12, views=2, size=32)
    batch = Studio(replace(folders, grounds=tmp_path)).batch(1, 0, shape)
    assert is_green(batch) > is_green(studio.batch(1, 0, shape)) + 4


def is_green(crops: npt.NDArray[np.uint8]) -> int:
    red, green, blue = (np.median(crops[..., channel].astype(int), axis=(1, 2)) for channel in range(3))
    return int(np.sum(green > np.maximum(red, blue) + 30))


def test_a_ground_that_cannot_be_read_is_an_error_of_who_waits(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no JPEG")
    with pytest.raises(GroundsError, match=r"broken\.jpg cannot be read"):
        list(draw_batches(replace(folders, grounds=tmp_path), 1, range(4), SHAPE, workers=1))


def test_workers_are_gone_when_no_more_is_asked_of_them(folders: Folders) -> None:
    before = set(multiprocessing.active_children())
    batches = draw_batches(folders, 1, range(1000), SHAPE, workers=2)
    next(batches)
    assert len(set(multiprocessing.active_children()) - before) == 2
    batches.close()  # type: ignore[attr-defined]  # a generator, declared as an iterator
    wait_until(lambda: set(multiprocessing.active_children()) <= before)


def test_a_worker_that_dies_is_not_waited_for(folders: Folders) -> None:
    before = set(multiprocessing.active_children())
    batches = draw_batches(folders, 1, range(1000), SHAPE, workers=1)
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - before
    worker.kill()
    with pytest.raises(ChildProcessError, match="try fewer"):
        list(batches)  # what it had drawn comes first


HOLDS_WORKERS = """
import multiprocessing, sys, time
from pathlib import Path
from training.batches import BatchShape, Folders, draw_batches

if __name__ == "__main__":
    folders = Folders.under(Path(sys.argv[1]), Path(sys.argv[1], "table.json"))
    batches = draw_batches(folders, 1, range(1000), BatchShape(4, 2, 32), workers=2)
    next(batches)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    time.sleep(600)
"""


def test_workers_do_not_outlive_a_run_that_is_killed(folders: Folders, tmp_path: Path) -> None:
    script = tmp_path / "holds_workers.py"
    script.write_text(HOLDS_WORKERS)
    with subprocess.Popen(
        [sys.executable, script, folders.downloads.parent],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        workers = [int(pid) for pid in run.stdout.readline().split()]
        run.kill()
    assert len(workers) == 2
    wait_until(lambda: not any(is_running(worker) for worker in workers))


def is_running(pid: int) -> bool:
    """Whether a process is there, and not only its exit status for a parent to ask for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
