"""Roles: create, get, list, update, delete, who may assume them, and their tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.identities import InlinePolicy, InstanceProfile, PolicyAttachment, Role, roles
from freehold.records.ids import new_iam_id
from freehold.records.tags import Tag, delete_tags_of, tags_of
from freehold.services.iam import tags
from freehold.services.iam.boundaries import checked_boundary, described_boundary
from freehold.services.iam.documents import encoded, forget_principal, trust_policy
from freehold.services.iam.errors import DeleteConflict, EntityAlreadyExists, InvalidInput, LimitExceeded
from freehold.services.iam.paging import page, under
from freehold.services.iam.policy_errors import UnmodifiableEntity
from freehold.services.iam.resources import all_under, arn, created, load_own_role, load_role, role_named
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        CreateRoleRequestTypeDef,
        DeleteRoleRequestTypeDef,
        GetRoleRequestTypeDef,
        ListRolesRequestTypeDef,
        ListRoleTagsRequestTypeDef,
        TagRoleRequestTypeDef,
        UntagRoleRequestTypeDef,
        UpdateAssumeRolePolicyRequestTypeDef,
        UpdateRoleDescriptionRequestTypeDef,
        UpdateRoleRequestTypeDef,
    )

MAX_ROLES = 1000
SERVICE_ROLES_PATH = "/aws-service-role/"
"""Of the roles that are services' own (service_linked_roles): no other role may be there."""

_DEFAULT_SESSION_SECONDS_MAX = 3600


@operation(resources=created("RoleName", Role))
def create_role(call: Call, request: CreateRoleRequestTypeDef) -> Response:
    """A role without any right. Raises EntityAlreadyExists, also for a name that differs by its case alone,
    MalformedPolicyDocument for a trust policy that names nobody whom there is, LimitExceeded."""
    refuse_others(
        request,
        {
            "RoleName",
            "Path",
            "AssumeRolePolicyDocument",
            "Description",
            "MaxSessionDuration",
            "MaxSigninSessionDuration",
            "PermissionsBoundary",
            "Tags",
        },
    )
    name, path = request["RoleName"], request.get("Path", "/")
    if path.startswith(SERVICE_ROLES_PATH):
        raise InvalidInput(f"The path {SERVICE_ROLES_PATH} is for the roles of services: use CreateServiceLinkedRole.")
    pairs = tags.checked(request.get("Tags"), "role")
    take_turn(call.tx)
    role = Role(
        id=new_iam_id("AROA"),
        account_id=call.account_id,
        name=name,
        folded=name.lower(),
        path=path,
        description=request.get("Description", ""),
        trust_policy=trust_policy(call, request["AssumeRolePolicyDocument"]),
        session_seconds_max=request.get("MaxSessionDuration", _DEFAULT_SESSION_SECONDS_MAX),
        boundary_arn=checked_boundary(call, request.get("PermissionsBoundary")),
        service_linked=None,
        created_at=call.now,
        signin_seconds_max=_signin_seconds(request),
    )
    add_role(call, role)
    tags.put(call, "role", role.id, pairs)
    return {"Role": described(role, tags_of(call.tx, [role.id])[role.id])}


def _signin_seconds(request: Mapping[str, Any]) -> int | None:
    """A member that the service model has and its type stubs lack."""
    return request.get("MaxSigninSessionDuration")


def add_role(call: Call, role: Role) -> None:
    """Insert a new role. Raises EntityAlreadyExists or LimitExceeded."""
    if call.tx.count(Role, account_id=call.account_id, folded=role.folded):
        raise EntityAlreadyExists(f"Role with name {role.name}")
    if call.tx.count(Role, account_id=call.account_id) >= MAX_ROLES:
        raise LimitExceeded("RolesPerAccount", MAX_ROLES)
    call.tx.insert(role)


@operation(resources=role_named)
def get_role(call: Call, request: GetRoleRequestTypeDef) -> Response:
    """The role, its trust policy URL-encoded, and when it was last used."""
    refuse_others(request, {"RoleName"})
    role = load_role(call, request["RoleName"])
    used = {"LastUsedDate": role.last_used_at, "Region": role.last_used_region} if role.last_used_at else {}
    return {"Role": {**described(role, tags_of(call.tx, [role.id])[role.id]), "RoleLastUsed": used}}


@operation(resources=all_under("role"))
def list_roles(call: Call, request: ListRolesRequestTypeDef) -> Response:
    """By name; as in AWS, without tags, boundaries and last use."""
    refuse_others(request, {"PathPrefix", "Marker", "MaxItems"})
    found = page(call, Role, request, *under(roles.c.path, request), account_id=call.account_id)
    return {"Roles": [summary(role) for role in found.rows], **found.end}


@operation(resources=role_named)
def update_role(call: Call, request: UpdateRoleRequestTypeDef) -> Response:
    """What is not given stays. Of a service's own role only the description can be changed. Raises InvalidInput for a
    sign-in duration that is both set and reset."""
    refuse_others(
        request,
        {
            "RoleName",
            "Description",
            "MaxSessionDuration",
            "MaxSigninSessionDuration",
            "ResetMaxSigninSessionDuration",
        },
    )
    reset = request.get("ResetMaxSigninSessionDuration", False)
    if reset and "MaxSigninSessionDuration" in request:
        raise InvalidInput("MaxSigninSessionDuration cannot be set and reset in the same request.")
    take_turn(call.tx)
    role = load_role(call, request["RoleName"])
    durations = request.keys() & {"MaxSessionDuration", "MaxSigninSessionDuration"}
    if role.service_linked is not None and (durations or reset):
        raise UnmodifiableEntity(role.name)
    call.tx.update(
        role,
        description=request.get("Description", role.description),
        session_seconds_max=request.get("MaxSessionDuration", role.session_seconds_max),
        signin_seconds_max=None if reset else request.get("MaxSigninSessionDuration", role.signin_seconds_max),
    )
    return {}


@operation(resources=role_named)
def update_role_description(call: Call, request: UpdateRoleDescriptionRequestTypeDef) -> Response:
    """The older way to change the description; answers the role."""
    refuse_others(request, {"RoleName", "Description"})
    take_turn(call.tx)
    role = call.tx.update(load_role(call, request["RoleName"]), description=request["Description"])
    return {"Role": described(role, tags_of(call.tx, [role.id])[role.id])}


@operation(resources=role_named)
def update_assume_role_policy(call: Call, request: UpdateAssumeRolePolicyRequestTypeDef) -> Response:
    """Who may assume the role from now on; sessions that there are go on. Raises MalformedPolicyDocument."""
    refuse_others(request, {"RoleName", "PolicyDocument"})
    take_turn(call.tx)
    role = load_own_role(call, request["RoleName"])
    call.tx.update(role, trust_policy=trust_policy(call, request["PolicyDocument"]))
    return {}


@operation(resources=role_named)
def delete_role(call: Call, request: DeleteRoleRequestTypeDef) -> Response:
    """A role that has nothing any more. Raises DeleteConflict."""
    refuse_others(request, {"RoleName"})
    take_turn(call.tx)
    role = load_own_role(call, request["RoleName"])
    for held, first in (
        (call.tx.count(InstanceProfile, role_id=role.id), "remove roles from instance profile"),
        (call.tx.count(PolicyAttachment, owner_id=role.id), "detach all policies"),
        (call.tx.count(InlinePolicy, owner_id=role.id), "delete policies"),
    ):
        if held:
            raise DeleteConflict(first)
    delete_tags_of(call.tx, role.id)
    call.tx.delete(role)
    forget_principal(call, role)
    return {}


@operation(resources=role_named)
def tag_role(call: Call, request: TagRoleRequestTypeDef) -> Response:
    """Raises LimitExceeded at more than 50 tags."""
    refuse_others(request, {"RoleName", "Tags"})
    pairs = tags.checked(request["Tags"], "role")
    take_turn(call.tx)
    tags.put(call, "role", load_role(call, request["RoleName"]).id, pairs)
    return {}


@operation(resources=role_named)
def untag_role(call: Call, request: UntagRoleRequestTypeDef) -> Response:
    """Keys that the role has no tag with make no difference."""
    refuse_others(request, {"RoleName", "TagKeys"})
    take_turn(call.tx)
    tags.remove(call, "role", load_role(call, request["RoleName"]).id, request["TagKeys"])
    return {}


@operation(resources=role_named)
def list_role_tags(call: Call, request: ListRoleTagsRequestTypeDef) -> Response:
    """By key."""
    refuse_others(request, {"RoleName", "Marker", "MaxItems"})
    return tags.listed(call, request, load_role(call, request["RoleName"]).id)


def summary(role: Role) -> dict[str, Any]:
    """A role in lists and in instance profiles."""
    return {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": arn(role),
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": encoded(role.trust_policy),
        **({"Description": role.description} if role.description else {}),
        "MaxSessionDuration": role.session_seconds_max,
        **({"MaxSigninSessionDuration": role.signin_seconds_max} if role.signin_seconds_max else {}),
    }


def described(role: Role, held: list[Tag]) -> dict[str, Any]:
    """A role with its boundary and tags."""
    return {
        **summary(role),
        **described_boundary(role.boundary_arn),
        **({"Tags": tags.tag_list(held)} if held else {}),
    }
