"""Ciphertexts of symmetric keys.

A ciphertext says which key and which of its materials made it, so that Decrypt needs no KeyId and old ones open after a
rotation::

    1 byte     version of this form: 1
    16 bytes   the key's id (a UUID)
    4 bytes    the material's version, big-endian
    16 bytes   salt
    12 bytes   nonce
    rest       AES-256-GCM of the plaintext, with its tag of 16 bytes

Each message has a key of its own, derived from the material and the salt (HKDF, RFC 5869): under one key GCM's random
nonces would be safe for 2^32 messages only (NIST SP 800-38D), and a key that makes data keys may see more. All
that stands before the nonce, and the encryption context, are authenticated with the message.
"""

from __future__ import annotations

import secrets
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from freehold.services.kms.errors import InvalidCiphertext

_FORM = struct.Struct(">B16sI16s")
_NONCE_BYTES = 12
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """What a ciphertext of a symmetric key says of itself; nothing of it is proven until it is decrypted."""

    key_id: str
    version: int
    head: bytes
    salt: bytes
    nonce: bytes
    body: bytes

    @classmethod
    def read(cls, blob: bytes) -> Ciphertext:
        """Raises InvalidCiphertextException when it is none."""
        start = _FORM.size + _NONCE_BYTES
        if len(blob) < start + _TAG_BYTES or blob[0] != 1:
            raise InvalidCiphertext()
        _, key_id, version, salt = _FORM.unpack_from(blob)
        return cls(
            str(uuid.UUID(bytes=key_id)), version, blob[: _FORM.size], salt, blob[_FORM.size : start], blob[start:]
        )

    def decrypt(self, material: bytes, context: Mapping[str, str]) -> bytes:
        """Raises InvalidCiphertextException when anything of it, or the context, is not as it was."""
        try:
            return _cipher(material, self.salt).decrypt(self.nonce, self.body, self.head + canonical(context))
        except InvalidTag:
            raise InvalidCiphertext() from None


def encrypt(key_id: str, version: int, material: bytes, plaintext: bytes, context: Mapping[str, str]) -> bytes:
    """A ciphertext under a symmetric key's material."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(_NONCE_BYTES)
    head = _FORM.pack(1, uuid.UUID(key_id).bytes, version, salt)
    return head + nonce + _cipher(material, salt).encrypt(nonce, plaintext, head + canonical(context))


def canonical(context: Mapping[str, str]) -> bytes:
    """An encryption context as bytes: the same for equal contexts, different for any others."""
    parts = [text.encode("utf-8", "surrogatepass") for pair in sorted(context.items()) for text in pair]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _cipher(material: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(hashes.SHA256(), 32, salt, b"freehold kms message").derive(material))
