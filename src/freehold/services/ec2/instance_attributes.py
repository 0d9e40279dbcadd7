"""DescribeInstanceAttribute, ModifyInstanceAttribute and ResetInstanceAttribute.

An attribute has two names: its own (``instanceType``) and that of the member of a request that changes it
(``InstanceType``); `_MEMBERS` joins them. One call changes one attribute.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from freehold.instance_types import find, is_bare_metal, is_burstable
from freehold.records.compute import Host, Image, Instance, InstanceUserData, VolumeAttachment, instance_user_data
from freehold.records.feed import publish, take_turn
from freehold.records.network import NetworkInterface, network_interfaces
from freehold.services.ec2 import credit_specifications, user_data
from freehold.services.ec2.compute_errors import IncorrectInstanceState, InvalidInstanceAttributeValue, Unsupported
from freehold.services.ec2.condition_keys import written
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.instance_states import check_stopped, modifiable
from freehold.services.ec2.instances import block_device_mappings
from freehold.services.ec2.interfaces import groups_of, set_groups, set_source_dest_check
from freehold.services.ec2.parameters import refuse_others, the_only
from freehold.services.ec2.resources import INSTANCE, SECURITY_GROUP, named_by
from freehold.services.errors import AwsError, UnsupportedOperation
from freehold.services.operation import Call, Needed, Response, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeInstanceAttributeRequestTypeDef,
        ModifyInstanceAttributeRequestTypeDef,
        ResetInstanceAttributeRequestTypeDef,
    )


@operation(resources=named_by("InstanceId", INSTANCE))
def describe_instance_attribute(call: Call, request: DescribeInstanceAttributeRequestTypeDef) -> Response:
    """One attribute. What the instance does not have is an empty element, as in AWS."""
    instance = INSTANCE.load(call, request["InstanceId"])
    return {"InstanceId": instance.id, **_described(call, instance, request["Attribute"])}


def _described(call: Call, instance: Instance, attribute: str) -> dict[str, Any]:
    match attribute:
        case "blockDeviceMapping":
            return {"BlockDeviceMappings": block_device_mappings(call, instance)}
        case "disableApiStop":
            return {"DisableApiStop": {"Value": instance.disable_api_stop}}
        case "disableApiTermination":
            return {"DisableApiTermination": {"Value": instance.disable_api_termination}}
        case "ebsOptimized":
            return {"EbsOptimized": {"Value": instance.ebs_optimized}}
        case "enaSupport":
            return {"EnaSupport": {"Value": False}}
        case "enclaveOptions":
            return {"EnclaveOptions": {"Enabled": False}}
        case "groupSet":
            primary = _primary_interface(call, instance)
            return {"Groups": groups_of(call, [primary.id])[primary.id] if primary else []}
        case "instanceInitiatedShutdownBehavior":
            return {"InstanceInitiatedShutdownBehavior": {"Value": instance.shutdown_behavior}}
        case "instanceType":
            return {"InstanceType": {"Value": instance.instance_type}}
        case "kernel":
            return {"KernelId": {}}
        case "productCodes":
            return {"ProductCodes": []}
        case "ramdisk":
            return {"RamdiskId": {}}
        case "rootDeviceName":
            return {"RootDeviceName": {"Value": instance.root_device_name}}
        case "sourceDestCheck":
            primary = _primary_interface(call, instance)
            return {"SourceDestCheck": {"Value": primary.source_dest_check} if primary else {}}
        case "sriovNetSupport":
            return {"SriovNetSupport": {}}
        case "userData":
            stored = call.tx.get(InstanceUserData, instance.id)
            return {"UserData": {"Value": base64.b64encode(stored.data).decode()} if stored else {}}
    raise InvalidParameterValue(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")


def _primary_interface(call: Call, instance: Instance) -> NetworkInterface | None:
    """None: the instance is terminated."""
    return call.tx.find(
        NetworkInterface, network_interfaces.c.instance_id == instance.id, network_interfaces.c.device_index == 0
    )


_MEMBERS = {
    "blockDeviceMapping": "BlockDeviceMappings",
    "disableApiStop": "DisableApiStop",
    "disableApiTermination": "DisableApiTermination",
    "ebsOptimized": "EbsOptimized",
    "enaSupport": "EnaSupport",
    "enclaveOptions": "EnclaveOptions",
    "groupSet": "Groups",
    "instanceInitiatedShutdownBehavior": "InstanceInitiatedShutdownBehavior",
    "instanceType": "InstanceType",
    "kernel": "Kernel",
    "ramdisk": "Ramdisk",
    "sourceDestCheck": "SourceDestCheck",
    "sriovNetSupport": "SriovNetSupport",
    "userData": "UserData",
}
_MAPPING_HONOURED = ("BlockDeviceMappings.DeviceName", "BlockDeviceMappings.Ebs")
_LISTS = ("BlockDeviceMappings", "Groups")
_FLAGS = (
    "DisableApiStop", "DisableApiTermination", "EbsOptimized", "EnaSupport", "EnclaveOptions", "SourceDestCheck"
)  # fmt: skip


def _changed(call: Call, request: ModifyInstanceAttributeRequestTypeDef) -> Iterator[Needed]:
    """The instance, with the attribute that is to change and its new value, and the groups that it is put into. What is
    wrong with the request the operation says."""
    try:
        member, value = _asked_for(request)
    except AwsError:
        yield INSTANCE.needed(call, request["InstanceId"])
        return
    keys: dict[str, Value] = {"ec2:Attribute": member}
    if isinstance(value, str | bool | int):
        keys[f"ec2:Attribute/{member}"] = written(value)
    yield INSTANCE.needed(call, request["InstanceId"], keys=keys)
    if member == "Groups":
        for group_id in value:
            yield SECURITY_GROUP.needed(call, group_id)


@operation(resources=_changed)
def modify_instance_attribute(call: Call, request: ModifyInstanceAttributeRequestTypeDef) -> Response:
    """Raises InvalidParameterCombination for no attribute or several, IncorrectInstanceState for an instance that is
    going, or has to be stopped for it, and what is wrong with the value."""
    refuse_others(
        request, {"InstanceId", "Attribute", "Value", *_MAPPING_HONOURED, *_CHANGES} - {"BlockDeviceMappings"}
    )
    member, value = _asked_for(request)
    change = _CHANGES.get(member)
    if change is None:
        raise UnsupportedOperation(f"The parameter {member}")
    take_turn(call.tx)
    change(call, modifiable(call, request["InstanceId"]), value)
    return {}


@operation(resources=named_by("InstanceId", INSTANCE))
def reset_instance_attribute(call: Call, request: ResetInstanceAttributeRequestTypeDef) -> Response:
    """The check of source and destination is on again. The kernel and the RAM disk are always the image's own: of a
    stopped instance they are what they were."""
    take_turn(call.tx)
    instance = modifiable(call, request["InstanceId"])
    match request["Attribute"]:
        case "sourceDestCheck":
            _source_dest_check(call, instance, True)
        case "kernel" | "ramdisk":
            check_stopped(instance)
        case other:
            raise InvalidParameterValue(
                f"Value ({other}) for parameter attribute is invalid. It must be kernel, ramdisk or sourceDestCheck."
            )
    return {}


def _asked_for(request: Mapping[str, Any]) -> tuple[str, Any]:
    """The member that names the attribute to change, and its value; from either form of the request."""
    given = {member: request[member] for member in _MEMBERS.values() if request.get(member) not in (None, [], {})}
    attribute = request.get("Attribute")
    if attribute and attribute not in _MEMBERS:
        raise UnsupportedOperation(f"Modifying the attribute {attribute}")
    named = _MEMBERS[attribute] if attribute else None
    text = request.get("Value")
    if named is None and text:
        raise MissingParameter("Attribute")
    if named is not None and text is not None:
        if named in _LISTS or named in given:
            raise InvalidParameterCombination(f"The parameter Value can not be given for {named}.")
        given[named] = {"Value": _typed(named, text)}
    member = the_only({*given, named} if given and named else given)
    value = given[member]
    return member, value if member in _LISTS else value.get("Value", value.get("Enabled"))


def _typed(member: str, text: str) -> Any:
    """The parameter Value as the member would have it."""
    if member == "UserData":
        return user_data.decoded(text) or b""
    if member not in _FLAGS:
        return text
    if text.lower() not in ("true", "false"):
        raise InvalidParameterValue(f"Value ({text}) for parameter value is invalid. It must be true or false.")
    return text.lower() == "true"


def _disable_api_stop(call: Call, instance: Instance, value: bool) -> None:
    call.tx.update(instance, disable_api_stop=value)


def _disable_api_termination(call: Call, instance: Instance, value: bool) -> None:
    call.tx.update(instance, disable_api_termination=value)


def _ebs_optimized(call: Call, instance: Instance, value: bool) -> None:
    check_stopped(instance)
    call.tx.update(instance, ebs_optimized=value)


def _ena_support(_call: Call, _instance: Instance, value: bool) -> None:
    if value:
        raise UnsupportedOperation("Enhanced networking (EnaSupport)")


def _enclave_options(_call: Call, _instance: Instance, value: bool) -> None:
    if value:
        raise UnsupportedOperation("An enclave (EnclaveOptions.Enabled)")


def _shutdown_behavior(call: Call, instance: Instance, value: str) -> None:
    if value not in ("stop", "terminate"):
        raise InvalidParameterValue(
            f"Value ({value}) for parameter instanceInitiatedShutdownBehavior is invalid. It must be stop or terminate."
        )
    call.tx.update(instance, shutdown_behavior=value)


def _instance_type(call: Call, instance: Instance, value: str) -> None:
    """Its host must be able to hold the new type; room for it is looked for by the next start."""
    check_stopped(instance)
    if instance.hibernate:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is hibernated: its type can not be changed.")
    wanted = find(call.config, value)
    if wanted is None:
        raise InvalidInstanceAttributeValue(f"Invalid value '{value}' for InstanceType.")
    host = call.tx.get(Host, instance.host_id) if instance.host_id else None
    if is_bare_metal(value) or (host and (wanted.vcpus > host.vcpus or wanted.memory_mib > host.memory_mib)):
        raise Unsupported(value)
    image = call.tx.get(Image, instance.image_id)
    if image is not None and wanted.memory_mib < image.minimum_memory_mib:
        raise InvalidParameterCombination(
            f"The image '{image.id}' needs an instance type with at least {image.minimum_memory_mib} MiB of memory; "
            f"{value} has {wanted.memory_mib} MiB."
        )
    new_to_credits = is_burstable(call.config, value) and not is_burstable(call.config, instance.instance_type)
    cpu_credits = credit_specifications.default(call, value) if new_to_credits else instance.cpu_credits
    call.tx.update(
        instance,
        instance_type=value,
        vcpus=wanted.vcpus,
        memory_mib=wanted.memory_mib,
        cpu_credits=cpu_credits,
        core_count=None,
    )


def _user_data(call: Call, instance: Instance, value: bytes) -> None:
    check_stopped(instance)
    if value:
        call.tx.put(InstanceUserData(instance.id, user_data.checked(value)))
    else:
        call.tx.delete_where(InstanceUserData, instance_user_data.c.instance_id == instance.id)


def _source_dest_check(call: Call, instance: Instance, value: bool) -> None:
    primary = _primary_interface(call, instance)
    assert primary is not None  # only a terminated instance has none
    set_source_dest_check(call, primary, value)


def _groups(call: Call, instance: Instance, value: list[str]) -> None:
    primary = _primary_interface(call, instance)
    assert primary is not None  # only a terminated instance has none
    set_groups(call, primary, value)


def _block_device_mappings(call: Call, instance: Instance, value: list[dict[str, Any]]) -> None:
    """DeleteOnTermination of volumes that are attached: the only thing that can be changed."""
    attached = {each.device: each for each in call.tx.select(VolumeAttachment, instance_id=instance.id)}
    for mapping in value:
        device, ebs = mapping.get("DeviceName"), mapping.get("Ebs", {})
        if not device:
            raise MissingParameter("BlockDeviceMappings.DeviceName")
        if device not in attached:
            raise InvalidInstanceAttributeValue(f"No device is currently mapped at {device}")
        if "DeleteOnTermination" not in ebs:
            raise MissingParameter("BlockDeviceMappings.Ebs.DeleteOnTermination")
        if ebs.get("VolumeId") not in (None, "", attached[device].volume_id):
            raise InvalidInstanceAttributeValue(f"The volume at {device} is {attached[device].volume_id}")
        call.tx.update(attached[device], delete_on_termination=ebs["DeleteOnTermination"])
    call.tx.update(instance, generation=instance.generation + 1)
    publish(call.tx, "guest", instance.id)


_CHANGES: dict[str, Callable[[Call, Instance, Any], None]] = {
    "BlockDeviceMappings": _block_device_mappings,
    "DisableApiStop": _disable_api_stop,
    "DisableApiTermination": _disable_api_termination,
    "EbsOptimized": _ebs_optimized,
    "EnaSupport": _ena_support,
    "EnclaveOptions": _enclave_options,
    "Groups": _groups,
    "InstanceInitiatedShutdownBehavior": _shutdown_behavior,
    "InstanceType": _instance_type,
    "SourceDestCheck": _source_dest_check,
    "UserData": _user_data,
}
