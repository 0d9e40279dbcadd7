"""What a cloud that was removed would have left on the machine. There should never be any of it."""

from __future__ import annotations

import os
from pathlib import Path

from freehold.host.cgroup import Cgroups
from freehold.network import namespace
from freehold.network.names import CloudNetwork
from freehold.paths import Paths
from freehold.processes import guests, shares, standbys


def leftovers(paths: Paths, network: CloudNetwork) -> list[str]:
    """Everything of a cloud that is still there, each in a few words."""
    data_dir = os.fsencode(paths.data_dir)
    groups = Cgroups.detect(paths.tag)
    found = [f"server {instance_id}" for instance_id in guests(paths.tag)]
    found += [f"QEMU that stands ready for {instance_id}" for instance_id in standbys(paths.tag)]
    found += [f"QEMU of volume {volume_id}" for volume_id in shares(paths.tag)]
    found += [f"process {pid}" for pid in _processes_that_name(data_dir)]
    found += [f"control group of {instance_id}" for instance_id in groups.guests()]
    if namespace.exists(network):
        found.append(f"network namespace {network.namespace}")
    if Path("/sys/class/net", network.outer).exists():
        found.append(f"interface {network.outer}")
    if data_dir in Path("/proc/self/mounts").read_bytes():
        found.append(f"a mount in {paths.data_dir}")
    if paths.data_dir.exists():
        found.append(f"directory {paths.data_dir}")
    return found


def _processes_that_name(text: bytes) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if text in Path(entry.path, "cmdline").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found
