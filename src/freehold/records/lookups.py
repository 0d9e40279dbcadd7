"""Finding audit records: by what LookupEvents asks for, and when a principal last used a service.

Written behind the calls, from the records alone (control/sealing), so that a call pays for none of it and an index that
is lost can be made again. One table has all indexes: its key is a hash of (account, region, attribute, value), and each
row a record that has this value. A hash may meet another's, so a record that is found is looked at before it is given.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from freehold.records.audit import audit_events
from freehold.records.schema import Record, table
from freehold.records.store import Transaction


class AuditLookup(Record, frozen=True):
    """A record (`position`) of a moment (`at`, milliseconds since 1970) that is found by `key`."""

    key: int
    at: int
    position: int


class ServiceUse(Record, frozen=True):
    """When a principal last called a service, allowed or not: `principal_id` is the unique id of a user or role, or the
    account's id for its root; `service` is the prefix of its actions (``ec2``), `at` milliseconds since 1970."""

    principal_id: str
    service: str
    account_id: str
    at: int
    region: str


audit_lookups = table("audit_lookups", AuditLookup, key=("key", "at", "position"))
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


class Indexed(msgspec.Struct, frozen=True):
    """What is read of a record to find it again."""

    identity: _Identity = msgspec.field(name="userIdentity")
    event_time: str = msgspec.field(name="eventTime")
    event_source: str = msgspec.field(name="eventSource")
    event_name: str = msgspec.field(name="eventName")
    region: str = msgspec.field(name="awsRegion")
    event_id: str = msgspec.field(name="eventID")
    read_only: bool = msgspec.field(name="readOnly")
    account_id: str = msgspec.field(name="recipientAccountId")
    category: str = msgspec.field(name="eventCategory")
    parameters: Any = msgspec.field(name="requestParameters")
    elements: Any = msgspec.field(name="responseElements")
    error_code: str | None = msgspec.field(name="errorCode", default=None)

    @property
    def at(self) -> int:
        """Milliseconds since 1970, to which its id was made."""
        return moment_of(self.event_id) or 0

    @property
    def user_name(self) -> str:
        """Who did it, in one word: a user, ``root``, the session of a role, a service."""
        identity = self.identity
        if identity.type == "Root":
            return "root"
        if identity.type in ("AssumedRole", "FederatedUser"):
            return identity.arn.rpartition("/")[2]
        return identity.user_name

    @property
    def actor_id(self) -> str:
        """The unique id of the user or role whose policies counted; ``""`` of a stranger or a service."""
        if self.identity.type in ("AssumedRole", "FederatedUser"):
            return self.identity.session_context.session_issuer.principal_id
        return self.identity.principal_id if self.identity.type in ("Root", "IAMUser") else ""

    def attributes(self) -> list[tuple[str, str]]:
        """What LookupEvents finds it by: attributes and their values."""
        found = [
            *_said(self.event_name, self.event_source, self.read_only, self.user_name, self.identity.access_key_id)
        ]
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


def _named(value: Any) -> Iterator[tuple[str, str]]:
    pending, found = [value], 0
    while pending and found < _RESOURCES_MAX:
        item = pending.pop()
        if isinstance(item, list):
            pending += reversed(item[:_RESOURCES_MAX])
        elif isinstance(item, dict):
            for name, inner in item.items():
                if isinstance(inner, str):
                    if inner and name in _TYPES:
                        found += 1
                        yield _TYPES[name], inner
                elif isinstance(inner, dict | list):
                    pending.append(inner)


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


def lookups_of(event: Indexed, position: int) -> list[dict[str, int]]:
    """The AuditLookup rows by which a record is found. Those of data events are found by nothing, as in CloudTrail."""
    if event.category != "Management":
        return []
    account_id, region, at = event.account_id, event.region, event.at
    said = (event.event_name, event.event_source, event.read_only, event.user_name, event.identity.access_key_id)
    keys = _keys(account_id, region, said)
    if resources := event.resources():
        types = (_key(account_id, region, "ResourceType", kind) for kind, _ in resources)
        keys = keys.union(types, (_key(account_id, region, "ResourceName", name) for _, name in resources))
    return [{"key": key, "at": at, "position": position} for key in keys]


def _said(name: str, source: str, read_only: bool, user_name: str, key_id: str) -> tuple[tuple[str, str], ...]:
    """The attributes that every record has, and their values."""
    return (
        ("EventName", name),
        ("EventSource", source),
        ("ReadOnly", "true" if read_only else "false"),
        ("Username", user_name),
        ("AccessKeyId", key_id),
    )


@functools.lru_cache(16384)
def _keys(account_id: str, region: str, said: tuple[str, str, bool, str, str]) -> frozenset[int]:
    """The keys of a record but for its resources: most records have the same as others."""
    own = {_key(account_id, region, attribute, value) for attribute, value in _said(*said) if value}
    return frozenset(own | {_key(account_id, region, "", "")})


def last_uses(events: Sequence[Indexed]) -> dict[tuple[str, str], ServiceUse]:
    """The last use of each service by each principal in `events`, which are in their order."""
    last = {(event.actor_id, event.event_source.partition(".")[0]): event for event in events}
    return {
        (actor_id, service): ServiceUse(actor_id, service, event.account_id, event.at, event.region)
        for (actor_id, service), event in last.items()
        if actor_id
    }


def uses_of(tx: Transaction, principal_ids: Sequence[str]) -> list[ServiceUse]:
    """When these principals last used which services: one query by index."""
    return tx.select(ServiceUse, principal_id=list(principal_ids))


_NEWEST_FIRST = (audit_lookups.c.at.desc(), audit_lookups.c.position.desc())
_PAGE = (
    sa.select(audit_lookups.c.at, audit_lookups.c.position, audit_events.c.body)
    .join_from(audit_lookups, audit_events, audit_events.c.position == audit_lookups.c.position)
    .where(
        audit_lookups.c.key == sa.bindparam("key", type_=sa.BigInteger()),
        audit_lookups.c.at >= sa.bindparam("since", type_=sa.BigInteger()),
        audit_lookups.c.at <= sa.bindparam("at", type_=sa.BigInteger()),
        sa.or_(
            audit_lookups.c.at < sa.bindparam("before", type_=sa.BigInteger()),
            audit_lookups.c.position < sa.bindparam("position", type_=sa.BigInteger()),
        ),
    )
    .order_by(*_NEWEST_FIRST)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
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
    after: tuple[int, int],
    limit: int,
) -> list[Found]:
    key = _key(account_id, region, *(attribute or ("", "")))
    at, position = after
    values: Mapping[str, int] = {"key": key, "since": since, "at": min(at, until), "before": at, "position": position}
    found = []
    for at, position, body in tx.rows(_PAGE, limit=limit, **values):
        event = decode(body)
        named = attribute is None or attribute in event.attributes()
        if named and (event.account_id, event.region) == (account_id, region):
            found.append((at, position, body, event))
    return found
