"""QEMU's command line: a pure function of the spec and of the open descriptors that QEMU is handed.

QEMU runs as a user of its own that may open nothing of the data directory: every file and socket comes as a
descriptor. Files that are only read at the start are named by ``/dev/fd/N``, which the kernel checks against the file's
own mode, not its directories; those of disks are in sets (freehold.host.hypervisor.disks).
Nothing a tenant wrote is on this command line; what is not a number goes in as JSON or with commas doubled.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from freehold.host.errors import CannotStart
from freehold.host.hypervisor.devices import card, card_backend
from freehold.host.hypervisor.disks import OpenDisk, device, key_id, limit_object, nodes
from freehold.host.layout import process_name
from freehold.host.wire import GuestSpec

BINARY = "qemu-system-x86_64"
_MACHINE = "pc-q35-7.2"  # pinned: a guest must see the same machine after an upgrade of QEMU
_ROOT_PORTS = 6  # each takes one disk or network card, also later by hot-plug
_ROOT_PORTS_MAX = 24

Accelerator = Literal["kvm", "tcg"]


@dataclass(frozen=True, slots=True)
class InheritedDisk:
    """A disk with its files open, and if it is encrypted, a pipe that holds what opens it."""

    opened: OpenDisk
    secret: int | None = None


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What QEMU inherits. The sockets listen already; `disks` has the boot disk first."""

    kernel: int
    initrd: int
    monitor: int
    spare_monitor: int
    console: int
    console_log: int
    disks: tuple[InheritedDisk, ...]
    taps: tuple[int, ...]

    def all(self) -> tuple[int, ...]:
        disks = [number for disk in self.disks for layer in disk.opened.files for number in layer]
        disks += [disk.secret for disk in self.disks if disk.secret is not None]
        own = (self.kernel, self.initrd, self.monitor, self.spare_monitor, self.console, self.console_log)
        return (*own, *disks, *self.taps)


def translation_cache_mib(memory_mib: int) -> int:
    """Size of TCG's cache of translated code. Its default is up to 1 GiB for each guest, for no measured gain."""
    return 32 if memory_mib <= 256 else 128


def system_uuid(instance_id: str) -> str:
    """SMBIOS UUID and serial number. Both begin with ``ec2``: by this cloud-init knows the Ec2 platform
    (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html)."""
    digits = "ec2" + hashlib.sha256(instance_id.encode()).hexdigest()[:29]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def command_line(
    spec: GuestSpec,
    tag: str,
    accelerator: Accelerator,
    append: str,
    descriptors: Descriptors,
    ports: Mapping[str, str | None] | None = None,
) -> list[str]:
    """The arguments that start this guest with its CPUs stopped. `ports` says what is behind each root port, if that is
    not to be as usual. Raises CannotStart if it has too many devices."""
    uuid = system_uuid(spec.instance_id)
    system = _options("type=1", manufacturer="Amazon EC2", product=spec.metadata.instance_type, serial=uuid, uuid=uuid)
    argv = [BINARY]
    argv += ["-name", f"guest={process_name(tag, spec.instance_id)}"]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-msg", "timestamp=on"]
    argv += ["-no-shutdown"]  # a guest that powers off stays, with state `shutdown`, until the agent has seen it
    argv += ["-S"]  # the guest's first instruction waits for its limits
    argv += ["-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny"]
    argv += ["-machine", _MACHINE, *_processor(spec, accelerator), "-m", f"{spec.memory_mib}M"]
    argv += ["-smbios", system, "-smbios", _options("type=2", manufacturer="Amazon EC2", asset=spec.instance_id)]
    argv += ["-object", _json({"qom-type": "rng-random", "id": "rng0", "filename": "/dev/urandom"})]
    argv += ["-device", _json({"driver": "virtio-rng-pci", "rng": "rng0"})]
    balloon = {"driver": "virtio-balloon-pci", "id": "balloon0", "free-page-reporting": True, "deflate-on-oom": True}
    argv += ["-device", _json(balloon)]
    argv += _disks_and_cards(spec, descriptors, ports)
    argv += ["-chardev", f"socket,id=monitor,fd={descriptors.monitor},server=on,wait=off"]
    argv += ["-mon", "chardev=monitor,mode=control"]
    argv += ["-chardev", f"socket,id=spare,fd={descriptors.spare_monitor},server=on,wait=off"]
    argv += ["-mon", "chardev=spare,mode=control"]
    log = f"logfile=/dev/fd/{descriptors.console_log},logappend=on"
    argv += ["-chardev", f"socket,id=console,fd={descriptors.console},server=on,wait=off,{log}"]
    argv += ["-serial", "chardev:console"]
    argv += ["-kernel", f"/dev/fd/{descriptors.kernel}", "-initrd", f"/dev/fd/{descriptors.initrd}"]
    argv += ["-append", append]
    return argv


def _processor(spec: GuestSpec, accelerator: Accelerator) -> list[str]:
    # Nehalem is x86-64-v2, what newer distributions are built for; `max` makes guests load drivers that only cost time.
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host", "-smp", str(spec.vcpus)]
    cache = translation_cache_mib(spec.memory_mib)
    return ["-accel", f"tcg,tb-size={cache}", "-cpu", "Nehalem", "-smp", str(spec.vcpus)]


def _disks_and_cards(spec: GuestSpec, descriptors: Descriptors, ports: Mapping[str, str | None] | None) -> list[str]:
    """The boot disk, the network cards, the other disks: each behind a root port of its own, from the first one on."""
    sets = itertools.count()
    cards = [
        (interface.interface_id, _card_backend(interface.interface_id, tap), partial(card, interface))
        for interface, tap in zip(spec.interfaces, descriptors.taps, strict=True)
    ]
    disks = [
        (disk.opened.disk.volume_id, disk_backend(disk, sets), partial(device, disk.opened.disk.volume_id))
        for disk in descriptors.disks
    ]
    devices = [*disks[:1], *cards, *disks[1:]]
    if ports is None:
        names = (f"rp{number}" for number in range(1, max(_ROOT_PORTS, len(devices)) + 1))
        ports = dict(itertools.zip_longest(names, (name for name, *_ in devices)))
    if len(ports) > _ROOT_PORTS_MAX:
        raise CannotStart(f"{len(devices)} disks and network cards are more than a machine has slots for.")
    argv: list[str] = []
    for number, port in enumerate(ports, start=1):
        argv += ["-device", _json({"driver": "pcie-root-port", "id": port, "chassis": number, "slot": number})]
    port_of = {name: port for port, name in ports.items()}
    for name, backend, plugged in devices:
        argv += [*backend, "-device", _json(plugged(port_of[name]))]
    return argv


def _card_backend(interface_id: str, tap: int) -> list[str]:
    return ["-netdev", f"tap,id={card_backend(interface_id)},fd={tap},vhost=off"]


def disk_backend(inherited: InheritedDisk, sets: Iterator[int]) -> list[str]:
    """The arguments that give QEMU a disk, without the device. `sets` counts the sets of descriptors."""
    disk, argv = inherited.opened.disk, []
    numbers = []
    for descriptors in inherited.opened.files:
        numbers.append(next(sets))
        for descriptor in descriptors:
            argv += ["-add-fd", f"fd={descriptor},set={numbers[-1]},opaque={disk.volume_id}"]
    if inherited.secret is not None:
        secret = {"qom-type": "secret", "id": key_id(disk.volume_id), "file": f"/dev/fd/{inherited.secret}"}
        argv += ["-object", _json(secret)]
    argv += ["-object", _json(limit_object(disk))]
    return [*argv, "-blockdev", _json(nodes(disk, tuple(numbers)))]


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _options(first: str, **values: str) -> str:
    """An option list where a comma in a value stays one (QEMU's rule: it is written twice)."""
    return ",".join((first, *(f"{key}={value.replace(',', ',,')}" for key, value in values.items())))
