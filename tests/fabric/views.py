"""Views of VPCs for tests."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from freehold.fabric.view import GroupView, PortView, PublicView, RuleView, SubnetView, VpcView

EVERYWHERE = IPv4Network("0.0.0.0/0")
EGRESS = RuleView(True, None, None, None, None, EVERYWHERE, None)


def ingress(
    protocol: int | None,
    ports: tuple[int, int] | None = None,
    network: str | None = None,
    group: str | None = None,
    icmp_type: int | None = None,
) -> RuleView:
    peer = None if group else IPv4Network(network or "0.0.0.0/0")
    return RuleView(False, protocol, ports, icmp_type, None, peer, group)


def interface(number: int) -> str:
    return f"eni-{number:017x}"


def group(number: int) -> str:
    return f"sg-{number:017x}"


def port(
    number: int,
    groups: tuple[str, ...] = (),
    public_ip: IPv4Address | None = None,
    source_dest_check: bool = True,
    subnet: int = 1,
    vpc: int = 1,
) -> PortView:
    """Interface `number` of VPC `vpc`, with the address 10.0.`subnet`.`number` (and further)."""
    address = IPv4Address(f"10.0.{subnet}.0") + number % 65536
    return PortView(
        interface_id=interface(vpc * 65536 + number),
        subnet_id=f"subnet-{vpc * 256 + subnet:017x}",
        mac_address=f"0a:00:{vpc:02x}:{subnet:02x}:{number // 256:02x}:{number % 256:02x}",
        private_ip=address,
        hostname=f"ip-{str(address).replace('.', '-')}",
        group_ids=groups,
        source_dest_check=source_dest_check,
        public_ip=public_ip,
    )


def vpc(*ports: PortView, groups: tuple[GroupView, ...] = (), number: int = 1, internet: bool = True) -> VpcView:
    """VPC `number`, 10.0.0.0/16, with the subnets 10.0.1.0/24 and 10.0.2.0/24."""
    return VpcView(
        vpc_id=f"vpc-{number:017x}",
        number=number,
        cidr=IPv4Network("10.0.0.0/16"),
        region="us-east-1",
        internet=internet,
        subnets=tuple(
            SubnetView(f"subnet-{number * 256 + subnet:017x}", IPv4Network(f"10.0.{subnet}.0/24")) for subnet in (1, 2)
        ),
        ports=ports,
        groups=groups,
    )


PUBLIC = PublicView(IPv4Network("198.51.100.0/24"), IPv4Network("100.64.0.0/16"), "fh00000000")
