"""RunInstances: what it makes, what it refuses, and that a refusal leaves nothing."""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from freehold.control.housekeeping import keep_house
from freehold.control.reports import apply_report
from freehold.host.wire import Ready, Report
from freehold.records.compute import Host, IdempotencyToken, Instance, InstanceUserData
from freehold.records.feed import since
from freehold.records.usage import UsageEntry, usage
from tests.cloudapi import api_server
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import BIG_IMAGE, IMAGE, add_host, add_images, census, launch, launch_one, shown


def default_subnet(caller: Caller, zone: str = "us-east-1a") -> Any:
    (subnet,) = caller.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [zone]}])["Subnets"]
    return subnet


def test_a_launch_answers_with_the_whole_instance(ready: Caller) -> None:
    answer = launch(ready)
    (instance,) = answer["Instances"]
    subnet = default_subnet(ready)
    assert answer["OwnerId"] == ready.account
    assert instance["State"] == {"Code": 0, "Name": "pending"}
    assert (instance["SubnetId"], instance["VpcId"]) == (subnet["SubnetId"], subnet["VpcId"])
    assert instance["InstanceType"] == "fh1.nano"
    assert instance["SecurityGroups"][0]["GroupName"] == "default"
    assert instance["PublicIpAddress"].startswith("203.0.113.")
    assert instance["NetworkInterfaces"][0]["Attachment"]["DeviceIndex"] == 0
    assert instance["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True
    assert shown(ready, instance["InstanceId"]) == instance
    with ready.store.read() as tx:
        told = since(tx, 0, ("vpc", "guest"))[1]
        assert {("guest", instance["InstanceId"]), ("vpc", subnet["VpcId"])} <= told
        host = tx.get(Host, "host-1")
        assert host is not None
        assert (host.vcpus_used, host.memory_used_mib) == (1, 128)
        volume = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        # The disk and the address are metered from the launch, the instance from when it runs.
        held = {(entry.resource_id, entry.item, entry.quantity) for entry in tx.select(UsageEntry)}
        assert held == {(volume, "volume:gp3", 1), (instance["PublicIpAddress"], "address", 1)}


def test_what_is_asked_for_is_what_is_made(ready: Caller) -> None:
    ready.create_key_pair(KeyName="laptop", KeyType="ed25519")
    subnet = default_subnet(ready, "us-east-1b")
    tags = [{"Key": "Name", "Value": "wéb"}]
    instance = launch_one(
        ready,
        ImageId=BIG_IMAGE,
        InstanceType="t3.micro",
        KeyName="laptop",
        UserData=base64.encodebytes(b"#!/bin/sh\necho hello\n" * 10).decode(),
        TagSpecifications=[
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")
        ],
        BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp2", "DeleteOnTermination": False}}
        ],
        MetadataOptions={"HttpTokens": "optional", "HttpPutResponseHopLimit": 3, "InstanceMetadataTags": "enabled"},
        InstanceInitiatedShutdownBehavior="terminate",
        DisableApiTermination=True,
        DisableApiStop=True,
        EbsOptimized=True,
        Monitoring={"Enabled": True},
        NetworkInterfaces=[
            {
                "DeviceIndex": 0,
                "SubnetId": subnet["SubnetId"],
                "PrivateIpAddress": "172.31.16.77",
                "AssociatePublicIpAddress": False,
                "Description": "first",
                "DeleteOnTermination": True,
            }
        ],
        Placement={"AvailabilityZone": "us-east-1b", "Tenancy": "default"},
        ClientToken="",
    )
    assert instance["KeyName"] == "laptop"
    assert instance["Tags"] == tags
    assert instance["PrivateIpAddress"] == "172.31.16.77"
    assert "PublicIpAddress" not in instance
    assert instance["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert instance["Monitoring"] == {"State": "enabled"}
    assert instance["EbsOptimized"] is True
    assert instance["MetadataOptions"] == {
        "State": "applied",
        "HttpTokens": "optional",
        "HttpPutResponseHopLimit": 3,
        "HttpEndpoint": "enabled",
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": "enabled",
    }
    (volume,) = ready.describe_volumes()["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Iops"], volume["Tags"]) == (20, "gp2", 100, tags)
    (interface,) = ready.describe_network_interfaces()["NetworkInterfaces"]
    assert (interface["Description"], interface["TagSet"]) == ("first", tags)
    with ready.store.read() as tx:
        data = tx.get(InstanceUserData, instance["InstanceId"])
        assert data is not None
        assert data.data == b"#!/bin/sh\necho hello\n" * 10
        stored = tx.get(Instance, instance["InstanceId"])
        assert stored is not None
        assert (stored.shutdown_behavior, stored.disable_api_termination, stored.disable_api_stop) == (
            "terminate",
            True,
            True,
        )
        (entry,) = tx.select(UsageEntry, usage.c.item == "volume:gp2")
        assert entry.quantity == 20


def test_security_groups_by_name_and_by_id(ready: Caller) -> None:
    by_name = launch_one(ready, SecurityGroups=["default"])
    (group,) = by_name["SecurityGroups"]
    assert group["GroupName"] == "default"
    assert launch_one(ready, SecurityGroupIds=[group["GroupId"]])["SecurityGroups"] == [group]


def test_several_instances_are_one_reservation_and_as_many_as_fit(caller: Caller) -> None:
    add_images(caller.store)
    add_host(caller.store, "host-1", memory_mib=300)
    add_host(caller.store, "host-2", memory_mib=140)
    answer = launch(caller, MinCount=2, MaxCount=10)
    assert [i["AmiLaunchIndex"] for i in answer["Instances"]] == [0, 1, 2]
    assert len({i["PrivateIpAddress"] for i in answer["Instances"]}) == 3
    (described,) = caller.describe_instances()["Reservations"]
    assert described["ReservationId"] == answer["ReservationId"]
    assert len(described["Instances"]) == 3
    before = census(caller.store)
    with refused("InsufficientInstanceCapacity"):
        launch(caller)
    assert census(caller.store) == before


def test_a_zone_with_room_is_found(caller: Caller) -> None:
    add_images(caller.store)
    add_host(caller.store, "small", "us-east-1a", memory_mib=200)
    add_host(caller.store, "large", "us-east-1c", memory_mib=1024)
    answer = launch(caller, MinCount=2, MaxCount=3)
    assert {i["Placement"]["AvailabilityZone"] for i in answer["Instances"]} == {"us-east-1c"}
    with caller.store.read() as tx:
        assert {host.id: host.memory_used_mib for host in tx.select(Host)} == {"large": 384, "small": 0}
    with refused("InsufficientInstanceCapacity"):
        launch(caller, MinCount=6, MaxCount=6)
    with refused("Unsupported"):  # in a zone without a host
        launch(caller, Placement={"AvailabilityZone": "us-east-1b"})


READY = Ready("i-0123456789abcdef0", IMAGE, "fh1.nano", 1, 128)


def host_has_ready(caller: Caller, host_id: str, ready: Ready | None) -> None:
    with caller.store.write() as tx:
        apply_report(tx, host_id, Report((), ready=ready))


def test_the_first_launch_of_its_like_gets_what_stands_ready_on_its_host(caller: Caller) -> None:
    add_images(caller.store)
    add_host(caller.store, "here", "us-east-1a")
    add_host(caller.store, "there", "us-east-1b")
    host_has_ready(caller, "here", READY)
    others: tuple[Any, ...] = (
        {"InstanceType": "fh1.micro"},
        {"ImageId": BIG_IMAGE, "InstanceType": "t3.nano"},
        {"Placement": {"AvailabilityZone": "us-east-1b"}},
    )
    here = {"Placement": {"AvailabilityZone": "us-east-1a"}}
    for request in others:
        assert launch_one(caller, **here | request)["InstanceId"] != READY.instance_id
    both = launch(caller, MinCount=2, MaxCount=2, **here)["Instances"]
    assert [each["InstanceId"] == READY.instance_id for each in both] == [True, False]


def test_what_stands_ready_is_nobodys_twice(caller: Caller) -> None:
    """Its host says so still, before it has heard of the launch; another one says so too; and it changes its mind."""
    add_images(caller.store)
    add_host(caller.store)
    add_host(caller.store, "host-2")
    host_has_ready(caller, "host-1", READY)
    host_has_ready(caller, "host-2", READY)
    assert launch_one(caller)["InstanceId"] == READY.instance_id
    host_has_ready(caller, "host-1", READY)
    assert READY.instance_id not in {each["InstanceId"] for each in launch(caller, MaxCount=10)["Instances"]}
    later = replace(READY, instance_id="i-0123456789abcdef1")
    host_has_ready(caller, "host-1", later)
    host_has_ready(caller, "host-1", None)
    assert launch_one(caller)["InstanceId"] != later.instance_id


def test_the_same_token_launches_once(ready: Caller) -> None:
    first = launch(ready, ClientToken="once", MaxCount=2)
    assert launch(ready, ClientToken="once", MaxCount=2) == first
    with refused("IdempotentParameterMismatch"):
        launch(ready, ClientToken="once", MaxCount=3)
    assert len(first["Instances"]) == 2
    with ready.store.read() as tx:
        assert tx.count(Instance) == 2


def test_a_token_is_kept_for_days(ready: Caller) -> None:
    """https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html says nothing of how long."""
    first = launch(ready, ClientToken="once")

    def grow_older(days: int) -> None:
        with ready.store.write() as tx:
            (token,) = tx.select(IdempotencyToken)
            tx.update(token, created_at=tx.now - dt.timedelta(days=days))
        keep_house(ready.store, ready.config)

    grow_older(6)
    assert launch(ready, ClientToken="once") == first
    grow_older(8)
    assert launch(ready, ClientToken="once")["ReservationId"] != first["ReservationId"]


_TOO_LONG = base64.b64encode(b"x" * 16385).decode()
_ROOT = {"DeviceName": "/dev/xvda"}
_REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"ImageId": ""}, "MissingParameter"),
    ({"InstanceType": ""}, "MissingParameter"),
    ({"ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
    ({"ImageId": "ami-x'; DROP TABLE"}, "InvalidAMIID.Malformed"),
    ({"InstanceType": "z9.huge"}, "InvalidParameterValue"),
    ({"InstanceType": "fh1.nano\n"}, "InvalidParameterValue"),
    ({"ImageId": BIG_IMAGE}, "InvalidParameterCombination"),
    ({"MinCount": 0}, "InvalidParameterValue"),
    ({"MinCount": -1, "MaxCount": -1}, "InvalidParameterValue"),
    ({"MinCount": 3, "MaxCount": 2}, "InvalidParameterValue"),
    ({"MaxCount": 10**9}, "InstanceLimitExceeded"),
    ({"KeyName": "none"}, "InvalidKeyPair.NotFound"),
    ({"KeyName": "\0"}, "InvalidKeyPair.NotFound"),
    ({"UserData": "not base64!"}, "InvalidUserData.Malformed"),
    ({"UserData": "é"}, "InvalidUserData.Malformed"),
    ({"UserData": _TOO_LONG}, "InvalidParameterValue"),
    ({"SecurityGroups": ["none"]}, "InvalidGroup.NotFound"),
    ({"SecurityGroups": ["\0"]}, "InvalidGroup.NotFound"),
    ({"SecurityGroupIds": ["sg-00000000000000000"]}, "InvalidGroup.NotFound"),
    ({"SecurityGroupIds": ["default"]}, "InvalidGroupId.Malformed"),
    ({"SubnetId": "subnet-00000000000000000"}, "InvalidSubnetID.NotFound"),
    ({"SubnetId": "10.0.0.0/8"}, "InvalidSubnetID.Malformed"),
    ({"SubnetId": "subnet-00000000000000000", "SecurityGroups": ["default"]}, "InvalidParameterCombination"),
    ({"Placement": {"AvailabilityZone": "us-east-1z"}}, "InvalidParameterValue"),
    (
        {"Placement": {"AvailabilityZone": "us-east-1a", "AvailabilityZoneId": "use1-az2"}},
        "InvalidParameterCombination",
    ),
    ({"Placement": {"Tenancy": "host"}}, "UnsupportedOperation"),
    ({"Placement": {"GroupName": "cluster"}}, "InvalidPlacementGroup.Unknown"),
    ({"PrivateIpAddress": "172.31.0.1"}, "InvalidParameterValue"),
    ({"PrivateIpAddress": "10.1.2.3"}, "InvalidParameterValue"),
    ({"PrivateIpAddress": "172.31.0.9/32"}, "InvalidParameterValue"),
    ({"PrivateIpAddress": "172.31.0.9", "MaxCount": 2}, "InvalidParameterCombination"),
    ({"NetworkInterfaces": [{"SubnetId": "subnet-00000000000000000"}]}, "MissingParameter"),
    ({"NetworkInterfaces": [{"DeviceIndex": 1}]}, "InvalidParameterCombination"),
    ({"NetworkInterfaces": [{"DeviceIndex": 0}, {"DeviceIndex": 1}]}, "UnsupportedOperation"),
    ({"NetworkInterfaces": [{"DeviceIndex": 0}], "SubnetId": "subnet-1"}, "InvalidParameterCombination"),
    ({"NetworkInterfaces": [{"DeviceIndex": 0}], "SecurityGroupIds": ["sg-1"]}, "InvalidParameterCombination"),
    ({"NetworkInterfaces": [{"DeviceIndex": 0, "DeleteOnTermination": False}]}, "UnsupportedOperation"),
    ({"NetworkInterfaces": [{"NetworkInterfaceId": "eni-00000000000000000"}]}, "UnsupportedOperation"),
    ({"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {}}]}, "InvalidBlockDeviceMapping"),
    ({"BlockDeviceMappings": [_ROOT, _ROOT]}, "InvalidBlockDeviceMapping"),
    ({"BlockDeviceMappings": [{**_ROOT, "Ebs": {"VolumeSize": 0}}]}, "InvalidBlockDeviceMapping"),
    ({"BlockDeviceMappings": [{**_ROOT, "Ebs": {"VolumeSize": 10**9}}]}, "InvalidBlockDeviceMapping"),
    ({"BlockDeviceMappings": [{**_ROOT, "Ebs": {"VolumeType": "io2"}}]}, "InvalidParameterValue"),
    ({"BlockDeviceMappings": [{**_ROOT, "Ebs": {"Iops": 9000}}]}, "InvalidParameterValue"),
    (
        {"BlockDeviceMappings": [{**_ROOT, "Ebs": {"SnapshotId": "snap-00000000000000000"}}]},
        "InvalidBlockDeviceMapping",
    ),
    ({"BlockDeviceMappings": [{**_ROOT, "Ebs": {"Encrypted": True, "KmsKeyId": "?"}}]}, "InvalidParameterValue"),
    ({"BlockDeviceMappings": [{**_ROOT, "NoDevice": "x"}]}, "InvalidBlockDeviceMapping"),
    ({"MetadataOptions": {"HttpPutResponseHopLimit": 65}}, "InvalidParameterValue"),
    ({"MetadataOptions": {"HttpProtocolIpv6": "enabled"}}, "UnsupportedOperation"),
    ({"TagSpecifications": [{"ResourceType": "vpc", "Tags": []}]}, "InvalidParameterValue"),
    (
        {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": ""}]}]},
        "InvalidParameterValue",
    ),
    (
        {
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a/b", "Value": ""}]}],
            "MetadataOptions": {"InstanceMetadataTags": "enabled"},
        },
        "InvalidParameterValue",
    ),
    ({"IamInstanceProfile": {"Name": "web"}}, "InvalidParameterValue"),
    ({"LaunchTemplate": {"LaunchTemplateName": "t"}}, "InvalidLaunchTemplateName.NotFoundException"),
    ({"InstanceMarketOptions": {"MarketType": "capacity-block"}}, "UnsupportedOperation"),
    ({"Ipv6AddressCount": 1}, "UnsupportedOperation"),
    ({"EnclaveOptions": {"Enabled": True}}, "UnsupportedOperation"),
    ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
)


def test_what_can_not_be_is_refused_and_leaves_nothing(ready: Caller) -> None:
    before = census(ready.store)
    for request, code in _REFUSED:
        with refused(code):
            launch(ready, **request)
    assert census(ready.store) == before


def test_a_refusal_names_the_parameter(ready: Caller) -> None:
    for request, name in (
        ({"LicenseSpecifications": [{"LicenseConfigurationArn": "arn"}]}, "LicenseSpecifications"),
        ({"Placement": {"HostId": "h-1"}}, "Placement.HostId"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0, "Ipv6AddressCount": 2}]}, "NetworkInterfaces.Ipv6AddressCount"),
    ):
        with refused("UnsupportedOperation") as error:
            launch(ready, **request)
        assert name in str(error.value)


def test_another_accounts_things_do_not_exist(ready: Caller, stranger: Caller) -> None:
    stranger.create_key_pair(KeyName="theirs")
    for request, code in (
        ({"KeyName": "theirs"}, "InvalidKeyPair.NotFound"),
        ({"SubnetId": default_subnet(stranger)["SubnetId"]}, "InvalidSubnetID.NotFound"),
    ):
        with refused(code):
            launch(ready, **request)
    launch(ready)
    assert stranger.describe_instances()["Reservations"] == []


def test_what_terraform_reads_of_an_instance_is_there(ready: Caller) -> None:
    """Each is dereferenced without a look by its aws_instance, or makes a difference in the next plan."""
    instance = launch_one(ready, InstanceType="t3.nano", CpuOptions={"CoreCount": 2, "ThreadsPerCore": 1})
    assert instance["CpuOptions"] == {"CoreCount": 2, "ThreadsPerCore": 1}
    assert instance["Placement"]["Tenancy"] == "default"
    assert instance["MetadataOptions"]["State"] == "applied"
    assert instance["MaintenanceOptions"]["AutoRecovery"] == "default"
    assert instance["NetworkInterfaces"][0]["Attachment"]["DeviceIndex"] == 0
    assert {
        "CapacityReservationSpecification", "EnclaveOptions", "HibernationOptions", "Monitoring", "EbsOptimized",
        "PrivateDnsNameOptions", "NetworkPerformanceOptions", "RootDeviceName", "SourceDestCheck", "SubnetId", "State",
    } <= instance.keys()  # fmt: skip
    with refused("InvalidParameterValue"):
        launch_one(ready, InstanceType="t3.nano", CpuOptions={"CoreCount": 3, "ThreadsPerCore": 1})


def test_boto3_launches(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        add_host(api.store)
        add_images(api.store)
        ec2 = api.client("ec2")
        answer = ec2.run_instances(
            ImageId=IMAGE, InstanceType="fh1.nano", MinCount=1, MaxCount=2, UserData="#!/bin/sh\nreboot\n"
        )
        ids = [instance["InstanceId"] for instance in answer["Instances"]]
        assert len(ids) == 2
        pages = ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5})
        assert {i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]} == set(ids)
        with pytest.raises(ec2.exceptions.ClientError, match="DryRunOperation"):
            ec2.run_instances(ImageId=IMAGE, InstanceType="fh1.nano", MinCount=1, MaxCount=1, DryRun=True)
        with api.store.read() as tx:
            data = tx.get(InstanceUserData, ids[0])
            assert data is not None
            assert data.data == b"#!/bin/sh\nreboot\n"
