"""The host agent: ``python -m freehold.host --data-dir DIR --host-id ID``, in the cloud's network namespace."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path

import structlog

from freehold.host.agent import Agent
from freehold.host.cgroup import Cgroups
from freehold.host.effects import Effects
from freehold.host.hypervisor.accelerator import accelerator
from freehold.host.layout import Layout
from freehold.host.link import keep_link
from freehold.host.machine import Machine
from freehold.host.ports.vswitch import Vswitch
from freehold.host.templates.service import WarmStart
from freehold.host.wire import Hello
from freehold.logs import log_as_json
from freehold.paths import Paths

log = structlog.get_logger()


async def run(layout: Layout, host_id: str, zone: str | None, effects: Effects, warm: WarmStart | None = None) -> None:
    cgroups = Cgroups.detect(layout.tag)
    if (limitation := cgroups.limitation()) is not None:
        log.warning(limitation)
        cgroups = Cgroups(layout.tag, ())
    found = await accelerator(layout)
    cores = os.cpu_count() or 1
    agent = Agent(Machine(layout, found, Vswitch(layout.ovsdb), cgroups, effects), cores, warm or WarmStart())
    hello = Hello(host_id, zone, cores, memory_mib(), found)
    agent.start()
    link = asyncio.create_task(keep_link(layout.paths, hello, agent))
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    log.info("host agent started", host=host_id, accelerator=found)
    await asyncio.wait((asyncio.create_task(stopping.wait()), link), return_when=asyncio.FIRST_COMPLETED)
    if link.done():
        link.result()  # it never ends by itself but by an error: say which
    link.cancel()
    await asyncio.gather(link, return_exceptions=True)
    await agent.close()


def memory_mib() -> int:
    """The memory of this machine (proc_meminfo(5))."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    raise RuntimeError("/proc/meminfo has no MemTotal")


def usual(text: str) -> tuple[str, int, int]:
    """What is launched most, as `WarmStart` has it."""
    name, vcpus, memory = text.split(":")
    return name, int(vcpus), int(memory)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m freehold.host", description="The agent of one host.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--host-id", required=True)
    parser.add_argument("--zone", help="the availability zone of this host; without it, guests of all zones run here")
    parser.add_argument("--template-mib", type=int, default=512, help="memory for templates; 0: none")
    parser.add_argument(
        "--template", action="append", default=[], help="TYPE:VCPUS:MIB, of which there are templates from the start"
    )
    options = parser.parse_args()
    log_as_json()
    os.umask(0o077)
    layout = Layout(Paths(options.data_dir.absolute()))
    try:
        layout.prepare()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    with (layout.paths.host / "agent.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another host agent works in {layout.paths.host}; stop it first.", file=sys.stderr)
            return 1
        warm = WarmStart(options.template_mib, tuple(map(usual, options.template)))
        asyncio.run(run(layout, options.host_id, options.zone, Effects(), warm))
    return 0


if __name__ == "__main__":
    sys.exit(main())
