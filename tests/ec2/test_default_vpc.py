"""The network that an account finds in a region, and the describe operations that show it."""

from __future__ import annotations

import threading

from freehold.records.network import Vpc
from freehold.records.store import Store
from freehold.services.ec2.default_vpc import open_region
from tests.ec2.calls import Caller, refused
from tests.ec2.conftest import opened


def test_an_account_finds_a_whole_network(caller: Caller) -> None:
    (vpc,) = caller.describe_vpcs()["Vpcs"]
    assert (vpc["CidrBlock"], vpc["IsDefault"], vpc["State"]) == ("172.31.0.0/16", True, "available")
    assert vpc["CidrBlockAssociationSet"][0]["CidrBlockState"] == {"State": "associated"}
    subnets = caller.describe_subnets()["Subnets"]
    assert {(s["AvailabilityZone"], s["AvailabilityZoneId"], s["CidrBlock"]) for s in subnets} == {
        ("us-east-1a", "use1-az1", "172.31.0.0/20"),
        ("us-east-1b", "use1-az2", "172.31.16.0/20"),
        ("us-east-1c", "use1-az3", "172.31.32.0/20"),
    }
    assert {s["AvailableIpAddressCount"] for s in subnets} == {4091}
    assert all(s["MapPublicIpOnLaunch"] and s["DefaultForAz"] for s in subnets)
    (gateway,) = caller.describe_internet_gateways()["InternetGateways"]
    assert gateway["Attachments"] == [{"State": "available", "VpcId": vpc["VpcId"]}]
    (table,) = caller.describe_route_tables()["RouteTables"]
    assert [(r["DestinationCidrBlock"], r["GatewayId"], r["State"]) for r in table["Routes"]] == [
        ("172.31.0.0/16", "local", "active"),
        ("0.0.0.0/0", gateway["InternetGatewayId"], "active"),
    ]
    assert table["Associations"][0]["Main"]
    assert caller.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsHostnames") == {
        "VpcId": vpc["VpcId"],
        "EnableDnsHostnames": {"Value": True},
    }


def test_opening_twice_or_at_once_makes_one_network_and_numbers_are_unique(store: Store) -> None:
    def open_all() -> None:
        for account in range(4):
            with store.write() as tx:
                open_region(tx, Caller(store).config, Caller(store, f"11111111111{account}").account, "us-east-1")

    threads = [threading.Thread(target=open_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as tx:
        assert sorted(vpc.number for vpc in tx.select(Vpc)) == [1, 2, 3, 4]


_IDS = (
    ("describe_vpcs", "VpcIds", "vpc", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed"),
    ("describe_subnets", "SubnetIds", "subnet", "InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed"),
    (
        "describe_internet_gateways",
        "InternetGatewayIds",
        "igw",
        "InvalidInternetGatewayID.NotFound",
        "InvalidInternetGatewayId.Malformed",
    ),
    (
        "describe_route_tables",
        "RouteTableIds",
        "rtb",
        "InvalidRouteTableID.NotFound",
        "InvalidRouteTableId.Malformed",
    ),
)


def test_wrong_ids_get_the_codes_of_their_kind(caller: Caller, stranger: Caller) -> None:
    for operation, member, prefix, missing, malformed in _IDS:
        (rows,) = getattr(stranger, operation)().values()
        for text, code in (
            (f"{prefix}-0123456789abcdef0", missing),
            (rows[0][member.removesuffix("s")], missing),
            (f"{prefix}-0' OR 1=1", malformed),
            (f"{prefix}-\0", malformed),
            ("", malformed),
        ):
            with refused(code):
                getattr(caller, operation)(**{member: [text]})


_FILTERS = (
    ("describe_vpcs", "isDefault", "true", 1),
    ("describe_vpcs", "is-default", "false", 0),
    ("describe_vpcs", "cidr", "172.31.*", 1),
    ("describe_vpcs", "cidr-block-association.cidr-block", "172.31.0.0/1?", 1),
    ("describe_vpcs", "cidr-block-association.association-id", "vpc-cidr-assoc-*", 1),
    ("describe_vpcs", "state", "pending", 0),
    ("describe_vpcs", "owner-id", "444455556666", 0),
    ("describe_subnets", "availability-zone", "us-east-1b", 1),
    ("describe_subnets", "availabilityZoneId", "use1-az?", 3),
    ("describe_subnets", "available-ip-address-count", "4091", 3),
    ("describe_subnets", "available-ip-address-count", "4090", 0),
    ("describe_subnets", "available-ip-address-count", "x' OR 1", 0),
    ("describe_subnets", "default-for-az", "true", 3),
    ("describe_subnets", "subnet-arn", "arn:aws:ec2:us-east-1:111122223333:subnet/subnet-*", 3),
    ("describe_subnets", "cidr-block", "172.31.16.0/20", 1),
    ("describe_internet_gateways", "attachment.state", "available", 1),
    ("describe_route_tables", "association.main", "true", 1),
    ("describe_route_tables", "association.main", "false", 0),
    ("describe_route_tables", "route.destination-cidr-block", "0.0.0.0/0", 1),
    ("describe_route_tables", "route.destination-cidr-block", "10.0.0.0/8", 0),
    ("describe_route_tables", "route.gateway-id", "igw-*", 1),
    ("describe_route_tables", "route.origin", "CreateRoute", 1),
    ("describe_route_tables", "association.route-table-id", "rtb-*", 1),
)


def test_filters_find_what_they_say(caller: Caller) -> None:
    for operation, name, value, count in _FILTERS:
        (rows,) = getattr(caller, operation)(Filters=[{"Name": name, "Values": [value]}]).values()
        assert len(rows) == count, (operation, name, value)


def test_each_region_is_of_its_own(store: Store) -> None:
    opened(store, "111122223333", "ap-southeast-2")
    for region in ("us-east-1", "eu-central-1", "lab"):
        here = opened(store, "111122223333", region)
        assert len(here.describe_vpcs()["Vpcs"]) == 1
        zones = here.describe_availability_zones()["AvailabilityZones"]
        assert [zone["ZoneName"] for zone in zones] == [f"{region}a", f"{region}b", f"{region}c"]
        assert {"ap-southeast-2", region} <= {r["RegionName"] for r in here.describe_regions()["Regions"]}


def test_zones_and_regions_are_chosen_by_name_id_and_filter(caller: Caller) -> None:
    (zone,) = caller.describe_availability_zones(ZoneNames=["us-east-1b"])["AvailabilityZones"]
    assert zone["ZoneId"] == "use1-az2"
    (same,) = caller.describe_availability_zones(ZoneIds=["use1-az2"])["AvailabilityZones"]
    assert same == zone
    assert caller.describe_availability_zones(Filters=[{"Name": "state", "Values": ["impaired"]}]) == {
        "AvailabilityZones": []
    }
    (region,) = caller.describe_regions(RegionNames=["eu-west-1"])["Regions"]
    assert region["Endpoint"] == "ec2.eu-west-1.amazonaws.com"
    with refused("InvalidParameterValue"):
        caller.describe_regions(RegionNames=["<script>"])
    with refused("InvalidParameterValue"):
        caller.describe_availability_zones(ZoneNames=["us-east-1z"])
    with refused("InvalidParameterValue"):
        caller.describe_regions(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_account_attributes_name_the_default_vpc(caller: Caller) -> None:
    (vpc,) = caller.describe_vpcs()["Vpcs"]
    answer = caller.describe_account_attributes(AttributeNames=["default-vpc"])
    assert answer["AccountAttributes"] == [
        {"AttributeName": "default-vpc", "AttributeValues": [{"AttributeValue": vpc["VpcId"]}]}
    ]
