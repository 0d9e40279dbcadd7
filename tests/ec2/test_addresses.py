"""Public addresses: what is given out, to whom, and what it does to interfaces."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address

from freehold.config import Config, Network
from freehold.records.feed import since
from freehold.records.ids import InstanceId, new_id
from freehold.records.network import Address, NetworkInterface, Subnet, subnets
from freehold.records.store import Store, Transaction
from freehold.records.usage import UsageEntry, usage
from freehold.services.ec2.addresses import allocate_auto
from freehold.services.ec2.interfaces import create_primary_interface
from tests.ec2.calls import Caller, refused
from tests.ec2.conftest import opened

SMALL = Config(network=Network(public_pool="198.51.100.0/29"))


def make_interface(caller: Caller, tx: Transaction) -> NetworkInterface:
    """An interface of an instance that is about to be launched."""
    call = caller.call(tx, "RunInstances")
    subnet = tx.find(Subnet, subnets.c.account_id == caller.account, subnets.c.region == caller.region)
    assert subnet is not None
    return create_primary_interface(call, subnet, InstanceId(new_id("i")))


def test_a_launch_gets_an_address_of_the_pool_and_pays_for_it(caller: Caller) -> None:
    with caller.store.write() as tx:
        interface = make_interface(caller, tx)
        address = allocate_auto(caller.call(tx, "RunInstances"), interface)
        assert allocate_auto(caller.call(tx, "RunInstances"), interface) == address
        (entry,) = tx.select(UsageEntry, usage.c.resource_id == address.public_ip)
        assert (entry.item, entry.quantity, entry.opened_at, entry.closed_at) == ("address", 1, tx.now, None)
        told = since(tx, 0, ("vpc", "guest"))[1]
        assert {("vpc", interface.vpc_id), ("guest", interface.instance_id)} <= told
    (shown,) = caller.describe_network_interfaces()["NetworkInterfaces"]
    assert shown["Association"]["PublicIp"] == address.public_ip
    assert shown["Association"]["IpOwnerId"] == "amazon"
    assert "AllocationId" not in shown["Association"]
    assert IPv4Address("203.0.113.2") < IPv4Address(address.public_ip) < IPv4Address("203.0.113.255")


def test_the_pool_is_given_out_to_its_last_address_and_no_further(store: Store) -> None:
    caller = opened(store, "111122223333")
    caller.config = SMALL
    with store.write() as tx:
        given = {allocate_auto(caller.call(tx, "RunInstances"), make_interface(caller, tx)).public_ip for _ in range(4)}
        # Not .0 (the network), .1 (the gateway), .2 (the machine) nor .7 (broadcast).
        assert given == {f"198.51.100.{n}" for n in (3, 4, 5, 6)}
        interface = make_interface(caller, tx)
        with refused("InsufficientAddressCapacity"):
            allocate_auto(caller.call(tx, "RunInstances"), interface)


def test_launches_at_once_get_different_addresses(store: Store) -> None:
    caller = opened(store, "111122223333")
    caller.config = Config(network=Network(public_pool="198.51.100.0/28"))
    given: list[Address] = []

    def launch() -> None:
        for _ in range(3):
            with store.write() as tx:
                given.append(allocate_auto(caller.call(tx, "RunInstances"), make_interface(caller, tx)))

    threads = [threading.Thread(target=launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({address.public_ip for address in given}) == 12
