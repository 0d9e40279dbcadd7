"""AWS managed keys: one for each service that encrypts in an account and region, made when it is first used.

https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

import msgspec

from freehold.records.feed import take_turn
from freehold.records.ids import AccountId
from freehold.records.keys import Key, KeyAlias
from freehold.records.secrets import Sealer
from freehold.records.store import Transaction
from freehold.services.kms import materials
from freehold.services.kms.policy_documents import managed_policy
from freehold.services.kms.specs import ENCRYPT, SPECS

_ROTATION_DAYS = 365


@dataclass(frozen=True, slots=True)
class Managed:
    """`protects` and `called` are words of the key's description and policy, `through` the service that uses it."""

    called: str
    protects: str
    through: str


MANAGED = {
    "alias/aws/ebs": Managed("EBS", "EBS volumes", "ec2"),
    "alias/aws/rds": Managed("RDS", "RDS database volumes", "rds"),
    "alias/aws/s3": Managed("S3", "S3 objects", "s3"),
    "alias/aws/secretsmanager": Managed("AWS Secrets Manager", "Secrets Manager data", "secretsmanager"),
    "alias/aws/ssm": Managed("SSM", "SSM parameters", "ssm"),
}
"""The aliases that every account has in every region from the start, without a key."""


def managed_key(tx: Transaction, sealer: Sealer, account_id: AccountId, region: str, alias: str) -> Key:
    """The account's key behind one of `MANAGED`, made if it is not there; `tx` must be able to write."""
    take_turn(tx)
    present = tx.get(KeyAlias, account_id, region, alias)
    if present is not None:
        found = tx.get(Key, present.key_id)
        assert found is not None  # nothing deletes an AWS managed key
        return found
    of = MANAGED[alias]
    key = Key(
        id=str(uuid.uuid4()),
        account_id=account_id,
        region=region,
        description=f"Default key that protects my {of.protects} when no other key is defined",
        spec="SYMMETRIC_DEFAULT",
        usage=ENCRYPT,
        origin="AWS_KMS",
        manager="AWS",
        state="PendingImport",
        policy=managed_policy(account_id, region, of.called, of.through),
        created_at=tx.now,
        rotation_days=_ROTATION_DAYS,
        rotates_at=tx.now + dt.timedelta(days=_ROTATION_DAYS),
    )
    key = with_first_material(tx, sealer, key, materials.generate(SPECS[key.spec]))
    tx.insert(key)
    tx.insert(KeyAlias(account_id, region, alias, key.id, tx.now, tx.now))
    return key


def with_first_material(tx: Transaction, sealer: Sealer, key: Key, made: bytes) -> Key:
    """Store the first material of a key that is being made; returns the key, enabled, to be stored."""
    record = materials.sealed(tx, sealer, key, 1, made)
    tx.insert(record)
    return msgspec.structs.replace(key, state="Enabled", material_id=record.id)
