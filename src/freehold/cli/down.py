"""``freehold down`` and ``freehold destroy``."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click

from freehold import config as configuration
from freehold import parts
from freehold.cli import fail
from freehold.cli.commands import only_command
from freehold.cli.endpoint import cloud_paths
from freehold.cli.progress import say
from freehold.config import Config
from freehold.control.stopping import stop_all
from freehold.host.cgroup import Cgroups
from freehold.network import namespace
from freehold.paths import Paths
from freehold.processes import end, guests, registered, shares, standbys
from freehold.records.compute import Instance, instances
from freehold.records.store import Store
from freehold.records.wake import SocketBell
from freehold.supervisor import STOP_SECONDS_MAX, only_supervisor
from freehold.supervisor_status import SUPERVISOR_PID, read_status

_GUEST_SECONDS = 5.0
_SWITCH_OFF_SECONDS = 60.0  # what a guest that ignores its power button may take beyond its grace
_UP = ("pending", "running", "stopping", "shutting-down")


def down(data_dir: Path, with_guests: bool) -> None:
    paths = cloud_paths(data_dir)
    config = configuration.load(paths.data_dir)
    with only_command(paths):
        if with_guests:
            _stop_guests(paths, config)
        stop(paths, config)
    running = len(guests(paths.tag))
    print(f"Freehold is stopped; {_servers(running)} on." if running else "Freehold is stopped.")


def destroy(data_dir: Path, yes: bool) -> None:
    paths = cloud_paths(data_dir)
    config = configuration.load(paths.data_dir)
    if not yes:
        running = len(guests(paths.tag))
        click.confirm(
            f"Remove the cloud in {paths.data_dir} with all its disks"
            + (f" ({_servers(running)})?" if running else "?"),
            abort=True,
        )
    with only_command(paths):
        remove(paths, config)
    print(f"The cloud in {paths.data_dir} is gone.")


def stop(paths: Paths, config: Config) -> None:
    """End the supervisor with all parts, and what a dead one left; the data path stays while guests run."""
    status = read_status(paths.run)
    network = parts.cloud_network(paths.data_dir, config)
    kept = parts.supervisor(paths, network, status["port"] if status else 0, config)
    if (found := registered(paths.run / SUPERVISOR_PID)) is not None:
        end(found[0], STOP_SECONDS_MAX * kept.size)
    with only_supervisor(paths.run):
        kept.end_left()


def remove(paths: Paths, config: Config) -> None:
    """Take away all that a cloud has made on this machine. May be repeated, and cut off anywhere."""
    stop(paths, config)
    for qemu in (*guests(paths.tag).values(), *standbys(paths.tag).values(), *shares(paths.tag).values()):
        end(qemu, _GUEST_SECONDS)
    stop(paths, config)
    groups = Cgroups.detect(paths.tag)
    for instance_id in groups.guests():
        groups.remove(instance_id)
    groups.remove_parent()
    namespace.remove(parts.cloud_network(paths.data_dir, config))
    if config.state.url:
        from freehold.records.migrations import drop

        drop(config.state.url)
    # The mark of a cloud goes last: a removal that was cut off can be repeated.
    for entry in sorted(paths.data_dir.iterdir(), key=lambda entry: entry == paths.keys):
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    paths.data_dir.rmdir()


def _stop_guests(paths: Paths, config: Config) -> None:
    """Stop every server as StopInstances does, and wait until they have stopped."""
    if read_status(paths.run) is None:
        if running := guests(paths.tag):
            raise fail(f"{_servers(len(running))}, but Freehold does not: `freehold up` first, then this again.")
        return
    store = Store(config.state.url or paths.state_url, SocketBell(paths.bells), durable=config.state.durable)
    with store.write() as tx:
        stop_all(tx)
    deadline = time.monotonic() + config.compute.shutdown_grace_seconds + _SWITCH_OFF_SECONDS
    said = 0
    while left := _still_up(store, paths):
        if time.monotonic() > deadline:
            raise fail(f"{_servers(left)} still: `freehold status` and {paths.log / 'host.log'} say more.")
        if left != said:
            say(f"stopping: {_servers(left)}")
        said = left
        time.sleep(0.2)
    store.close()


def _still_up(store: Store, paths: Paths) -> int:
    """How many servers have not stopped, by the records and by the kernel, or volumes that several of them had."""
    with store.read() as tx:
        recorded = {instance.id for instance in tx.select(Instance, instances.c.state.in_(_UP))}
    return len(recorded | guests(paths.tag).keys() | shares(paths.tag).keys())


def _servers(number: int) -> str:
    return "1 server runs" if number == 1 else f"{number} servers run"
