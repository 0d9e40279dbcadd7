"""DescribeImageAttribute, ModifyImageAttribute and ResetImageAttribute: above all, who may launch servers of an image.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/sharing-amis.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.compute import Image
from freehold.records.feed import take_turn
from freehold.records.ids import AccountId
from freehold.records.images import ImagePermission, ImageWatermark, mappings_of
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.image_creation import checked_description
from freehold.services.ec2.image_errors import ImageIsPublic, InvalidAMIAttributeItemValue, PublicAccessBlocked
from freehold.services.ec2.image_mappings import shown
from freehold.services.ec2.image_settings import public_access
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, named_by
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeImageAttributeRequestTypeDef,
        ModifyImageAttributeRequestTypeDef,
        ResetImageAttributeRequestTypeDef,
    )

PERMISSIONS_MAX = 1000
_ACCOUNT = re.compile(r"[0-9]{12}")


@operation(resources=named_by("ImageId", IMAGE))
def describe_image_attribute(call: Call, request: DescribeImageAttributeRequestTypeDef) -> Response:
    """One attribute. What says who may use it is for its owner alone. Raises AuthFailure."""
    refuse_others(request, {"Attribute", "ImageId"})
    image = IMAGE.load(call, request["ImageId"])
    attribute = request["Attribute"]
    if attribute in ("launchPermission", "deregistrationProtection"):
        image = IMAGE.own(call, image.id)
    return {"ImageId": image.id, **_attribute(call, image, attribute)}


def _attribute(call: Call, image: Image, attribute: str) -> dict[str, Any]:
    launched = image.last_launched_at
    match attribute:
        case "description":
            return {"Description": {"Value": image.description}}
        case "kernel":
            return {"KernelId": {}}
        case "ramdisk":
            return {"RamdiskId": {}}
        case "launchPermission":
            return {"LaunchPermissions": _permissions(call, image)}
        case "productCodes":
            return {"ProductCodes": []}
        case "blockDeviceMapping":
            return {"BlockDeviceMappings": shown(mappings_of(call.tx, [image.id])[image.id])}
        case "sriovNetSupport":
            return {"SriovNetSupport": {}}
        case "bootMode":
            return {"BootMode": {"Value": image.boot_mode}}
        case "tpmSupport":
            return {"TpmSupport": {}}
        case "uefiData":
            return {"UefiData": {}}
        case "lastLaunchedTime":
            return {"LastLaunchedTime": {"Value": launched.strftime("%Y-%m-%dT%H:%M:%SZ")} if launched else {}}
        case "imdsSupport":
            return {"ImdsSupport": {"Value": "v2.0"} if image.imds_v2 else {}}
        case "deregistrationProtection":
            return {"DeregistrationProtection": {"Value": image.protection}}
    raise InvalidParameterValue(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")


def _permissions(call: Call, image: Image) -> list[dict[str, str]]:
    accounts = call.tx.select(ImagePermission, image_id=image.id)
    public: list[dict[str, str]] = [{"Group": "all"}] if image.public else []
    return public + [{"UserId": account_id} for account_id in sorted(each.account_id for each in accounts)]


def _needed_to_modify(call: Call, request: ModifyImageAttributeRequestTypeDef) -> Iterator[Needed]:
    attribute = request.get("Attribute") or next(
        (name for member, name in _MEMBERS.items() if request.get(member)), "launchPermission"
    )
    yield IMAGE.needed(call, request["ImageId"], keys={"ec2:Attribute": attribute})


_MEMBERS = {"Description": "description", "ImdsSupport": "imdsSupport", "LaunchPermission": "launchPermission"}


@operation(resources=_needed_to_modify)
def modify_image_attribute(call: Call, request: ModifyImageAttributeRequestTypeDef) -> Response:
    """One attribute in a call: named by Attribute with its value beside it, or by the member that has it.

    Raises AuthFailure, InvalidAMIAttributeItemValue, OperationNotPermitted where public images are blocked,
    InvalidParameterCombination, MissingParameter.
    """
    refuse_others(
        request,
        {
            "Attribute",
            "Description.Value",
            "ImageId",
            "ImdsSupport.Value",
            "LaunchPermission.Add.Group",
            "LaunchPermission.Add.UserId",
            "LaunchPermission.Remove.Group",
            "LaunchPermission.Remove.UserId",
            "OperationType",
            "UserGroups",
            "UserIds",
            "Value",
        },
    )
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    given = [member for member in _MEMBERS if request.get(member)]
    attribute = request.get("Attribute")
    if len(given) > 1 or (attribute is not None and given and _MEMBERS[given[0]] != attribute):
        raise InvalidParameterCombination("Fields for multiple attribute types specified: only one may be modified.")
    match attribute or (_MEMBERS[given[0]] if given else None):
        case "description":
            text = request.get("Description", {}).get("Value", request.get("Value", ""))
            call.tx.update(image, description=checked_description(text))
        case "imdsSupport":
            value = request.get("ImdsSupport", {}).get("Value", request.get("Value"))
            if value != "v2.0":
                raise InvalidParameterValue(
                    f"Value ({value}) for parameter imdsSupport is invalid. Valid values: v2.0."
                )
            call.tx.update(image, imds_v2=True)
        case "launchPermission":
            _share(call, image, *_changes(request))
        case None:
            raise MissingParameter("Attribute")
        case other:
            raise UnsupportedOperation(f"ModifyImageAttribute of {other}")
    return {}


def _changes(request: ModifyImageAttributeRequestTypeDef) -> tuple[Sequence[Any], Sequence[Any]]:
    """The launch permissions to add and to remove. Raises InvalidParameterCombination, MissingParameter."""
    permission = request.get("LaunchPermission")
    if permission:
        return permission.get("Add", ()), permission.get("Remove", ())
    named = [{"UserId": user} for user in request.get("UserIds", ())]
    named += [{"Group": group} for group in request.get("UserGroups", ())]
    if not named:
        raise MissingParameter("LaunchPermission")
    match request.get("OperationType"):
        case "add":
            return named, ()
        case "remove":
            return (), named
    raise InvalidParameterCombination("UserIds and UserGroups need the OperationType add or remove.")


def _share(call: Call, image: Image, add: Sequence[Any], remove: Sequence[Any]) -> None:
    for item in (*add, *remove):
        if item.get("Group", "all") != "all":
            raise InvalidAMIAttributeItemValue(item["Group"], "group")
        if not _ACCOUNT.fullmatch(item.get("UserId", "0" * 12)):
            raise InvalidAMIAttributeItemValue(item["UserId"], "userId")
    if any("Group" in item for item in add):
        if public_access(call) != "unblocked":
            raise PublicAccessBlocked
        if any(mapping.encrypted for mapping in mappings_of(call.tx, [image.id])[image.id]):
            raise InvalidParameterValue("You can't make an image public that has encrypted snapshots.")
        if call.tx.count(ImageWatermark, image_id=image.id):
            raise ImageIsPublic(image.id)
    for item in add:
        if account_id := item.get("UserId"):
            call.tx.put(ImagePermission(image.id, AccountId(account_id)))
    for item in remove:
        if account_id := item.get("UserId"):
            call.tx.delete_where(ImagePermission, image_id=image.id, account_id=account_id)
    if call.tx.count(ImagePermission, image_id=image.id) > PERMISSIONS_MAX:
        raise InvalidParameterValue(f"An image may be shared with at most {PERMISSIONS_MAX} accounts.")
    if any("Group" in item for item in add):
        call.tx.update(image, public=True)
    elif any("Group" in item for item in remove):
        call.tx.update(image, public=False)


@operation(
    resources=lambda call, request: [
        IMAGE.needed(call, request["ImageId"], keys={"ec2:Attribute": request["Attribute"]})
    ]
)
def reset_image_attribute(call: Call, request: ResetImageAttributeRequestTypeDef) -> Response:
    """The launch permissions, the only attribute that can be reset: nobody but the owner from here on."""
    refuse_others(request, {"Attribute", "ImageId"})
    if request["Attribute"] != "launchPermission":
        raise InvalidParameterValue(f"Value ({request['Attribute']}) for parameter attribute is invalid.")
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    call.tx.delete_where(ImagePermission, image_id=image.id)
    call.tx.update(image, public=False)
    return {}
