"""What the control plane and a host say to each other.

One long-lived connection per host over mutual TLS (a Unix socket on a single machine, TCP in a rack), opened by the
host. Each message is a frame: 4 bytes length (big endian), then one JSON object of a type below (msgspec, tagged by
``type``). The host opens with `Hello`; the control plane answers with `Assignment(complete=True)`, all that should be
on the host, and from then on sends `Assignment(complete=False)` with the guests that changed and the volumes that are
to go. The host sends `Report` whenever something changed, and at least every `REPORT_SECONDS`. Both sides may repeat
any message at any time: messages carry state, not deltas, except that counters name their epoch. Between them the
control plane may `Ask`, and the host gives its `Answer`, in any order (freehold.questions).

A host is not trusted: the limits that its messages keep to are in their types, so that what is beyond them is not even
read. What it may speak of is decided where reports are applied (control/reports.py).
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec

from freehold.questions import KEYS_BELOW_MAX, Answer, Key, Question

FRAME_BYTES_MAX = 16 * 1024 * 1024
REPORT_SECONDS = 10
KEYS_MAX = 100
CONSOLE_BYTES_MAX = 64 * 1024
MESSAGE_CHARACTERS_MAX = 1000
VOLUMES_MAX = 64

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Moment = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class DiskLimits(msgspec.Struct, frozen=True):
    """What a disk may do in a second, reads and writes together; 0 = as much as it can.

    After a rest it may do as much as its burst for the seconds given. What is larger than `io_bytes` counts as several.
    """

    iops: int = 0
    bytes_per_second: int = 0
    iops_burst: int = 0
    iops_burst_seconds: int = 0
    bytes_burst: int = 0
    bytes_burst_seconds: int = 0
    io_bytes: int = 0


class VolumeSpec(msgspec.Struct, frozen=True):
    """A disk. `image_id` = it starts as an overlay of that image, `snapshot_id` = of that snapshot; neither = empty.
    `device` is the AWS device name. `encrypted` = by LUKS, with a key that comes apart from the spec (`VolumeKey`).
    `shared` = several guests may have it at once."""

    volume_id: str
    size_gib: int
    image_id: str | None
    device: str
    boot: bool
    encrypted: bool = False
    limits: DiskLimits = DiskLimits()
    snapshot_id: str | None = None
    shared: bool = False


class SnapshotSpec(msgspec.Struct, frozen=True):
    """A snapshot to take of a volume: its data as it is at one instant, the same for all of a `group`. One that is
    taken already is not taken again. `encrypted`: the volume is, and its key comes with it. `at_rest`: once its guest
    has shut down to reboot (`GuestSpec.snapshots_at_rest`)."""

    snapshot_id: str
    volume_id: str
    group: str
    encrypted: bool = False
    at_rest: bool = False


class CopySpec(msgspec.Struct, frozen=True):
    """A snapshot to make as a copy of another one. `rewritten`: under a key of its own, or none, all data anew; else
    they share it, and what opens the one opens the other. Keys come with it, by the ids of both."""

    snapshot_id: str
    source_id: str
    rewritten: bool
    encrypted: bool


class InterfaceSpec(msgspec.Struct, frozen=True):
    """A network card. The port in OVN is named by `interface_id`."""

    interface_id: str
    vpc_id: str
    subnet_id: str
    mac_address: str
    private_ip: str
    subnet_cidr: str
    vpc_cidr: str
    public_ip: str | None
    device_index: int
    security_groups: tuple[tuple[str, str], ...]  # (id, name)


class EventSpec(msgspec.Struct, frozen=True):
    """A scheduled event, as IMDS tells the guest of it."""

    event_id: str
    code: str
    description: str
    not_before: dt.datetime
    not_after: dt.datetime | None
    state: Literal["active", "completed", "canceled"]


class ConnectKeySpec(msgspec.Struct, frozen=True):
    """A public key that lets in a user of the guest until `expires_at`, as IMDS tells the guest. `request_id` and
    `caller_arn`: who sent it."""

    os_user: str
    public_key: str
    expires_at: dt.datetime
    request_id: str
    caller_arn: str


class InterruptionSpec(msgspec.Struct, frozen=True):
    """What happens to a spot instance, when, and since when that is known."""

    action: Literal["hibernate", "stop", "terminate"]
    at: dt.datetime
    noticed_at: dt.datetime


class MetadataSpec(msgspec.Struct, frozen=True):
    """What IMDS tells the guest. Times in UTC; `user_data` None = none was given."""

    account_id: str
    region: str
    zone: str
    image_id: str
    instance_type: str
    reservation_id: str
    launch_index: int
    hostname: str
    public_keys: tuple[tuple[str, str], ...]  # (name, OpenSSH public key)
    user_data: bytes | None
    tags: dict[str, str] | None  # None = instance metadata tags are off
    launched_at: dt.datetime
    http_tokens: Literal["required", "optional"]
    http_put_response_hop_limit: int
    http_endpoint: Literal["enabled", "disabled"]
    events: tuple[EventSpec, ...] = ()
    connect_keys: tuple[ConnectKeySpec, ...] = ()
    placement_group: str | None = None
    partition_number: int | None = None
    spot: bool = False
    interruption: InterruptionSpec | None = None


class CreditSpec(msgspec.Struct, frozen=True):
    """What a burstable guest earns: CPU credits an hour. `clock`: how many times faster than on AWS they are earned and
    spent."""

    per_hour: Annotated[int, msgspec.Meta(ge=1)]
    unlimited: bool
    clock: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class GuestSpec(msgspec.Struct, frozen=True):
    """What should be true of one guest.

    `desired` ``running``: it runs; ``stopped``: shut down by ACPI, after `shutdown_grace_seconds` by force; disks stay;
    ``absent``: no process, port, cgroup or file of it is left, its volumes with `delete_volumes` deleted, the others
    kept. `detach` are volumes that are not its own once it has let go of them; those of them in `torn_out` it loses
    whether it lets go of them or not. `reboots` grows with each reboot asked for: a host reboots a guest when it is
    higher than the number it acted on last. `hibernate` = what it has in memory is kept when it is stopped, and it goes
    on with that when it runs again; where that fails it is shut down. `kernel_image_id` is the image whose kernel QEMU
    starts directly; None: the firmware that `boot_mode` names starts what is on the boot disk. `snapshots_at_rest` are
    taken before it boots again. `auto_recovery`: if its QEMU ends by itself, or with its host, it is started
    again; else only by a reboot or a stop and start.
    """

    instance_id: str
    generation: int
    desired: Literal["running", "stopped", "absent"]
    vcpus: int
    memory_mib: int
    reboots: int
    shutdown_grace_seconds: int
    volumes: tuple[VolumeSpec, ...]
    delete_volumes: tuple[str, ...]
    interfaces: tuple[InterfaceSpec, ...]
    metadata: MetadataSpec
    hibernate: bool = False
    credits: CreditSpec | None = None
    kernel_image_id: str | None = None
    boot_mode: Literal["legacy-bios", "uefi"] = "legacy-bios"
    auto_recovery: bool = True
    snapshots_at_rest: tuple[str, ...] = ()
    detach: tuple[str, ...] = ()
    torn_out: tuple[str, ...] = ()


def volumes_of(spec: GuestSpec) -> set[str]:
    """All volumes that a guest may have open."""
    return {volume.volume_id for volume in spec.volumes} | {*spec.detach}


class RoleCredentials(msgspec.Struct, frozen=True):
    """What IMDS hands to a guest whose instance has a profile. `role` is the name of the profile's role; None = it has
    none any more, and the rest is empty. Without an `access_key_id` the role does not trust EC2. Kept in memory only:
    whoever takes the disk of a host gets none of them."""

    instance_id: str
    profile_arn: str
    profile_id: str
    role: str | None = None
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    issued_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None


class VolumeKey(msgspec.Struct, frozen=True):
    """What opens an encrypted volume or snapshot: 32 bytes. `below` is what opens layers under it that were made under
    another key: nothing is written under those any more. Kept in memory only: whoever takes the disk of a host opens
    nothing."""

    volume_id: str
    key: Key
    below: Annotated[tuple[Key, ...], msgspec.Meta(max_length=KEYS_BELOW_MAX)] = ()

    @property
    def all(self) -> tuple[bytes, ...]:
        return (self.key, *self.below)

    def __repr__(self) -> str:
        return f"VolumeKey({self.volume_id!r})"


class Assignment(msgspec.Struct, frozen=True, tag="assignment", tag_field="type"):
    """`complete` = these are all guests of this host: whatever else it runs was deleted, and is to be made absent.

    `make_volumes` are no guest's, and are to be there. `delete_volumes` are no guest's, and are to be deleted for ever;
    a volume that is not there counts as deleted.
    `snapshots` are to be taken, with all of their group, and `copies` to be made; `delete_snapshots` are to be deleted
    for ever, their data as far as nothing else needs it.
    `credentials` are of those among `guests` whose instances have a profile; the others have none from now on.
    `keys` are of the encrypted volumes of `snapshots` and `make_volumes`, and of those among `guests` that are to run
    or to hibernate. A guest that is to run and lacks a key can not be started; if it runs already it runs on.
    """

    guests: tuple[GuestSpec, ...]
    complete: bool
    delete_volumes: tuple[str, ...] = ()
    credentials: tuple[RoleCredentials, ...] = ()
    keys: tuple[VolumeKey, ...] = ()
    snapshots: tuple[SnapshotSpec, ...] = ()
    delete_snapshots: tuple[str, ...] = ()
    copies: tuple[CopySpec, ...] = ()
    make_volumes: tuple[VolumeSpec, ...] = ()


class Ask(msgspec.Struct, frozen=True, tag="ask", tag_field="type"):
    """A question to be answered at once, once. `number` is this link's own, and its answer names it."""

    number: Count
    question: Question


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="type"):
    """Who I am and what I have: real vCPUs and MiB of memory, before any over-commit."""

    host_id: str
    zone: str | None
    vcpus: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
    memory_mib: Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]
    accelerator: Literal["kvm", "tcg"]


class CreditReading(msgspec.Struct, frozen=True):
    """CPU credits, in thousandths: what is left, what was spent beyond that, and what of this was charged up to now."""

    balance: Count
    surplus: Count
    charged: Count


class GuestReport(msgspec.Struct, frozen=True):
    """What is true of one guest, for the generation of the spec that the host last worked on.

    `state` ``starting``: being made; ``running``: QEMU runs its CPUs; ``stopping``: told to shut down; ``stopped``: no
    process, disks kept; ``absent``: nothing is left; ``failed``: could not be started, `message` says why (operator's
    words, no tenant text). `guest_shutdown` = it stopped because the guest itself powered off; `hibernated` = it
    stopped and its memory is kept. `changed_at` is when the state began. `answers`: whether it answers on its private
    address; None = that can not be said yet. `disks_fail`: it is paused because its disks can not be written. `volumes`
    are those whose files its QEMU has open; None: it was not asked. `disks_fit`: their sizes and limits are as the spec
    says. `console` is the newest console output (at most
    64 KiB), only when it has changed since last reported.
    """

    instance_id: str
    generation: int
    state: Literal["starting", "running", "stopping", "stopped", "absent", "failed"]
    changed_at: Moment
    guest_shutdown: bool = False
    answers: bool | None = None
    disks_fail: bool = False
    hibernated: bool = False
    message: Annotated[str, msgspec.Meta(max_length=MESSAGE_CHARACTERS_MAX)] | None = None
    credits: CreditReading | None = None
    volumes: Annotated[tuple[str, ...], msgspec.Meta(max_length=VOLUMES_MAX)] | None = None
    disks_fit: bool = False
    console: Annotated[bytes, msgspec.Meta(max_length=CONSOLE_BYTES_MAX)] | None = None


class TrafficReading(msgspec.Struct, frozen=True):
    """Bytes sent to the internet from one public address since its counter began (`epoch`), while it was the address
    of one network interface."""

    public_ip: str
    interface_id: str
    epoch: Annotated[str, msgspec.Meta(max_length=64)]
    bytes_out: Count


class SnapshotReport(msgspec.Struct, frozen=True):
    """A snapshot was taken: what is written from now on is not in it; or it holds more than it did. `bytes_added` is
    what its layer holds that lower ones do not, `bytes_full` what all hold. With a `message` it was not and will not be
    taken (operator's words). Until `percent` is 100 it is being made."""

    snapshot_id: str
    bytes_added: Count
    bytes_full: Count
    message: Annotated[str, msgspec.Meta(max_length=MESSAGE_CHARACTERS_MAX)] | None = None
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 100


class Ready(msgspec.Struct, frozen=True):
    """A machine that stands ready on a host for the next launch of its like, which is to have this id: all of it is
    there but its disks and network cards."""

    instance_id: Annotated[str, msgspec.Meta(pattern="^i-[0-9a-f]{17}\\Z")]
    kernel_image_id: Annotated[str, msgspec.Meta(pattern="^ami-[0-9a-f]{17}\\Z")]
    instance_type: Annotated[str, msgspec.Meta(pattern="^[^\\x00]{1,100}$")]
    vcpus: Count
    memory_mib: Count


class Report(msgspec.Struct, frozen=True, tag="report", tag_field="type"):
    """`made_volumes` are there, `deleted_volumes` and `deleted_snapshots` are gone, and `snapshots` taken, as an
    `Assignment` asked for. `keys_wanted` are volumes and snapshots on whose files the host has work to do: it is sent
    their keys."""

    guests: tuple[GuestReport, ...]
    traffic: tuple[TrafficReading, ...] = ()
    deleted_volumes: tuple[str, ...] = ()
    snapshots: tuple[SnapshotReport, ...] = ()
    deleted_snapshots: tuple[str, ...] = ()
    keys_wanted: Annotated[tuple[str, ...], msgspec.Meta(max_length=KEYS_MAX)] = ()
    made_volumes: tuple[str, ...] = ()
    ready: Ready | None = None


class Origin(msgspec.Struct, frozen=True):
    """Who opened a connection that a host relays to the front door: a frame before the guest's own bytes."""

    vpc_id: str
    instance_id: str
    private_ip: str


HostMessage = Hello | Report | Answer
ControlMessage = Assignment | Ask


def encode(message: Assignment | Ask | Hello | Report | Answer | Origin) -> bytes:
    """The frame of one message."""
    body = msgspec.json.encode(message)
    return len(body).to_bytes(4, "big") + body
