from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from tests.training.materials import FONT_FILE, font_package, published
from training.artwork import Gallery
from training.labels import Fonts, Label, LabelPainter, open_fonts
from training.packages import PackageError

LABELS = 60  # enough for every way of drawing one


@pytest.fixture(scope="module")
def words(gallery: Gallery, fonts: Fonts) -> list[Label]:
    painter = LabelPainter(gallery, fonts, np.random.default_rng(1))
    return [painter.word_label() for _ in range(LABELS)]


@pytest.fixture(scope="module")
def icons(gallery: Gallery, fonts: Fonts) -> list[Label]:
    painter = LabelPainter(gallery, fonts, np.random.default_rng(2))
    classes = list(gallery.classes().values())
    return [painter.icon_label(classes[number]) for number in range(LABELS)]


def lightness(colour: tuple[int, int, int]) -> float:
    return float(np.dot(colour, [0.299, 0.587, 0.114]))


def test_the_heaviest_upright_latin_letters_of_a_font_are_opened(tmp_path: Path) -> None:
    font = ImageFont.load_default(10)
    assert isinstance(font, ImageFont.FreeTypeFont)
    others = ("latin-400-normal", "latin-900-italic", "latin-ext-900-normal", "cyrillic-900-normal")
    files: dict[str, bytes] = {FONT_FILE.replace("latin-400-normal", other): b"no font" for other in others}
    files[FONT_FILE.replace("latin-400", "latin-700")] = font.font_bytes
    heavy, content = published("heavy", files, kind="font")
    light, light_content = font_package()
    for package, of_it in ((heavy, content), (light, light_content)):
        (tmp_path / package.file_name).write_bytes(of_it)
    assert [opened.getname() for opened in open_fonts((heavy, light), tmp_path)] == [font.getname()] * 2


def test_a_package_without_a_latin_font_is_named(tmp_path: Path) -> None:
    package, content = published("@fontsource/empty", {"files/empty-cyrillic-400-normal.woff": b""}, kind="font")
    (tmp_path / package.file_name).write_bytes(content)
    with pytest.raises(PackageError, match=r"@fontsource/empty 1\.0\.0 has no upright Latin font"):
        open_fonts((package,), tmp_path)


def test_the_same_numbers_draw_the_same_labels(gallery: Gallery, fonts: Fonts) -> None:
    works = gallery.classes()["brand0"]

    def draw(seed: int) -> list[bytes]:
        painter = LabelPainter(gallery, fonts, np.random.default_rng(seed))
        labels = [painter.word_label(), painter.icon_label(works), painter.word_label()]
        return [version.tobytes() for label in labels for version in label.versions]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_labels_are_colours_multiplied_by_their_alpha(words: list[Label], icons: list[Label]) -> None:
    for label in words + icons:
        for version in label.versions:
            assert version.dtype == np.uint8
            assert version.ndim == 3
            assert version.shape[2] == 4
            assert min(version.shape[:2]) >= 8
            assert (version[..., :3] <= version[..., 3:]).all()


def test_no_name_is_drawn_twice(words: list[Label]) -> None:
    assert len({label.versions[0].tobytes() for label in words}) == LABELS


def test_a_name_is_printed_in_the_ink_of_its_palette(words: list[Label]) -> None:
    for label in words:
        printed = label.versions[0].astype(int)
        inked = (np.abs(printed[..., :3] - label.palette.ink).max(axis=2) <= 8) & (printed[..., 3] >= 248)
        assert 0.01 < inked.mean() < 0.95, label.palette


def test_ink_is_seen_on_the_ground_of_its_palette(words: list[Label], icons: list[Label]) -> None:
    for label in words + icons:
        assert abs(lightness(label.palette.ink) - lightness(label.palette.ground)) > 60


def test_some_labels_stand_on_a_plate_of_the_ground(words: list[Label]) -> None:
    on_plates = 0
    for label in words:
        middle_top = label.versions[0][:4, label.versions[0].shape[1] // 2].astype(int)
        on_plates += bool((middle_top[:, 3] == 255).all())
    assert LABELS * 0.1 < on_plates < LABELS * 0.6


def test_neighbouring_labels_often_share_a_palette_and_never_always(words: list[Label]) -> None:
    shared = sum(one.palette == other.palette for one, other in pairwise(words))
    assert LABELS * 0.15 < shared < LABELS * 0.7


def test_an_icon_in_one_ink_is_printed_in_the_ink_of_the_palette(gallery: Gallery, fonts: Fonts) -> None:
    (plain,) = (work for work in gallery.classes()["brand0"] if work.tintable)
    painter = LabelPainter(gallery, fonts, np.random.default_rng(5))
    drawn_as_it_is = 0
    for _ in range(20):
        label = painter.icon_label((plain,))
        printed = label.versions[0].astype(int)
        if printed.shape[:2] == (plain.height, plain.width):
            drawn_as_it_is += 1
            np.testing.assert_array_equal(printed[..., 3], gallery.pixels(plain)[..., 3])
            full = printed[..., 3] == 255
            assert (printed[full][:, :3] == label.palette.ink).all()
    assert drawn_as_it_is >= 5


def test_a_coloured_icon_keeps_its_shape(gallery: Gallery, fonts: Fonts) -> None:
    (coloured,) = (work for work in gallery.classes()["brand0"] if not work.tintable)
    painter = LabelPainter(gallery, fonts, np.random.default_rng(6))
    colours = set()
    for _ in range(30):
        printed = painter.icon_label((coloured,)).versions[0]
        if printed.shape[:2] == (coloured.height, coloured.width):
            np.testing.assert_array_equal(printed[..., 3], gallery.pixels(coloured)[..., 3])
            colours.add(tuple(sorted(printed[printed[..., 3] == 255][0, :3].tolist())))
    assert colours == {(0x00, 0x33, 0xCC)}  # in one order or another


def test_two_icons_of_a_class_are_two_versions_of_one_label(gallery: Gallery, fonts: Fonts) -> None:
    works = gallery.classes()["brand0"]
    assert len(works) == 2
    painter = LabelPainter(gallery, fonts, np.random.default_rng(7))
    labels = [painter.icon_label(works) for _ in range(20)]
    assert {len(label.versions) for label in labels} == {2, 3}  # the third has a name beside it
    assert all(label.versions[-1].tobytes() != label.versions[-2].tobytes() for label in labels)
