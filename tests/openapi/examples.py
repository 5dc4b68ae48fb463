"""The examples of a document, put together again: what is asked, and what is answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

METHODS = ("get", "post", "delete")  # in an order in which none spoils the answer of another


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the document shows it, and its answer."""

    method: str
    path: str
    body: Any
    status: int
    answer: Any
    operation_id: str
    name: str


def examples(document: Mapping[str, Any]) -> Iterator[Asked]:
    """Yield every example of a document.

    Raises:
        AssertionError: a request has no answer.
    """
    for method in METHODS:
        for path, operations in document["paths"].items():
            if method in operations:
                yield from _of_operation(method, path, operations[method])


def _of_operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[Asked]:
    parameters = operation.get("parameters", [])
    bodies = _examples(operation.get("requestBody", {}))
    answers = {
        name: (int(status), answer)
        for status, response in operation["responses"].items()
        for name, answer in _examples(response).items()
    }
    asked = {name for parameter in parameters for name in parameter.get("examples", {})} | set(bodies)
    assert asked <= set(answers), f"{method} {path}: {asked - set(answers)} have no answer"
    for name, (status, answer) in answers.items():
        values = {
            (parameter["in"], parameter["name"]): parameter["examples"][name]["value"]
            for parameter in parameters
            if name in parameter.get("examples", {})
        }
        address = path
        for (place, key), value in values.items():
            if place == "path":
                address = address.replace(f"{{{key}}}", quote(str(value)))
        query = {key: _text(value) for (place, key), value in values.items() if place == "query"}
        address += f"?{urlencode(query)}" if query else ""
        yield Asked(method.upper(), address, bodies.get(name), status, answer, operation["operationId"], name)


def _examples(holder: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: example["value"]
        for media_type in holder.get("content", {}).values()
        for name, example in media_type.get("examples", {}).items()
    }


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
