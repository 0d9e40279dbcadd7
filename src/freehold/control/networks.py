"""From records to the fabric: the view of one VPC, and the controller that keeps OVN to it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

import sqlalchemy as sa
import structlog

from freehold.dns_names import private_dns_name
from freehold.fabric.differ import Fabric
from freehold.fabric.rows import rows
from freehold.fabric.view import GroupView, PortView, PublicView, RuleView, SubnetView, VpcView
from freehold.records.network import (
    InternetGateway,
    NetworkInterface,
    RouteTable,
    SecurityGroupRule,
    Subnet,
    Vpc,
    addresses,
    interface_groups,
    internet_gateways,
    network_interfaces,
    route_tables,
    security_group_rules,
    subnets,
)
from freehold.records.store import Store, Transaction

log = structlog.get_logger()

_PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58}


def vpc_view(tx: Transaction, vpc_id: str) -> VpcView | None:
    """The VPC as the fabric sees it; None when it is gone or nothing is plugged in it."""
    vpc = tx.get(Vpc, vpc_id)
    interfaces = tx.select(
        NetworkInterface, network_interfaces.c.vpc_id == vpc_id, network_interfaces.c.host_id.is_not(None)
    )
    if vpc is None or not interfaces:
        return None
    plugged = network_interfaces.c.vpc_id == vpc_id
    groups_of: dict[str, list[str]] = defaultdict(list)
    members = tx.connection.execute(
        interface_groups.select()
        .join(network_interfaces, network_interfaces.c.id == interface_groups.c.interface_id)
        .where(plugged)
        .order_by(interface_groups.c.interface_id, interface_groups.c.position)
    )
    for member in members:
        groups_of[member.interface_id].append(member.group_id)
    public_ip_of = {
        row.interface_id: IPv4Address(row.public_ip)
        for row in tx.connection.execute(
            addresses.select()
            .join(network_interfaces, network_interfaces.c.id == addresses.c.interface_id)
            .where(plugged)
        )
    }
    return VpcView(
        vpc_id=vpc.id,
        number=vpc.number,
        cidr=IPv4Network(vpc.cidr),
        region=vpc.region,
        internet=_reaches_internet(tx, vpc.id),
        subnets=tuple(
            SubnetView(subnet.id, IPv4Network(subnet.cidr)) for subnet in tx.select(Subnet, subnets.c.vpc_id == vpc.id)
        ),
        ports=tuple(
            PortView(
                interface_id=interface.id,
                subnet_id=interface.subnet_id,
                mac_address=interface.mac_address,
                private_ip=IPv4Address(interface.private_ip),
                hostname=private_dns_name(vpc.region, interface.private_ip).partition(".")[0],
                group_ids=tuple(groups_of[interface.id]),
                source_dest_check=interface.source_dest_check,
                public_ip=public_ip_of.get(interface.id),
            )
            for interface in interfaces
        ),
        groups=_groups(tx, {group_id for groups in groups_of.values() for group_id in groups}),
    )


def _reaches_internet(tx: Transaction, vpc_id: str) -> bool:
    gateway = tx.find(InternetGateway, internet_gateways.c.vpc_id == vpc_id)
    main = tx.find(RouteTable, route_tables.c.vpc_id == vpc_id, route_tables.c.main_association_id.is_not(None))
    return (
        gateway is not None
        and main is not None
        and any(route.destination == "0.0.0.0/0" and route.target == gateway.id for route in main.routes)
    )


def _groups(tx: Transaction, in_use: set[str]) -> tuple[GroupView, ...]:
    """The groups that ports are in, with their rules, and the groups that those rules refer to."""
    rules_of: dict[str, list[RuleView]] = {group_id: [] for group_id in in_use}
    for rule in tx.select(SecurityGroupRule, security_group_rules.c.group_id.in_(in_use)):
        if rule.cidr_ipv6 is None:  # guests have no IPv6: such a rule admits nothing
            rules_of[rule.group_id].append(_rule(rule))
    referenced = {rule.peer_group_id for rules in rules_of.values() for rule in rules if rule.peer_group_id}
    for group_id in referenced - in_use:
        rules_of[group_id] = []
    return tuple(GroupView(group_id, tuple(rules)) for group_id, rules in sorted(rules_of.items()))


def _rule(rule: SecurityGroupRule) -> RuleView:
    protocol = None if rule.protocol == "-1" else _PROTOCOL_NUMBERS.get(rule.protocol) or int(rule.protocol)
    has_ports = protocol in (6, 17) and rule.from_port >= 0
    is_icmp = protocol == 1
    return RuleView(
        is_egress=rule.is_egress,
        protocol=protocol,
        ports=(rule.from_port, rule.to_port) if has_ports else None,
        icmp_type=rule.from_port if is_icmp and rule.from_port >= 0 else None,
        icmp_code=rule.to_port if is_icmp and rule.to_port >= 0 else None,
        peer_network=IPv4Network(rule.cidr_ipv4) if rule.cidr_ipv4 else None,
        peer_group_id=rule.referenced_group_id,
    )


class NetworkController:
    """Keeps OVN to the records, one VPC at a time, in the one thread that `Fabric` may be used by.

    It is told only which VPCs to look at again; at start it looks at all, so start-up and repair are the same path.
    """

    _RETRY_SECONDS = 1.0

    def __init__(self, store: Store, fabric: Fabric, public: PublicView) -> None:
        self._store = store
        self._fabric = fabric
        self._public = public
        self._changed = threading.Condition()
        self._dirty: set[str] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def look_at(self, vpc_ids: Iterable[str]) -> None:
        with self._changed:
            self._dirty.update(vpc_ids)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        all_seen = False
        while not self._closing:
            vpc_id = None
            try:
                if not all_seen:
                    self._look_at_all()
                    all_seen = True
                if vpc_id := self._next():
                    with self._store.read() as tx:
                        view = vpc_view(tx, vpc_id)
                    self._fabric.apply(vpc_id, rows(view, self._public) if view else {})
            except Exception:
                # Whatever it was (OVN restarting, the database away), the VPC stays on the list until it is right.
                log.exception("network not applied, trying again", vpc=vpc_id)
                self.look_at([vpc_id] if vpc_id else [])
                time.sleep(self._RETRY_SECONDS)
        self._fabric.close()

    def _next(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._dirty or self._closing)
            return self._dirty.pop() if self._dirty else None

    def _look_at_all(self) -> None:
        """Look at every VPC that has something plugged, and at every one that OVN has."""
        in_use = sa.select(network_interfaces.c.vpc_id).where(network_interfaces.c.host_id.is_not(None)).distinct()
        with self._store.read() as tx:
            plugged = set(tx.connection.scalars(in_use))
        self.look_at(plugged | self._fabric.vpcs_present())
