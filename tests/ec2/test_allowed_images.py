"""Allowed AMIs: which images of others an account finds and uses."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.ec2.calls import Caller, refused
from tests.ec2.launching import IMAGE, launch_one, run_one
from tests.ec2.snapshotting import snapshot_of
from tests.ec2.test_images import change, image
from tests.ec2.test_images_types import filters, image_ids
from tests.ec2.test_volumes import volume_of


@pytest.fixture
def shared(ready: Caller, stranger: Caller) -> str:
    """An image that the stranger shares with the caller."""
    stranger.disable_ebs_encryption_by_default()
    snapshot_id = snapshot_of(stranger, volume_of(stranger, run_one(stranger)))
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}]
    request = {"Name": "golden-2026", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": mapping}
    image_id: str = stranger.register_image(**request)["ImageId"]
    stranger.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"UserId": ready.account}]})
    return image_id


def allow(caller: Caller, *criteria: dict[str, Any], state: str = "enabled") -> None:
    assert caller.replace_image_criteria_in_allowed_images_settings(ImageCriteria=list(criteria))["ReturnValue"]
    caller.enable_allowed_images_settings(AllowedImagesSettingsState=state)


def test_settings_are_kept(ready: Caller, stranger: Caller) -> None:
    assert ready.get_allowed_images_settings() == {"State": "disabled", "ImageCriteria": [], "ManagedBy": "account"}
    criteria = [
        {"ImageProviders": ["amazon", "123456789012"], "ImageNames": ["golden-*"]},
        {"MarketplaceProductCodes": ["abc1"], "CreationDateCondition": {"MaximumDaysSinceCreated": 300}},
        {"DeprecationTimeCondition": {"MaximumDaysSinceDeprecated": 0}},
    ]
    allow(ready, *criteria, state="audit-mode")
    expected = {"State": "audit-mode", "ImageCriteria": criteria, "ManagedBy": "account"}
    assert ready.get_allowed_images_settings() == expected
    assert ready.disable_allowed_images_settings() == {"AllowedImagesSettingsState": "disabled"}
    assert ready.get_allowed_images_settings() == {**expected, "State": "disabled"}
    assert stranger.get_allowed_images_settings()["ImageCriteria"] == []


def test_an_image_that_is_not_allowed_is_not_found_and_launches_nothing(
    ready: Caller, stranger: Caller, shared: str
) -> None:
    running = run_one(ready, ImageId=shared)
    allow(ready, {"ImageProviders": ["amazon"]})
    for attempt in (
        lambda: launch_one(ready, ImageId=shared),
        lambda: ready.describe_images(ImageIds=[shared]),
        lambda: ready.copy_image(Name="copy", SourceImageId=shared, SourceRegion="us-east-1"),
    ):
        with refused("InvalidAMIID.NotFound"):
            attempt()
    assert shared not in image_ids(ready)
    ready.reboot_instances(InstanceIds=[running])
    run_one(ready, ImageId=IMAGE)
    run_one(stranger, ImageId=shared)
    allow(ready, {"ImageProviders": ["amazon"]}, {"ImageProviders": [stranger.account]})
    run_one(ready, ImageId=shared)
    ready.disable_allowed_images_settings()
    allow(ready)
    with refused("InvalidAMIID.NotFound"):
        run_one(ready, ImageId=IMAGE)


def test_audit_mode_only_tells(ready: Caller, shared: str) -> None:
    allow(ready, {"ImageProviders": ["amazon"]}, state="audit-mode")
    assert not image(ready, shared)["ImageAllowed"]
    assert image(ready, IMAGE)["ImageAllowed"]
    assert image_ids(ready, Filters=filters(image_allowed="false")) == [shared]
    assert shared not in image_ids(ready, Filters=filters(image_allowed="true"))
    run_one(ready, ImageId=shared)
    ready.disable_allowed_images_settings()
    assert image(ready, shared)["ImageAllowed"]
    assert image_ids(ready, Filters=filters(image_allowed="false")) == []


def test_ones_own_images_are_always_allowed(stranger: Caller, shared: str) -> None:
    allow(stranger, {"ImageProviders": ["none"]})
    assert image_ids(stranger) == [shared]
    assert image(stranger, shared)["ImageAllowed"]
    run_one(stranger, ImageId=shared)


def test_what_a_criterion_says_must_all_hold(ready: Caller, stranger: Caller, shared: str) -> None:
    month_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=30)
    change(stranger, shared, created_at=month_ago, deprecated_at=month_ago)
    by = {"ImageProviders": [stranger.account]}
    for criterion, found in (
        ({**by, "ImageNames": ["golden-????"]}, True),
        ({**by, "ImageNames": ["golden", "silver-*"]}, False),
        ({"ImageProviders": ["amazon"], "ImageNames": ["golden-*"]}, False),
        ({"CreationDateCondition": {"MaximumDaysSinceCreated": 31}}, True),
        ({"CreationDateCondition": {"MaximumDaysSinceCreated": 29}}, False),
        ({"DeprecationTimeCondition": {"MaximumDaysSinceDeprecated": 31}}, True),
        ({"DeprecationTimeCondition": {"MaximumDaysSinceDeprecated": 0}}, False),
        ({"CreationDateCondition": {"MaximumDaysSinceCreated": 2**31 - 1}}, True),
        ({**by, "MarketplaceProductCodes": ["abc1"]}, False),
    ):
        allow(ready, criterion)
        assert (shared in image_ids(ready, Owners=[stranger.account], IncludeDeprecated=True)) == found, criterion


@pytest.mark.parametrize(
    ("criteria", "code"),
    [
        ([{"ImageProviders": ["amazon"]}] * 11, "InvalidParameterValue"),
        ([{}], "InvalidParameterValue"),
        ([{"ImageProviders": ["none", "amazon"]}], "InvalidParameterValue"),
        ([{"ImageProviders": ["me"]}], "InvalidParameterValue"),
        ([{"ImageProviders": [f"{n:012}" for n in range(201)]}], "InvalidParameterValue"),
        ([{"ImageNames": ["a;b"]}], "InvalidParameterValue"),
        ([{"ImageNames": ["?"]}], "InvalidParameterValue"),
        ([{"MarketplaceProductCodes": ["-"]}], "InvalidParameterValue"),
        ([{"ScanResultCondition": {"MaximumSeverityLabel": "low"}}], "UnsupportedOperation"),
        ([{"ImageWatermarks": [{}]}], "InvalidParameterValue"),
        ([{"ImageWatermarks": [{"WatermarkKey": "a;b"}]}], "InvalidParameterValue"),
        ([{"ImageWatermarks": [{"WatermarkKey": "*"}] * 51}], "InvalidParameterValue"),
        ([{"ImageWatermarks": [{"MaximumDaysSinceWatermarkCreated": -1}]}], "InvalidParameterValue"),
    ],
)
def test_what_is_no_criterion(caller: Caller, criteria: list[dict[str, Any]], code: str) -> None:
    with refused(code):
        caller.replace_image_criteria_in_allowed_images_settings(ImageCriteria=criteria)
    assert caller.get_allowed_images_settings()["ImageCriteria"] == []
