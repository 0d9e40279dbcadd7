"""Instance profiles on instances: how a server gets a role.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_switch-role-ec2.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from freehold.records.compute import Instance, ProfileAssociation, profile_associations
from freehold.records.feed import publish, take_turn
from freehold.records.identities import InstanceProfile, Role
from freehold.records.ids import InstanceId, is_ec2_id, new_id
from freehold.services.ec2.compute_errors import IncorrectInstanceState
from freehold.services.ec2.errors import (
    IncorrectState,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
)
from freehold.services.ec2.filters import Condition, constant, text
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.resources import INSTANCE, PROFILE_ASSOCIATION
from freehold.services.errors import AwsError
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import IamInstanceProfileAssociationStateType
    from mypy_boto3_ec2.type_defs import (
        AssociateIamInstanceProfileRequestTypeDef,
        DescribeIamInstanceProfileAssociationsRequestTypeDef,
        DisassociateIamInstanceProfileRequestTypeDef,
        IamInstanceProfileAssociationTypeDef,
        ReplaceIamInstanceProfileAssociationRequestTypeDef,
    )

# An association holds from the moment that it is made; it is gone as soon as it ends.
_FILTERS: dict[str, Condition] = {
    "instance-id": text(profile_associations.c.instance_id),
    "state": constant("associated"),
}


def _instance_and_role(call: Call, request: AssociateIamInstanceProfileRequestTypeDef) -> Iterator[Needed]:
    yield from _with_profile(call, request, request["InstanceId"])


def _associated_and_role(call: Call, request: ReplaceIamInstanceProfileAssociationRequestTypeDef) -> Iterator[Needed]:
    yield from _with_profile(call, request, _associated(call, request))


def _with_profile(call: Call, request: Mapping[str, Any], instance_id: str) -> Iterator[Needed]:
    """An instance, and the role that it is to get. What is wrong with the request the operation says."""
    try:
        profile = asked_for(call, request["IamInstanceProfile"])
    except AwsError:
        profile = None
    keys = {"ec2:NewInstanceProfile": arn_of(profile)} if profile is not None else {}
    yield INSTANCE.needed(call, instance_id, keys=keys)
    if profile is not None:
        yield from passed(call, profile, instance_id)


def _associated_instance(call: Call, request: DisassociateIamInstanceProfileRequestTypeDef) -> list[Needed]:
    return [INSTANCE.needed(call, _associated(call, request))]


def _associated(call: Call, request: Mapping[str, Any]) -> str:
    """The instance that an association is of; every one if there is no such association."""
    association_id = request["AssociationId"]
    known = is_ec2_id(PROFILE_ASSOCIATION.prefix, association_id)
    found = call.tx.find(ProfileAssociation, **PROFILE_ASSOCIATION.owner(call), id=association_id) if known else None
    return found.instance_id if found is not None else "*"


@operation(resources=_instance_and_role)
def associate_iam_instance_profile(call: Call, request: AssociateIamInstanceProfileRequestTypeDef) -> Response:
    """Raises IncorrectState for an instance that has a profile."""
    profile = _named(call, request["IamInstanceProfile"])
    take_turn(call.tx)
    instance = _alive(call, request["InstanceId"])
    if call.tx.find(ProfileAssociation, instance_id=instance.id) is not None:
        raise IncorrectState(f"There is an existing association for instance {instance.id}")
    made = association(call, instance.id, profile)
    call.tx.insert(made)
    publish(call.tx, "guest", instance.id)
    return {"IamInstanceProfileAssociation": _described(made, "associating")}


@operation(resources=_associated_and_role)
def replace_iam_instance_profile_association(
    call: Call, request: ReplaceIamInstanceProfileAssociationRequestTypeDef
) -> Response:
    """Another profile at once, by an association of its own."""
    profile = _named(call, request["IamInstanceProfile"])
    take_turn(call.tx)
    before = PROFILE_ASSOCIATION.load(call, request["AssociationId"])
    instance = _alive(call, before.instance_id)
    call.tx.delete(before)
    made = association(call, instance.id, profile)
    call.tx.insert(made)
    publish(call.tx, "guest", instance.id)
    return {"IamInstanceProfileAssociation": _described(made, "associating")}


@operation(resources=_associated_instance)
def disassociate_iam_instance_profile(call: Call, request: DisassociateIamInstanceProfileRequestTypeDef) -> Response:
    """Credentials that the instance has already stay good until they expire, as on EC2."""
    take_turn(call.tx)
    found = PROFILE_ASSOCIATION.load(call, request["AssociationId"])
    call.tx.delete(found)
    publish(call.tx, "guest", found.instance_id)
    return {"IamInstanceProfileAssociation": _described(found, "disassociating")}


@operation()
def describe_iam_instance_profile_associations(
    call: Call, request: DescribeIamInstanceProfileAssociationsRequestTypeDef
) -> Response:
    """Those that there are; what has ended is not shown any more."""
    not_with_ids(request, "AssociationIds")
    found = described(call, PROFILE_ASSOCIATION, request, "AssociationIds", _FILTERS)
    return {"IamInstanceProfileAssociations": [_described(row, "associated") for row in found.rows], **found.token}


def asked_for(call: Call, specification: Mapping[str, Any]) -> InstanceProfile | None:
    """The profile that IamInstanceProfile of a request names by Arn or Name, with its role; None if it names none.

    Raises InvalidParameterCombination for both, InvalidParameterValue for one that does not exist or has no role.
    """
    arn, name = specification.get("Arn") or "", specification.get("Name") or ""
    if arn and name:
        raise InvalidParameterCombination(
            "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'"
        )
    if not arn and not name:
        return None
    wanted = name or arn.rpartition("/")[2]
    found = None
    if "\0" not in wanted:
        found = call.tx.find(InstanceProfile, account_id=call.account_id, folded=wanted.lower())
    if found is None or (arn and arn_of(found) != arn):
        member, value, noun = ("arn", arn, "ARN") if arn else ("name", name, "name")
        raise InvalidParameterValue(
            f"Value ({value}) for parameter iamInstanceProfile.{member} is invalid. Invalid IAM Instance Profile {noun}"
        )
    if found.role_id is None:
        raise InvalidParameterValue(f"IAM Instance Profile '{arn_of(found)}' has no associated IAM Roles")
    return found


def passed(call: Call, profile: InstanceProfile, instance_id: str = "*") -> Iterator[Needed]:
    """That the role of a profile may be passed to EC2, for an instance that is not there yet, or for this one.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html"""
    role = call.tx.get(Role, profile.role_id) if profile.role_id is not None else None
    if role is not None:
        arn = f"arn:aws:iam::{role.account_id}:role{role.path}{role.name}"
        instance = f"arn:aws:ec2:{call.region}:{call.account_id}:instance/{instance_id}"
        keys = {"iam:PassedToService": "ec2.amazonaws.com", "iam:AssociatedResourceArn": instance}
        yield Needed(arn, "iam:PassRole", lambda: keys)


def association(call: Call, instance_id: InstanceId, profile: InstanceProfile) -> ProfileAssociation:
    """A fresh association, not written yet."""
    return ProfileAssociation(
        new_id("iip-assoc"),
        call.account_id,
        call.region,
        instance_id,
        arn_of(profile),
        profile.name,
        profile.id,
        call.now,
    )


def _named(call: Call, specification: Mapping[str, Any]) -> InstanceProfile:
    found = asked_for(call, specification)
    if found is None:
        raise MissingParameter("IamInstanceProfile")
    return found


def _alive(call: Call, instance_id: str) -> Instance:
    instance = INSTANCE.load(call, instance_id)
    if instance.state in ("shutting-down", "terminated"):
        raise IncorrectInstanceState(f"The instance '{instance.id}' is {instance.state}: it takes no profile.")
    return instance


def arn_of(profile: InstanceProfile) -> str:
    return f"arn:aws:iam::{profile.account_id}:instance-profile{profile.path}{profile.name}"


def _described(
    of: ProfileAssociation, state: IamInstanceProfileAssociationStateType
) -> IamInstanceProfileAssociationTypeDef:
    return {
        "AssociationId": of.id,
        "InstanceId": of.instance_id,
        "IamInstanceProfile": {"Arn": of.profile_arn, "Id": of.profile_id},
        "State": state,
        "Timestamp": of.associated_at,
    }
