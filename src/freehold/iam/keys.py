"""The context of a request: what is found under the condition keys that policies name.

Global keys: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html. What there is none
of here (organisations, VPC endpoints, calls that a service forwards) has no value, as in AWS for who has none of them.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from freehold.records.sessions import Delivery
from freehold.records.tags import Tag
from freehold.services.operation import Call, Needed, Value

_TYPES = {"root": "Account", "user": "User", "federated": "FederatedUser", "role": "AssumedRole"}


class Asked:
    """What is known of a call whatever it is about. `params` is the request as the model parsed it."""

    def __init__(self, call: Call, params: Mapping[str, Any]) -> None:
        self.call = call
        self._params = params

    @functools.cached_property
    def principal_tags(self) -> Mapping[str, str]:
        """Tags of the user or role and, before them, of the session."""
        principal = self.call.principal
        session = principal.session.tags if principal.session is not None else {}
        if principal.kind in ("user", "role"):
            kept = self.call.tx.select(Tag, resource_id=principal.owner_id, account_id=principal.account_id)
            return {tag.key: tag.value for tag in kept} | dict(session)
        return session

    @functools.cached_property
    def tags(self) -> Mapping[str, str]:
        """The tags that the request has."""
        given = self._params.get("Tags") or self._params.get("tags") or ()
        if isinstance(given, Mapping):
            return given
        return dict(_pairs(given))

    @functools.cached_property
    def tag_keys(self) -> tuple[str, ...]:
        """The keys of tags that the request has, with values or without."""
        return tuple(dict.fromkeys([*self.tags, *(self._params.get("TagKeys") or ())]))


def _pairs(given: Any) -> Iterator[tuple[str, str]]:
    """Services name the two members of a tag differently."""
    for tag in given:
        if isinstance(tag, Mapping):
            yield tag.get("Key", tag.get("TagKey", "")), tag.get("Value", tag.get("TagValue", "")) or ""


def _user_name(call: Call) -> Value:
    return call.principal.arn.rpartition("/")[2] if call.principal.kind == "user" else None


def _principal_arn(call: Call) -> Value:
    """Of a role's session it is the role's."""
    return call.principal.owner_arn if call.principal.kind == "role" else call.principal.arn


def _mfa_present(call: Call) -> Value:
    """Only temporary credentials can say that there was a code, and a request that has one itself."""
    session = call.principal.session
    return None if session is None and call.mfa_at is None else _boolean(_mfa_at(call) is not None)


def _mfa_age(call: Call) -> Value:
    at = _mfa_at(call)
    return None if at is None else str(max(0, int((call.now - at).total_seconds())))


def _mfa_at(call: Call) -> dt.datetime | None:
    session = call.principal.session
    return call.mfa_at or (session.mfa_at if session is not None else None)


def _issued(call: Call) -> Value:
    session = call.principal.session
    return None if session is None else f"{session.issued_at:%Y-%m-%dT%H:%M:%SZ}"


def _source_identity(call: Call) -> Value:
    return None if call.principal.session is None else call.principal.session.source_identity


def _provider(call: Call) -> Value:
    return None if call.principal.session is None else call.principal.session.provider


def _of_server(value: Callable[[Delivery], str]) -> Callable[[Call], Value]:
    """A value of the server that the credentials were handed out to, if they were to one."""

    def find(call: Call) -> Value:
        session = call.principal.session
        return None if session is None or session.delivery is None else value(session.delivery)

    return find


def _boolean(value: bool) -> str:
    return "true" if value else "false"


_GLOBAL: dict[str, tuple[str, Callable[[Call], Value]]] = {
    name.lower(): (name, find)
    for name, find in {
        "aws:CurrentTime": lambda call: f"{call.now:%Y-%m-%dT%H:%M:%SZ}",
        "aws:Ec2InstanceSourcePrivateIPv4": _of_server(lambda server: server.private_ip),
        "aws:Ec2InstanceSourceVPC": _of_server(lambda server: server.vpc_id),
        "aws:EpochTime": lambda call: str(int(call.now.timestamp())),
        "aws:FederatedProvider": _provider,
        "aws:MultiFactorAuthAge": _mfa_age,
        "aws:MultiFactorAuthPresent": _mfa_present,
        "aws:PrincipalAccount": lambda call: call.principal.account_id,
        "aws:PrincipalArn": _principal_arn,
        "aws:PrincipalIsAWSService": lambda _call: "false",
        "aws:PrincipalType": lambda call: _TYPES[call.principal.kind],
        "aws:Referer": lambda call: call.referer or None,
        "aws:RequestedRegion": lambda call: call.region,
        "aws:SecureTransport": lambda call: _boolean(call.secure),
        "aws:SourceIdentity": _source_identity,
        # "aws:SourceIp … is not present" of what comes through a VPC: aws:VpcSourceIp is.
        "aws:SourceIp": lambda call: call.source_ip if call.source_vpc is None else None,
        "aws:SourceVpc": lambda call: call.source_vpc,
        "aws:TokenIssueTime": _issued,
        "aws:UserAgent": lambda call: call.user_agent,
        "aws:VpcSourceIp": lambda call: call.source_ip if call.source_vpc is not None else None,
        "aws:userid": lambda call: call.principal.unique_id,
        "aws:username": _user_name,
        "ec2:SourceInstanceARN": _of_server(lambda server: server.instance_arn),
        "ec2:Region": lambda call: call.region if call.service == "ec2" else None,
    }.items()
}


class Context:
    """The context of one of the things that a call needs; `lookup` is what the engine asks."""

    def __init__(self, asked: Asked, needed: Needed) -> None:
        self._asked = asked
        self._needed = needed

    @functools.cached_property
    def _keys(self) -> Mapping[str, tuple[str, Value]]:
        return {name.lower(): (name, value) for name, value in self._needed.keys().items()}

    @functools.cached_property
    def _resource_tags(self) -> Mapping[str, str]:
        return self._needed.tags()

    @property
    def _request_tags(self) -> Mapping[str, str]:
        given = self._needed.request_tags
        return self._asked.tags if given is None else given

    @property
    def _tag_keys(self) -> tuple[str, ...]:
        given = self._needed.request_tags
        return self._asked.tag_keys if given is None else tuple(given)

    def lookup(self, key: str) -> Value:
        """What there is under a condition key in lower case."""
        known = _GLOBAL.get(key)
        if known is not None:
            return known[1](self._asked.call)
        family, slash, tag = key.partition("/")
        if slash:
            if family == "aws:principaltag":
                return _folded(self._asked.principal_tags, tag)
            if family == "aws:requesttag":
                return _folded(self._request_tags, tag)
            if family.endswith(":resourcetag"):
                return _folded(self._resource_tags, tag)
        if key == "aws:tagkeys":
            return self._tag_keys or None
        if key == "aws:viaawsservice":
            return _boolean("kms:viaservice" in self._keys)  # EC2 asks KMS in the caller's name
        if key == "aws:resourceaccount":
            return self._needed.account_id or self._asked.call.account_id
        found = self._keys.get(key)
        return None if found is None else found[1]

    def known(self) -> dict[str, Value]:
        """All that is known, by the names of the keys as AWS writes them."""
        call = self._asked.call
        found: dict[str, Value] = {name: find(call) for name, find in _GLOBAL.values()}
        found |= dict(self._keys.values())
        for family, tags in (
            ("aws:PrincipalTag", self._asked.principal_tags),
            ("aws:RequestTag", self._request_tags),
            ("aws:ResourceTag", self._resource_tags),
        ):
            found |= {f"{family}/{key}": value for key, value in tags.items()}
        found["aws:TagKeys"] = self._tag_keys
        found["aws:ResourceAccount"] = self.lookup("aws:resourceaccount")
        found["aws:ViaAWSService"] = self.lookup("aws:viaawsservice")
        return {name: value for name, value in sorted(found.items()) if value}


def _folded(tags: Mapping[str, str], key: str) -> str | None:
    """Condition keys are the same in any case, and so are the keys of tags in them."""
    for name, value in tags.items():
        if name.lower() == key:
            return value
    return None
