"""Parameters and answers in the words of the audit trail: CloudTrail's names, and no secrets.

CloudTrail writes a member's name with a small first letter. EC2 is older than that rule: its records have lists as
``{"items": […]}`` and call them by the names of its first XML (``instancesSet``).
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

MASKED = "HIDDEN_DUE_TO_SECURITY_REASONS"  # CloudTrail's own words
_STREAM = "(stream)"

_SECRET_NAMES = re.compile(
    r"password|secret|userdata|keymaterial$|privatekey|tokencode|authenticationcode|token$", re.IGNORECASE
)
# Secret by their name only: public keys, tokens that page or deduplicate, names of secrets.
_NOT_SECRET = frozenset(
    {
        "ClientRequestToken",
        "ClientToken",
        "IncludeKeyMaterial",
        "NextToken",
        "PublicKeyMaterial",
        "SecretId",
        "Token",
    }
)

# EC2's lists of requests: what they are called, and what a plain item is.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-with-cloudtrail.html
_EC2_LISTS: Mapping[str, tuple[str, str | None]] = {
    "AllocationIds": ("allocationIdsSet", "allocationId"),
    "BlockDeviceMappings": ("blockDeviceMapping", None),
    "Filters": ("filterSet", None),
    "GroupIds": ("securityGroupIdSet", "groupId"),
    "GroupNames": ("securityGroupSet", "groupName"),
    "ImageIds": ("imagesSet", "imageId"),
    "InstanceIds": ("instancesSet", "instanceId"),
    "InternetGatewayIds": ("internetGatewayIdSet", "internetGatewayId"),
    "KeyNames": ("keySet", "keyName"),
    "NetworkInterfaceIds": ("networkInterfaceIdSet", "networkInterfaceId"),
    "NetworkInterfaces": ("networkInterfaceSet", None),
    "PublicIps": ("publicIpsSet", "publicIp"),
    "Resources": ("resourcesSet", "resourceId"),
    "RouteTableIds": ("routeTableIdSet", "routeTableId"),
    "SecurityGroupIds": ("groupSet", "groupId"),
    "SecurityGroups": ("groupSet", "groupName"),
    "SubnetIds": ("subnetSet", "subnetId"),
    "TagSpecifications": ("tagSpecificationSet", None),
    "Tags": ("tagSet", None),
    "VolumeIds": ("volumeSet", "volumeId"),
    "VpcIds": ("vpcSet", "vpcId"),
}

# S3's parameters are the path and the query string of its URLs.
_S3_NAMES = {"Bucket": "bucketName", "Key": "key"}

Word = Callable[[Any], Any]


class Words:
    """Compiles the shapes of one service model into functions that copy a value in the trail's words."""

    def __init__(self, model: ServiceModel) -> None:
        self._service = model.service_name
        self._compiled: dict[tuple[str, bool], Word] = {}

    def of_request(self, operation: OperationModel) -> Word | None:
        if operation.input_shape is None:
            return None
        word = self._of(operation.input_shape, answer=False)
        if self._service == "ec2" and operation.name == "RunInstances":
            return lambda value: _launched(word(value))
        return word

    def of_answer(self, operation: OperationModel) -> Word | None:
        return None if operation.output_shape is None else self._of(operation.output_shape, answer=True)

    def _of(self, shape: Shape, *, answer: bool) -> Word:
        of = (shape.name, answer)
        if of not in self._compiled:
            compiled: list[Word] = []
            # A shape may contain itself: until it is compiled, its place is held by a look at what it became.
            self._compiled[of] = lambda value: _apply(compiled[0], value)
            compiled.append(self._compile(shape, answer))
            self._compiled[of] = compiled[0]
        return self._compiled[of]

    def _member(self, shape: Shape, answer: bool) -> Word | None:
        """None for what is written as it is."""
        match shape:
            case _ if shape.metadata.get("sensitive"):
                return _masked
            case StructureShape() | ListShape() | MapShape():
                return self._of(shape, answer=answer)
            case _ if shape.type_name == "timestamp":
                return _milliseconds if self._service == "ec2" else _moment
        return None

    def _compile(self, shape: Shape, answer: bool) -> Word:
        match shape:
            case _ if shape.metadata.get("sensitive"):
                return _masked
            case StructureShape():
                return self._structure(shape, answer)
            case ListShape():
                return self._list(shape, answer)
            case MapShape():
                of_value = self._member(shape.value, answer)
                if of_value is None:
                    return dict
                return lambda value: {key: of_value(item) for key, item in value.items()}
        raise TypeError(f"{shape.name} is no structure, list or map")

    def _structure(self, shape: StructureShape, answer: bool) -> Word:
        payload = shape.serialization.get("payload")
        members: dict[str, tuple[str, Word | None] | None] = {}
        for name, member in shape.members.items():
            written = self._name(name, member, answer)
            if name == payload and member.type_name in ("blob", "string"):
                members[name] = written, lambda _value: _STREAM
            elif _SECRET_NAMES.search(name) and name not in _NOT_SECRET:
                members[name] = written, _masked
            elif member.type_name == "blob" and self._service == "kms":
                members[name] = None  # ciphertexts and signatures say nothing, and CloudTrail leaves them out
            elif shape.name == "TagSpecification" and isinstance(member, ListShape):
                members[name] = written, self._plain_list(member, answer)
            elif self._service == "ec2" and not answer and name in _EC2_LISTS and isinstance(member, ListShape):
                written, each = _EC2_LISTS[name]
                members[name] = written, self._items(member, answer, each)
            else:
                members[name] = written, self._member(member, answer)

        def structure(value: Mapping[str, Any]) -> dict[str, Any]:
            words = {}
            for name, item in value.items():
                if item is not None and (known := members.get(name)) is not None:
                    written, word = known
                    words[written] = item if word is None else word(item)
            return words

        return structure

    def _name(self, name: str, member: Shape, answer: bool) -> str:
        if self._service == "ec2" and answer:
            on_wire = str(member.serialization.get("name", name))
            return "_return" if on_wire == "return" else on_wire[0].lower() + on_wire[1:]
        if self._service == "s3" and name in _S3_NAMES:
            return _S3_NAMES[name]
        return name[0].lower() + name[1:]

    def _list(self, shape: ListShape, answer: bool) -> Word:
        return self._items(shape, answer) if self._service == "ec2" else self._plain_list(shape, answer)

    def _plain_list(self, shape: ListShape, answer: bool) -> Word:
        of_item = self._member(shape.member, answer)
        return list if of_item is None else lambda value: [of_item(item) for item in value]

    def _items(self, shape: ListShape, answer: bool, each: str | None = None) -> Word:
        """EC2's lists; `each` names what is no structure."""
        of_item = self._member(shape.member, answer)
        if of_item is None:
            of_item = _itself if each is None else lambda item: {each: item}
        return lambda value: {"items": [of_item(item) for item in value]} if value else {}


def _launched(words: dict[str, Any]) -> dict[str, Any]:
    """RunInstances names what is launched in an ``instancesSet``."""
    names = ("imageId", "minCount", "maxCount", "keyName")
    item = {name: words.pop(name) for name in names if name in words}
    return {"instancesSet": {"items": [item]}, **words}


def _apply(word: Word, value: Any) -> Any:
    return word(value)


def _itself(value: Any) -> Any:
    return value


def _masked(_value: Any) -> str:
    return MASKED


def _moment(value: Any) -> Any:
    """``Nov 25, 2026 9:46:27 PM``."""
    if not isinstance(value, dt.datetime):
        return value
    at = value.astimezone(dt.UTC)
    return f"{at:%b} {at.day}, {at.year} {at.hour % 12 or 12}:{at:%M:%S %p}"


def _milliseconds(value: Any) -> Any:
    return int(value.timestamp() * 1000) if isinstance(value, dt.datetime) else value
