"""Attributes of network interfaces: each is read, changed and seen where it counts, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.records.usage import UsageEntry
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import census, host_reports, run_one, shown, stop


class One:
    """A server's interface."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.instance_id = run_one(caller)
        self.id = self.shown["NetworkInterfaceId"]

    @property
    def shown(self) -> Any:
        (interface,) = shown(self.caller, self.instance_id)["NetworkInterfaces"]
        return interface

    @property
    def public_ip(self) -> str | None:
        return shown(self.caller, self.instance_id).get("PublicIpAddress")

    def modify(self, **change: Any) -> None:
        self.caller.modify_network_interface_attribute(NetworkInterfaceId=self.id, **change)

    def described(self, attribute: str) -> Any:
        answer = self.caller.describe_network_interface_attribute(NetworkInterfaceId=self.id, Attribute=attribute)
        assert answer.pop("NetworkInterfaceId") == self.id
        (value,) = answer.values()
        return value


@pytest.fixture
def one(ready: Caller) -> One:
    return One(ready)


def test_description_and_check_of_addresses(ready: Caller, one: One) -> None:
    assert (one.described("description"), one.described("sourceDestCheck")) == ({"Value": ""}, {"Value": True})
    one.modify(Description={"Value": "the first"})
    one.modify(SourceDestCheck={"Value": False})
    assert (one.described("description"), one.described("sourceDestCheck")) == (
        {"Value": "the first"},
        {"Value": False},
    )
    assert (one.shown["Description"], one.shown["SourceDestCheck"]) == ("the first", False)
    ready.reset_network_interface_attribute(NetworkInterfaceId=one.id, SourceDestCheck="true")
    assert shown(ready, one.instance_id)["SourceDestCheck"] is True


def test_groups(ready: Caller, one: One) -> None:
    """Of the interface are of its server."""
    vpc = one.shown["VpcId"]
    ids = [ready.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("a", "b")]
    one.modify(Groups=ids)
    groups = [{"GroupId": ids[0], "GroupName": "a"}, {"GroupId": ids[1], "GroupName": "b"}]
    assert one.described("groupSet") == one.shown["Groups"] == shown(ready, one.instance_id)["SecurityGroups"] == groups
    with refused("InvalidGroup.NotFound"):
        one.modify(Groups=[*ids, "sg-00000000000000000"])
    assert one.described("groupSet") == groups


def test_a_public_address_of_its_own_comes_and_goes_while_the_server_runs(ready: Caller, one: One) -> None:
    def addresses_on_the_bill() -> list[bool]:
        with ready.store.read() as tx:
            return sorted(each.closed_at is None for each in tx.select(UsageEntry, item="address"))

    assert one.described("associatePublicIpAddress") is True
    assert one.public_ip is not None
    one.modify(AssociatePublicIpAddress=False)
    assert one.public_ip is None
    assert "Association" not in one.shown
    assert addresses_on_the_bill() == [False]
    one.modify(AssociatePublicIpAddress=False)
    stop(ready, one.instance_id)
    ready.start_instances(InstanceIds=[one.instance_id])
    host_reports(ready.store, one.instance_id, "running")
    assert one.public_ip is None
    one.modify(AssociatePublicIpAddress=True)
    assert one.public_ip is not None
    assert one.described("associatePublicIpAddress") is True
    assert addresses_on_the_bill() == [False, True]
    stop(ready, one.instance_id)
    one.modify(AssociatePublicIpAddress=False)
    one.modify(AssociatePublicIpAddress=True)
    assert one.public_ip is None  # until it starts


def test_an_elastic_ip_stays(ready: Caller, one: One) -> None:
    address = ready.allocate_address()
    ready.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=one.id)
    for wanted in (False, True):
        one.modify(AssociatePublicIpAddress=wanted)
        assert one.public_ip == address["PublicIp"]
    one.modify(AssociatePublicIpAddress=False)
    ready.disassociate_address(PublicIp=address["PublicIp"])
    assert one.public_ip is None


def test_the_attachment(one: One) -> None:
    attachment = one.described("attachment")
    assert (attachment["InstanceId"], attachment["DeleteOnTermination"]) == (one.instance_id, True)
    one.modify(Attachment={"AttachmentId": attachment["AttachmentId"], "DeleteOnTermination": True})


def test_what_can_not_be_is_refused_and_changes_nothing(ready: Caller, stranger: Caller, one: One) -> None:
    attachment = {"AttachmentId": one.shown["Attachment"]["AttachmentId"], "DeleteOnTermination": False}
    before = census(ready.store)
    for change, code in (
        ({}, "InvalidParameterCombination"),
        ({"Description": {"Value": "x"}, "SourceDestCheck": {"Value": True}}, "InvalidParameterCombination"),
        ({"Attachment": attachment}, "UnsupportedOperation"),
        ({"Attachment": {"AttachmentId": "eni-attach-0", "DeleteOnTermination": True}}, "InvalidAttachmentID.NotFound"),
        ({"EnablePrimaryIpv6": True}, "UnsupportedOperation"),
        ({"ConnectionTrackingSpecification": {"UdpTimeout": 30}}, "UnsupportedOperation"),
    ):
        with refused(code):
            one.modify(**change)  # type: ignore[arg-type]
    with refused("InvalidParameterCombination"):
        ready.describe_network_interface_attribute(NetworkInterfaceId=one.id)
    with refused("InvalidParameterCombination"):
        ready.reset_network_interface_attribute(NetworkInterfaceId=one.id)
    for caller, interface_id in ((stranger, one.id), (ready, "eni-00000000000000000")):
        with refused("InvalidNetworkInterfaceID.NotFound"):
            caller.modify_network_interface_attribute(NetworkInterfaceId=interface_id, Description={"Value": "x"})
        with refused("InvalidNetworkInterfaceID.NotFound"):
            caller.describe_network_interface_attribute(NetworkInterfaceId=interface_id, Attribute="description")
        with refused("InvalidNetworkInterfaceID.NotFound"):
            caller.reset_network_interface_attribute(NetworkInterfaceId=interface_id, SourceDestCheck="true")
    assert census(ready.store) == before
