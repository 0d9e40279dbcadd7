"""Rules of security groups: authorised, described, changed, revoked, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold.config import Config
from freehold.control.networks import vpc_view
from freehold.quotas import RULES_PER_GROUP
from freehold.records.feed import position, since
from freehold.records.ids import InstanceId, new_id
from freehold.records.network import NetworkInterface, Subnet, Vpc, subnets
from freehold.services.ec2.interfaces import create_primary_interface
from tests.cloudapi import api_server
from tests.ec2.calls import Caller, refused

ACCOUNT = "111122223333"


def ipv4(protocol: str, from_port: int, to_port: int, *cidrs: str) -> dict[str, Any]:
    """An IpPermission of IPv4 ranges."""
    ranges = [{"CidrIp": cidr} for cidr in cidrs or ("0.0.0.0/0",)]
    return {"IpProtocol": protocol, "FromPort": from_port, "ToPort": to_port, "IpRanges": ranges}


SSH = ipv4("tcp", 22, 22)


def new_group(caller: Caller, name: str = "web", **request: Any) -> str:
    return str(caller.create_security_group(GroupName=name, Description="d", **request)["GroupId"])


def permissions(caller: Caller, group_id: str, member: str = "IpPermissions") -> Any:
    return caller.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0][member]


def rules(caller: Caller, group_id: str, *, egress: bool = False) -> list[Any]:
    found = caller.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group_id]}])
    return [rule for rule in found["SecurityGroupRules"] if rule["IsEgress"] is egress]


def make_vpc_ordinary(caller: Caller) -> str:
    """Make the default VPC one like any other; returns its id."""
    vpc_id: str = caller.describe_vpcs()["Vpcs"][0]["VpcId"]
    with caller.store.write() as tx:
        record = tx.get(Vpc, vpc_id)
        assert record is not None
        tx.update(record, is_default=False)
    return vpc_id


def test_a_rule_is_authorised_described_and_revoked(caller: Caller) -> None:
    group_id = new_group(caller)
    with caller.store.read() as tx:
        before = position(tx)
    answer = caller.authorize_security_group_ingress(
        GroupId=group_id,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 443,
                "ToPort": 443,
                "IpRanges": [{"CidrIp": "100.68.0.18/18", "Description": "the office"}],
                "Ipv6Ranges": [{"CidrIpv6": "2001:DB8:0::1/32"}],
                "UserIdGroupPairs": [{"GroupId": group_id, "Description": "each other"}],
            }
        ],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": [{"Key": "Name", "Value": "https"}]}],
    )
    assert answer["Return"]
    by_ipv4, by_ipv6, by_group = answer["SecurityGroupRules"]
    assert by_ipv4 == {
        "SecurityGroupRuleId": by_ipv4["SecurityGroupRuleId"],
        "SecurityGroupRuleArn": f"arn:aws:ec2:us-east-1:{ACCOUNT}:security-group-rule/{by_ipv4['SecurityGroupRuleId']}",
        "GroupId": group_id,
        "GroupOwnerId": ACCOUNT,
        "IsEgress": False,
        "IpProtocol": "tcp",
        "FromPort": 443,
        "ToPort": 443,
        "CidrIpv4": "100.68.0.0/18",
        "Description": "the office",
        "Tags": [{"Key": "Name", "Value": "https"}],
    }
    assert by_ipv6["CidrIpv6"] == "2001:db8::/32"
    assert by_group["ReferencedGroupInfo"] == {"GroupId": group_id, "UserId": ACCOUNT}
    assert sorted(rules(caller, group_id), key=str) == sorted(answer["SecurityGroupRules"], key=str)
    assert permissions(caller, group_id) == [
        {
            "IpProtocol": "tcp",
            "FromPort": 443,
            "ToPort": 443,
            "IpRanges": [{"CidrIp": "100.68.0.0/18", "Description": "the office"}],
            "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}],
            "PrefixListIds": [],
            "UserIdGroupPairs": [{"GroupId": group_id, "UserId": ACCOUNT, "Description": "each other"}],
        }
    ]
    # What describe shows is what revoke takes; descriptions need not be given.
    revoked = caller.revoke_security_group_ingress(GroupId=group_id, IpPermissions=permissions(caller, group_id))
    assert (revoked["Return"], revoked["UnknownIpPermissions"]) == (True, [])
    assert {rule["SecurityGroupRuleId"] for rule in revoked["RevokedSecurityGroupRules"]} == {
        rule["SecurityGroupRuleId"] for rule in answer["SecurityGroupRules"]
    }
    assert permissions(caller, group_id) == []
    assert caller.describe_tags() == {"Tags": []}
    with caller.store.read() as tx:
        assert since(tx, before, ("vpc",))[1] == {("vpc", caller.describe_vpcs()["Vpcs"][0]["VpcId"])}


def test_terraform_takes_the_default_egress_rule_away(caller: Caller) -> None:
    """It sends the ports 0 and 0 with the protocol -1, then asks for the IPv6 rule to go too, which is not there."""
    group_id = new_group(caller)
    caller.revoke_security_group_egress(GroupId=group_id, IpPermissions=[ipv4("-1", 0, 0)])
    assert permissions(caller, group_id, "IpPermissionsEgress") == []
    all_ipv6 = {"IpProtocol": "-1", "FromPort": 0, "ToPort": 0, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
    answer = caller.revoke_security_group_egress(GroupId=group_id, IpPermissions=[all_ipv6])
    assert [unknown["Ipv6Ranges"] for unknown in answer["UnknownIpPermissions"]] == [[{"CidrIpv6": "::/0"}]]
    assert answer["RevokedSecurityGroupRules"] == []
    (rule,) = caller.authorize_security_group_egress(GroupId=group_id, IpPermissions=[all_ipv6])["SecurityGroupRules"]
    assert (rule["IsEgress"], rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == (True, "-1", -1, -1)


def test_in_an_ordinary_vpc_an_unknown_permission_is_an_error_and_nothing_is_revoked(caller: Caller) -> None:
    group_id = new_group(caller, VpcId=make_vpc_ordinary(caller))
    caller.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[SSH])
    with refused("InvalidPermission.NotFound"):
        caller.revoke_security_group_ingress(GroupId=group_id, IpPermissions=[SSH, ipv4("tcp", 22, 23)])
    assert len(rules(caller, group_id)) == 1


def test_rules_are_revoked_by_their_ids(caller: Caller) -> None:
    group_id, other_id = new_group(caller), new_group(caller, "other")
    made = caller.authorize_security_group_ingress(
        GroupId=group_id, IpPermissions=[SSH, ipv4("udp", 53, 53, "10.0.0.0/8", "192.168.0.0/16")]
    )["SecurityGroupRules"]
    ids = [rule["SecurityGroupRuleId"] for rule in made]
    for revoke, group, named in (
        (caller.revoke_security_group_egress, group_id, ids[:1]),
        (caller.revoke_security_group_ingress, other_id, ids[:1]),
        (caller.revoke_security_group_ingress, group_id, [*ids, new_id("sgr")]),
    ):
        with refused("InvalidSecurityGroupRuleId.NotFound"):
            revoke(GroupId=group, SecurityGroupRuleIds=named)
    with refused("InvalidSecurityGroupRuleId.Malformed"):
        caller.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=["sgr-\0"])
    with refused("InvalidParameterCombination"):
        caller.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=ids, FromPort=0)
    answer = caller.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=ids[:2])
    assert [rule["SecurityGroupRuleId"] for rule in answer["RevokedSecurityGroupRules"]] == ids[:2]
    assert [rule["SecurityGroupRuleId"] for rule in rules(caller, group_id)] == ids[2:]


def test_a_permission_is_there_once(caller: Caller) -> None:
    group_id = new_group(caller)
    caller.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[SSH])
    with pytest.raises(Exception, match=r"peer: 0\.0\.0\.0/0, TCP, from port: 22, to port: 22, ALLOW") as raised:
        caller.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[ipv4("6", 22, 22, "1.2.3.4/0")])
    assert raised.value.code == "InvalidPermission.Duplicate"
    with refused("InvalidParameterValue"):
        caller.authorize_security_group_ingress(
            GroupId=group_id, IpPermissions=[ipv4("tcp", 80, 80, "10.0.0.1/8", "10.0.0.2/8")]
        )
    caller.authorize_security_group_egress(GroupId=group_id, IpPermissions=[SSH])
    assert len(rules(caller, group_id)) == 1


def test_a_group_holds_so_many_rules(caller: Caller) -> None:
    caller.config = Config(quotas={RULES_PER_GROUP: 2})
    group_id = new_group(caller)

    def authorize(**peer: Any) -> None:
        permission = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, **peer}
        caller.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[permission])

    authorize(IpRanges=[{"CidrIp": "10.0.0.0/8"}])
    authorize(UserIdGroupPairs=[{"GroupId": group_id}])
    with refused("RulesPerSecurityGroupLimitExceeded"):
        authorize(IpRanges=[{"CidrIp": "11.0.0.0/8"}])
    authorize(Ipv6Ranges=[{"CidrIpv6": "::/0"}])
    with refused("RulesPerSecurityGroupLimitExceeded"):
        authorize(Ipv6Ranges=[{"CidrIpv6": "::/1"}])


def test_references_to_groups(caller: Caller, stranger: Caller) -> None:
    web, database = new_group(caller), new_group(caller, "database")

    def from_group(**pair: str) -> dict[str, Any]:
        return {
            "GroupId": database,
            "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [pair]}],
        }

    caller.authorize_security_group_ingress(**from_group(GroupName="web", UserId=ACCOUNT))
    with refused("InvalidPermission.Duplicate"):
        caller.authorize_security_group_ingress(**from_group(GroupId=web))
    with refused("DependencyViolation"):
        caller.delete_security_group(GroupId=web)
    (vpc,) = stranger.describe_vpcs()["Vpcs"]
    for pair, code in (
        ({"GroupId": new_group(stranger)}, "InvalidGroup.NotFound"),
        ({"GroupId": web, "UserId": "444455556666"}, "InvalidGroup.NotFound"),
        ({"GroupId": web, "VpcId": vpc["VpcId"]}, "InvalidGroup.NotFound"),
        ({"GroupId": "sg-web"}, "InvalidGroupId.Malformed"),
        ({"GroupId": web, "GroupName": "web"}, "InvalidParameterCombination"),
        ({"UserId": ACCOUNT}, "MissingParameter"),
        ({"GroupId": web, "VpcPeeringConnectionId": "pcx-1"}, "UnsupportedOperation"),
    ):
        with refused(code):
            caller.authorize_security_group_ingress(**from_group(**pair))
    caller.revoke_security_group_ingress(**from_group(GroupId=web))
    caller.delete_security_group(GroupId=web)


def test_the_older_parameters(caller: Caller) -> None:
    group_id = new_group(caller)
    caller.authorize_security_group_ingress(
        GroupName="web", IpProtocol="tcp", FromPort=0, ToPort=22, CidrIp="10.0.0.0/8"
    )
    (rule,) = rules(caller, group_id)
    assert (rule["FromPort"], rule["ToPort"], rule["CidrIpv4"]) == (0, 22, "10.0.0.0/8")
    caller.revoke_security_group_ingress(GroupName="web", IpProtocol="tcp", FromPort=0, ToPort=22, CidrIp="10.0.0.0/8")
    caller.authorize_security_group_ingress(
        GroupId=group_id, SourceSecurityGroupName="default", SourceSecurityGroupOwnerId=ACCOUNT
    )
    assert {(r["IpProtocol"], r["FromPort"], r["ToPort"]) for r in rules(caller, group_id)} == {
        ("icmp", -1, -1),
        ("tcp", 0, 65535),
        ("udp", 0, 65535),
    }
    for request, code in (
        ({}, "MissingParameter"),
        ({"IpPermissions": []}, "MissingParameter"),
        ({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1}, "MissingParameter"),
        ({"CidrIp": "10.0.0.0/8"}, "MissingParameter"),
        ({"SourceSecurityGroupOwnerId": ACCOUNT}, "MissingParameter"),
        ({"SourceSecurityGroupName": "nobody"}, "InvalidGroup.NotFound"),
        ({"SourceSecurityGroupName": "default", "SourceSecurityGroupOwnerId": "444455556666"}, "InvalidGroup.NotFound"),
        ({"SourceSecurityGroupName": "default", "IpProtocol": "tcp"}, "InvalidParameterCombination"),
        ({"IpPermissions": [SSH], "FromPort": 0}, "InvalidParameterCombination"),
    ):
        with refused(code):
            caller.authorize_security_group_ingress(GroupId=group_id, **request)
    for name, value in (("CidrIp", "10.0.0.0/8"), ("FromPort", 0), ("SourceSecurityGroupName", "default")):
        with refused("UnsupportedOperation"):
            caller.authorize_security_group_egress(GroupId=group_id, IpPermissions=[SSH], **{name: value})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"IpProtocol": ""}, "MissingParameter"),
        ({"IpProtocol": "tcp\n"}, "InvalidParameterValue"),
        ({"ToPort": 65536}, "InvalidParameterValue"),
        ({"IpRanges": []}, "MissingParameter"),
        ({"IpRanges": [{"Description": "nowhere"}]}, "MissingParameter"),
        ({"IpRanges": [{"CidrIp": "0.0.0.0/0 || 1"}]}, "InvalidParameterValue"),
        ({"Ipv6Ranges": [{"CidrIpv6": "fe80::%eth0/64"}]}, "InvalidParameterValue"),
        ({"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "a\0b"}]}, "InvalidParameterValue"),
        ({"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "x" * 256}]}, "InvalidParameterValue"),
        ({"PrefixListIds": [{"PrefixListId": "pl-12345678"}]}, "UnsupportedOperation"),
        ({"IpRanges": [{"CidrIp": f"10.0.{n >> 8}.{n & 255}/32"} for n in range(1001)]}, "InvalidParameterValue"),
    ],
)
def test_permissions_that_may_not_be(caller: Caller, changes: dict[str, Any], code: str) -> None:
    group_id = new_group(caller)
    for change in (
        caller.authorize_security_group_ingress,
        caller.authorize_security_group_egress,
        caller.revoke_security_group_ingress,
        caller.update_security_group_rule_descriptions_ingress,
    ):
        with refused(code):
            change(GroupId=group_id, IpPermissions=[SSH | changes])
    assert rules(caller, group_id) == []


def test_rules_are_changed(caller: Caller) -> None:
    group_id = new_group(caller)
    first, second = caller.authorize_security_group_ingress(
        GroupId=group_id,
        IpPermissions=[ipv4("tcp", 22, 22), ipv4("tcp", 80, 80)],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": [{"Key": "a", "Value": "b"}]}],
    )["SecurityGroupRules"]
    (egress,) = rules(caller, group_id, egress=True)

    def change(**given: dict[str, Any]) -> None:
        by_name = {"first": first, "second": second, "egress": egress}
        updates = [
            {"SecurityGroupRuleId": by_name[name]["SecurityGroupRuleId"], "SecurityGroupRule": rule}
            for name, rule in given.items()
        ]
        assert caller.modify_security_group_rules(GroupId=group_id, SecurityGroupRules=updates) == {"Return": True}

    def rule(port: int, **more: Any) -> dict[str, Any]:
        return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIpv4": "0.0.0.0/0", **more}

    # The two change places: in between, one permission would be there twice.
    change(first=rule(80, Description="web"), second=rule(22), egress=rule(80))
    after = {found["SecurityGroupRuleId"]: found for found in rules(caller, group_id)}
    assert after[first["SecurityGroupRuleId"]] == first | {"FromPort": 80, "ToPort": 80, "Description": "web"}
    assert after[second["SecurityGroupRuleId"]] == second | {"FromPort": 22, "ToPort": 22}
    change(first=rule(80, CidrIpv4="10.1.2.3/8"))
    (changed,) = [r for r in rules(caller, group_id) if r["CidrIpv4"] == "10.0.0.0/8"]
    assert "Description" not in changed
    assert changed["Tags"] == [{"Key": "a", "Value": "b"}]
    for changes, code in (
        ({"first": rule(22)}, "InvalidPermission.Duplicate"),
        ({"first": rule(22, CidrIpv6="::/0")}, "InvalidParameterCombination"),
        ({"first": {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1}}, "InvalidParameterCombination"),
        ({"first": {"IpProtocol": "-1", "CidrIpv6": "::/0"}}, "InvalidParameterValue"),
        ({"first": {"IpProtocol": "-1", "ReferencedGroupId": group_id}}, "InvalidParameterValue"),
        ({"first": {"IpProtocol": "-1", "ReferencedGroupId": new_id("sg")}}, "InvalidGroup.NotFound"),
        ({"first": {"IpProtocol": "-1", "PrefixListId": "pl-12345678"}}, "UnsupportedOperation"),
        ({"first": {"CidrIpv4": "0.0.0.0/0"}}, "MissingParameter"),
        ({"first": {}}, "MissingParameter"),
    ):
        with refused(code):
            change(**changes)
    twice = {"SecurityGroupRuleId": first["SecurityGroupRuleId"], "SecurityGroupRule": rule(1)}
    with refused("InvalidParameterValue"):
        caller.modify_security_group_rules(GroupId=group_id, SecurityGroupRules=[twice, twice])
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        caller.modify_security_group_rules(GroupId=new_group(caller, "other"), SecurityGroupRules=[twice])


@pytest.mark.parametrize("way", ["ingress", "egress"])
def test_descriptions_are_changed_and_removed(caller: Caller, way: str) -> None:
    group_id = new_group(caller)
    update = getattr(caller, f"update_security_group_rule_descriptions_{way}")
    (made,) = getattr(caller, f"authorize_security_group_{way}")(GroupId=group_id, IpPermissions=[SSH])[
        "SecurityGroupRules"
    ]
    rule_id = made["SecurityGroupRuleId"]

    def shown() -> Any:
        (rule,) = caller.describe_security_group_rules(SecurityGroupRuleIds=[rule_id])["SecurityGroupRules"]
        return rule.get("Description")

    described = SSH | {"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "first"}]}
    assert update(GroupName="web", IpPermissions=[described]) == {"Return": True}
    assert shown() == "first"
    update(GroupId=group_id, SecurityGroupRuleDescriptions=[{"SecurityGroupRuleId": rule_id, "Description": "second"}])
    assert shown() == "second"
    update(GroupId=group_id, IpPermissions=[SSH])
    assert shown() is None
    one = {"SecurityGroupRuleId": rule_id}
    for request, code in (
        ({"IpPermissions": [ipv4("tcp", 1, 1)]}, "InvalidPermission.NotFound"),
        ({"SecurityGroupRuleDescriptions": [one], "IpPermissions": [SSH]}, "InvalidParameterCombination"),
        ({"SecurityGroupRuleDescriptions": [one, one]}, "InvalidParameterValue"),
        ({"SecurityGroupRuleDescriptions": [one | {"Description": "<b>"}]}, "InvalidParameterValue"),
        (
            {"SecurityGroupRuleDescriptions": [{"SecurityGroupRuleId": new_id("sgr")}]},
            "InvalidSecurityGroupRuleId.NotFound",
        ),
        ({"SecurityGroupRuleDescriptions": [{"Description": "x"}]}, "InvalidSecurityGroupRuleId.Malformed"),
        ({}, "MissingParameter"),
    ):
        with refused(code):
            update(GroupId=group_id, **request)


def test_rules_of_others_do_not_exist(caller: Caller, stranger: Caller) -> None:
    theirs = new_group(stranger)
    (rule,) = rules(stranger, theirs, egress=True)
    assert rules(caller, theirs, egress=True) == []
    rule_ids = [rule["SecurityGroupRuleId"]]
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        caller.describe_security_group_rules(SecurityGroupRuleIds=rule_ids)
    for name, request in (
        ("authorize_security_group_ingress", {"IpPermissions": [SSH]}),
        ("authorize_security_group_egress", {"IpPermissions": [SSH]}),
        ("revoke_security_group_ingress", {"SecurityGroupRuleIds": rule_ids}),
        ("revoke_security_group_egress", {"SecurityGroupRuleIds": rule_ids}),
        ("modify_security_group_rules", {"SecurityGroupRules": [{"SecurityGroupRuleId": rule_ids[0]}]}),
        ("update_security_group_rule_descriptions_egress", {"IpPermissions": [SSH]}),
    ):
        with refused("InvalidGroup.NotFound"):
            getattr(caller, name)(GroupId=theirs, **request)
    assert rules(stranger, theirs, egress=True) == [rule]


def test_rules_reach_the_fabric(caller: Caller) -> None:
    """What `vpc_view` makes of the rules of a group with a plugged interface."""
    group_id, empty_id = new_group(caller), new_group(caller, "empty")
    with caller.store.write() as tx:
        subnet = tx.find(Subnet, subnets.c.account_id == caller.account)
        assert subnet is not None
        call = caller.call(tx, "RunInstances")
        interface: NetworkInterface = create_primary_interface(
            call, subnet, InstanceId(new_id("i")), group_ids=[group_id]
        )
        tx.update(interface, host_id="host-1")
    pair = {"UserIdGroupPairs": [{"GroupId": empty_id}]}
    everything = [
        {"IpProtocol": "ICMP", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "10.9.9.9/8"}]},
        {"IpProtocol": "58", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
        {"IpProtocol": "50", **pair},
        {"IpProtocol": "0", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        ipv4("udp", 0, 65535),
    ]
    caller.authorize_security_group_ingress(GroupId=group_id, IpPermissions=everything)

    def view() -> Any:
        with caller.store.read() as tx:
            found = vpc_view(tx, subnet.vpc_id)
        assert found is not None
        return {group.group_id: group.rules for group in found.groups}

    ingress = {
        (r.protocol, r.ports, r.icmp_type, r.icmp_code, str(r.peer_network or r.peer_group_id))
        for r in view()[group_id]
        if not r.is_egress
    }
    assert ingress == {
        (1, None, 8, None, "10.0.0.0/8"),
        (50, None, None, None, empty_id),
        (0, None, None, None, "0.0.0.0/0"),
        (17, (0, 65535), None, None, "0.0.0.0/0"),
    }
    assert view()[empty_id] == ()
    caller.revoke_security_group_ingress(GroupId=group_id, IpPermissions=everything)
    caller.delete_security_group(GroupId=empty_id)
    assert [rule.is_egress for rule in view()[group_id]] == [True]
    assert empty_id not in view()


def test_boto3_changes_rules(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        ec2: Any = api.client("ec2")
        group_id = ec2.create_security_group(GroupName="web", Description="d")["GroupId"]
        (rule,) = ec2.authorize_security_group_ingress(
            GroupId=group_id, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0"
        )["SecurityGroupRules"]
        ec2.create_tags(Resources=[rule["SecurityGroupRuleId"]], Tags=[{"Key": "Name", "Value": "ssh"}])
        pages = ec2.get_paginator("describe_security_group_rules").paginate(
            Filters=[{"Name": "tag:Name", "Values": ["ssh"]}]
        )
        (found,) = [found for page in pages for found in page["SecurityGroupRules"]]
        assert found == rule | {"Tags": [{"Key": "Name", "Value": "ssh"}]}
        ec2.update_security_group_rule_descriptions_ingress(
            GroupId=group_id,
            SecurityGroupRuleDescriptions=[{"SecurityGroupRuleId": rule["SecurityGroupRuleId"], "Description": "s"}],
        )
        with pytest.raises(ec2.exceptions.ClientError, match=r"InvalidPermission\.Duplicate"):
            ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[SSH])
        answer = ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])
        assert [revoked["Description"] for revoked in answer["RevokedSecurityGroupRules"]] == ["s"]
        assert ec2.revoke_security_group_ingress(GroupId=group_id, IpPermissions=[SSH])["UnknownIpPermissions"]
