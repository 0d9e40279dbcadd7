"""Taps: the kernel's end of a guest's network card.

A tap is persistent, so that it outlives QEMU and Open vSwitch sees one unbroken interface, and belongs to one network
card: its name is a digest of the card's id, its alias says whose it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct

from freehold.host.commands import run
from freehold.host.errors import CommandError, HostError
from freehold.host.layout import tap_name

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000


def open_tap(interface_id: str) -> int:
    """A descriptor of the tap, made if it is not there; without virtio-net headers, which Open vSwitch does not read.

    Raises HostError when the machine has no TUN driver or another process holds the tap.
    """
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise HostError("/dev/net/tun can not be opened; load the kernel module tun, as root.") from error
    try:
        request = struct.pack("16sH22x", tap_name(interface_id).encode(), _IFF_TAP | _IFF_NO_PI)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except OSError as error:
        os.close(descriptor)
        raise HostError(
            f"The tap {tap_name(interface_id)} of {interface_id} can not be opened: {error.strerror}."
        ) from error
    return descriptor


def exists(name: str) -> bool:
    """Whether this network namespace has an interface of that name."""
    with contextlib.suppress(OSError):
        socket.if_nametoindex(name)
        return True
    return False


async def make(tag: str, interface_id: str) -> None:
    """Have the tap, up and marked as this cloud's."""
    descriptor = open_tap(interface_id)
    try:
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)
    await run(("ip", "link", "set", "dev", tap_name(interface_id), "alias", f"freehold-{tag} {interface_id}", "up"))


async def made(tag: str) -> frozenset[str]:
    """The network cards that this cloud has taps for."""
    links = json.loads(await run(("ip", "-json", "link", "show")))
    marked = [link.get("ifalias", "").partition(" ") for link in links]
    return frozenset(interface_id for owner, _, interface_id in marked if owner == f"freehold-{tag}")


async def remove(interface_id: str) -> None:
    """Have no such tap. QEMU must have let go of it."""
    await delete_link(tap_name(interface_id))


async def delete_link(name: str) -> None:
    """Have no interface of that name in this network namespace."""
    if exists(name):
        try:
            await run(("ip", "link", "delete", "dev", name))
        except CommandError:
            if exists(name):
                raise
