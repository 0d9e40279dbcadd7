"""Images that somebody brought: a distribution's disk, imported by the command, boots by its own boot loader."""

from __future__ import annotations

import json
from pathlib import Path

from freehold.images.build import cache_directory
from freehold.images.catalog import load
from freehold.images.tools import run_tool
from tests.e2e.servers import Servers, tcp
from tests.images import bootable

POOL = "198.18.3.32/27"


def test_a_cloud_image_is_imported_and_lets_its_key_in(servers: Servers, tmp_path: Path) -> None:
    """As a compressed qcow2, as distributions have it: by UEFI here, by BIOS in tests/host/test_firmware.py."""
    cloud = servers.cloud
    (micro,) = load(cloud.data_dir)
    disk = bootable.build(micro, cloud.data_dir, cache_directory(), tmp_path)
    file = tmp_path / "cloud.img"
    run_tool(("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(disk), str(file)))
    disk.unlink()
    image_id = cloud.ok("image", "import", str(file), "--name", "a cloud image", "--boot-mode", "uefi").strip()
    assert "a cloud image" in cloud.refused("image", "import", str(file), "--name", "a cloud image")
    listed = {image["image_id"]: image for image in json.loads(cloud.ok("image", "list", "--json"))}
    assert (listed[image_id]["name"], listed[image_id]["boot_mode"]) == ("a cloud image", "uefi")
    (shown,) = servers.ec2.describe_images(Filters=[{"Name": "boot-mode", "Values": ["uefi"]}])["Images"]
    assert (shown["ImageId"], shown["BootMode"], shown["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]) == (
        image_id,
        "uefi",
        2,
    )
    open_group = servers.group("images", tcp(22))
    (instance_id,) = servers.launch(open_group, ImageId=image_id, InstanceType="t3.micro")
    servers.wait_until_ready(instance_id)
    assert servers.get(instance_id)["CurrentInstanceBootMode"] == "uefi"
    assert servers.ssh(instance_id, "cat /proc/cmdline; ls /sys/firmware").count("efi") == 1
    servers.ec2.terminate_instances(InstanceIds=[instance_id])
    servers.wait_for_state("terminated", instance_id)
