"""``freehold down`` and ``freehold destroy``."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import typer

from freehold import config as configuration
from freehold import parts
from freehold.cli import fail
from freehold.cli.commands import only_command
from freehold.cli.endpoint import cloud_paths
from freehold.config import Config
from freehold.control.stopping import stop_all
from freehold.host.cgroup import Cgroups
from freehold.network import namespace
from freehold.paths import Paths
from freehold.processes import Identity, end, guests
from freehold.records.store import Store
from freehold.records.wake import SocketBell
from freehold.supervisor import STOP_SECONDS_MAX, only_supervisor, read_status

_GUEST_SECONDS = 5.0


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
        typer.confirm(
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
    kept = parts.supervisor(paths, network, status["port"] if status else 0)
    if status is not None:
        end(Identity(**status["supervisor"]), STOP_SECONDS_MAX * kept.size)
    with only_supervisor(paths.run):
        kept.end_left()


def remove(paths: Paths, config: Config) -> None:
    """Take away all that a cloud has made on this machine. May be repeated, and cut off anywhere."""
    stop(paths, config)
    for guest in guests(paths.tag).values():
        end(guest, _GUEST_SECONDS)
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
    running = guests(paths.tag)
    if running and read_status(paths.run) is None:
        raise fail(f"{_servers(len(running))}, but Freehold does not: `freehold up` first, then this again.")
    store = Store(config.state.url or paths.state_url, SocketBell(paths.bells), durable=config.state.durable)
    with store.write() as tx:
        stop_all(tx)
    store.close()
    while guests(paths.tag):
        time.sleep(0.2)  # a guest that does not shut down is switched off after its grace


def _servers(number: int) -> str:
    return "1 server runs" if number == 1 else f"{number} servers run"
