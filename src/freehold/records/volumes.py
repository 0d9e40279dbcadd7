"""What volumes and their instances have in common; and deleting volumes, in two steps: nobody has it and pays for it,
and nobody can read it, from the first on; with the second it is gone."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.records.compute import Volume, VolumeAttachment, VolumeModification, volume_attachments
from freehold.records.encryption import WrappedKey
from freehold.records.feed import publish
from freehold.records.snapshots import Snapshot, delete
from freehold.records.store import Transaction
from freehold.records.tags import delete_tags_of
from freehold.records.usage import close_usage, open_usage
from freehold.volume_types import GP3_IOPS, GP3_THROUGHPUT_MIBPS


def meter(tx: Transaction, volume: Volume) -> None:
    """Begin to meter a volume: its size, and what its owner asked for beyond what its type comes with."""
    quantities = {f"volume:{volume.volume_type}": volume.size_gib}
    if volume.volume_type == "gp3":
        quantities["volume-iops:gp3"] = volume.iops - GP3_IOPS
        quantities["volume-throughput:gp3"] = volume.throughput_mibps - GP3_THROUGHPUT_MIBPS
    elif volume.volume_type in ("io1", "io2"):
        quantities[f"volume-iops:{volume.volume_type}"] = volume.iops
    for item, quantity in quantities.items():
        if quantity > 0:
            open_usage(tx, volume.account_id, volume.region, volume.id, item, quantity)


def attached_to(tx: Transaction, instance_id: str) -> dict[str, tuple[VolumeAttachment, Volume]]:
    """The volumes of an instance by the names of their devices, in their order. Of two, while the root volume is being
    replaced, the one that comes."""
    attachments = tx.select(VolumeAttachment, instance_id=instance_id, order_by=(volume_attachments.c.device,))
    attachments.sort(key=lambda each: (each.device, each.state != "detaching"))
    found = {volume.id: volume for volume in tx.select(Volume, id=[each.volume_id for each in attachments])}
    return {each.device: (each, found[each.volume_id]) for each in attachments}


def goes_with(volume: Volume, attachment: VolumeAttachment) -> bool:
    """Whether the host deletes a volume together with the guest that it is attached to. One that several may have is
    deleted apart from them, after the last of them is terminated, if that one's attachment says so.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volumes-multi.html
    """
    return attachment.delete_on_termination and not volume.multi_attach_enabled


def meter_anew(tx: Transaction, volume: Volume) -> None:
    """Meter a volume as it is now, no more as it was."""
    close_usage(tx, volume.id)
    meter(tx, volume)


def fitted(tx: Transaction, instance_id: str) -> None:
    """The guest of an instance has its volumes as they are to be, or there is none."""
    fitting = tx.select(VolumeAttachment, instance_id=instance_id, fitting=True)
    for attachment in fitting:
        tx.update(attachment, fitting=False)
    _complete_modifications(tx, [attachment.volume_id for attachment in fitting])


def _complete_modifications(tx: Transaction, volume_ids: Sequence[str]) -> None:
    """Of those that no guest that runs is still to see."""
    for modification in tx.select(VolumeModification, volume_id=list(volume_ids), state="modifying"):
        if not tx.count(VolumeAttachment, volume_id=modification.volume_id, fitting=True):
            tx.update(modification, state="completed", ended_at=tx.now)


def let_go(tx: Transaction, attachment: VolumeAttachment) -> None:
    """A volume is this instance's no more."""
    tx.delete(attachment)
    _complete_modifications(tx, [attachment.volume_id])
    if not tx.count(VolumeAttachment, volume_id=attachment.volume_id):
        volume = tx.get(Volume, attachment.volume_id)
        if volume is not None and volume.state == "in-use":
            tx.update(volume, state="available")


def drop_source(tx: Transaction, volume: Volume) -> None:
    """A copy is made, or not wanted any more: the snapshot that was taken for it goes."""
    if volume.source_volume_id is not None and volume.snapshot_id is not None:
        snapshot = tx.get(Snapshot, volume.snapshot_id)
        if snapshot is not None:
            delete(tx, snapshot)


def begin_deleting(tx: Transaction, volume: Volume) -> None:
    """Have the host of a volume that is no instance's delete it; it then says so (control/reports.py)."""
    close_usage(tx, volume.id)
    tx.delete_where(WrappedKey, volume_id=volume.id)
    drop_source(tx, volume)
    tx.update(volume, state="deleting")
    publish(tx, "volume", volume.id)


def forget(tx: Transaction, volume: Volume) -> None:
    """Its disk is deleted."""
    close_usage(tx, volume.id)
    delete_tags_of(tx, volume.id)
    tx.delete_where(WrappedKey, volume_id=volume.id)
    tx.delete_where(VolumeAttachment, volume_id=volume.id)
    tx.delete_where(VolumeModification, volume_id=volume.id)
    tx.delete(volume)
