"""A cloud for a moment: with a data directory, port, namespace and public pool of its own, and nothing of it left."""

from __future__ import annotations

import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from freehold import config as configuration
from freehold import parts
from freehold.cli import fail
from freehold.cli.commands import only_command
from freehold.cli.down import remove
from freehold.cli.endpoint import Endpoint, running_endpoint
from freehold.cli.leftovers import leftovers
from freehold.cli.up import check_directory, check_machine, prepare, start
from freehold.config import Network
from freehold.images.recipe import Progress
from freehold.network import namespace
from freehold.network.names import CloudNetwork, PoolTaken
from freehold.paths import Paths

_WHERE = Path("/var/tmp")  # noqa: S108 a name of its own below it; unlike /tmp never in memory
_AGAIN_SECONDS = 0.2
# For documentation (RFC 5737): nobody's on the internet.
_POOLS = tuple(IPv4Network(pool) for pool in ("203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24"))


@dataclass(frozen=True, slots=True)
class TemporaryCloud:
    paths: Paths
    network: CloudNetwork
    endpoint: Endpoint


@contextmanager
def temporary_cloud(
    image: str, pool: IPv4Network | None, progress: Progress, settings: str = ""
) -> Iterator[TemporaryCloud]:
    """A cloud that runs with this built-in image, and `settings` at the end of its ``freehold.toml``. However the block
    ends, a signal too, the cloud is removed."""
    check_machine(Paths(_WHERE))
    pool = _free_pool(pool)
    heed_interrupts()
    paths = Paths(Path(tempfile.mkdtemp(prefix="freehold-", dir=_WHERE)))
    try:
        (paths.data_dir / "freehold.toml").write_text(f'[network]\npublic_pool = "{pool}"\n{settings}')
        check_directory(paths)
        with only_command(paths):
            config, _account_id = prepare(paths, progress, image)
            start(paths, free_port())
        network = parts.cloud_network(paths.data_dir, config)
        yield TemporaryCloud(paths, network, running_endpoint(paths.data_dir))
    finally:
        for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # what is half removed would stay for ever
        signal.setitimer(signal.ITIMER_REAL, 0)
        progress("removing the cloud")
        _remove(paths)


def heed_interrupts() -> None:
    """End what is done by KeyboardInterrupt when Ctrl-C is pressed, and when the process is told to end."""
    heeded = [signal.SIGALRM, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell starts what runs in the background
        heeded.append(signal.SIGINT)
    for number in heeded:
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    """As Python's own handler, and again a moment later: what is raised within a destructor is lost."""
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    raise KeyboardInterrupt


def _free_pool(wanted: IPv4Network | None) -> IPv4Network:
    """The first public pool that this machine does not reach in some way already."""
    for pool in (wanted,) if wanted else _POOLS:
        try:
            namespace.refuse_conflicts(CloudNetwork(Paths(_WHERE).tag, pool, IPv4Network(Network().link_range)))
        except PoolTaken:
            continue
        return pool
    taken = "every documentation network" if wanted is None else str(wanted)
    raise fail(f"This machine reaches {taken} already: name a network that it does not with --pool.")


def _remove(paths: Paths) -> None:
    config = configuration.load(paths.data_dir)
    with only_command(paths):
        remove(paths, config)
    if found := leftovers(paths, parts.cloud_network(paths.data_dir, config)):
        raise fail(f"The cloud was removed, but there is still: {', '.join(found)}. Please report it.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
