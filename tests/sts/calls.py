"""What tests of STS share: a front door, users with MFA devices, and refusals."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyotp
import pytest
from botocore.exceptions import ClientError

from freehold.records.accounts import User
from freehold.records.identities import MfaDevice
from freehold.records.mfa import step_of
from freehold.records.secrets import MFA_DEVICE
from tests.cloudapi import ApiServer, Keys


@dataclass(frozen=True)
class Person:
    """A user, their key and their MFA device."""

    user: User
    keys: Keys
    serial: str
    seed: str

    def code(self) -> str:
        """The code that the device shows."""
        return pyotp.TOTP(self.seed).now()


def person(api: ApiServer, name: str) -> Person:
    """A user with an enabled MFA device and without any policy."""
    keys = api.create_user(name)
    serial, seed = f"arn:aws:iam::{api.account_id}:mfa/{name}", pyotp.random_base32()
    with api.store.write() as tx:
        user = tx.find(User, account_id=api.account_id, name=name)
        assert user is not None
        sealed = api.sealer.seal(MFA_DEVICE, serial, seed.encode())
        used = step_of(tx.now) - 5
        tx.insert(MfaDevice(serial, api.account_id, user.id, sealed, tx.now, tx.now, used, 0))
    return Person(user, keys, serial, seed)


def keys_of(answer: dict[str, Any]) -> Keys:
    """The credentials that an answer of STS has."""
    given = answer["Credentials"]
    return Keys(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


@contextmanager
def refused(code: str, message: str = "") -> Any:
    """The context in which a call must fail with this code and a message that contains this text."""
    with pytest.raises(ClientError) as caught:
        yield
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    assert message in error["Message"]
