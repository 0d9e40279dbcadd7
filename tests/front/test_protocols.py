"""Every operation of twelve services, both ways: botocore's serialiser → our parser, our serialiser → botocore's
parser, without a loss."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import botocore.parsers
import botocore.serialize
import pytest
from botocore.awsrequest import prepare_request_dict
from botocore.handlers import parse_get_bucket_location
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from freehold.front.errors import ConstraintViolated, MissingMember
from freehold.front.protocols.constraints import check_of
from freehold.front.protocols.json_rpc import JsonProtocol
from freehold.front.protocols.message import HttpRequest, pairs
from freehold.front.protocols.query import QueryProtocol
from freehold.front.protocols.rest import RestProtocol
from tests.front.shapes import Values

# lambda stands for what the twelve lack: rest-json. Event streams come with the first operation that has one.
SERVICES = (
    "sts",
    "iam",
    "s3",
    "kms",
    "elbv2",
    "autoscaling",
    "cloudwatch",
    "logs",
    "rds",
    "ce",
    "cloudtrail",
    "lambda",
)
EXAMPLES = 10

# Operations that no request can tell apart, by the model: the newer name answers.
SAME_ON_THE_WIRE = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
    "ListDirectoryBuckets": "ListBuckets",  # AWS serves it at another host
}


@functools.cache
def model_of(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


@functools.cache
def protocol_of(service: str, name: str) -> Any:
    model = model_of(service)
    match name:
        case "ec2":
            return QueryProtocol(model, ec2=True)
        case "query":
            return QueryProtocol(model)
        case "json":
            return JsonProtocol(model)
    return RestProtocol(model, xml=name == "rest-xml")


def fits(shape: Shape, text: str) -> bool:
    check = check_of(shape)
    try:
        if check:
            check(text)
    except ConstraintViolated:
        return False
    return True


def wire_protocols(service: str) -> list[str]:
    model = model_of(service)
    offered = model.metadata.get("protocols") or [model.metadata["protocol"]]
    return [name for name in offered if name != "smithy-rpc-v2-cbor"]


def request_of(operation: OperationModel, protocol: str, params: dict[str, Any]) -> HttpRequest:
    """What botocore sends for these parameters, as our protocols get it."""
    serialized = botocore.serialize.create_serializer(protocol, include_validation=False).serialize_to_request(
        params, operation
    )
    prepare_request_dict(serialized, "http://localhost")
    path, _, query = serialized["url"].split("localhost", 1)[1].partition("?")
    body = serialized["body"]
    if isinstance(body, dict):
        body = urlencode(body).encode()
    elif isinstance(body, str):
        body = body.encode()
    headers = {
        str(name).lower(): value if isinstance(value, str) else str(value)
        for name, value in serialized["headers"].items()
    }
    return HttpRequest(serialized["method"], path, pairs(query), headers, body)


class _Absent:
    """What leaves no trace on the wire."""


ABSENT = _Absent()


def as_received(shape: Shape, value: Any, protocol: str) -> Any:
    """`value` as the protocol itself can carry it, or ABSENT. Raises MissingMember when a required member can not be
    told from an absent one: then our parser must say so too."""
    form = protocol in ("ec2", "query")
    flattened = protocol == "rest-xml" and shape.serialization.get("flattened")
    match shape:
        case StructureShape() if not shape.is_document_type:
            payload = shape.serialization.get("payload")
            kept = {}
            for name, item in value.items():
                item = as_received(shape.members[name], item, protocol)
                member = shape.members[name]
                if name == payload and item in ("", b"") and not member.serialization.get("streaming"):
                    item = ABSENT
                if item is not ABSENT:
                    kept[name] = item
            if payload and payload not in kept:  # a stream may be empty, never absent; nor is JSON's structure
                if shape.members[payload].serialization.get("streaming"):
                    kept[payload] = b""
                elif protocol == "rest-json" and isinstance(shape.members[payload], StructureShape):
                    kept[payload] = {}
            for name in shape.required_members:
                if name not in kept:
                    raise MissingMember()
            return kept if kept or not form else ABSENT
        case ListShape():
            items = [as_received(shape.member, item, protocol) for item in value]
            items = [item for item in items if item is not ABSENT]
            empty = value or protocol == "ec2" if form else flattened
            return ABSENT if not items and empty else items
        case MapShape():
            items = {key: as_received(shape.value, item, protocol) for key, item in value.items()}
            return ABSENT if form and not items else items
    if protocol == "rest-xml" and isinstance(value, str) and "location" not in shape.serialization:
        return value.replace("\r\n", "\n")  # botocore writes it so, and XML reads it as one line end
    return value


def as_answered(operation: OperationModel, answer: dict[str, Any], protocol: str) -> Any:
    """`answer` as botocore's parser gives it: what a flattened list, a payload or a status can not tell from absent."""
    shape = operation.output_shape
    if not isinstance(shape, StructureShape):
        return answer
    expected = without_empty_flattened(shape, answer) if protocol == "rest-xml" else dict(answer)
    for name, member in shape.members.items():
        location = member.serialization.get("location")
        if name not in answer and location == "statusCode":
            expected[name] = operation.http["responseCode"]
        elif name not in answer and location == "headers":
            expected[name] = {}
    if operation.name == "GetBucketLocation":
        expected.setdefault("LocationConstraint", None)  # us-east-1
    payload = shape.serialization.get("payload")
    if operation.has_streaming_output and payload in answer and "ContentType" in shape.members:
        expected.setdefault("ContentType", "binary/octet-stream")
    if payload and payload not in answer:
        raw = b"" if operation.has_streaming_output else ""
        expected[payload] = {} if isinstance(shape.members[payload], StructureShape) else raw
    return expected


def without_empty_flattened(shape: Shape, value: Any) -> Any:
    match shape:
        case StructureShape():
            members = shape.members
            return {
                name: without_empty_flattened(members[name], item)
                for name, item in value.items()
                if not (item == [] and members[name].serialization.get("flattened"))
            }
        case ListShape():
            return [without_empty_flattened(shape.member, item) for item in value]
    return value


CASES = [(service, protocol) for service in ("ec2", *SERVICES) for protocol in wire_protocols(service)]


def quick(function: Any) -> Any:
    return settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(seed(20261125)(function))


def input_property(operation: OperationModel, protocol: str, values: st.SearchStrategy[Any]) -> Callable[[], None]:
    ours, shape = protocol_of(operation.service_model.service_name, protocol), operation.input_shape

    @quick
    @given(values)
    def arrives(params: dict[str, Any]) -> None:
        note(operation.name)
        request = request_of(operation, protocol, params)
        name, routed = ours.route(request)
        assert name == SAME_ON_THE_WIRE.get(operation.name, operation.name)
        if name != operation.name:
            return
        parse = ours.codec(operation).parse
        try:
            expected = params if shape is None else as_received(shape, params, protocol)
        except MissingMember:
            with pytest.raises(MissingMember):
                parse(request, routed)
        else:
            assert parse(request, routed) == ({} if expected is ABSENT else expected)

    return arrives  # type: ignore[no-any-return]


def output_property(operation: OperationModel, protocol: str, values: st.SearchStrategy[Any]) -> Callable[[], None]:
    ours, shape = protocol_of(operation.service_model.service_name, protocol), operation.output_shape
    parser = botocore.parsers.create_parser(protocol)

    @quick
    @given(values)
    def arrives(answer: dict[str, Any]) -> None:
        note(operation.name)
        response = ours.codec(operation).respond(answer, "request-1")
        headers = botocore.awsrequest.HeadersDict(response.headers)
        body = io.BytesIO(response.body) if operation.has_streaming_output else response.body
        parsed = parser.parse({"status_code": response.status, "headers": headers, "body": body}, shape)
        if operation.has_streaming_output:
            parsed[shape.serialization["payload"]] = response.body
        if operation.name == "GetBucketLocation":  # whose answer is no structure: botocore reads it apart
            parse_get_bucket_location(parsed, SimpleNamespace(raw=response, content=response.body))
        metadata = parsed.pop("ResponseMetadata", {})
        assert metadata.get("RequestId", "request-1") == "request-1"
        assert parsed == as_answered(operation, answer, protocol)

    return arrives  # type: ignore[no-any-return]


@pytest.mark.parametrize(("service", "protocol"), CASES)
@pytest.mark.parametrize("output", [False, True], ids=["input", "output"])
def test_nothing_is_lost_on_the_wire(service: str, protocol: str, output: bool) -> None:
    model = model_of(service)
    for name in model.operation_names:
        operation = model.operation_model(name)
        if output and (operation.has_event_stream_output or name in SAME_ON_THE_WIRE):
            continue
        shape = operation.output_shape if output else operation.input_shape
        values = Values(fits).of(shape) if shape is not None else st.just({})
        assert values is not None, f"no value is known that fits the patterns of {name}"
        (output_property if output else input_property)(operation, protocol, values)()
