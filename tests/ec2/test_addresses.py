"""Public addresses: what is given out, to whom, and what it does to interfaces."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from freehold.config import Config, Network
from freehold.quotas import ELASTIC_IPS
from freehold.records.compute import Instance
from freehold.records.feed import position, since
from freehold.records.ids import InstanceId, new_id
from freehold.records.network import Address, InternetGateway, NetworkInterface, Subnet, network_interfaces, subnets
from freehold.records.store import Store, Transaction
from freehold.records.usage import UsageEntry, usage
from freehold.services.ec2.addresses import allocate_auto
from freehold.services.ec2.interfaces import create_primary_interface
from tests.cloudapi import api_server
from tests.control.builders import make_instance
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


def launched(caller: Caller, number: int = 5, state: str = "running") -> tuple[Instance, NetworkInterface, str]:
    """An instance of the default VPC at 10.0.0.<number>, its interface, and the public address it was given."""
    with caller.store.write() as tx:
        subnet = tx.find(Subnet, subnets.c.account_id == caller.account, subnets.c.region == caller.region)
        assert subnet is not None
        instance = make_instance(tx, number, vpc_id=subnet.vpc_id, subnet_id=subnet.id, state=state)
        interface = tx.find(NetworkInterface, network_interfaces.c.instance_id == instance.id)
        assert interface is not None
        interface = tx.update(interface, auto_public_ip=True)
        return instance, interface, allocate_auto(caller.call(tx, "RunInstances"), interface).public_ip


def held(caller: Caller, public_ip: str) -> bool:
    """Whether the account pays for the address now."""
    with caller.store.read() as tx:
        return tx.find(UsageEntry, usage.c.resource_id == public_ip, usage.c.closed_at.is_(None)) is not None


def public_ip_of(caller: Caller, interface: NetworkInterface) -> str | None:
    (shown,) = caller.describe_network_interfaces(NetworkInterfaceIds=[interface.id])["NetworkInterfaces"]
    public: str | None = shown.get("Association", {}).get("PublicIp")
    return public


def test_an_elastic_ip_takes_the_place_of_the_address_of_the_launch_and_gives_it_back(caller: Caller) -> None:
    instance, interface, first = launched(caller)
    allocated = caller.allocate_address(
        Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": [{"Key": "Name", "Value": "web"}]}]
    )
    assert (allocated["Domain"], allocated["NetworkBorderGroup"]) == ("vpc", "us-east-1")
    public_ip, allocation_id = allocated["PublicIp"], allocated["AllocationId"]
    assert held(caller, public_ip)
    with caller.store.read() as tx:
        before = position(tx)
    association_id = caller.associate_address(AllocationId=allocation_id, InstanceId=instance.id)["AssociationId"]
    with caller.store.read() as tx:
        assert since(tx, before, ("vpc", "guest"))[1] == {("vpc", instance.vpc_id), ("guest", instance.id)}
        assert tx.get(Address, first) is None
    assert not held(caller, first)
    (shown,) = caller.describe_addresses(AllocationIds=[allocation_id])["Addresses"]
    assert shown == {
        "AllocationId": allocation_id,
        "AssociationId": association_id,
        "Domain": "vpc",
        "InstanceId": instance.id,
        "NetworkBorderGroup": "us-east-1",
        "NetworkInterfaceId": interface.id,
        "NetworkInterfaceOwnerId": caller.account,
        "PrivateIpAddress": "10.0.0.5",
        "PublicIp": public_ip,
        "PublicIpv4Pool": "amazon",
        "Tags": [{"Key": "Name", "Value": "web"}],
    }
    again = caller.associate_address(PublicIp=public_ip, NetworkInterfaceId=interface.id, AllowReassociation=False)
    assert again == {"AssociationId": association_id}
    with refused("InvalidIPAddress.InUse"):
        caller.release_address(AllocationId=allocation_id)
    caller.disassociate_address(AssociationId=association_id)
    second = public_ip_of(caller, interface)
    assert second not in (None, public_ip)
    with refused("InvalidAssociationID.NotFound"):
        caller.disassociate_address(AssociationId=association_id)
    caller.release_address(AllocationId=allocation_id, NetworkBorderGroup="us-east-1")
    assert not held(caller, public_ip)
    assert caller.describe_addresses() == {"Addresses": []}
    assert caller.describe_tags() == {"Tags": []}
    with refused("InvalidAllocationID.NotFound"):
        caller.release_address(AllocationId=allocation_id)


def test_an_elastic_ip_moves_between_interfaces_unless_told_not_to(caller: Caller) -> None:
    one, one_interface, _ = launched(caller, 5)
    two, two_interface, _ = launched(caller, 6)
    first, second = caller.allocate_address(), caller.allocate_address()
    caller.associate_address(AllocationId=first["AllocationId"], InstanceId=one.id)
    caller.associate_address(AllocationId=second["AllocationId"], InstanceId=two.id)
    for allocation_id in (first["AllocationId"], second["AllocationId"]):
        for other in (one, two):
            held_already = (allocation_id == first["AllocationId"]) == (other is one)
            if not held_already:
                with refused("Resource.AlreadyAssociated"):
                    caller.associate_address(AllocationId=allocation_id, InstanceId=other.id, AllowReassociation=False)
    caller.associate_address(AllocationId=first["AllocationId"], InstanceId=two.id)
    assert public_ip_of(caller, two_interface) == first["PublicIp"]
    assert public_ip_of(caller, one_interface) not in (None, first["PublicIp"], second["PublicIp"])
    (left,) = caller.describe_addresses(AllocationIds=[second["AllocationId"]])["Addresses"]
    assert "AssociationId" not in left


def test_what_can_not_have_an_address_is_refused(caller: Caller) -> None:
    allocation_id = caller.allocate_address()["AllocationId"]
    for number, state in enumerate(("pending", "shutting-down", "terminated"), 10):
        instance, _, _ = launched(caller, number, state)
        with refused("InvalidInstanceID"):
            caller.associate_address(AllocationId=allocation_id, InstanceId=instance.id)
    instance, interface, _ = launched(caller, 5, "stopped")
    for request, code in (
        ({"InstanceId": instance.id, "NetworkInterfaceId": interface.id}, "InvalidParameterCombination"),
        ({}, "MissingParameter"),
        ({"InstanceId": instance.id, "PublicIp": "203.0.113.9"}, "InvalidParameterCombination"),
        ({"InstanceId": "i-0123456789abcdef0"}, "InvalidInstanceID.NotFound"),
        ({"NetworkInterfaceId": "eni-0123456789abcdef0"}, "InvalidNetworkInterfaceID.NotFound"),
        ({"InstanceId": instance.id, "PrivateIpAddress": "10.0.0.99"}, "InvalidParameterValue"),
    ):
        with refused(code):
            caller.associate_address(AllocationId=allocation_id, **request)
    caller.associate_address(AllocationId=allocation_id, InstanceId=instance.id, PrivateIpAddress="10.0.0.5")
    caller.disassociate_address(PublicIp=caller.describe_addresses()["Addresses"][0]["PublicIp"])
    assert public_ip_of(caller, interface) is None, "a stopped instance gets no automatic address"
    with caller.store.write() as tx:
        tx.delete_where(InternetGateway)
    with refused("Gateway.NotAttached"):
        caller.associate_address(AllocationId=allocation_id, InstanceId=instance.id)


def test_addresses_of_others_do_not_exist(caller: Caller, stranger: Caller) -> None:
    theirs = stranger.allocate_address()
    _, _, automatic = launched(caller)
    for operation, request, code in (
        ("release_address", {"AllocationId": theirs["AllocationId"]}, "InvalidAllocationID.NotFound"),
        ("release_address", {"PublicIp": theirs["PublicIp"]}, "InvalidAddress.NotFound"),
        ("release_address", {"PublicIp": automatic}, "InvalidAddress.NotFound"),
        ("release_address", {}, "MissingParameter"),
        ("disassociate_address", {"PublicIp": theirs["PublicIp"]}, "InvalidAddress.NotFound"),
        ("disassociate_address", {"AssociationId": "eipassoc-\0"}, "InvalidAssociationID.NotFound"),
        ("disassociate_address", {}, "MissingParameter"),
        ("describe_addresses", {"AllocationIds": [theirs["AllocationId"]]}, "InvalidAllocationID.NotFound"),
        ("describe_addresses", {"AllocationIds": ["eipalloc-\0"]}, "InvalidAllocationID.NotFound"),
        ("describe_addresses", {"PublicIps": ["203.0.113.09"]}, "InvalidParameterValue"),
        ("describe_addresses", {"PublicIps": [theirs["PublicIp"]]}, "InvalidAddress.NotFound"),
        ("describe_addresses_attribute", {"AllocationIds": ["eipalloc-1"]}, "InvalidAllocationID.NotFound"),
        ("allocate_address", {"Domain": "standard"}, "UnsupportedOperation"),
        ("allocate_address", {"Address": "203.0.113.9"}, "UnsupportedOperation"),
        ("allocate_address", {"NetworkBorderGroup": "mars"}, "InvalidParameterValue"),
    ):
        with refused(code):
            getattr(caller, operation)(**request)
    assert caller.describe_addresses() == {"Addresses": []}


def test_an_account_has_so_many_elastic_ips_in_a_region(caller: Caller, store: Store) -> None:
    caller.config = Config(quotas={ELASTIC_IPS: 5})
    allocated = [caller.allocate_address() for _ in range(5)]
    with refused("AddressLimitExceeded"):
        caller.allocate_address()
    opened(store, "111122223333", "eu-west-1").allocate_address()
    caller.release_address(PublicIp=allocated[0]["PublicIp"])
    caller.allocate_address()
    attributes = caller.describe_addresses_attribute(Attribute="domain-name", MaxResults=2)
    rest = caller.describe_addresses_attribute(
        Attribute="domain-name", MaxResults=1000, NextToken=attributes["NextToken"]
    )
    assert (len(attributes["Addresses"]), len(rest["Addresses"])) == (2, 3)


def test_filters_find_the_addresses_that_they_say(caller: Caller) -> None:
    instance, interface, _ = launched(caller)
    one, other = caller.allocate_address(), caller.allocate_address()
    association_id = caller.associate_address(AllocationId=one["AllocationId"], InstanceId=instance.id)["AssociationId"]
    caller.create_tags(Resources=[other["AllocationId"]], Tags=[{"Key": "Name", "Value": "spare"}])
    for name, value, expected in (
        ("allocation-id", one["AllocationId"], [one]),
        ("association-id", association_id, [one]),
        ("domain", "vpc", [one, other]),
        ("domain", "standard", []),
        ("instance-id", instance.id, [one]),
        ("network-border-group", "us-*", [one, other]),
        ("network-interface-id", interface.id, [one]),
        ("network-interface-owner-id", caller.account, [one]),
        ("private-ip-address", "10.0.0.5", [one]),
        ("public-ip", other["PublicIp"], [other]),
        ("tag:Name", "spare", [other]),
        ("tag-key", "name", []),
    ):
        found = caller.describe_addresses(Filters=[{"Name": name, "Values": [value]}])["Addresses"]
        assert {a["PublicIp"] for a in found} == {a["PublicIp"] for a in expected}, (name, value)
    with refused("InvalidParameterValue"):
        caller.describe_addresses(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_boto3_allocates_shows_and_releases(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        ec2: Any = api.client("ec2")
        allocated = ec2.allocate_address(Domain="vpc")
        (shown,) = ec2.describe_addresses(PublicIps=[allocated["PublicIp"]])["Addresses"]
        assert (shown["AllocationId"], shown["Tags"]) == (allocated["AllocationId"], [])
        with pytest.raises(botocore.exceptions.ClientError, match="NetworkInterfaceID"):
            ec2.associate_address(AllocationId=allocated["AllocationId"], NetworkInterfaceId="eni-0123456789abcdef0")
        ec2.release_address(AllocationId=allocated["AllocationId"])
        assert ec2.describe_addresses()["Addresses"] == []
