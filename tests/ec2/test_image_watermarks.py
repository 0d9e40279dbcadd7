"""Watermarks of images: who attaches them, what inherits them, and finding and allowing images by them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-watermark.html
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from freehold.records.images import ImageWatermark
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import IMAGE, launch_one, run_one
from tests.ec2.snapshotting import snapshot_of
from tests.ec2.test_allowed_images import allow
from tests.ec2.test_images import image, image_of
from tests.ec2.test_images_types import filters, image_ids
from tests.ec2.test_snapshot_sharing import share
from tests.ec2.test_volumes import volume_of


@pytest.fixture
def golden(stranger: Caller, ready: Caller) -> str:
    """A plain image of the stranger's with a watermark, which it shares with the caller."""
    stranger.disable_ebs_encryption_by_default()
    snapshot_id = snapshot_of(stranger, volume_of(stranger, run_one(stranger)))
    share(stranger, snapshot_id, UserId=ready.account)
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}]
    request = {"Name": "golden", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": mapping}
    image_id: str = stranger.register_image(**request)["ImageId"]
    stranger.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"UserId": ready.account}]})
    attach(stranger, image_id, "approved")
    return image_id


def attach(caller: Caller, image_id: str, name: str) -> str:
    return str(caller.attach_image_watermark(ImageId=image_id, WatermarkName=name)["WatermarkKey"])


def keys(caller: Caller, image_id: str) -> list[str]:
    return [each["WatermarkKey"] for each in image(caller, image_id).get("ImageWatermarks", [])]


def test_who_has_the_image_sees_its_watermarks(ready: Caller, stranger: Caller, golden: str) -> None:
    (mark,) = image(ready, golden)["ImageWatermarks"]
    assert mark["WatermarkKey"] == f"{stranger.account}:approved"
    assert (mark["SourceImageId"], mark["SourceImageRegion"]) == (golden, "us-east-1")
    assert mark["SourceImageCreationTime"] <= mark["WatermarkCreationTime"]
    attach(stranger, golden, "approved")
    assert image(ready, golden)["ImageWatermarks"] == [mark]
    assert "ImageWatermarks" not in image(ready, IMAGE)


def test_copies_and_images_of_servers_keep_them(ready: Caller, stranger: Caller, golden: str) -> None:
    copy = ready.copy_image(Name="copy", SourceImageId=golden, SourceRegion="us-east-1")["ImageId"]
    made = image_of(ready, run_one(ready, ImageId=golden), "made")
    again = image_of(ready, run_one(ready, ImageId=made), "again")
    attach(ready, made, "mine")
    assert stranger.detach_image_watermark(ImageId=golden, WatermarkKey=f"{stranger.account}:approved")["Return"]
    assert keys(ready, golden) == []
    assert keys(ready, made) == sorted([f"{ready.account}:mine", f"{stranger.account}:approved"])
    for each in (copy, again):
        assert keys(ready, each) == [f"{stranger.account}:approved"]
        assert image(ready, each)["ImageWatermarks"][0]["SourceImageId"] == golden
    ready.detach_image_watermark(ImageId=copy, WatermarkKey=f"{stranger.account}:approved")
    ready.detach_image_watermark(ImageId=copy, WatermarkKey=f"{stranger.account}:approved")
    assert keys(ready, copy) == []
    for each in (copy, made, again):
        ready.deregister_image(ImageId=each)
    with ready.store.read() as tx:
        assert tx.count(ImageWatermark) == 0


def test_what_can_not_be_attached(ready: Caller, stranger: Caller, golden: str) -> None:
    with refused("AuthFailure"):
        attach(ready, golden, "mine")
    with refused("AuthFailure"):
        ready.detach_image_watermark(ImageId=golden, WatermarkKey=f"{stranger.account}:approved")
    for name in ("a:b:c", "a*b", "tab\t", "nul\0"):
        with refused("InvalidParameterValue"):
            attach(stranger, golden, name)
    for number in range(4):
        attach(stranger, golden, f"more-{number}")
    with refused("ResourceLimitExceeded"):
        attach(stranger, golden, "too many")
    attach(stranger, golden, "more-3")


def test_public_images_have_none(stranger: Caller, golden: str) -> None:
    stranger.disable_image_block_public_access()
    everyone: dict[str, Any] = {"ImageId": golden, "LaunchPermission": {"Add": [{"Group": "all"}]}}
    with refused("OperationNotPermitted"):
        stranger.modify_image_attribute(**everyone)
    stranger.detach_image_watermark(ImageId=golden, WatermarkKey=f"{stranger.account}:approved")
    stranger.modify_image_attribute(**everyone)
    with refused("OperationNotPermitted"):
        attach(stranger, golden, "approved")


def test_images_are_found_by_them(ready: Caller, stranger: Caller, golden: str) -> None:
    for found, by in (
        (True, {"image-watermark.watermark-key": "*:approved"}),
        (False, {"image-watermark.watermark-key": f"{ready.account}:approved"}),
        (True, {"image-watermark.source-image-id": golden}),
        (True, {"image-watermark.source-image-region": "us-east-1"}),
        (True, {"image-watermark.watermark-creation-time": "20*"}),
        (False, {"image-watermark.source-image-creation-time": "1999*"}),
    ):
        assert (golden in image_ids(ready, Filters=filters(**by))) == found, by


def test_images_are_allowed_by_them(ready: Caller, stranger: Caller, golden: str) -> None:
    with ready.store.write() as tx:
        mark = tx.find(ImageWatermark, image_id=golden)
        assert mark is not None
        tx.update(mark, source_image_created_at=mark.created_at - dt.timedelta(days=30))
    key = {"WatermarkKey": f"{stranger.account}:appr*"}
    for allowed, *wanted in (
        (True, key),
        (True, {"SourceImageRegion": "us-*"}),
        (False, {**key, "SourceImageRegion": "eu-*"}),
        (True, {"SourceImageRegion": "eu-*"}, key),
        (True, {**key, "MaximumDaysSinceSourceImageCreated": 31, "MaximumDaysSinceWatermarkCreated": 1}),
        (False, {**key, "MaximumDaysSinceSourceImageCreated": 29}),
        (False, {"WatermarkKey": f"{ready.account}:*"}),
    ):
        criterion = {"ImageWatermarks": wanted}
        allow(ready, criterion)
        assert ready.get_allowed_images_settings()["ImageCriteria"] == [criterion]
        assert (golden in image_ids(ready, Owners=[stranger.account])) == allowed, wanted
    with refused("InvalidAMIID.NotFound"):
        launch_one(ready, ImageId=golden)
