"""The definition of a collection: its name, the length of its vectors, how they are compared, and who makes them.

It is a JSON file in the directory of the collection (`directory.py`):

    {"format": 1, "name": "clip-vit-b-32", "dim": 512, "metric": "cosine", "model": null, "fresh": true}
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from embeddings.errors import CollectionError

Metric = Literal["euclidean", "cosine"]

METRICS: tuple[Metric, ...] = get_args(Metric)
MIN_DIM, MAX_DIM = 2, 4096
_FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class CollectionDefinition:
    """A collection as it was created. It never changes.

    Attributes:
        name: up to 63 lower-case letters, digits, `-` and `_`, beginning with a letter or a digit.
        dim: the length of a vector, from `MIN_DIM` to `MAX_DIM`.
        metric: `cosine` compares vectors at unit length and rejects a vector of zeros.
        model: the model that embeds images; `None` if clients send vectors only.
        fresh: whether new logos are found among neighbours before the next index is built.

    Raises:
        CollectionError: a value is not allowed; the message names it.
    """

    name: str
    dim: int
    metric: Metric = "euclidean"
    model: str | None = None
    fresh: bool = True

    def __post_init__(self) -> None:
        check_name(self.name)
        if type(self.dim) is not int or not MIN_DIM <= self.dim <= MAX_DIM:
            raise CollectionError(f"dim: {self.dim!r} is not an integer from {MIN_DIM} to {MAX_DIM}")
        if self.metric not in METRICS:
            raise CollectionError(f"metric: {self.metric!r} is none of {', '.join(METRICS)}")
        if self.model is not None and not (isinstance(self.model, str) and self.model):
            raise CollectionError(f"model: {self.model!r} is not the name of a model")
        if type(self.fresh) is not bool:
            raise CollectionError(f"fresh: {self.fresh!r} is neither true nor false")

    def as_json(self) -> bytes:
        """Return the content of the file."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def of_json(cls, content: bytes) -> CollectionDefinition:
        """Read what `as_json` returned.

        Raises:
            CollectionError: the content is something else.
        """
        try:
            values = json.loads(content)
            if values.pop("format") != _FORMAT:
                raise CollectionError("a later release of this service wrote it: use that release")
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CollectionError(f"it does not define a collection: {error}") from error


def check_name(name: str) -> None:
    """Raise CollectionError if a collection may not have this name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CollectionError(
            f"collection {str(name)[:80]!r}: a name has up to 63 lower-case letters, digits, '-' and '_', and begins "
            "with a letter or a digit"
        )
