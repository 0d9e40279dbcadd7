"""DescribeNetworkInterfaceAttribute, ModifyNetworkInterfaceAttribute and ResetNetworkInterfaceAttribute.

One call changes one attribute.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyNetworkInterfaceAttribute.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from freehold.records.network import NetworkInterface
from freehold.services.ec2.addresses import set_auto
from freehold.services.ec2.condition_keys import written
from freehold.services.ec2.errors import InvalidAttachmentIDNotFound, InvalidParameterCombination
from freehold.services.ec2.interfaces import attachment_of, groups_of, set_groups, set_source_dest_check
from freehold.services.ec2.parameters import refuse_others, the_only
from freehold.services.ec2.resources import NETWORK_INTERFACE, SECURITY_GROUP, named_by
from freehold.services.operation import Call, Needed, Response, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeNetworkInterfaceAttributeRequestTypeDef,
        ModifyNetworkInterfaceAttributeRequestTypeDef,
        ResetNetworkInterfaceAttributeRequestTypeDef,
    )

_ATTRIBUTES = ("AssociatePublicIpAddress", "Attachment", "Description", "Groups", "SourceDestCheck")


@operation()
def describe_network_interface_attribute(
    call: Call, request: DescribeNetworkInterfaceAttributeRequestTypeDef
) -> Response:
    """One attribute. Raises InvalidParameterCombination for none."""
    interface = NETWORK_INTERFACE.load(call, request["NetworkInterfaceId"])
    return {"NetworkInterfaceId": interface.id, **_described(call, interface, request.get("Attribute"))}


def _described(call: Call, interface: NetworkInterface, attribute: str | None) -> dict[str, Any]:
    match attribute:
        case "associatePublicIpAddress":
            return {"AssociatePublicIpAddress": interface.auto_public_ip}
        case "attachment":
            return {"Attachment": attachment_of(interface) or {}}
        case "description":
            return {"Description": {"Value": interface.description}}
        case "groupSet":
            return {"Groups": groups_of(call, [interface.id])[interface.id]}
        case "sourceDestCheck":
            return {"SourceDestCheck": {"Value": interface.source_dest_check}}
    raise InvalidParameterCombination("No attributes specified.")


def _asked_for(request: Mapping[str, Any]) -> list[str]:
    return [name for name in _ATTRIBUTES if request.get(name) not in (None, [], {})]


def _changed(call: Call, request: ModifyNetworkInterfaceAttributeRequestTypeDef) -> Iterator[Needed]:
    """The interface, with the attribute that is to change and its new value, and the groups that it is put into."""
    keys: dict[str, Value] = {}
    for name in _asked_for(request):
        keys["ec2:Attribute"] = name
        value = request.get(name)
        value = value.get("Value") if isinstance(value, dict) else value
        if isinstance(value, str | bool):
            keys[f"ec2:Attribute/{name}"] = written(value)
    yield NETWORK_INTERFACE.needed(call, request["NetworkInterfaceId"], keys=keys)
    for group_id in request.get("Groups", ()):
        yield SECURITY_GROUP.needed(call, group_id)


@operation(resources=_changed)
def modify_network_interface_attribute(call: Call, request: ModifyNetworkInterfaceAttributeRequestTypeDef) -> Response:
    """Raises InvalidParameterCombination for no attribute or several, InvalidAttachmentID.NotFound, and what is wrong
    with groups."""
    refuse_others(
        request,
        {"NetworkInterfaceId", "Attachment.AttachmentId", *_ATTRIBUTES} - {"Attachment"},
        {"Attachment.DeleteOnTermination": True},
    )
    interface = NETWORK_INTERFACE.load(call, request["NetworkInterfaceId"])
    match the_only(_asked_for(request)):
        case "AssociatePublicIpAddress":
            set_auto(call, interface, request["AssociatePublicIpAddress"])
        case "Attachment":
            if request["Attachment"].get("AttachmentId") != interface.attachment_id:
                raise InvalidAttachmentIDNotFound(request["Attachment"].get("AttachmentId", ""))
        case "Description":
            call.tx.update(interface, description=request["Description"].get("Value", ""))
        case "Groups":
            set_groups(call, interface, request["Groups"])
        case "SourceDestCheck":
            set_source_dest_check(call, interface, request["SourceDestCheck"].get("Value", True))
    return {}


@operation(resources=named_by("NetworkInterfaceId", NETWORK_INTERFACE))
def reset_network_interface_attribute(call: Call, request: ResetNetworkInterfaceAttributeRequestTypeDef) -> Response:
    """The check of source and destination is on again. Raises InvalidParameterCombination if it is not asked for."""
    if request.get("SourceDestCheck") is None:
        raise InvalidParameterCombination("No attributes specified.")
    set_source_dest_check(call, NETWORK_INTERFACE.load(call, request["NetworkInterfaceId"]), True)
    return {}
