"""Snapshots that others may use; block public access."""

from __future__ import annotations

import pytest

from tests.ec2.calls import Caller, refused
from tests.ec2.launching import run_one
from tests.ec2.snapshotting import snapshot_of
from tests.ec2.test_volumes import volume_of


@pytest.fixture
def snapshot(ready: Caller) -> str:
    """A snapshot that is not encrypted."""
    ready.disable_ebs_encryption_by_default()
    return snapshot_of(ready, volume_of(ready, run_one(ready)))


def share(caller: Caller, snapshot_id: str, **permission: str) -> None:
    caller.modify_snapshot_attribute(SnapshotId=snapshot_id, CreateVolumePermission={"Add": [permission]})


def seen(caller: Caller, **request: object) -> list[str]:
    return [each["SnapshotId"] for each in caller.describe_snapshots(**request)["Snapshots"]]


def permissions(caller: Caller, snapshot_id: str) -> object:
    answer = caller.describe_snapshot_attribute(SnapshotId=snapshot_id, Attribute="createVolumePermission")
    return answer["CreateVolumePermissions"]


def test_an_account_that_it_is_shared_with_sees_it(ready: Caller, stranger: Caller, snapshot: str) -> None:
    share(ready, snapshot, UserId=stranger.account)
    assert permissions(ready, snapshot) == [{"UserId": stranger.account}]
    assert seen(stranger) == seen(stranger, SnapshotIds=[snapshot]) == [snapshot]
    assert seen(stranger, OwnerIds=["self"]) == []
    assert seen(stranger, OwnerIds=[ready.account]) == seen(stranger, RestorableByUserIds=["self"]) == [snapshot]
    assert seen(stranger, RestorableByUserIds=["all"]) == []
    with refused("InvalidSnapshot.NotFound"):
        stranger.delete_snapshot(SnapshotId=snapshot)
    with refused("InvalidSnapshot.NotFound"):
        share(stranger, snapshot, UserId="777788889999")
    ready.reset_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    assert permissions(ready, snapshot) == []
    assert seen(stranger) == []


def test_the_older_form_of_sharing(ready: Caller, stranger: Caller, snapshot: str) -> None:
    for kind, expected in (("add", [snapshot]), ("remove", [])):
        ready.modify_snapshot_attribute(
            SnapshotId=snapshot,
            Attribute="createVolumePermission",
            OperationType=kind,
            UserIds=[stranger.account],
        )
        assert seen(stranger) == expected


def test_nothing_is_public_until_the_account_says_so(ready: Caller, stranger: Caller, snapshot: str) -> None:
    assert ready.get_snapshot_block_public_access_state()["State"] == "block-all-sharing"
    with refused("OperationNotPermitted"):
        share(ready, snapshot, Group="all")
    assert ready.disable_snapshot_block_public_access() == {"State": "unblocked"}
    share(ready, snapshot, Group="all")
    assert seen(stranger) == seen(stranger, RestorableByUserIds=["all"]) == [snapshot]

    ready.enable_snapshot_block_public_access(State="block-new-sharing")
    assert seen(stranger) == [snapshot]
    ready.enable_snapshot_block_public_access(State="block-all-sharing")
    assert seen(stranger) == []
    assert permissions(ready, snapshot) == [{"Group": "all"}]
    with refused("InvalidParameterValue"):
        ready.enable_snapshot_block_public_access(State="unblocked")


def test_what_only_its_account_can_decrypt_is_not_shared(ready: Caller, stranger: Caller) -> None:
    snapshot_id = snapshot_of(ready, volume_of(ready, run_one(ready)))
    with refused("InvalidParameter"):
        share(ready, snapshot_id, UserId=stranger.account)
    ready.disable_snapshot_block_public_access()
    with refused("InvalidParameter"):
        share(ready, snapshot_id, Group="all")
    with refused("InvalidParameterValue"):
        share(ready, snapshot_id, UserId="me")
    with refused("InvalidParameterCombination"):
        ready.modify_snapshot_attribute(SnapshotId=snapshot_id)


def test_fast_restores_are_accepted(ready: Caller, snapshot: str) -> None:
    zones = {"AvailabilityZones": ["us-east-1a"], "SourceSnapshotIds": [snapshot]}
    (enabled,) = ready.enable_fast_snapshot_restores(**zones)["Successful"]
    assert enabled["State"] == "enabled"
    (shown,) = ready.describe_fast_snapshot_restores()["FastSnapshotRestores"]
    assert shown == enabled
    assert ready.disable_fast_snapshot_restores(**zones)["Successful"][0]["State"] == "disabled"
    (failed,) = ready.disable_fast_snapshot_restores(**zones)["Unsuccessful"]
    assert failed["SnapshotId"] == snapshot
    (tier,) = ready.describe_snapshot_tier_status()["SnapshotTierStatuses"]
    assert (tier["SnapshotId"], tier["StorageTier"]) == (snapshot, "standard")
