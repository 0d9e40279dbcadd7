"""AttachVolume and DetachVolume.

The call writes what is to be; the host of the instance plugs the disk into the guest, or has the guest let go of it,
and reports that (control/reports.py). A stopped instance has no guest: its volumes come and go at once.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-attaching-volume.html
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-detaching-volume.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from freehold.records.compute import Instance, Volume, VolumeAttachment
from freehold.records.feed import publish, take_turn
from freehold.records.network import NetworkInterface
from freehold.records.volumes import let_go
from freehold.services.ec2 import ebs_encryption
from freehold.services.ec2.errors import IncorrectState, InvalidParameterValue, MissingParameter
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE, VOLUME, named_by
from freehold.services.ec2.volume_errors import (
    AttachmentLimitExceeded,
    InvalidAttachmentNotFound,
    InvalidVolumeZoneMismatch,
    MultiAttachmentLimitExceeded,
    MultiAttachUnsupported,
    OnAnotherHost,
    RootVolumeInUse,
    VolumeAlreadyAttached,
)
from freehold.services.ec2.volumes import shown_attachment
from freehold.services.operation import Call, Needed, Response, operation
from freehold.volume_types import DEVICES_MAX, MULTI_ATTACHMENTS_MAX

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import AttachVolumeRequestTypeDef, DetachVolumeRequestTypeDef

# https://docs.aws.amazon.com/ebs/latest/userguide/ebs-using-volumes.html#available-ec2-device-names
DEVICE_NAME = re.compile(r"(?:/dev/)?(?:sda1?|sd[b-z]|sd[b-e][1-9]|xvd[a-z]|xvd[b-d][a-z])")


def _to_attach(call: Call, request: AttachVolumeRequestTypeDef) -> Iterator[str | Needed]:
    yield from named_by("InstanceId", INSTANCE)(call, request)
    yield from named_by("VolumeId", VOLUME)(call, request)
    yield from ebs_encryption.to_attach(call, request["VolumeId"])


@operation(resources=_to_attach, resource_policies=True)
def attach_volume(call: Call, request: AttachVolumeRequestTypeDef) -> Response:
    """Raises InvalidParameterValue for a device name that can not be or is in use, IncorrectState, VolumeInUse,
    InvalidVolume.ZoneMismatch, AttachmentLimitExceeded, and UnsupportedOperation for a volume on another host, and for
    one with Multi-Attach as the root volume."""
    refuse_others(request, {"Device", "InstanceId", "VolumeId"}, {"EbsCardIndex": 0})
    device = request["Device"]
    check_device(device)
    take_turn(call.tx)
    volume, instance = VOLUME.load(call, request["VolumeId"]), INSTANCE.load(call, request["InstanceId"])
    if volume.state == "in-use":
        _check_others(call, volume, instance)
    elif volume.state != "available":
        raise IncorrectState(f"{volume.id} is not 'available'.")
    if instance.state not in ("running", "stopped"):
        raise IncorrectState(f"Instance '{instance.id}' is not 'running'.")
    _check_place(volume, instance)
    _check_room(call, instance, device)
    if volume.multi_attach_enabled and device == instance.root_device_name:
        raise MultiAttachUnsupported(f"The volume '{volume.id}' has Multi-Attach enabled: it can not be a root volume.")
    attachment = VolumeAttachment(
        volume_id=volume.id,
        instance_id=instance.id,
        account_id=call.account_id,
        region=call.region,
        device=device,
        state="attaching" if instance.state == "running" else "attached",
        delete_on_termination=False,
        attached_at=call.now,
    )
    call.tx.insert(attachment)
    call.tx.update(volume, state="in-use")
    _tell_host(call, instance)
    return shown_attachment(attachment)


def _to_detach(call: Call, request: DetachVolumeRequestTypeDef) -> Iterator[str | Needed]:
    yield from named_by("VolumeId", VOLUME)(call, request)
    if request.get("InstanceId"):
        yield INSTANCE.needed(call, request["InstanceId"])
        return
    for attachment in call.tx.select(VolumeAttachment, volume_id=request["VolumeId"], account_id=call.account_id):
        yield INSTANCE.needed(call, attachment.instance_id)


@operation(resources=_to_detach)
def detach_volume(call: Call, request: DetachVolumeRequestTypeDef) -> Response:
    """The guest is asked to let go of the disk; with Force it loses it at once, whatever it has still to write.

    Raises IncorrectState, InvalidAttachment.NotFound, OperationNotPermitted for the root volume of an instance that is
    not stopped, MissingParameter for no instance of a volume that several may have.
    """
    refuse_others(request, {"Device", "Force", "InstanceId", "VolumeId"})
    take_turn(call.tx)
    volume = VOLUME.load(call, request["VolumeId"])
    attachment = _named(call, request, volume)
    instance = INSTANCE.load(call, attachment.instance_id)
    if attachment.device == instance.root_device_name and instance.state != "stopped":
        raise RootVolumeInUse(volume.id, instance.id)
    forced = attachment.forced or request.get("Force", False)
    if attachment.state == "detaching" and forced == attachment.forced:
        return shown_attachment(attachment)
    detaching = call.tx.update(attachment, state="detaching", forced=forced)
    _tell_host(call, instance)
    if instance.state == "stopped":
        let_go(call.tx, detaching)
    return shown_attachment(detaching)


def check_device(name: str) -> None:
    """Raises InvalidParameterValue for what is not the name of a device."""
    if not DEVICE_NAME.fullmatch(name):
        raise InvalidParameterValue(
            f"Value ({name}) for parameter device is invalid. {name} is not a valid EBS device name."
        )


def _check_others(call: Call, volume: Volume, instance: Instance) -> None:
    """Raises VolumeInUse for one that only one instance may have or that this one has, AttachmentLimitExceeded."""
    attached = call.tx.select(VolumeAttachment, volume_id=volume.id)
    if not volume.multi_attach_enabled or any(each.instance_id == instance.id for each in attached):
        raise VolumeAlreadyAttached(volume.id)
    if len(attached) >= MULTI_ATTACHMENTS_MAX:
        raise MultiAttachmentLimitExceeded(volume.id, MULTI_ATTACHMENTS_MAX)


def _check_place(volume: Volume, instance: Instance) -> None:
    if volume.zone != instance.zone:
        raise InvalidVolumeZoneMismatch(volume.id, instance.id)
    if volume.host_id != instance.host_id:
        raise OnAnotherHost(volume.id, instance.id)


def _check_room(call: Call, instance: Instance, device: str) -> None:
    attached = call.tx.select(VolumeAttachment, instance_id=instance.id)
    if any(each.device == device for each in attached):
        raise InvalidParameterValue(
            f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
        )
    if len(attached) + call.tx.count(NetworkInterface, instance_id=instance.id) >= DEVICES_MAX:
        raise AttachmentLimitExceeded(instance.id, DEVICES_MAX)


def _named(call: Call, request: DetachVolumeRequestTypeDef, volume: Volume) -> VolumeAttachment:
    """The attachment that the request names."""
    attached = call.tx.select(VolumeAttachment, volume_id=volume.id)
    if not attached:
        raise IncorrectState(f"Volume '{volume.id}' is in the '{volume.state}' state.")
    instance_id = request.get("InstanceId")
    if instance_id:
        INSTANCE.load(call, instance_id)
    elif len(attached) > 1 or volume.multi_attach_enabled:
        raise MissingParameter("InstanceId")
    for attachment in attached:
        if instance_id in (None, "", attachment.instance_id) and request.get("Device") in (None, "", attachment.device):
            return attachment
    raise InvalidAttachmentNotFound(volume.id, instance_id or attached[0].instance_id)


def _tell_host(call: Call, instance: Instance) -> None:
    call.tx.update(instance, generation=instance.generation + 1)
    publish(call.tx, "guest", instance.id)
