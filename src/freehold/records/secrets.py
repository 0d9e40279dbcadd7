"""Sealing of secrets before they become records.

AES-256-GCM under the cloud's root key; what a secret is for and whose it is are authenticated with it, so that a
sealed value moved to another row does not open. A sealed value names the root key that it was sealed with, since there
may be several (`freehold.records.root_keys`)::

    1 byte     version of this form: 1
    8 bytes    the root key's id
    12 bytes   nonce
    rest       AES-256-GCM of the secret, with its tag of 16 bytes
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from freehold import config as configuration
from freehold.records.root_keys import KEY_BYTES, RootKeyError, RootKeys, root_keys

ACCESS_KEY = "access-key"  # the purpose that an access key's secret is sealed for, its owner being the key's id
MFA_DEVICE = "mfa-device"  # the same for a device's seed, its owner being the device's ARN

_FORM = b"\x01"
_ID_BYTES = 8
_HEAD_BYTES = len(_FORM) + _ID_BYTES
_NONCE_BYTES = 12  # NIST SP 800-38D: random 96-bit nonces are safe for 2^32 messages under one key
_TAG_BYTES = 16


class SealError(Exception):
    """A sealed value or the root key can not be used; the message says what to do."""


class Sealer:
    """Seals with the newest root key, and opens with any that there is. May be used by many threads."""

    def __init__(self, keys: bytes | RootKeys) -> None:
        """`keys` may be one root key of 32 bytes. Raises SealError."""
        self._keys = None if isinstance(keys, bytes) else keys
        self._stamp: object = None
        self._loading = threading.Lock()
        self._held: tuple[bytes, dict[bytes, AESGCM]] = (b"", {})  # the newest one's id, all of them by their ids
        if isinstance(keys, bytes):
            self._take([keys])
        else:
            self._load()

    @classmethod
    def of(cls, data_dir: Path) -> Sealer:
        """The sealer of the cloud in `data_dir`; its root key is made at first use.

        Raises SealError when the root key can not be used, ConfigError.
        """
        try:
            return cls(root_keys(data_dir, configuration.load(data_dir).root_key))
        except RootKeyError as error:
            raise SealError(str(error)) from error

    def seal(self, purpose: str, owner: str, secret: bytes) -> bytes:
        """Encrypt `secret`; it opens only for the same `purpose` (``access-key``) and `owner` (the record's id).

        In a transaction, what is sealed in it has to be stored in it: a rotation waits for transactions to end.
        """
        self._follow()
        newest, ciphers = self._held
        nonce, head = secrets.token_bytes(_NONCE_BYTES), _FORM + newest
        return head + nonce + ciphers[newest].encrypt(nonce, secret, _bound_to(head, purpose, owner))

    def open(self, purpose: str, owner: str, sealed: bytes) -> bytes:
        """The secret. Raises SealError when it was sealed otherwise (purpose, owner, root key) or changed since."""
        head, rest = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        self._follow()
        cipher = self._held[1].get(head[len(_FORM) :])
        try:
            if cipher is None or not head.startswith(_FORM) or len(rest) < _NONCE_BYTES + _TAG_BYTES:
                raise InvalidTag
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _bound_to(head, purpose, owner))
        except InvalidTag:
            raise SealError(
                f"The secret of {owner} does not open: the cloud's root key is not the one it was sealed with."
            ) from None

    def is_newest(self, sealed: bytes) -> bool:
        """Whether a value is sealed with the newest root key."""
        self._follow()
        return sealed[:_HEAD_BYTES] == _FORM + self._held[0]

    def _follow(self) -> None:
        """Take notice of a rotation: of a new root key, and of one that counts no more."""
        if self._keys is not None and self._keys.stamp() != self._stamp:
            self._load()

    def _load(self) -> None:
        assert self._keys is not None
        with self._loading:
            try:
                stamp = self._keys.stamp()  # before: what changes while they are loaded is taken notice of next time
                self._take(self._keys.load())
                self._stamp = stamp
            except RootKeyError as error:
                raise SealError(str(error)) from error

    def _take(self, keys: list[bytes]) -> None:
        if any(len(key) != KEY_BYTES for key in keys):
            raise SealError(f"The root key must be {KEY_BYTES} bytes: restore it from a backup.")
        ids = [hashlib.sha256(b"freehold root key\0" + key).digest()[:_ID_BYTES] for key in keys]
        self._held = (ids[0], {of: AESGCM(key) for of, key in zip(ids, keys, strict=True)})


def _bound_to(head: bytes, purpose: str, owner: str) -> bytes:
    return head + f"{purpose}\0{owner}".encode()
