"""One operation of the service, and how it is written in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1).

An example is one request together with its answer. In the document its parts bear its name wherever they stand, so that
a reader, and a test, can put them together again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from api.routes.schemas import Schema
from runtime import request_id

JSON = "application/json"
HEADERS: Mapping[str, Any] = {
    request_id.HEADER: {
        "description": "Names the request in the log: as the client did in this header, or else at random.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    }
}
"""The document's components: the headers of every answer."""
_OF_EVERY_ANSWER = {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of the address.

    Attributes:
        place: `path` or `query`; those of a path are always required.
        is_list: several values, separated by commas.
    """

    name: str
    description: str
    schema: Schema
    place: str = "query"
    required: bool = False
    is_list: bool = False

    def written(self, examples: Mapping[str, Any]) -> dict[str, Any]:
        """Return the Parameter Object with its values in some examples."""
        written: dict[str, Any] = {
            "name": self.name,
            "in": self.place,
            "description": self.description,
            "required": self.required or self.place == "path",
            "schema": self.schema,
        }
        if self.is_list:
            written |= {"style": "form", "explode": False}
        return written | _named(examples)


@dataclass(frozen=True, slots=True)
class Body:
    """What a request sends: a schema by each media type that is taken."""

    description: str
    content: Mapping[str, Schema]

    def written(self, examples: Mapping[str, Any]) -> dict[str, Any]:
        """Return the Request Body Object."""
        content = {media_type: {"schema": schema} | _named(examples) for media_type, schema in self.content.items()}
        return {"description": self.description, "required": True, "content": content}


@dataclass(frozen=True, slots=True)
class Link:
    """What may be asked next with what an answer, or its request, holds.

    Attributes:
        operation_id: of what is asked.
        parameters: by name, where their values are: an expression of section 4.8.20.4 of the specification.
    """

    operation_id: str
    description: str
    parameters: Mapping[str, str]

    def written(self) -> dict[str, Any]:
        """Return the Link Object."""
        return {"operationId": self.operation_id, "description": self.description, "parameters": self.parameters}


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back: a schema by each media type; none where there is no body."""

    description: str
    content: Mapping[str, Schema]
    headers: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)

    def written(
        self, examples: Mapping[str, Any] = MappingProxyType({}), linked: Collection[str] = ()
    ) -> dict[str, Any]:
        """Return the Response Object, with its links to those of the operations `linked`, which are there."""
        written: dict[str, Any] = {"description": self.description, "headers": {**self.headers, **_OF_EVERY_ANSWER}}
        if self.content:
            written["content"] = {
                media_type: {"schema": schema} | _named(examples) for media_type, schema in self.content.items()
            }
        links = {name: link.written() for name, link in self.links.items() if link.operation_id in linked}
        return written | ({"links": links} if links else {})


@dataclass(frozen=True, slots=True)
class Example:
    """A request and what it is answered.

    Attributes:
        name: of this example among those of its operation.
        answer: the body that comes back, as JSON.
        parameters: by name; a list for several values.
        body: what is sent, as JSON.
    """

    name: str
    answer: Any
    status: int = 200
    parameters: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path.

    Attributes:
        path: with its parameters in braces, as in the document.
        answers: what this operation alone answers, by status.
        refusals: the statuses that it answers as others do, in the common form of errors.
    """

    method: str
    path: str
    id: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, Answer]
    refusals: Sequence[int] = ()
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    examples: Sequence[Example] = ()

    def written(self, refusals: Mapping[int, Answer], linked: Collection[str]) -> dict[str, Any]:
        """Return the Operation Object.

        Args:
            refusals: how each status of `refusals` is answered.
            linked: the ids of the operations that answers may link to.
        """
        written: dict[str, Any] = {
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
        }
        if self.parameters:
            written["parameters"] = [parameter.written(self._values_of(parameter)) for parameter in self.parameters]
        if self.body is not None:
            bodies = {example.name: example.body for example in self.examples if example.body is not None}
            written["requestBody"] = self.body.written(bodies)
        answers = {**{status: refusals[status] for status in self.refusals}, **self.answers}
        written["responses"] = {
            str(status): self._answer(status, answers[status], linked) for status in sorted(answers)
        }
        return written

    def _values_of(self, parameter: Parameter) -> dict[str, Any]:
        return {
            example.name: example.parameters[parameter.name]
            for example in self.examples
            if parameter.name in example.parameters
        }

    def _answer(self, status: int, answer: Answer, linked: Collection[str]) -> dict[str, Any]:
        examples = {example.name: example.answer for example in self.examples if example.status == status}
        if not examples and status not in self.answers:
            return {"$ref": f"#/components/responses/{status}"}
        return answer.written(examples, linked)


def _named(examples: Mapping[str, Any]) -> dict[str, Any]:
    return (
        {"examples": {name: {"summary": name.replace("_", " "), "value": value} for name, value in examples.items()}}
        if examples
        else {}
    )
