"""Public addresses: those that an interface is given at launch, and Elastic IPs."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Literal

import sqlalchemy as sa

from freehold.records.feed import publish
from freehold.records.network import Address, NetworkInterface, addresses
from freehold.records.usage import open_usage
from freehold.services.ec2.errors import InsufficientAddressCapacity
from freehold.services.ec2.free_address import free_address
from freehold.services.operation import Call

_FIRST = 3
"""The first address of the pool that is given out: the network's own, its gateway and the machine come before."""


def allocate_auto(call: Call, interface: NetworkInterface) -> Address:
    """Give the interface a public address until its instance stops.

    If it has one already, an Elastic IP that outlived the stop, that is the answer. Raises
    InsufficientAddressCapacity. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html
    """
    held = call.tx.find(Address, addresses.c.interface_id == interface.id)
    if held is not None:
        return held
    # Published first: on PostgreSQL that makes those who will publish take turns, so that none of them waits for an
    # address that another has just inserted while the other waits to publish.
    _changed(call, interface)
    return _allocate(call, "auto", interface)


def _allocate(
    call: Call,
    kind: Literal["elastic", "auto"],
    interface: NetworkInterface | None = None,
    allocation_id: str | None = None,
) -> Address:
    pool = IPv4Network(call.config.network.public_pool)
    while (public_ip := free_address(call.tx, pool, _FIRST, addresses.c.public_ip)) is not None:
        address = Address(
            public_ip=public_ip,
            account_id=call.account_id,
            region=call.region,
            kind=kind,
            allocation_id=allocation_id,
            association_id=None,
            interface_id=interface.id if interface else None,
            private_ip=interface.private_ip if interface else None,
            allocated_at=call.now,
        )
        try:
            with call.tx.connection.begin_nested():
                call.tx.insert(address)
        except sa.exc.IntegrityError:
            continue  # on PostgreSQL: another transaction took the same one, and has now committed
        open_usage(call.tx, call.account_id, call.region, public_ip, "address")
        return address
    raise InsufficientAddressCapacity


def _changed(call: Call, interface: NetworkInterface) -> None:
    """Tell the fabric, and the host of the instance, whose metadata shows the address."""
    publish(call.tx, "vpc", interface.vpc_id)
    if interface.instance_id is not None:
        publish(call.tx, "guest", interface.instance_id)
