"""Guests that firmware starts from their own boot disk, as cloud images are downloaded: by BIOS and by UEFI."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.images.build import cache_directory
from freehold.images.catalog import MANIFEST_FILE, images_directory, load
from freehold.images.tools import run_tool
from tests.host.plane import AgentProcess, Plane, guest_spec, leftovers
from tests.images import bootable
from tests.ovn import Cloud

POOL = IPv4Network("198.18.3.0/28")
MOUNTED = b"EXT4-fs (vda1): warning: maximal mount count reached"


@pytest.fixture(scope="module")
def bootable_id(data_dir: Path, image_id: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image without a kernel of its own beside it."""
    (micro,) = load(data_dir)
    disk = bootable.build(micro, data_dir, cache_directory(), tmp_path_factory.mktemp("bootable"))
    image = replace(micro, image_id=f"ami-{1:017x}", kernel=None, initrd=None, append="")
    directory = images_directory(data_dir) / image.image_id
    directory.mkdir()
    run_tool(("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(disk), str(directory / image.disk)))
    (directory / image.disk).chmod(0o444)
    (directory / MANIFEST_FILE).write_bytes(msgspec.json.encode(image))
    disk.unlink()
    return image.image_id


def test_a_disk_with_boot_loaders_boots_by_bios_and_by_uefi(
    plane: Plane, agent: AgentProcess, bootable_id: str, data_dir: Path, cloud: Cloud
) -> None:
    """Its boot loader says which firmware called it. UEFI's variables are the instance's, and stay over a stop."""
    layout = Layout(cloud.paths)
    specs = {
        mode: replace(
            guest_spec(number, bootable_id, memory_mib=memory_mib, boot_mode=mode, kernel_image_id=None),
            volumes=tuple(replace(v, size_gib=2) for v in guest_spec(number, bootable_id).volumes),
        )
        for number, mode, memory_mib in ((1, "legacy-bios", 128), (2, "uefi", 256))
    }
    plane.assign(*specs.values())
    for mode, sign in (("legacy-bios", b"GRUB on pc"), ("uefi", b"GRUB on efi")):
        plane.wait_for_console(specs[mode].instance_id, sign)
        plane.wait_for_console(specs[mode].instance_id, MOUNTED)

    uefi = specs["uefi"].instance_id
    variables = layout.guest(uefi).uefi_variables
    remembered = variables.read_bytes()
    assert "BootOrder".encode("utf-16-le") in remembered
    assert not layout.guest(specs["legacy-bios"].instance_id).uefi_variables.exists()
    plane.want(uefi, "stopped", shutdown_grace_seconds=3600)
    plane.wait_for_state(uefi, "stopped")
    assert variables.read_bytes() == remembered
    plane.want(uefi, "running")
    plane.wait_for_console(uefi, MOUNTED, times=2)
    for spec in specs.values():
        plane.want(spec.instance_id, "absent")
        plane.wait_for_state(spec.instance_id, "absent")
    assert leftovers(data_dir, cloud.paths.switch) == []
