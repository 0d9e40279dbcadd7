"""Typed identifiers, in the forms AWS gives them.

EC2 resources carry a prefix and 17 hexadecimal digits ("longer IDs",
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html); IAM's unique ids and access keys carry a
four-letter prefix and 16 base-32 characters (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html).
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import NewType

AccountId = NewType("AccountId", str)
InstanceId = NewType("InstanceId", str)
VolumeId = NewType("VolumeId", str)
SnapshotId = NewType("SnapshotId", str)
InterfaceId = NewType("InterfaceId", str)
VpcId = NewType("VpcId", str)
SubnetId = NewType("SubnetId", str)
GroupId = NewType("GroupId", str)
ImageId = NewType("ImageId", str)
HostId = NewType("HostId", str)

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_EC2_ID = re.compile(r"[a-z]+(?:-[a-z]+)?-(?:[0-9a-f]{8}|[0-9a-f]{17})")


def new_id(prefix: str) -> str:
    """A fresh EC2-style id: ``new_id("i")`` gives ``i-0a1b2c3d4e5f60718`` (68 random bits)."""
    return f"{prefix}-{secrets.token_hex(9)[:17]}"


def new_iam_id(prefix: str) -> str:
    """A fresh IAM-style id: ``new_iam_id("AIDA")`` gives a user's (80 random bits)."""
    return prefix + "".join(secrets.choice(_BASE32) for _ in range(16))


def new_key_id(prefix: str, account_id: AccountId) -> str:
    """A fresh access key id (``ASIA…``) in which the account is written, as in AWS's own: a bit that is set, 40 bits of
    the account's number, 39 random ones."""
    number = 1 << 79 | int(account_id) << 39 | secrets.randbits(39)
    return prefix + base64.b32encode(number.to_bytes(10, "big")).decode()


def account_of_key_id(key_id: str) -> AccountId | None:
    """The account that is written in an access key's id; None if the text is no such id."""
    try:
        number = int.from_bytes(base64.b32decode(key_id[4:]), "big")
    except (binascii.Error, ValueError):
        return None
    account = f"{number >> 39 & (1 << 40) - 1:012d}"
    return AccountId(account) if number.bit_length() == 80 and len(account) == 12 else None


def new_account_id() -> AccountId:
    """A random 12-digit account number that does not begin with 0, so that no tool reads it as octal or short."""
    return AccountId(str(secrets.randbelow(9 * 10**11) + 10**11))


def is_ec2_id(prefix: str, text: str) -> bool:
    """Whether `text` has the form of an id with this prefix (8 digits, the older form, are accepted as AWS does)."""
    return text.startswith(prefix + "-") and _EC2_ID.fullmatch(text) is not None
