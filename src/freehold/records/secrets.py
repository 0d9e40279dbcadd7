"""Sealing of secrets before they become records.

AES-256-GCM under the cloud's root key; what a secret is for and whose it is are authenticated with it, so that a
sealed value moved to another row does not open. The root key is a file that only its owner may read.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ACCESS_KEY = "access-key"  # the purpose that an access key's secret is sealed for, its owner being the key's id
MFA_DEVICE = "mfa-device"  # the same for a device's seed, its owner being the device's ARN

_KEY_BYTES = 32
_NONCE_BYTES = 12  # NIST SP 800-38D: random 96-bit nonces are safe for 2^32 messages under one key


class SealError(Exception):
    """A sealed value or the root key can not be used; the message says what to do."""


class Sealer:
    """Seals and opens secrets with one root key of 32 bytes."""

    def __init__(self, root_key: bytes) -> None:
        if len(root_key) != _KEY_BYTES:
            raise SealError(f"The root key must be {_KEY_BYTES} bytes, not {len(root_key)}: restore it from a backup.")
        self._cipher = AESGCM(root_key)

    @classmethod
    def of(cls, data_dir: Path) -> Sealer:
        """The sealer of the cloud in `data_dir`; its root key is made at first use.

        Raises SealError when the key file is damaged.
        """
        path = data_dir / "keys" / "root.key"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"root.key.{secrets.token_hex(8)}")
        if not path.exists():
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(_KEY_BYTES))
                    file.flush()
                    os.fsync(descriptor)
                # A link fails when the name exists: of two processes that start at once the first one's key stands,
                # and no one ever reads half a key.
                if not path.exists():
                    os.link(fresh, path)
            except FileExistsError:
                pass  # the other process was first
            finally:
                fresh.unlink()
        try:
            return cls(path.read_bytes())
        except SealError as error:
            raise SealError(f"{path}: {error}") from None

    def seal(self, purpose: str, owner: str, secret: bytes) -> bytes:
        """Encrypt `secret`; it opens only for the same `purpose` (``access-key``) and `owner` (the record's id)."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, _bound_to(purpose, owner))

    def open(self, purpose: str, owner: str, sealed: bytes) -> bytes:
        """The secret. Raises SealError when it was sealed otherwise (purpose, owner, root key) or changed since."""
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, ciphertext, _bound_to(purpose, owner))
        except InvalidTag:
            raise SealError(
                f"The secret of {owner} does not open: the root key in keys/root.key is not the one it was sealed with."
            ) from None


def _bound_to(purpose: str, owner: str) -> bytes:
    return f"{purpose}\0{owner}".encode()
