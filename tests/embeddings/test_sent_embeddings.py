"""Embeddings in requests are decoded exactly, and a bad one is named."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from embeddings.errors import SentEmbeddingError
from embeddings.sent_embeddings import decode_embeddings
from tests.properties import examples

DIM = 4
GOOD = [0.5, -1, 0, 2.25]


def in_base64(values: NDArray[np.floating]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


@examples(50)
@given(arrays(np.float32, (3, DIM), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_both_forms_give_every_value_back_exactly(vectors: NDArray[np.float32]) -> None:
    as_numbers = json.loads(json.dumps(vectors.tolist()))
    for sent in (as_numbers, [in_base64(vector) for vector in vectors], [*as_numbers[:2], in_base64(vectors[2])]):
        decoded = decode_embeddings([1, 2, 3], sent, DIM)
        assert decoded.dtype == np.float32
        assert np.array_equal(decoded, vectors)


def test_integers_are_numbers() -> None:
    assert decode_embeddings([1], [[1, 0, -3, 2**70]], DIM).tolist() == [[1, 0, -3, 2.0**70]]


def test_no_embeddings_are_an_empty_array() -> None:
    assert decode_embeddings([], [], DIM).shape == (0, DIM)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ([0.5] * 3, "3 values; 4 are expected"),
        ([], "0 values; 4 are expected"),
        ([0.5, float("nan"), 0, 0], "value 1 is NaN"),
        ([0.5, 0, float("-inf"), 0], "value 2 is infinity"),
        ([0.5, 0, 0, 1e39], r"value 3 \(1e\+39\) is too large for float32"),
        ([0.5, 0, 0, 2**1023], "value 3 .*is too large for float32"),
        ([0.5, 0, 10**400, 1], "value 2 is '1000.*not a number"),
        ([0.5, "1.5", 0, 0], "value 1 is '1.5', not a number"),
        ([0.5, 1, True, 0], "value 2 is 'True', not a number"),
        ([None, 1, 1, 0], "value 0 is 'None', not a number"),
        ([[0.5], 1, 1, 0], r"value 0 is '\[0.5\]', not a number"),
        (None, "neither a list of numbers nor a base64 string"),
        ({"0": 1}, "neither a list of numbers nor a base64 string"),
        ("????", "not valid base64"),
        ("AAA", "not valid base64"),
        ("AAAA\n", "not valid base64"),
        ("é", "not valid base64"),
        ("", "0 bytes after base64; 4 float32 values take 16"),
        (in_base64(np.zeros(5)), "20 bytes after base64; 4 float32 values take 16"),
        (in_base64(np.array([0, np.inf, 0, 0])), "value 1 is infinity"),
        (in_base64(np.array([0, 0, 0, np.nan])), "value 3 is NaN"),
    ],
)
def test_a_bad_embedding_is_refused_and_its_logo_named(sent: object, message: str) -> None:
    with pytest.raises(SentEmbeddingError, match=f"embedding of logo 77: {message}"):
        decode_embeddings([5, 77, 8], [GOOD, sent, GOOD], DIM)
