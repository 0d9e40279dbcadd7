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


def _written(document: object) -> str:
    """As KMS lays its own policies out."""
    return json.dumps(document, indent=2, separators=(",", " : "))
