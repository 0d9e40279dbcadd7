"""Which operation a REST request is for: method, path template, query string and headers.

Some of S3's operations share method and path (PutObject, CopyObject, UploadPart): the one whose required parameters
are there is meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from botocore.model import OperationModel, ServiceModel, StructureShape

from freehold.front.errors import InvalidUri, UnknownOperation, echo
from freehold.front.protocols.message import HttpRequest

_LABEL = re.compile(r"\{([^}+]+)(\+?)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """`segments` are literals, or (label,) for one segment; `greedy` is the label that takes the rest of the path."""

    operation: str
    segments: tuple[str | tuple[str], ...]
    greedy: str | None
    fixed_query: tuple[tuple[str, str], ...]
    needs_query: frozenset[str]
    needs_headers: frozenset[str]
    deprecated: bool

    def labels(self, segments: list[str]) -> dict[str, str] | None:
        """The raw values of the labels, or None when the path is another."""
        count = len(self.segments)
        if len(segments) < count or (self.greedy is None and len(segments) > count):
            return None
        if self.greedy is not None and len(segments) == count:
            return None
        found = {}
        for own, given in zip(self.segments, segments, strict=False):
            if isinstance(own, tuple):
                if not given:
                    return None
                found[own[0]] = given
            elif own != given:
                return None
        if self.greedy is not None:
            found[self.greedy] = "/".join(segments[count:])
            if not found[self.greedy]:
                return None
        return found


class Router:
    """The routes of one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._routes: dict[str, list[Route]] = {}
        for name in model.operation_names:
            operation = model.operation_model(name)
            self._routes.setdefault(operation.http.get("method", "POST"), []).append(_route(operation))

    def route(self, request: HttpRequest) -> tuple[str, dict[str, str]]:
        """The operation's name and the decoded labels. Raises UnknownOperation."""
        path = request.path.removeprefix("/")
        segments = path.split("/") if path else []
        # "/bucket/" is the bucket; "/bucket/folder/" is an object's name.
        trimmed = segments[:-1] if segments[-1:] == [""] else segments
        given = {name for name, _ in request.query}
        pairs = set(request.query)
        best: tuple[tuple[int, ...], Route, dict[str, str]] | None = None
        for route in self._routes.get(request.method, ()):
            labels = route.labels(segments if route.greedy else trimmed)
            if labels is None or not all(
                (name, value) in pairs if value else name in given for name, value in route.fixed_query
            ):
                continue
            missing = len(route.needs_query - given) + len(route.needs_headers - request.headers.keys())
            rank = (
                sum(isinstance(part, str) for part in route.segments),
                -missing,
                len(route.fixed_query),
                len(route.needs_query) + len(route.needs_headers),
                not route.deprecated,
            )
            if best is None or rank > best[0]:
                best = (rank, route, labels)
        if best is None:
            raise UnknownOperation(operation=echo(f"{request.method} {request.path}"))
        return best[1].operation, {label: _decoded(value) for label, value in best[2].items()}


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidUri() from None


def _route(operation: OperationModel) -> Route:
    path, _, query = operation.http["requestUri"].partition("?")
    segments: list[str | tuple[str]] = []
    greedy = None
    for part in path.strip("/").split("/") if path.strip("/") else []:
        label = _LABEL.fullmatch(part)
        if label is None:
            segments.append(part)
        elif label[2]:
            greedy = label[1]
        else:
            segments.append((label[1],))
    fixed = []
    for part in query.split("&") if query else []:
        name, _, value = part.partition("=")
        fixed.append((name, value))
    needs_query, needs_headers = set(), set()
    shape = operation.input_shape
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            member = shape.members[name]
            wire = str(member.serialization.get("name", name))
            match member.serialization.get("location"):
                case "querystring":
                    needs_query.add(wire)
                case "header":
                    needs_headers.add(wire.lower())
    return Route(
        operation.name,
        tuple(segments),
        greedy,
        tuple(fixed),
        frozenset(needs_query),
        frozenset(needs_headers),
        operation.deprecated,
    )
