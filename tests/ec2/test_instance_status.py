"""How instances fare, as DescribeInstanceStatus tells it: by the reports of hosts, and by their silence."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from freehold.records.compute import Host
from freehold.records.events import StatusReport
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import host_reports, launch_one, run_one, stop


def statuses(caller: Caller, instance_id: str, **request: Any) -> tuple[str, str, str] | None:
    """(instance, system, attached EBS) status of an instance; None: it is not among those that are shown."""
    answer = caller.describe_instance_status(InstanceIds=[instance_id], **request)["InstanceStatuses"]
    if not answer:
        return None
    (shown,) = answer
    summaries = [shown[name] for name in ("InstanceStatus", "SystemStatus", "AttachedEbsStatus")]
    for each in summaries:
        details = {"ok": "passed", "impaired": "failed"}.get(each["Status"], each["Status"])
        assert [d["Status"] for d in each["Details"]] == ([] if details == "not-applicable" else [details])
        assert all(("ImpairedSince" in d) == (each["Status"] == "impaired") for d in each["Details"])
    return (summaries[0]["Status"], summaries[1]["Status"], summaries[2]["Status"])


def since(caller: Caller, instance_id: str, name: str) -> dt.datetime:
    (shown,) = caller.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    moment: dt.datetime = shown[name]["Details"][0]["ImpairedSince"]
    return moment


def test_the_instance_status_is_whether_the_guest_answers(ready: Caller) -> None:
    instance_id = run_one(ready)
    assert statuses(ready, instance_id) == ("initializing", "ok", "ok")
    host_reports(ready.store, instance_id, "running", console=b"Linux version 6.1\n")
    assert statuses(ready, instance_id) == ("initializing", "ok", "ok")
    host_reports(ready.store, instance_id, "running", answers=True)
    assert statuses(ready, instance_id) == ("ok", "ok", "ok")
    host_reports(ready.store, instance_id, "running")  # a new agent has not asked it yet
    assert statuses(ready, instance_id) == ("ok", "ok", "ok")

    host_reports(ready.store, instance_id, "running", answers=False)
    assert statuses(ready, instance_id) == ("impaired", "ok", "ok")
    first = since(ready, instance_id, "InstanceStatus")
    host_reports(ready.store, instance_id, "running", answers=False)
    assert since(ready, instance_id, "InstanceStatus") == first
    host_reports(ready.store, instance_id, "running", answers=True)
    assert statuses(ready, instance_id) == ("ok", "ok", "ok")

    ready.reboot_instances(InstanceIds=[instance_id])
    assert statuses(ready, instance_id) == ("initializing", "ok", "ok")


def test_the_system_status_is_whether_the_host_runs_it(ready: Caller) -> None:
    instance_id = run_one(ready)
    host_reports(ready.store, instance_id, "running", answers=True)
    host_reports(ready.store, instance_id, "failed", message="QEMU fell over")
    assert statuses(ready, instance_id) == ("impaired", "impaired", "ok")
    host_reports(ready.store, instance_id, "failed", message="no space", disks_fail=True)
    assert statuses(ready, instance_id) == ("impaired", "impaired", "impaired")
    assert since(ready, instance_id, "SystemStatus") < since(ready, instance_id, "AttachedEbsStatus")
    host_reports(ready.store, instance_id, "starting")
    assert statuses(ready, instance_id) == ("impaired", "impaired", "ok")
    host_reports(ready.store, instance_id, "running")
    assert statuses(ready, instance_id) == ("initializing", "ok", "ok")


def test_a_silent_host_is_not_believed_to_be_well(ready: Caller) -> None:
    instance_id = run_one(ready)
    host_reports(ready.store, instance_id, "running", answers=True)

    def host_is(seconds_ago: int, *, connected: bool) -> dt.datetime:
        with ready.store.write() as tx:
            host = tx.get(Host, "host-1")
            assert host is not None
            reported_at = tx.now - dt.timedelta(seconds=seconds_ago)
            tx.update(host, reported_at=reported_at, connected=connected)
        return reported_at

    host_is(30, connected=False)  # its agent is being replaced
    assert statuses(ready, instance_id) == ("ok", "ok", "ok")
    host_is(90, connected=True)
    assert statuses(ready, instance_id) == ("insufficient-data",) * 3
    lost_since = host_is(90, connected=False)
    assert statuses(ready, instance_id) == ("insufficient-data", "impaired", "insufficient-data")
    assert since(ready, instance_id, "SystemStatus") == lost_since


def test_only_what_runs_has_a_status_and_a_start_begins_anew(ready: Caller) -> None:
    instance_id = launch_one(ready)["InstanceId"]
    assert statuses(ready, instance_id) is None
    assert statuses(ready, instance_id, IncludeAllInstances=True) == ("not-applicable",) * 3
    host_reports(ready.store, instance_id, "running")
    host_reports(ready.store, instance_id, "running", answers=False)
    host_reports(ready.store, instance_id, "failed", message="it broke", disks_fail=True)
    stop(ready, instance_id)
    assert statuses(ready, instance_id, IncludeAllInstances=True) == ("not-applicable",) * 3
    ready.start_instances(InstanceIds=[instance_id])
    host_reports(ready.store, instance_id, "running")
    assert statuses(ready, instance_id) == ("initializing", "ok", "ok")


def test_the_filters_see_the_same(ready: Caller) -> None:
    well, ill, new = (run_one(ready) for _ in range(3))
    host_reports(ready.store, well, "running", answers=True)
    host_reports(ready.store, ill, "failed", message="no space", disks_fail=True)

    def found(name: str, value: str) -> set[str]:
        answer = ready.describe_instance_status(Filters=[{"Name": name, "Values": [value]}])
        return {each["InstanceId"] for each in answer["InstanceStatuses"]}

    assert found("instance-status.status", "ok") == found("instance-status.reachability", "passed") == {well}
    assert found("instance-status.status", "initializing") == {new}
    assert found("instance-status.reachability", "failed") == {ill}
    assert found("system-status.status", "impaired") == found("system-status.reachability", "failed") == {ill}
    assert found("system-status.status", "*") == {well, ill, new}
    assert found("attached-ebs-status.status", "impaired") == {ill}
    assert found("event.code", "*") == set()


def test_what_owners_report_is_for_the_operator(ready: Caller, stranger: Caller) -> None:
    instance_id = run_one(ready)
    begun = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
    request = {"Instances": [instance_id], "Status": "impaired", "ReasonCodes": ["unresponsive", "other"]}
    assert ready.report_instance_status(**request, StartTime=begun, Description="it hangs") == {}
    assert statuses(ready, instance_id) == ("initializing", "ok", "ok")
    with ready.store.read() as tx:
        (report,) = tx.select(StatusReport)
    assert (report.instance_id, report.status, report.reason_codes) == (
        instance_id,
        "impaired",
        ("unresponsive", "other"),
    )
    assert (report.start_time, report.end_time, report.description) == (begun, None, "it hangs")
    ready.report_instance_status(**request | {"Status": "ok"})
    with ready.store.read() as tx:
        assert [each.status for each in tx.select(StatusReport)] == ["ok"]

    with refused("InvalidParameterCombination"):
        ready.report_instance_status(**request, StartTime=begun, EndTime=begun - dt.timedelta(1))
    with refused("InvalidInstanceID.NotFound"):
        stranger.report_instance_status(**request)
    stop(ready, instance_id)
    with refused("IncorrectInstanceState"):
        ready.report_instance_status(**request)


@pytest.mark.parametrize("size", [5, 1000])
def test_pages(ready: Caller, size: int) -> None:
    launched = sorted(run_one(ready) for _ in range(7))
    first = ready.describe_instance_status(MaxResults=size)
    shown = first["InstanceStatuses"]
    if size < len(launched):
        shown += ready.describe_instance_status(MaxResults=size, NextToken=first["NextToken"])["InstanceStatuses"]
    assert [each["InstanceId"] for each in shown] == launched
    with refused("InvalidParameterCombination"):
        ready.describe_instance_status(InstanceIds=launched[:1], MaxResults=5)
