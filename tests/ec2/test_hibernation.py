"""Hibernation as the caller sees it: what a launch must be like, what a stop says, what its host is told."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.config import Config
from freehold.control.specs import guest_specs
from freehold.control.volume_keys import volume_keys
from freehold.host.wire import GuestSpec
from freehold.records.usage import UsageEntry, usage
from tests.ec2.calls import SEALER, Caller, refused
from tests.ec2.launching import host_reports, launch_one, record, run_one, shown, stop

CONFIGURED = {"HibernationOptions": {"Configured": True}}


def root(**ebs: Any) -> dict[str, Any]:
    return {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": ebs}]}


def spec(caller: Caller, instance_id: str) -> GuestSpec:
    with caller.store.read() as tx:
        (told,) = guest_specs(tx, Config(), [record(caller.store, instance_id)])
    return told


def keys(caller: Caller, instance_id: str) -> int:
    with caller.store.read() as tx:
        given, _ = volume_keys(tx, SEALER, [record(caller.store, instance_id)])
    return len(given)


def hibernate(caller: Caller, *instance_ids: str, **request: Any) -> None:
    caller.stop_instances(InstanceIds=list(instance_ids), Hibernate=True, **request)


@pytest.fixture
def instance_id(ready: Caller) -> str:
    """One that runs and can hibernate."""
    return run_one(ready, **CONFIGURED)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(root(Encrypted=False), id="a root volume that is not encrypted"),
        pytest.param({"InstanceType": "t3.small"}, id="a root volume smaller than the memory"),
        pytest.param({"InstanceType": "r5.8xlarge", **root(VolumeSize=400)}, id="more memory than 150 GiB"),
    ],
)
def test_a_launch_that_does_not_meet_the_prerequisites(ready: Caller, request_: dict[str, Any]) -> None:
    ready.disable_ebs_encryption_by_default()
    request_ = {**root(Encrypted=True), **request_}
    with refused("UnsupportedHibernationConfiguration"):
        launch_one(ready, **request_, **CONFIGURED)


def test_it_is_said_at_launch_and_shown(ready: Caller, instance_id: str) -> None:
    other = run_one(ready)
    assert shown(ready, instance_id)["HibernationOptions"] == {"Configured": True}
    assert shown(ready, other)["HibernationOptions"] == {"Configured": False}
    only = [{"Name": "hibernation-options.configured", "Values": ["true"]}]
    (reservation,) = ready.describe_instances(Filters=only)["Reservations"]
    assert [each["InstanceId"] for each in reservation["Instances"]] == [instance_id]
    data = ready.get_launch_template_data(InstanceId=instance_id)["LaunchTemplateData"]
    assert data["HibernationOptions"] == {"Configured": True}


def test_all_that_are_named_can_hibernate_or_none_does(ready: Caller, instance_id: str) -> None:
    other = run_one(ready)
    with refused("UnsupportedHibernationConfiguration"):
        hibernate(ready, instance_id, other)
    assert record(ready.store, instance_id).state == "running"
    for at_once in ("Force", "SkipOsShutdown"):
        with refused("InvalidParameterCombination"):
            hibernate(ready, instance_id, **{at_once: True})


def test_a_hibernated_instance_goes_on(ready: Caller, instance_id: str) -> None:
    hibernate(ready, instance_id)
    assert (spec(ready, instance_id).desired, spec(ready, instance_id).hibernate) == ("stopped", True)
    assert keys(ready, instance_id) == 1
    with ready.store.read() as tx:
        held = {entry.item for entry in tx.select(UsageEntry, usage.c.closed_at.is_(None))}
    assert held == {"volume:gp3"}
    host_reports(ready.store, instance_id, "stopped", hibernated=True)
    stopped = shown(ready, instance_id)
    assert stopped["State"]["Name"] == "stopped"
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedHibernate"
    assert stopped["StateTransitionReason"].startswith("User initiated (")
    assert keys(ready, instance_id) == 0
    with refused("IncorrectInstanceState"):
        ready.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "fh1.micro"})

    ready.start_instances(InstanceIds=[instance_id])
    assert spec(ready, instance_id).desired == "running"
    host_reports(ready.store, instance_id, "running")
    ready.stop_instances(InstanceIds=[instance_id])
    assert not spec(ready, instance_id).hibernate


def test_one_that_can_not_hibernate_is_shut_down(ready: Caller, instance_id: str) -> None:
    hibernate(ready, instance_id)
    host_reports(ready.store, instance_id, "stopped")
    assert shown(ready, instance_id)["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    ready.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "fh1.micro"})


def test_a_start_that_fails_keeps_the_memory(ready: Caller, instance_id: str) -> None:
    hibernate(ready, instance_id)
    host_reports(ready.store, instance_id, "stopped", hibernated=True)
    ready.start_instances(InstanceIds=[instance_id])
    host_reports(ready.store, instance_id, "failed", message="no room")
    assert spec(ready, instance_id).hibernate
    host_reports(ready.store, instance_id, "stopped", hibernated=True)
    assert record(ready.store, instance_id).hibernate


def test_force_ends_a_hibernation(ready: Caller, instance_id: str) -> None:
    hibernate(ready, instance_id)
    ready.stop_instances(InstanceIds=[instance_id], Force=True)
    assert not spec(ready, instance_id).hibernate


def test_types_say_whether_they_can(ready: Caller) -> None:
    only = [{"Name": "hibernation-supported", "Values": ["true"]}]
    names = {each["InstanceType"] for each in ready.describe_instance_types(Filters=only)["InstanceTypes"]}
    assert {"fh1.nano", "t3.micro"} <= names
    assert "r5.8xlarge" not in names


def test_an_ordinary_stop_keeps_nothing(ready: Caller, instance_id: str) -> None:
    stop(ready, instance_id)
    assert not record(ready.store, instance_id).hibernate
