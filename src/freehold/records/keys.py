"""KMS keys: what they are for, their material, aliases and grants.

A key's material lies sealed by the cloud's root key (records/secrets). Tags are in records/tags, by the key's id.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from freehold.records.ids import AccountId
from freehold.records.schema import Record, table

KEY_MATERIAL = "key-material"  # the purpose that material is sealed for, its owner being the material's id

KeyState = Literal["Enabled", "Disabled", "PendingImport", "PendingDeletion"]


class Key(Record, frozen=True):
    """A KMS key. `spec`, `usage` and `origin` are KMS's words: ``SYMMETRIC_DEFAULT``, ``SIGN_VERIFY``, ``EXTERNAL``.

    `manager` AWS: the key of a service in an account (``alias/aws/ebs``). `material_id` is the material that encrypts
    now; None while material has to be imported. `rotates_at` is when the next yearly (`rotation_days`) rotation is due.
    """

    id: str
    account_id: AccountId
    region: str
    description: str
    spec: str
    usage: str
    origin: str
    manager: Literal["AWS", "CUSTOMER"]
    state: KeyState
    policy: str
    created_at: dt.datetime
    material_id: str | None = None
    deletion_at: dt.datetime | None = None
    rotation_days: int | None = None
    rotates_at: dt.datetime | None = None


class KeyMaterial(Record, frozen=True):
    """One material of a key: 256 bits, or a private key as PKCS #8. `id` is its KeyMaterialId.

    `sealed` None: it was imported and has been deleted or has expired (`expires_at`). `rotation` says how it took over
    from the one before; the first has none. An imported one that has not taken over yet is `pending`.
    """

    id: str
    key_id: str
    account_id: AccountId
    version: int
    sealed: bytes | None
    created_at: dt.datetime
    rotation: Literal["AUTOMATIC", "ON_DEMAND"] | None = None
    rotated_at: dt.datetime | None = None
    pending: bool = False
    expires_at: dt.datetime | None = None
    description: str | None = None


class KeyAlias(Record, frozen=True):
    """A name of a key: ``alias/payroll``."""

    account_id: AccountId
    region: str
    name: str
    key_id: str
    created_at: dt.datetime
    updated_at: dt.datetime


class GrantConstraints(Record, frozen=True):
    """What the encryption context has to be (None: anything) where a grant is used."""

    equals: dict[str, str] | None = None
    subset: dict[str, str] | None = None


class KeyGrant(Record, frozen=True):
    """What a principal (`grantee`, an ARN) may do with a key of `account_id`. `issuer_id` is the account that made
    it."""

    key_id: str
    id: str
    account_id: AccountId
    region: str
    issuer_id: AccountId
    name: str | None
    grantee: str
    retiree: str | None
    operations: list[str]
    constraints: GrantConstraints
    created_at: dt.datetime


keys = table(
    "kms_keys",
    Key,
    key=("id",),
    unique=(("account_id", "region", "id"),),
    indexes=(("deletion_at",), ("rotates_at",)),
)
key_materials = table(
    "kms_key_materials", KeyMaterial, key=("id",), unique=(("key_id", "version"),), indexes=(("expires_at",),)
)
key_aliases = table("kms_aliases", KeyAlias, key=("account_id", "region", "name"), indexes=(("key_id", "name"),))
key_grants = table(
    "kms_grants",
    KeyGrant,
    key=("key_id", "id"),
    unique=(("id",),),
    indexes=(("grantee", "key_id"), ("retiree", "id"), ("account_id",)),
)
