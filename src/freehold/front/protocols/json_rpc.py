"""The AWS JSON protocols 1.0 and 1.1: ``X-Amz-Target`` names the operation, the body is one JSON object.

https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from botocore.model import OperationModel, ServiceModel, StructureShape

from freehold.front.errors import Family, MissingAction, UnknownOperation, echo
from freehold.front.protocols.codec import NO_MEMBERS, Codec
from freehold.front.protocols.json_values import JsonParser, JsonWriter, decode
from freehold.front.protocols.message import HttpRequest, HttpResponse


class JsonProtocol:
    """``json`` for one service. The answer's JSON version is the request's."""

    family: Family = "json"

    def __init__(self, model: ServiceModel) -> None:
        self._operations = frozenset(model.operation_names)
        self._prefix = str(model.metadata["targetPrefix"])
        self._content_type = f"application/x-amz-json-{model.metadata.get('jsonVersion', '1.0')}"
        # A service that once spoke the query protocol gives its old error codes in a header as well.
        # https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait
        self._query_compatible = "awsQueryCompatible" in model.metadata
        self._parser = JsonParser()
        self._writer = JsonWriter()

    def route(self, request: HttpRequest) -> tuple[str, Any]:
        target = request.headers.get("x-amz-target")
        if not target:
            raise MissingAction()
        prefix, _, name = target.rpartition(".")
        if prefix != self._prefix or name not in self._operations:
            raise UnknownOperation(operation=echo(target))
        return name, None

    def codec(self, operation: OperationModel) -> Codec:
        parse_body = self._parser.structure(operation.input_shape or NO_MEMBERS)
        shape = operation.output_shape
        convert = self._writer.structure(shape) if isinstance(shape, StructureShape) else None
        content_type = self._content_type

        def parse(request: HttpRequest, _routed: Any) -> dict[str, Any]:
            parsed: dict[str, Any] = parse_body(decode(request.body) if request.body else {})
            return parsed

        def respond(answer: Mapping[str, Any], request_id: str) -> HttpResponse:
            body = msgspec.json.encode(convert(answer)) if convert is not None else b""
            return HttpResponse(200, {"content-type": content_type, "x-amzn-requestid": request_id}, body)

        return Codec(parse, respond)

    def error(self, status: int, code: str, message: str, request_id: str) -> HttpResponse:
        response = json_error(status, code, message, request_id, self._content_type)
        if self._query_compatible:
            response.headers["x-amzn-query-error"] = f"{code};{'Sender' if status < 500 else 'Receiver'}"
        return response


def json_error(
    status: int, code: str, message: str, request_id: str, content_type: str = "application/x-amz-json-1.1"
) -> HttpResponse:
    return HttpResponse(
        status,
        {"content-type": content_type, "x-amzn-requestid": request_id, "x-amzn-errortype": code},
        msgspec.json.encode({"__type": code, "message": message}),
    )
