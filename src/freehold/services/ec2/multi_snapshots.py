"""CreateSnapshots: of all volumes of an instance, at one instant.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from freehold.records.compute import Instance, Volume
from freehold.records.feed import take_turn
from freehold.records.tags import tags_of
from freehold.records.volumes import attached_to
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE, SNAPSHOT, VOLUME, made
from freehold.services.ec2.snapshots import begin, checked_description, described, tags_given
from freehold.services.ec2.tags import MAX_TAGS, specified
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CreateSnapshotsRequestTypeDef, InstanceSpecificationTypeDef

_SHOWN = {
    *("Description", "Encrypted", "OwnerId", "Progress", "SnapshotId"),
    *("StartTime", "State", "Tags", "VolumeId", "VolumeSize"),
}


def _needed(call: Call, request: CreateSnapshotsRequestTypeDef) -> Iterator[Needed]:
    instance_id = request["InstanceSpecification"]["InstanceId"]
    yield INSTANCE.needed(call, instance_id)
    instance = INSTANCE.find(call, instance_id)
    attached = _attached(call, instance) if instance is not None else {}
    ids: list[str] = [volume.id for volume in attached.values()]
    for volume_id in ids or ["*"]:
        yield VOLUME.needed(call, volume_id)
    yield from made(call, request, SNAPSHOT)


@operation(resources=_needed)
def create_snapshots(call: Call, request: CreateSnapshotsRequestTypeDef) -> Response:
    """All or none. Raises IncorrectState, InvalidParameterValue for what is excluded and not attached."""
    refuse_others(
        request,
        {"CopyTagsFromSource", "Description", "InstanceSpecification", "TagSpecifications"},
        {"Location": "regional"},
    )
    if request.get("CopyTagsFromSource", "volume") != "volume":
        raise InvalidParameterValue("The only valid value for CopyTagsFromSource is volume.")
    description = checked_description(request)
    given = specified(request.get("TagSpecifications"), SNAPSHOT.resource_type)[SNAPSHOT.resource_type]
    take_turn(call.tx)
    asked = request["InstanceSpecification"]
    instance = INSTANCE.load(call, asked["InstanceId"])
    chosen = _chosen(instance, _attached(call, instance), asked)
    tags: dict[str, dict[str, str]] = {volume.id: dict(given) for volume in chosen}
    if "CopyTagsFromSource" in request:
        for volume_id, held in tags_of(call.tx, list(tags)).items():
            own = {tag.key: tag.value for tag in held if not tag.key.startswith("aws:")}
            tags[volume_id] = own | tags[volume_id]
            if len(tags[volume_id]) > MAX_TAGS:
                raise InvalidParameterValue(f"More than {MAX_TAGS} tags for a snapshot of {volume_id}.")
    begun = begin(call, chosen, description, tags)
    shown = [described(each, tags_given(call, each, tags[each.volume_id])) for each in begun]
    return {"Snapshots": [{name: each[name] for name in each.keys() & _SHOWN} for each in shown]}


def _attached(call: Call, instance: Instance) -> Mapping[str, Volume]:
    """By the names of their devices."""
    return {device: volume for device, (_, volume) in attached_to(call.tx, instance.id).items()}


def _chosen(
    instance: Instance, attached: Mapping[str, Volume], asked: InstanceSpecificationTypeDef
) -> Sequence[Volume]:
    boot = {volume.id for device, volume in attached.items() if device == instance.root_device_name}
    excluded = set(asked.get("ExcludeDataVolumeIds", ()))
    by_id: Mapping[str, Volume] = {volume.id: volume for volume in attached.values()}
    if wrong := sorted(excluded - by_id.keys()):
        raise InvalidParameterValue(f"The volume {wrong[0]} is not attached to the instance {instance.id}.")
    if excluded & boot:
        raise InvalidParameterCombination("To exclude the boot volume, specify ExcludeBootVolume.")
    if asked.get("ExcludeBootVolume"):
        excluded |= boot
    chosen = [volume for volume in attached.values() if volume.id not in excluded]
    if not chosen:
        raise InvalidParameterCombination("All volumes of the instance are excluded.")
    return chosen
