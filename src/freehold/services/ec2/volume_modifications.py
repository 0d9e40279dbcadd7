"""ModifyVolume and DescribeVolumesModifications.

A volume is paid for as it is to be from the call on. The host of an instance that runs makes the disk larger, and lets
it do more or less, while the guest uses it, and reports that; a file that nobody uses is made larger when it is next
opened.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modify-volume.html
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from freehold.records.compute import Instance, Volume, VolumeAttachment, VolumeModification, volume_modifications
from freehold.records.feed import publish, take_turn
from freehold.records.volumes import meter_anew
from freehold.services.ec2 import storage_limits, volume_settings
from freehold.services.ec2.errors import IncorrectState, InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.filters import Condition, conditions, flag, moment, number, text
from freehold.services.ec2.paging import not_with_ids, page
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import VOLUME, named_by
from freehold.services.ec2.volume_errors import (
    IncorrectModificationState,
    InvalidVolumeModificationNotFound,
    MultiAttachUnsupported,
    VolumeModificationRateExceeded,
)
from freehold.services.ec2.volume_settings import Settings
from freehold.services.operation import Call, Response, operation
from freehold.volume_types import rules

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeVolumesModificationsRequestTypeDef, ModifyVolumeRequestTypeDef

_CHANGED = {"Iops", "MultiAttachEnabled", "Size", "Throughput", "VolumeType"}
_REST = dt.timedelta(hours=6)

_M = volume_modifications.c
_FILTERS: dict[str, Condition] = {
    "modification-state": text(_M.state),
    "original-iops": number(_M.original_iops),
    "original-size": number(_M.original_size_gib),
    "original-volume-type": text(_M.original_volume_type),
    "originalMultiAttachEnabled": flag(_M.original_multi_attach),
    "start-time": moment(_M.started_at),
    "target-iops": number(_M.target_iops),
    "target-size": number(_M.target_size_gib),
    "target-volume-type": text(_M.target_volume_type),
    "targetMultiAttachEnabled": flag(_M.target_multi_attach),
    "volume-id": text(_M.volume_id),
}


@operation(resources=named_by("VolumeId", VOLUME))
def modify_volume(call: Call, request: ModifyVolumeRequestTypeDef) -> Response:
    """Raises InvalidParameterCombination for nothing to be changed, InvalidParameterValue for a size that is smaller,
    what is wrong with the settings (`volume_settings.checked`, `_check_multi_attach`), IncorrectState,
    IncorrectModificationState, and VolumeModificationRateExceeded within six hours of the last change."""
    refuse_others(request, {*_CHANGED, "VolumeId"})
    if not request.keys() & _CHANGED:
        raise InvalidParameterCombination(
            "Specify at least one of size, volumeType, iops, throughput and multiAttachEnabled."
        )
    take_turn(call.tx)
    volume = VOLUME.load(call, request["VolumeId"])
    settings = _settings(volume, request)
    if volume.state not in ("available", "in-use"):
        raise IncorrectState(f"The volume '{volume.id}' is in the '{volume.state}' state.")
    _check_rest(call, volume)
    attached = call.tx.select(VolumeAttachment, volume_id=volume.id)
    multi_attach = request.get("MultiAttachEnabled", volume.multi_attach_enabled)
    _check_multi_attach(volume, settings, multi_attach, len(attached))
    instances = call.tx.select(Instance, id=[each.instance_id for each in attached])
    used = [instance for instance in instances if instance.state not in ("stopped", "terminated")]
    modification = VolumeModification(
        volume_id=volume.id,
        account_id=volume.account_id,
        region=volume.region,
        state="modifying" if used else "completed",
        started_at=call.now,
        ended_at=None if used else call.now,
        original_size_gib=volume.size_gib,
        original_volume_type=volume.volume_type,
        original_iops=volume.iops,
        original_throughput_mibps=volume.throughput_mibps,
        target_size_gib=settings.size_gib,
        target_volume_type=settings.volume_type,
        target_iops=settings.iops,
        target_throughput_mibps=settings.throughput_mibps,
        original_multi_attach=volume.multi_attach_enabled,
        target_multi_attach=multi_attach,
    )
    call.tx.put(modification)
    changed = call.tx.update(
        volume,
        size_gib=settings.size_gib,
        volume_type=settings.volume_type,
        iops=settings.iops,
        throughput_mibps=settings.throughput_mibps,
        multi_attach_enabled=multi_attach,
    )
    storage_limits.check(call, settings.volume_type, 0)  # with it as it is now
    meter_anew(call.tx, changed)
    used_by = {instance.id for instance in used}
    for attachment in attached:
        call.tx.update(attachment, fitting=attachment.instance_id in used_by)
    for instance in instances:
        call.tx.update(instance, generation=instance.generation + 1)
        publish(call.tx, "guest", instance.id)
    return {"VolumeModification": _shown(modification)}


@operation()
def describe_volumes_modifications(call: Call, request: DescribeVolumesModificationsRequestTypeDef) -> Response:
    """The newest of each volume that was modified. Raises InvalidVolumeModification.NotFound for a volume that never
    was."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken", "VolumeIds"}, {"IncludeManagedResources": False})
    not_with_ids(request, "VolumeIds")
    where = conditions(call, request.get("Filters", ()), _FILTERS)
    equal: dict[str, Any] = {"account_id": call.account_id, "region": call.region}
    if volume_ids := request.get("VolumeIds"):
        VOLUME.load_all(call, volume_ids)
        known = {each.volume_id for each in call.tx.select(VolumeModification, volume_id=list(volume_ids))}
        for volume_id in volume_ids:
            if volume_id not in known:
                raise InvalidVolumeModificationNotFound(volume_id)
        equal["volume_id"] = list(volume_ids)
    found = page(call, VolumeModification, request, *where, key=("volume_id",), **equal)
    return {"VolumesModifications": [_shown(each) for each in found.rows], **found.token}


def _settings(volume: Volume, request: ModifyVolumeRequestTypeDef) -> Settings:
    """What it is to be like: as it is, where the request is silent; another type has its own IOPS and throughput."""
    volume_type = str(request.get("VolumeType") or volume.volume_type)
    same = volume_type == volume.volume_type
    size_gib = request.get("Size", volume.size_gib)
    if size_gib < volume.size_gib:
        raise InvalidParameterValue("New size cannot be smaller than existing size")
    iops, throughput = request.get("Iops"), request.get("Throughput")
    if same and iops is None and rules(volume_type).iops is not None:
        iops = volume.iops
    if same and throughput is None and rules(volume_type).throughput_mibps is not None:
        throughput = volume.throughput_mibps
    return volume_settings.checked(volume_type, size_gib, iops, throughput)


def _check_multi_attach(volume: Volume, settings: Settings, enabled: bool, attachments: int) -> None:
    """Raises InvalidParameterCombination for a type that does not have it, UnsupportedOperation for what AWS does not
    let one change of a volume that has it, or have it: for io1 nothing after it was created.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volumes-multi.html
    """
    if enabled:
        volume_settings.check_multi_attach(settings.volume_type)
    if not (enabled or volume.multi_attach_enabled):
        return
    if volume.volume_type != settings.volume_type and volume.multi_attach_enabled:
        raise MultiAttachUnsupported(f"The type of the volume '{volume.id}' can not be changed: it has Multi-Attach.")
    if settings.volume_type == "io1":
        raise MultiAttachUnsupported(
            f"The volume '{volume.id}' can not be changed: Multi-Attach of io1 volumes is set when they are created, "
            "and those that have it are not modified."
        )
    if enabled and not volume.multi_attach_enabled and attachments:
        raise MultiAttachUnsupported(
            f"Multi-Attach can not be enabled: the volume '{volume.id}' is attached to an instance."
        )
    if not enabled and attachments > 1:
        raise MultiAttachUnsupported(
            f"Multi-Attach can not be disabled: the volume '{volume.id}' is attached to more than one instance."
        )


def _check_rest(call: Call, volume: Volume) -> None:
    last = call.tx.get(VolumeModification, volume.id)
    if last is None:
        return
    if last.state == "modifying":
        raise IncorrectModificationState(volume.id, last.state)
    if call.now - last.started_at < _REST:
        raise VolumeModificationRateExceeded()


def _shown(modification: VolumeModification) -> dict[str, Any]:
    shown = {
        "VolumeId": modification.volume_id,
        "ModificationState": modification.state,
        "Progress": 100 if modification.state == "completed" else 0,
        "StartTime": modification.started_at,
        "OriginalSize": modification.original_size_gib,
        "OriginalVolumeType": modification.original_volume_type,
        "OriginalMultiAttachEnabled": modification.original_multi_attach,
        "TargetSize": modification.target_size_gib,
        "TargetVolumeType": modification.target_volume_type,
        "TargetMultiAttachEnabled": modification.target_multi_attach,
    }
    performance = {
        "OriginalIops": modification.original_iops,
        "OriginalThroughput": modification.original_throughput_mibps,
        "TargetIops": modification.target_iops,
        "TargetThroughput": modification.target_throughput_mibps,
    }
    shown |= {name: value for name, value in performance.items() if value}
    return shown | ({"EndTime": modification.ended_at} if modification.ended_at else {})
