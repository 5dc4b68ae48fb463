"""`python -m demo.draw` writes photos into a folder."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from demo.draw import main


def test_folder_lists_the_logos_of_its_photos(tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, [str(tmp_path / "drawn"), "--photos", "6"])
    assert answer.exit_code == 0, answer.output
    logos = [json.loads(line) for line in (tmp_path / "drawn" / "logos.jsonl").read_text().splitlines()]
    assert f"6 photos with {len(logos)} logos" in answer.output
    assert len({logo["photo"] for logo in logos}) == 6
    for logo in logos:
        y_min, x_min, y_max, x_max = logo["bounding_box"]
        assert 0 <= y_min < y_max <= 1
        assert 0 <= x_min < x_max <= 1
        with Image.open(tmp_path / "drawn" / "photos" / logo["photo"]) as photo:
            assert photo.format == "JPEG"
