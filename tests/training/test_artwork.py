from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.materials import drawing, iconify, published, svg
from training.artwork import AREA, LONGEST_SIDE, Gallery, class_name, render, render_gallery
from training.packages import Package

RECTANGLE = '<rect x="8" y="8" width="16" height="8" fill="#f00"/>'


def test_an_icon_is_rendered_and_trimmed() -> None:
    image = render(svg(RECTANGLE, "0 0 32 32"))
    assert image is not None
    assert image.shape == (80, 160, 4)
    assert image.dtype == np.uint8
    assert (image == [255, 0, 0, 255]).all()


def test_what_is_clear_stays_clear() -> None:
    image = render(svg('<circle cx="12" cy="12" r="12"/>'))
    assert image is not None
    assert image[0, 0, 3] == 0
    assert image[80, 80].tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize(
    ("box", "size"),
    [("0 0 8 8", (160, 160)), ("0 0 32 8", (80, 320)), ("0 0 8 1", (40, 320)), ("0 0 1 10", (320, 32))],
)
def test_pixels_are_spent_alike_on_every_shape(box: str, size: tuple[int, int]) -> None:
    image = render(svg('<rect width="32" height="32"/>', box))
    assert image is not None
    assert image.shape[:2] == size
    assert image.shape[0] * image.shape[1] <= AREA
    assert max(image.shape) <= LONGEST_SIDE


@pytest.mark.parametrize("broken", ["", "no SVG", "<svg", svg("<g>"), "<html/>"])
def test_a_broken_icon_is_none(broken: str) -> None:
    assert render(broken) is None


@pytest.mark.parametrize(
    "blank",
    [
        svg(""),
        svg('<rect width="24" height="24" fill="none"/>'),
        svg('<rect width="24" height="24" opacity="0.05"/>'),
        svg('<rect x="30" width="24" height="24"/>'),
        svg('<rect width="24" height="0.5"/>'),
    ],
    ids=["empty", "without ink", "faint", "beside", "a hairline"],
)
def test_an_icon_that_shows_nearly_nothing_is_none(blank: str) -> None:
    assert render(blank) is None


@pytest.mark.parametrize(
    ("package", "icon", "expected"),
    [
        ("simple-icons", "adobe", "adobe"),
        ("@iconify-json/devicon", "adobe-plain-wordmark", "adobe"),
        ("@iconify-json/logos", "adobe-icon", "adobe"),
        ("@iconify-json/logos", "coca-cola", "cocacola"),
        ("@iconify-json/devicon", "css-3", "css"),
        ("@iconify-json/vscode-icons", "file-type-light-ruby", "lightruby"),
        ("@iconify-json/logos", "icon", "icon"),
        ("@iconify-json/cib", "500px-5", "500px"),
        ("@iconify-json/noto", "waving-hand-medium-dark-skin-tone", "@iconify-json/noto:waving-hand"),
        ("@iconify-json/noto", "keycap-plain", "@iconify-json/noto:keycap-plain"),
        ("@iconify-json/noto", "dark", "@iconify-json/noto:dark"),
        ("@iconify-json/game-icons", "sword-2", "@iconify-json/game-icons:sword"),
        ("flag-icons", "fr", "flag-icons:fr"),
    ],
)
def test_versions_of_one_logo_share_a_class(package: str, icon: str, expected: str) -> None:
    assert class_name(package, icon) == expected


@pytest.fixture
def packages(tmp_path: Path) -> tuple[Package, ...]:
    """Three invented packages, downloaded; the number of a drawing identifies it."""
    icons = json.loads(iconify({"one": drawing(1), "one-wordmark": drawing(2, "#00f"), "broken": "<g>"}, height=24))
    icons["width"] = 24
    icons["icons"] |= {
        "wide": {"body": RECTANGLE, "left": 4, "top": 4, "width": 24, "height": 16},
        "folder-one": {"body": drawing(3)},
        "default-folder": {"body": drawing(4)},
        "blank": {"body": ""},
    }
    made = (
        published("@iconify-json/logos", {"icons.json": json.dumps(icons), "info.json": "{}"}),
        published("flag-icons", {"flags/4x3/xx.svg": svg(drawing(5, "red")), "flags/1x1/xx.svg": svg(drawing(6))}),
        published(
            "simple-icons",
            {"icons/one.svg": svg(drawing(7).replace('fill="currentColor" ', "")), "icons/same.svg": svg(drawing(1))},
        ),
    )
    for package, content in made:
        (tmp_path / package.file_name).write_bytes(content)
    return tuple(package for package, _ in made)


def test_a_gallery_gives_back_what_was_rendered(packages: tuple[Package, ...], tmp_path: Path) -> None:
    render_gallery(packages, tmp_path, tmp_path / "artwork")
    gallery = Gallery(tmp_path / "artwork")
    shown = {(artwork.package, artwork.class_name): artwork for artwork in gallery.artworks}
    expected = {
        ("@iconify-json/logos", "wide"): svg(RECTANGLE, "4 4 24 16"),
        ("flag-icons", "flag-icons:xx"): svg(drawing(5, "red")),
        ("simple-icons", "one"): svg(drawing(7)),
    }
    for key, source in expected.items():
        rendered = render(source)
        assert rendered is not None
        np.testing.assert_array_equal(gallery.pixels(shown[key]), rendered)
    first, second = gallery.artworks[:2]
    assert [first.class_name, second.class_name] == ["one", "one"]
    np.testing.assert_array_equal(gallery.pixels(first), render(svg(drawing(1))))
    np.testing.assert_array_equal(gallery.pixels(second), render(svg(drawing(2, "#00f"))))


def test_icons_of_one_owner_share_a_class_across_packages(packages: tuple[Package, ...], tmp_path: Path) -> None:
    render_gallery(packages, tmp_path, tmp_path / "artwork")
    classes = Gallery(tmp_path / "artwork").classes()
    assert list(classes) == ["flag-icons:xx", "one", "wide"]  # no folders, nothing blank or broken, none twice
    assert [(work.package, work.tintable) for work in classes["one"]] == [
        ("@iconify-json/logos", True),
        ("@iconify-json/logos", False),
        ("simple-icons", True),
    ]


def test_icons_are_rendered_once(packages: tuple[Package, ...], tmp_path: Path) -> None:
    render_gallery(packages, tmp_path, tmp_path / "artwork")
    written = (tmp_path / "artwork" / "artwork.bin").stat().st_mtime_ns
    render_gallery(packages, tmp_path / "no downloads here", tmp_path / "artwork")
    assert (tmp_path / "artwork" / "artwork.bin").stat().st_mtime_ns == written


def test_an_interrupted_rendering_is_done_again(packages: tuple[Package, ...], tmp_path: Path) -> None:
    folder = tmp_path / "artwork"
    folder.mkdir()
    (folder / "artwork.bin").write_bytes(b"half an icon")
    (folder / ".artwork.json").write_text("[{")
    render_gallery(packages, tmp_path, folder)
    first = Gallery(folder).artworks[0]
    np.testing.assert_array_equal(Gallery(folder).pixels(first), render(svg(drawing(1))))
    assert sorted(path.name for path in folder.iterdir()) == ["artwork.bin", "artwork.json", "packages.txt"]


def test_other_packages_are_rendered_anew(packages: tuple[Package, ...], tmp_path: Path) -> None:
    render_gallery(packages, tmp_path, tmp_path / "artwork")
    render_gallery(packages[:1], tmp_path, tmp_path / "artwork")
    assert {artwork.package for artwork in Gallery(tmp_path / "artwork").artworks} == {packages[0].name}
