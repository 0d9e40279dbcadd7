"""What a protocol is to the rest of the front door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.model import OperationModel, StructureShape

from freehold.front.errors import Family
from freehold.front.protocols.message import HttpRequest, HttpResponse

# Stands for the shape that an operation without input (or output) lacks: it has no members and refuses all.
NO_MEMBERS = StructureShape("NoMembers", {"type": "structure", "members": {}})


@dataclass(frozen=True, slots=True)
class Codec:
    """One operation, compiled. `parse` takes the request and what `WireProtocol.route` found; `respond` takes the
    operation's answer and the request id. `streams_in` names the input member that is the streamed body, if any."""

    parse: Callable[[HttpRequest, Any], dict[str, Any]]
    respond: Callable[[Mapping[str, Any], str], HttpResponse]
    streams_in: str | None = None


class WireProtocol(Protocol):
    """One protocol for one service model."""

    family: Family

    def route(self, request: HttpRequest) -> tuple[str, Any]:
        """The operation's name and whatever of the request was read to find it. Raises UnknownOperation."""

    def codec(self, operation: OperationModel) -> Codec:
        """The compiled operation."""

    def error(self, status: int, code: str, message: str, request_id: str) -> HttpResponse:
        """An error as this protocol's clients expect it."""
