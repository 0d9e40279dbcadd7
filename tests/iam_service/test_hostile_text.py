"""Text that was written to break something, in every parameter of every operation of IAM: an error of the caller, or
kept as it is; never one of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape
from structlog.testing import capture_logs

from freehold.services.operation import Catalog
from tests.cloudapi import ApiServer

MARK = "Zq7"
HOSTILE = (
    f"arn:aws:iam::000000000000:user/{MARK}\0",
    f"../../{MARK}/%00/{{}}%s' OR 1=1; --\n\r\t<&>]]>",
    MARK * 5000,
    f"{MARK}\U0001f600\u202e",
)
OPERATIONS = [operation.model for operation in Catalog().operations.values() if operation.service == "iam"]


def least(shape: Shape, text: str, depth: int = 0) -> Any:
    """A value of the shape with every text that it can have."""
    match shape:
        case StructureShape():
            return {name: least(member, text, depth + 1) for name, member in shape.members.items()} if depth < 5 else {}
        case ListShape():
            return [least(shape.member, text, depth + 1)]
        case MapShape():
            return {text: least(shape.value, text, depth + 1)}
        case StringShape():
            return shape.enum[0] if shape.enum else text
    low = shape.metadata.get("min", 1)
    return {"boolean": True, "timestamp": 0, "blob": text.encode(), "integer": low}.get(shape.type_name, low)


def requests(model: OperationModel, text: str) -> Iterator[dict[str, Any]]:
    """Each parameter with the text alone, and all of them at once; required ones have something that may be."""
    shape = model.input_shape
    if shape is None:
        return
    required = {name: least(shape.members[name], "a" * 40) for name in shape.required_members}
    for name, member in shape.members.items():
        yield required | {name: least(member, text)}
    yield least(shape, text)


def status_of(call: Any, request: dict[str, Any]) -> int:
    """The HTTP status that a request is answered with."""
    try:
        answer = call(**request)
    except ClientError as error:
        answer = error.response
    status: int = answer["ResponseMetadata"]["HTTPStatusCode"]
    return status


def test_hostile_text_is_the_callers_error(api: ApiServer) -> None:
    client = api.client("iam", parameter_validation=False)
    with capture_logs() as logged:
        broken = [
            (model.name, request)
            for model in OPERATIONS
            for text in HOSTILE
            for request in requests(model, text)
            if status_of(getattr(client, xform_name(model.name)), request) >= 500
        ]
    assert broken == []
    assert MARK not in json.dumps(logged, default=repr)
