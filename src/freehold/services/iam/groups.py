"""Groups of users, and who is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.accounts import User, users
from freehold.records.feed import take_turn
from freehold.records.identities import Group, InlinePolicy, Membership, PolicyAttachment, groups, memberships
from freehold.records.ids import new_iam_id
from freehold.services.iam.errors import DeleteConflict, EntityAlreadyExists, LimitExceeded
from freehold.services.iam.paging import page, under
from freehold.services.iam.resources import (
    all_under,
    arn,
    arn_of,
    created,
    find_group,
    group_named,
    load_group,
    load_user,
    user_named,
)
from freehold.services.iam.users import summary as user_summary
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        AddUserToGroupRequestTypeDef,
        CreateGroupRequestTypeDef,
        DeleteGroupRequestTypeDef,
        GetGroupRequestTypeDef,
        ListGroupsForUserRequestTypeDef,
        ListGroupsRequestTypeDef,
        RemoveUserFromGroupRequestTypeDef,
        UpdateGroupRequestTypeDef,
    )

MAX_GROUPS = 300
MAX_GROUPS_PER_USER = 10


@operation(resources=created("GroupName", Group))
def create_group(call: Call, request: CreateGroupRequestTypeDef) -> Response:
    """A group of nobody. Raises EntityAlreadyExists, also for a name that differs by its case alone."""
    refuse_others(request, {"GroupName", "Path"})
    take_turn(call.tx)
    name = request["GroupName"]
    if find_group(call, name) is not None:
        raise EntityAlreadyExists(f"Group with name {name}")
    if call.tx.count(Group, account_id=call.account_id) >= MAX_GROUPS:
        raise LimitExceeded("GroupsPerAccount", MAX_GROUPS)
    group = Group(new_iam_id("AGPA"), call.account_id, name, name.lower(), request.get("Path", "/"), call.now)
    call.tx.insert(group)
    return {"Group": summary(group)}


@operation(resources=group_named)
def get_group(call: Call, request: GetGroupRequestTypeDef) -> Response:
    """The group, and its users in pages, by name."""
    refuse_others(request, {"GroupName", "Marker", "MaxItems"})
    group = load_group(call, request["GroupName"])
    members = sa.select(memberships.c.user_id).where(memberships.c.group_id == group.id)
    found = page(call, User, request, users.c.id.in_(members), account_id=call.account_id)
    return {"Group": summary(group), "Users": [user_summary(user) for user in found.rows], **found.end}


@operation(resources=all_under("group"))
def list_groups(call: Call, request: ListGroupsRequestTypeDef) -> Response:
    """By name."""
    refuse_others(request, {"PathPrefix", "Marker", "MaxItems"})
    found = page(call, Group, request, *under(groups.c.path, request), account_id=call.account_id)
    return {"Groups": [summary(group) for group in found.rows], **found.end}


@operation(resources=user_named)
def list_groups_for_user(call: Call, request: ListGroupsForUserRequestTypeDef) -> Response:
    """By name."""
    refuse_others(request, {"UserName", "Marker", "MaxItems"})
    user = load_user(call, request["UserName"])
    theirs = sa.select(memberships.c.group_id).where(memberships.c.user_id == user.id)
    found = page(call, Group, request, groups.c.id.in_(theirs), account_id=call.account_id)
    return {"Groups": [summary(group) for group in found.rows], **found.end}


def _before_and_after(call: Call, request: UpdateGroupRequestTypeDef) -> list[str]:
    """Renaming needs the right to change both the old and the new group.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_groups_manage_rename.html"""
    found = find_group(call, request["GroupName"])
    path, name = (found.path, found.name) if found else ("/", request["GroupName"])
    after = arn_of(call.account_id, "group", request.get("NewPath", path), request.get("NewGroupName", name))
    return [arn_of(call.account_id, "group", path, name), after]


@operation(resources=_before_and_after)
def update_group(call: Call, request: UpdateGroupRequestTypeDef) -> Response:
    """Another name or path; users and policies stay the group's. Raises EntityAlreadyExists."""
    refuse_others(request, {"GroupName", "NewPath", "NewGroupName"})
    take_turn(call.tx)
    group = load_group(call, request["GroupName"])
    name = request.get("NewGroupName", group.name)
    other = find_group(call, name)
    if other is not None and other.id != group.id:
        raise EntityAlreadyExists(f"Group with name {name}")
    call.tx.update(group, name=name, folded=name.lower(), path=request.get("NewPath", group.path))
    return {}


@operation(resources=group_named)
def delete_group(call: Call, request: DeleteGroupRequestTypeDef) -> Response:
    """A group without users and policies. Raises DeleteConflict."""
    refuse_others(request, {"GroupName"})
    take_turn(call.tx)
    group = load_group(call, request["GroupName"])
    for held, first in (
        (call.tx.count(Membership, group_id=group.id), "remove users from group"),
        (call.tx.count(InlinePolicy, owner_id=group.id), "delete policies"),
        (call.tx.count(PolicyAttachment, owner_id=group.id), "detach all policies"),
    ):
        if held:
            raise DeleteConflict(first)
    call.tx.delete(group)
    return {}


@operation(resources=group_named)
def add_user_to_group(call: Call, request: AddUserToGroupRequestTypeDef) -> Response:
    """Adding one who is in it already makes no difference. Raises LimitExceeded at more than 10 groups of a user."""
    refuse_others(request, {"GroupName", "UserName"})
    take_turn(call.tx)
    group, user = load_group(call, request["GroupName"]), load_user(call, request["UserName"])
    if call.tx.get(Membership, group.id, user.id) is not None:
        return {}
    if call.tx.count(Membership, user_id=user.id) >= MAX_GROUPS_PER_USER:
        raise LimitExceeded("GroupsPerUser", MAX_GROUPS_PER_USER)
    call.tx.insert(Membership(group.id, user.id, call.account_id))
    return {}


@operation(resources=group_named)
def remove_user_from_group(call: Call, request: RemoveUserFromGroupRequestTypeDef) -> Response:
    """Removing one who is not in it makes no difference, as in AWS."""
    refuse_others(request, {"GroupName", "UserName"})
    take_turn(call.tx)
    group, user = load_group(call, request["GroupName"]), load_user(call, request["UserName"])
    call.tx.delete_where(Membership, group_id=group.id, user_id=user.id)
    return {}


def summary(group: Group) -> dict[str, Any]:
    """A group as every answer shows it."""
    return {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.id,
        "Arn": arn(group),
        "CreateDate": group.created_at,
    }
