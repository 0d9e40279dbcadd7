"""The cloud's network namespace, and its one link to the machine.

    the machine │ the cloud's namespace
    pool[2] ────┼──── pool[1]   link_range[1]
    fh…h   veth │ fh…n             br-ex ──── OVN: every public address, every VPC's router
                │        └─ forwards ─┘

The machine gets a route for the public pool, and nothing else: no bridge, no sysctl, no firewall rule. Packets from
the machine to a guest have pool[2] as their source. The other way only replies pass: a firewall within the namespace
drops what a guest opens towards the machine, and what it sends to the namespace itself. With an uplink, guests may open
connections through the machine to whatever is behind that interface, masqueraded, but not to the machine.

Every step may be repeated, and cut off anywhere.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from freehold.network.names import BR_EX, CloudNetwork, OperatorError, PoolTaken

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_NAMED = Path("/run/netns")
_MAIN_TABLE = 254
_NFT = "/usr/sbin/nft"
_MAIN_TABLE = 254  # linux/rtnetlink.h

T = TypeVar("T")


def enter(name: str) -> None:
    """Move the calling thread (in a child before `exec`: the process) into a network namespace.

    Raises OSError.
    """
    with open(_NAMED / name, "rb") as file:
        if _libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"setns: {os.strerror(code)}", name)


def inside(name: str, work: Callable[[], T]) -> T:
    """The result of `work`, done in a network namespace by a thread of its own."""

    def entered() -> T:
        enter(name)
        return work()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(entered).result()


def netlink() -> Any:
    """A netlink socket (pyroute2's IPRoute) of the namespace that the thread is in. Loaded only when asked for: it
    takes 25 MB, which a long-lived process that only enters the namespace should not pay."""
    return import_module("pyroute2").IPRoute()


def create(network: CloudNetwork) -> None:
    """Make the namespace, its link to the machine, and the route of the public pool.

    Raises OperatorError when the machine already reaches the pool in another way, or the uplink does not exist.
    """
    refuse_conflicts(network)
    if not exists(network):
        _make_namespace(network.namespace)
    inside(network.namespace, _set_inside)
    _link(network)
    inside(network.namespace, lambda: _link_inside(network))
    inside(network.namespace, lambda: _firewall(_guard(network)))
    if network.uplink is not None:
        _open_uplink(network, network.uplink)
    else:
        _close_uplink(network)


def remove(network: CloudNetwork) -> None:
    """Take away all that `create` made. Processes in the namespace should have ended."""
    if network.uplink is not None:
        _close_uplink(network)
    with netlink() as ip:
        for index in ip.link_lookup(ifname=network.outer):
            ip.link("del", index=index)
    path = _NAMED / network.namespace
    if exists(network):
        _unmount(path)
    path.unlink(missing_ok=True)


def exists(network: CloudNetwork) -> bool:
    """Whether the namespace is there: its name is mounted, not a file that a cut-off creation left."""
    path = _NAMED / network.namespace
    return path.exists() and path.stat().st_dev == os.stat("/proc/self/ns/net").st_dev


def _make_namespace(name: str) -> None:
    from pyroute2 import netns

    (_NAMED / name).unlink(missing_ok=True)
    netns.create(name)


def _unmount(path: Path) -> None:
    detach = 2
    if _libc.umount2(os.fsencode(path), detach) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"umount: {os.strerror(code)}", str(path))


def refuse_conflicts(network: CloudNetwork) -> None:
    """Raises PoolTaken when another interface's route covers addresses of the pool, OperatorError without uplink."""
    with netlink() as ip:
        names = {link["index"]: link.get("ifname") for link in ip.get_links()}
        for route in ip.get_routes(family=socket.AF_INET, table=_MAIN_TABLE):
            if route["dst_len"] < 8:
                continue  # a default route, or a VPN's halves of one
            target = IPv4Network((route.get("dst"), route["dst_len"]))
            name = names.get(route.get("oif"))
            if target.overlaps(network.pool) and name != network.outer:
                raise PoolTaken(
                    f"The public pool {network.pool} overlaps {target}, which this machine already reaches by "
                    f"{name or 'another route'}: name another network as network.public_pool in freehold.toml."
                )
        if network.uplink is not None and network.uplink not in names.values():
            raise OperatorError(
                f"There is no interface {network.uplink!r}: name one of this machine's as network.uplink in "
                "freehold.toml, or leave it out."
            )


def _sysctl(path: str, value: str) -> None:
    Path("/proc/sys/net", path).write_text(value)


def _set_inside() -> None:
    _sysctl("ipv4/ip_forward", "1")
    for group in ("all", "default"):
        # VPC routers are told to send to br-ex what goes back by br-ex: that is no detour to be told about.
        _sysctl(f"ipv4/conf/{group}/send_redirects", "0")
        _sysctl(f"ipv4/conf/{group}/accept_redirects", "0")
        _sysctl(f"ipv4/conf/{group}/rp_filter", "0")
        _sysctl(f"ipv6/conf/{group}/disable_ipv6", "1")


def _link(network: CloudNetwork) -> None:
    """The machine's side of the link."""
    with netlink() as ip:
        if not ip.link_lookup(ifname=network.outer):
            peer = {"ifname": network.inner, "net_ns_fd": network.namespace}
            ip.link("add", ifname=network.outer, kind="veth", peer=peer)
        (index,) = ip.link_lookup(ifname=network.outer)
        ip.link("set", index=index, ifalias=f"freehold {network.namespace}", state="up")
        ip.addr("replace", index=index, address=str(network.machine), prefixlen=32)
        ip.route(
            "replace",
            dst=str(network.pool),
            gateway=str(network.gateway),
            oif=index,
            prefsrc=str(network.machine),
            flags=["onlink"],
        )


def _link_inside(network: CloudNetwork) -> None:
    with netlink() as ip:
        (loopback,) = ip.link_lookup(ifname="lo")
        ip.link("set", index=loopback, state="up")
        (index,) = ip.link_lookup(ifname=network.inner)
        ip.link("set", index=index, ifalias=f"freehold {network.namespace}", state="up")
        ip.addr("replace", index=index, address=str(network.gateway), prefixlen=32)
        ip.route("replace", dst=f"{network.machine}/32", oif=index, scope="link")
        if network.uplink is not None:
            ip.route("replace", dst="default", gateway=str(network.machine), oif=index)
        elif any(route["table"] == _MAIN_TABLE for route in ip.get_default_routes(family=socket.AF_INET)):
            ip.route("del", dst="default")  # the metadata service's links have default routes in another table


def _guard(network: CloudNetwork) -> str:
    """The firewall in the namespace."""
    outward = ""
    if network.uplink is not None:
        outward = f'iifname "{BR_EX}" oifname "{network.inner}" ip daddr != {network.machine} accept'
    return f"""
        table inet freehold
        delete table inet freehold
        table inet freehold {{
            chain input {{
                type filter hook input priority 0; policy accept;
                ct state established,related accept
                iifname "{BR_EX}" drop
            }}
            chain forward {{
                type filter hook forward priority 0; policy drop;
                ct state established,related accept
                iifname "{network.inner}" oifname "{BR_EX}" accept
                iifname "{BR_EX}" oifname "{BR_EX}" accept
                {outward}
            }}
        }}
    """


def _open_uplink(network: CloudNetwork, uplink: str) -> None:
    """Let guests out through an interface of the machine, masqueraded; nowhere else, and not to the machine."""
    _firewall(f"""
        table inet {network.namespace}
        delete table inet {network.namespace}
        table inet {network.namespace} {{
            chain input {{
                type filter hook input priority 0; policy accept;
                iifname "{network.outer}" ct state new drop
            }}
            chain forward {{
                type filter hook forward priority 0; policy accept;
                iifname "{network.outer}" oifname != "{uplink}" ct state new drop
                oifname "{network.outer}" ct state new drop
            }}
            chain postrouting {{
                type nat hook postrouting priority 100; policy accept;
                ip saddr {network.pool} oifname "{uplink}" masquerade
            }}
        }}
    """)
    # Forwarding is asked of the interface that a packet comes in by: the link, and for replies the uplink.
    _sysctl(f"ipv4/conf/{network.outer}/forwarding", "1")
    _sysctl(f"ipv4/conf/{uplink}/forwarding", "1")


def _close_uplink(network: CloudNetwork) -> None:
    tables = subprocess.run([_NFT, "list", "tables"], check=True, capture_output=True, text=True).stdout
    if f"table inet {network.namespace}\n" in tables:
        _firewall(f"delete table inet {network.namespace}\n")


def _firewall(rules: str) -> None:
    """Load nftables rules: all of them, or none."""
    subprocess.run([_NFT, "-f", "-"], input=rules, check=True, text=True)
