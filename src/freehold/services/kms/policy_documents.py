"""Key policies as documents.

https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
"""

from __future__ import annotations

import json

from freehold.records.ids import AccountId


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


def _written(document: object) -> str:
    """As KMS lays its own policies out."""
    return json.dumps(document, indent=2, separators=(",", " : "))
