"""Machines that stand ready on hosts for the next launch of their like."""

from __future__ import annotations

from freehold.records.compute import Instance
from freehold.records.ids import HostId, ImageId, InstanceId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction


class ReadyMachine(Record, frozen=True):
    """One that a host has ready: the next instance of its like that is placed there gets its id, and is up sooner."""

    host_id: HostId
    instance_id: InstanceId
    kernel_image_id: ImageId
    instance_type: str
    vcpus: int
    memory_mib: int


ready_machines = table("ready_machines", ReadyMachine, key=("host_id",))


def note(tx: Transaction, host_id: HostId, said: ReadyMachine | None) -> None:
    """What a host says that it has ready."""
    known = tx.get(ReadyMachine, host_id)
    if said is not None and said != known and not _is_taken(tx, said):
        tx.put(said)
    elif said is None and known is not None:
        tx.delete(known)


def take(
    tx: Transaction, host_id: HostId, kernel_image_id: ImageId | None, instance_type: str, vcpus: int, memory_mib: int
) -> InstanceId | None:
    """The id of what stands ready on a host for such an instance, which nobody else gets then."""
    found = tx.find(
        ReadyMachine,
        host_id=host_id,
        kernel_image_id=kernel_image_id,
        instance_type=instance_type,
        vcpus=vcpus,
        memory_mib=memory_mib,
    )
    if found is None:
        return None
    tx.delete(found)
    return None if _is_taken(tx, found) else found.instance_id


def _is_taken(tx: Transaction, ready: ReadyMachine) -> bool:
    """A host may say so before it has heard that it was."""
    return tx.get(Instance, ready.instance_id) is not None
