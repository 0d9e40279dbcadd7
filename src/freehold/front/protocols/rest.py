"""The ``rest-json`` and ``rest-xml`` protocols: input and output spread over path, query string, headers and body.

https://smithy.io/2.0/aws/protocols/aws-restxml-protocol.html, …/aws-restjson1-protocol.html
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.utils import is_json_value_header

from freehold.front.errors import Family, InputError, Malformed, MissingMember, UnknownMember, WrongType, echo
from freehold.front.protocols.codec import NO_MEMBERS, Codec
from freehold.front.protocols.constraints import check_of
from freehold.front.protocols.json_rpc import json_error
from freehold.front.protocols.json_values import JsonParser, JsonWriter, decode
from freehold.front.protocols.message import HttpRequest, HttpResponse
from freehold.front.protocols.uri import Router
from freehold.front.protocols.values import parse_blob, text_formatter, text_parser
from freehold.front.protocols.xml_read import XmlParser, document
from freehold.front.protocols.xml_write import XmlWriter, escape

_XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NOT_PARAMETERS = ("X-Amz-", "x-id")

# What S3 calls the root of an answer where it is not the output shape's name; SDKs ignore it, other clients do not.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
_S3_ROOTS = {
    "ListBuckets": "ListAllMyBucketsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListParts": "ListPartsResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketTagging": "Tagging",
    "GetObjectTagging": "Tagging",
    "GetBucketAcl": "AccessControlPolicy",
    "GetObjectAcl": "AccessControlPolicy",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketWebsite": "WebsiteConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
}

Bind = Callable[[HttpRequest, Mapping[str, str], dict[str, list[str]], dict[str, Any]], None]


class RestProtocol:
    """``rest-json`` for one service, or ``rest-xml``."""

    def __init__(self, model: ServiceModel, *, xml: bool) -> None:
        self.family: Family = "rest-xml" if xml else "rest-json"
        self._model = model
        self._router = Router(model)
        self._json_in, self._json_out = JsonParser(), JsonWriter()
        self._xml_in, self._xml_out = XmlParser(), XmlWriter()
        self._s3 = model.signing_name == "s3"

    def route(self, request: HttpRequest) -> tuple[str, Mapping[str, str]]:
        return self._router.route(request)

    def codec(self, operation: OperationModel) -> Codec:
        shape = operation.input_shape
        streams_in = None
        if isinstance(shape, StructureShape):
            payload = shape.serialization.get("payload")
            if payload and shape.members[payload].serialization.get("streaming"):
                streams_in = payload
        return Codec(self._parse(operation), self._respond(operation), streams_in)

    # Input

    def _parse(self, operation: OperationModel) -> Any:
        shape = operation.input_shape or NO_MEMBERS
        bindings: list[Bind] = []
        named_in_query = {pair.partition("=")[0] for pair in operation.http["requestUri"].partition("?")[2].split("&")}
        for name, member in shape.members.items():
            if member.serialization.get("location") == "querystring":
                named_in_query.add(str(member.serialization.get("name", name)))
        takes_any_query = self._s3
        body_members = set()
        payload = shape.serialization.get("payload")
        for name, member in shape.members.items():
            wire = str(member.serialization.get("name", name))
            match member.serialization.get("location"):
                case "uri":
                    bindings.append(_bind_label(name, wire, member))
                case "querystring" if isinstance(member, MapShape):
                    takes_any_query = True
                    bindings.append(_bind_query_map(name, member, frozenset(named_in_query)))
                case "querystring":
                    bindings.append(_bind_query(name, wire, member))
                case "header":
                    bindings.append(_bind_header(name, wire.lower(), member))
                case "headers":
                    bindings.append(_bind_header_map(name, wire.lower()))
                case None:
                    body_members.add(name)
        if payload:
            bindings.append(self._bind_payload(payload, shape.members[payload]))
        elif body_members:
            bindings.append(self._bind_body(shape, frozenset(body_members)))
        required = [name for name in shape.members if name in shape.required_members]
        wire_names = {name: str(member.serialization.get("name", name)) for name, member in shape.members.items()}

        def parse(request: HttpRequest, labels: Mapping[str, str]) -> dict[str, Any]:
            query: dict[str, list[str]] = {}
            for name, value in request.query:
                if not name.startswith(_NOT_PARAMETERS):
                    query.setdefault(name, []).append(value)
                    if not takes_any_query and name not in named_in_query:
                        raise UnknownMember().under(echo(name))
            result: dict[str, Any] = {}
            for bind in bindings:
                bind(request, labels, query, result)
            for name in required:
                if name not in result:
                    raise MissingMember().under(wire_names[name])
            return result

        return parse

    def _bind_payload(self, name: str, member: Shape) -> Bind:
        if member.serialization.get("streaming") or member.type_name == "blob":

            def bind_bytes(request: HttpRequest, _labels: object, _query: object, result: dict[str, Any]) -> None:
                if request.body or member.serialization.get("streaming"):
                    result[name] = request.body

            return bind_bytes
        if member.type_name == "string":
            check = check_of(member)

            def bind_text(request: HttpRequest, _labels: object, _query: object, result: dict[str, Any]) -> None:
                if request.body:
                    try:
                        result[name] = request.body.decode()
                    except UnicodeDecodeError:
                        raise Malformed(problem="the body is not UTF-8") from None
                    if check:
                        check(result[name])

            return bind_text
        if self.family == "rest-json":
            parse_json = self._json_in.parser(member)

            def bind_json(request: HttpRequest, _labels: object, _query: object, result: dict[str, Any]) -> None:
                if request.body:
                    result[name] = parse_json(decode(request.body))

            return bind_json
        parse_xml = self._xml_in.parser(member)
        root_name = str(member.serialization.get("name", name))

        def bind_xml(request: HttpRequest, _labels: object, _query: object, result: dict[str, Any]) -> None:
            if request.body:
                result[name] = parse_xml(_root(request.body, root_name))

        return bind_xml

    def _bind_body(self, shape: StructureShape, names: frozenset[str]) -> Bind:
        if self.family == "rest-json":
            parse_json = self._json_in.structure(shape, names)

            def bind_json(request: HttpRequest, _labels: object, _query: object, result: dict[str, Any]) -> None:
                result.update(parse_json(decode(request.body) if request.body else {}))

            return bind_json
        parse_xml = self._xml_in.structure(shape, names)
        root_name = str(shape.serialization.get("name", shape.name))

        def bind_xml(request: HttpRequest, _labels: object, _query: object, result: dict[str, Any]) -> None:
            if request.body:
                result.update(parse_xml(_root(request.body, root_name)))

        return bind_xml

    # Output

    def _respond(self, operation: OperationModel) -> Any:
        shape = operation.output_shape or NO_MEMBERS
        headers: dict[str, tuple[str, Callable[[Any], str]]] = {}
        header_maps: dict[str, str] = {}
        status_member = None
        payload = shape.serialization.get("payload")
        body_members = set()
        for name, member in shape.members.items():
            wire = str(member.serialization.get("name", name))
            match member.serialization.get("location"):
                case "header":
                    headers[name] = (wire, _header_formatter(member))
                case "headers":
                    header_maps[name] = wire
                case "statusCode":
                    status_member = name
                case _ if name != payload:
                    body_members.add(name)
        status = int(operation.http.get("responseCode", 200))
        write_body = (
            self._payload_writer(shape.members[payload])
            if payload
            else self._body_writer(operation, shape, frozenset(body_members))
        )

        def respond(answer: Mapping[str, Any], request_id: str) -> HttpResponse:
            response = HttpResponse(status, self._id_headers(request_id))
            body: dict[str, Any] = {}
            for name, value in answer.items():
                if value is None:
                    continue
                if name in headers:
                    wire, form = headers[name]
                    response.headers[wire] = form(value)
                elif name in header_maps:
                    for key, item in value.items():
                        response.headers[header_maps[name] + key] = item
                elif name == status_member:
                    response.status = int(value)
                else:
                    body[name] = value
            if "Content-Range" in response.headers and response.status == 200:
                response.status = 206  # RFC 9110 §15.3.7: a part of what was asked for
            if payload is None:
                write_body(response, body)
            elif payload in body:
                write_body(response, body.pop(payload))
                if body:
                    raise KeyError(f"{operation.name} has no output members {sorted(body)}")
            return response

        return respond

    def _payload_writer(self, member: Shape) -> Callable[[HttpResponse, Any], None]:
        if member.serialization.get("eventstream"):

            def refuse(_response: HttpResponse, _value: Any) -> None:
                raise TypeError("event streams can not be answered yet")

            return refuse
        if member.type_name in ("blob", "string"):

            def write_raw(response: HttpResponse, value: Any) -> None:
                response.headers.setdefault("Content-Type", "binary/octet-stream")
                response.body = value.encode() if isinstance(value, str) else value

            return write_raw
        if self.family == "rest-json":
            convert = self._json_out.writer(member)

            def write_json(response: HttpResponse, value: Any) -> None:
                response.headers.setdefault("Content-Type", "application/json")
                response.body = msgspec.json.encode(convert(value))

            return write_json
        write = self._xml_out.element(member, str(member.serialization.get("name", member.name)))

        def write_xml(response: HttpResponse, value: Any) -> None:
            response.headers.setdefault("Content-Type", "application/xml")
            response.body = (_XML_HEAD + write(value)).encode()

        return write_xml

    def _body_writer(
        self, operation: OperationModel, shape: StructureShape, names: frozenset[str]
    ) -> Callable[[HttpResponse, Any], None]:
        if self.family == "rest-json":
            convert = self._json_out.structure(shape, names)

            def write_json(response: HttpResponse, body: dict[str, Any]) -> None:
                response.headers["Content-Type"] = "application/json"
                response.body = msgspec.json.encode(convert(body))

            return write_json
        write = self._xml_out.members(shape, names)
        root = _S3_ROOTS.get(operation.name, shape.name) if self._s3 else shape.name
        root = str(shape.serialization.get("name", root))
        namespace = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"' if self._s3 else ""
        unwrapped = self._s3 and operation.name == "GetBucketLocation"  # answers the bare LocationConstraint

        def write_xml(response: HttpResponse, body: dict[str, Any]) -> None:
            if not names:
                if body:
                    raise KeyError(f"{operation.name} has no output members {sorted(body)}")
                return
            if unwrapped:
                location = escape(body.get("LocationConstraint") or "")
                text = f"<LocationConstraint{namespace}>{location}</LocationConstraint>"
            else:
                text = f"<{root}{namespace}>{write(body)}</{root}>"
            response.headers["Content-Type"] = "application/xml"
            response.body = (_XML_HEAD + text).encode()

        return write_xml

    def _id_headers(self, request_id: str) -> dict[str, str]:
        if not self._s3:
            return {"x-amzn-RequestId": request_id}
        return s3_id_headers(request_id)

    def error(self, status: int, code: str, message: str, request_id: str) -> HttpResponse:
        if self.family == "rest-json":
            return json_error(status, code, message, request_id, "application/json")
        return rest_xml_error(status, code, message, request_id)


def s3_id_headers(request_id: str) -> dict[str, str]:
    """S3's two ids of a request; the second is the first, hashed, for clients that want both."""
    host_id = base64.b64encode(hashlib.sha256(request_id.encode()).digest()).decode("ascii")
    return {"x-amz-request-id": request_id, "x-amz-id-2": host_id}


def rest_xml_error(status: int, code: str, message: str, request_id: str) -> HttpResponse:
    """S3's bare ``<Error>``."""
    headers = s3_id_headers(request_id)
    text = (
        f"{_XML_HEAD}<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        f"<RequestId>{request_id}</RequestId><HostId>{headers['x-amz-id-2']}</HostId></Error>"
    )
    return HttpResponse(status, {"Content-Type": "application/xml", **headers}, text.encode())


def _root(body: bytes, name: str) -> Any:
    root = document(body)
    found = root.tag.rpartition("}")[2]
    if found != name:
        raise UnknownMember().under(echo(found))
    return root


def _checked(shape: Shape) -> Callable[[str], Any]:
    parse, check = text_parser(shape), check_of(shape)
    if check is None:
        return parse

    def parse_checked(value: str) -> Any:
        result = parse(value)
        check(result)
        return result

    return parse_checked


def _bind_label(name: str, wire: str, member: Shape) -> Bind:
    parse = _checked(member)

    def bind(_request: HttpRequest, labels: Mapping[str, str], _query: object, result: dict[str, Any]) -> None:
        try:
            result[name] = parse(labels[wire])
        except InputError as error:
            error.under(wire)
            raise

    return bind


def _bind_query(name: str, wire: str, member: Shape) -> Bind:
    is_list = isinstance(member, ListShape)
    parse = _checked(member.member if isinstance(member, ListShape) else member)
    check = check_of(member) if is_list else None

    def bind(_r: HttpRequest, _l: Mapping[str, str], query: dict[str, list[str]], result: dict[str, Any]) -> None:
        values = query.get(wire)
        if values is None:
            return
        try:
            if is_list:
                result[name] = [parse(value) for value in values]
                if check:
                    check(result[name])
            elif len(values) > 1:
                raise WrongType(value="…", expected="given once")
            elif values[0] or member.type_name == "string":
                result[name] = parse(values[0])
        except InputError as error:
            error.under(wire)
            raise

    return bind


def _bind_query_map(name: str, member: MapShape, others: frozenset[str]) -> Bind:
    of_lists = isinstance(member.value, ListShape)

    def bind(_r: HttpRequest, _l: Mapping[str, str], query: dict[str, list[str]], result: dict[str, Any]) -> None:
        found = {key: values if of_lists else values[-1] for key, values in query.items() if key not in others}
        if found:
            result[name] = found

    return bind


def _text(value: str) -> str:
    """A header's text: bytes that are read as Latin-1 and usually are UTF-8."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        return value


def _bind_header(name: str, wire: str, member: Shape) -> Bind:
    parse: Callable[[str], Any]
    if isinstance(member, ListShape):
        parse_item, check = _checked(member.member), check_of(member)

        def parse(value: str) -> Any:
            items = [parse_item(item) for item in _header_list(value)]
            if check:
                check(items)
            return items
    elif is_json_value_header(member):

        def parse(value: str) -> Any:
            return decode(parse_blob(value))
    else:
        parse = _checked(member)

    def bind(request: HttpRequest, _labels: object, _query: object, result: dict[str, Any]) -> None:
        value = request.headers.get(wire)
        if value is not None:
            try:
                result[name] = parse(_text(value))
            except InputError as error:
                error.under(wire)
                raise

    return bind


def _header_list(value: str) -> list[str]:
    """Comma-separated items, those with commas or quotes in double quotes."""
    items, item, quoted, escaped = [], "", False, False
    for character in value:
        if escaped:
            item, escaped = item + character, False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            items.append(item.strip())
            item = ""
        else:
            item += character
    return [*items, item.strip()]


def _bind_header_map(name: str, prefix: str) -> Bind:
    def bind(request: HttpRequest, _labels: object, _query: object, result: dict[str, Any]) -> None:
        found = {
            header[len(prefix) :]: _text(value)
            for header, value in request.headers.items()
            if header.startswith(prefix)
        }
        if found:
            result[name] = found

    return bind


def _header_formatter(member: Shape) -> Callable[[Any], str]:
    if isinstance(member, ListShape):
        form = text_formatter(member.member, "rfc822")
        return lambda value: ",".join(form(item) for item in value)
    if is_json_value_header(member):
        return lambda value: base64.b64encode(msgspec.json.encode(value)).decode("ascii")
    return text_formatter(member, "rfc822")
