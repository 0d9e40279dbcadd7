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
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from freehold.host.errors import CannotStart
from freehold.host.hypervisor.devices import card, card_backend
from freehold.host.hypervisor.disks import OpenDisk, device, key_id, limit_object, nodes
from freehold.host.hypervisor.slots import SLOTS, bus
from freehold.host.layout import process_name
from freehold.host.wire import GuestSpec

BINARY = "qemu-system-x86_64"
_CONFINED = "on,obsolete=deny,spawn=deny,resourcecontrol=deny"
_MACHINE = "pc-q35-7.2"  # pinned: a guest must see the same machine after an upgrade of QEMU
# Nehalem is x86-64-v2, what newer distributions are built for; `max` makes guests load drivers that only cost time. By
# its model number it is an Atom that executes in order: Linux then knows that nothing is speculated, and guards against
# nothing, which makes a system call twelve times as fast (docs/decisions/0060).
EMULATED_CPU = "Nehalem,model=28,stepping=10,model-id=QEMU TCG"
AGENT_PORT = "agent"  # what is behind the port of QEMU's guest agent

Accelerator = Literal["kvm", "tcg"]


@dataclass(frozen=True, slots=True)
class InheritedDisk:
    """A disk with its files open, and for each of its keys (by `Disk.keys`) a pipe that holds what opens it."""

    opened: OpenDisk
    secrets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DirectKernel:
    """QEMU starts a kernel by itself."""

    kernel: int
    initrd: int
    append: str

    @property
    def files(self) -> tuple[int, ...]:
        return (self.kernel, self.initrd)


@dataclass(frozen=True, slots=True)
class Bios:
    """SeaBIOS, which QEMU brings along, starts what is on the boot disk."""

    files: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Uefi:
    """OVMF starts what is on the boot disk; it writes into `variables`."""

    code: int
    variables: int

    @property
    def files(self) -> tuple[int, ...]:
        return (self.code, self.variables)


Boot = DirectKernel | Bios | Uefi


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What QEMU inherits. The sockets listen already; `disks` has the boot disk first."""

    boot: Boot
    monitor: int
    spare_monitor: int
    console: int
    console_log: int
    disks: tuple[InheritedDisk, ...] = ()
    taps: tuple[int, ...] = ()
    memory: int | None = None  # of a template: the guest is a clone of it, and gets disks and cards later
    preloaded: int | None = None  # a library
    guest_agent: int | None = None  # None: the guest has no port for it

    def all(self) -> tuple[int, ...]:
        disks = [number for disk in self.disks for layer in disk.opened.files for number in layer]
        disks += [secret for disk in self.disks for secret in disk.secrets.values()]
        own = (*self.boot.files, self.monitor, self.spare_monitor, self.console, self.console_log)
        some = (self.guest_agent, self.memory, self.preloaded)
        return (*own, *disks, *self.taps, *(each for each in some if each is not None))


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine is before a guest's disks and network cards are in it: the same for a template and its clones."""

    vcpus: int
    memory_mib: int
    accelerator: Accelerator
    video_bios: bool = False
    """Whether the screen has what a boot loader shows its menu by. It costs a boot 4 % of its instructions."""
    guest_agent: bool = False
    """Whether there is a port for QEMU's guest agent."""

    def arguments(self, options: str = "", *, boots: bool = True) -> list[str]:
        """`options` are further ones of the machine, which `boots`, or goes on where a template has come to."""
        machine = ["-machine", f"{_MACHINE}{options}", *self._processor(boots), "-m", f"{self.memory_mib}M"]
        return machine + self.devices()

    def devices(self) -> list[str]:
        argv = ["-object", _json({"qom-type": "rng-random", "id": "rng0", "filename": "/dev/urandom"})]
        argv += ["-device", _json({"driver": "virtio-rng-pci", "rng": "rng0"})]
        # Memory that a clone's guest gave back is as in the template when it takes it again: without `page-poison`, a
        # guest that counts on zeros gives none back.
        giving = {"free-page-reporting": True, "page-poison": False, "deflate-on-oom": True}
        argv += ["-device", _json({"driver": "virtio-balloon-pci", "id": "balloon0", **giving})]
        screen = {"driver": "VGA", "id": "screen0", "vgamem_mb": 4, "edid": False}
        argv += ["-device", _json(screen if self.video_bios else {**screen, "romfile": ""})]
        for bridge in bus():
            argv += ["-device", _json(bridge)]
        return argv + (_agent_port() if self.guest_agent else [])

    def in_file(self, memory: int, *, shared: bool) -> list[str]:
        """The same with the memory in a file: `shared`, it is written; else what the guest writes is its own."""
        size = self.memory_mib * 1024 * 1024
        # It has the name of a machine's usual memory: what is saved of a clone can be loaded into any machine.
        file = {"qom-type": "memory-backend-file", "id": "pc.ram", "mem-path": f"/dev/fd/{memory}", "size": size}
        return ["-object", _json({**file, "share": shared}), *self.arguments(",memory-backend=pc.ram", boots=shared)]

    def _processor(self, boots: bool) -> list[str]:
        if self.accelerator == "kvm":
            return ["-accel", "kvm", "-cpu", "host", "-smp", str(self.vcpus)]
        cache = translation_cache_mib(self.memory_mib, boots)
        return ["-accel", f"tcg,tb-size={cache}", "-cpu", EMULATED_CPU, "-smp", str(self.vcpus)]


def translation_cache_mib(memory_mib: int, boots: bool) -> int:
    """Size of TCG's cache of translated code, which no guest gives back. Its default is up to 1 GiB. With 24, a micro
    guest's boot costs a sixth more of the processor than with 32 or 64, as code is translated again; a clone stays
    within 64 MiB of memory with 28, and would be ready for a login a quarter sooner with 64."""
    if memory_mib > 256:
        return 128
    return 32 if boots else 28


def system_uuid(instance_id: str) -> str:
    """SMBIOS UUID and serial number. Both begin with ``ec2``: by this cloud-init knows the Ec2 platform
    (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html)."""
    digits = "ec2" + hashlib.sha256(instance_id.encode()).hexdigest()[:29]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def command_line(
    spec: GuestSpec,
    tag: str,
    accelerator: Accelerator,
    descriptors: Descriptors,
    slots: Mapping[str, int] | None = None,
    *,
    stands_ready: bool = False,
) -> list[str]:
    """The arguments that start this guest with its CPUs stopped. `slots` says where each disk and card is, if that is
    not to be as usual; `stands_ready`: see `process_name`. Raises CannotStart if it has too many of them."""
    bios = isinstance(descriptors.boot, Bios)
    has_agent = descriptors.guest_agent is not None
    hardware = Hardware(spec.vcpus, spec.memory_mib, accelerator, bios, has_agent)
    argv = [] if descriptors.preloaded is None else ["env", f"LD_PRELOAD=/dev/fd/{descriptors.preloaded}"]
    argv += _beginning(process_name(tag, spec.instance_id, stands_ready=stands_ready))
    argv += ["-no-shutdown"]  # a guest that powers off stays, with state `shutdown`, until the agent has seen it
    argv += ["-S"]  # the guest's first instruction waits for its limits
    argv += identity(spec.metadata.instance_type, spec.instance_id)
    if descriptors.memory is None:
        argv += _with_firmware(hardware, descriptors.boot)
    else:
        argv += [*hardware.in_file(descriptors.memory, shared=False), "-incoming", "defer"]
    argv += _disks_and_cards(spec, descriptors, slots)
    argv += _monitor(descriptors.monitor)
    argv += ["-chardev", f"socket,id=spare,fd={descriptors.spare_monitor},server=on,wait=off"]
    argv += ["-mon", "chardev=spare,mode=control"]
    log = f"logfile=/dev/fd/{descriptors.console_log},logappend=on"
    argv += ["-chardev", f"socket,id=console,fd={descriptors.console},server=on,wait=off,{log}"]
    argv += ["-serial", "chardev:console"]
    if has_agent:
        argv += ["-chardev", f"socket,id={AGENT_PORT},fd={descriptors.guest_agent},server=on,wait=off"]
    if isinstance(descriptors.boot, DirectKernel):
        argv += boot(descriptors.boot.kernel, descriptors.boot.initrd, descriptors.boot.append)
    return argv


def _with_firmware(hardware: Hardware, boot: Boot) -> list[str]:
    if not isinstance(boot, Uefi):
        return hardware.arguments()
    flash: list[str] = []
    for name, file, read_only in (("uefi-code", boot.code, True), ("uefi-variables", boot.variables, False)):
        node = {"driver": "file", "node-name": name, "filename": f"/dev/fd/{file}", "read-only": read_only}
        flash += ["-blockdev", _json(node)]
    return [*flash, *hardware.arguments(",pflash0=uefi-code,pflash1=uefi-variables")]


def template_line(
    name: str, hardware: Hardware, instance_type: str, memory: int, monitor: int, console: int, boots: list[str]
) -> list[str]:
    """The arguments that boot a machine without an identity, to be saved. `console` is a pipe; `boots` is of `boot`."""
    argv = [*_beginning(name), *identity(instance_type, None), *hardware.in_file(memory, shared=True)]
    # It boots without waiting as `_monitor` has others do: nobody connects before that is done.
    argv += ["-chardev", f"socket,id=monitor,fd={monitor},server=on,wait=off", "-mon", "chardev=monitor,mode=control"]
    argv += ["-chardev", f"file,id=console,path=/dev/fd/{console}", "-serial", "chardev:console"]
    if hardware.guest_agent:
        argv += ["-chardev", f"null,id={AGENT_PORT}"]
    return argv + boots


def identity(instance_type: str, instance_id: str | None) -> list[str]:
    """What the machine's tables say of it (SMBIOS); a template's are of no instance."""
    uuid = system_uuid(instance_id or "template")
    system = _options("type=1", manufacturer="Amazon EC2", product=instance_type, serial=uuid, uuid=uuid)
    board = _options("type=2", manufacturer="Amazon EC2", **({} if instance_id is None else {"asset": instance_id}))
    return ["-smbios", system, "-smbios", board]


def boot(kernel: int, initrd: int, append: str) -> list[str]:
    return ["-kernel", f"/dev/fd/{kernel}", "-initrd", f"/dev/fd/{initrd}", "-append", append]


def without_machine(name: str, monitor: int) -> list[str]:
    """The arguments of a QEMU that has nothing but disks, to be added by its monitor, a socket that listens."""
    argv = [BINARY, "-name", name, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "none", "-S"]
    argv += ["-sandbox", _CONFINED]
    return argv + _monitor(monitor)


def _monitor(listener: int) -> list[str]:
    """QEMU waits for the first who connects: QEMU 7.2 moves a socket on which nobody has from its main loop to the
    monitor's thread, and if somebody does at that moment, both accept, and one hangs in that for ever."""
    return ["-chardev", f"socket,id=monitor,fd={listener},server=on,wait=on", "-mon", "chardev=monitor,mode=control"]


def _agent_port() -> list[str]:
    serial = {"driver": "virtio-serial-pci", "id": "ports", "max_ports": 2}  # the first can be a console only
    port = {"driver": "virtserialport", "bus": "ports.0", "chardev": AGENT_PORT, "name": "org.qemu.guest_agent.0"}
    return ["-device", _json(serial), "-device", _json(port)]


def _beginning(name: str) -> list[str]:
    argv = [BINARY, "-name", f"guest={name}", "-nodefaults", "-no-user-config", "-display", "none"]
    return [*argv, "-msg", "timestamp=on", "-sandbox", _CONFINED]


def _disks_and_cards(spec: GuestSpec, descriptors: Descriptors, slots: Mapping[str, int] | None) -> list[str]:
    """The boot disk, the network cards, the other disks; a clone gets its own later."""
    if descriptors.memory is not None:
        return []
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
    if len(devices) > len(SLOTS):
        raise CannotStart(f"{len(devices)} disks and network cards are more than a machine has slots for.")
    if slots is None:
        slots = dict(zip((name for name, *_ in devices), SLOTS, strict=False))
    argv: list[str] = []
    boots = "" if isinstance(descriptors.boot, DirectKernel) else devices[0][0]  # by the firmware
    for name, backend, plugged in devices:
        first = {"bootindex": 0} if name == boots else {}
        argv += [*backend, "-device", _json({**plugged(slots[name]), **first})]
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
    for key, pipe in inherited.secrets.items():
        secret = {"qom-type": "secret", "id": key_id(disk.volume_id, key), "file": f"/dev/fd/{pipe}"}
        argv += ["-object", _json(secret)]
    argv += ["-object", _json(limit_object(disk))]
    return [*argv, "-blockdev", _json(nodes(disk, tuple(numbers)))]


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _options(first: str, **values: str) -> str:
    """An option list where a comma in a value stays one (QEMU's rule: it is written twice)."""
    return ",".join((first, *(f"{key}={value.replace(',', ',,')}" for key, value in values.items())))
