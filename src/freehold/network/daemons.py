"""The OVN and Open vSwitch daemons of a cloud: how to start each, when it is ready, and what it needs after a start.

They run in the foreground, in the cloud's namespace, in the order of the list; whoever keeps them alive starts one,
waits for `ready`, calls `started`, and goes on. After a daemon died it is started again in the same way; the others
find it by themselves. They log to stderr. SIGTERM ends each without touching what it has set up.

One ovsdb-server serves all three databases. The data path is Open vSwitch's own (``netdev``): no kernel module.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from freehold.network import namespace
from freehold.network.names import BR_EX, BR_INT, PHYSICAL_NETWORK, CloudNetwork, mac_of
from freehold.network.ovsdb import Ovsdb, OvsdbError, OvsdbUnavailable
from freehold.paths import Paths

_SBIN = "/usr/sbin:/usr/bin:/sbin:/bin"
_SCHEMAS = {
    "conf.db": Path("/usr/share/openvswitch/vswitch.ovsschema"),
    "nb.db": Path("/usr/share/ovn/ovn-nb.ovsschema"),
    "sb.db": Path("/usr/share/ovn/ovn-sb.ovsschema"),
}
_DATABASES = {"Open_vSwitch", "OVN_Northbound", "OVN_Southbound"}
_ANSWER_SECONDS = 5.0

# Where Open vSwitch says that it can do "all-zero SNAT", OVN commits every connection with a translation that changes
# nothing. Open vSwitch up to 3.1 then ends by an assertion (conn_update_state) when a packet comes for a connection
# that has expired and is not yet swept away, as any guest may send. So a row that says nothing takes that one's place.
_DATAPATH_WITHOUT_CAPABILITIES = (
    *("--id=@datapath", "create", "Datapath", "external_ids:freehold=capabilities-withheld"),
    *("--", "set", "Open_vSwitch", ".", "datapaths:netdev=@datapath"),
)


@dataclass(frozen=True, slots=True)
class Daemon:
    """`started` is called after each start, once `ready` has said yes and before the next daemon is started."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Callable[[], bool]
    started: Callable[[], None]


def prepare(paths: Paths) -> None:
    """Create the databases, or convert them to the schemas that are installed. To be called while no daemon runs."""
    for directory in (paths.ovn_state, paths.ovn):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, schema in _SCHEMAS.items():
        database = paths.ovn_state / name
        if not database.exists():
            # Made under another name: a database is there whole, or not at all.
            fresh = database.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            _run("ovsdb-tool", "create", fresh, schema)
            fresh.rename(database)
        elif _run("ovsdb-tool", "needs-conversion", database, schema).strip() == "yes":
            _run("ovsdb-tool", "convert", database, schema)
    for stale in paths.ovn.glob("*.ctl"):
        stale.unlink()


def daemons(network: CloudNetwork, paths: Paths) -> tuple[Daemon, ...]:
    """The daemons, in the order of their start."""
    env = {"PATH": _SBIN, "OVS_RUNDIR": str(paths.ovn), "OVN_RUNDIR": str(paths.ovn)}
    quiet = "-vsyslog:off"
    control = {name: paths.ovn / f"{name}.ctl" for name in ("ovsdb-server", "ovs-vswitchd", "ovn-northd")}

    def nothing() -> None:
        pass

    return (
        Daemon(
            "ovsdb-server",
            (
                "ovsdb-server",
                *(f"--remote=punix:{path}" for path in (paths.switch, paths.northbound, paths.southbound)),
                f"--unixctl={control['ovsdb-server']}",
                quiet,
                *(str(paths.ovn_state / name) for name in _SCHEMAS),
            ),
            env,
            partial(_serves_databases, paths.switch),
            partial(_configure, network, paths),
        ),
        Daemon(
            "ovs-vswitchd",
            ("ovs-vswitchd", f"unix:{paths.switch}", f"--unixctl={control['ovs-vswitchd']}", quiet),
            env,
            partial(_has_bridges, control["ovs-vswitchd"]),
            partial(_prepare_switch, network, paths),
        ),
        Daemon(
            "ovn-northd",
            (
                "ovn-northd",
                f"--ovnnb-db=unix:{paths.northbound}",
                f"--ovnsb-db=unix:{paths.southbound}",
                f"--unixctl={control['ovn-northd']}",
                quiet,
            ),
            env,
            partial(_answers, control["ovn-northd"], "status", "Status: active"),
            nothing,
        ),
        Daemon(
            "ovn-controller",
            ("ovn-controller", f"unix:{paths.switch}", f"--pidfile={paths.ovn / 'ovn-controller.pid'}", quiet),
            env,
            partial(_controller_connected, paths.ovn),
            nothing,
        ),
    )


def _run(*command: str | Path) -> str:
    environment = {**os.environ, "PATH": _SBIN}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def _ask(socket: Path, method: str, *params: str) -> object:
    """What a daemon answers on its socket; None if it does not."""
    server = Ovsdb(socket, "", _ANSWER_SECONDS)
    try:
        return server.call(method, list(params))
    except (OvsdbUnavailable, OvsdbError):
        return None
    finally:
        server.close()


def _answers(control: Path, method: str, expected: str) -> bool:
    answer = _ask(control, method)
    return isinstance(answer, str) and expected in answer


def _serves_databases(socket: Path) -> bool:
    answer = _ask(socket, "list_dbs")
    return isinstance(answer, list) and set(answer) >= _DATABASES


def _has_bridges(control: Path) -> bool:
    answer = _ask(control, "dpif/show")
    return isinstance(answer, str) and all(f"{bridge} 65534/" in answer for bridge in (BR_EX, BR_INT))


def _controller_connected(run: Path) -> bool:
    try:
        pid = int((run / "ovn-controller.pid").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return _answers(run / f"ovn-controller.{pid}.ctl", "connection-status", "connected")


def _configure(network: CloudNetwork, paths: Paths) -> None:
    """Write into Open vSwitch's database what this host is: its bridges, and where OVN is."""
    settings = {
        "system-id": network.chassis,
        "ovn-remote": f"unix:{paths.southbound}",
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": "127.0.0.1",
        "ovn-monitor-all": "true",
        "ovn-bridge-mappings": f"{PHYSICAL_NETWORK}:{BR_EX}",
    }
    _vsctl(paths, "init")
    _vsctl(
        paths,
        *("--may-exist", "add-br", BR_INT, "--", "set", "bridge", BR_INT, "datapath_type=netdev", "fail_mode=secure"),
        *("--", "--may-exist", "add-br", BR_EX),
        *("--", "set", "bridge", BR_EX, "datapath_type=netdev", "fail_mode=standalone"),
        # VPC routers remember br-ex by its address, which would otherwise be another one after each start.
        f'other_config:hwaddr="{mac_of(f"{BR_EX}-{network.chassis}")}"',
        *("--", "set", "open_vswitch", "."),
        *(f"external_ids:{key}={value}" for key, value in settings.items()),
        *("--", *_DATAPATH_WITHOUT_CAPABILITIES),
    )


def _vsctl(paths: Paths, *arguments: str) -> None:
    _run("ovs-vsctl", "--no-wait", f"--timeout={_ANSWER_SECONDS:.0f}", f"--db=unix:{paths.switch}", *arguments)


def _prepare_switch(network: CloudNetwork, paths: Paths) -> None:
    """What Open vSwitch needs after each start."""
    # It has written its capabilities into the row that it found.
    _vsctl(paths, *_DATAPATH_WITHOUT_CAPABILITIES)
    namespace.inside(network.namespace, partial(_join_bridge, network))


def _join_bridge(network: CloudNetwork) -> None:
    """Give br-ex its address, and the public pool its way there. (The bridge's interface is new after each start.)"""
    # What leaves by a tap of the userspace data path has its checksums made before.
    _run("ethtool", "-K", BR_EX, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
    with namespace.netlink() as ip:
        (index,) = ip.link_lookup(ifname=BR_EX)
        ip.link("set", index=index, state="up")
        ip.addr("replace", index=index, address=str(network.link_gateway), prefixlen=network.link_range.prefixlen)
        ip.route("replace", dst=str(network.pool), oif=index, scope="link")
