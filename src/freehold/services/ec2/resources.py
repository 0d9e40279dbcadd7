"""The kinds of EC2 resources: how each is named, stored and missed.

Every operation that takes an id goes through its kind, so that a wrong id gets the same code everywhere, and so that
the id of another account or region is never distinguishable from one that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

import sqlalchemy as sa

from freehold.records.compute import Image, Instance, KeyPair, ProfileAssociation, Volume, images
from freehold.records.event_windows import EventWindow
from freehold.records.fleets import Fleet
from freehold.records.ids import is_ec2_id
from freehold.records.images import image_permissions
from freehold.records.import_tasks import ImportTask
from freehold.records.launch_templates import LaunchTemplate
from freehold.records.network import (
    Address,
    InternetGateway,
    NetworkInterface,
    RouteTable,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
)
from freehold.records.placement import PlacementGroup
from freehold.records.reservations import CapacityReservation
from freehold.records.root_tasks import RootTask
from freehold.records.schema import TABLES, Record
from freehold.records.snapshots import Snapshot
from freehold.records.spot import SpotRequest
from freehold.records.tags import Tag
from freehold.services.ec2 import errors
from freehold.services.ec2.capacity_errors import (
    InvalidCapacityReservationIdMalformed,
    InvalidCapacityReservationIdNotFound,
)
from freehold.services.ec2.compute_errors import (
    InvalidInstanceEventWindowIdMalformed,
    InvalidInstanceEventWindowIdNotFound,
)
from freehold.services.ec2.condition_keys import keys_of
from freehold.services.ec2.fleet_errors import InvalidFleetIdMalformed, InvalidFleetIdNotFound
from freehold.services.ec2.image_criteria import usable
from freehold.services.ec2.image_errors import (
    AuthFailure,
    InvalidAMIIDMalformed,
    InvalidAMIIDNotFound,
    InvalidReplaceRootVolumeTaskIdMalformed,
    InvalidReplaceRootVolumeTaskIdNotFound,
)
from freehold.services.ec2.import_errors import InvalidConversionTaskIdMalformed, InvalidConversionTaskIdNotFound
from freehold.services.ec2.launch_template_errors import (
    InvalidLaunchTemplateIdMalformed,
    InvalidLaunchTemplateIdNotFound,
)
from freehold.services.ec2.placement_errors import InvalidPlacementGroupIdMalformed, InvalidPlacementGroupUnknown
from freehold.services.ec2.snapshot_errors import InvalidSnapshotIDMalformed, InvalidSnapshotNotFound
from freehold.services.ec2.spot_errors import (
    InvalidSpotInstanceRequestIDMalformed,
    InvalidSpotInstanceRequestIDNotFound,
)
from freehold.services.operation import Call, Needed, Resources, Value

R = TypeVar("R", bound=Record)

Keys = Callable[[], Mapping[str, Value]]

MAX_IDS = 1000


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """A kind of resource. `resource_type` is EC2's name of it (as in tags and policies); `prefix` begins its ids, which
    are in `id_column`; `malformed` None: AWS has no such code and answers `not_found`; `shared`: every account's.
    `arn_column` is what ARNs have, where that is not the id; `nameless`: ARNs do not say whose it is;
    `hidden_by`: rows that have one of these columns are not seen, as those in the recycle bin."""

    record: type[R]
    resource_type: str
    prefix: str
    not_found: type[errors.NotFound]
    malformed: type[errors.Malformed] | None
    id_column: str = "id"
    arn_column: str | None = None
    shared: bool = False
    nameless: bool = False
    hidden_by: tuple[str, ...] = ()

    @property
    def id(self) -> sa.Column[str]:
        return TABLES[self.record].c[self.id_column]

    def or_in_bin(self) -> Self:
        """The same with what its owner has in the recycle bin."""
        return replace(self, hidden_by=tuple(name for name in self.hidden_by if name != "recycled_at"))

    def owner(self, call: Call) -> dict[str, Any]:
        """What a row has that is the caller's, in the region of the call; nothing, of what is not its owner's alone."""
        if self.shared:
            return {}
        hidden = dict.fromkeys(self.hidden_by)
        return {"account_id": call.account_id, "region": call.region, **hidden}

    def visible(self, call: Call) -> list[sa.ColumnElement[bool]]:
        """The same as conditions of a query."""
        return [TABLES[self.record].c[name] == value for name, value in self.owner(call).items()]

    def check_form(self, resource_id: str) -> None:
        if not is_ec2_id(self.prefix, resource_id):
            raise self.malformed(self.prefix, resource_id) if self.malformed else self.not_found(resource_id)

    def load(self, call: Call, resource_id: str) -> R:
        """The resource with this id. Raises the kind's Malformed or NotFound."""
        self.check_form(resource_id)
        found = self.find(call, resource_id)
        if found is None:
            raise self.not_found(resource_id)
        return found

    def find(self, call: Call, resource_id: str) -> R | None:
        """The resource with this id, if there is one."""
        if not is_ec2_id(self.prefix, resource_id):
            return None
        return call.tx.find(self.record, **self.owner(call) | {self.id_column: resource_id})

    def find_all(self, call: Call, resource_ids: Sequence[str]) -> list[R]:
        """The same of several."""
        return call.tx.select(self.record, **self.owner(call) | {self.id_column: list(resource_ids)})

    def load_all(self, call: Call, resource_ids: Sequence[str]) -> list[R]:
        """The resources with these ids, in the order given. Raises NotFound with all that are missing."""
        if len(resource_ids) > MAX_IDS:
            raise errors.InvalidParameterValue(f"At most {MAX_IDS} ids may be given in a request.")
        for resource_id in resource_ids:
            self.check_form(resource_id)
        found = {getattr(record, self.id_column): record for record in self.find_all(call, resource_ids)}
        if missing := [resource_id for resource_id in dict.fromkeys(resource_ids) if resource_id not in found]:
            raise self.not_found(*missing)
        return [found[resource_id] for resource_id in dict.fromkeys(resource_ids)]

    def arn(self, call: Call, resource_id: str) -> str:
        if self.shared or self.nameless:
            return f"arn:aws:ec2:{call.region}::{self.resource_type}/{resource_id}"
        return call.arn(f"{self.resource_type}/{resource_id}")

    def needed(
        self, call: Call, resource_id: str, *, action: str = "", keys: Mapping[str, Value] | None = None
    ) -> Needed:
        """A resource that policies must allow `action` on (the operation's own, if it is empty), whether it is there or
        not; `keys` are condition keys that the request adds to its own."""

        def own_keys() -> Mapping[str, Value]:
            found = self.find(call, resource_id)
            return {**(keys_of(call, found) if found is not None else {}), **(keys or {})}

        def tags() -> Mapping[str, str]:
            kept = call.tx.select(Tag, resource_id=resource_id, account_id=call.account_id)
            return {tag.key: tag.value for tag in kept}

        if not is_ec2_id(self.prefix, resource_id):  # not even a query may be made of it
            return Needed(self.arn(call, resource_id), action, lambda: keys or {})
        name = resource_id
        if self.arn_column is not None:
            named = call.tx.find(self.record, **self.owner(call) | {self.id_column: resource_id})
            name = getattr(named, self.arn_column, resource_id)
        return Needed(self.arn(call, name), action, own_keys, tags)


@dataclass(frozen=True, slots=True)
class ImageKind(Kind[Image]):
    """Images: the cloud's own, the caller's, public ones, and those that another account lets it use; without those
    that it does not allow itself."""

    def visible(self, call: Call) -> list[sa.ColumnElement[bool]]:
        of = image_permissions.c
        shared = sa.exists().where(of.image_id == images.c.id, of.account_id == call.account_id)
        return [
            sa.or_(images.c.region.is_(None), images.c.region == call.region),
            images.c.recycled_at.is_(None) if self.hidden_by else self._in_own_bin(call),
            usable(call),
            sa.or_(images.c.public, images.c.owner_id == call.account_id, shared),
        ]

    def _in_own_bin(self, call: Call) -> sa.ColumnElement[bool]:
        return sa.or_(images.c.recycled_at.is_(None), images.c.owner_id == call.account_id)

    def find(self, call: Call, resource_id: str) -> Image | None:
        return next(iter(self.find_all(call, [resource_id])), None)

    def find_all(self, call: Call, resource_ids: Sequence[str]) -> list[Image]:
        return call.tx.select(Image, *self.visible(call), id=list(resource_ids))

    def own(self, call: Call, resource_id: str) -> Image:
        """One that is the caller's, to change it. Raises NotFound, AuthFailure for another's."""
        image = self.load(call, resource_id)
        if image.owner_id != call.account_id:
            raise AuthFailure(resource_id)
        return image


def named_by(member: str, kind: Kind[R]) -> Resources:
    """For `operation(resources=…)`: the resources whose id or ids are in a member of the request."""

    def needed(call: Call, request: Any) -> list[str | Needed]:
        ids = request.get(member) or ()
        return [kind.needed(call, resource_id) for resource_id in ([ids] if isinstance(ids, str) else ids)] or ["*"]

    return needed


def created(kind: Kind[R], name: str = "*", *, keys: Keys | None = None) -> Resources:
    """For `operation(resources=…)`: a resource that the request makes, and its tags."""
    return lambda call, request: made(call, request, kind, name, keys=keys)


def made(
    call: Call, request: Any, kind: Kind[R], name: str = "*", *, keys: Keys | None = None, own: bool = True
) -> Iterator[Needed]:
    """A resource that the request makes, with `keys` of it; and if it is to have tags, that it may be given them.
    `own` is false where the first is not asked for (the rules of a security group).

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
    """
    return made_as(call, request, kind.arn(call, name), kind.resource_type, keys=keys, own=own)


def made_as(
    call: Call, request: Any, arn: str, resource_type: str, *, keys: Keys | None = None, own: bool = True
) -> Iterator[Needed]:
    """`made`, of a type that nothing is ever stored of."""
    tags = {
        str(tag.get("Key", "")): str(tag.get("Value", ""))
        for specification in request.get("TagSpecifications") or ()
        if specification.get("ResourceType") == resource_type
        for tag in specification.get("Tags") or ()
    }
    given = keys or (dict)
    if own:
        yield Needed(arn, keys=given, request_tags=tags)
    if tags:
        by = {"ec2:CreateAction": call.operation}
        yield Needed(arn, "ec2:CreateTags", lambda: {**given(), **by}, request_tags=tags)


ADDRESS = Kind(Address, "elastic-ip", "eipalloc", errors.InvalidAllocationIDNotFound, None, id_column="allocation_id")
CAPACITY_RESERVATION = Kind(
    CapacityReservation,
    "capacity-reservation",
    "cr",
    InvalidCapacityReservationIdNotFound,
    InvalidCapacityReservationIdMalformed,
)
EVENT_WINDOW = Kind(
    EventWindow,
    "instance-event-window",
    "iew",
    InvalidInstanceEventWindowIdNotFound,
    InvalidInstanceEventWindowIdMalformed,
)
FLEET = Kind(Fleet, "fleet", "fleet", InvalidFleetIdNotFound, InvalidFleetIdMalformed)
IMAGE = ImageKind(
    Image, "image", "ami", InvalidAMIIDNotFound, InvalidAMIIDMalformed, shared=True, hidden_by=("recycled_at",)
)
IMPORT_IMAGE_TASK = Kind(
    ImportTask,
    "import-image-task",
    "import-ami",
    InvalidConversionTaskIdNotFound,
    InvalidConversionTaskIdMalformed,
)
INSTANCE = Kind(Instance, "instance", "i", errors.InvalidInstanceIDNotFound, errors.InvalidInstanceIDMalformed)
INTERNET_GATEWAY = Kind(
    InternetGateway,
    "internet-gateway",
    "igw",
    errors.InvalidInternetGatewayIDNotFound,
    errors.InvalidInternetGatewayIdMalformed,
)
KEY_PAIR = Kind(KeyPair, "key-pair", "key", errors.InvalidKeyPairNotFound, None)
LAUNCH_TEMPLATE = Kind(
    LaunchTemplate,
    "launch-template",
    "lt",
    InvalidLaunchTemplateIdNotFound,
    InvalidLaunchTemplateIdMalformed,
)
NETWORK_INTERFACE = Kind(
    NetworkInterface,
    "network-interface",
    "eni",
    errors.InvalidNetworkInterfaceIDNotFound,
    errors.InvalidNetworkInterfaceIdMalformed,
)
PLACEMENT_GROUP = Kind(
    PlacementGroup,
    "placement-group",
    "pg",
    InvalidPlacementGroupUnknown,
    InvalidPlacementGroupIdMalformed,
    arn_column="name",
)
PROFILE_ASSOCIATION = Kind(
    ProfileAssociation,
    "iam-instance-profile-association",
    "iip-assoc",
    errors.InvalidAssociationIDNotFound,
    None,
)
ROOT_TASK = Kind(
    RootTask,
    "replace-root-volume-task",
    "replacevol",
    InvalidReplaceRootVolumeTaskIdNotFound,
    InvalidReplaceRootVolumeTaskIdMalformed,
)
ROUTE_TABLE = Kind(
    RouteTable, "route-table", "rtb", errors.InvalidRouteTableIDNotFound, errors.InvalidRouteTableIdMalformed
)
SECURITY_GROUP = Kind(
    SecurityGroup, "security-group", "sg", errors.InvalidGroupNotFound, errors.InvalidGroupIdMalformed
)
SECURITY_GROUP_RULE = Kind(
    SecurityGroupRule,
    "security-group-rule",
    "sgr",
    errors.InvalidSecurityGroupRuleIdNotFound,
    errors.InvalidSecurityGroupRuleIdMalformed,
)
SNAPSHOT = Kind(
    Snapshot,
    "snapshot",
    "snap",
    InvalidSnapshotNotFound,
    InvalidSnapshotIDMalformed,
    nameless=True,
    hidden_by=("recycled_at", "copy_id"),
)
SPOT_REQUEST = Kind(
    SpotRequest,
    "spot-instances-request",
    "sir",
    InvalidSpotInstanceRequestIDNotFound,
    InvalidSpotInstanceRequestIDMalformed,
)
SUBNET = Kind(Subnet, "subnet", "subnet", errors.InvalidSubnetIDNotFound, errors.InvalidSubnetIDMalformed)
VOLUME = Kind(Volume, "volume", "vol", errors.InvalidVolumeNotFound, errors.InvalidVolumeIDMalformed)
VPC = Kind(Vpc, "vpc", "vpc", errors.InvalidVpcIDNotFound, errors.InvalidVpcIDMalformed)

KINDS: dict[str, Kind[Record]] = {
    kind.prefix: kind  # type: ignore[misc]
    for kind in (
        ADDRESS,
        CAPACITY_RESERVATION,
        EVENT_WINDOW,
        FLEET,
        IMAGE,
        IMPORT_IMAGE_TASK,
        INSTANCE,
        INTERNET_GATEWAY,
        KEY_PAIR,
        LAUNCH_TEMPLATE,
        NETWORK_INTERFACE,
        PLACEMENT_GROUP,
        ROOT_TASK,
        ROUTE_TABLE,
        SECURITY_GROUP,
        SECURITY_GROUP_RULE,
        SNAPSHOT,
        SPOT_REQUEST,
        SUBNET,
        VOLUME,
        VPC,
    )
}
"""Every kind by the prefix of its ids."""
