"""CopyImage: of the account's own images and of those that it may use, from any region to this one.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/CopyingAMIs.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from freehold.records.feed import take_turn
from freehold.records.ids import ImageId, new_id
from freehold.records.images import ImageMapping, inherit_watermarks, mappings_of
from freehold.records.snapshots import Snapshot
from freehold.records.tags import put_tags, tags_of
from freehold.services.ec2 import ebs_encryption, snapshot_copies
from freehold.services.ec2.errors import InvalidParameterCombination
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.image_creation import check_unused, described, named
from freehold.services.ec2.image_errors import InvalidAMIIDUnavailable, NoPermissionForStorage
from freehold.services.ec2.image_records import new_image
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, SNAPSHOT, made
from freehold.services.ec2.snapshot_errors import InvalidSnapshotNotFound
from freehold.services.ec2.snapshot_sharing import usable
from freehold.services.ec2.tags import specified
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CopyImageRequestTypeDef

_HONOURED = {
    *("ClientToken", "CopyImageTags", "Description", "Encrypted", "KmsKeyId"),
    *("Name", "SourceImageId", "SourceRegion", "TagSpecifications"),
}


def _needed(call: Call, request: CopyImageRequestTypeDef) -> Iterator[Needed]:
    yield from made(call, request, IMAGE, keys=lambda: {"ec2:Owner": call.account_id})
    yield from made(call, request, SNAPSHOT)
    there = replace(call, region=request["SourceRegion"])
    source_id = ImageId(request["SourceImageId"])
    for mapping in mappings_of(call.tx, [source_id])[source_id]:
        if mapping.snapshot_id is not None:
            yield from snapshot_copies.of_keys(call, there, mapping.snapshot_id, _encryption(request))


@operation(resources=_needed, resource_policies=True)
def copy_image(call: Call, request: CopyImageRequestTypeDef) -> Response:
    """Its disks are copies of the source's snapshots, under another key if one is named; it is pending until they are
    made. Launch permissions are not copied. Raises InvalidAMIID.NotFound, InvalidAMIID.Unavailable, InvalidRequest.
    """
    refuse_others(request, _HONOURED)
    name, description = named(request), described(request)
    tags = specified(request.get("TagSpecifications"), IMAGE.resource_type, SNAPSHOT.resource_type)
    take_turn(call.tx)
    image_id = ImageId(new_id("ami"))
    made_before = claim(call, request, image_id)
    if made_before is not None:
        return {"ImageId": made_before}
    there = replace(call, region=request["SourceRegion"])
    source = IMAGE.load(there, request["SourceImageId"])
    if source.state != "available":
        raise InvalidAMIIDUnavailable(source.id)
    check_unused(call, name)
    copies: list[ImageMapping] = []
    for mapping in mappings_of(call.tx, [source.id])[source.id]:
        if mapping.snapshot_id is None:
            if mapping.device == source.root_device_name:
                raise UnsupportedOperation("Copying an image of the cloud's own, which every region offers,")
            copies.append(msgspec.structs.replace(mapping, image_id=image_id))
            continue
        text = (
            f"Copied for DestinationAmi {image_id} from SourceAmi {source.id} for SourceSnapshot {mapping.snapshot_id}."
        )
        snapshot = _copied(call, there, mapping.snapshot_id, request, text, tags[SNAPSHOT.resource_type])
        copies.append(
            msgspec.structs.replace(mapping, image_id=image_id, snapshot_id=snapshot.id, encrypted=snapshot.encrypted)
        )
    image = msgspec.structs.replace(
        new_image(
            *(call, image_id, name, description or f"[Copied {source.id} from {there.region}] {source.name}"),
            *(source.root_device_name, source.size_gib, source.boot_mode, source.kernel_image_id),
        ),
        architecture=source.architecture,
        default_user=source.default_user,
        minimum_memory_mib=source.minimum_memory_mib,
        state="pending",
        imds_v2=source.imds_v2,
        source_image_id=source.id,
        source_image_region=there.region,
    )
    call.tx.insert(image, *copies)
    inherit_watermarks(call.tx, source.id, image)
    kept = {tag.key: tag.value for tag in tags_of(call.tx, [source.id])[source.id] if tag.account_id == call.account_id}
    kept = {key: value for key, value in kept.items() if not key.startswith("aws:")}
    pairs = (kept if request.get("CopyImageTags") else {}) | tags[IMAGE.resource_type]
    put_tags(call.tx, call.account_id, call.region, IMAGE.resource_type, image_id, pairs)
    return {"ImageId": image_id}


def _copied(
    call: Call, there: Call, snapshot_id: str, request: CopyImageRequestTypeDef, text: str, tags: Mapping[str, str]
) -> Snapshot:
    """Raises NoPermissionForStorage for a snapshot that the account may not read."""
    try:
        source = usable(there, snapshot_id)
    except InvalidSnapshotNotFound:
        raise NoPermissionForStorage from None
    return snapshot_copies.begin(call, source, _encryption(request), text, tags)


def _encryption(request: CopyImageRequestTypeDef) -> Any:
    """What is asked of the copies' encryption, as of a volume's. Raises InvalidParameterCombination."""
    named_key = request.get("KmsKeyId")
    if named_key and request.get("Encrypted") is False:
        raise InvalidParameterCombination("The parameter KmsKeyId needs Encrypted.")
    return ebs_encryption.of_copy(request)
