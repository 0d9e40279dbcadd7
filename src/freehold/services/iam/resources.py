"""IAM's named resources: their ARNs, how they are found by name, and what a policy must allow for them.

Names are unique in an account whatever their case (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html)
and are looked up the same way. IAM is global: ARNs have no region.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.records.accounts import User
from freehold.records.identities import Group, InstanceProfile, Role
from freehold.records.ids import AccountId
from freehold.records.tags import Tag
from freehold.services.iam.errors import NoSuchEntity
from freehold.services.iam.policy_errors import UnmodifiableEntity
from freehold.services.operation import Call, Needed, Resources, Value

Named = User | Group | Role | InstanceProfile

_WORDS = {User: "user", Group: "group", Role: "role", InstanceProfile: "instance-profile"}


def arn_of(account_id: AccountId, kind: str, path: str, name: str) -> str:
    """``arn:aws:iam::123456789012:user/division/alice``: `kind` is ``user``, `path` ``/division/``."""
    return f"arn:aws:iam::{account_id}:{kind}{path}{name}"


def arn(record: Named) -> str:
    """The ARN of a user, group, role or instance profile."""
    return arn_of(record.account_id, _WORDS[type(record)], record.path, record.name)


def find_user(call: Call, name: str) -> User | None:
    return call.tx.find(User, account_id=call.account_id, folded=name.lower())


def load_user(call: Call, name: str) -> User:
    """The user with this name. Raises NoSuchEntity."""
    found = find_user(call, name)
    if found is None:
        raise missed(User, name)
    return found


def find_group(call: Call, name: str) -> Group | None:
    return call.tx.find(Group, account_id=call.account_id, folded=name.lower())


def load_group(call: Call, name: str) -> Group:
    """The group with this name. Raises NoSuchEntity."""
    found = find_group(call, name)
    if found is None:
        raise missed(Group, name)
    return found


def load_role(call: Call, name: str) -> Role:
    """The role with this name. Raises NoSuchEntity."""
    found = call.tx.find(Role, account_id=call.account_id, folded=name.lower())
    if found is None:
        raise missed(Role, name)
    return found


def load_own_role(call: Call, name: str) -> Role:
    """The role with this name, to be changed. Raises NoSuchEntity, or UnmodifiableEntity for a service's own role."""
    role = load_role(call, name)
    if role.service_linked is not None:
        raise UnmodifiableEntity(role.name)
    return role


def load_profile(call: Call, name: str) -> InstanceProfile:
    """The instance profile with this name. Raises NoSuchEntity."""
    found = call.tx.find(InstanceProfile, account_id=call.account_id, folded=name.lower())
    if found is None:
        raise NoSuchEntity(f"Instance Profile {name}")
    return found


def missed(kind: type[Named], name: str) -> NoSuchEntity:
    return NoSuchEntity(f"The {_WORDS[kind]} with name {name}")


def named_by(member: str, kind: type[Named]) -> Resources:
    """For `operation(resources=…)`: what is named in a member of the request, with its path if there is such a one.
    Without a name it is the caller (GetUser, CreateAccessKey …)."""

    def needed(call: Call, request: Any) -> list[str | Needed]:
        name = request.get(member)
        if name is None:
            own = call.tx.get(User, call.principal.owner_id) if call.principal.kind == "user" else None
            return [of_record(call, request, own) if own else call.principal.owner_arn or call.principal.arn]
        found = call.tx.find(kind, account_id=call.account_id, folded=name.lower())
        if found is None:
            missing = arn_of(call.account_id, _WORDS[kind], "/", name)
            return [Needed(missing, keys=lambda: _keys(request, None))]
        return [of_record(call, request, found)]

    return needed


def of_record(call: Call, request: Any, found: Named) -> Needed:
    """What is needed of a user, group, role or instance profile."""
    return Needed(arn(found), keys=lambda: _keys(request, found), tags=lambda: tags_by_key(call, found.id))


def of_tagged(call: Call, arn: str) -> Needed:
    """What is needed of a resource whose tags are kept by its ARN."""
    return Needed(arn, tags=lambda: tags_by_key(call, arn))


def created(member: str, kind: type[Named]) -> Resources:
    """What a create request asks for, by the name in `member` and Path."""

    def needed(call: Call, request: Any) -> list[str | Needed]:
        made = arn_of(call.account_id, _WORDS[kind], request.get("Path", "/"), request[member])
        return [Needed(made, keys=lambda: _keys(request, None))]

    return needed


def passed(role_arn: str, service: str) -> Needed:
    """That the caller may give a role to a service (``ec2.amazonaws.com``).
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html"""
    return Needed(role_arn, action="iam:PassRole", keys=lambda: {"iam:PassedToService": service})


def tags_by_key(call: Call, unique_id: str) -> dict[str, str]:
    """The tags of a resource of the account, as conditions ask for them. The id may be an ARN of a request."""
    if "\0" in unique_id:  # no text in the database has one
        return {}
    held = call.tx.select(Tag, resource_id=unique_id, account_id=call.account_id)
    return {tag.key: tag.value for tag in held}


def _keys(request: Mapping[str, Any], found: Named | None) -> dict[str, Value]:
    """IAM's own condition keys: the boundary that is given or, if none is, the one that there is; and the policy.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html"""
    held = found.boundary_arn if isinstance(found, User | Role) else None
    return {
        "iam:PermissionsBoundary": request.get("PermissionsBoundary", held),
        "iam:PolicyARN": request.get("PolicyArn"),
    }


def all_under(kind: str) -> Resources:
    """What a list operation reads, by the word in its ARNs: ``arn:aws:iam::123456789012:user/``, or a PathPrefix."""
    return lambda call, request: [arn_of(call.account_id, kind, request.get("PathPrefix", "/"), "")]


user_named = named_by("UserName", User)
group_named = named_by("GroupName", Group)
role_named = named_by("RoleName", Role)
profile_named = named_by("InstanceProfileName", InstanceProfile)
