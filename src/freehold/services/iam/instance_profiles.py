"""Instance profiles: what gives a role to instances. One holds one role at most.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_switch-role-ec2_instance-profiles.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.identities import InstanceProfile, Role, instance_profiles
from freehold.records.ids import new_iam_id
from freehold.records.tags import Tag, delete_tags_of, tags_of
from freehold.services.iam import tags
from freehold.services.iam.errors import DeleteConflict, EntityAlreadyExists, LimitExceeded, NoSuchEntity
from freehold.services.iam.paging import page, under
from freehold.services.iam.resources import (
    all_under,
    arn,
    arn_of,
    created,
    load_own_role,
    load_profile,
    load_role,
    passed,
    profile_named,
    role_named,
)
from freehold.services.iam.roles import summary as role_summary
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        AddRoleToInstanceProfileRequestTypeDef,
        CreateInstanceProfileRequestTypeDef,
        DeleteInstanceProfileRequestTypeDef,
        GetInstanceProfileRequestTypeDef,
        ListInstanceProfilesForRoleRequestTypeDef,
        ListInstanceProfilesRequestTypeDef,
        ListInstanceProfileTagsRequestTypeDef,
        RemoveRoleFromInstanceProfileRequestTypeDef,
        TagInstanceProfileRequestTypeDef,
        UntagInstanceProfileRequestTypeDef,
    )

MAX_PROFILES = 1000


@operation(resources=created("InstanceProfileName", InstanceProfile))
def create_instance_profile(call: Call, request: CreateInstanceProfileRequestTypeDef) -> Response:
    """Without a role yet. Raises EntityAlreadyExists, also for a name that differs by its case alone, LimitExceeded."""
    refuse_others(request, {"InstanceProfileName", "Path", "Tags"})
    pairs = tags.checked(request.get("Tags"), "instance-profile")
    take_turn(call.tx)
    name = request["InstanceProfileName"]
    if call.tx.count(InstanceProfile, account_id=call.account_id, folded=name.lower()):
        raise EntityAlreadyExists(f"Instance Profile {name}")
    if call.tx.count(InstanceProfile, account_id=call.account_id) >= MAX_PROFILES:
        raise LimitExceeded("InstanceProfilesPerAccount", MAX_PROFILES)
    path = request.get("Path", "/")
    profile = InstanceProfile(new_iam_id("AIPA"), call.account_id, name, name.lower(), path, None, call.now)
    call.tx.insert(profile)
    tags.put(call, "instance-profile", profile.id, pairs)
    return {"InstanceProfile": _described(call, profile)}


@operation(resources=profile_named)
def get_instance_profile(call: Call, request: GetInstanceProfileRequestTypeDef) -> Response:
    """With its role."""
    refuse_others(request, {"InstanceProfileName"})
    return {"InstanceProfile": _described(call, load_profile(call, request["InstanceProfileName"]))}


@operation(resources=all_under("instance-profile"))
def list_instance_profiles(call: Call, request: ListInstanceProfilesRequestTypeDef) -> Response:
    """By name, with their roles; as in AWS, without tags."""
    refuse_others(request, {"PathPrefix", "Marker", "MaxItems"})
    below = under(instance_profiles.c.path, request)
    found = page(call, InstanceProfile, request, *below, account_id=call.account_id)
    return {"InstanceProfiles": summaries(call, found.rows), **found.end}


@operation(resources=role_named)
def list_instance_profiles_for_role(call: Call, request: ListInstanceProfilesForRoleRequestTypeDef) -> Response:
    """Those that hold the role, by name."""
    refuse_others(request, {"RoleName", "Marker", "MaxItems"})
    role = load_role(call, request["RoleName"])
    found = page(call, InstanceProfile, request, role_id=role.id)
    return {"InstanceProfiles": summaries(call, found.rows), **found.end}


def _profile_and_role(call: Call, request: AddRoleToInstanceProfileRequestTypeDef) -> list[str | Needed]:
    """Whoever puts a role into an instance profile gives it to EC2."""
    role = call.tx.find(Role, account_id=call.account_id, folded=request["RoleName"].lower())
    role_arn = arn(role) if role else arn_of(call.account_id, "role", "/", request["RoleName"])
    return [*profile_named(call, request), passed(role_arn, "ec2.amazonaws.com")]


@operation(resources=_profile_and_role)
def add_role_to_instance_profile(call: Call, request: AddRoleToInstanceProfileRequestTypeDef) -> Response:
    """Raises LimitExceeded if it holds one already, the same or another."""
    refuse_others(request, {"InstanceProfileName", "RoleName"})
    take_turn(call.tx)
    profile = load_profile(call, request["InstanceProfileName"])
    role = load_own_role(call, request["RoleName"])
    if profile.role_id is not None:
        raise LimitExceeded("InstanceSessionsPerInstanceProfile", 1)
    call.tx.update(profile, role_id=role.id)
    return {}


@operation(resources=profile_named)
def remove_role_from_instance_profile(call: Call, request: RemoveRoleFromInstanceProfileRequestTypeDef) -> Response:
    """Instances with the profile get no new credentials. Raises NoSuchEntity if it does not hold the role."""
    refuse_others(request, {"InstanceProfileName", "RoleName"})
    take_turn(call.tx)
    profile = load_profile(call, request["InstanceProfileName"])
    role = load_own_role(call, request["RoleName"])
    if profile.role_id != role.id:
        raise NoSuchEntity(f"The role with name {role.name} in the instance profile {profile.name}")
    call.tx.update(profile, role_id=None)
    return {}


@operation(resources=profile_named)
def delete_instance_profile(call: Call, request: DeleteInstanceProfileRequestTypeDef) -> Response:
    """Raises DeleteConflict while it holds a role."""
    refuse_others(request, {"InstanceProfileName"})
    take_turn(call.tx)
    profile = load_profile(call, request["InstanceProfileName"])
    if profile.role_id is not None:
        raise DeleteConflict("remove roles from instance profile")
    delete_tags_of(call.tx, profile.id)
    call.tx.delete(profile)
    return {}


@operation(resources=profile_named)
def tag_instance_profile(call: Call, request: TagInstanceProfileRequestTypeDef) -> Response:
    """Raises LimitExceeded at more than 50 tags."""
    refuse_others(request, {"InstanceProfileName", "Tags"})
    pairs = tags.checked(request["Tags"], "instance-profile")
    take_turn(call.tx)
    tags.put(call, "instance-profile", load_profile(call, request["InstanceProfileName"]).id, pairs)
    return {}


@operation(resources=profile_named)
def untag_instance_profile(call: Call, request: UntagInstanceProfileRequestTypeDef) -> Response:
    """Keys that the instance profile has no tag with make no difference."""
    refuse_others(request, {"InstanceProfileName", "TagKeys"})
    take_turn(call.tx)
    profile = load_profile(call, request["InstanceProfileName"])
    tags.remove(call, "instance-profile", profile.id, request["TagKeys"])
    return {}


@operation(resources=profile_named)
def list_instance_profile_tags(call: Call, request: ListInstanceProfileTagsRequestTypeDef) -> Response:
    """By key."""
    refuse_others(request, {"InstanceProfileName", "Marker", "MaxItems"})
    return tags.listed(call, request, load_profile(call, request["InstanceProfileName"]).id)


def summaries(call: Call, profiles: Sequence[InstanceProfile]) -> list[dict[str, Any]]:
    """Instance profiles in lists, each with its role."""
    role_ids = [profile.role_id for profile in profiles if profile.role_id is not None]
    roles = {role.id: role for role in call.tx.select(Role, id=role_ids)}
    return [_summary(profile, roles.get(profile.role_id or "")) for profile in profiles]


def _summary(profile: InstanceProfile, role: Role | None) -> dict[str, Any]:
    return {
        "Path": profile.path,
        "InstanceProfileName": profile.name,
        "InstanceProfileId": profile.id,
        "Arn": arn(profile),
        "CreateDate": profile.created_at,
        "Roles": [role_summary(role)] if role else [],
    }


def _described(call: Call, profile: InstanceProfile) -> dict[str, Any]:
    (summary,) = summaries(call, [profile])
    held: list[Tag] = tags_of(call.tx, [profile.id])[profile.id]
    return {**summary, **({"Tags": tags.tag_list(held)} if held else {})}
