"""Roles that are services' own: made and deleted for a service, changed by nobody.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create-service-linked-role.html
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from freehold.records.feed import take_turn
from freehold.records.identities import PolicyAttachment, Role, RoleDeletion
from freehold.records.ids import new_iam_id
from freehold.records.tags import delete_tags_of
from freehold.services.iam.documents import forget_principal
from freehold.services.iam.errors import EntityAlreadyExists, InvalidInput, NoSuchEntity
from freehold.services.iam.resources import arn_of, load_role, role_named
from freehold.services.iam.roles import SERVICE_ROLES_PATH, add_role, described
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        CreateServiceLinkedRoleRequestTypeDef,
        DeleteServiceLinkedRoleRequestTypeDef,
        GetServiceLinkedRoleDeletionStatusRequestTypeDef,
    )


@dataclass(frozen=True, slots=True)
class _OwnRole:
    """What AWS makes for a service: the role's name, its policy (under ``aws-service-role/``), and whether the service
    may have several, by suffix."""

    name: str
    policy: str
    suffixes: bool = False


_SERVICES: Mapping[str, _OwnRole] = {
    "autoscaling.amazonaws.com": _OwnRole(
        "AWSServiceRoleForAutoScaling", "AutoScalingServiceRolePolicy", suffixes=True
    ),
    "cloudtrail.amazonaws.com": _OwnRole("AWSServiceRoleForCloudTrail", "CloudTrailServiceRolePolicy"),
    "ec2fleet.amazonaws.com": _OwnRole("AWSServiceRoleForEC2Fleet", "AWSEC2FleetServiceRolePolicy"),
    "elasticloadbalancing.amazonaws.com": _OwnRole(
        "AWSServiceRoleForElasticLoadBalancing", "AWSElasticLoadBalancingServiceRolePolicy"
    ),
    "events.amazonaws.com": _OwnRole("AWSServiceRoleForCloudWatchEvents", "CloudWatchEventsServiceRolePolicy"),
    "rds.amazonaws.com": _OwnRole("AWSServiceRoleForRDS", "AmazonRDSServiceRolePolicy"),
    "reports.backup.amazonaws.com": _OwnRole("AWSServiceRoleForBackupReports", "AWSServiceRolePolicyForBackupReports"),
    "spot.amazonaws.com": _OwnRole("AWSServiceRoleForEC2Spot", "AWSEC2SpotServiceRolePolicy"),
    "spotfleet.amazonaws.com": _OwnRole("AWSServiceRoleForEC2SpotFleet", "AWSEC2SpotFleetServiceRolePolicy"),
    "support.amazonaws.com": _OwnRole("AWSServiceRoleForSupport", "AWSSupportServiceRolePolicy"),
}


def _created(call: Call, request: CreateServiceLinkedRoleRequestTypeDef) -> list[Needed]:
    service = request["AWSServiceName"]
    name = _name(service, request.get("CustomSuffix")) if service in _SERVICES else "*"
    made = arn_of(call.account_id, "role", f"{SERVICE_ROLES_PATH}{service}/", name)
    return [Needed(made, keys=lambda: {"iam:AWSServiceName": service})]


def _deleted(call: Call, request: GetServiceLinkedRoleDeletionStatusRequestTypeDef) -> list[str]:
    """The role is in the task's id: ``task/aws-service-role/SERVICE/NAME/UUID``."""
    path = request["DeletionTaskId"].removeprefix("task").rpartition("/")[0]
    return [arn_of(call.account_id, "role", path if path.startswith("/") else "/", "")]


@operation(resources=_created)
def create_service_linked_role(call: Call, request: CreateServiceLinkedRoleRequestTypeDef) -> Response:
    """The role with the policy that is meant for it. Raises InvalidInput for a service that has none, a suffix where
    there is to be only one, and one that is there already."""
    refuse_others(request, {"AWSServiceName", "Description", "CustomSuffix"})
    service, suffix = request["AWSServiceName"], request.get("CustomSuffix")
    own = _SERVICES.get(service)
    if own is None:
        raise InvalidInput(f"The service {service} has no service-linked role in this cloud.")
    if suffix is not None and not own.suffixes:
        raise InvalidInput(f"Custom suffix is not allowed for {service}")
    take_turn(call.tx)
    name = _name(service, suffix)
    if len(name) > 64:
        raise InvalidInput(f"The name of the role, {name}, would have more than 64 characters.")
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    role = Role(
        id=new_iam_id("AROA"),
        account_id=call.account_id,
        name=name,
        folded=name.lower(),
        path=f"{SERVICE_ROLES_PATH}{service}/",
        description=request.get("Description", ""),
        trust_policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":")),
        session_seconds_max=3600,
        boundary_arn=None,
        service_linked=service,
        created_at=call.now,
    )
    try:
        add_role(call, role)
    except EntityAlreadyExists as error:
        raise InvalidInput(
            f"Service role name {name} has been taken in this account, please try a different suffix."
        ) from error
    policy_arn = f"arn:aws:iam::aws:policy{SERVICE_ROLES_PATH}{own.policy}"
    call.tx.insert(PolicyAttachment(role.id, policy_arn, call.account_id, call.now))
    return {"Role": described(role, [])}


@operation(resources=role_named)
def delete_service_linked_role(call: Call, request: DeleteServiceLinkedRoleRequestTypeDef) -> Response:
    """It is deleted at once, as no service here acts by one; the task tells so. Raises InvalidInput."""
    refuse_others(request, {"RoleName"})
    take_turn(call.tx)
    role = load_role(call, request["RoleName"])
    if role.service_linked is None:
        raise InvalidInput(f"Role {role.name} is not a service-linked role.")
    call.tx.delete_where(PolicyAttachment, owner_id=role.id)
    delete_tags_of(call.tx, role.id)
    call.tx.delete(role)
    forget_principal(call, role)
    task_id = f"task{role.path}{role.name}/{uuid.uuid4()}"
    call.tx.insert(RoleDeletion(task_id, call.account_id, call.now))
    return {"DeletionTaskId": task_id}


@operation(resources=_deleted)
def get_service_linked_role_deletion_status(
    call: Call, request: GetServiceLinkedRoleDeletionStatusRequestTypeDef
) -> Response:
    """What has become of a deletion: for as long as its task is remembered, a day. Raises NoSuchEntity."""
    refuse_others(request, {"DeletionTaskId"})
    if not call.tx.count(RoleDeletion, task_id=request["DeletionTaskId"], account_id=call.account_id):
        raise NoSuchEntity(f"The deletion task {request['DeletionTaskId']}")
    return {"Status": "SUCCEEDED"}


def _name(service: str, suffix: str | None) -> str:
    return _SERVICES[service].name + (f"_{suffix}" if suffix else "")
