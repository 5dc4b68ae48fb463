"""Decode the embeddings that clients send: lists of numbers, or base64 of little-endian float32.

Base64 is the form of OpenAI-style APIs. It is a quarter of the size of numbers in JSON, and needs no parsing.
"""

from __future__ import annotations

import binascii
import math
import sys
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import SentEmbeddingError


def decode_embeddings(logo_ids: Sequence[int], embeddings: Sequence[object], dim: int) -> NDArray[np.float32]:
    """Return the embeddings of a request: (n, dim), finite.

    Args:
        logo_ids: n ids, for the messages of errors.
        embeddings: n of them, each a list of `dim` numbers, or the standard base64 (RFC 4648, padded) of `dim`
            little-endian float32 values.
        dim: the length of an embedding.

    Raises:
        SentEmbeddingError: one cannot be used; the message names the logo and what is wrong.
    """
    rows = [
        _of_base64(logo_id, sent, dim) if isinstance(sent, str) else _of_numbers(logo_id, sent, dim)
        for logo_id, sent in zip(logo_ids, embeddings, strict=True)
    ]
    decoded = np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), dim)
    for row in np.flatnonzero(~np.isfinite(decoded).all(axis=1)).tolist():
        raise SentEmbeddingError(_not_finite(logo_ids[row], embeddings[row], decoded[row]))
    # An array takes booleans for 0 and 1. To look at the types of all values would double the time.
    for row in np.flatnonzero(((decoded == 0) | (decoded == 1)).any(axis=1)).tolist():
        sent = embeddings[row]
        if isinstance(sent, list) and bool in map(type, sent):
            raise SentEmbeddingError(_not_a_number(logo_ids[row], sent))
    return decoded


def _of_base64(logo_id: int, sent: str, dim: int) -> bytes:
    try:
        content = binascii.a2b_base64(sent, strict_mode=True)
    except ValueError as error:  # binascii.Error is one; so is that of a string that is not ASCII
        raise SentEmbeddingError(f"embedding of logo {logo_id}: not valid base64 ({error})") from error
    if len(content) != 4 * dim:
        raise SentEmbeddingError(
            f"embedding of logo {logo_id}: {len(content)} bytes after base64; {dim} float32 values take {4 * dim}"
        )
    return content


def _of_numbers(logo_id: int, sent: object, dim: int) -> bytes:
    if not isinstance(sent, list):
        raise SentEmbeddingError(f"embedding of logo {logo_id}: neither a list of numbers nor a base64 string")
    if len(sent) != dim:
        raise SentEmbeddingError(f"embedding of logo {logo_id}: {len(sent)} values; {dim} are expected")
    try:
        values = array("f", sent)
    except (TypeError, OverflowError) as error:
        raise SentEmbeddingError(_not_a_number(logo_id, sent)) from error
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _not_a_number(logo_id: int, sent: list[object]) -> str:
    place, value = next((place, value) for place, value in enumerate(sent) if not _is_number(value))
    return f"embedding of logo {logo_id}: value {place} is {str(value)[:40]!r}, not a number"


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) <= 2**1023)


def _not_finite(logo_id: int, sent: object, decoded: NDArray[np.float32]) -> str:
    place = int(np.flatnonzero(~np.isfinite(decoded))[0])
    if isinstance(sent, list) and math.isfinite(sent[place]):
        return f"embedding of logo {logo_id}: value {place} ({sent[place]}) is too large for float32"
    kind = "NaN" if np.isnan(decoded[place]) else "infinity"
    return f"embedding of logo {logo_id}: value {place} is {kind}; all must be finite"
