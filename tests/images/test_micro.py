"""The micro image, booted: what a user of it sees over SSH, on the console and on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from freehold.images.catalog import ImageManifest
from tests.images.conftest import instance_metadata
from tests.images.guest import Guest, Network, run

READY = "freehold-micro ready"
USER_DATA = "#!/bin/bash\necho run by bash $((40 + 2)) >&2\necho ran >>/root/runs\nsleep 1000 &\n"


def test_first_boot_makes_the_instance_that_the_metadata_describes(
    micro: ImageManifest,
    data_dir: Path,
    key: Path,
    tmp_path: Path,
    new_volume: Callable[[ImageManifest, str], Path],
    start_network: Callable[[dict[str, str]], Network],
) -> None:
    """Address, name, all keys, user data, a root file system as large as its volume; nobody else gets in."""
    second = tmp_path / "second"
    run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(second))
    network = start_network(instance_metadata("i-0123456789abcdef0", [key, second], USER_DATA))
    with Guest(micro, data_dir, network, new_volume(micro, "8G"), memory=128) as guest:
        console = guest.wait_for(READY)
        assert "\nrun by bash 42\n" in console

        assert guest.ssh(key, "hostname") == "ip-10-77-0-10.ec2.internal\n"
        assert guest.ssh(second, "cat /var/log/user-data.log") == "run by bash 42\n"
        assert guest.ssh(second, "id -un", user="ec2-user") == "ec2-user\n"
        assert int(guest.ssh(key, "df -k / | awk 'END {print $2}'")) > 7.9 * 1024 * 1024
        # Option 121 wins over the router option, which names a machine that is not there (RFC 3442).
        assert "default via 10.77.0.1 " in guest.ssh(key, "ip route")
        assert "mtu 1442 " in guest.ssh(key, "ip link show eth0")
        assert "inet6 fe80:" in guest.ssh(key, "ip address show eth0")
        assert "no_timer_check" in guest.ssh(key, "cat /proc/cmdline")  # without it a boot on a busy host may panic
        assert abs(int(guest.ssh(key, "date +%s")) - time.time()) < 30
        # Its processor speculates nothing, and the kernel knows: else each system call would take ten times as long.
        assert guest.ssh(key, "grep -L '^Not affected' /sys/devices/system/cpu/vulnerabilities/*; true") == ""

        assert guest.printed_host_keys() == [guest.presented_host_key()]
        stranger = tmp_path / "stranger"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger))
        refused = guest.try_ssh("true", "-i", str(stranger), "-o", "IdentitiesOnly=yes")
        assert "Permission denied (publickey)" in refused.stderr  # no password is even asked for

        guest.qmp("system_powerdown")
        assert guest.wait_for_exit() == 0


def test_a_reboot_and_a_power_cycle_keep_the_disk_and_repeat_nothing(
    micro: ImageManifest,
    data_dir: Path,
    key: Path,
    new_volume: Callable[[ImageManifest, str], Path],
    start_network: Callable[[dict[str, str]], Network],
) -> None:
    """With the least memory the image promises, and another processor model."""
    network = start_network(instance_metadata("i-0123456789abcdef0", [key], USER_DATA))
    volume = new_volume(micro, "2G")
    with Guest(micro, data_dir, network, volume, memory=micro.minimum_memory, cpu="max") as guest:
        guest.wait_for(READY)
        guest.ssh(key, "echo kept >/root/file; echo >>/root/.ssh/authorized_keys '# mine'")
        host_key = guest.presented_host_key()
        guest.try_ssh("reboot", "-i", str(key))
        guest.wait_for(READY, times=2)
        assert guest.ssh(key, "cat /root/file /root/runs") == "kept\nran\n"
        guest.try_ssh("poweroff", "-i", str(key))
        assert guest.wait_for_exit() == 0
    run("qemu-img", "resize", "-q", str(volume), "3G")
    with Guest(micro, data_dir, network, volume, memory=micro.minimum_memory, cpu="max") as guest:
        guest.wait_for(READY)
        assert guest.ssh(key, "cat /root/file /root/runs") == "kept\nran\n"
        assert "# mine" in guest.ssh(key, "cat /root/.ssh/authorized_keys")
        assert int(guest.ssh(key, "df -k / | awk 'END {print $2}'")) > 2.9 * 1024 * 1024
        assert "recovery" not in guest.ssh(key, "dmesg | grep EXT4")  # it was left clean
        assert guest.presented_host_key() == host_key == guest.printed_host_keys()[0]

        guest.ssh(key, "echo torn >/etc/dropbear/dropbear_ed25519_host_key; sync")  # as by a crash
        guest.try_ssh("reboot", "-i", str(key))
        guest.wait_for(READY, times=2)
        assert [guest.presented_host_key()] == guest.printed_host_keys() != [host_key]


def test_a_copied_volume_becomes_another_instance(
    micro: ImageManifest,
    data_dir: Path,
    key: Path,
    tmp_path: Path,
    new_volume: Callable[[ImageManifest, str], Path],
    start_network: Callable[[dict[str, str]], Network],
) -> None:
    """An image made of a used disk must not carry on with its keys: host key and logins are the new instance's."""
    volume = new_volume(micro, "2G")
    with Guest(micro, data_dir, start_network(instance_metadata("i-1", [key], USER_DATA)), volume, memory=128) as guest:
        guest.wait_for(READY)
        host_key = guest.presented_host_key()
        guest.qmp("system_powerdown")
        assert guest.wait_for_exit() == 0
    heir = tmp_path / "heir"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(heir))
    with Guest(micro, data_dir, start_network(instance_metadata("i-2", [heir], "")), volume, memory=128) as guest:
        guest.wait_for(READY)
        assert guest.presented_host_key() != host_key
        assert guest.try_ssh("true", "-i", str(key), "-o", "IdentitiesOnly=yes").returncode != 0
        assert guest.ssh(heir, "cat /root/runs") == "ran\n"
