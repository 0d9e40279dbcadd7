"""DescribeInstanceAttribute, ModifyInstanceAttribute, ModifyInstanceMetadataOptions and GetConsoleOutput."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from freehold.config import Config
from freehold.control.networks import vpc_view
from freehold.control.specs import guest_specs, instances_of_host
from freehold.host.wire import GuestSpec
from freehold.records.compute import Host
from freehold.records.feed import position, since
from freehold.records.network import Vpc
from freehold.records.store import Store
from tests.cloudapi import api_server
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import (
    BIG_IMAGE,
    IMAGE,
    add_host,
    add_images,
    census,
    host_reports,
    launch_one,
    record,
    run_one,
    shown,
    stop,
    terminate,
)

SCRIPT = b"#!/bin/sh\necho hello\n"


def attribute(caller: Caller, instance_id: str, name: str) -> Any:
    """The one attribute that the answer has besides the id."""
    answer = dict(caller.describe_instance_attribute(InstanceId=instance_id, Attribute=name))
    assert answer.pop("InstanceId") == instance_id
    ((_, value),) = answer.items()
    return value


def spec(store: Store, instance_id: str) -> GuestSpec:
    with store.read() as tx:
        (found,) = [
            s for s in guest_specs(tx, Config(), instances_of_host(tx, "host-1")) if s.instance_id == instance_id
        ]
    return found


def feed(store: Store) -> int:
    with store.read() as tx:
        return position(tx)


def told(store: Store, after: int) -> set[str]:
    with store.read() as tx:
        return {topic for topic, _ in since(tx, after, ("guest", "vpc"))[1]}


def test_every_attribute_has_an_answer(ready: Caller) -> None:
    instance_id = run_one(ready)
    instance = shown(ready, instance_id)
    expected = {
        "blockDeviceMapping": instance["BlockDeviceMappings"],
        "disableApiStop": {"Value": False},
        "disableApiTermination": {"Value": False},
        "ebsOptimized": {"Value": False},
        "enaSupport": {"Value": False},
        "enclaveOptions": {"Enabled": False},
        "groupSet": instance["SecurityGroups"],
        "instanceInitiatedShutdownBehavior": {"Value": "stop"},
        "instanceType": {"Value": "fh1.nano"},
        "kernel": {},
        "productCodes": [],
        "ramdisk": {},
        "rootDeviceName": {"Value": "/dev/xvda"},
        "sourceDestCheck": {"Value": True},
        "sriovNetSupport": {},
        "userData": {},
    }
    assert {name: attribute(ready, instance_id, name) for name in expected} == expected
    terminate(ready, instance_id)
    for name in expected:
        attribute(ready, instance_id, name)
    with refused("InvalidInstanceID.NotFound"):
        attribute(ready, "i-00000000000000000", "userData")


@pytest.mark.parametrize(
    ("request_", "name", "expected"),
    [
        ({"DisableApiTermination": {"Value": True}}, "disableApiTermination", {"Value": True}),
        ({"Attribute": "disableApiTermination", "Value": "TRUE"}, "disableApiTermination", {"Value": True}),
        ({"DisableApiStop": {"Value": True}}, "disableApiStop", {"Value": True}),
        (
            {"Attribute": "", "Value": "", "Groups": [], "DisableApiStop": {"Value": True}},
            "disableApiStop",
            {"Value": True},
        ),
        (
            {"InstanceInitiatedShutdownBehavior": {"Value": "terminate"}},
            "instanceInitiatedShutdownBehavior",
            {"Value": "terminate"},
        ),
        (
            {"Attribute": "instanceInitiatedShutdownBehavior", "Value": "terminate"},
            "instanceInitiatedShutdownBehavior",
            {"Value": "terminate"},
        ),
        ({"EnaSupport": {"Value": False}}, "enaSupport", {"Value": False}),
        ({"EnclaveOptions": {"Enabled": False}}, "enclaveOptions", {"Enabled": False}),
        ({"Attribute": "sourceDestCheck", "SourceDestCheck": {"Value": False}}, "sourceDestCheck", {"Value": False}),
    ],
)
def test_what_a_running_instance_lets_change(ready: Caller, request_: Any, name: str, expected: Any) -> None:
    instance_id = run_one(ready)
    assert ready.modify_instance_attribute(InstanceId=instance_id, **request_) == {}
    assert attribute(ready, instance_id, name) == expected


@pytest.mark.parametrize(
    ("request_", "name", "expected"),
    [
        ({"InstanceType": {"Value": "t3.micro"}}, "instanceType", {"Value": "t3.micro"}),
        ({"Attribute": "instanceType", "Value": "t3.micro"}, "instanceType", {"Value": "t3.micro"}),
        ({"EbsOptimized": {"Value": True}}, "ebsOptimized", {"Value": True}),
        ({"UserData": {"Value": SCRIPT}}, "userData", {"Value": base64.b64encode(SCRIPT).decode()}),
        (
            {"Attribute": "userData", "Value": base64.encodebytes(SCRIPT).decode()},
            "userData",
            {"Value": base64.b64encode(SCRIPT).decode()},
        ),
    ],
)
def test_what_only_a_stopped_instance_lets_change(ready: Caller, request_: Any, name: str, expected: Any) -> None:
    instance_id = run_one(ready)
    before = census(ready.store)
    with refused("IncorrectInstanceState"):
        ready.modify_instance_attribute(InstanceId=instance_id, **request_)
    assert census(ready.store) == before
    stop(ready, instance_id)
    ready.modify_instance_attribute(InstanceId=instance_id, **request_)
    assert attribute(ready, instance_id, name) == expected


def test_a_new_type_holds_its_own_room_and_is_paid_as_such(ready: Caller) -> None:
    instance_id = run_one(ready)
    stop(ready, instance_id)
    ready.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "t3.micro"})
    ready.start_instances(InstanceIds=[instance_id])
    told_now = spec(ready.store, instance_id)
    assert (told_now.vcpus, told_now.memory_mib, told_now.metadata.instance_type) == (2, 1024, "t3.micro")
    with ready.store.read() as tx:
        (host,) = tx.select(Host)
    assert (host.vcpus_used, host.memory_used_mib) == (2, 1024)
    host_reports(ready.store, instance_id, "running")
    instance = shown(ready, instance_id)
    assert (instance["InstanceType"], instance["CpuOptions"]["CoreCount"]) == ("t3.micro", 2)
    terminate(ready, instance_id)
    with ready.store.read() as tx:
        (host,) = tx.select(Host)
    assert (host.vcpus_used, host.memory_used_mib) == (0, 0)


def test_a_type_without_room_is_found_out_by_the_start(caller: Caller) -> None:
    add_images(caller.store)
    add_host(caller.store, memory_mib=256)
    instance_id = run_one(caller)
    stop(caller, instance_id)
    caller.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "fh1.micro"})
    run_one(caller)
    with refused("InsufficientInstanceCapacity"):
        caller.start_instances(InstanceIds=[instance_id])
    assert shown(caller, instance_id)["State"]["Name"] == "stopped"


def test_user_data_reaches_the_next_boot_and_can_be_taken_away(ready: Caller) -> None:
    instance_id = run_one(ready, UserData=base64.b64encode(b"first").decode())
    stop(ready, instance_id)
    ready.modify_instance_attribute(InstanceId=instance_id, UserData={"Value": SCRIPT})
    assert spec(ready.store, instance_id).metadata.user_data == SCRIPT
    ready.modify_instance_attribute(InstanceId=instance_id, UserData={"Value": b""})
    assert spec(ready.store, instance_id).metadata.user_data is None
    assert attribute(ready, instance_id, "userData") == {}


def test_groups_change_at_once_in_the_network(ready: Caller) -> None:
    instance_id = run_one(ready)
    group_ids = [ready.create_security_group(GroupName=name, Description=name)["GroupId"] for name in ("web", "db")]
    before = feed(ready.store)
    ready.modify_instance_attribute(InstanceId=instance_id, Groups=group_ids)
    assert told(ready.store, before) == {"guest", "vpc"}
    names = [group["GroupName"] for group in shown(ready, instance_id)["SecurityGroups"]]
    assert names == ["web", "db"]
    assert [group["GroupName"] for group in attribute(ready, instance_id, "groupSet")] == names
    with refused("DependencyViolation"):
        ready.delete_security_group(GroupId=group_ids[0])
    ready.modify_instance_attribute(InstanceId=instance_id, Groups=group_ids[1:])
    ready.delete_security_group(GroupId=group_ids[0])


def test_source_dest_check_is_the_networks(ready: Caller) -> None:
    instance_id = run_one(ready)
    before = feed(ready.store)
    ready.modify_instance_attribute(InstanceId=instance_id, SourceDestCheck={"Value": False})
    assert told(ready.store, before) == {"vpc"}
    instance = shown(ready, instance_id)
    assert instance["SourceDestCheck"] is False
    assert instance["NetworkInterfaces"][0]["SourceDestCheck"] is False
    with ready.store.read() as tx:
        (vpc,) = tx.select(Vpc)
        view = vpc_view(tx, vpc.id)
    assert view is not None
    assert [port.source_dest_check for port in view.ports] == [False]


def test_a_volume_may_outlive_its_instance(ready: Caller) -> None:
    instance_id = run_one(ready)
    first = spec(ready.store, instance_id)
    before = feed(ready.store)
    mapping = {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}
    ready.modify_instance_attribute(InstanceId=instance_id, BlockDeviceMappings=[mapping])
    assert told(ready.store, before) == {"guest"}
    assert shown(ready, instance_id)["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is False
    second = spec(ready.store, instance_id)
    assert (second.delete_volumes, second.generation) == ((), first.generation + 1)
    terminate(ready, instance_id)
    (volume,) = ready.describe_volumes()["Volumes"]
    assert volume["State"] == "available"


def test_termination_protection_can_be_lifted(ready: Caller) -> None:
    instance_id = run_one(ready, DisableApiTermination=True)
    with refused("OperationNotPermitted"):
        ready.terminate_instances(InstanceIds=[instance_id])
    ready.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
    terminate(ready, instance_id)


_MAPPING = {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}
_REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "InvalidParameterCombination"),
    ({"Groups": []}, "InvalidParameterCombination"),
    ({"Attribute": "instanceType"}, "InvalidParameterCombination"),
    ({"Value": "t3.micro"}, "MissingParameter"),
    ({"DisableApiStop": {"Value": True}, "DisableApiTermination": {"Value": True}}, "InvalidParameterCombination"),
    ({"Attribute": "userData", "DisableApiStop": {"Value": True}}, "InvalidParameterCombination"),
    (
        {"Attribute": "userData", "Value": "", "DisableApiStop": {"Value": True}},
        "InvalidParameterCombination",
    ),
    (
        {"Attribute": "disableApiStop", "Value": "true", "DisableApiStop": {"Value": True}},
        "InvalidParameterCombination",
    ),
    ({"Attribute": "disableApiStop", "Value": "yes"}, "InvalidParameterValue"),
    ({"Attribute": "groupSet", "Value": "sg-1"}, "InvalidParameterCombination"),
    ({"Attribute": "rootDeviceName", "Value": "/dev/sdb"}, "UnsupportedOperation"),
    ({"Attribute": "kernel", "Value": "aki-1"}, "UnsupportedOperation"),
    ({"Ramdisk": {"Value": "ari-1"}}, "UnsupportedOperation"),
    ({"SriovNetSupport": {"Value": "simple"}}, "UnsupportedOperation"),
    ({"EnaSupport": {"Value": True}}, "UnsupportedOperation"),
    ({"EnclaveOptions": {"Enabled": True}}, "UnsupportedOperation"),
    ({"InstanceInitiatedShutdownBehavior": {"Value": "hibernate"}}, "InvalidParameterValue"),
    ({"InstanceType": {"Value": "z9.huge"}}, "InvalidInstanceAttributeValue"),
    ({"InstanceType": {"Value": ""}}, "InvalidInstanceAttributeValue"),
    ({"InstanceType": {"Value": "fh1.nano"}}, "InvalidParameterCombination"),
    ({"UserData": {"Value": b"x" * 16385}}, "InvalidParameterValue"),
    ({"Attribute": "userData", "Value": "not base64!"}, "InvalidUserData.Malformed"),
    ({"Groups": ["sg-00000000000000000"]}, "InvalidGroup.NotFound"),
    ({"Groups": ["default"]}, "InvalidGroupId.Malformed"),
    ({"BlockDeviceMappings": [{**_MAPPING, "DeviceName": "/dev/sdb"}]}, "InvalidInstanceAttributeValue"),
    ({"BlockDeviceMappings": [_MAPPING, {"Ebs": {"DeleteOnTermination": True}}]}, "MissingParameter"),
    ({"BlockDeviceMappings": [{"DeviceName": "/dev/xvda"}]}, "MissingParameter"),
    ({"BlockDeviceMappings": [{**_MAPPING, "VirtualName": "ephemeral0"}]}, "UnsupportedOperation"),
    ({"BlockDeviceMappings": [{**_MAPPING, "NoDevice": ""}, {**_MAPPING, "NoDevice": "x"}]}, "UnsupportedOperation"),
    (
        {
            "BlockDeviceMappings": [
                {
                    "DeviceName": "/dev/xvda",
                    "Ebs": {"DeleteOnTermination": False, "VolumeId": "vol-00000000000000000"},
                }
            ]
        },
        "InvalidInstanceAttributeValue",
    ),
)


def test_what_can_not_be_is_refused_and_changes_nothing(ready: Caller) -> None:
    instance_id = run_one(ready, ImageId=BIG_IMAGE, InstanceType="t3.micro")
    stop(ready, instance_id)
    before = census(ready.store)
    for request, code in _REFUSED:
        with refused(code):
            ready.modify_instance_attribute(InstanceId=instance_id, **request)
    assert census(ready.store) == before


def test_an_instance_that_goes_can_not_be_modified(ready: Caller, stranger: Caller) -> None:
    instance_id = run_one(ready)
    with refused("InvalidInstanceID.NotFound"):
        stranger.modify_instance_attribute(InstanceId=instance_id, DisableApiStop={"Value": True})
    with refused("InvalidInstanceID.NotFound"):
        stranger.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
    ready.terminate_instances(InstanceIds=[instance_id])
    with refused("IncorrectInstanceState"):
        ready.modify_instance_attribute(InstanceId=instance_id, BlockDeviceMappings=[_MAPPING])
    with refused("IncorrectInstanceState"):
        ready.modify_instance_metadata_options(InstanceId=instance_id, HttpTokens="optional")


def test_metadata_options_reach_the_host(ready: Caller) -> None:
    instance_id = run_one(ready)
    first = spec(ready.store, instance_id)
    answer = ready.modify_instance_metadata_options(
        InstanceId=instance_id,
        HttpTokens="optional",
        HttpPutResponseHopLimit=5,
        HttpEndpoint="disabled",
        HttpProtocolIpv6="disabled",
        InstanceMetadataTags="enabled",
    )
    assert answer["InstanceId"] == instance_id
    assert answer["InstanceMetadataOptions"] == shown(ready, instance_id)["MetadataOptions"]
    assert answer["InstanceMetadataOptions"] == {
        "State": "applied",
        "HttpTokens": "optional",
        "HttpPutResponseHopLimit": 5,
        "HttpEndpoint": "disabled",
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": "enabled",
    }
    second = spec(ready.store, instance_id)
    assert second.generation == first.generation + 1
    assert (second.metadata.http_tokens, second.metadata.http_put_response_hop_limit) == ("optional", 5)
    assert (second.metadata.http_endpoint, second.metadata.tags) == ("disabled", {})
    # What is not named stays.
    ready.modify_instance_metadata_options(InstanceId=instance_id, HttpEndpoint="enabled")
    assert record(ready.store, instance_id).metadata_options.http_put_response_hop_limit == 5


def test_a_change_while_it_starts_does_not_lose_the_report(ready: Caller) -> None:
    instance_id = launch_one(ready)["InstanceId"]
    ready.modify_instance_metadata_options(InstanceId=instance_id, HttpTokens="optional")
    host_reports(ready.store, instance_id, "running")
    assert shown(ready, instance_id)["State"]["Name"] == "running"


def test_metadata_options_that_can_not_be(ready: Caller) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "a/b", "Value": ""}]}]
    instance_id = run_one(ready, TagSpecifications=tags)
    before = census(ready.store)
    for request, code in (
        ({}, "InvalidParameterCombination"),
        ({"HttpPutResponseHopLimit": 0}, "InvalidParameterValue"),
        ({"HttpPutResponseHopLimit": 65}, "InvalidParameterValue"),
        ({"HttpProtocolIpv6": "enabled"}, "UnsupportedOperation"),
        ({"InstanceMetadataTags": "enabled"}, "InvalidParameterValue"),
    ):
        with refused(code):
            ready.modify_instance_metadata_options(InstanceId=instance_id, **request)
    with refused("InvalidInstanceID.NotFound"):
        ready.modify_instance_metadata_options(InstanceId="i-00000000000000000", HttpTokens="optional")
    assert census(ready.store) == before


def test_the_console_is_empty_until_something_is_on_it(ready: Caller, stranger: Caller) -> None:
    instance = launch_one(ready)
    instance_id = instance["InstanceId"]
    empty = ready.get_console_output(InstanceId=instance_id)
    assert empty == {"InstanceId": instance_id, "Timestamp": instance["LaunchTime"], "Output": ""}
    text = b"\x1b[1mlogin: \xff\x00\r\n"
    host_reports(ready.store, instance_id, "running", console=text)
    written = ready.get_console_output(InstanceId=instance_id, Latest=True)
    assert base64.b64decode(written["Output"]) == text
    assert written["Timestamp"] > instance["LaunchTime"]
    terminate(ready, instance_id)
    assert ready.get_console_output(InstanceId=instance_id) == written
    with refused("InvalidInstanceID.NotFound"):
        stranger.get_console_output(InstanceId=instance_id)


def test_boto3_changes_and_reads(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        add_host(api.store)
        add_images(api.store)
        ec2 = api.client("ec2")
        answer = ec2.run_instances(ImageId=IMAGE, InstanceType="fh1.nano", MinCount=1, MaxCount=1)
        instance_id = answer["Instances"][0]["InstanceId"]
        host_reports(api.store, instance_id, "running", console=b"booting\n")
        assert ec2.get_console_output(InstanceId=instance_id)["Output"] == "booting\n"
        empty = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
        assert empty["UserData"] == {}
        ec2.stop_instances(InstanceIds=[instance_id])
        host_reports(api.store, instance_id, "stopped")
        ec2.modify_instance_attribute(InstanceId=instance_id, UserData={"Value": SCRIPT})
        stored = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
        assert base64.b64decode(stored["UserData"]["Value"]) == SCRIPT
        groups = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="groupSet")["Groups"]
        ec2.modify_instance_attribute(InstanceId=instance_id, Groups=[group["GroupId"] for group in groups])
        ec2.modify_instance_attribute(InstanceId=instance_id, Attribute="instanceType", Value="t3.micro")
        with pytest.raises(ec2.exceptions.ClientError, match="InvalidInstanceAttributeValue"):
            ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "z9.huge"})
        options = ec2.modify_instance_metadata_options(InstanceId=instance_id, HttpTokens="optional")
        assert options["InstanceMetadataOptions"]["HttpTokens"] == "optional"
