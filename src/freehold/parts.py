"""The parts of a cloud on one machine, in the order of their start; ``python -m freehold.parts`` keeps them alive.

    ovsdb-server, ovs-vswitchd, ovn-northd, ovn-controller │ control │ front │ host

The network's daemons and the host agent run in the cloud's namespace. The former outlive the others while guests run.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from freehold import config as configuration
from freehold.config import Config
from freehold.instance_types import offered
from freehold.network import daemons
from freehold.network.names import CloudNetwork, OperatorError
from freehold.paths import Paths
from freehold.processes import guests, registered
from freehold.supervisor import AlreadyRunning, Part, Supervisor, answers, only_supervisor, say

_KEPT = ("HOME", "LANG", "PYTHONPATH", "XDG_CACHE_HOME")


def cloud_network(data_dir: Path, config: Config) -> CloudNetwork:
    """The network of the cloud in `data_dir`. Raises OperatorError."""
    return CloudNetwork(
        Paths(data_dir).tag,
        IPv4Network(config.network.public_pool),
        IPv4Network(config.network.link_range),
        config.network.uplink or None,
    )


def host_id(paths: Paths) -> str:
    """What the one host of a cloud on one machine is called."""
    return f"host-{paths.tag}"


def templates(config: Config) -> tuple[str, ...]:
    """What the host agent is told of templates. Raises OperatorError."""
    types, usual = offered(config), []
    for name in config.compute.template_types:
        if name not in types:
            raise OperatorError(f"compute.template_types: {name} is no instance type of this cloud.")
        usual.append(f"{name}:{types[name].vcpus}:{types[name].memory_mib}")
    return ("--template-mib", str(config.compute.template_memory_mib), *(f"--template={each}" for each in usual))


def parts(paths: Paths, network: CloudNetwork, port: int, config: Config) -> tuple[Part, ...]:
    data_dir = str(paths.data_dir)
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONUNBUFFERED": "1"}
    env |= {name: os.environ[name] for name in _KEPT if name in os.environ}
    network_daemons = (
        Part(d.name, d.argv, d.env, d.ready, d.started, network.namespace, outlives=True)
        for d in daemons.daemons(network, paths)
    )

    def python(module: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", module, "--data-dir", data_dir, *arguments)

    return (
        *network_daemons,
        Part("control", python("freehold.control"), env, partial(_listens, paths.host_link)),
        Part("front", python("freehold.front", "--port", str(port)), env, partial(answers, port)),
        Part(
            "host",
            python("freehold.host", "--host-id", host_id(paths), *templates(config)),
            env,
            partial(_linked, paths),
            namespace=network.namespace,
        ),
    )


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _linked(paths: Paths) -> bool:
    """Whether the host agent that runs now has reached the control plane."""
    agent = registered(paths.run / "host.pid")
    try:
        return agent is not None and paths.host_linked.read_text() == str(agent[0].pid)
    except FileNotFoundError:
        return False


def supervisor(paths: Paths, network: CloudNetwork, port: int, config: Config) -> Supervisor:
    about = {"port": port, "namespace": network.namespace}
    kept = parts(paths, network, port, config)
    return Supervisor(kept, paths.run, paths.log, about, lambda: bool(guests(paths.tag)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m freehold.parts", description="The supervisor of a cloud.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    os.umask(0o077)
    paths = Paths(options.data_dir.absolute())
    config = configuration.load(paths.data_dir)
    network = cloud_network(paths.data_dir, config)
    try:
        with only_supervisor(paths.run):
            if registered(paths.run / "ovsdb-server.pid") is None:
                daemons.prepare(paths)
            say("the supervisor starts")
            supervisor(paths, network, options.port, config).run()
            say("the supervisor has ended")
    except AlreadyRunning as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
