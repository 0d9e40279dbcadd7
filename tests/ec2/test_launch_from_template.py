"""RunInstances from a launch template: whose parameters count, what the instances say, who may."""

from __future__ import annotations

import base64
from typing import Any

from tests.ec2.calls import Caller, refused
from tests.ec2.launching import IMAGE, census, shown
from tests.ec2.test_launch_templates import add, make


def run(caller: Caller, template: dict[str, Any], **request: Any) -> Any:
    """The instance of a launch that says nothing but this."""
    (instance,) = caller.run_instances(LaunchTemplate=template, MinCount=1, MaxCount=1, **request)["Instances"]
    return instance


def tags(of: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in of["Tags"]}


def tagged(resource_type: str, **pairs: str) -> dict[str, Any]:
    return {"ResourceType": resource_type, "Tags": [{"Key": key, "Value": value} for key, value in pairs.items()]}


def test_all_is_from_the_template(ready: Caller) -> None:
    template_id = make(ready, ImageId=IMAGE, InstanceType="fh1.nano", EbsOptimized=True)
    instance = run(ready, {"LaunchTemplateId": template_id})
    assert (instance["ImageId"], instance["InstanceType"], instance["EbsOptimized"]) == (IMAGE, "fh1.nano", True)
    of_template = {"aws:ec2launchtemplate:id": template_id, "aws:ec2launchtemplate:version": "1"}
    assert tags(shown(ready, instance["InstanceId"])) == of_template
    # A client asks for them so, and no user can take them away.
    ready.delete_tags(Resources=[instance["InstanceId"]])
    filters = [
        {"Name": "resource-id", "Values": [instance["InstanceId"]]},
        {"Name": "key", "Values": ["aws:ec2launchtemplate:id"]},
    ]
    assert [tag["Value"] for tag in ready.describe_tags(Filters=filters)["Tags"]] == [template_id]


def test_the_tags_of_the_template_do_not_count(ready: Caller) -> None:
    make(ready, ImageId=IMAGE, InstanceType="fh1.nano")
    instance_id = run(ready, {"LaunchTemplateName": "web"})["InstanceId"]
    own = [{"Key": str(number), "Value": ""} for number in range(50)]
    ready.create_tags(Resources=[instance_id], Tags=own)
    assert len(shown(ready, instance_id)["Tags"]) == 52
    with refused("TagLimitExceeded"):
        ready.create_tags(Resources=[instance_id], Tags=[{"Key": "more", "Value": ""}])


def test_which_version(ready: Caller) -> None:
    template_id = make(ready, ImageId=IMAGE, InstanceType="fh1.nano")
    add(ready, template_id, ImageId=IMAGE, InstanceType="fh1.micro")
    by_name = {"LaunchTemplateName": "web"}
    for version, instance_type, number in (
        ({}, "fh1.nano", "1"),
        ({"Version": "$Default"}, "fh1.nano", "1"),
        ({"Version": "$Latest"}, "fh1.micro", "2"),
        ({"Version": "2"}, "fh1.micro", "2"),
    ):
        instance = run(ready, by_name | version)
        assert instance["InstanceType"] == instance_type
        assert tags(instance)["aws:ec2launchtemplate:version"] == number
    with refused("InvalidLaunchTemplateId.VersionNotFound"):
        run(ready, {"LaunchTemplateId": template_id, "Version": "3"})
    with refused("InvalidLaunchTemplateName.NotFoundException"):
        run(ready, {"LaunchTemplateName": "absent"})


def test_the_request_has_precedence(ready: Caller) -> None:
    groups = [
        ready.create_security_group(GroupName=name, Description=name)["GroupId"] for name in ("one", "two", "three")
    ]
    make(
        ready,
        ImageId=IMAGE,
        InstanceType="fh1.micro",
        SecurityGroupIds=groups[:2],
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 3},
        TagSpecifications=[tagged("instance", a="1", b="2"), tagged("volume", v="1")],
        UserData=base64.b64encode(b"template").decode(),
    )
    instance = run(
        ready,
        {"LaunchTemplateName": "web"},
        InstanceType="fh1.nano",
        SecurityGroupIds=groups[2:],
        MetadataOptions={"HttpPutResponseHopLimit": 2},
        TagSpecifications=[tagged("instance", b="3", c="4"), tagged("network-interface", n="1")],
    )
    assert instance["InstanceType"] == "fh1.nano"
    assert [group["GroupId"] for group in instance["SecurityGroups"]] == groups[2:]
    options = instance["MetadataOptions"]
    plain = run(ready, {"LaunchTemplateName": "web"}, MetadataOptions={"HttpPutResponseHopLimit": 2})
    assert options == plain["MetadataOptions"]
    assert options["HttpPutResponseHopLimit"] == 2
    own = {key: value for key, value in tags(instance).items() if not key.startswith("aws:")}
    assert own == {"a": "1", "b": "3", "c": "4"}
    (volume,) = ready.describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}]
    )["Volumes"]
    assert tags(volume) == {"v": "1"}
    (interface,) = ready.describe_network_interfaces(
        NetworkInterfaceIds=[instance["NetworkInterfaces"][0]["NetworkInterfaceId"]]
    )["NetworkInterfaces"]
    assert {tag["Key"]: tag["Value"] for tag in interface["TagSet"]} == {"n": "1"}
    data = ready.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    assert base64.b64decode(data["UserData"]["Value"]) == b"template"


def test_what_can_not_be_launched_is_refused_then(ready: Caller) -> None:
    plain = {"ImageId": IMAGE, "InstanceType": "fh1.nano"}
    for number, (data, code) in enumerate(
        (
            ({"ImageId": IMAGE}, "MissingParameter"),
            ({**plain, "RamDiskId": "ari-1"}, "UnsupportedOperation"),
            (
                {**plain, "InstanceRequirements": {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 64}}},
                "UnsupportedOperation",
            ),
            ({**plain, "InstanceMarketOptions": {"MarketType": "capacity-block"}}, "UnsupportedOperation"),
            ({**plain, "ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
            ({**plain, "KeyName": "absent"}, "InvalidKeyPair.NotFound"),
            ({**plain, "TagSpecifications": [tagged("fleet", a="b")]}, "InvalidParameterValue"),
        )
    ):
        template_id = make(ready, f"web{number}", **data)
        before = census(ready.store)
        with refused(code):
            run(ready, {"LaunchTemplateId": template_id})
        assert census(ready.store) == before


def test_the_template_of_an_instance_makes_its_like(ready: Caller) -> None:
    ready.create_key_pair(KeyName="k", KeyType="ed25519")
    make(
        ready,
        ImageId=IMAGE,
        InstanceType="fh1.nano",
        KeyName="k",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 3}}],
        InstanceInitiatedShutdownBehavior="terminate",
        TagSpecifications=[tagged("instance", a="1")],
        UserData=base64.b64encode(b"template").decode(),
    )
    first = run(ready, {"LaunchTemplateName": "web"})
    data = ready.get_launch_template_data(InstanceId=first["InstanceId"])["LaunchTemplateData"]
    assert data["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 3
    assert data["TagSpecifications"] == [tagged("instance", a="1")]
    like = run(ready, {"LaunchTemplateId": make(ready, "like", **data)})
    assert ready.get_launch_template_data(InstanceId=like["InstanceId"])["LaunchTemplateData"] == data


def test_a_launch_that_is_sent_twice(ready: Caller) -> None:
    template_id = make(ready, ImageId=IMAGE, InstanceType="fh1.nano")
    template = {"LaunchTemplateId": template_id}
    first = run(ready, template, ClientToken="t")
    add(ready, template_id, ImageId=IMAGE, InstanceType="fh1.micro")
    ready.modify_launch_template(**template, DefaultVersion="2")
    assert run(ready, template, ClientToken="t")["InstanceId"] == first["InstanceId"]
    with refused("IdempotentParameterMismatch"):
        run(ready, template | {"Version": "2"}, ClientToken="t")
