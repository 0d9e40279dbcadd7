"""From records to what a host is told: one `GuestSpec` per instance on it, and the volumes that it is to make or delete
though they are no instance's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa

from freehold.config import Config
from freehold.control.disk_limits import disk_limits
from freehold.dns_names import private_dns_name
from freehold.host.wire import (
    ConnectKeySpec,
    CopySpec,
    CreditSpec,
    EventSpec,
    GuestSpec,
    InterfaceSpec,
    InterruptionSpec,
    MetadataSpec,
    SnapshotSpec,
    VolumeSpec,
)
from freehold.instance_types import find
from freehold.records.compute import (
    Instance,
    InstanceState,
    InstanceUserData,
    KeyPair,
    Volume,
    VolumeAttachment,
    instance_user_data,
    instances,
    key_pairs,
    volumes,
)
from freehold.records.connect import ConnectKey, connect_keys
from freehold.records.events import SHOWN, InstanceEvent, instance_events
from freehold.records.network import (
    Address,
    InterfaceGroup,
    NetworkInterface,
    SecurityGroup,
    Subnet,
    Vpc,
    addresses,
    interface_groups,
    network_interfaces,
    security_groups,
    subnets,
    vpcs,
)
from freehold.records.snapshots import DoomedSnapshot, Snapshot, doomed_snapshots, snapshots
from freehold.records.store import Transaction
from freehold.records.tags import tags_of
from freehold.records.volumes import goes_with

_DESIRED: dict[InstanceState, Literal["running", "stopped", "absent"]] = {
    "pending": "running",
    "running": "running",
    "stopping": "stopped",
    "stopped": "stopped",
    "shutting-down": "absent",
    "terminated": "absent",
}


def instances_of_host(tx: Transaction, host_id: str) -> list[Instance]:
    """All that should be on a host."""
    return tx.select(Instance, instances.c.host_id == host_id, instances.c.state != "terminated")


def volumes_to_delete(tx: Transaction, host_id: str, *among: sa.ColumnElement[bool]) -> tuple[str, ...]:
    """The volumes on a host that are to be deleted though no instance goes with them."""
    doomed = tx.select(Volume, volumes.c.host_id == host_id, volumes.c.state == "deleting", *among)
    return tuple(volume.id for volume in doomed)


def snapshots_to_take(tx: Transaction, host_id: str, *among: sa.ColumnElement[bool]) -> list[Snapshot]:
    """The snapshots that a host is to take."""
    return tx.select(
        Snapshot, snapshots.c.host_id == host_id, snapshots.c.state == "pending", ~snapshots.c.writing, *among
    )


def snapshot_specs(pending: Sequence[Snapshot]) -> tuple[SnapshotSpec, ...]:
    """Of those that are taken of volumes."""
    return tuple(
        SnapshotSpec(each.id, each.volume_id, each.instant, each.encrypted, each.at_rest)
        for each in pending
        if each.source_id is None
    )


def copy_specs(pending: Sequence[Snapshot]) -> tuple[CopySpec, ...]:
    """Of those that are copies."""
    return tuple(
        CopySpec(each.id, each.source_id, each.rewritten, each.encrypted)
        for each in pending
        if each.source_id is not None
    )


def snapshots_to_delete(tx: Transaction, host_id: str, *among: sa.ColumnElement[bool]) -> tuple[str, ...]:
    """The snapshots that a host is to delete."""
    return tuple(each.snapshot_id for each in tx.select(DoomedSnapshot, doomed_snapshots.c.host_id == host_id, *among))


def volumes_to_make(tx: Transaction, host_id: str, *among: sa.ColumnElement[bool]) -> list[Volume]:
    """The volumes that are to be on a host and are no instance's yet; of copies, those whose data is fixed."""
    awaited = sa.exists().where(snapshots.c.id == volumes.c.snapshot_id, snapshots.c.state == "pending")
    return tx.select(Volume, volumes.c.host_id == host_id, volumes.c.state == "creating", ~awaited, *among)


def volume_spec(volume: Volume, device: str = "", *, boot: bool = False) -> VolumeSpec:
    return VolumeSpec(
        volume_id=volume.id,
        size_gib=volume.size_gib,
        image_id=volume.image_id if volume.snapshot_id is None else None,
        device=device,
        boot=boot,
        encrypted=volume.encrypted,
        snapshot_id=volume.snapshot_id,
        shared=volume.multi_attach_enabled,
        limits=disk_limits(volume.volume_type, volume.size_gib, volume.iops, volume.throughput_mibps),
    )


def _interruption(instance: Instance) -> InterruptionSpec | None:
    told = instance.interruption
    return None if told is None else InterruptionSpec(told.action, told.at, told.noticed_at)


def guest_specs(tx: Transaction, config: Config, wanted: Sequence[Instance]) -> tuple[GuestSpec, ...]:
    """The specs of many instances, each kind of record read once for all of them."""
    ids = [instance.id for instance in wanted]
    attachments_of: dict[str, list[VolumeAttachment]] = defaultdict(list)
    for attachment in tx.select(VolumeAttachment, instance_id=ids):
        attachments_of[attachment.instance_id].append(attachment)
    volume_ids = [each.volume_id for attachments in attachments_of.values() for each in attachments]
    volume_of = {volume.id: volume for volume in tx.select(Volume, id=volume_ids)}
    interfaces_of: dict[str, list[NetworkInterface]] = defaultdict(list)
    for interface in tx.select(NetworkInterface, network_interfaces.c.instance_id.in_(ids)):
        interfaces_of[interface.instance_id or ""].append(interface)
    interface_ids = [interface.id for found in interfaces_of.values() for interface in found]
    public_ip_of = {
        address.interface_id: address.public_ip
        for address in tx.select(Address, addresses.c.interface_id.in_(interface_ids))
    }
    groups_of: dict[str, list[tuple[str, str]]] = defaultdict(list)
    members = tx.select(
        InterfaceGroup,
        interface_groups.c.interface_id.in_(interface_ids),
        order_by=(interface_groups.c.interface_id, interface_groups.c.position),
    )
    group_names = {
        group.id: group.name
        for group in tx.select(SecurityGroup, security_groups.c.id.in_({member.group_id for member in members}))
    }
    for member in members:
        groups_of[member.interface_id].append((member.group_id, group_names[member.group_id]))
    subnet_cidrs = {
        subnet.id: subnet.cidr
        for subnet in tx.select(Subnet, subnets.c.id.in_({instance.subnet_id for instance in wanted}))
    }
    vpc_cidrs = {vpc.id: vpc.cidr for vpc in tx.select(Vpc, vpcs.c.id.in_({instance.vpc_id for instance in wanted}))}
    user_data = {
        row.instance_id: row.data for row in tx.select(InstanceUserData, instance_user_data.c.instance_id.in_(ids))
    }
    tags = tags_of(tx, [i.id for i in wanted if i.metadata_options.instance_metadata_tags == "enabled"])
    public_keys = {
        (key.account_id, key.region, key.name): key.public_key
        for key in tx.select(KeyPair, key_pairs.c.name.in_({i.key_name for i in wanted if i.key_name}))
    }
    events_of: dict[str, list[EventSpec]] = defaultdict(list)
    shown = sa.or_(instance_events.c.ended_at.is_(None), instance_events.c.ended_at > tx.now - SHOWN)
    for event in tx.select(
        InstanceEvent, instance_events.c.instance_id.in_(ids), shown, order_by=[instance_events.c.not_before]
    ):
        spec = EventSpec(event.id, event.code, event.description, event.not_before, event.not_after, event.state)
        events_of[event.instance_id].append(spec)
    keys_of: dict[str, list[ConnectKeySpec]] = defaultdict(list)
    for key in tx.select(ConnectKey, connect_keys.c.instance_id.in_(ids), connect_keys.c.expires_at > tx.now):
        sent = ConnectKeySpec(key.os_user, key.public_key, key.expires_at, key.id, key.caller_arn)
        keys_of[key.instance_id].append(sent)

    at_rest: dict[str, list[str]] = defaultdict(list)
    instances_of: dict[str, list[str]] = defaultdict(list)
    for attachment in (each for found in attachments_of.values() for each in found):
        instances_of[attachment.volume_id].append(attachment.instance_id)
    for snapshot in tx.select(
        Snapshot, snapshots.c.volume_id.in_(list(instances_of)), snapshots.c.at_rest, state="pending"
    ):
        for instance_id in instances_of[snapshot.volume_id]:
            at_rest[instance_id].append(snapshot.id)

    def interface_spec(interface: NetworkInterface) -> InterfaceSpec:
        return InterfaceSpec(
            interface_id=interface.id,
            vpc_id=interface.vpc_id,
            subnet_id=interface.subnet_id,
            mac_address=interface.mac_address,
            private_ip=interface.private_ip,
            subnet_cidr=subnet_cidrs[interface.subnet_id],
            vpc_cidr=vpc_cidrs[interface.vpc_id],
            public_ip=public_ip_of.get(interface.id),
            device_index=interface.device_index,
            security_groups=tuple(groups_of[interface.id]),
        )

    def guest_spec(instance: Instance) -> GuestSpec:
        attached = [each for each in attachments_of[instance.id] if each.state != "detaching"]
        detaching = [each for each in attachments_of[instance.id] if each.state == "detaching"]
        public_key = public_keys.get((instance.account_id, instance.region, instance.key_name or ""))
        options = instance.metadata_options
        return GuestSpec(
            instance_id=instance.id,
            generation=instance.generation,
            desired=_DESIRED[instance.state],
            vcpus=instance.core_count or instance.vcpus,
            memory_mib=instance.memory_mib,
            reboots=instance.reboots,
            credits=_credits(config, instance),
            hibernate=instance.hibernate and not instance.force_stop,
            shutdown_grace_seconds=0 if instance.force_stop else config.compute.shutdown_grace_seconds,
            volumes=tuple(
                volume_spec(volume_of[each.volume_id], each.device, boot=each.device == instance.root_device_name)
                for each in attached
            ),
            auto_recovery=instance.auto_recovery == "default",
            delete_volumes=tuple(each.volume_id for each in attached if goes_with(volume_of[each.volume_id], each)),
            detach=tuple(each.volume_id for each in detaching),
            torn_out=tuple(each.volume_id for each in detaching if each.forced),
            interfaces=tuple(
                interface_spec(i) for i in sorted(interfaces_of[instance.id], key=lambda i: i.device_index)
            ),
            metadata=MetadataSpec(
                account_id=instance.account_id,
                region=instance.region,
                zone=instance.zone,
                image_id=instance.image_id,
                instance_type=instance.instance_type,
                reservation_id=instance.reservation_id,
                launch_index=instance.launch_index,
                hostname=private_dns_name(instance.region, instance.private_ip),
                public_keys=((instance.key_name, public_key),) if instance.key_name and public_key else (),
                user_data=user_data.get(instance.id),
                tags={t.key: t.value for t in tags[instance.id]} if instance.id in tags else None,
                launched_at=instance.launched_at,
                http_tokens=options.http_tokens,
                http_put_response_hop_limit=options.http_put_response_hop_limit,
                http_endpoint=options.http_endpoint,
                events=tuple(events_of[instance.id]),
                connect_keys=tuple(keys_of[instance.id]),
                placement_group=instance.placement_group_name,
                partition_number=instance.partition_number,
                spot=instance.spot_request_id is not None,
                interruption=_interruption(instance),
            ),
            kernel_image_id=instance.kernel_image_id,
            boot_mode=instance.boot_mode,
            snapshots_at_rest=tuple(at_rest[instance.id]),
        )

    return tuple(guest_spec(instance) for instance in wanted)


def _credits(config: Config, instance: Instance) -> CreditSpec | None:
    kind = find(config, instance.instance_type)
    if kind is None or not kind.credits_per_hour:
        return None
    return CreditSpec(kind.credits_per_hour, instance.cpu_credits == "unlimited", config.compute.credit_clock)
