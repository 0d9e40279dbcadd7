"""What is answered when a host has done it, or has not in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from freehold.control.specs import snapshots_to_delete, snapshots_to_take
from freehold.questions import Question, Taken
from tests.cloudapi import ApiServer, api_server
from tests.ec2.launching import IMAGE, add_host, add_images, host_reports
from tests.ec2.snapshotting import host_took
from tests.front.audited import records
from tests.iam.granting import denied


@dataclass
class Waiting:
    """In the place of the host's answer: `answers` says whether it comes, and `meanwhile` the host has taken it."""

    answers: bool = True
    meanwhile: bool = False
    asked: list[Question] = field(default_factory=list)
    api: ApiServer | None = None

    async def __call__(self, host_id: str, question: Question) -> bool:
        assert host_id == "host-1"
        self.asked.append(question)
        if self.meanwhile and self.api is not None and isinstance(question, Taken):
            host_took(self.api.store, *question.snapshot_ids)
        return self.answers


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory, waiting: Waiting) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud"), wait=waiting) as api:
        waiting.api = api
        add_host(api.store)
        add_images(api.store)
        yield api


def running(api: ApiServer) -> tuple[str, str]:
    """An instance and its volume."""
    ec2 = api.client("ec2")
    launched = ec2.run_instances(ImageId=IMAGE, InstanceType="t3.nano", MinCount=1, MaxCount=1)
    instance_id = launched["Instances"][0]["InstanceId"]
    host_reports(api.store, instance_id, "running")
    return instance_id, ec2.describe_volumes()["Volumes"][0]["VolumeId"]


def test_a_snapshot_that_the_host_does_not_take_in_time_is_none(api: ApiServer, waiting: Waiting) -> None:
    """What is written after the call was answered would be in it."""
    ec2 = api.client("ec2")
    instance_id, volume_id = running(api)
    waiting.answers = False
    with denied("Try again.", code="ServiceUnavailable") as caught:
        ec2.create_snapshot(VolumeId=volume_id, Description="late")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    with denied(code="ServiceUnavailable"):
        ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    with api.store.read() as tx:
        assert snapshots_to_take(tx, "host-1") == []
        assert len(snapshots_to_delete(tx, "host-1")) == 2
    both = [each.get("errorCode") for each in records(api, "CreateSnapshot", 2)]
    assert sorted(map(str, both)) == ["None", "Server.ServiceUnavailable"]

    waiting.answers = True
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    assert waiting.asked[-1] == Taken((snapshot_id,))


def test_one_that_was_taken_stands_though_the_answer_of_the_host_is_lost(api: ApiServer, waiting: Waiting) -> None:
    _, volume_id = running(api)
    waiting.answers, waiting.meanwhile = False, True
    snapshot_id = api.client("ec2").create_snapshot(VolumeId=volume_id)["SnapshotId"]
    (shown,) = api.client("ec2").describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert shown["State"] == "completed"


def test_an_image_may_be_of_a_later_instant(api: ApiServer, waiting: Waiting) -> None:
    instance_id, _ = running(api)
    waiting.answers = False
    image_id = api.client("ec2").create_image(InstanceId=instance_id, Name="copy", NoReboot=True)["ImageId"]
    assert api.client("ec2").describe_images(ImageIds=[image_id])["Images"][0]["State"] == "pending"
