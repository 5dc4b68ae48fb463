"""The renderer of the documentation page is what its notes say, with its licence."""

from __future__ import annotations

import gzip
import hashlib
import re

import pytest

from api.openapi import PAGE

NOTES = (PAGE / "README.md").read_text()
CHECKSUMS = dict(re.findall(r"\| `([\w.-]+)` \| `([0-9a-f]{64})` \|", NOTES))


@pytest.mark.parametrize("file", ["swagger-ui-bundle.js", "swagger-ui.css"])
def test_file_is_the_one_that_was_published(file: str) -> None:
    content = gzip.decompress((PAGE / f"{file}.gz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == CHECKSUMS[file]


def test_every_compressed_file_has_a_checksum() -> None:
    assert {path.name for path in PAGE.glob("*.gz")} == {f"{file}.gz" for file in CHECKSUMS}


def test_licence_is_kept_and_named() -> None:
    for file in ("swagger-ui-LICENSE.txt", "swagger-ui-NOTICE.txt", "swagger-ui-bundle.js.LICENSE.txt"):
        assert f"`{file}`" in NOTES
        assert (PAGE / file).stat().st_size
    assert "Apache License" in (PAGE / "swagger-ui-LICENSE.txt").read_text()
