"""Giving back public addresses."""

from __future__ import annotations

from freehold.records.feed import publish
from freehold.records.ids import InstanceId
from freehold.records.network import Address, NetworkInterface, addresses, network_interfaces
from freehold.records.store import Transaction
from freehold.records.usage import close_usage


def release(tx: Transaction, address: Address) -> None:
    """Give the address back to the pool; from now on nobody pays for it."""
    close_usage(tx, address.public_ip)
    tx.delete(address)


def release_auto_addresses(tx: Transaction, instance_id: InstanceId) -> None:
    """Release the automatically given addresses of an instance that stops or terminates; Elastic IPs stay.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html ("Public IPv4 addresses")
    """
    for interface in tx.select(NetworkInterface, network_interfaces.c.instance_id == instance_id):
        for address in tx.select(Address, addresses.c.interface_id == interface.id, addresses.c.kind == "auto"):
            release(tx, address)
            publish(tx, "vpc", interface.vpc_id)
