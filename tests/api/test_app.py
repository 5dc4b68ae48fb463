"""Building an app from the environment and the data directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from api.app import create_app
from embeddings.errors import ModelError, StoreModelError, StoreUnavailableError
from embeddings.maintenance.rewrite import prepare_store
from embeddings.model import description as model
from embeddings.store.layout import ModelStamp


def test_app_is_built_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ANN_STORE_CAPACITY", "50")
    app = create_app()
    try:
        assert falcon.testing.TestClient(app).simulate_get("/api/v1/ann/count").json == {"count": 0}
        assert app.parts.store.capacity == 50
        assert not app.parts.embedder.loaded
    finally:
        app.parts.close()


def test_store_of_other_weights_is_refused(open_app: Any, tmp_path: Path) -> None:
    stamp = ModelStamp("efficientnet-b0", "0" * 64)
    prepare_store(tmp_path / "other" / "efficientnet-b0.hdf5", capacity=10, dim=1280, stamp=stamp)
    with pytest.raises(StoreModelError, match="000000000000"):
        open_app(data_dir=tmp_path / "other")


def test_missing_bundled_weights_stop_the_start(open_app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "PACKAGE_DIR", tmp_path)
    with pytest.raises(ModelError, match="install"):
        open_app()


def test_store_of_the_original_is_served_with_a_warning(open_app: Any, caplog: pytest.LogCaptureFixture) -> None:
    open_app()
    assert "not comparable" in caplog.text


def test_store_that_cannot_be_written_stops_the_start(open_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root can write everywhere
    with pytest.raises(StoreUnavailableError, match="cannot be written"):
        open_app()


def test_app_returns_the_route_of_a_path(open_app: Any) -> None:
    app = open_app()
    assert app.template_of("/api/v1/ann/3/") == app.template_of("/api/v1/ann/4") == "/api/v1/ann/{logo_id:int}"
    assert app.template_of("/api/v1/ann/batch") == "/api/v1/ann/batch"
    assert app.template_of("/") == "/"
    assert app.template_of("/api/v1/nothing") is None
