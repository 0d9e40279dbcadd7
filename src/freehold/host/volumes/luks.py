"""The header of a LUKS volume, made without measuring how slow this machine's password hash is.

A volume's key is 256 random bits: nobody guesses it, so that the hash which slows down guessing is given the fewest
rounds that LUKS allows. QEMU's own way to make such a header measures for two seconds what nobody needs to know; this
one takes a hundredth of a second of one core.

LUKS On-Disk Format Specification 1.2.3
(https://gitlab.com/cryptsetup/cryptsetup/-/wikis/LUKS-standard/on-disk-format.pdf)::

    sector 0      the header proper: cipher, digest of the master key, eight slots of which the first is used
    sector 8      the first slot: the master key, split into 4,000 stripes, encrypted under the volume's key
    sector 4040   the end; in a qcow2 file the data is elsewhere
"""

from __future__ import annotations

import functools
import hashlib
import secrets
import struct
import uuid
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

HEADER_BYTES = 4040 * 512
"""What the header takes, most of it the room of slots that are never used."""

HEAD_BYTES = 208
"""What comes before the slots."""

_MAGIC = b"LUKS\xba\xbe"
_HASH = "sha256"
_MASTER_KEY_BYTES = 64  # AES-256 in XTS mode has two keys
_ITERATIONS = 1000  # the fewest that LUKS allows
_STRIPES = 4000
_SLOTS = 8
_SLOT_SECTORS = 504
_FIRST_SLOT = 8
_SLOT_USED = 0x00AC71F3
_SLOT_UNUSED = 0x0000DEAD
_DIGEST_BYTES = 20
_SALT_BYTES = 32

_HEAD = struct.Struct(">6sH32s32s32sII20s32sI40s")
_SLOT = struct.Struct(">II32sII")


def passphrase(key: bytes) -> str:
    """What opens the first slot: a volume's key as text, because QEMU takes a passphrase in UTF-8."""
    return key.hex()


def passphrases(keys: Iterable[bytes]) -> dict[str, str]:
    """What opens the first slots, by `key_id`."""
    return {key_id(key): passphrase(key) for key in keys}


def key_id(key: bytes) -> str:
    """What a header made here is named: which key opens it. The key does not follow from it."""
    return str(uuid.UUID(bytes=hashlib.sha256(b"the id of a volume's key" + key).digest()[:16], version=4))


def opened_by(header: bytes) -> str:
    """The `key_id` in the beginning of a header. Raises ValueError if there is none."""
    if len(header) < HEAD_BYTES or header[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not a LUKS header")
    *_, name = _HEAD.unpack(header[: _HEAD.size])
    return str(uuid.UUID(name.rstrip(b"\0").decode("ascii")))


def header(key: bytes) -> bytes:
    """A new header with a new master key, which `key` opens; the rest of its `HEADER_BYTES` is anything."""
    return _header(key, secrets.token_bytes(_MASTER_KEY_BYTES))


def sealed(key: bytes, plaintext: bytes) -> bytes:
    """A new LUKS volume that `key` opens, with its first sectors; `plaintext` is whole sectors."""
    master = secrets.token_bytes(_MASTER_KEY_BYTES)
    return _header(key, master).ljust(HEADER_BYTES, b"\0") + _encrypted(master, plaintext)


def _header(key: bytes, master: bytes) -> bytes:
    master_salt, slot_salt = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_SALT_BYTES)
    head = _HEAD.pack(
        *(_MAGIC, 1, b"aes", b"xts-plain64", _HASH.encode()),
        *(_FIRST_SLOT + _SLOTS * _SLOT_SECTORS, _MASTER_KEY_BYTES),
        *(_derived(master, master_salt, _DIGEST_BYTES), master_salt, _ITERATIONS),
        key_id(key).encode(),
    )
    for number in range(_SLOTS):
        place = _FIRST_SLOT + number * _SLOT_SECTORS
        used = (_SLOT_USED, _ITERATIONS, slot_salt) if number == 0 else (_SLOT_UNUSED, 0, b"")
        head += _SLOT.pack(*used, place, _STRIPES)
    slot_key = _derived(passphrase(key).encode(), slot_salt, _MASTER_KEY_BYTES)
    return head.ljust(_FIRST_SLOT * 512, b"\0") + _encrypted(slot_key, _split(master))


def _derived(secret: bytes, salt: bytes, size: int) -> bytes:
    return hashlib.pbkdf2_hmac(_HASH, secret, salt, _ITERATIONS, size)


def _split(master: bytes) -> bytes:
    """The master key in stripes, all of which are needed to have it again (section 2.4 of the specification)."""
    stripes, mixed = _stripes()
    return stripes + _xor(mixed, master)


@functools.cache
def _stripes() -> tuple[bytes, bytes]:
    """All stripes but the last, and what they are mixed to: of every header that this process makes.

    There are so many that a key is gone when a disk has lost one of them. Here it is gone with what opens the slot,
    under which they are all encrypted: to make them anew for each volume would only take time from its launch.
    """
    stripes = secrets.token_bytes((_STRIPES - 1) * _MASTER_KEY_BYTES)
    mixed = bytes(_MASTER_KEY_BYTES)
    for start in range(0, len(stripes), _MASTER_KEY_BYTES):
        mixed = _diffused(_xor(mixed, stripes[start : start + _MASTER_KEY_BYTES]))
    return stripes, mixed


def _diffused(block: bytes) -> bytes:
    size = hashlib.sha256().digest_size
    return b"".join(
        hashlib.sha256(number.to_bytes(4, "big") + block[number * size : (number + 1) * size]).digest()
        for number in range(len(block) // size)
    )


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _encrypted(key: bytes, plaintext: bytes) -> bytes:
    """Each sector by its number, from 0 (xts-plain64)."""
    algorithm = AES(key)
    sectors = []
    for number in range(len(plaintext) // 512):
        encryptor = Cipher(algorithm, XTS(number.to_bytes(16, "little"))).encryptor()
        sectors.append(encryptor.update(plaintext[number * 512 : (number + 1) * 512]))
    return b"".join(sectors)
