"""What a version of a launch template holds: LaunchTemplateData, and GetLaunchTemplateData, which reads it off an
instance.

It is kept and shown as it was given. Whether a launch with it is possible, the launch says: AWS does not fully validate
the parameters of a template either
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-launch-template.html).
"""

from __future__ import annotations

import base64
import copy
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from freehold.records.compute import Instance, InstanceUserData, Volume, VolumeAttachment
from freehold.records.volumes import attached_to
from freehold.services.ec2 import launch_capacity, user_data
from freehold.services.ec2.compute_errors import IncorrectInstanceState
from freehold.services.ec2.errors import InvalidParameterValue, MissingParameter
from freehold.services.ec2.instances import descriptions
from freehold.services.ec2.resources import INSTANCE, named_by
from freehold.services.ec2.tags import UNPRINTABLE, checked
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import GetLaunchTemplateDataRequestTypeDef

_METADATA_OPTIONS = (
    "HttpEndpoint",
    "HttpProtocolIpv6",
    "HttpPutResponseHopLimit",
    "HttpTokens",
    "InstanceMetadataTags",
)


def given(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a request, if it can be kept.

    Raises MissingParameter if it is empty, InvalidUserData.Malformed, and InvalidParameterValue for tags that can not
    be, or a text that no answer could return.
    """
    present = {name: value for name, value in data.items() if value not in ("", [], {}, None)}
    if not present:
        raise MissingParameter("LaunchTemplateData")
    if any(UNPRINTABLE.search(text) for text in _texts(present)):
        raise InvalidParameterValue("The parameter LaunchTemplateData has a control character")
    user_data.decoded(present.get("UserData", ""))
    for specification in present.get("TagSpecifications", ()):
        checked(specification.get("Tags", ()))
    plain: dict[str, Any] = msgspec.to_builtins(present)  # as it is kept
    return plain


def based_on(source: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """What `data` makes of the data of an earlier version: each of its members takes the place of the earlier one.
    Snapshots in the earlier one's block devices are not taken over."""
    earlier = copy.deepcopy(dict(source))
    for mapping in earlier.get("BlockDeviceMappings", ()):
        mapping.get("Ebs", {}).pop("SnapshotId", None)
    return {**earlier, **data}


def shown(data: Mapping[str, Any]) -> dict[str, Any]:
    """Kept data as an answer has it: the only time in it is a time again."""
    result = copy.deepcopy(dict(data))
    spot = result.get("InstanceMarketOptions", {}).get("SpotOptions", {})
    if "ValidUntil" in spot:
        spot["ValidUntil"] = dt.datetime.fromisoformat(spot["ValidUntil"])
    return result


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


@operation(resources=named_by("InstanceId", INSTANCE))
def get_launch_template_data(call: Call, request: GetLaunchTemplateDataRequestTypeDef) -> Response:
    """What a launch template needs for instances like this one; not its addresses, which only one can have.

    Raises IncorrectInstanceState for an instance that is gone.
    """
    instance = INSTANCE.load(call, request["InstanceId"])
    if instance.state in ("shutting-down", "terminated"):
        raise IncorrectInstanceState(f"The instance '{instance.id}' is in the state '{instance.state}'.")
    (described,) = descriptions(call, [instance])
    data: dict[str, Any] = {
        "BlockDeviceMappings": [_mapping(*each) for each in attached_to(call.tx, instance.id).values()],
        "CapacityReservationSpecification": launch_capacity.shown(instance.capacity),
        "CpuOptions": dict(described["CpuOptions"]),
        "DisableApiStop": instance.disable_api_stop,
        "DisableApiTermination": instance.disable_api_termination,
        "EbsOptimized": instance.ebs_optimized,
        "EnclaveOptions": {"Enabled": False},
        "HibernationOptions": {"Configured": instance.hibernation_configured},
        "ImageId": instance.image_id,
        "InstanceInitiatedShutdownBehavior": instance.shutdown_behavior,
        "InstanceType": instance.instance_type,
        "MaintenanceOptions": {"AutoRecovery": instance.auto_recovery},
        "MetadataOptions": {name: described["MetadataOptions"][name] for name in _METADATA_OPTIONS},
        "Monitoring": {"Enabled": instance.monitoring},
        "NetworkInterfaces": [_interface(interface) for interface in described["NetworkInterfaces"]],
        "Placement": _placement(instance),
        "PrivateDnsNameOptions": dict(described["PrivateDnsNameOptions"]),
    }
    if instance.key_name is not None:
        data["KeyName"] = instance.key_name
    if "IamInstanceProfile" in described:
        data["IamInstanceProfile"] = {"Arn": described["IamInstanceProfile"]["Arn"]}
    if (stored := call.tx.get(InstanceUserData, instance.id)) is not None:
        data["UserData"] = base64.b64encode(stored.data).decode()
    if tags := [tag for tag in described["Tags"] if not tag["Key"].startswith("aws:")]:
        data["TagSpecifications"] = [{"ResourceType": "instance", "Tags": tags}]
    return {"LaunchTemplateData": data}


def _placement(instance: Instance) -> dict[str, Any]:
    placement: dict[str, Any] = {"AvailabilityZone": instance.zone, "Tenancy": "default"}
    if instance.placement_group_name is not None:
        placement["GroupName"] = instance.placement_group_name
    if instance.partition_number is not None:
        placement["PartitionNumber"] = instance.partition_number
    return placement


def _mapping(attachment: VolumeAttachment, volume: Volume) -> dict[str, Any]:
    ebs: dict[str, Any] = {
        "DeleteOnTermination": attachment.delete_on_termination,
        "Encrypted": volume.encrypted,
        "VolumeSize": volume.size_gib,
        "VolumeType": volume.volume_type,
    }
    if volume.kms_key_id is not None:
        ebs["KmsKeyId"] = volume.kms_key_id
    if volume.volume_type == "gp3":
        ebs |= {"Iops": volume.iops, "Throughput": volume.throughput_mibps}
    return {"DeviceName": attachment.device, "Ebs": ebs}


def _interface(interface: Mapping[str, Any]) -> dict[str, Any]:
    attachment = interface["Attachment"]
    return {
        "AssociatePublicIpAddress": "Association" in interface,
        "DeleteOnTermination": attachment["DeleteOnTermination"],
        "Description": interface["Description"],
        "DeviceIndex": attachment["DeviceIndex"],
        "Groups": [group["GroupId"] for group in interface["Groups"]],
        "InterfaceType": "interface",
        "SubnetId": interface["SubnetId"],
    }
