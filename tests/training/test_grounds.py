from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from training.grounds import SHARE, SMALLEST_PART, TINTED, Grounds, GroundsError

BLUE = (0, 0, 255)


def save(path: Path, pixels: npt.ArrayLike) -> None:
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)


def slope() -> npt.NDArray[np.int64]:
    """Return a photo, 250 pixels wide and 200 high, without blue, redder to the right and greener to the bottom."""
    rows, columns = np.mgrid[0:200, 0:250]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1)


def drawn(grounds: Grounds, count: int, height: int = 12, width: int = 18) -> list[npt.NDArray[np.float32]]:
    """Return the photographs among `count` grounds, for labels on blue."""
    rng = np.random.default_rng(1)
    found = (grounds.draw(height, width, BLUE, rng) for _ in range(count))
    return [ground for ground in found if ground is not None]


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photograph")
    with pytest.raises(GroundsError, match=rf"{tmp_path} holds no photographs: put files ending in \.jpg"):
        Grounds(tmp_path)


def test_a_copy_of_the_folder_has_the_same_fingerprint_and_other_photographs_another(tmp_path: Path) -> None:
    fingerprints = []
    for folder, width in (("first", 30), ("copy", 30), ("other", 31)):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "shelf.png", slope()[:, :width])
        fingerprints.append(Grounds(tmp_path / folder).fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no JPEG")
    with pytest.raises(GroundsError, match=r"broken\.jpg cannot be read as a photograph: remove it"):
        drawn(Grounds(tmp_path), 20)


def test_photographs_are_found_below_the_folder_whatever_the_case_of_their_ending(tmp_path: Path) -> None:
    (tmp_path / "trip").mkdir()
    Image.new("RGB", (9, 9), (255, 0, 0)).save(tmp_path / "trip" / "RED.PNG")
    Image.new("RGB", (9, 9), (0, 255, 0)).save(tmp_path / "green.webp", lossless=True)
    brightest = {int(ground[0, 0].argmax()) for ground in drawn(Grounds(tmp_path), 100) if ground[0, 0, 2] == 0}
    assert brightest == {0, 1}


def test_a_share_of_the_grounds_are_photographs(tmp_path: Path) -> None:
    save(tmp_path / "slope.png", slope())
    assert len(drawn(Grounds(tmp_path), 1000)) / 1000 == pytest.approx(SHARE, abs=0.05)


def test_grounds_have_the_size_that_is_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "slope.png", slope())
    Image.new("L", (1, 1)).save(tmp_path / "speck.png")
    for height, width in ((12, 18), (300, 20), (160, 160), (12, 160)):
        for ground in drawn(Grounds(tmp_path), 30, height, width):
            assert ground.shape == (height, width, 3)
            assert ground.dtype == np.float32
            assert 0 <= ground.min() <= ground.max() <= 255


def test_the_same_numbers_give_the_same_grounds(tmp_path: Path) -> None:
    save(tmp_path / "slope.png", slope())
    first, again = (drawn(Grounds(tmp_path), 40) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len({ground.tobytes() for ground in first}) == len(first)


def test_a_ground_is_a_part_of_the_photo_in_its_aspect(tmp_path: Path) -> None:
    save(tmp_path / "slope.png", slope())
    untinted = [ground for ground in drawn(Grounds(tmp_path), 200, 40, 60) if ground[..., 2].max() == 0]
    assert len(untinted) > 20
    for ground in untinted:
        per_column = np.ptp(ground[..., 0]) / 59
        per_row = np.ptp(ground[..., 1]) / 39
        assert per_column == pytest.approx(per_row, rel=0.1)
        assert SMALLEST_PART * 0.9 < per_column * 60 / 250 <= 1.05


def test_some_grounds_are_tinted_towards_the_colour_under_the_label(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30), (200, 100, 0)).save(tmp_path / "orange.png")
    shares = [float(ground[0, 0, 2]) / 255 for ground in drawn(Grounds(tmp_path), 1000)]
    tinted = [share for share in shares if share]
    assert len(tinted) / len(shares) == pytest.approx(TINTED, abs=0.07)
    assert min(tinted) == pytest.approx(0.2, abs=0.02)
    assert max(tinted) == pytest.approx(0.7, abs=0.02)
