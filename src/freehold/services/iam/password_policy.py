"""What an account demands of its users' passwords. Its rules are in records/passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.identities import PasswordPolicy
from freehold.services.iam.errors import NoSuchEntity
from freehold.services.operation import Call, Needed, Request, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import UpdateAccountPasswordPolicyRequestTypeDef


def allowed_by_policy(call: Call, arn: str) -> Needed:
    """For `operation(resources=…)`: AllowUsersToChangePassword lets users do this without a policy of their own."""

    def users_may_change() -> bool:
        policy = call.tx.get(PasswordPolicy, call.account_id)
        return call.principal.kind == "user" and policy is not None and policy.users_may_change

    return Needed(arn, granted=users_may_change)


@operation(resources=lambda call, _request: [allowed_by_policy(call, "*")])
def get_account_password_policy(call: Call, _request: Request) -> Response:
    """Raises NoSuchEntity while AWS's default is in force."""
    policy = _load(call)
    answer: dict[str, Any] = {
        "MinimumPasswordLength": policy.length_min,
        "RequireSymbols": policy.symbols,
        "RequireNumbers": policy.numbers,
        "RequireUppercaseCharacters": policy.uppercase,
        "RequireLowercaseCharacters": policy.lowercase,
        "AllowUsersToChangePassword": policy.users_may_change,
        "ExpirePasswords": policy.age_days_max > 0,
        "HardExpiry": policy.hard_expiry,
    }
    if policy.age_days_max:
        answer["MaxPasswordAge"] = policy.age_days_max
    if policy.reuse_prevention:
        answer["PasswordReusePrevention"] = policy.reuse_prevention
    return {"PasswordPolicy": answer}


@operation()
def update_account_password_policy(call: Call, request: UpdateAccountPasswordPolicyRequestTypeDef) -> Response:
    """What the request leaves out gets its default, not the value that it had.
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateAccountPasswordPolicy.html"""
    call.tx.put(
        PasswordPolicy(
            account_id=call.account_id,
            length_min=request.get("MinimumPasswordLength", 6),
            symbols=request.get("RequireSymbols", False),
            numbers=request.get("RequireNumbers", False),
            uppercase=request.get("RequireUppercaseCharacters", False),
            lowercase=request.get("RequireLowercaseCharacters", False),
            users_may_change=request.get("AllowUsersToChangePassword", False),
            age_days_max=request.get("MaxPasswordAge", 0),
            reuse_prevention=request.get("PasswordReusePrevention", 0),
            hard_expiry=request.get("HardExpiry", False),
        )
    )
    return {}


@operation()
def delete_account_password_policy(call: Call, _request: Request) -> Response:
    """AWS's default is in force again. Raises NoSuchEntity when it was already."""
    take_turn(call.tx)
    call.tx.delete(_load(call))
    return {}


def _load(call: Call) -> PasswordPolicy:
    policy = call.tx.get(PasswordPolicy, call.account_id)
    if policy is None:
        raise NoSuchEntity(f"The Password Policy with domain name {call.account_id}")
    return policy
