from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embeddings.errors import ModelError
from embeddings.model import description as model
from embeddings.model.description import ConvertedModel, DistanceScale, ModelDescription, locate_model
from embeddings.model.preprocessing import B0_PREPROCESSING, LITE0_PREPROCESSING

NAME = "efficientnet-b0"

DESCRIPTION = ModelDescription(
    name=NAME,
    dim=1280,
    preprocessing=B0_PREPROCESSING,
    pooling="max",
    is_whitened=False,
    is_unit_length=False,
    weights="imagenet",
    weights_digest="0a" * 32,
    file_sha256="1b" * 32,
    is_trained=True,
    licence="Apache-2.0",
    source="https://example.org/weights",
)


def put(directory: Path, stem: str, description: ModelDescription = DESCRIPTION) -> ConvertedModel:
    path = directory / f"{stem}-{description.file_sha256[:12]}.tflite"
    path.write_bytes(b"weights")
    (directory / f"{stem}.json").write_text(description.to_json())
    return ConvertedModel(path, description)


def test_a_description_survives_json() -> None:
    assert ModelDescription.from_json(DESCRIPTION.to_json()) == DESCRIPTION


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", 5),
        ("dim", 0),
        ("dim", 1280.0),
        ("dim", True),
        ("is_whitened", 0),
        ("is_unit_length", None),
        ("pooling", "avg"),
        ("weights", None),
        ("weights_digest", "0A" * 32),
        ("file_sha256", "1b" * 31),
        ("file_sha256", "../" + "1b" * 31),
        ("is_trained", 1),
        ("licence", []),
        ("source", {}),
    ],
)
def test_a_description_with_a_wrong_value_is_refused_by_field(field: str, value: Any) -> None:
    text = json.dumps(json.loads(DESCRIPTION.to_json()) | {field: value})
    with pytest.raises(ModelError, match=f"no usable {field}"):
        ModelDescription.from_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fit", "crop"),
        ("fill", 256),
        ("fill", 12.5),
        ("size", "224"),
        ("mean", 0.5),
        ("mean", [0.485, 0.456]),
        ("mean", [0.485, 0.456, float("nan")]),
        ("std", [0.229, 0.0, 0.225]),
        ("std", [0.229, None, 0.225]),
    ],
)
def test_a_preprocessing_with_a_wrong_value_is_refused(field: str, value: Any) -> None:
    values = json.loads(DESCRIPTION.to_json())
    values["preprocessing"][field] = value
    with pytest.raises(ModelError, match="no usable preprocessing"):
        ModelDescription.from_json(json.dumps(values))


@pytest.mark.parametrize("same", [[], [0.1] * 6, [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], [-1.0] * 7, ["far"] * 7, [1] * 7])
def test_distances_that_are_not_quantiles_are_refused(same: list[Any]) -> None:
    values = json.loads(DESCRIPTION.to_json()) | {"distances": {"same": same, "other": [1.0] * 7}}
    with pytest.raises(ModelError, match="no usable distances"):
        ModelDescription.from_json(json.dumps(values))


def test_the_scale_of_distances_survives_json_and_says_what_is_alike() -> None:
    scale = DistanceScale(same=(0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 1.1), other=(0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4))
    described = replace(DESCRIPTION, distances=scale)
    assert ModelDescription.from_json(described.to_json()) == described
    assert (scale.alike, scale.different) == (0.8, 0.9)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"name": "efficientnet-b0"}', "[" * 100_000])
def test_other_json_is_not_accepted_as_a_description(text: str) -> None:
    with pytest.raises(ModelError, match="the model description is not"):
        ModelDescription.from_json(text)


def test_an_unknown_field_is_refused() -> None:
    text = json.dumps(json.loads(DESCRIPTION.to_json()) | {"colour": "red"})
    with pytest.raises(ModelError, match="exactly dim, distances, file_sha256"):
        ModelDescription.from_json(text)


def test_the_bundled_weights_come_with_the_package(tmp_path: Path) -> None:
    found = locate_model("efficientnet-lite0", "bundled", tmp_path)
    assert found.path.parent == Path(model.__file__).parents[1] / "weights"
    description = found.description
    assert (description.name, description.dim, description.weights) == ("efficientnet-lite0", 1280, "bundled")
    assert description.preprocessing == LITE0_PREPROCESSING
    assert description.distances is not None


def test_converted_weights_are_found_in_their_directory(tmp_path: Path) -> None:
    converted = put(tmp_path, f"{NAME}-imagenet")
    assert locate_model(NAME, "imagenet", tmp_path) == converted


def test_weights_converted_into_the_package_are_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(model, "PACKAGE_DIR", package)
    converted = put(package, f"{NAME}-noisy-student")
    assert locate_model(NAME, "noisy-student", tmp_path / "cache") == converted


def test_the_bundled_weights_are_never_loaded_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "efficientnet-lite0-bundled")
    monkeypatch.setattr(model, "PACKAGE_DIR", tmp_path / "package")
    with pytest.raises(ModelError, match="reinstall this version of the service"):
        locate_model("efficientnet-lite0", "bundled", tmp_path)


def test_weights_of_another_model_name_the_model_to_set(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="belong to efficientnet-b0, not to efficientnet-lite0: set ANN_MODEL="):
        locate_model("efficientnet-lite0", "imagenet", tmp_path)


def test_weights_not_converted_yet_name_the_command_that_does_it(tmp_path: Path) -> None:
    directory = tmp_path / "two words"
    with pytest.raises(ModelError) as caught:
        locate_model(NAME, "imagenet", directory)
    command = f"python manage.py export-model --model {NAME} --weights imagenet --output '{directory}'"
    assert f"`{command}`" in str(caught.value)


def test_a_changed_weights_file_is_another_model(tmp_path: Path) -> None:
    weights = tmp_path / "mine.weights.h5"
    weights.write_bytes(b"first")
    converted = put(tmp_path, model.model_stem(NAME, str(weights)))
    assert locate_model(NAME, str(weights), tmp_path) == converted
    shutil.copy(weights, tmp_path / "copy.h5")
    assert locate_model(NAME, str(tmp_path / "copy.h5"), tmp_path) == converted
    weights.write_bytes(b"second")
    with pytest.raises(ModelError, match="no converted file"):
        locate_model(NAME, str(weights), tmp_path)


@pytest.mark.parametrize("weights", ["missing.h5", "imagnet", ".", "", "a\0b"])
def test_weights_that_cannot_be_read_are_refused(tmp_path: Path, weights: str) -> None:
    with pytest.raises(ModelError, match="neither one of imagenet, noisy-student, seeded nor a readable file"):
        locate_model(NAME, weights, tmp_path)


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown model 'resnet': this version has efficientnet-lite0, eff"):
        locate_model("resnet", "bundled", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", DESCRIPTION.to_json().encode()[:-9]])
def test_a_damaged_description_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, f"{NAME}-imagenet")
    (tmp_path / f"{NAME}-imagenet.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"imagenet\.json is damaged .*: run `python manage\.py export-model"):
        locate_model(NAME, "imagenet", tmp_path)


def test_a_description_of_another_model_is_refused(tmp_path: Path) -> None:
    put(tmp_path, f"{NAME}-imagenet", replace(DESCRIPTION, name="efficientnet-b7"))
    with pytest.raises(ModelError, match="describes efficientnet-b7, not efficientnet-b0"):
        locate_model(NAME, "imagenet", tmp_path)


def test_a_description_without_its_weights_is_refused(tmp_path: Path) -> None:
    converted = put(tmp_path, f"{NAME}-imagenet")
    converted.path.unlink()
    with pytest.raises(ModelError, match=r"1b1b1b1b1b1b\.tflite is missing"):
        locate_model(NAME, "imagenet", tmp_path)
