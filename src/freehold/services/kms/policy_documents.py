"""Key policies as documents.

https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
"""

from __future__ import annotations

import json
import re

from freehold.iam.document import MalformedPolicy
from freehold.iam.evaluate import Policies, Policy, evaluate
from freehold.iam.policy import who_of
from freehold.records.accounts import Account, User
from freehold.records.identities import Role
from freehold.records.ids import AccountId
from freehold.services.kms.errors import LimitExceeded, MalformedPolicyDocument
from freehold.services.operation import Call

_BYTES_MAX = 32 * 1024  # https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html
_IN_ACCOUNT = re.compile(r"arn:aws:(?:iam|sts)::([0-9]{12}):(root|user|role|assumed-role|federated-user)(?:/(.+))?")
_MAY_ALL = Policy.of('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}')


def default_policy(account_id: AccountId) -> str:
    """What a key gets that is made without a policy: the account's IAM policies decide."""
    statement = {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account_id}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return _written({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]})


def managed_policy(account_id: AccountId, region: str, service: str, through: str) -> str:
    """What an AWS managed key has: everyone in the account, but through its service (``ec2``) alone.

    https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-caller-account
    """
    through_service = {
        "Sid": f"Allow access through {service} for all principals in the account that are authorized to use {service}",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:ReEncrypt*",
            "kms:GenerateDataKey*",
            "kms:CreateGrant",
            "kms:DescribeKey",
        ],
        "Resource": "*",
        "Condition": {
            "StringEquals": {"kms:CallerAccount": account_id, "kms:ViaService": f"{through}.{region}.amazonaws.com"}
        },
    }
    metadata = {
        "Sid": "Allow direct access to key metadata to the account",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account_id}:root"},
        "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"],
        "Resource": "*",
    }
    document = {"Version": "2012-10-17", "Id": f"auto-{through}-1", "Statement": [through_service, metadata]}
    return _written(document)


def checked_policy(call: Call, text: str, key_id: str, *, bypass: bool) -> str:
    """The text, if it can be a key's policy. Unless `bypass`, it must let the caller change it again.

    Raises LimitExceededException, MalformedPolicyDocumentException.
    """
    if len(text.encode()) > _BYTES_MAX:
        raise LimitExceeded(f"A key policy can have at most {_BYTES_MAX} bytes.")
    try:
        policy = Policy.of(text, "resource")
    except MalformedPolicy as error:
        raise MalformedPolicyDocument(str(error)) from error
    for statement in policy.document.statements:
        for name in (statement.principals or {}).get("AWS", ()):
            if not _exists(call, name):
                raise MalformedPolicyDocument("Policy contains a statement with one or more invalid principals.")
    if not bypass:
        _check_not_locked_out(call, policy, key_id)
    return text


def _check_not_locked_out(call: Call, policy: Policy, key_id: str) -> None:
    """https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html ("prevent the key from becoming
    unmanageable"). Where the policy leaves it to the account, the caller's own policies have just allowed as much."""
    who = who_of(call.principal)
    policies = Policies(identity=(_MAY_ALL,), resource=policy, required=True)
    if not evaluate(who, "kms:PutKeyPolicy", call.arn(f"key/{key_id}"), lambda _key: None, policies).allowed:
        raise MalformedPolicyDocument("The new key policy will not allow you to update the key policy in the future.")


def _exists(call: Call, name: str) -> bool:
    """Whether a principal is one of this cloud."""
    if name.isdigit():
        return call.tx.get(Account, name) is not None
    match = _IN_ACCOUNT.fullmatch(name)
    if match is None:
        return True  # everyone, or a unique id: what was named before may be gone
    account_id, kind, path = match.groups()
    if call.tx.get(Account, account_id) is None:
        return False
    if kind in ("root", "federated-user"):
        return True
    folded = (path.split("/")[0] if kind == "assumed-role" else path.rpartition("/")[2]).lower()
    found = call.tx.find(User if kind == "user" else Role, account_id=account_id, folded=folded)
    return found is not None


def _written(document: object) -> str:
    """As KMS lays its own policies out."""
    return json.dumps(document, indent=2, separators=(",", " : "))
