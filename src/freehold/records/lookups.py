"""Finding audit records: by what LookupEvents asks for, and when a principal last used a service.

Written behind the calls, from the records alone (control/sealing), so that a call pays for none of it and an index that
is lost can be made again. One table has all indexes: its key is a hash of (account, region, attribute, value), and each
row has those of the records chained together that have this value, because a row for each of them would cost more than
all else about a record. A hash may meet another's, so a record that is found is looked at before it is given.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from freehold.records.audit import AuditEvent
from freehold.records.schema import Record, table
from freehold.records.store import Transaction

Place = tuple[int, int]
"""Where a record is: its moment, milliseconds since 1970, and its position."""

_SPAN = 60_000


class AuditLookup(Record, frozen=True):
    """Records that are found by `key`: `places` has the place of each as two 64-bit integers, in their order.
    `last_at` and `last_position` are the last place; `_SPAN` is the most between the first moment and the last."""

    key: int
    last_at: int
    last_position: int
    places: bytes

    def read(self) -> list[Place]:
        numbers = iter(array("q", self.places))
        return list(zip(numbers, numbers, strict=True))


class ServiceUse(Record, frozen=True):
    """When a principal last called a service, allowed or not: `principal_id` is the unique id of a user or role, or the
    account's id for its root; `service` is the prefix of its actions (``ec2``), `at` milliseconds since 1970."""

    principal_id: str
    service: str
    account_id: str
    at: int
    region: str


audit_lookups = table("audit_lookups", AuditLookup, key=("key", "last_at", "last_position"))
service_uses = table("service_uses", ServiceUse, key=("principal_id", "service"), indexes=(("account_id",),))


class _Session(msgspec.Struct, frozen=True):
    principal_id: str = msgspec.field(name="principalId", default="")


class _Context(msgspec.Struct, frozen=True):
    session_issuer: _Session = msgspec.field(name="sessionIssuer", default=_Session())


class _Identity(msgspec.Struct, frozen=True):
    type: str
    principal_id: str = msgspec.field(name="principalId", default="")
    arn: str = ""
    user_name: str = msgspec.field(name="userName", default="")
    access_key_id: str = msgspec.field(name="accessKeyId", default="")
    session_context: _Context = msgspec.field(name="sessionContext", default=_Context())


_decode_identity = msgspec.json.Decoder(_Identity).decode


class Actor(NamedTuple):
    """Who did it. `user_name` says it in one word: a user, ``root``, the session of a role, a service. `unique_id` is
    that of the user or role whose policies counted; ``""`` of a stranger or a service."""

    user_name: str
    unique_id: str
    access_key_id: str


@functools.lru_cache(4096)
def _actor(identity: bytes) -> Actor:
    """Most records have the same text of who did it as others."""
    of = _decode_identity(identity)
    if of.type in ("AssumedRole", "FederatedUser"):
        session = of.arn.rpartition("/")[2]
        return Actor(session, of.session_context.session_issuer.principal_id, of.access_key_id)
    if of.type == "Root":
        return Actor("root", of.principal_id, of.access_key_id)
    return Actor(of.user_name, of.principal_id if of.type == "IAMUser" else "", of.access_key_id)


_Said = tuple[str, str, bool, Actor]
"""What most records have in common with others: name, source, whether it only reads, who did it."""
_Alike = tuple[str, str, str, str, str, bool, bytes]  # category, account, region, and that, its text of who did it


class Indexed(msgspec.Struct, frozen=True):
    """What is read of a record to find it again."""

    identity: msgspec.Raw = msgspec.field(name="userIdentity")
    event_time: str = msgspec.field(name="eventTime")
    event_source: str = msgspec.field(name="eventSource")
    event_name: str = msgspec.field(name="eventName")
    region: str = msgspec.field(name="awsRegion")
    event_id: str = msgspec.field(name="eventID")
    read_only: bool = msgspec.field(name="readOnly")
    account_id: str = msgspec.field(name="recipientAccountId")
    category: str = msgspec.field(name="eventCategory")
    parameters: msgspec.Raw = msgspec.field(name="requestParameters")
    elements: msgspec.Raw = msgspec.field(name="responseElements")
    error_code: str | None = msgspec.field(name="errorCode", default=None)

    @property
    def at(self) -> int:
        """Milliseconds since 1970, to which its id was made."""
        return int(self.event_id[:8] + self.event_id[9:13], 16)

    @property
    def actor(self) -> Actor:
        return _actor(bytes(self.identity))

    def said(self) -> _Said:
        return self.event_name, self.event_source, self.read_only, self.actor

    def attributes(self) -> list[tuple[str, str]]:
        """What LookupEvents finds it by: attributes and their values."""
        found = [*_attributes(*self.said())]
        for resource_type, name in self.resources():
            found += (("ResourceType", resource_type), ("ResourceName", name))
        return found

    def resources(self) -> list[tuple[str, str]]:
        """(CloudFormation's type, name) of what the record names, in the order of its parameters."""
        return list(dict.fromkeys([*_named(self.parameters), *_named(self.elements)]))


decode = msgspec.json.Decoder(Indexed).decode

# By the member that names it. https://docs.aws.amazon.com/awscloudtrail/latest/userguide/view-cloudtrail-events-supported-resource-types.html
_TYPES = {
    "allocationId": "AWS::EC2::EIP",
    "aliasName": "AWS::KMS::Alias",
    "bucketName": "AWS::S3::Bucket",
    "groupId": "AWS::EC2::SecurityGroup",
    "groupName": "AWS::IAM::Group",
    "imageId": "AWS::EC2::Ami",
    "instanceId": "AWS::EC2::Instance",
    "instanceProfileName": "AWS::IAM::InstanceProfile",
    "internetGatewayId": "AWS::EC2::InternetGateway",
    "keyId": "AWS::KMS::Key",
    "keyName": "AWS::EC2::KeyPair",
    "networkInterfaceId": "AWS::EC2::NetworkInterface",
    "policyArn": "AWS::IAM::Policy",
    "policyName": "AWS::IAM::Policy",
    "roleArn": "AWS::IAM::Role",
    "roleName": "AWS::IAM::Role",
    "routeTableId": "AWS::EC2::RouteTable",
    "s3BucketName": "AWS::S3::Bucket",
    "serialNumber": "AWS::IAM::MfaDevice",
    "subnetId": "AWS::EC2::Subnet",
    "trailARN": "AWS::CloudTrail::Trail",
    "userName": "AWS::IAM::User",
    "volumeId": "AWS::EC2::Volume",
    "vpcId": "AWS::EC2::VPC",
}
_RESOURCES_MAX = 50  # of one record: RunInstances of a thousand names them all in its text


# A look at the text, as the trail writes it: to decode and walk what names nothing would cost more than all else here.
_names_some = re.compile(f'"({"|".join(_TYPES)})":"'.encode()).search


def _named(text: msgspec.Raw) -> list[tuple[str, str]]:
    if not _names_some(text):
        return []
    pending, found = [msgspec.json.decode(text)], list[tuple[str, str]]()
    while pending and len(found) < _RESOURCES_MAX:
        item = pending.pop()
        if isinstance(item, list):
            pending += reversed(item[:_RESOURCES_MAX])
        elif isinstance(item, dict):
            for name, inner in item.items():
                if not isinstance(inner, str):
                    pending.append(inner)
                elif inner and name in _TYPES:
                    found.append((_TYPES[name], inner))
    return found


def moment_of(event_id: str) -> int | None:
    """The milliseconds since 1970 that an event's id begins with; None for what is no such id."""
    digits = event_id.replace("-", "")
    try:
        return int(digits[:12], 16) if len(digits) == 32 and digits[12] == "7" else None
    except ValueError:
        return None


@functools.lru_cache(16384)
def _key(account_id: str, region: str, attribute: str, value: str) -> int:
    text = "\0".join((account_id, region, attribute, value)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


class Index(NamedTuple):
    """What finds some records: the same for the same records. Those of data events are found by nothing, as in
    CloudTrail. `uses` are the last use of each service by each principal."""

    lookups: list[AuditLookup]
    uses: list[ServiceUse]


def index(events: Iterable[tuple[Indexed, int]]) -> Index:
    """Of records with their positions, in their order. What many have in common is looked at once."""
    alike: dict[_Alike, list[Place]] = defaultdict(list)
    named: dict[int, list[Place]] = defaultdict(list)
    for event, position in events:
        place = (event.at, position)
        said = (event.event_name, event.event_source, event.read_only, bytes(event.identity))
        alike[event.category, event.account_id, event.region, *said].append(place)
        if event.category == "Management" and (resources := event.resources()):
            for key in _keys_of_resources(event.account_id, event.region, resources):
                named[key].append(place)
    groups = [*alike.values(), *named.values()]
    groups_of: dict[int, list[int]] = defaultdict(list)  # of a key: which of the groups it finds
    last: dict[tuple[str, str], tuple[int, ServiceUse]] = {}
    for number, (category, account_id, region, name, source, read_only, identity) in enumerate(alike):
        actor, service = _actor(identity), source.partition(".")[0]
        if category == "Management":
            for key in _keys(account_id, region, (name, source, read_only, actor)):
                groups_of[key].append(number)
        at, position = groups[number][-1]
        if actor.unique_id and position > last.get((actor.unique_id, service), (0,))[0]:
            use = ServiceUse(actor.unique_id, service, account_id, at, region)
            last[actor.unique_id, service] = (position, use)
    for number, key in enumerate(named, len(alike)):
        groups_of[key].append(number)

    @functools.cache
    def rows_of(*numbers: int) -> list[tuple[int, int, bytes]]:
        """Most groups are found by several keys, and packed once."""
        return list(_rows(sorted(itertools.chain.from_iterable(groups[number] for number in numbers))))

    lookups = [AuditLookup(key, *row) for key in sorted(groups_of) for row in rows_of(*groups_of[key])]
    return Index(lookups, [use for _, use in last.values()])


def _rows(places: Sequence[Place]) -> Iterator[tuple[int, int, bytes]]:
    """The rows of a key but for the key: places in their order, cut where their moments are more than `_SPAN` apart."""
    while places:
        end = bisect.bisect(places, places[0][0] + _SPAN, key=itemgetter(0))
        yield *places[end - 1], array("q", itertools.chain.from_iterable(places[:end])).tobytes()
        places = places[end:]


def _keys_of_resources(account_id: str, region: str, resources: Sequence[tuple[str, str]]) -> set[int]:
    types = {_key(account_id, region, "ResourceType", kind) for kind, _ in resources}
    return types | {_key(account_id, region, "ResourceName", name) for _, name in resources}


def _attributes(name: str, source: str, read_only: bool, actor: Actor) -> tuple[tuple[str, str], ...]:
    """The attributes that every record has, and their values."""
    return (
        ("EventName", name),
        ("EventSource", source),
        ("ReadOnly", "true" if read_only else "false"),
        ("Username", actor.user_name),
        ("AccessKeyId", actor.access_key_id),
    )


@functools.lru_cache(16384)
def _keys(account_id: str, region: str, said: _Said) -> frozenset[int]:
    """The keys of a record but for its resources: most records have the same as others."""
    own = {_key(account_id, region, attribute, value) for attribute, value in _attributes(*said) if value}
    return frozenset(own | {_key(account_id, region, "", "")})


def uses_of(tx: Transaction, principal_ids: Sequence[str]) -> list[ServiceUse]:
    """When these principals last used which services: one query by index."""
    return tx.select(ServiceUse, principal_id=list(principal_ids))


_LAST_FIRST = (audit_lookups.c.last_at.desc(), audit_lookups.c.last_position.desc())
_NEWEST_ROWS = (
    sa.select(audit_lookups)
    .where(
        audit_lookups.c.key == sa.bindparam("key", type_=sa.BigInteger()),
        audit_lookups.c.last_at >= sa.bindparam("since", type_=sa.BigInteger()),
        audit_lookups.c.last_at <= sa.bindparam("at", type_=sa.BigInteger()),
        sa.or_(
            audit_lookups.c.last_at < sa.bindparam("before", type_=sa.BigInteger()),
            audit_lookups.c.last_position < sa.bindparam("position", type_=sa.BigInteger()),
        ),
    )
    .order_by(*_LAST_FIRST)
    .limit(16)
)
_LAST = (1 << 63) - 1
_SAME_MOMENT = 10_000  # more than an account can call in a millisecond

Found = tuple[int, int, str, Indexed]
"""A record that was found: its moment, its position, its text, and what is read of it."""


def find(
    tx: Transaction,
    account_id: str,
    region: str,
    attribute: tuple[str, str] | None,
    *,
    since: int,
    until: int,
    after: tuple[int, int] | None,
    limit: int,
) -> list[Found]:
    """The newest records of an account in a region between two moments, both included, that have a value of an
    attribute (None: all). `after` is the moment and position of the last one of the page before."""
    if attribute is not None and attribute[0] == "EventId":
        at = moment_of(attribute[1])
        if at is None or not since <= at <= until or after is not None:
            return []
        found = _find(tx, account_id, region, None, at, at, (at, _LAST), _SAME_MOMENT)
        return [item for item in found if item[3].event_id == attribute[1]]
    return _find(tx, account_id, region, attribute, since, until, after or (until, _LAST), limit)


def _find(
    tx: Transaction,
    account_id: str,
    region: str,
    attribute: tuple[str, str] | None,
    since: int,
    until: int,
    after: Place,
    limit: int,
) -> list[Found]:
    key = _key(account_id, region, *(attribute or ("", "")))
    places = _places(tx, key, since, until, after, limit)
    bodies = {event.position: event.body for event in tx.select(AuditEvent, position=[place[1] for place in places])}
    found = []
    for at, position in places:
        body = bodies.get(position)
        if body is None:
            continue  # it was taken out of the trail, which `freehold audit verify` tells
        event = decode(body)
        named = attribute is None or attribute in event.attributes()
        if named and (event.account_id, event.region) == (account_id, region):
            found.append((at, position, body, event))
    return found


def _places(tx: Transaction, key: int, since: int, until: int, after: Place, limit: int) -> list[Place]:
    """The newest places that are found by a key, before `after` and between two moments."""
    found: list[Place] = []
    last: Place = (until + _SPAN, _LAST)
    while rows := tx.rows(_NEWEST_ROWS, key=key, since=since, at=last[0], before=last[0], position=last[1]):
        for row in itertools.starmap(AuditLookup, rows):
            last = (row.last_at, row.last_position)
            if len(found) == limit and last < found[-1]:
                return found
            found += (place for place in row.read() if since <= place[0] <= until and place < after)
            found.sort(reverse=True)
            del found[limit:]
    return found
