"""What a user sees of how a server fares, and does about it, with real servers."""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from freehold.processes import guests, standbys
from tests.e2e.servers import READY, Servers, tcp, wait
from tests.e2e.test_servers import TOKEN

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceStatusTypeDef

POOL = "198.18.7.0/27"


@pytest.fixture(scope="module")
def server(servers: Servers) -> str:
    (instance_id,) = servers.launch(servers.group("status", tcp(22)))
    servers.wait_until_ready(instance_id)
    return instance_id


def test_the_console_is_shown_as_it_is_at_the_call(servers: Servers, server: str) -> None:
    for number in range(3):
        servers.ssh(server, f"echo word-{number} >/dev/ttyS0")
        assert f"word-{number}" in servers.console(server)


def test_its_screen_is_shown_as_a_picture(servers: Servers, server: str) -> None:
    for wake_up in (False, True):
        answer = servers.ec2.get_console_screenshot(InstanceId=server, WakeUp=wake_up)
        picture = base64.b64decode(answer["ImageData"])
        assert picture.startswith(b"\xff\xd8\xff")  # JPEG
        shown = subprocess.run(("djpeg", "-pnm"), input=picture, capture_output=True, check=True).stdout
        assert shown.startswith(b"P6\n640 480\n255\n")
        assert len(set(shown[15:])) > 1  # something is on it


def test_a_server_whose_machine_ended_is_recovered_unless_its_owner_wants_none(servers: Servers, server: str) -> None:
    """As AWS's simplified automatic recovery: the same instance, addresses and disk; what was in memory is lost."""

    def lose() -> None:
        os.kill(guests(servers.cloud.paths.tag)[server].pid, signal.SIGKILL)

    before, boots = servers.get(server), servers.console(server).count(READY)
    servers.ssh(server, "echo kept >/root/kept; sync")
    lose()
    servers.wait_until_ready(server, boots=boots + 1)
    assert servers.get(server) == before
    assert servers.ssh(server, "cat /root/kept") == "kept\n"

    servers.ec2.modify_instance_maintenance_options(InstanceId=server, AutoRecovery="disabled")
    spec = servers.cloud.paths.host / "guests" / server / "spec.json"
    wait(lambda: not json.loads(spec.read_bytes())["auto_recovery"], "its host knows")
    lose()
    wait(lambda: status(servers, server)["SystemStatus"]["Status"] == "impaired", "it is impaired")
    assert status(servers, server)["InstanceStatus"]["Status"] == "impaired"
    assert servers.state(server) == "running"
    servers.ec2.modify_instance_maintenance_options(InstanceId=server, AutoRecovery="default")
    servers.wait_until_ready(server, boots=boots + 2)
    wait(lambda: status(servers, server)["SystemStatus"]["Status"] == "ok", "it is recovered")


def status(servers: Servers, instance_id: str) -> InstanceStatusTypeDef:
    (shown,) = servers.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    return shown


def test_a_server_that_does_not_answer_is_impaired(servers: Servers, server: str) -> None:
    def is_now(expected: str) -> bool:
        return status(servers, server)["InstanceStatus"]["Status"] == expected

    wait(lambda: is_now("ok"), "its status is ok")
    assert status(servers, server)["SystemStatus"]["Status"] == "ok"
    assert status(servers, server)["AttachedEbsStatus"]["Status"] == "ok"
    servers.ssh(server, "echo 8 >/proc/sys/net/ipv4/conf/all/arp_ignore")  # to nobody
    wait(lambda: is_now("impaired"), "it is impaired")
    (reachability,) = status(servers, server)["InstanceStatus"]["Details"]
    assert (reachability["Name"], reachability["Status"]) == ("reachability", "failed")
    assert reachability["ImpairedSince"] > servers.get(server)["LaunchTime"]
    assert status(servers, server)["SystemStatus"]["Status"] == "ok"
    servers.ssh(server, "echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore")
    wait(lambda: is_now("ok"), "it is well again")


def test_what_the_operator_schedules_is_seen_and_done(servers: Servers, server: str) -> None:
    """By the API, by the server itself, and then by everybody."""
    schedule = ("event", "schedule", server, "instance-reboot")
    plan = servers.cloud.ok(*schedule, "--at", "2096-12-01T04:00Z", "--deadline", "2096-12-08T04:00Z").strip()
    (event,) = status(servers, server)["Events"]
    assert (event["InstanceEventId"], event["Code"]) == (plan, "instance-reboot")
    moved = servers.ec2.modify_instance_event_start_time(
        InstanceId=server, InstanceEventId=plan, NotBefore="2096-12-07T04:00:00Z"
    )["Event"]

    def told(what: str) -> list[dict[str, str]]:
        ask = f'wget -q -O - --header "X-aws-ec2-metadata-token: $({TOKEN})" http://169.254.169.254/latest/meta-data'
        document: list[dict[str, str]] = json.loads(servers.ssh(server, f"{ask}/events/maintenance/{what}"))
        return document

    assert moved["NotBefore"].isoformat() == "2096-12-07T04:00:00+00:00"
    wait(lambda: [each["NotBefore"] for each in told("scheduled")] == ["07 Dec 2096 04:00:00 GMT"], "IMDS tells it")
    servers.cloud.ok("event", "cancel", plan)
    wait(lambda: told("scheduled") == [], "it is canceled")
    assert [(each["EventId"], each["State"]) for each in told("history")] == [(plan, "canceled")]

    window = servers.ec2.create_instance_event_window(CronExpression="* 2-6 * * SUN")["InstanceEventWindow"]
    window_id, of_server = window["InstanceEventWindowId"], {"InstanceIds": [server]}
    servers.ec2.associate_instance_event_window(InstanceEventWindowId=window_id, AssociationTarget=of_server)
    waiting = servers.cloud.ok(*schedule, "--at", "2096-12-01T04:00Z").strip()  # a Saturday
    begins = {each["InstanceEventId"]: each["NotBefore"].isoformat() for each in status(servers, server)["Events"]}
    assert begins[waiting] == "2096-12-02T02:00:00+00:00"
    servers.cloud.ok("event", "cancel", waiting)

    boots = servers.console(server).count(READY)
    now = servers.cloud.ok(*schedule, "--expedited").strip()
    servers.wait_until_ready(server, boots=boots + 1)
    states = {each["event_id"]: each["state"] for each in json.loads(servers.cloud.ok("event", "list", "--json"))}
    assert states == {plan: "canceled", waiting: "canceled", now: "completed"}
    assert status(servers, server)["Events"][0]["Description"].startswith("[Completed] ")

    servers.ec2.report_instance_status(Instances=[server], Status="impaired", ReasonCodes=["performance-other"])
    (report,) = json.loads(servers.cloud.ok("event", "reports", "--json"))
    assert (report["instance_id"], report["reason_codes"]) == (server, ["performance-other"])


def test_a_diagnostic_interrupt_reaches_the_kernel(servers: Servers, server: str) -> None:
    servers.ec2.send_diagnostic_interrupt(InstanceId=server)
    wait(lambda: "NMI received" in servers.ssh(server, "dmesg"), "the kernel has seen the interrupt")
    assert "NMI received" in servers.console(server)
    servers.ssh(server, "echo 1 >/proc/sys/kernel/unknown_nmi_panic")
    servers.ec2.send_diagnostic_interrupt(InstanceId=server)
    wait(lambda: "Kernel panic - not syncing: NMI" in servers.console(server), "the kernel has panicked")


def test_the_next_server_is_the_machine_that_stands_ready(servers: Servers, server: str) -> None:
    paths = servers.cloud.paths

    def promised() -> set[str]:
        with closing(sqlite3.connect(paths.data_dir / "state.db")) as database:
            return {instance_id for (instance_id,) in database.execute("SELECT instance_id FROM ready_machines")}

    wait(lambda: len(standbys(paths.tag)) == 1 and promised() == standbys(paths.tag).keys(), "a machine stands ready")
    ((instance_id, machine),) = standbys(paths.tag).items()
    group = servers.group("ready", tcp(22))
    assert servers.launch(group, count=2)[0] == instance_id
    servers.wait_until_ready(instance_id)
    assert guests(paths.tag)[instance_id] == machine
    assert servers.ssh(instance_id, "cat /sys/class/dmi/id/board_asset_tag") == f"{instance_id}\n"
