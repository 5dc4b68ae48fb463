"""The command on a folder of drawn logos: red circles, and blue and green stripes."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageColor, ImageDraw

from benchmarks.contact_sheet import FRAME, GAP, QUERY, RIGHT, SIDE, WRONG, Tile, draw
from benchmarks.labelled_photos import FolderError, LabelledPhotos
from benchmarks.retrieval import BASELINES, colour_histograms, main, small_pictures
from embeddings.model.description import PACKAGE_DIR, locate_model

HEAD = "| approach | distance | micro-recall@4 | macro-recall@4 | micro accuracy, k = 10 | macro accuracy |"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos, each with a circle and stripes; those of the last are labelled as another brand."""
    (tmp_path / "photos").mkdir()
    lines = []
    for number in range(3):
        photo = Image.new("RGB", (200, 100), "white")
        pen = ImageDraw.Draw(photo)
        pen.ellipse((10, 10, 90, 90), "red", "black", number + 1)
        for left in range(110, 190, 20 + number):
            pen.rectangle((left, 0, left + 8, 99), ("blue", "green")[number % 2])
        photo.save(tmp_path / "photos" / f"{number}.png")
        lines.append(line(10 * number, f"{number}.png", "Circle", [0.1, 0.05, 0.9, 0.45]))
        lines.append(line(10 * number + 1, f"{number}.png", "Stripes" if number < 2 else "Odd", [0, 0.5, 1, 1]))
    (tmp_path / "logos.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def line(logo_id: int, photo: str, brand: str, box: list[float]) -> str:
    return json.dumps({"logo_id": logo_id, "photo": photo, "brand": brand, "bounding_box": box})


def measure(folder: Path, *options: object) -> Result:
    return CliRunner().invoke(main, [str(folder), "--threads", "1", *map(str, options)])


def cells(output: str, of: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in output.splitlines() if row.startswith("|")]
    return [row[1:] for row in rows if row[0] == of]


def test_the_report_names_what_was_measured_and_what_chance_finds(folder: Path) -> None:
    ran = measure(folder, "--no-baselines", "--draws", 3)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.startswith(
        "6 logos of 3 brands on 3 photos; 1 left out as queries, their brand being on no other photo."
        " ± is the standard deviation over 3 draws"
    )
    assert HEAD in ran.stdout
    # Every query has four candidates, so all are found.
    assert cells(ran.stdout, "by chance") == [["", "1.000", "1.000", "", ""]]
    (name,) = {row.split("|")[1].strip() for row in ran.stdout.splitlines() if "| cosine |" in row}
    assert name.startswith("efficientnet-lite0, bundled")
    l2, cosine = cells(ran.stdout, name)
    assert [l2[0], cosine[0]] == ["L2", "cosine"]
    assert l2[1:3] == ["1.000 ± 0.000"] * 2
    assert cells(ran.stdout, "Circle")[0][:2] == ["3", "1.000"]
    assert cells(ran.stdout, "Stripes")[0][:2] == ["2", "1.000"]
    assert cells(ran.stdout, "Odd") == []
    assert "6 of 6 crops" in ran.stderr


def test_all_baselines_are_measured(folder: Path) -> None:
    ran = measure(folder)
    assert ran.exit_code == 0, ran.output
    names = [*BASELINES, "efficientnet-b0, never trained"]
    assert [len(cells(ran.stdout, name)) for name in names] == [2, 2, 2]
    assert "left out:" not in ran.stdout


def test_without_tensorflow_the_untrained_network_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    ran = measure(folder)
    assert ran.exit_code == 0, ran.output
    assert "The untrained network is left out: the weights seeded cannot be converted without TensorFlow" in ran.stdout
    assert cells(ran.stdout, "efficientnet-b0, never trained") == []
    assert [len(cells(ran.stdout, name)) for name in BASELINES] == [2, 2]


def test_only_the_given_brands_are_used(folder: Path) -> None:
    ran = measure(folder, "--no-baselines", "--only", "Circle, Stripes")
    assert ran.stdout.startswith("5 logos of 2 brands on 3 photos; 0 left out")


def test_several_models_are_measured_by_their_files(folder: Path) -> None:
    path = locate_model("efficientnet-lite0", "bundled", PACKAGE_DIR).path
    ran = measure(folder, "--no-baselines", "--model", path, "--model", path)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.count("| cosine |") == 2


def test_a_model_file_without_its_description_is_refused(folder: Path) -> None:
    model = folder / "alone.tflite"
    model.write_bytes(b"weights")
    (folder / "not.json").write_text("[]")
    (folder / "other.json").write_text(locate_model("efficientnet-lite0", "bundled", PACKAGE_DIR).description.to_json())
    ran = measure(folder, "--model", model)
    assert ran.exit_code == 1
    assert "no description in" in ran.stderr
    assert "keep the two files of a model together" in ran.stderr


def test_a_file_that_is_not_a_network_is_refused(folder: Path) -> None:
    model = folder / "broken.tflite"
    model.write_bytes(b"weights")
    described = locate_model("efficientnet-lite0", "bundled", PACKAGE_DIR).description
    record = replace(described, file_sha256=hashlib.sha256(b"weights").hexdigest())
    (folder / "broken.json").write_text(record.to_json())
    ran = measure(folder, "--model", model)
    assert ran.exit_code == 1
    assert "not a LiteRT model" in ran.stderr


def test_sheets_show_queries_and_what_is_nearest(folder: Path) -> None:
    sheets = folder / "new" / "sheets"
    ran = measure(folder, "--no-baselines", "--sheets", sheets)
    assert ran.exit_code == 0, ran.output
    assert sorted(path.name for path in sheets.iterdir()) == ["best.png", "worst.png"]
    with Image.open(sheets / "best.png") as sheet:
        frames = [[frame_of(sheet, row, column) for column in range(5)] for row in range(5)]
        assert sheet.width == 5 * (SIDE + 2 * FRAME + GAP) + GAP
    for of_query, *of_found in frames:
        assert of_query == QUERY
        # Four logos are on the other photos: of the brand are two for a circle, one for stripes.
        assert sorted(of_found) in (sorted([RIGHT] * 2 + [WRONG] * 2), sorted([RIGHT] + [WRONG] * 3))
    assert sum(row.count(RIGHT) for row in frames) == 3 * 2 + 2 * 1


def test_a_sheet_has_no_tile_for_a_neighbour_that_is_not_there(folder: Path) -> None:
    lines = (folder / "logos.jsonl").read_text().splitlines()
    (folder / "logos.jsonl").write_text("\n".join([lines[0], lines[2]]))
    measure(folder, "--no-baselines", "--sheets", folder)
    with Image.open(folder / "best.png") as sheet:
        assert sheet.width == 2 * (SIDE + 2 * FRAME + GAP) + GAP
        assert [frame_of(sheet, 1, 0), frame_of(sheet, 1, 1)] == [QUERY, RIGHT]


def frame_of(sheet: Image.Image, row: int, column: int) -> str:
    pixel = np.asarray(sheet)[row * draw([]).height, GAP + column * (SIDE + 2 * FRAME + GAP)]
    return {ImageColor.getrgb(colour): colour for colour in (QUERY, RIGHT, WRONG)}[tuple(pixel.tolist())]


def test_a_tile_keeps_the_proportions_of_its_crop() -> None:
    sheet = draw([[Tile(Image.new("L", (40, 10), 0), "Łódź", RIGHT)]])
    inside = np.asarray(sheet)[FRAME : FRAME + SIDE, GAP + FRAME : GAP + FRAME + SIDE]
    dark = (inside == 0).all(axis=2)
    assert dark.any(axis=0).sum() == SIDE
    assert dark.any(axis=1).sum() == SIDE // 4
    caption = np.asarray(sheet)[SIDE + 2 * FRAME :]
    assert (caption < 128).any()


def test_crops_are_cut_out_of_the_photo_of_each_logo(folder: Path) -> None:
    photos = LabelledPhotos.read(folder, ["Circle"])
    done: list[int] = []
    crops = list(photos.crops(done.append))
    assert [crop.size for crop in crops] == [(80, 80)] * 3
    assert crops[2].getpixel((40, 40)) == (255, 0, 0)
    assert photos.crop(2).tobytes() == crops[2].tobytes()
    assert done == [1, 1, 1]


def test_baselines_are_of_colours_and_of_coarse_shapes() -> None:
    half = Image.new("RGB", (10, 10), "red")
    half.paste("black", (0, 0, 5, 10))
    (roots,) = colour_histograms([half])
    assert roots.shape == (64,)
    np.testing.assert_allclose(roots[[0, 3]] ** 2, [0.5, 0.5], rtol=1e-6)
    (picture,) = small_pictures([half.resize((16, 16), Image.Resampling.NEAREST)])
    assert picture.reshape(16, 16, 3)[3, [2, 13]].ravel() == pytest.approx(
        [-1 / 6, -1 / 6, -1 / 6, 5 / 6, -1 / 6, -1 / 6], abs=1e-6
    )


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[1]",
        '{"logo_id": 1}',
        line(1, "0.png", "Circle", [0, 0, 1]),
        line(1, "0.png", "Circle", [0, 0, 1, 1]).replace("1,", '"one",', 1),
    ],
)
def test_a_line_that_is_not_a_logo_is_named(folder: Path, content: str) -> None:
    with (folder / "logos.jsonl").open("a") as file:
        file.write(content)
    refused(folder, "logos.jsonl, line 7 is not an object of logo_id, photo, brand and a bounding_box of four numbers")


def test_a_folder_without_logos_is_refused(folder: Path) -> None:
    refused(folder / "photos", "give a folder that holds logos.jsonl and photos/")
    (folder / "logos.jsonl").write_text("")
    refused(folder, "no label is on two photos")


def test_a_brand_that_is_not_there_is_refused(folder: Path) -> None:
    refused(folder, "no logo of Nike in", "it has Circle, Odd, Stripes", only="Circle,Nike")


def test_brands_of_one_photo_each_cannot_be_measured(folder: Path) -> None:
    refused(folder, "no label is on two photos", only="Odd")


def test_missing_photos_are_counted(folder: Path) -> None:
    (folder / "photos" / "1.png").unlink()
    refused(folder, "1 photos of", "1.png is one")


def test_a_file_that_is_not_a_photo_is_named(folder: Path) -> None:
    (folder / "photos" / "1.png").write_bytes(b"GIF89a")
    refused(folder, "1.png: The image is a GIF without a frame")


def test_a_box_beside_the_photo_is_named(folder: Path) -> None:
    with (folder / "logos.jsonl").open("a") as file:
        file.write(line(7, "0.png", "Circle", [1, 1, 2, 2]))
    refused(folder, "0.png: The bounding box of logo 7")
    with pytest.raises(FolderError, match="logo 7"):
        LabelledPhotos.read(folder).crop(6)


def refused(folder: Path, *words: str, **options: Any) -> None:
    ran = measure(folder, "--no-baselines", *(f"--{name}={value}" for name, value in options.items()))
    assert ran.exit_code == 1
    for some in words:
        assert some in ran.stderr
