"""A server's life, its disks and its image by the unmodified `aws` command; one that is deaf is switched off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.servers import Servers, tcp

POOL = "198.18.22.0/28"
CONFIGURATION = "[compute]\nshutdown_grace_seconds = 5\n"
ZONE = "us-east-1a"


def test_all_of_a_server_by_the_aws_command(servers: Servers, tmp_path: Path) -> None:
    def aws(*arguments: str) -> Any:
        shown = servers.cloud.ok("aws", "ec2", *arguments, "--output", "json")
        return json.loads(shown) if shown.strip() else None

    group = servers.group("ssh", tcp(22))
    (script := tmp_path / "script").write_text("#!/bin/sh\necho by aws >/written\n")
    (server,) = aws(
        *("run-instances", "--image-id", servers.image, "--instance-type", "fh1.nano", "--key-name", "e2e"),
        *("--security-group-ids", group, "--placement", f"AvailabilityZone={ZONE}"),
        *("--user-data", f"file://{script}"),
        *("--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=web}]"),
    )["Instances"]
    instance = server["InstanceId"]
    aws("wait", "instance-running", "--instance-ids", instance)
    servers.wait_until_ready(instance)
    assert servers.ssh(instance, "cat /written") == "by aws\n"

    volume = aws("create-volume", "--availability-zone", ZONE, "--size", "1")["VolumeId"]
    aws("wait", "volume-available", "--volume-ids", volume)
    aws("attach-volume", "--volume-id", volume, "--instance-id", instance, "--device", "/dev/sdf")
    aws("wait", "volume-in-use", "--volume-ids", volume)
    snapshot = aws("create-snapshot", "--volume-id", volume)["SnapshotId"]
    aws("wait", "snapshot-completed", "--snapshot-ids", snapshot)
    image = aws("create-image", "--instance-id", instance, "--name", "web", "--no-reboot")["ImageId"]
    aws("wait", "image-available", "--image-ids", image)

    servers.ssh(instance, "kill -STOP $(pidof acpid)")  # what hears the power button
    aws("stop-instances", "--instance-ids", instance)
    servers.wait_for_state("stopped", instance)
    assert "power down" not in servers.console(instance).lower()
    aws("start-instances", "--instance-ids", instance)
    servers.wait_until_ready(instance, boots=2)
    assert servers.ssh(instance, "cat /written") == "by aws\n"

    aws("terminate-instances", "--instance-ids", instance)
    servers.wait_for_state("terminated", instance)
    aws("delete-volume", "--volume-id", volume)
    aws("deregister-image", "--image-id", image, "--delete-associated-snapshots")
    aws("delete-snapshot", "--snapshot-id", snapshot)
    left = aws("describe-volumes")["Volumes"], aws("describe-snapshots", "--owner-ids", "self")["Snapshots"]
    assert left == ([], [])
