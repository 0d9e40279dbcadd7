"""Users: create, get, list, update, delete, and their tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freehold.records.accounts import AccessKey, Account, User, users
from freehold.records.feed import take_turn
from freehold.records.identities import (
    AccountAlias,
    InlinePolicy,
    LoginProfile,
    Membership,
    MfaDevice,
    PolicyAttachment,
)
from freehold.records.ids import new_iam_id
from freehold.records.tags import Tag, delete_tags_of, tags_of
from freehold.services.iam import tags
from freehold.services.iam.boundaries import checked_boundary, described_boundary
from freehold.services.iam.documents import forget_principal
from freehold.services.iam.errors import DeleteConflict, EntityAlreadyExists, LimitExceeded, ValidationError
from freehold.services.iam.paging import page, under
from freehold.services.iam.resources import all_under, arn, arn_of, created, find_user, load_user, user_named
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        CreateUserRequestTypeDef,
        DeleteUserRequestTypeDef,
        GetUserRequestTypeDef,
        ListUsersRequestTypeDef,
        ListUserTagsRequestTypeDef,
        TagUserRequestTypeDef,
        UntagUserRequestTypeDef,
        UpdateUserRequestTypeDef,
    )

MAX_USERS = 5000


@operation(resources=created("UserName", User))
def create_user(call: Call, request: CreateUserRequestTypeDef) -> Response:
    """A user without any right. Raises EntityAlreadyExists, also for a name that differs by its case alone."""
    refuse_others(request, {"UserName", "Path", "PermissionsBoundary", "Tags"})
    pairs = tags.checked(request.get("Tags"), "user")
    take_turn(call.tx)
    name = request["UserName"]
    if find_user(call, name) is not None:
        raise EntityAlreadyExists(f"User with name {name}")
    if call.tx.count(User, account_id=call.account_id) >= MAX_USERS:
        raise LimitExceeded("UsersPerAccount", MAX_USERS)
    user = User(
        id=new_iam_id("AIDA"),
        account_id=call.account_id,
        name=name,
        folded=name.lower(),
        path=request.get("Path", "/"),
        created_at=call.now,
        boundary_arn=checked_boundary(call, request.get("PermissionsBoundary")),
    )
    call.tx.insert(user)
    tags.put(call, "user", user.id, pairs)
    return {"User": described(user, tags_of(call.tx, [user.id])[user.id])}


@operation(resources=user_named)
def get_user(call: Call, request: GetUserRequestTypeDef) -> Response:
    """The user with a name or, without one, whose key has signed: the account's root, too."""
    refuse_others(request, {"UserName"})
    if "UserName" not in request and call.principal.kind == "root":
        return {"User": root(call)}
    user = load_user(call, request["UserName"]) if "UserName" in request else own_user(call)
    return {"User": described(user, tags_of(call.tx, [user.id])[user.id])}


@operation(resources=all_under("user"))
def list_users(call: Call, request: ListUsersRequestTypeDef) -> Response:
    """By name; as in AWS, without tags and boundaries."""
    refuse_others(request, {"PathPrefix", "Marker", "MaxItems"})
    found = page(call, User, request, *under(users.c.path, request), account_id=call.account_id)
    return {"Users": [summary(user) for user in found.rows], **found.end}


def _before_and_after(call: Call, request: UpdateUserRequestTypeDef) -> list[str | Needed]:
    """Renaming needs the right to change both the old and the new user.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_users_rename.html"""
    found = find_user(call, request["UserName"])
    path, name = (found.path, found.name) if found else ("/", request["UserName"])
    after = arn_of(call.account_id, "user", request.get("NewPath", path), request.get("NewUserName", name))
    return [*user_named(call, request), after]


@operation(resources=_before_and_after)
def update_user(call: Call, request: UpdateUserRequestTypeDef) -> Response:
    """Another name or path; keys, groups and policies stay the user's. Raises EntityAlreadyExists."""
    refuse_others(request, {"UserName", "NewPath", "NewUserName"})
    take_turn(call.tx)
    user = load_user(call, request["UserName"])
    name = request.get("NewUserName", user.name)
    other = find_user(call, name)
    if other is not None and other.id != user.id:
        raise EntityAlreadyExists(f"User with name {name}")
    call.tx.update(user, name=name, folded=name.lower(), path=request.get("NewPath", user.path))
    return {}


@operation(resources=user_named)
def delete_user(call: Call, request: DeleteUserRequestTypeDef) -> Response:
    """A user that has nothing any more. Raises DeleteConflict.
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUser.html lists what has to go first."""
    refuse_others(request, {"UserName"})
    take_turn(call.tx)
    user = load_user(call, request["UserName"])
    for held, first in (
        (call.tx.count(LoginProfile, user_id=user.id), "delete login profile"),
        (call.tx.count(AccessKey, user_id=user.id), "delete access keys"),
        (call.tx.count(MfaDevice, user_id=user.id), "delete MFA device"),
        (call.tx.count(InlinePolicy, owner_id=user.id), "delete policies"),
        (call.tx.count(PolicyAttachment, owner_id=user.id), "detach all policies"),
        (call.tx.count(Membership, user_id=user.id), "remove users from group"),
    ):
        if held:
            raise DeleteConflict(first)
    delete_tags_of(call.tx, user.id)
    call.tx.delete(user)
    forget_principal(call, user)
    return {}


@operation(resources=user_named)
def tag_user(call: Call, request: TagUserRequestTypeDef) -> Response:
    """Raises LimitExceeded at more than 50 tags."""
    refuse_others(request, {"UserName", "Tags"})
    pairs = tags.checked(request["Tags"], "user")
    take_turn(call.tx)
    tags.put(call, "user", load_user(call, request["UserName"]).id, pairs)
    return {}


@operation(resources=user_named)
def untag_user(call: Call, request: UntagUserRequestTypeDef) -> Response:
    """Keys that the user has no tag with make no difference."""
    refuse_others(request, {"UserName", "TagKeys"})
    take_turn(call.tx)
    tags.remove(call, "user", load_user(call, request["UserName"]).id, request["TagKeys"])
    return {}


@operation(resources=user_named)
def list_user_tags(call: Call, request: ListUserTagsRequestTypeDef) -> Response:
    """By key."""
    refuse_others(request, {"UserName", "Marker", "MaxItems"})
    return tags.listed(call, request, load_user(call, request["UserName"]).id)


def summary(user: User) -> dict[str, Any]:
    """A user in lists."""
    return {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.id,
        "Arn": arn(user),
        "CreateDate": user.created_at,
        **({"PasswordLastUsed": user.password_used_at} if user.password_used_at else {}),
    }


def described(user: User, held: list[Tag]) -> dict[str, Any]:
    """A user with all about it."""
    return {
        **summary(user),
        **described_boundary(user.boundary_arn),
        **({"Tags": tags.tag_list(held)} if held else {}),
    }


def own_user(call: Call) -> User:
    """The user whose key has signed. Raises ValidationError for a root or a role, who are no users."""
    user = call.tx.get(User, call.principal.owner_id) if call.principal.kind == "user" else None
    if user is None:
        raise ValidationError("Must specify userName when calling with non-User credentials")
    return user


def root_name(call: Call) -> str:
    """The root's user name: as AWS shows it, the account's alias or, without one, the account's name."""
    alias = call.tx.get(AccountAlias, call.account_id)
    return alias.alias if alias else _account(call).name


def root(call: Call) -> dict[str, Any]:
    """The account's root in the form of a user."""
    account = _account(call)
    return {
        "Path": "/",
        "UserName": root_name(call),
        "UserId": account.id,
        "Arn": f"arn:aws:iam::{account.id}:root",
        "CreateDate": account.created_at,
    }


def _account(call: Call) -> Account:
    account = call.tx.get(Account, call.account_id)
    assert account is not None, "whoever signs has an account"
    return account
