"""Login profiles: passwords that users sign in to the console with.

Hashing takes long on purpose, so it is done in `prepare`, before the write transaction; the transaction then sees that
the profile is still the one that was looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from freehold.records import passwords
from freehold.records.accounts import Account, User
from freehold.records.feed import take_turn
from freehold.records.identities import AccountAlias, LoginProfile, PasswordPolicy
from freehold.services.guesses import Guesses
from freehold.services.iam.errors import (
    EntityAlreadyExists,
    EntityTemporarilyUnmodifiable,
    InvalidUserType,
    NoSuchEntity,
    OldPasswordIncorrect,
    PasswordPolicyViolation,
    Throttling,
    ValidationError,
)
from freehold.services.iam.password_policy import allowed_by_policy
from freehold.services.iam.resources import load_user, user_named
from freehold.services.iam.users import own_user
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        ChangePasswordRequestTypeDef,
        CreateLoginProfileRequestTypeDef,
        DeleteLoginProfileRequestTypeDef,
        GetLoginProfileRequestTypeDef,
        UpdateLoginProfileRequestTypeDef,
    )


_guesses = Guesses()


class _NewPassword(NamedTuple):
    """The hash of a checked password, and of the one that was in use when it was checked."""

    replaced: str | None
    password_hash: str


def _first(call: Call, request: CreateLoginProfileRequestTypeDef) -> _NewPassword:
    if "Password" not in request:
        raise ValidationError("The parameter Password is required.")
    _check(call, request["Password"])
    return _NewPassword(None, passwords.hashed(request["Password"]))


@operation(resources=user_named, prepare=_first)
def create_login_profile(call: Call, request: CreateLoginProfileRequestTypeDef) -> Response:
    """Raises EntityAlreadyExists, PasswordPolicyViolation, NoSuchEntity."""
    refuse_others(request, {"UserName", "Password", "PasswordResetRequired"})
    take_turn(call.tx)
    user = _user(call, request)
    if call.tx.get(LoginProfile, user.id) is not None:
        raise EntityAlreadyExists(f"Login Profile for user {user.name}")
    profile = LoginProfile(
        user_id=user.id,
        account_id=call.account_id,
        password_hash=call.prepared.password_hash,
        previous_hashes=[],
        reset_required=request.get("PasswordResetRequired", False),
        created_at=call.now,
        changed_at=call.now,
    )
    call.tx.insert(profile)
    return {"LoginProfile": _described(profile, user)}


@operation(resources=user_named)
def get_login_profile(call: Call, request: GetLoginProfileRequestTypeDef) -> Response:
    """Says that there is a password, and whether it has to be changed."""
    refuse_others(request, {"UserName"})
    user = _user(call, request)
    return {"LoginProfile": _described(_load(call, user), user)}


def _another(call: Call, request: UpdateLoginProfileRequestTypeDef) -> _NewPassword | None:
    if "Password" not in request:
        return None
    return _successor(call, _load(call, _user(call, request)), request["Password"])


@operation(resources=user_named, prepare=_another)
def update_login_profile(call: Call, request: UpdateLoginProfileRequestTypeDef) -> Response:
    """Another password, or whether the user has to change it. Raises PasswordPolicyViolation."""
    refuse_others(request, {"UserName", "Password", "PasswordResetRequired"})
    take_turn(call.tx)
    user = _user(call, request)
    profile = _load(call, user)
    if call.prepared is not None:
        profile = _replace(call, user, profile, call.prepared)
    call.tx.update(profile, reset_required=request.get("PasswordResetRequired", profile.reset_required))
    return {}


@operation(resources=user_named)
def delete_login_profile(call: Call, request: DeleteLoginProfileRequestTypeDef) -> Response:
    """The user can not sign in with a password any more; access keys stay."""
    refuse_others(request, {"UserName"})
    take_turn(call.tx)
    call.tx.delete(_load(call, _user(call, request)))
    return {}


def _changed(call: Call, request: ChangePasswordRequestTypeDef) -> _NewPassword:
    if call.principal.kind != "user":
        raise InvalidUserType("Only IAM Users can change their own password")
    profile = _load(call, own_user(call))
    if _guesses.too_many(profile.user_id):
        raise Throttling
    if not passwords.matches(profile.password_hash, request["OldPassword"]):
        _guesses.add(profile.user_id)
        raise OldPasswordIncorrect
    return _successor(call, profile, request["NewPassword"])


@operation(resources=lambda call, _request: [allowed_by_policy(call, call.principal.owner_arn)], prepare=_changed)
def change_password(call: Call, request: ChangePasswordRequestTypeDef) -> Response:
    """The caller's own password. Raises InvalidUserType for a root or a role, AccessDenied when OldPassword is not the
    one in use, PasswordPolicyViolation."""
    refuse_others(request, {"OldPassword", "NewPassword"})
    take_turn(call.tx)
    user = own_user(call)
    profile = _replace(call, user, _load(call, user), call.prepared)
    call.tx.update(profile, reset_required=False)
    return {}


def _user(call: Call, request: Any) -> User:
    return load_user(call, request["UserName"]) if "UserName" in request else own_user(call)


def _load(call: Call, user: User) -> LoginProfile:
    profile = call.tx.get(LoginProfile, user.id)
    if profile is None:
        raise NoSuchEntity(f"Login Profile for User {user.name}")
    return profile


def _check(call: Call, password: str) -> PasswordPolicy | None:
    """The account's policy, which the password meets but for being another than before."""
    policy = call.tx.get(PasswordPolicy, call.account_id)
    account, alias = call.tx.get(Account, call.account_id), call.tx.get(AccountAlias, call.account_id)
    names = {account.name if account else "", alias.alias if alias else ""}
    for fault in passwords.faults(password, policy, frozenset(names)):
        raise PasswordPolicyViolation(fault)
    return policy


def _successor(call: Call, profile: LoginProfile, password: str) -> _NewPassword:
    policy = _check(call, password)
    before = passwords.latest(profile, policy.reuse_prevention if policy else 0)
    if any(passwords.matches(old, password) for old in before):
        raise PasswordPolicyViolation(f"Password should not be one of the last {len(before)} passwords")
    return _NewPassword(profile.password_hash, passwords.hashed(password))


def _replace(call: Call, user: User, profile: LoginProfile, new: _NewPassword) -> LoginProfile:
    """Raises EntityTemporarilyUnmodifiable when another call was faster."""
    if profile.password_hash != new.replaced:
        raise EntityTemporarilyUnmodifiable(f"Login Profile for User {user.name}")
    return call.tx.update(
        profile,
        password_hash=new.password_hash,
        previous_hashes=passwords.latest(profile, passwords.REMEMBERED_MAX),
        changed_at=call.now,
    )


def _described(profile: LoginProfile, user: User) -> dict[str, Any]:
    return {"UserName": user.name, "CreateDate": profile.created_at, "PasswordResetRequired": profile.reset_required}
