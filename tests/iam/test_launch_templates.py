"""Launches from a launch template: what policies must allow, and what they may ask of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from tests.cloudapi import api_server
from tests.ec2.launching import IMAGE, add_host, add_images
from tests.ec2.test_launch_templates import make
from tests.iam.granting import Grants, allow, denied

EVERY = "arn:aws:ec2:*:*:"
TEMPLATE = {"LaunchTemplateName": "web"}


@pytest.fixture(scope="module")
def grants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grants]:
    with api_server(tmp_path_factory.mktemp("cloud")) as api:
        add_host(api.store, memory_mib=65536)
        add_images(api.store)
        root = api.client("ec2")
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "red"}]}]
        make(root, "web", ImageId=IMAGE, InstanceType="t3.nano")
        make(root, "tagged", ImageId=IMAGE, InstanceType="t3.nano", TagSpecifications=tags)
        yield Grants(api)


_users = iter(range(1000))


def run(grants: Grants, *statements: Any, template: dict[str, str] = TEMPLATE, **request: Any) -> None:
    """RunInstances by a new user with these statements."""
    ec2 = grants.api.client("ec2", keys=grants.user(f"user-{next(_users)}", *statements))
    if template:
        request["LaunchTemplate"] = template
    ec2.run_instances(MinCount=1, MaxCount=1, **request)


def test_the_template_must_be_allowed(grants: Grants) -> None:
    types = ("image", "instance", "volume", "network-interface", "subnet", "security-group")
    others = [f"{EVERY}{one}/*" for one in types]
    with denied("ec2:RunInstances on resource: arn:aws:ec2:us-east-1:", ":launch-template/lt-"):
        run(grants, allow("ec2:RunInstances", others))
    run(grants, allow("ec2:RunInstances", [*others, f"{EVERY}launch-template/*"]))
    with denied(":launch-template/*"):
        run(grants, allow("ec2:RunInstances", others), template={"LaunchTemplateName": "absent"})


@pytest.mark.parametrize(
    ("request_", "resource"),
    [
        ({}, None),
        ({"InstanceType": "t3.micro"}, "instance"),
        ({"ImageId": IMAGE}, "image"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 4}}]}, "instance"),
        ({"template": {}, "ImageId": IMAGE, "InstanceType": "t3.nano"}, "image"),
    ],
)
def test_nothing_but_the_template(grants: Grants, request_: dict[str, Any], resource: str | None) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ExamplePolicies_EC2.html"""
    by_template = allow(
        "ec2:RunInstances",
        ArnLike={"ec2:LaunchTemplate": f"{EVERY}launch-template/*"},
        Bool={"ec2:IsLaunchTemplateResource": "true"},
    )
    with nullcontext() if resource is None else denied(f":{resource}/"):
        run(grants, by_template, **request_)


def fleet(grants: Grants, *statements: Any) -> Any:
    """CreateFleet by a new user with these statements; its answer."""
    ec2 = grants.api.client("ec2", keys=grants.user(f"user-{next(_users)}", *statements))
    return ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": TEMPLATE | {"Version": "$Latest"}}],
        TargetCapacitySpecification={"TotalTargetCapacity": 1},
    )


def test_a_fleet_needs_what_its_launches_need(grants: Grants) -> None:
    create = allow("ec2:CreateFleet")
    with denied("ec2:CreateFleet on resource: ", ":fleet/*"):
        fleet(grants, allow("ec2:RunInstances"))
    with denied("ec2:RunInstances on resource: ", ":launch-template/"):
        fleet(grants, create)
    small = allow("ec2:RunInstances", StringNotEqualsIfExists={"ec2:InstanceType": "t3.nano"})
    answer = fleet(grants, create, small)
    assert answer["Instances"] == []
    assert {each["ErrorCode"] for each in answer["Errors"]} == {"UnauthorizedOperation"}
    assert all(":instance/*" in each["ErrorMessage"] for each in answer["Errors"])
    assert fleet(grants, create, allow("ec2:RunInstances"))["Instances"]


def test_an_instance_may_differ_from_the_template_and_its_subnet_not(grants: Grants) -> None:
    itself = allow("ec2:RunInstances", [f"{EVERY}launch-template/*", f"{EVERY}instance/*"])
    rest = [f"{EVERY}{one}/*" for one in ("image", "volume", "network-interface", "subnet", "security-group")]
    of_template = allow("ec2:RunInstances", rest, Bool={"ec2:IsLaunchTemplateResource": "true"})
    run(grants, itself, of_template, InstanceType="t3.micro")
    subnet = grants.api.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    with denied(":network-interface/"):
        run(grants, itself, of_template, SubnetId=subnet)


def test_tags_of_the_template_must_be_allowed(grants: Grants) -> None:
    template = {"LaunchTemplateName": "tagged"}
    launch = allow("ec2:RunInstances")
    with denied("ec2:CreateTags on resource: "):
        run(grants, launch, template=template)
    run(grants, launch, allow("ec2:CreateTags", StringEquals={"aws:RequestTag/team": "red"}), template=template)


def test_templates_of_policies(grants: Grants) -> None:
    root = grants.api.client("ec2")
    mine, other = make(root, "mine"), make(root, "other")
    owned = allow("ec2:*LaunchTemplate*", f"{EVERY}launch-template/{mine}")
    ec2 = grants.api.client("ec2", keys=grants.user("owner", owned))
    ec2.modify_launch_template(LaunchTemplateName="mine", DefaultVersion="1")
    with denied(f":launch-template/{other}"):
        ec2.delete_launch_template(LaunchTemplateName="other")
    with denied("ec2:CreateLaunchTemplate on resource: ", ":launch-template/*"):
        make(ec2, "third")
    ec2.delete_launch_template(LaunchTemplateId=mine)
