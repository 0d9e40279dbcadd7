"""A distribution's cloud image, imported as it is downloaded: its boot loader, initramfs and cloud-init; minutes of
emulated boots, so only `make test-debian` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.images.build import build, cache_directory
from freehold.images.tools import run_tool
from tests.e2e.servers import Servers, tcp, wait
from tests.images import bootable

POOL = "198.18.14.0/28"
FINISHED = " finished at "  # the last that cloud-init says
USER_DATA = "#!/bin/sh\necho $(id -un) in $(hostname) >/var/tmp/user-data\n"


@pytest.mark.debian
def test_a_cloud_image_takes_itself_for_the_instance_by_bios_and_by_uefi(servers: Servers, tmp_path: Path) -> None:
    """cloud-init finds EC2 by itself: name, key of its user, user data, host keys, and the root grown to its volume."""
    cloud = servers.cloud
    debian = build("debian-12", cloud.data_dir, print)
    disk = bootable.build_debian(debian, cloud.data_dir, cache_directory(), tmp_path)
    file = tmp_path / "debian-12-generic-amd64.qcow2"
    run_tool(("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(disk), str(file)))
    disk.unlink()
    open_group = servers.group("cloud-init", tcp(22))
    launched = {}
    for mode in ("legacy-bios", "uefi"):
        options = ("--name", f"debian by {mode}", "--boot-mode", mode, "--user", "debian")
        image_id = cloud.ok("image", "import", str(file), *options).strip()
        (launched[mode],) = servers.launch(
            open_group,
            ImageId=image_id,
            InstanceType="t3.micro",
            UserData=USER_DATA,
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}],
        )

    for mode, instance_id in launched.items():
        wait(lambda i=instance_id: FINISHED in servers.console(i), f"cloud-init is done by {mode}", 1200)  # type: ignore[misc]

        def run(command: str, instance_id: str = instance_id) -> str:
            return servers.ssh(instance_id, command, user="debian")

        assert "status: done" in run("cloud-init status --wait")
        assert run("cloud-id") == "aws\n"
        shown = servers.get(instance_id)
        assert run("cat /var/lib/cloud/data/instance-id") == f"{instance_id}\n"
        name = shown["PrivateDnsName"].split(".")[0]
        assert run("hostname") == f"{name}\n"
        assert run("cat /var/tmp/user-data") == f"root in {name}\n"
        assert run("id -un; sudo id -un") == "debian\nroot\n"
        assert "Please login as the user" in servers.try_ssh(instance_id, "id", user="root").stdout
        assert int(run("df -k --output=size / | tail -1")) > 7.5 * 1024 * 1024
        assert run("cat /proc/cmdline").startswith("BOOT_IMAGE=/vmlinuz ")
        assert ("efi" in run("ls /sys/firmware").split()) == (mode == "uefi")
        assert shown["CurrentInstanceBootMode"] == mode
    servers.ec2.terminate_instances(InstanceIds=list(launched.values()))
    servers.wait_for_state("terminated", *launched.values())
