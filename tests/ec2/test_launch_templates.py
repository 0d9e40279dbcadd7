"""Launch templates and their versions, by boto3 and on both databases: what is given is what is shown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.model import Shape

from tests.cloudapi import ApiServer, api_server
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import census

_UNTIL = dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud")) as api:
        yield api


def make(caller: Any, name: str = "web", **data: Any) -> str:
    """The id of a new template."""
    made = caller.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data or {"ImageId": "ami-1"})
    template_id: str = made["LaunchTemplate"]["LaunchTemplateId"]
    return template_id


def add(caller: Any, template_id: str, **data: Any) -> Any:
    """A new version."""
    return caller.create_launch_template_version(LaunchTemplateId=template_id, LaunchTemplateData=data)[
        "LaunchTemplateVersion"
    ]


def numbers(caller: Any, **request: Any) -> list[int]:
    found = caller.describe_launch_template_versions(**request)["LaunchTemplateVersions"]
    return [version["VersionNumber"] for version in found]


def by(name: str, *values: str) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": list(values)}]


def every_member(shape: Shape, name: str = "") -> Any:
    """A value with all members that the shape has."""
    match shape.type_name:
        case "structure":
            return {member: every_member(of, member) for member, of in shape.members.items()}
        case "list":
            return [every_member(shape.member, name)]
        case "timestamp":
            return _UNTIL
        case "boolean":
            return True
        case "integer" | "long":
            return 3
        case "double" | "float":
            return 0.5
    enum: list[str] = shape.enum
    return enum[0] if enum else "IyEvYmluL3NoCg==" if name == "UserData" else f"some-{name}"


def test_all_that_the_model_has_is_kept_and_shown(api: ApiServer) -> None:
    ec2 = api.client("ec2")
    given = every_member(ec2.meta.service_model.shape_for("RequestLaunchTemplateData"))
    template_id = make(ec2, "everything", **given)
    (shown,) = ec2.describe_launch_template_versions(LaunchTemplateId=template_id)["LaunchTemplateVersions"]
    assert shown["LaunchTemplateData"] == given
    assert add(ec2, template_id, **given)["LaunchTemplateData"] == given


def test_as_terraform_goes(api: ApiServer) -> None:
    ec2 = api.client("ec2")
    made = ec2.create_launch_template(
        LaunchTemplateName="terraform",
        VersionDescription="the first",
        LaunchTemplateData={"InstanceType": "t3.micro"},
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "a", "Value": "b"}]}],
    )["LaunchTemplate"]
    template_id = made["LaunchTemplateId"]
    (template,) = ec2.describe_launch_templates(LaunchTemplateIds=[template_id])["LaunchTemplates"]
    assert template == made
    assert template["Tags"] == [{"Key": "a", "Value": "b"}]
    assert (template["DefaultVersionNumber"], template["LatestVersionNumber"]) == (1, 1)
    assert template["CreatedBy"] == f"arn:aws:iam::{api.account_id}:root"
    (version,) = ec2.describe_launch_template_versions(LaunchTemplateId=template_id, Versions=["1"])[
        "LaunchTemplateVersions"
    ]
    assert (version["DefaultVersion"], version["VersionDescription"]) == (True, "the first")
    assert version["LaunchTemplateData"] == {"InstanceType": "t3.micro"}
    assert add(ec2, template_id, InstanceType="t3.small")["VersionNumber"] == 2
    changed = ec2.modify_launch_template(LaunchTemplateId=template_id, DefaultVersion="2")["LaunchTemplate"]
    assert (changed["DefaultVersionNumber"], changed["LatestVersionNumber"]) == (2, 2)
    ec2.create_tags(Resources=[template_id], Tags=[{"Key": "c", "Value": "d"}])
    (found,) = ec2.describe_launch_templates(Filters=by("tag:c", "d"))["LaunchTemplates"]
    assert found["LaunchTemplateName"] == "terraform"
    assert (
        ec2.delete_launch_template(LaunchTemplateName="terraform")["LaunchTemplate"]["LaunchTemplateId"] == template_id
    )
    with pytest.raises(ec2.exceptions.ClientError, match=r"InvalidLaunchTemplateId\.NotFound"):
        ec2.describe_launch_templates(LaunchTemplateIds=[template_id])
    assert not ec2.describe_tags(Filters=by("resource-id", template_id))["Tags"]
    with pytest.raises(ec2.exceptions.ClientError, match="DryRunOperation"):
        ec2.create_launch_template(LaunchTemplateName="dry", LaunchTemplateData={"ImageId": "ami-1"}, DryRun=True)


def test_templates_that_can_not_be(caller: Caller, stranger: Caller) -> None:
    make(caller)
    before = census(caller.store)
    for name, data, code in (
        ("web", {"ImageId": "ami-1"}, "InvalidLaunchTemplateName.AlreadyExistsException"),
        ("we b", {"ImageId": "ami-1"}, "InvalidLaunchTemplateName.MalformedException"),
        ("w\0b", {"ImageId": "ami-1"}, "InvalidLaunchTemplateName.MalformedException"),
        ("other", {}, "MissingParameter"),
        ("other", {"ImageId": ""}, "MissingParameter"),
        ("other", {"UserData": "!"}, "InvalidUserData.Malformed"),
        ("other", {"Placement": {"GroupName": "a\0b"}}, "InvalidParameterValue"),
        ("other", {"TagSpecifications": [{"Tags": [{"Key": "aws:x", "Value": ""}]}]}, "InvalidParameterValue"),
    ):
        with refused(code):
            caller.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    with refused("InvalidParameterValue"):
        caller.create_launch_template(
            LaunchTemplateName="other",
            LaunchTemplateData={"ImageId": "ami-1"},
            TagSpecifications=[{"ResourceType": "instance", "Tags": []}],
        )
    assert census(caller.store) == before
    make(stranger)


def test_a_template_that_is_not_there(caller: Caller, stranger: Caller) -> None:
    theirs = make(stranger, "theirs")
    calls = (
        (caller.create_launch_template_version, {"LaunchTemplateData": {"ImageId": "ami-1"}}),
        (caller.describe_launch_template_versions, {}),
        (caller.modify_launch_template, {"DefaultVersion": "1"}),
        (caller.delete_launch_template_versions, {"Versions": ["1"]}),
        (caller.delete_launch_template, {}),
    )
    for call, request in calls:
        for named, code in (
            ({"LaunchTemplateId": theirs}, "InvalidLaunchTemplateId.NotFound"),
            ({"LaunchTemplateId": "lt-1"}, "InvalidLaunchTemplateId.Malformed"),
            ({"LaunchTemplateName": "theirs"}, "InvalidLaunchTemplateName.NotFoundException"),
            ({"LaunchTemplateName": "th\0"}, "InvalidLaunchTemplateName.NotFoundException"),
            ({"LaunchTemplateName": "theirs", "LaunchTemplateId": theirs}, "InvalidParameterCombination"),
            ({}, "MissingParameter"),
        ):
            with refused(code):
                call(**named, **request)
    with refused("InvalidLaunchTemplateName.NotFoundException"):
        caller.describe_launch_templates(LaunchTemplateNames=["theirs"])
    assert not caller.describe_launch_templates()["LaunchTemplates"]


def test_a_version_is_based_on_another(caller: Caller) -> None:
    device = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 9}}
    template_id = make(caller, ImageId="ami-1", KeyName="k", BlockDeviceMappings=[device])
    add(caller, template_id, ImageId="ami-2")
    made = caller.create_launch_template_version(
        LaunchTemplateName="web", SourceVersion="1", LaunchTemplateData={"KeyName": "other"}
    )["LaunchTemplateVersion"]
    assert made["VersionNumber"] == 3
    assert made["LaunchTemplateData"] == {
        "ImageId": "ami-1",
        "KeyName": "other",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 9}}],
    }
    (first,) = caller.describe_launch_template_versions(LaunchTemplateId=template_id, Versions=["1"])[
        "LaunchTemplateVersions"
    ]
    assert first["LaunchTemplateData"]["BlockDeviceMappings"] == [device]
    with refused("InvalidLaunchTemplateId.VersionNotFound"):
        caller.create_launch_template_version(
            LaunchTemplateId=template_id, SourceVersion="4", LaunchTemplateData={"KeyName": "other"}
        )


def test_versions_are_found(caller: Caller) -> None:
    template_id = make(caller, ImageId="ami-1", EbsOptimized=True, MetadataOptions={"HttpTokens": "required"})
    for number in range(2, 13):
        add(caller, template_id, ImageId=f"ami-{number}", EbsOptimized=False)
    caller.modify_launch_template(LaunchTemplateId=template_id, DefaultVersion="3")
    other = make(caller, "other", IamInstanceProfile={"Arn": "arn:x"})
    one = {"LaunchTemplateId": template_id}
    assert numbers(caller, **one) == list(range(1, 13))
    assert numbers(caller, **one, Versions=["$Latest", "2", "$Default"]) == [2, 3, 12]
    assert numbers(caller, **one, MinVersion="4", MaxVersion="6") == [4, 5, 6]
    for name, value, expected in (
        ("is-default-version", "true", [3]),
        ("image-id", "ami-1?", [10, 11, 12]),
        ("http-tokens", "required", [1]),
        ("ebs-optimized", "true", [1]),
        ("kernel-id", "*", []),
    ):
        assert numbers(caller, **one, Filters=by(name, value)) == expected, name
    assert numbers(caller, LaunchTemplateId=other, Filters=by("iam-instance-profile", "arn:*")) == [1]
    found = caller.describe_launch_template_versions(Versions=["$Default"])["LaunchTemplateVersions"]
    assert {(v["LaunchTemplateId"], v["VersionNumber"]) for v in found} == {(template_id, 3), (other, 1)}
    assert sorted(numbers(caller, Versions=["$Latest", "$Default"])) == [1, 3, 12]
    for request, code in (
        ({**one, "Versions": ["13"]}, "InvalidLaunchTemplateId.VersionNotFound"),
        ({**one, "Versions": ["x"]}, "InvalidLaunchTemplateId.VersionNotFound"),
        ({**one, "MinVersion": "x"}, "InvalidParameterValue"),
        ({**one, "MaxResults": 201}, "InvalidParameterValue"),
        ({**one, "Filters": by("absent", "x")}, "InvalidParameterValue"),
        ({"Versions": ["1"]}, "InvalidParameterValue"),
    ):
        with refused(code):
            caller.describe_launch_template_versions(**request)


def test_pages(caller: Caller) -> None:
    template_id = make(caller)
    for number in range(2, 6):
        add(caller, template_id, ImageId=f"ami-{number}")
        make(caller, f"web-{number}")
    seen: list[int] = []
    request: dict[str, Any] = {"LaunchTemplateId": template_id, "MaxResults": 2}
    while True:
        answer = caller.describe_launch_template_versions(**request)
        seen += [version["VersionNumber"] for version in answer["LaunchTemplateVersions"]]
        if "NextToken" not in answer:
            break
        request["NextToken"] = answer["NextToken"]
    assert seen == [1, 2, 3, 4, 5]
    with refused("InvalidNextToken"):
        caller.describe_launch_template_versions(**request | {"LaunchTemplateId": make(caller, "another")})
    first = caller.describe_launch_templates(MaxResults=4)
    second = caller.describe_launch_templates(MaxResults=4, NextToken=first["NextToken"])
    names = [template["LaunchTemplateName"] for page in (first, second) for template in page["LaunchTemplates"]]
    assert sorted(names) == ["another", "web", "web-2", "web-3", "web-4", "web-5"]
    named = caller.describe_launch_templates(Filters=by("launch-template-name", "web-*"))["LaunchTemplates"]
    assert len(named) == 4


def test_versions_are_deleted_each_for_itself(caller: Caller) -> None:
    template_id = make(caller)
    add(caller, template_id, ImageId="ami-2")
    add(caller, template_id, ImageId="ami-3")
    answer = caller.delete_launch_template_versions(LaunchTemplateId=template_id, Versions=["1", "3", "7"])
    (gone,) = answer["SuccessfullyDeletedLaunchTemplateVersions"]
    assert gone == {"LaunchTemplateId": template_id, "LaunchTemplateName": "web", "VersionNumber": 3}
    kept = answer["UnsuccessfullyDeletedLaunchTemplateVersions"]
    assert [(item["VersionNumber"], item["ResponseError"]["Code"]) for item in kept] == [
        (1, "unexpectedError"),
        (7, "launchTemplateVersionDoesNotExist"),
    ]
    assert numbers(caller, LaunchTemplateId=template_id, Versions=["$Latest"]) == [2]
    assert add(caller, template_id, ImageId="ami-4")["VersionNumber"] == 4  # a number is never used again
    with refused("InvalidLaunchTemplateId.VersionNotFound"):
        caller.modify_launch_template(LaunchTemplateId=template_id, DefaultVersion="3")
    with refused("InvalidParameterValue"):
        caller.delete_launch_template_versions(LaunchTemplateId=template_id, Versions=["x"])


def test_a_client_token_makes_one(caller: Caller) -> None:
    request = {"LaunchTemplateName": "web", "LaunchTemplateData": {"ImageId": "ami-1"}, "ClientToken": "t" * 128}
    first = caller.create_launch_template(**request)
    assert caller.create_launch_template(**request) == first
    with refused("IdempotentParameterMismatch"):
        caller.create_launch_template(**request | {"LaunchTemplateName": "other"})
    with refused("InvalidParameterValue"):
        caller.create_launch_template(**request | {"ClientToken": "t" * 129})
    version = {"LaunchTemplateName": "web", "LaunchTemplateData": {"ImageId": "ami-2"}, "ClientToken": "v"}
    made = caller.create_launch_template_version(**version)
    assert caller.create_launch_template_version(**version) == made
    assert numbers(caller, LaunchTemplateName="web") == [1, 2]
