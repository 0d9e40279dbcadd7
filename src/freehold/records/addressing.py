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


def take_addresses(tx: Transaction, instance_id: InstanceId, *, keep_elastic: bool) -> None:
    """Release the automatically given addresses of an instance that goes down, and take its Elastic IPs off it unless
    they are to stay with it.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html ("Public IPv4 addresses"),
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/elastic-ip-addresses-eip.html
    """
    for interface in tx.select(NetworkInterface, network_interfaces.c.instance_id == instance_id):
        for address in tx.select(Address, addresses.c.interface_id == interface.id):
            if address.kind == "elastic" and keep_elastic:
                continue
            if address.kind == "elastic":
                tx.update(address, interface_id=None, association_id=None, private_ip=None)
            else:
                release(tx, address)
            publish(tx, "vpc", interface.vpc_id)
