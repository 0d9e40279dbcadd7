"""Instances and what they are made of: images, key pairs, volumes; and the hosts that run them."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from freehold.records.ids import AccountId, HostId, ImageId, InstanceId, SnapshotId, SubnetId, VolumeId, VpcId
from freehold.records.schema import Record, table

InstanceState = Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]
ImageState = Literal["pending", "available", "failed", "disabled"]
ImageProtection = Literal["disabled", "enabled-with-cooldown", "enabled-without-cooldown"]
BootMode = Literal["legacy-bios", "uefi"]
ImageBootMode = Literal["legacy-bios", "uefi", "uefi-preferred"]
VolumeState = Literal["creating", "available", "in-use", "deleting"]
AttachmentState = Literal["attaching", "attached", "detaching"]


class MetadataOptions(msgspec.Struct, frozen=True):
    """Instance metadata options, as RunInstances takes them (IMDSv2 required by default)."""

    http_tokens: Literal["required", "optional"] = "required"
    http_put_response_hop_limit: int = 2
    http_endpoint: Literal["enabled", "disabled"] = "enabled"
    http_protocol_ipv6: Literal["enabled", "disabled"] = "disabled"
    instance_metadata_tags: Literal["enabled", "disabled"] = "disabled"


class MetadataDefaults(Record, frozen=True):
    """The metadata options that an account prefers in a region, where a launch says nothing; None: no preference.
    `enforced`: no instance may take requests without a token."""

    account_id: AccountId
    region: str
    http_tokens: Literal["required", "optional"] | None = None
    http_put_response_hop_limit: int | None = None
    http_endpoint: Literal["enabled", "disabled"] | None = None
    instance_metadata_tags: Literal["enabled", "disabled"] | None = None
    enforced: Literal["enabled", "disabled"] | None = None


class CapacitySpecification(msgspec.Struct, frozen=True):
    """Which capacity reservations an instance may have room of: open ones that fit (`preference` ``open``; else it has
    other room), none, or only those, or the `target` alone."""

    preference: Literal["open", "none", "capacity-reservations-only"] | None = "open"
    target: str | None = None


class Interruption(msgspec.Struct, frozen=True):
    """What happens to a spot instance whose room is needed, when, and since when its guest can know."""

    action: Literal["hibernate", "stop", "terminate"]
    at: dt.datetime
    noticed_at: dt.datetime


class DefaultCredits(Record, frozen=True):
    """The credit option that an account prefers for instances of a burstable family (``t3``) in a region."""

    account_id: AccountId
    region: str
    family: str
    cpu_credits: Literal["standard", "unlimited"]


class StateReason(msgspec.Struct, frozen=True):
    """Why an instance left its last state: code such as ``Client.UserInitiatedShutdown``, and a message."""

    code: str
    message: str


class Instance(Record, frozen=True, cache_hash=True):
    """A server.

    States (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html)::

        pending ──► running ──► stopping ──► stopped ──► pending
           │          │                        │
           └──────────┴──► shutting-down ──────┴──► terminated

    `generation` grows with every call that changes what the host must do; a host's report counts only for the
    generation it names. `reboots` counts RebootInstances calls; `force_stop` = the last StopInstances came with Force.
    `holds_capacity` = its vCPUs and memory are reserved on `host_id`. `failure` is what its host last said why it does
    not run, in words for the operator, who alone may see them. `core_count`: how many of its type's vCPUs the guest
    has; None: all. User data is kept in InstanceUserData. The name of its placement group never changes, and stays.
    `capacity_reservation_id` = what it holds is a reservation's room. `boot_mode` and `kernel_image_id` are those
    of its image, which may be gone. `hibernate` = its memory is to be kept when it stops; of one that has stopped: is
    kept.
    `spot_request_id` = it is a spot instance; `interruption` = it has its notice, and holds nothing any more.

    How it fares while it runs, for DescribeInstanceStatus: `reachability` says whether the guest answers its host,
    `unreachable_since` since when it does not; `system_impaired_since` since when the host can not run it,
    `disks_impaired_since` since when it can not write its disks (None: it can).
    """

    id: InstanceId
    account_id: AccountId
    region: str
    zone: str
    vpc_id: VpcId
    subnet_id: SubnetId
    private_ip: str
    reservation_id: str
    launch_index: int
    image_id: ImageId
    instance_type: str
    vcpus: int
    memory_mib: int
    key_name: str | None
    client_token: str | None
    state: InstanceState
    state_reason: StateReason | None
    state_transition_reason: str
    shutdown_behavior: Literal["stop", "terminate"]
    disable_api_termination: bool
    disable_api_stop: bool
    ebs_optimized: bool
    monitoring: bool
    root_device_name: str
    metadata_options: MetadataOptions
    host_id: HostId | None
    generation: int
    reboots: int
    launched_at: dt.datetime
    terminated_at: dt.datetime | None
    force_stop: bool = False
    holds_capacity: bool = False
    failure: str | None = None
    cpu_credits: Literal["standard", "unlimited"] = "standard"
    placement_group_id: str | None = None
    placement_group_name: str | None = None
    partition_number: int | None = None
    core_count: int | None = None
    hibernation_configured: bool = False
    hibernate: bool = False
    auto_recovery: Literal["default", "disabled"] = "default"
    reboot_migration: Literal["default", "disabled"] = "default"
    capacity: CapacitySpecification = CapacitySpecification()
    capacity_reservation_id: str | None = None
    reachability: Literal["initializing", "passed", "failed"] = "initializing"
    unreachable_since: dt.datetime | None = None
    system_impaired_since: dt.datetime | None = None
    disks_impaired_since: dt.datetime | None = None
    boot_mode: BootMode = "legacy-bios"
    kernel_image_id: ImageId | None = None
    spot_request_id: str | None = None
    interruption: Interruption | None = None


class InstanceUserData(Record, frozen=True):
    """User data apart from the instance, so that lists do not carry 16 KiB a row."""

    instance_id: InstanceId
    data: bytes


class ConsoleOutput(Record, frozen=True):
    """The newest 64 KiB of the serial console, as last reported by the host."""

    instance_id: InstanceId
    at: dt.datetime
    data: bytes


class Volume(Record, frozen=True):
    """A disk, on `host_id` and nowhere else. State ``deleting``: its host is told to delete it until it says it has.

    `kms_key_id` is the ARN of the KMS key that an encrypted one's own key is under (records/encryption.py).
    `kernel_image_id` is the image whose kernel starts what is on it, if one does. A copy of the volume
    `source_volume_id` lies on the snapshot `snapshot_id`, which nobody sees and which goes when the copy is made.

    ::

        creating ──► available ◄──► in-use        deleting, from available
    """

    id: VolumeId
    account_id: AccountId
    region: str
    zone: str
    size_gib: int
    volume_type: str
    iops: int
    throughput_mibps: int
    image_id: ImageId | None
    state: VolumeState
    host_id: HostId | None
    created_at: dt.datetime
    encrypted: bool = False
    kms_key_id: str | None = None
    snapshot_id: SnapshotId | None = None
    kernel_image_id: ImageId | None = None
    auto_enable_io: bool = False
    multi_attach_enabled: bool = False
    source_volume_id: VolumeId | None = None


class VolumeAttachment(Record, frozen=True):
    """A volume of an instance. ``attaching`` and ``detaching`` last until its host says that the guest has it, or has
    it no more; `forced`: the guest loses it whether it lets go of it or not; `fitting`: the guest is still to see how
    the volume was modified."""

    volume_id: VolumeId
    instance_id: InstanceId
    account_id: AccountId
    region: str
    device: str
    state: AttachmentState
    delete_on_termination: bool
    attached_at: dt.datetime
    forced: bool = False
    fitting: bool = False


class VolumeModification(Record, frozen=True):
    """The newest change of a volume's size, type or performance. ``modifying`` until its host says that a guest that
    runs has it so."""

    volume_id: VolumeId
    account_id: AccountId
    region: str
    state: Literal["modifying", "completed"]
    started_at: dt.datetime
    ended_at: dt.datetime | None
    original_size_gib: int
    original_volume_type: str
    original_iops: int
    original_throughput_mibps: int
    target_size_gib: int
    target_volume_type: str
    target_iops: int
    target_throughput_mibps: int
    original_multi_attach: bool = False
    target_multi_attach: bool = False


class Image(Record, frozen=True):
    """A machine image. `owner_alias` ``amazon`` = the cloud's own, which is offered in every region (`region` None).

    `kernel_image_id` is the image of the cloud's own whose kernel starts its servers directly; None: the firmware that
    `boot_mode` names starts what is on the root volume (``uefi-preferred`` is UEFI: every instance type here has it).
    What its disks are is in records/images.py.

        pending ──► available ◄──► disabled        its snapshots are taken; nobody may launch it
           └──────► failed

    `protection` keeps it from being deregistered; lifted with a cooldown, it still does until `protected_until`. One
    that was `recycled_at` is in the recycle bin: it is seen there alone, until it is restored or deleted.
    """

    id: ImageId
    owner_id: AccountId
    owner_alias: str | None
    name: str
    description: str
    architecture: str
    root_device_name: str
    size_gib: int
    default_user: str
    created_at: dt.datetime
    minimum_memory_mib: int = 0
    boot_mode: ImageBootMode = "legacy-bios"
    kernel_image_id: ImageId | None = None
    region: str | None = None
    state: ImageState = "available"
    state_reason: str | None = None
    public: bool = True
    imds_v2: bool = True
    source_instance_id: InstanceId | None = None
    source_image_id: ImageId | None = None
    source_image_region: str | None = None
    deprecated_at: dt.datetime | None = None
    protection: ImageProtection = "disabled"
    protected_until: dt.datetime | None = None
    last_launched_at: dt.datetime | None = None
    recycled_at: dt.datetime | None = None
    recycled_until: dt.datetime | None = None


class KeyPair(Record, frozen=True):
    id: str
    account_id: AccountId
    region: str
    name: str
    key_type: Literal["rsa", "ed25519"]
    fingerprint: str
    public_key: str
    created_at: dt.datetime


class ProfileAssociation(Record, frozen=True):
    """An instance profile on an instance, which has one at most. What it says of the profile stays when that goes."""

    id: str
    account_id: AccountId
    region: str
    instance_id: InstanceId
    profile_arn: str
    profile_name: str
    profile_id: str
    associated_at: dt.datetime


class Host(Record, frozen=True):
    """A machine that runs guests. `zone` None = it serves every zone. Capacity already has over-commit applied;
    `vcpus_used` and `memory_used_mib` are what pending, running and stopping instances hold."""

    id: HostId
    zone: str | None
    vcpus: int
    memory_mib: int
    vcpus_used: int
    memory_used_mib: int
    accelerator: str
    connected: bool
    reported_at: dt.datetime


class IdempotencyToken(Record, frozen=True):
    """What a ClientToken made, so that the same request with it makes nothing twice."""

    account_id: AccountId
    region: str
    operation: str
    token: str
    request_hash: str
    result_id: str
    created_at: dt.datetime


class TrafficCounter(Record, frozen=True):
    """The last reading of a host's byte counter for a public address; `epoch` changes when the counter restarts.

    The owner stays with the counter: the last bytes of an address may be read after it was given to someone else.
    """

    host_id: HostId
    public_ip: str
    epoch: str
    bytes_out: int
    read_at: dt.datetime
    account_id: AccountId
    region: str


_OWNER = ("account_id", "region", "id")

instances = table(
    "instances",
    Instance,
    key=("id",),
    indexes=(
        _OWNER,
        ("account_id", "region", "state", "spot_request_id", "vcpus"),
        ("host_id",),
        ("vpc_id",),
        ("subnet_id",),
        ("reservation_id",),
        ("placement_group_id",),
        ("capacity_reservation_id",),
        ("state", "terminated_at"),
    ),
    remembered=True,
)
default_credits = table("default_credits", DefaultCredits, key=("account_id", "region", "family"))
metadata_defaults = table("metadata_defaults", MetadataDefaults, key=("account_id", "region"))
instance_user_data = table("instance_user_data", InstanceUserData, key=("instance_id",))
console_outputs = table("console_outputs", ConsoleOutput, key=("instance_id",))
volume_modifications = table(
    "volume_modifications",
    VolumeModification,
    key=("volume_id",),
    indexes=(("account_id", "region", "volume_id"),),
)
volumes = table(
    "volumes",
    Volume,
    key=("id",),
    indexes=(_OWNER, ("host_id",), ("account_id", "region", "volume_type", "state", "size_gib", "iops")),
)
volume_attachments = table(
    "volume_attachments",
    VolumeAttachment,
    key=("volume_id", "instance_id"),
    indexes=(("instance_id",), ("account_id", "region")),
)
images = table(
    "images",
    Image,
    key=("id",),
    indexes=(("name",), ("owner_id", "region", "id"), ("source_instance_id",), ("recycled_until",)),
)
key_pairs = table("key_pairs", KeyPair, key=("id",), indexes=(_OWNER,), unique=(("account_id", "region", "name"),))
profile_associations = table(
    "profile_associations",
    ProfileAssociation,
    key=("id",),
    indexes=(_OWNER, ("profile_id",)),
    unique=(("instance_id",),),
)
hosts = table("hosts", Host, key=("id",))
idempotency_tokens = table(
    "idempotency_tokens",
    IdempotencyToken,
    key=("account_id", "region", "operation", "token"),
    indexes=(("created_at",),),
)
traffic_counters = table("traffic_counters", TrafficCounter, key=("host_id", "public_ip"))
