"""A spot instance with a real guest: it reads its notice while an on-demand instance starts in its room."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from freehold.paths import Paths
from freehold.processes import guests
from tests.e2e.servers import Servers, tcp, wait
from tests.e2e.test_servers import TOKEN

POOL = "198.18.6.0/27"
# A host for two guests of one vCPU, whatever machine it is.
CONFIGURATION = f"""
[compute]
cpu_overcommit = {2.5 / (os.cpu_count() or 1):.6f}

[spot]
notice_seconds = 20

"""
# What a guest does that wants to know.
USER_DATA = f"""#!/bin/sh
while sleep 1; do
    token=$({TOKEN})
    notice=$(wget -q -O - --header "X-aws-ec2-metadata-token: $token" \\
        http://169.254.169.254/latest/meta-data/spot/instance-action) && break
done >/dev/null 2>&1 </dev/null && echo "notice: $notice" >/dev/ttyS0 &
"""


def test_a_spot_instance_makes_room(servers: Servers) -> None:
    ec2, group = servers.ec2, servers.group("spot", tcp(22))
    ec2.create_placement_group(GroupName="apart", Strategy="spread")
    spot = {"MarketType": "spot"}
    (spare,) = servers.launch(group, InstanceMarketOptions=spot, Placement={"GroupName": "apart"}, UserData=USER_DATA)
    servers.wait_until_ready(spare)
    ask = f'wget -q -O - --header "X-aws-ec2-metadata-token: $({TOKEN})" http://169.254.169.254/latest/meta-data'
    assert servers.ssh(spare, f"{ask}/instance-life-cycle") == "spot"
    assert servers.ssh(spare, f"{ask}/placement/group-name") == "apart"
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):  # there is room, but no other host
        servers.launch(group, Placement={"GroupName": "apart"})
    request_id = servers.get(spare)["SpotInstanceRequestId"]
    pid = guests(Paths(servers.cloud.data_dir).tag)[spare].pid
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"

    wanted = servers.launch(group, count=2)
    wait(lambda: "notice: " in servers.console(spare), "it has read its notice")
    servers.wait_for_state("running", *wanted)
    (notice,) = (line for line in servers.console(spare).splitlines() if line.startswith("notice: "))
    assert json.loads(notice.removeprefix("notice: "))["action"] == "terminate"
    servers.wait_for_state("terminated", spare)
    (request,) = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request_id])["SpotInstanceRequests"]
    assert (request["State"], request["Status"]["Code"]) == ("closed", "instance-terminated-no-capacity")
    servers.wait_until_ready(*wanted)
    assert servers.ssh(wanted[0], "echo -n here") == "here"
    assert events(servers, "BidEvictedEvent") == [{"instanceIdSet": [spare]}]
    (warning,) = events(servers, "SpotInstanceInterruptionWarning")
    assert warning == {"instance-id": spare, "instance-action": "terminate"}


def events(servers: Servers, name: str) -> list[object]:
    """The details of the trail's events with this name."""
    trail = servers.client("cloudtrail")
    attribute = {"AttributeKey": "EventName", "AttributeValue": name}
    found: list[object] = []

    def has_come() -> bool:
        events = trail.lookup_events(LookupAttributes=[attribute])["Events"]  # type: ignore[list-item]
        found[:] = [json.loads(event["CloudTrailEvent"])["serviceEventDetails"] for event in events]
        return bool(found)

    wait(has_come, f"{name} is in the trail")
    return found
