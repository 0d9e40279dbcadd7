"""Detailed monitoring: switched on and off."""

from __future__ import annotations

from typing import Any

from tests.ec2.calls import Caller, refused
from tests.ec2.launching import run_one, shown, terminate


def states(answer: Any) -> dict[str, str]:
    return {each["InstanceId"]: each["Monitoring"]["State"] for each in answer["InstanceMonitorings"]}


def test_monitoring_is_switched_on_and_off(ready: Caller) -> None:
    plain, watched = run_one(ready), run_one(ready, Monitoring={"Enabled": True})
    both = [plain, watched]
    assert states(ready.monitor_instances(InstanceIds=both)) == {plain: "pending", watched: "enabled"}
    assert shown(ready, plain)["Monitoring"] == {"State": "enabled"}
    assert states(ready.unmonitor_instances(InstanceIds=both)) == {plain: "disabling", watched: "disabling"}
    assert states(ready.unmonitor_instances(InstanceIds=both)) == {plain: "disabled", watched: "disabled"}
    assert shown(ready, watched)["Monitoring"] == {"State": "disabled"}


def test_what_can_not_be_monitored(ready: Caller) -> None:
    instance_id = run_one(ready)
    with refused("InvalidInstanceID.NotFound"):
        ready.monitor_instances(InstanceIds=[instance_id, "i-00000000000000000"])
    with refused("UnsupportedOperation"):
        ready.monitor_instances(InstanceIds=[instance_id], MetricCategoryIds=["x"])
    assert shown(ready, instance_id)["Monitoring"] == {"State": "disabled"}
    terminate(ready, instance_id)
    with refused("IncorrectInstanceState"):
        ready.unmonitor_instances(InstanceIds=[instance_id])
