"""The ``ec2`` and ``query`` protocols: forms in, XML out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel, StructureShape

from freehold.front.errors import Family, MissingAction, UnknownOperation, WrongVersion, echo
from freehold.front.protocols.codec import NO_MEMBERS, Codec
from freehold.front.protocols.form import FormParser, Node, tree
from freehold.front.protocols.message import HttpRequest, HttpResponse, form
from freehold.front.protocols.xml_write import XmlWriter, escape

_NOT_PARAMETERS = frozenset({"Action", "Version"})


class QueryProtocol:
    """``query`` for one service, or ``ec2`` with its own names, lists and frames."""

    def __init__(self, model: ServiceModel, *, ec2: bool = False) -> None:
        self.family: Family = "ec2" if ec2 else "query"
        self._model = model
        self._operations = frozenset(model.operation_names)
        self._parser = FormParser(ec2=ec2)
        self._writer = XmlWriter()
        # EC2 answers in a namespace with a slash at its end, which the model does not have.
        self._namespace = str(model.metadata["xmlNamespace"]) + ("/" if ec2 else "")

    def route(self, request: HttpRequest) -> tuple[str, Node]:
        pairs = [pair for pair in request.query if not pair[0].startswith("X-Amz-")]
        if request.body:
            pairs += form(request.body)
        root = tree(pairs)
        name, version = root.pop("Action", ""), root.pop("Version", "")
        if not isinstance(name, str) or not name:
            raise MissingAction()
        if version and version != self._model.api_version:
            raise WrongVersion(version=echo(str(version)), service=self._model.service_name)
        if name not in self._operations:
            raise UnknownOperation(operation=echo(name))
        return name, root

    def codec(self, operation: OperationModel) -> Codec:
        return Codec(parse=self._parse(operation), respond=self._respond(operation))

    def _parse(self, operation: OperationModel) -> Any:
        # An operation without input refuses every parameter, by the same rule.
        parse = self._parser.structure(operation.input_shape or NO_MEMBERS)
        return lambda _request, root: parse(root)

    def _respond(self, operation: OperationModel) -> Any:
        shape = operation.output_shape
        write = self._writer.members(shape) if isinstance(shape, StructureShape) else None
        name = operation.name
        if self.family == "ec2":
            before = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}Response xmlns="{self._namespace}"><requestId>'
            between, after, end = "</requestId>", "", f"</{name}Response>"
        else:
            wrapper = shape.serialization.get("resultWrapper", f"{name}Result") if shape is not None else None
            before = f'<{name}Response xmlns="{self._namespace}">' + (f"<{wrapper}>" if wrapper else "")
            after = (f"</{wrapper}>" if wrapper else "") + "<ResponseMetadata><RequestId>"
            between, end = "", f"</RequestId></ResponseMetadata></{name}Response>"
        ec2 = self.family == "ec2"

        def respond(answer: Mapping[str, Any], request_id: str) -> HttpResponse:
            members = "" if write is None else write(answer)
            parts = (before, request_id, between, members, end) if ec2 else (before, members, after, request_id, end)
            return HttpResponse(
                200,
                {"content-type": "text/xml;charset=UTF-8", "x-amzn-requestid": request_id},
                "".join(parts).encode(),
            )

        return respond

    def error(self, status: int, code: str, message: str, request_id: str) -> HttpResponse:
        return xml_error(self.family, self._namespace, status, code, message, request_id)


def xml_error(family: Family, namespace: str, status: int, code: str, message: str, request_id: str) -> HttpResponse:
    """EC2's ``<Response><Errors>`` or the query services' ``<ErrorResponse>``."""
    if family == "ec2":
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{escape(code)}</Code>'
            f"<Message>{escape(message)}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
        )
    else:
        fault = "Sender" if status < 500 else "Receiver"
        text = (
            f'<ErrorResponse xmlns="{escape(namespace)}"><Error><Type>{fault}</Type><Code>{escape(code)}</Code>'
            f"<Message>{escape(message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    return HttpResponse(
        status, {"content-type": "text/xml;charset=UTF-8", "x-amzn-requestid": request_id}, text.encode()
    )
