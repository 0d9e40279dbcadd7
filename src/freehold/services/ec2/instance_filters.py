"""The filters of DescribeInstances and DescribeInstanceStatus.

Every filter of the reference is here; those on what no instance of this cloud has match nothing.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from freehold.dns_names import private_domain, public_dns_name
from freehold.records.compute import instances, profile_associations, volume_attachments
from freehold.records.network import addresses, interface_groups, network_interfaces, security_groups
from freehold.records.tags import tags
from freehold.services.ec2.filters import (
    Condition,
    absent,
    any_row,
    constant,
    flag,
    matching,
    moment,
    number,
    text,
)
from freehold.services.ec2.instance_states import STATE_CODES
from freehold.services.ec2.regions import zone_id_filter
from freehold.services.operation import Call


def _while_it_exists(condition: Condition) -> Condition:
    """A terminated instance has no network left, so it meets no filter on one."""
    return lambda call, values: sa.and_(instances.c.state != "terminated", condition(call, values))


def _state_code(_call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
    # "The high byte is used for internal purposes and should be ignored" (API reference, instance-state-code).
    codes = {int(value) & 0xFF for value in values if re.fullmatch(r"[0-9]{1,5}", value)}
    return instances.c.state.in_([name for name, code in STATE_CODES.items() if code in codes])


IP_OWNER = sa.case((addresses.c.kind == "elastic", addresses.c.account_id), else_="amazon")


def private_dns(ip: sa.ColumnElement[str]) -> Condition:
    """A filter on the private DNS name of the address in a column."""
    return lambda call, values: matching(
        sa.literal("ip-") + sa.func.replace(ip, ".", "-") + f".{private_domain(call.region)}", values
    )


def public_dns(ip: sa.ColumnElement[str]) -> Condition:
    """A filter on the public DNS name of the address in a column."""

    def condition(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
        before, after = public_dns_name(call.region, "@").split("@")
        return matching(sa.literal(before) + sa.func.replace(ip, ".", "-") + after, values)

    return condition


class _Member(sa.sql.functions.FunctionElement[str]):
    """A member of an object in a JSON column, as text: ``_Member(instances.c.state_reason, "code")``."""

    type = sa.Text()
    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any], name: str) -> None:
        super().__init__(column, sa.literal(name))


@compiles(_Member)
def _member(element: _Member, compiler: Any, **options: Any) -> str:
    column, name = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(CAST({column} AS json) ->> {name})"


@compiles(_Member, "sqlite")
def _member_sqlite(element: _Member, compiler: Any, **options: Any) -> str:
    column, name = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST({column} ->> {name} AS TEXT)"


def _metadata_option(name: str) -> Condition:
    return text(_Member(instances.c.metadata_options, name))


def _volume(that: Condition) -> Condition:
    return any_row(volume_attachments, volume_attachments.c.instance_id == instances.c.id, that=that)


def _interface(that: Condition) -> Condition:
    return any_row(network_interfaces, network_interfaces.c.instance_id == instances.c.id, that=that)


def _address(that: Condition) -> Condition:
    held = addresses.join(network_interfaces, addresses.c.interface_id == network_interfaces.c.id)
    return any_row(held, network_interfaces.c.instance_id == instances.c.id, that=that)


def _group(that: Condition) -> Condition:
    member = network_interfaces.join(interface_groups, interface_groups.c.interface_id == network_interfaces.c.id).join(
        security_groups, security_groups.c.id == interface_groups.c.group_id
    )
    return any_row(member, network_interfaces.c.instance_id == instances.c.id, that=that)


def _interface_tag(that: Condition) -> Condition:
    tagged = network_interfaces.join(tags, tags.c.resource_id == network_interfaces.c.id)
    return any_row(tagged, network_interfaces.c.instance_id == instances.c.id, that=that)


def _profile(that: Condition) -> Condition:
    return any_row(profile_associations, profile_associations.c.instance_id == instances.c.id, that=that)


def _interface_address(prefix: str) -> dict[str, Condition]:
    """The filters on the association of an interface's address, which EC2 has in two places."""
    return {
        f"{prefix}.allocation-id": _address(text(addresses.c.allocation_id)),
        f"{prefix}.association-id": _address(text(addresses.c.association_id)),
        f"{prefix}.carrier-ip": absent,
        f"{prefix}.customer-owned-ip": absent,
        f"{prefix}.ip-owner-id": _address(text(IP_OWNER)),
        f"{prefix}.public-dns-name": _address(public_dns(addresses.c.public_ip)),
        f"{prefix}.public-ip": _address(text(addresses.c.public_ip)),
    }


_PRIVATE_IP = network_interfaces.c.private_ip
_ABSENT = (
    "affinity",
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn",
    "host-id",
    "ipv6-address",
    "kernel-id",
    "network-interface.ipv4-prefixes.ipv4-prefix",
    "network-interface.ipv6-address",
    "network-interface.ipv6-addresses.ipv6-address",
    "network-interface.ipv6-addresses.is-primary-ipv6",
    "network-interface.ipv6-prefixes.ipv6-prefix",
    "network-interface.operator.principal",
    "network-interface.outpost-arn",
    "network-interface.requester-id",
    "operator.principal",
    "outpost-arn",
    "platform",
    "product-code",
    "product-code.type",
    "ramdisk-id",
    "requester-id",
    "tpm-support",
)

STATUS_FILTERS: dict[str, Condition] = {
    "availability-zone": text(instances.c.zone),
    "availability-zone-id": zone_id_filter(instances.c.zone),
    "instance-state-code": _state_code,
    "instance-state-name": text(instances.c.state),
    "operator.managed": constant("false"),
    "operator.principal": absent,
}
"""Those that DescribeInstanceStatus has in common with DescribeInstances."""

FILTERS: dict[str, Condition] = {
    **dict.fromkeys(_ABSENT, absent),
    **STATUS_FILTERS,
    **_interface_address("network-interface.association"),
    **_interface_address("network-interface.addresses.association"),
    "architecture": constant("x86_64"),
    "block-device-mapping.attach-time": _volume(moment(volume_attachments.c.attached_at)),
    "block-device-mapping.delete-on-termination": _volume(flag(volume_attachments.c.delete_on_termination)),
    "block-device-mapping.device-name": _volume(text(volume_attachments.c.device)),
    "block-device-mapping.status": _volume(text(volume_attachments.c.state)),
    "block-device-mapping.volume-id": _volume(text(volume_attachments.c.volume_id)),
    "boot-mode": text(instances.c.boot_mode),
    "capacity-reservation-id": text(instances.c.capacity_reservation_id),
    "capacity-reservation-specification.capacity-reservation-preference": text(
        _Member(instances.c.capacity, "preference")
    ),
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id": text(
        _Member(instances.c.capacity, "target")
    ),
    "client-token": text(instances.c.client_token),
    "current-instance-boot-mode": text(instances.c.boot_mode),
    "dns-name": _address(public_dns(addresses.c.public_ip)),
    "ebs-optimized": flag(instances.c.ebs_optimized),
    "ena-support": constant("false"),
    "enclave-options.enabled": constant("false"),
    "group-id": _group(text(security_groups.c.id)),
    "group-name": _group(text(security_groups.c.name)),
    "hibernation-options.configured": flag(instances.c.hibernation_configured),
    "hypervisor": constant("xen"),
    "iam-instance-profile.arn": _profile(text(profile_associations.c.profile_arn)),
    "iam-instance-profile.id": _profile(text(profile_associations.c.profile_id)),
    "iam-instance-profile.name": _profile(text(profile_associations.c.profile_name)),
    "image-id": text(instances.c.image_id),
    "instance-id": text(instances.c.id),
    "instance-lifecycle": text(sa.case((instances.c.spot_request_id.is_not(None), "spot"))),
    "instance-type": text(instances.c.instance_type),
    "instance.group-id": _group(text(security_groups.c.id)),
    "instance.group-name": _group(text(security_groups.c.name)),
    "ip-address": _address(text(addresses.c.public_ip)),
    "key-name": text(instances.c.key_name),
    "launch-index": number(instances.c.launch_index),
    "launch-time": moment(instances.c.launched_at),
    "maintenance-options.auto-recovery": text(instances.c.auto_recovery),
    "metadata-options.http-endpoint": _metadata_option("http_endpoint"),
    "metadata-options.http-protocol-ipv4": _metadata_option("http_endpoint"),
    "metadata-options.http-protocol-ipv6": _metadata_option("http_protocol_ipv6"),
    "metadata-options.http-put-response-hop-limit": _metadata_option("http_put_response_hop_limit"),
    "metadata-options.http-tokens": _metadata_option("http_tokens"),
    "metadata-options.instance-metadata-tags": _metadata_option("instance_metadata_tags"),
    "metadata-options.state": constant("applied"),
    "monitoring-state": lambda call, values: matching(
        sa.case((instances.c.monitoring, "enabled"), else_="disabled"), values
    ),
    "network-interface.addresses.primary": _interface(constant("true")),
    "network-interface.addresses.private-dns-name": _interface(private_dns(_PRIVATE_IP)),
    "network-interface.addresses.private-ip-address": _interface(text(_PRIVATE_IP)),
    "network-interface.attachment.attach-time": _interface(moment(network_interfaces.c.attached_at)),
    "network-interface.attachment.attachment-id": _interface(text(network_interfaces.c.attachment_id)),
    "network-interface.attachment.delete-on-termination": _interface(flag(network_interfaces.c.delete_on_termination)),
    "network-interface.attachment.device-index": _interface(number(network_interfaces.c.device_index)),
    "network-interface.attachment.instance-id": _interface(text(network_interfaces.c.instance_id)),
    "network-interface.attachment.instance-owner-id": _interface(text(network_interfaces.c.account_id)),
    "network-interface.attachment.network-card-index": _interface(constant("0")),
    "network-interface.attachment.status": _interface(constant("attached")),
    "network-interface.availability-zone": _interface(text(network_interfaces.c.zone)),
    "network-interface.deny-all-igw-traffic": _interface(constant("false")),
    "network-interface.description": _interface(text(network_interfaces.c.description)),
    "network-interface.group-id": _group(text(security_groups.c.id)),
    "network-interface.group-name": _group(text(security_groups.c.name)),
    "network-interface.ipv6-native": _interface(constant("false")),
    "network-interface.mac-address": _interface(text(network_interfaces.c.mac_address)),
    "network-interface.network-interface-id": _interface(text(network_interfaces.c.id)),
    "network-interface.operator.managed": _interface(constant("false")),
    "network-interface.owner-id": _interface(text(network_interfaces.c.account_id)),
    "network-interface.private-dns-name": _interface(private_dns(_PRIVATE_IP)),
    "network-interface.private-ip-address": _interface(text(_PRIVATE_IP)),
    "network-interface.public-dns-name": _address(public_dns(addresses.c.public_ip)),
    "network-interface.requester-managed": _interface(constant("false")),
    "network-interface.source-dest-check": _interface(flag(network_interfaces.c.source_dest_check)),
    "network-interface.status": _interface(constant("in-use")),
    "network-interface.subnet-id": _interface(text(network_interfaces.c.subnet_id)),
    "network-interface.tag-key": _interface_tag(text(tags.c.key)),
    "network-interface.tag-value": _interface_tag(text(tags.c.value)),
    "network-interface.vpc-id": _interface(text(network_interfaces.c.vpc_id)),
    "network-performance-options.bandwidth-weighting": constant("default"),
    "owner-id": text(instances.c.account_id),
    "placement-group-name": text(instances.c.placement_group_name),
    "placement-partition-number": number(instances.c.partition_number),
    "platform-details": constant("Linux/UNIX"),
    "private-dns-name": _while_it_exists(private_dns(instances.c.private_ip)),
    "private-dns-name-options.enable-resource-name-dns-a-record": constant("false"),
    "private-dns-name-options.enable-resource-name-dns-aaaa-record": constant("false"),
    "private-dns-name-options.hostname-type": constant("ip-name"),
    "private-ip-address": _while_it_exists(text(instances.c.private_ip)),
    "reason": text(instances.c.state_transition_reason),
    "reservation-id": text(instances.c.reservation_id),
    "root-device-name": text(instances.c.root_device_name),
    "root-device-type": constant("ebs"),
    "source-dest-check": _interface(flag(network_interfaces.c.source_dest_check)),
    "spot-instance-request-id": text(instances.c.spot_request_id),
    "state-reason-code": text(_Member(instances.c.state_reason, "code")),
    "state-reason-message": text(_Member(instances.c.state_reason, "message")),
    "subnet-id": _while_it_exists(text(instances.c.subnet_id)),
    "tenancy": constant("default"),
    "usage-operation": constant("RunInstances"),
    "usage-operation-update-time": _interface(moment(network_interfaces.c.attached_at)),
    "virtualization-type": constant("hvm"),
    "vpc-id": _while_it_exists(text(instances.c.vpc_id)),
}
"""`tag:<key>` and `tag-key` are added by `filters.conditions`."""
