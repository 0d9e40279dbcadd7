"""The debian-12 image, built with mmdebstrap and booted; minutes of work, so only `make test-debian` runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.images.build import build
from freehold.images.catalog import ImageManifest
from tests.images.conftest import instance_metadata
from tests.images.guest import ADDRESS, Guest, Network, run


@pytest.mark.debian
def test_cloud_init_takes_the_instance_from_the_metadata(
    data_dir: Path,
    key: Path,
    new_volume: Callable[[ImageManifest, str], Path],
    start_network: Callable[[dict[str, str]], Network],
) -> None:
    """Stock cloud-init finds EC2: name, key, user data once over a reboot, host keys printed, grown root, power-off;
    and sshd asks the metadata service for keys of EC2 Instance Connect."""
    image = build("debian-12", data_dir, print)
    mac = "meta-data/network/interfaces/macs/02:00:00:00:00:0a"
    metadata = instance_metadata("i-0123456789abcdef0", [key], "#!/bin/sh\necho ran >>/root/runs\n") | {
        "meta-data/ami-id": image.image_id,
        "meta-data/placement/availability-zone": "us-east-1a",
        "meta-data/local-ipv4": ADDRESS,
        f"{mac}/device-number": "0",
        f"{mac}/local-ipv4s": ADDRESS,
        f"{mac}/subnet-ipv4-cidr-block": "10.77.0.0/24",
        "dynamic/instance-identity/document": json.dumps({"region": "us-east-1"}),
    }
    visitor = key.with_name("visitor")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(visitor))
    sent = visitor.with_suffix(".pub").read_text()
    metadata["meta-data/managed-ssh-keys/active-keys/admin"] = f"#Instance=i-0123456789abcdef0\n{sent}"
    network = start_network(metadata)
    with Guest(image, data_dir, network, new_volume(image, "8G"), memory=512) as guest:
        guest.wait_for("-----END SSH HOST KEY KEYS-----", limit=300)
        guest.ssh(key, "cloud-init status --wait", user="admin")
        assert "status: done" in guest.ssh(key, "cloud-init status", user="admin")
        assert guest.ssh(key, "cloud-id", user="admin") == "aws\n"
        assert guest.ssh(visitor, "id -un", user="admin") == "admin\n"
        assert "Permission denied" in guest.try_ssh("id -un", "-i", str(visitor), user="root").stderr
        assert guest.ssh(key, "hostname", user="admin").startswith("ip-10-77-0-10")
        assert guest.presented_host_key() in guest.printed_host_keys()
        assert int(guest.ssh(key, "df -k --output=size / | tail -1", user="admin")) > 7.5 * 1024 * 1024
        guest.try_ssh("sudo reboot", "-i", str(key), user="admin")
        guest.wait_for("login:", times=2, limit=300)
        guest.ssh(key, "cloud-init status --wait", user="admin")
        assert guest.ssh(key, "sudo cat /root/runs", user="admin") == "ran\n"
        guest.qmp("system_powerdown")
        assert guest.wait_for_exit() == 0
