"""From what a host reports to records: the transitions of an instance that no API call makes.

Reports carry state and may repeat; each is applied in one transaction with its usage entries and feed entries. A
report counts for an instance only while the instance is on that host, and moves its state only when it names the
instance's present generation, so that what the host saw before the last API call cannot undo the call. Each takes its
turn before it reads, so that on PostgreSQL too it cannot undo a call that was answered meanwhile.

A host is not trusted with the cloud: what it says of instances, volumes and addresses that are not on it is passed
over, it can end a meter no earlier than it was opened and no later than now, and it counts no more bytes than a network
card could have sent.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import structlog
from msgspec.structs import replace

from freehold.config import Config
from freehold.control.accounts import go_on_closing
from freehold.host.wire import REPORT_SECONDS, GuestReport, Hello, Ready, Report, SnapshotReport, TrafficReading
from freehold.records import ready_machines, root_tasks
from freehold.records.compute import (
    ConsoleOutput,
    Host,
    Instance,
    ProfileAssociation,
    StateReason,
    TrafficCounter,
    Volume,
    VolumeAttachment,
)
from freehold.records.cpu_credits import CpuCredits
from freehold.records.feed import publish, take_turn
from freehold.records.ids import HostId, ImageId, InstanceId
from freehold.records.images import settle
from freehold.records.instances import BY_USER, UNKNOWN_STATUS, give_up_start, send_down
from freehold.records.network import (
    Address,
    InterfaceGroup,
    NetworkInterface,
    addresses,
    interface_groups,
    network_interfaces,
)
from freehold.records.ready_machines import ReadyMachine
from freehold.records.reservations import release
from freehold.records.snapshots import DoomedSnapshot, Snapshot, failed, holds, taken
from freehold.records.store import Transaction
from freehold.records.tags import delete_tags_of
from freehold.records.usage import count_usage, open_usage
from freehold.records.volumes import begin_deleting, drop_source, fitted, forget, goes_with, let_go

log = structlog.get_logger()

_SNAPSHOT_FAILED = "Client.InternalError"  # what AWS says of one whose KMS key can not be used, among others
_BYTES_PER_SECOND_MAX = 50 * 10**9  # 400 Gbit/s


def host_connected(tx: Transaction, config: Config, hello: Hello) -> None:
    """A host opened its link: record it and what it offers (over-commit applied; what guests hold is kept)."""
    take_turn(tx)
    known = tx.get(Host, hello.host_id)
    memory = max(0, hello.memory_mib - config.compute.memory_reserved_mib)
    tx.put(
        Host(
            id=HostId(hello.host_id),
            zone=hello.zone,
            vcpus=int(hello.vcpus * config.compute.cpu_overcommit),
            memory_mib=int(memory * config.compute.memory_overcommit),
            vcpus_used=known.vcpus_used if known else 0,
            memory_used_mib=known.memory_used_mib if known else 0,
            accelerator=hello.accelerator,
            connected=True,
            reported_at=tx.now,
        )
    )


def host_disconnected(tx: Transaction, host_id: str) -> None:
    """A host's link closed: nothing new is placed on it; its guests run on."""
    host = tx.get(Host, host_id)
    if host is not None:
        tx.update(host, connected=False)


def apply_report(tx: Transaction, host_id: str, report: Report) -> None:
    take_turn(tx)
    host = tx.get(Host, host_id)
    if host is not None:
        tx.update(host, reported_at=tx.now)
        _note_ready(tx, host.id, report.ready)
    # First: what a guest has sent is still to be counted when it is said to be gone.
    for reading in report.traffic:
        _apply_traffic(tx, host_id, reading)
    for guest in report.guests:
        instance = tx.get(Instance, guest.instance_id)
        if instance is not None and instance.host_id == host_id:
            _apply_guest(tx, instance, guest)
    for volume_id in report.made_volumes:
        volume = tx.get(Volume, volume_id)
        if volume is not None and volume.host_id == host_id and volume.state == "creating":
            tx.update(volume, state="available")
            drop_source(tx, volume)
            go_on_closing(tx, volume.account_id)
    for volume_id in report.deleted_volumes:
        volume = tx.get(Volume, volume_id)
        if volume is not None and volume.host_id == host_id and volume.state == "deleting":
            forget(tx, volume)
            go_on_closing(tx, volume.account_id)
    for said in report.snapshots:
        snapshot = tx.get(Snapshot, said.snapshot_id)
        if snapshot is not None and snapshot.host_id == host_id:
            _apply_snapshot(tx, snapshot, said)
    for snapshot_id in report.deleted_snapshots:
        tx.delete_where(DoomedSnapshot, host_id=host_id, snapshot_id=snapshot_id)


def _note_ready(tx: Transaction, host_id: HostId, said: Ready | None) -> None:
    if said is None:
        ready_machines.note(tx, host_id, None)
        return
    ids = (host_id, InstanceId(said.instance_id), ImageId(said.kernel_image_id))
    ready_machines.note(tx, host_id, ReadyMachine(*ids, said.instance_type, said.vcpus, said.memory_mib))


def _apply_snapshot(tx: Transaction, snapshot: Snapshot, said: SnapshotReport) -> None:
    if snapshot.state == "completed" and said.message is None and said.percent == 100:
        holds(tx, snapshot, said.bytes_added, said.bytes_full)
    if snapshot.state != "pending":
        return
    if said.percent < 100:
        tx.update(snapshot, progress=said.percent)
        return
    if said.message is None:
        taken(tx, snapshot, said.bytes_added, said.bytes_full)
    else:
        log.warning("snapshot not taken", snapshot=snapshot.id, host=snapshot.host_id, reason=said.message)
        failed(tx, snapshot, _SNAPSHOT_FAILED)
        if snapshot.copy_id is not None and (copy := tx.get(Volume, snapshot.copy_id)) is not None:
            begin_deleting(tx, copy)
    settle(tx, snapshot)
    if snapshot.at_rest:
        for attachment in tx.select(VolumeAttachment, volume_id=snapshot.volume_id):
            publish(tx, "guest", attachment.instance_id)  # which may boot again
    publish(tx, "volume", snapshot.volume_id)  # which may be waiting to be deleted


def _apply_guest(tx: Transaction, instance: Instance, guest: GuestReport) -> None:
    if guest.console is not None:
        tx.put(ConsoleOutput(instance.id, tx.now, guest.console))
    if guest.generation != instance.generation:
        return
    if guest.volumes is not None:
        _apply_volumes(tx, instance, frozenset(guest.volumes))
    if guest.disks_fit or guest.state in ("stopped", "absent"):
        fitted(tx, instance.id)
    match instance.state, guest.state:
        case "pending", "running":
            _runs(tx, instance)
        case "pending", "stopped" if guest.guest_shutdown:
            # It ran so briefly that no report said so.
            _guest_shut_down(tx, _runs(tx, instance), guest)
        case "pending", "failed":
            _launch_failed(tx, instance, guest)
        case "running", "running" | "starting" | "failed":
            _fares(tx, instance, guest)
        case "running", "stopped" if guest.guest_shutdown:
            _guest_shut_down(tx, instance, guest)
        case "stopping", "stopped":
            _stopped(tx, instance, guest)
        case "shutting-down", "absent":
            _terminated(tx, instance)


def _apply_volumes(tx: Transaction, instance: Instance, held: frozenset[str]) -> None:
    """What the guest has of the volumes that it is to have, or to have no more."""
    for attachment in tx.select(VolumeAttachment, instance_id=instance.id):
        if attachment.state == "attaching" and attachment.volume_id in held:
            tx.update(attachment, state="attached")
        if attachment.state == "detaching" and attachment.volume_id not in held:
            let_go(tx, attachment)
    root_tasks.settle(tx, instance)


def _runs(tx: Transaction, instance: Instance) -> Instance:
    for attachment in tx.select(VolumeAttachment, instance_id=instance.id, state="attaching"):
        tx.update(attachment, state="attached")  # it began with them
    item = "instance" if instance.spot_request_id is None else "spot"
    open_usage(tx, instance.account_id, instance.region, instance.id, f"{item}:{instance.instance_type}")
    return tx.update(
        instance,
        state="running",
        state_reason=None,
        state_transition_reason="",
        failure=None,
        hibernate=False,
        **UNKNOWN_STATUS,
    )


def _fares(tx: Transaction, instance: Instance, guest: GuestReport) -> None:
    """Record the status of a running instance, if it is another one."""
    now: dict[str, Any] = {"disks_impaired_since": _since(tx, instance.disks_impaired_since, guest.disks_fail)}
    if guest.state == "failed":
        now["system_impaired_since"] = _since(tx, instance.system_impaired_since, True)
        if instance.system_impaired_since is None:
            now["failure"] = _failure(instance, guest)
    elif guest.state == "running":
        now |= {"system_impaired_since": None, "failure": None}
    if guest.answers is not None:
        now["reachability"] = "passed" if guest.answers else "failed"
    elif guest.state == "starting":
        now["reachability"] = "initializing"
    now["unreachable_since"] = _since(
        tx, instance.unreachable_since, now.get("reachability", instance.reachability) == "failed"
    )
    if any(getattr(instance, name) != value for name, value in now.items()):
        tx.update(instance, **now)


def _since(tx: Transaction, before: dt.datetime | None, impaired: bool) -> dt.datetime | None:
    """Since when it is so."""
    return (before or tx.now) if impaired else None


def _failure(instance: Instance, guest: GuestReport) -> str:
    """What the host says is wrong: its paths and sizes are for the operator's eyes, not the tenant's."""
    message = guest.message or "the host gave no reason"
    log.warning("guest failed", instance=instance.id, host=instance.host_id, reason=message)
    return message


def _launch_failed(tx: Transaction, instance: Instance, guest: GuestReport) -> None:
    reason = StateReason("Server.InternalError", "Server.InternalError: Internal error on launch")
    give_up_start(tx, instance, reason, failure=_failure(instance, guest))


def _guest_shut_down(tx: Transaction, instance: Instance, guest: GuestReport) -> None:
    """The guest powered itself off: it stops or terminates, as InstanceInitiatedShutdownBehavior says."""
    reason = StateReason(
        "Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
    )
    terminates = instance.shutdown_behavior == "terminate"
    moment = min(guest.changed_at, tx.now)
    send_down(tx, instance, "shutting-down" if terminates else "stopping", reason, "", at=moment)


def _stopped(tx: Transaction, instance: Instance, guest: GuestReport) -> None:
    """One that could not hibernate has been shut down."""
    hibernated = instance.hibernate and guest.hibernated
    failed = instance.hibernate and not guest.hibernated and instance.interruption is None
    tx.update(
        instance, state="stopped", hibernate=hibernated, state_reason=BY_USER if failed else instance.state_reason
    )
    release(tx, instance)


def _terminated(tx: Transaction, instance: Instance) -> None:
    """Nothing of it is left on the host: its interfaces, and the volumes that go with it, go too."""
    release(tx, instance)
    for interface in tx.select(NetworkInterface, network_interfaces.c.instance_id == instance.id):
        for address in tx.select(Address, addresses.c.interface_id == interface.id):
            tx.update(address, interface_id=None, association_id=None, private_ip=None)
        tx.delete_where(InterfaceGroup, interface_groups.c.interface_id == interface.id)
        delete_tags_of(tx, interface.id)
        tx.delete(interface)
        publish(tx, "vpc", interface.vpc_id)
    for attachment in tx.select(VolumeAttachment, instance_id=instance.id):
        let_go(tx, attachment)
        volume = tx.get(Volume, attachment.volume_id)
        gone = attachment.delete_on_termination and attachment.state != "detaching"
        if volume is not None and volume.state == "available" and gone:
            if goes_with(volume, attachment):
                forget(tx, volume)
            else:
                begin_deleting(tx, volume)
    tx.delete_where(ProfileAssociation, instance_id=instance.id)
    tx.delete_where(CpuCredits, instance_id=instance.id)
    root_tasks.settle(tx, tx.update(instance, state="terminated", terminated_at=tx.now))
    go_on_closing(tx, instance.account_id)


def _apply_traffic(tx: Transaction, host_id: str, reading: TrafficReading) -> None:
    """Add what was sent since the last reading to the ledger; a counter that began anew began at zero."""
    last = tx.get(TrafficCounter, host_id, reading.public_ip)
    if last is None or last.epoch != reading.epoch:
        last = _new_counter(tx, host_id, reading)
    if last is None:
        return
    sent = reading.bytes_out - last.bytes_out
    seconds = (tx.now - last.read_at).total_seconds() + REPORT_SECONDS
    if not 0 <= sent <= seconds * _BYTES_PER_SECOND_MAX:
        log.warning("implausible traffic", host=host_id, address=last.public_ip, bytes=sent, seconds=seconds)
        return
    if sent:
        count_usage(tx, last.account_id, last.region, last.public_ip, "egress", sent)
    tx.put(replace(last, bytes_out=reading.bytes_out, read_at=tx.now))


def _new_counter(tx: Transaction, host_id: str, reading: TrafficReading) -> TrafficCounter | None:
    """A counter at zero for an address that an interface on this host has now; None if none has it."""
    address = tx.get(Address, reading.public_ip)
    interface = tx.get(NetworkInterface, reading.interface_id)
    if address is None or interface is None or address.interface_id != interface.id or interface.host_id != host_id:
        return None
    return TrafficCounter(
        host_id=interface.host_id,
        public_ip=address.public_ip,
        epoch=reading.epoch,
        bytes_out=0,
        read_at=address.allocated_at,
        account_id=address.account_id,
        region=address.region,
    )
