"""What a VPC is in OVN: one pure function from the VPC to the rows of the northbound database.

A VPC with ports is a logical router; a subnet with ports a logical switch whose router port holds the subnet's first
address. Instance metadata and the resolver are a service switch of the VPC, 169.254.169.0/24, with a port that every
host may plug. A
public address is a NAT rule on the router's port on the one public switch of the cloud. Security groups are in
`freehold.fabric.groups`.

    port ── subnet ── router ── public switch ── br-ex ── the machine
                        └── imds switch ── the host's metadata service

AWS: https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html (the router is the first address),
https://docs.aws.amazon.com/vpc/latest/userguide/VPC_DHCP_Options.html (domain name).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from freehold.dns_names import private_domain
from freehold.fabric import groups, match
from freehold.fabric.row import Ref, Row
from freehold.fabric.view import PortView, PublicView, SubnetView, VpcView
from freehold.network.names import PHYSICAL_NETWORK, imds_port, mac_of

IMDS = IPv4Address("169.254.169.254")
RESOLVER = IPv4Address("169.254.169.253")
IMDS_NETWORK = IPv4Network("169.254.169.0/24")
DHCP_LEASE_SECONDS = 3600
GUEST_MTU = 1500

PUBLIC_SWITCH = Ref("Logical_Switch", "freehold-public")


def public_rows() -> dict[Ref, Row]:
    """The rows that all VPCs share: the public switch and its way to br-ex."""
    way_out = Ref("Logical_Switch_Port", "freehold-public-localnet")
    return _named(
        Row(PUBLIC_SWITCH, {"name": PUBLIC_SWITCH.key}),
        Row(
            way_out,
            {
                "name": way_out.key,
                "type": "localnet",
                "addresses": frozenset({"unknown"}),
                "options": {"network_name": PHYSICAL_NETWORK},
            },
            parent=PUBLIC_SWITCH,
        ),
    )


def rows(vpc: VpcView, public: PublicView) -> dict[Ref, Row]:
    """The rows of one VPC, none when it has no port. The same view gives the same rows.

    Raises ValueError for a view that holds anything but ids, addresses, DNS labels and numbers in their ranges.
    """
    if not vpc.ports:
        return {}
    match.symbol(vpc.vpc_id)
    router = Ref("Logical_Router", vpc.vpc_id)
    used = {port.subnet_id for port in vpc.ports}
    result = _named(
        Row(router, {"name": vpc.vpc_id, "options": {"always_learn_from_arp_request": "false"}}),
        # An address of the VPC that no subnet has does not leave by the internet gateway.
        _route(router, f"{vpc.vpc_id}-local", vpc.cidr, "discard"),
        *_imds(vpc.vpc_id, router),
    )
    for subnet in vpc.subnets:
        if subnet.subnet_id in used:
            result |= _named(*_subnet(subnet, router, match.label(vpc.region)))
    for port in vpc.ports:
        result |= _port(port)
    if vpc.internet:
        result |= _named(*_internet(vpc, public, router))
    return result | _named(*groups.rows(vpc, IMDS, RESOLVER))


def _named(*rows: Row) -> dict[Ref, Row]:
    return {row.ref: row for row in rows}


def _route(router: Ref, key: str, network: IPv4Network, nexthop: str) -> Row:
    columns = {"ip_prefix": str(network), "nexthop": nexthop}
    return Row(Ref("Logical_Router_Static_Route", key), columns, parent=router)


def _joined(router: Ref, switch: Ref, network: str, router_options: dict[str, str]) -> Iterator[Row]:
    """A router port in `network` (``10.0.0.1/24``) and its other end on the switch."""
    near = Ref("Logical_Router_Port", f"rtr-{switch.key}" if switch != PUBLIC_SWITCH else f"ext-{router.key}")
    far = Ref("Logical_Switch_Port", f"to-{near.key}")
    yield Row(
        near,
        {"name": near.key, "mac": mac_of(near.key), "networks": frozenset({network})},
        parent=router,
    )
    yield Row(
        far,
        {
            "name": far.key,
            "type": "router",
            "addresses": frozenset({"router"}),
            "options": {"router-port": near.key, **router_options},
        },
        parent=switch,
    )


def _imds(vpc_id: str, router: Ref) -> Iterator[Row]:
    name, mac = imds_port(vpc_id)
    switch = Ref("Logical_Switch", name)
    yield Row(switch, {"name": name})
    yield from _joined(router, switch, f"{IMDS_NETWORK[1]}/{IMDS_NETWORK.prefixlen}", {})
    yield Row(
        Ref("Logical_Switch_Port", name),
        {"name": name, "type": "localport", "addresses": frozenset({f"{mac} {IMDS} {RESOLVER}"})},
        parent=switch,
    )


def _subnet(subnet: SubnetView, router: Ref, region: str) -> Iterator[Row]:
    match.symbol(subnet.subnet_id)
    switch = Ref("Logical_Switch", subnet.subnet_id)
    gateway = subnet.cidr[1]
    yield Row(switch, {"name": subnet.subnet_id})
    # Guests that hold 169.254.0.0/16 to be on their link ask for the addresses themselves.
    yield from _joined(router, switch, f"{gateway}/{subnet.cidr.prefixlen}", {"arp_proxy": f"{IMDS} {RESOLVER}"})
    yield Row(
        Ref("DHCP_Options", subnet.subnet_id),
        {
            "cidr": str(subnet.cidr),
            "options": {
                "server_id": str(gateway),
                "server_mac": mac_of(f"rtr-{subnet.subnet_id}"),
                "lease_time": str(DHCP_LEASE_SECONDS),
                "mtu": str(GUEST_MTU),
                "router": str(gateway),
                # Clients that take option 121 ignore option 3, so the default route is said twice (RFC 3442).
                "classless_static_route": f"{{{IMDS}/32,{gateway}, {RESOLVER}/32,{gateway}, 0.0.0.0/0,{gateway}}}",
                "domain_name": f'"{private_domain(region)}"',
                "dns_server": str(RESOLVER),
            },
        },
    )


@lru_cache(maxsize=100_000)
def _port(port: PortView) -> dict[Ref, Row]:
    match.symbol(port.interface_id)
    addresses = frozenset({f"{_mac(port.mac_address)} {match.network(port.private_ip)}"})
    row = Row(
        Ref("Logical_Switch_Port", port.interface_id),
        {
            "name": port.interface_id,
            "addresses": addresses,
            # Nothing but its own addresses may a guest send, unless it was made a router by its owner.
            "port_security": addresses if port.source_dest_check else frozenset(),
            "dhcpv4_options": Ref("DHCP_Options", port.subnet_id),
            "options": {"hostname": f'"{match.label(port.hostname)}"'},
        },
        parent=Ref("Logical_Switch", port.subnet_id),
    )
    return {row.ref: row}


def _mac(text: str) -> str:
    if bytes.fromhex(text.replace(":", "")).hex(":") != text:
        raise ValueError(f"not a MAC address: {text!r}")
    return text


def _internet(vpc: VpcView, public: PublicView, router: Ref) -> Iterator[Row]:
    """The internet gateway: a port on the public switch, and a public address for each port that has one."""
    natted = [(port, port.public_ip) for port in vpc.ports if port.public_ip is not None]
    if not natted:
        return
    link = public.link_range[vpc.number + 1]  # [1] is br-ex
    yield from _joined(router, PUBLIC_SWITCH, f"{link}/{public.link_range.prefixlen}", {"nat-addresses": "router"})
    port = Ref("Logical_Router_Port", f"ext-{router.key}")
    yield Row(
        Ref("Gateway_Chassis", port.key),
        {"name": port.key, "chassis_name": public.chassis, "priority": 20},
        parent=port,
    )
    yield _route(router, f"{vpc.vpc_id}-internet", IPv4Network("0.0.0.0/0"), str(public.link_range[1]))
    for owner, address in natted:
        yield Row(
            Ref("NAT", owner.interface_id),
            {"type": "dnat_and_snat", "external_ip": match.network(address), "logical_ip": str(owner.private_ip)},
            parent=router,
        )
    # Whatever has no public address would leave with its private one. (Policies come after routing, before NAT.)
    natted_set = f"nat_{match.symbol(vpc.vpc_id)}"
    yield Row(
        Ref("Address_Set", vpc.vpc_id),
        {"name": natted_set, "addresses": frozenset(str(owner.private_ip) for owner, _ in natted)},
    )
    leaving = f'outport == "{port.key}"'
    for priority, what, action in (
        (1001, f"{leaving} && ip4.src == ${natted_set}", "allow"),
        (1000, leaving, "drop"),
    ):
        yield Row(
            Ref("Logical_Router_Policy", f"{vpc.vpc_id}-{action}"),
            {"priority": priority, "match": what, "action": action},
            parent=router,
        )
