"""Where a host keeps its things, and what it calls them on the machine.

Ids become parts of paths and interface names, so each is checked once, when it arrives (`check_ids`, `check_volume`,
`is_volume_id`, `is_snapshot_id`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from freehold.host.wire import GuestSpec, VolumeSpec
from freehold.paths import Paths

_ID = re.compile(r"(?:i|vol|snap|eni|ami|vpc|subnet)-[0-9a-f]{8,17}")
_SOCKET_PATH_BYTES_MAX = 107  # sun_path of unix(7), without its closing zero


class MalformedSpec(Exception):
    """A spec that no control plane of Freehold writes."""


def is_volume_id(text: str) -> bool:
    return text.startswith("vol-") and _ID.fullmatch(text) is not None


def is_snapshot_id(text: str) -> bool:
    return text.startswith("snap-") and _ID.fullmatch(text) is not None


def volume_of(snapshot_id: str) -> str:
    """The id of the volume that a snapshot is while its blocks are written without one (volumes/blocks.py)."""
    return f"vol-{snapshot_id.removeprefix('snap-')}"


def check_ids(spec: GuestSpec) -> None:
    """Raise MalformedSpec unless every id in a spec is one, and every address of an interface."""
    ids = [spec.instance_id, *spec.delete_volumes, *spec.detach, *spec.torn_out, *spec.snapshots_at_rest]
    ids += [spec.kernel_image_id] if spec.kernel_image_id else []
    for volume in spec.volumes:
        ids += _ids_of(volume)
    for interface in spec.interfaces:
        ids += [interface.interface_id, interface.vpc_id, interface.subnet_id]
    _check(ids)
    for interface in spec.interfaces:
        try:
            IPv4Address(interface.private_ip), IPv4Address(interface.public_ip or interface.private_ip)
            IPv4Network(interface.vpc_cidr)
        except ValueError as error:
            raise MalformedSpec(f"{interface.interface_id}: {error}") from error


def check_volume(volume: VolumeSpec) -> None:
    """Raise MalformedSpec unless every id in the spec of a volume is one."""
    _check(_ids_of(volume))


def _ids_of(volume: VolumeSpec) -> list[str]:
    return [volume.volume_id, *(each for each in (volume.image_id, volume.snapshot_id) if each)]


def _check(ids: Iterable[str]) -> None:
    for each in ids:
        if not _ID.fullmatch(each):
            raise MalformedSpec(f"{each!r} is not an id")


@dataclass(frozen=True, slots=True)
class GuestPaths:
    """The files of one guest. The directory is root's alone: QEMU gets open descriptors, not paths."""

    directory: Path

    @property
    def spec(self) -> Path:
        return self.directory / "spec.json"

    @property
    def record(self) -> Path:
        return self.directory / "record.json"

    @property
    def credits(self) -> Path:
        return self.directory / "credits.json"

    @property
    def monitor(self) -> Path:
        """QMP, for the agent."""
        return self.directory / "qmp.sock"

    @property
    def spare_monitor(self) -> Path:
        """QMP, for a human."""
        return self.directory / "qmp2.sock"

    @property
    def console(self) -> Path:
        """The serial line, for `freehold console`."""
        return self.directory / "console.sock"

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"

    @property
    def console_before(self) -> Path:
        """The end of the console's log before it was last cut."""
        return self.directory / "console.before"

    @property
    def guest_agent(self) -> Path:
        """The port of QEMU's guest agent."""
        return self.directory / "agent.sock"

    @property
    def frozen(self) -> Path:
        """There while the guest may have its file systems frozen."""
        return self.directory / "frozen"

    @property
    def uefi_variables(self) -> Path:
        """What UEFI firmware remembers: boot entries, keys."""
        return self.directory / "uefi.vars"

    @property
    def qemu_log(self) -> Path:
        return self.directory / "qemu.log"


@dataclass(frozen=True, slots=True)
class SharePaths:
    """The files of one volume that several guests have (freehold.host.volumes.shares)."""

    directory: Path

    @property
    def monitor(self) -> Path:
        """QMP of the QEMU that has the volume open."""
        return self.directory / "qmp.sock"

    @property
    def door(self) -> Path:
        """A directory with nothing but `socket`. Whoever has an open descriptor of it gets to the volume; nobody can
        get to it by its path, for what is above it is root's alone."""
        return self.directory / "door"

    @property
    def socket(self) -> Path:
        return self.door / "nbd"


@dataclass(frozen=True, slots=True)
class Layout:
    """A host's part of a data directory."""

    paths: Paths

    @property
    def tag(self) -> str:
        return self.paths.tag

    @property
    def guests(self) -> Path:
        return self.paths.host / "guests"

    @property
    def volumes(self) -> Path:
        return self.paths.host / "volumes"

    @property
    def shares(self) -> Path:
        return self.paths.host / "shares"

    @property
    def templates(self) -> Path:
        return self.paths.host / "templates"

    @property
    def accelerator(self) -> Path:
        return self.paths.host / "accelerator.json"

    @property
    def metadata_key(self) -> Path:
        """What the metadata service signs its tokens with."""
        return self.paths.host / "metadata.key"

    @property
    def ovsdb(self) -> str:
        """Open vSwitch's database, as its tools name it."""
        return f"unix:{self.paths.switch}"

    def guest(self, instance_id: str) -> GuestPaths:
        return GuestPaths(self.guests / instance_id)

    def share(self, volume_id: str) -> SharePaths:
        return SharePaths(self.shares / volume_id)

    def volume(self, volume_id: str) -> Path:
        return self.volumes / f"{volume_id}.qcow2"

    def layer(self, snapshot_id: str) -> Path:
        """What a snapshot froze."""
        return self.volumes / f"{snapshot_id}.qcow2"

    def prepare(self) -> None:
        """Make the directories. Raises ValueError if the data directory's name is too long for sockets below it."""
        guest = self.guest("i-0123456789abcdef0")
        share = self.share("vol-0123456789abcdef0")
        sockets = (guest.monitor, guest.spare_monitor, guest.console, guest.guest_agent, share.monitor, share.socket)
        if max(len(bytes(path.absolute())) for path in sockets) > _SOCKET_PATH_BYTES_MAX:
            raise ValueError(f"The path {self.paths.data_dir} is too long for sockets in it; choose a shorter one.")
        for directory in (self.paths.host, self.guests, self.volumes, self.shares):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def process_name(tag: str, of: str, *, stands_ready: bool = False) -> str:
    """What the QEMU process of an instance or a volume is called, so that it is found again and known as this
    cloud's; one that `stands_ready` is for an instance that is still to be launched (freehold.processes.standbys)."""
    return f"freehold-{tag}-{'ready-' if stands_ready else ''}{of}"


def tap_name(interface_id: str) -> str:
    """The tap of a network card (15 characters is the most an interface name may have)."""
    return "fh" + hashlib.sha256(interface_id.encode()).hexdigest()[:11]


def metadata_link(vpc_id: str) -> str:
    """The interface of the metadata service's port in a VPC (`freehold.network.names.imds_port`) on this machine."""
    return "fm" + hashlib.sha256(vpc_id.encode()).hexdigest()[:11]


def guest_uid(of: str) -> int:
    """The user that the QEMU of an instance or a volume runs as: one of its own, far above those that people and
    services have."""
    return 0x40000000 + int.from_bytes(hashlib.sha256(of.encode()).digest()[:4], "big") % 0x3FFFFFFF
