"""Where images and servers come from, when images on the way are deregistered as well."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ec2.calls import Caller, refused
from tests.ec2.launching import IMAGE, run_one
from tests.ec2.snapshotting import snapshot_of
from tests.ec2.test_allowed_images import allow
from tests.ec2.test_images import image, image_of
from tests.ec2.test_images_types import filters
from tests.ec2.test_volumes import volume_of


@pytest.fixture
def made(ready: Caller) -> str:
    """An image of a server of one of the cloud's own."""
    return image_of(ready, run_one(ready), "made")


def ancestry(caller: Caller, image_id: str) -> Any:
    return caller.get_image_ancestry(ImageId=image_id)["ImageAncestryEntries"]


def metadata(caller: Caller, *, by: list[dict[str, Any]] | None = None, **request: Any) -> dict[str, Any]:
    """What is said of the images of instances, by the ids of the instances."""
    if by:
        request["Filters"] = by
    found = caller.describe_instance_image_metadata(**request)["InstanceImageMetadata"]
    return {each["InstanceId"]: each["ImageMetadata"] for each in found}


def test_an_image_is_traced_to_one_of_the_clouds_own(ready: Caller, stranger: Caller, made: str) -> None:
    copy = ready.copy_image(Name="copy", SourceImageId=made, SourceRegion="us-east-1")["ImageId"]
    assert image(ready, made)["SourceImageId"] == IMAGE
    ready.deregister_image(ImageId=made)
    first, second, root = ancestry(ready, copy)
    assert (first["ImageId"], first["SourceImageId"], first["SourceImageRegion"]) == (copy, made, "us-east-1")
    assert (second["ImageId"], second["SourceImageId"], second["SourceImageRegion"]) == (made, IMAGE, "us-east-1")
    assert (root["ImageId"], root["ImageOwnerAlias"], "SourceImageId" in root) == (IMAGE, "amazon", False)
    assert first["CreationDate"] >= second["CreationDate"]
    with refused("InvalidAMIID.NotFound"):
        stranger.get_image_ancestry(ImageId=copy)
    with refused("InvalidAMIID.NotFound"):
        ready.get_image_ancestry(ImageId=made)


def test_an_image_of_a_snapshot_comes_of_none(ready: Caller) -> None:
    mapping = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot_of(ready, volume_of(ready, run_one(ready)))}}
    image_id = ready.register_image(Name="registered", BlockDeviceMappings=[mapping])["ImageId"]
    assert [entry["ImageId"] for entry in ancestry(ready, image_id)] == [image_id]


def test_the_image_of_a_server_is_known_after_it_was_deregistered(ready: Caller, made: str) -> None:
    server, plain = run_one(ready, ImageId=made), run_one(ready)
    before = metadata(ready, InstanceIds=[server])[server]
    assert (before["Name"], before["State"], before["OwnerId"]) == ("made", "available", ready.account)
    assert (before["IsPublic"], before["ImageAllowed"], before["ImageId"]) == (False, True, made)
    ready.deregister_image(ImageId=made)
    gone = {**before, "State": "deregistered", "ImageAllowed": False}
    assert metadata(ready, InstanceIds=[server]) == {server: gone}
    assert metadata(ready, by=filters(image_allowed="false")) == {server: gone}
    assert metadata(ready, by=filters(owner_id=ready.account)) == {server: gone}
    assert plain in metadata(ready, by=filters(owner_alias="amazon"))


def test_it_is_said_of_which_servers_the_image_is_not_allowed(ready: Caller, made: str) -> None:
    own, other = run_one(ready, ImageId=made), run_one(ready)
    allow(ready, {"ImageNames": ["nothing"]}, state="audit-mode")
    found = metadata(ready, InstanceIds=[own, other])
    assert (found[own]["ImageAllowed"], found[other]["ImageAllowed"]) == (True, False)
    assert own in metadata(ready, by=filters(image_allowed="true"))
    assert other in metadata(ready, by=filters(image_allowed="false"))


def test_servers_are_found_and_paged(ready: Caller, stranger: Caller) -> None:
    ids = sorted(run_one(ready) for _ in range(3))
    ready.create_tags(Resources=[ids[0]], Tags=[{"Key": "for", "Value": "web"}])
    (found,) = ready.describe_instance_image_metadata(InstanceIds=[ids[0]])["InstanceImageMetadata"]
    assert (found["Tags"], found["OwnerId"]) == ([{"Key": "for", "Value": "web"}], ready.account)
    assert (found["State"]["Name"], found["InstanceType"]) == ("running", "fh1.nano")
    by = [*filters(zone_id=found["ZoneId"]), {"Name": "tag:for", "Values": ["web"]}]
    assert set(metadata(ready, by=by)) == {ids[0]}
    first = ready.describe_instance_image_metadata(MaxResults=2)
    second = ready.describe_instance_image_metadata(MaxResults=2, NextToken=first["NextToken"])
    pages = [*first["InstanceImageMetadata"], *second["InstanceImageMetadata"]]
    assert [each["InstanceId"] for each in pages] == ids
    assert metadata(stranger) == {}
    with refused("InvalidInstanceID.NotFound"):
        stranger.describe_instance_image_metadata(InstanceIds=ids[:1])
