"""Images that somebody brought: a distribution's disk, imported by the command, boots by its own boot loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from freehold.images.build import cache_directory
from freehold.images.catalog import load
from freehold.images.tools import run_tool
from tests.e2e.servers import Servers, tcp, wait
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


def test_a_server_of_an_image_of_a_server_has_its_files(servers: Servers) -> None:
    """CreateImage shuts the server down: what its system had not written out is in the image too. The copy is another
    instance: its host key is its own. Where the server runs on, only what was written out is."""
    open_group = servers.group("origin", tcp(22))
    (origin,) = servers.launch(open_group)
    servers.wait_until_ready(origin)
    servers.ssh(origin, "echo kept >/root/kept")
    image_id = servers.ec2.create_image(InstanceId=origin, Name="of a server")["ImageId"]
    servers.ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})
    servers.wait_until_ready(origin, boots=2)
    servers.ssh(origin, "echo later >/root/later; sync")
    quick = servers.ec2.create_image(InstanceId=origin, Name="while it runs", NoReboot=True)["ImageId"]
    servers.ec2.get_waiter("image_available").wait(ImageIds=[quick], WaiterConfig={"Delay": 1})
    servers.ssh(origin, "echo changed >/root/kept; sync")

    copies = [servers.launch(open_group, ImageId=each)[0] for each in (image_id, quick)]
    servers.wait_until_ready(*copies)
    assert servers.ssh(copies[0], "cat /root/kept; ls /root") == "kept\nkept\n"
    assert servers.ssh(copies[1], "cat /root/kept /root/later") == "kept\nlater\n"
    keys = {servers.ssh(each, "cat /etc/dropbear/*.pub 2>/dev/null; hostname") for each in (origin, *copies)}
    assert len(keys) == 3
    servers.ec2.terminate_instances(InstanceIds=[origin])
    servers.wait_for_state("terminated", origin)
    for each in (image_id, quick):
        answer = servers.ec2.deregister_image(ImageId=each, DeleteAssociatedSnapshots=True)
        assert [result["ReturnCode"] for result in answer["DeleteSnapshotResults"]] == ["success"]
    servers.ec2.reboot_instances(InstanceIds=copies)
    servers.wait_until_ready(*copies, boots=2)
    assert servers.ssh(copies[0], "cat /root/kept") == "kept\n"
    servers.ec2.terminate_instances(InstanceIds=copies)
    servers.wait_for_state("terminated", *copies)


def test_a_server_gets_another_root_volume_and_stays_itself(servers: Servers) -> None:
    """As at its launch, then from a snapshot: address and name stay, files are those of the new root."""
    (instance_id,) = servers.launch(servers.group("replaced", tcp(22)))
    servers.wait_until_ready(instance_id)
    before = servers.get(instance_id)
    (mapping,) = before["BlockDeviceMappings"]
    old = mapping["Ebs"]["VolumeId"]
    servers.ssh(instance_id, "echo mine >/root/mine; sync")
    snapshot_id = servers.ec2.create_snapshot(VolumeId=old)["SnapshotId"]

    def replaced(**request: Any) -> None:
        task = servers.ec2.create_replace_root_volume_task(InstanceId=instance_id, **request)["ReplaceRootVolumeTask"]
        task_id = task["ReplaceRootVolumeTaskId"]

        def succeeded() -> bool:
            found = servers.ec2.describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=[task_id])
            return found["ReplaceRootVolumeTasks"][0]["TaskState"] == "succeeded"

        wait(succeeded, "the root volume is replaced")

    replaced()
    servers.wait_until_ready(instance_id, boots=2)
    assert servers.ssh(instance_id, "ls /root") == ""
    assert servers.ec2.describe_volumes(VolumeIds=[old])["Volumes"][0]["State"] == "available"
    replaced(SnapshotId=snapshot_id, DeleteReplacedRootVolume=True)
    servers.wait_until_ready(instance_id, boots=3)
    assert servers.ssh(instance_id, "cat /root/mine") == "mine\n"
    after = servers.get(instance_id)
    for same in ("PublicIpAddress", "PrivateIpAddress", "InstanceId", "LaunchTime"):
        assert after[same] == before[same]  # type: ignore[literal-required]
    wait(lambda: len(servers.ec2.describe_volumes()["Volumes"]) == 2, "the second root volume is deleted")
    servers.ec2.delete_volume(VolumeId=old)
    servers.ec2.terminate_instances(InstanceIds=[instance_id])
    servers.wait_for_state("terminated", instance_id)
    wait(lambda: servers.ec2.describe_volumes()["Volumes"] == [], "no volume is left")
    servers.ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_a_launch_has_its_disks(servers: Servers) -> None:
    """An empty disk is in the guest under its volume's name; an image takes along what was written to it."""
    open_group = servers.group("disks", tcp(22))
    (origin,) = servers.launch(open_group, BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}])
    servers.wait_until_ready(origin)
    of_device: Any = [{"Name": "attachment.device", "Values": ["/dev/sdf"]}]
    (volume,) = servers.ec2.describe_volumes(Filters=of_device)["Volumes"]
    volume_id = volume["VolumeId"]
    find = 'for d in /sys/block/vd?; do [ "$(cat $d/serial)" = {} ] && basename $d; done'
    device = servers.ssh(origin, find.format(volume_id.replace("-", ""))).strip()
    servers.ssh(origin, f"echo on the second disk >/dev/{device}; sync")
    image_id = servers.ec2.create_image(InstanceId=origin, Name="two disks", NoReboot=True)["ImageId"]
    servers.ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})
    (copy,) = servers.launch(open_group, ImageId=image_id)
    servers.wait_until_ready(copy)
    assert servers.ssh(copy, "head -n 1 /dev/vdb") == "on the second disk\n"
    servers.ec2.terminate_instances(InstanceIds=[origin, copy])
    servers.wait_for_state("terminated", origin, copy)
    servers.ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)


def test_the_disk_of_a_stopped_server_goes_to_a_file_and_comes_back(servers: Servers, tmp_path: Path) -> None:
    """By the API of EBS and the confined qemu-img: what comes back is what was there, bit for bit."""
    cloud, ec2 = servers.cloud, servers.ec2
    (origin,) = servers.launch(servers.group("exported", tcp(22)))
    servers.wait_until_ready(origin)
    servers.ssh(origin, "head -c 3000000 /dev/urandom >/root/kept; sync")
    ec2.stop_instances(InstanceIds=[origin])
    servers.wait_for_state("stopped", origin)
    image_id = ec2.create_image(InstanceId=origin, Name="to a file")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1})
    (mapping,) = ec2.describe_images(ImageIds=[image_id])["Images"][0]["BlockDeviceMappings"]
    snapshot_id = mapping["Ebs"]["SnapshotId"]
    vmdk, before, after = (tmp_path / name for name in ("disk.vmdk", "before.raw", "after.qcow2"))
    cloud.ok("image", "export", image_id, str(vmdk))
    again = cloud.ok("snapshot", "import", str(vmdk), "--description", "from a file").strip()
    cloud.ok("snapshot", "export", snapshot_id, str(before))
    assert json.loads(cloud.ok("snapshot", "export", again, str(after), "--json"))["Format"] == "qcow2"
    run_tool(("qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(before), str(after)))
    (imported,) = ec2.describe_snapshots(SnapshotIds=[again])["Snapshots"]
    assert (imported["State"], imported["Encrypted"], imported["Description"]) == ("completed", True, "from a file")

    task_id = ec2.import_image(DiskContainers=[{"SnapshotId": again}])["ImportTaskId"]

    def task() -> Any:
        return ec2.describe_import_image_tasks(ImportTaskIds=[task_id])["ImportImageTasks"][0]

    wait(lambda: task()["Status"] == "completed", "the image is imported")
    assert "not overwritten" in cloud.refused("snapshot", "export", again, str(after))
    overlay = tmp_path / "overlay.qcow2"
    run_tool(("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(after), str(overlay)))
    assert "overlay of another file" in cloud.run("snapshot", "import", str(overlay)).stderr
    ec2.terminate_instances(InstanceIds=[origin])
    for each in (image_id, task()["ImageId"]):
        ec2.deregister_image(ImageId=each, DeleteAssociatedSnapshots=True)
    ec2.delete_snapshot(SnapshotId=again)
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    servers.wait_for_state("terminated", origin)
