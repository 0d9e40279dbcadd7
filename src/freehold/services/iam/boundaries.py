"""Permissions boundaries: the managed policy that limits what a user or role may be allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.services.iam.errors import NoSuchEntity
from freehold.services.iam.managed_policies import find_policy, is_attachable
from freehold.services.iam.policy_errors import NoSuchPolicy, PolicyNotAttachable
from freehold.services.iam.resources import load_own_role, load_user, role_named, user_named
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        DeleteRolePermissionsBoundaryRequestTypeDef,
        DeleteUserPermissionsBoundaryRequestTypeDef,
        PutRolePermissionsBoundaryRequestTypeDef,
        PutUserPermissionsBoundaryRequestTypeDef,
    )


def checked_boundary(call: Call, policy_arn: str | None) -> str | None:
    """The ARN of a boundary that a request names, if it names one. Raises NoSuchEntity or PolicyNotAttachable."""
    if policy_arn is None:
        return None
    policy = find_policy(call, policy_arn)
    if policy is None:
        raise NoSuchPolicy(f"Scope ARN: {policy_arn} does not exist or is not attachable")
    if not is_attachable(policy):
        raise PolicyNotAttachable()
    return policy.arn


def described_boundary(policy_arn: str | None) -> dict[str, Any]:
    """The member of a user's or role's description that tells its boundary, if there is one."""
    if policy_arn is None:
        return {}
    # "Policy" is what AWS answers; its model has "PermissionsBoundaryPolicy".
    return {"PermissionsBoundary": {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": policy_arn}}


@operation(resources=user_named)
def put_user_permissions_boundary(call: Call, request: PutUserPermissionsBoundaryRequestTypeDef) -> Response:
    """Sets or replaces it."""
    refuse_others(request, {"UserName", "PermissionsBoundary"})
    take_turn(call.tx)
    user = load_user(call, request["UserName"])
    call.tx.update(user, boundary_arn=checked_boundary(call, request["PermissionsBoundary"]))
    return {}


@operation(resources=user_named)
def delete_user_permissions_boundary(call: Call, request: DeleteUserPermissionsBoundaryRequestTypeDef) -> Response:
    """From now on all that the user's policies allow is allowed. Raises NoSuchEntity if there is none."""
    refuse_others(request, {"UserName"})
    take_turn(call.tx)
    user = load_user(call, request["UserName"])
    if user.boundary_arn is None:
        raise NoSuchEntity(f"The permissions boundary of the user with name {user.name}")
    call.tx.update(user, boundary_arn=None)
    return {}


@operation(resources=role_named)
def put_role_permissions_boundary(call: Call, request: PutRolePermissionsBoundaryRequestTypeDef) -> Response:
    """Sets or replaces it, for the sessions of the role, too."""
    refuse_others(request, {"RoleName", "PermissionsBoundary"})
    take_turn(call.tx)
    role = load_own_role(call, request["RoleName"])
    call.tx.update(role, boundary_arn=checked_boundary(call, request["PermissionsBoundary"]))
    return {}


@operation(resources=role_named)
def delete_role_permissions_boundary(call: Call, request: DeleteRolePermissionsBoundaryRequestTypeDef) -> Response:
    """From now on all that the role's policies allow is allowed. Raises NoSuchEntity if there is none."""
    refuse_others(request, {"RoleName"})
    take_turn(call.tx)
    role = load_own_role(call, request["RoleName"])
    if role.boundary_arn is None:
        raise NoSuchEntity(f"The permissions boundary of the role with name {role.name}")
    call.tx.update(role, boundary_arn=None)
    return {}
