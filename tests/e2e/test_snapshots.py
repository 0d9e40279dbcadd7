"""Snapshots of real servers' disks."""

from __future__ import annotations

import pytest

from freehold.host.layout import Layout
from freehold.paths import Paths
from tests.e2e.servers import Servers, tcp, wait

POOL = "198.18.2.32/27"


@pytest.fixture(scope="module")
def server(servers: Servers) -> str:
    (instance_id,) = servers.launch(servers.group("ssh", tcp(22)))
    servers.wait_until_ready(instance_id)
    return instance_id


@pytest.fixture
def volume(servers: Servers, server: str) -> str:
    (mapping,) = servers.get(server)["BlockDeviceMappings"]
    return mapping["Ebs"]["VolumeId"]


def test_a_snapshot_is_taken_when_the_call_returns(servers: Servers, server: str, volume: str) -> None:
    layout = Layout(Paths(servers.cloud.data_dir))
    snapshot = servers.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    assert layout.layer(snapshot).exists()

    def shown() -> str:
        return servers.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"]

    wait(lambda: shown() == "completed", "the snapshot is completed")
    servers.ssh(server, "echo it runs on >/root/words && sync")
    servers.ec2.delete_snapshot(SnapshotId=snapshot)
