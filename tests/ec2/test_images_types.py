"""Images, regions and zones, and what else is described: shapes, filters, and codes of what is not."""

from __future__ import annotations

from typing import Any

from freehold.config import Config
from freehold.records.accounts import OpenedRegion
from tests.ec2.calls import Caller, refused
from tests.ec2.conftest import opened
from tests.ec2.launching import BIG_IMAGE, IMAGE, launch_one, run_one, terminate


def filters(**values: str) -> list[dict[str, Any]]:
    """``filters(owner_alias="amazon")``: underscores stand for the dashes of filters' names."""
    return [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]} for name, value in values.items()]


def image_ids(caller: Caller, **request: Any) -> list[str]:
    return [image["ImageId"] for image in caller.describe_images(**request)["Images"]]


def test_images_are_found_as_scripts_look_for_them(ready: Caller, stranger: Caller) -> None:
    both = [IMAGE, BIG_IMAGE]
    for request, found in (
        ({}, both),
        ({"Owners": ["amazon"]}, both),
        ({"Owners": ["self"]}, []),
        ({"Owners": ["self", "amazon"]}, both),
        ({"Owners": ["aws-marketplace"]}, []),
        ({"ExecutableUsers": ["all"]}, both),
        ({"ExecutableUsers": ["self"]}, []),
        ({"ImageIds": [BIG_IMAGE]}, [BIG_IMAGE]),
        ({"ImageIds": [BIG_IMAGE], "Owners": ["self"]}, []),
        ({"Filters": filters(name="debian-*")}, [BIG_IMAGE]),
        ({"Owners": ["amazon"], "Filters": filters(name="freehold-micro", state="available")}, [IMAGE]),
        ({"Filters": filters(architecture="x86_64", virtualization_type="hvm", root_device_type="ebs")}, both),
        ({"Filters": filters(architecture="arm64")}, []),
        ({"Filters": filters(is_public="true", owner_alias="amazon", image_type="machine")}, both),
        ({"Filters": filters(platform="windows")}, []),
        ({"Filters": filters(block_device_mapping__volume_size="3")}, [BIG_IMAGE]),
        ({"IncludeDeprecated": True, "Filters": filters(image_id="ami-*")}, both),
    ):
        assert image_ids(ready, **request) == found, request
        if request.get("Owners") != ["self"]:
            assert image_ids(stranger, **request) == found, request
    (image,) = ready.describe_images(ImageIds=[BIG_IMAGE])["Images"]
    assert (image["Name"], image["ImageOwnerAlias"], image["State"]) == ("debian-12", "amazon", "available")
    (mapping,) = image["BlockDeviceMappings"]
    assert (mapping["DeviceName"], mapping["Ebs"]["VolumeSize"]) == (image["RootDeviceName"], 3)


def test_images_that_are_none(ready: Caller) -> None:
    for image_id, code in (
        ("ami-0fffffffffffffff0", "InvalidAMIID.NotFound"),
        ("ami-12345678", "InvalidAMIID.NotFound"),
        ("debian-12", "InvalidAMIID.Malformed"),
        ("ami-", "InvalidAMIID.Malformed"),
        ("i-0123456789abcdef0", "InvalidAMIID.Malformed"),
    ):
        with refused(code):
            ready.describe_images(ImageIds=[IMAGE, image_id])
    assert image_ids(ready, MaxResults=1) == [IMAGE]


def test_regions(caller: Caller) -> None:
    def names(**request: Any) -> list[str]:
        return [region["RegionName"] for region in caller.describe_regions(**request)["Regions"]]

    assert names() == ["us-east-1"]
    opened(caller.store, caller.account, "eu-west-1")
    with caller.store.read() as tx:
        assert tx.get(OpenedRegion, caller.account, "eu-west-1")
    assert names() == names(AllRegions=True) == ["eu-west-1", "us-east-1"]
    assert names(RegionNames=["ap-south-1"]) == ["ap-south-1"]
    assert names(Filters=filters(region_name="eu-*")) == ["eu-west-1"]
    assert names(Filters=filters(opt_in_status="opted-in")) == []
    assert names(Filters=filters(endpoint="ec2.us-east-1.amazonaws.com")) == ["us-east-1"]
    for name in ("nowhere", "../etc", "us-east-1\n", ""):
        with refused("InvalidParameterValue"):
            names(RegionNames=[name])
    fixed = Caller(caller.store, config=Config(regions=("us-east-1", "eu-north-1")))
    assert [region["RegionName"] for region in fixed.describe_regions()["Regions"]] == ["eu-north-1", "us-east-1"]
    with refused("InvalidParameterValue"):
        fixed.describe_regions(RegionNames=["ap-south-1"])


def test_zones(caller: Caller) -> None:
    def names(**request: Any) -> list[str]:
        return [zone["ZoneName"] for zone in caller.describe_availability_zones(**request)["AvailabilityZones"]]

    assert names() == ["us-east-1a", "us-east-1b", "us-east-1c"]
    assert names(ZoneNames=["us-east-1b"]) == names(ZoneIds=["use1-az2"]) == ["us-east-1b"]
    assert names(Filters=filters(state="available", zone_name="*c")) == ["us-east-1c"]
    assert names(Filters=filters(zone_type="local-zone")) == []
    for request in ({"ZoneNames": ["eu-west-1a"]}, {"ZoneNames": ["us-east-1z"]}, {"ZoneIds": ["use1-az9"]}):
        with refused("InvalidParameterValue"):
            names(**request)


def test_account_attributes(caller: Caller) -> None:
    def values(**request: Any) -> dict[str, str]:
        return {
            attribute["AttributeName"]: attribute["AttributeValues"][0]["AttributeValue"]
            for attribute in caller.describe_account_attributes(**request)["AccountAttributes"]
        }

    (vpc,) = caller.describe_vpcs()["Vpcs"]
    assert values()["default-vpc"] == vpc["VpcId"]
    assert values(AttributeNames=["supported-platforms"]) == {"supported-platforms": "VPC"}


def test_volumes_and_interfaces_of_an_instance(ready: Caller, stranger: Caller) -> None:
    instance_id = run_one(ready, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 4}}])
    launch_one(ready)
    of_instance = {"Filters": filters(attachment__instance_id=instance_id)}
    (volume,) = ready.describe_volumes(**of_instance)["Volumes"]
    (attachment,) = volume["Attachments"]
    assert (volume["Size"], volume["State"], volume["Encrypted"]) == (4, "in-use", True)
    assert (attachment["InstanceId"], attachment["Device"]) == (instance_id, "/dev/xvda")
    (interface,) = ready.describe_network_interfaces(**of_instance)["NetworkInterfaces"]
    assert interface["Attachment"]["InstanceId"] == instance_id
    assert interface["Status"] == "in-use"
    owner = {"Filters": filters(association__ip_owner_id=interface["Association"]["IpOwnerId"])}
    assert len(ready.describe_network_interfaces(**owner)["NetworkInterfaces"]) == 2
    volume_id, interface_id = volume["VolumeId"], interface["NetworkInterfaceId"]
    for given in (filters(size="4"), filters(volume_id=volume_id), filters(status="in-use", size="4")):
        assert [v["VolumeId"] for v in ready.describe_volumes(Filters=given)["Volumes"]] == [volume_id]
    for name in ("mac-address", "private-ip-address", "network-interface-id"):
        value = interface[{"mac-address": "MacAddress", "private-ip-address": "PrivateIpAddress"}.get(
            name, "NetworkInterfaceId")]  # fmt: skip
        found = ready.describe_network_interfaces(Filters=[{"Name": name, "Values": [value]}])["NetworkInterfaces"]
        assert [i["NetworkInterfaceId"] for i in found] == [interface_id]
    assert (
        len(ready.describe_volumes()["Volumes"]) == len(ready.describe_network_interfaces()["NetworkInterfaces"]) == 2
    )
    for resource_id, code in ((volume_id, "InvalidVolume.NotFound"), ("vol-x", "InvalidVolumeID.Malformed")):
        with refused(code):
            stranger.describe_volumes(VolumeIds=[resource_id])
    for resource_id, code in (
        (interface_id, "InvalidNetworkInterfaceID.NotFound"),
        ("eni-x", "InvalidNetworkInterfaceId.Malformed"),
    ):
        with refused(code):
            stranger.describe_network_interfaces(NetworkInterfaceIds=[resource_id])
    terminate(ready, instance_id)
    with refused("InvalidVolume.NotFound"):
        ready.describe_volumes(VolumeIds=[volume_id])
    assert ready.describe_network_interfaces(**of_instance)["NetworkInterfaces"] == []
