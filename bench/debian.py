"""The debian-12 image as a clone of a template, as a boot, and under a bare QEMU: ``python -m bench.debian``.

From RunInstances to a login by SSH that ran a command, once from a template and once without; against the same image
under `qemu-system` with the same kinds of device and a DHCP and metadata server ready beside it. The three take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from ipaddress import IPv4Network
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.launch import Freehold, wait_for_login
from freehold.cli.temporary import temporary_cloud
from freehold.images.build import build
from freehold.images.catalog import paths
from freehold.instance_types import BUILT_IN
from freehold.network import namespace
from tests.images.conftest import instance_metadata
from tests.images.guest import ADDRESS, Guest, Network, run

IMAGE = "debian-12"
USER = "admin"


def metadata(key: Path) -> dict[str, str]:
    """What cloud-init needs to take the machine for an instance."""
    mac = "meta-data/network/interfaces/macs/02:00:00:00:00:0a"
    return instance_metadata("i-0123456789abcdef0", [key], "") | {
        "meta-data/local-ipv4": ADDRESS,
        "meta-data/placement/availability-zone": "us-east-1a",
        f"{mac}/device-number": "0",
        f"{mac}/local-ipv4s": ADDRESS,
        f"{mac}/subnet-ipv4-cidr-block": "10.77.0.0/24",
        "dynamic/instance-identity/document": json.dumps({"region": "us-east-1"}),
    }


def bare(directory: Path, instance_type: str) -> float:
    """Seconds from QEMU's start to a login that ran a command."""
    shape = BUILT_IN[instance_type]
    image = build(IMAGE, directory, lambda _line: None)
    with tempfile.TemporaryDirectory(dir=directory) as place, ExitStack() as stack:
        key, volume = Path(place) / "key", Path(place) / "root.qcow2"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        network = stack.enter_context(Network(Path(place), metadata(key)))
        began = time.monotonic()
        base = str(paths(directory, image).disk)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(volume), "2G")
        stack.enter_context(Guest(image, directory, network, volume, memory=shape.memory_mib, vcpus=shape.vcpus))
        namespace.inside(network.name, lambda: wait_for_login(ADDRESS, key, network.name, user=USER))
        return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="launches of each kind")
    parser.add_argument("--type", default="t3.micro", help="instance type")
    options = parser.parse_args()
    pools = [IPv4Network(pool) for pool in ("198.51.100.0/25", "198.51.100.128/25")]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fh-bare-", dir="/var/tmp")))
        settings = ("[compute]\ntemplate_memory_mib = 0\n", f'[compute]\ntemplate_types = ["{options.type}"]\n')
        booted, cloned = (
            stack.enter_context(temporary_cloud(IMAGE, pool, print, lines))
            for pool, lines in zip(pools, settings, strict=True)
        )
        cold, warm = (Freehold(cloud, options.type, USER) for cloud in (booted, cloned))
        while "template ready" not in (cloned.paths.log / "host.log").read_text():
            time.sleep(0.1)
        found: dict[str, list[float]] = {"warm": [], "cold": [], "bare": []}
        for _ in range(options.rounds):
            for name, servers in (("warm", warm), ("cold", cold)):
                found[name].append(servers.launch(1))
                servers.terminate()
            found["bare"].append(bare(directory, options.type))
            print(*(f"{name} {each[-1]:.1f} s" for name, each in found.items()), f"load {os.getloadavg()[0]:.1f}")
    medians = {name: statistics.median(each) for name, each in found.items()}
    table = Table(title=f"{IMAGE} on {options.type}: seconds to a login by SSH")
    for name in ("what", "median", "ratio", "wanted"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for what, mine, other, wanted in (
        ("RunInstances, a clone", "warm", "cold", "≤ 0.33×"),
        ("RunInstances, a boot", "cold", "bare", "≤ 1.1×"),
    ):
        table.add_row(what, f"{medians[mine]:.2f}", f"{medians[mine] / medians[other]:.2f}× {other}", wanted)
    table.add_row("bare QEMU, a boot", f"{medians['bare']:.2f}", "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
