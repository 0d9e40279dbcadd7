"""Key pairs: CreateKeyPair, ImportKeyPair, DescribeKeyPairs, DeleteKeyPair.

A private key leaves with the answer of CreateKeyPair and is kept nowhere. Fingerprints are those that AWS shows, so
that users can compare them with their own files
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import sqlalchemy as sa
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from freehold.records.compute import KeyPair, key_pairs
from freehold.records.feed import take_turn
from freehold.records.ids import new_id
from freehold.records.tags import delete_tags_of, put_tags, tags_of
from freehold.services.ec2.compute_errors import InvalidKeyFormat, InvalidKeyPairDuplicate
from freehold.services.ec2.condition_keys import keys_of
from freehold.services.ec2.errors import InvalidKeyPairNotFound, InvalidParameterValue, MissingParameter
from freehold.services.ec2.filters import conditions, text
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import KEY_PAIR, made
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.operation import Call, Needed, Response, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CreateKeyPairRequestTypeDef,
        DeleteKeyPairRequestTypeDef,
        DescribeKeyPairsRequestTypeDef,
        ImportKeyPairRequestTypeDef,
    )

PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey
PublicKey: TypeAlias = RSAPublicKey | Ed25519PublicKey

_NAME = re.compile(r"(?! )[\x20-\x7e]{1,255}(?<! )")
_MATERIAL_BYTES_MAX = 16 * 1024
_RSA_BITS = (1024, 2048, 4096)
_RFC4716 = re.compile(r"---- BEGIN SSH2 PUBLIC KEY ----\r?\n(.*)\r?\n---- END SSH2 PUBLIC KEY ----\s*", re.DOTALL)


def _named_key_pair(call: Call, request: CreateKeyPairRequestTypeDef | ImportKeyPairRequestTypeDef) -> Iterator[Needed]:
    keys: dict[str, Value] = {}
    if call.operation == "CreateKeyPair":
        keys["ec2:KeyPairType"] = str(request.get("KeyType", "rsa"))
    return made(call, request, KEY_PAIR, request["KeyName"], keys=lambda: keys)


def _new_key(_call: Call, request: CreateKeyPairRequestTypeDef) -> PrivateKey:
    """Generating an RSA key takes a tenth of a second and sometimes a whole one: too long for a write transaction."""
    if request.get("KeyType") == "ed25519":
        return Ed25519PrivateKey.generate()
    return generate_private_key(public_exponent=65537, key_size=2048)


@operation(resources=_named_key_pair, prepare=_new_key)
def create_key_pair(call: Call, request: CreateKeyPairRequestTypeDef) -> Response:
    """The private key is in this answer and nowhere else. Raises InvalidKeyPair.Duplicate."""
    refuse_others(request, {"KeyName", "KeyType", "TagSpecifications"}, {"KeyFormat": "pem"})
    _check_name(request["KeyName"])
    tags = specified(request.get("TagSpecifications"), "key-pair")["key-pair"]
    key: PrivateKey = call.prepared
    if isinstance(key, Ed25519PrivateKey):
        material = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        fingerprint = _sha256(key.public_key())
    else:
        material = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        fingerprint = _colons(hashlib.sha1(der, usedforsecurity=False).hexdigest())
    stored = _store(call, request["KeyName"], key.public_key(), fingerprint, tags)
    return {**_summary(call, stored), "KeyMaterial": material.decode()}


@operation(resources=_named_key_pair)
def import_key_pair(call: Call, request: ImportKeyPairRequestTypeDef) -> Response:
    """An RSA or ED25519 key in any of the forms that `parse_public_key` takes. Raises InvalidKeyPair.Duplicate."""
    refuse_others(request, {"KeyName", "PublicKeyMaterial", "TagSpecifications"})
    _check_name(request["KeyName"])
    tags = specified(request.get("TagSpecifications"), "key-pair")["key-pair"]
    key = parse_public_key(cast(bytes, request["PublicKeyMaterial"]))
    if isinstance(key, RSAPublicKey):
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        fingerprint = _colons(hashlib.md5(der, usedforsecurity=False).hexdigest())
    else:
        fingerprint = _sha256(key)
    return _summary(call, _store(call, request["KeyName"], key, fingerprint, tags))


@operation()
def describe_key_pairs(call: Call, request: DescribeKeyPairsRequestTypeDef) -> Response:
    """All in one answer: EC2 has no pages of them."""
    refuse_others(request, {"KeyNames", "KeyPairIds", "Filters"}, {"IncludePublicKey": request.get("IncludePublicKey")})
    filters = {
        "fingerprint": text(key_pairs.c.fingerprint),
        "key-name": text(key_pairs.c.name),
        "key-pair-id": text(key_pairs.c.id),
    }
    where = [*KEY_PAIR.visible(call), *conditions(call, request.get("Filters", ()), filters, key_pairs.c.id)]
    if ids := request.get("KeyPairIds"):
        KEY_PAIR.load_all(call, ids)
        where.append(key_pairs.c.id.in_(ids))
    if names := request.get("KeyNames"):
        if len(names) > 1000:
            raise InvalidParameterValue("At most 1000 key pairs may be named in a request.")
        possible = [name for name in names if _NAME.fullmatch(name)]
        present = {key.name for key in call.tx.select(KeyPair, **KEY_PAIR.owner(call), name=possible)}
        if missing := [name for name in dict.fromkeys(names) if name not in present]:
            raise InvalidKeyPairNotFound(*missing)
        where.append(key_pairs.c.name.in_(names))
    found = call.tx.select(KeyPair, *where, order_by=(key_pairs.c.name,))
    tags = tags_of(call.tx, [key.id for key in found])
    return {
        "KeyPairs": [
            {
                "KeyPairId": key.id,
                "KeyName": key.name,
                "KeyType": key.key_type,
                "KeyFingerprint": key.fingerprint,
                "CreateTime": key.created_at,
                "Tags": tag_list(tags[key.id]),
                **({"PublicKey": key.public_key} if request.get("IncludePublicKey") else {}),
            }
            for key in found
        ]
    }


def _deleted_key_pair(call: Call, request: DeleteKeyPairRequestTypeDef) -> list[Needed]:
    key = _key_to_delete(call, request)
    return [needed_named(call, key.name if key else request.get("KeyName") or "*")]


@operation(resources=_deleted_key_pair)
def delete_key_pair(call: Call, request: DeleteKeyPairRequestTypeDef) -> Response:
    """Deleting a key pair that does not exist succeeds, as in AWS. Instances keep the key that they were given."""
    if not (request.get("KeyName") or request.get("KeyPairId")):
        raise MissingParameter("KeyName")
    take_turn(call.tx)
    key = _key_to_delete(call, request)
    if key is None:
        return {"Return": True}
    delete_tags_of(call.tx, key.id)
    call.tx.delete(key)
    return {"Return": True, "KeyPairId": key.id}


def needed_named(call: Call, name: str) -> Needed:
    """A key pair as policies must allow it: its ARN has its name."""
    found = None if "\0" in name else call.tx.find(KeyPair, **KEY_PAIR.owner(call), name=name)
    arn = call.arn(f"key-pair/{name}")
    if found is None:
        return Needed(arn, keys=lambda: {"ec2:KeyPairName": name})
    return Needed(arn, keys=lambda: keys_of(call, found), tags=KEY_PAIR.needed(call, found.id).tags)


def load_named(call: Call, name: str) -> KeyPair:
    """The key pair with this name. Raises InvalidKeyPair.NotFound."""
    found = call.tx.find(KeyPair, *KEY_PAIR.visible(call), key_pairs.c.name == name) if _NAME.fullmatch(name) else None
    if found is None:
        raise InvalidKeyPairNotFound(name)
    return found


def parse_public_key(material: bytes) -> PublicKey:
    """A public key as OpenSSH, RFC 4716 or base64 encoded DER. Raises InvalidKey.Format for anything else.

    Options, certificates and comments do not come through: the key is written anew from its numbers.
    """
    if len(material) > _MATERIAL_BYTES_MAX:
        raise InvalidKeyFormat
    key: PublicKeyTypes
    try:
        written = material.decode("ascii").strip()
        if written.startswith(("ssh-rsa ", "ssh-ed25519 ")):
            key = serialization.load_ssh_public_key(written.encode())
        elif rfc4716 := _RFC4716.fullmatch(written):
            # Headers may be continued over lines that end in a backslash (RFC 4716, section 3.3).
            body = re.sub(r"\\\r?\n", "", rfc4716[1])
            blob = "".join(line.strip() for line in body.splitlines() if ":" not in line)
            algorithm = base64.b64decode(blob, validate=True)[4:].split(b"\0")[0].decode()
            key = serialization.load_ssh_public_key(f"{algorithm} {blob}".encode())
        else:
            key = serialization.load_der_public_key(base64.b64decode("".join(written.split()), validate=True))
    except (UnicodeError, binascii.Error, ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKeyFormat from error
    if isinstance(key, RSAPublicKey) and key.key_size in _RSA_BITS:
        return key
    if isinstance(key, Ed25519PublicKey):
        return key
    raise InvalidKeyFormat


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidParameterValue(
            "Invalid value for the parameter KeyName: a name has 1 to 255 printable ASCII characters and no space at "
            "its ends."
        )


def _store(call: Call, name: str, key: PublicKey, fingerprint: str, tags: dict[str, str]) -> KeyPair:
    stored = KeyPair(
        id=new_id("key"),
        account_id=call.account_id,
        region=call.region,
        name=name,
        key_type="rsa" if isinstance(key, RSAPublicKey) else "ed25519",
        fingerprint=fingerprint,
        public_key=f"{key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {name}",
        created_at=call.now,
    )
    try:
        call.tx.insert(stored)
    except sa.exc.IntegrityError as error:
        raise InvalidKeyPairDuplicate(name) from error
    put_tags(call.tx, call.account_id, call.region, KEY_PAIR.resource_type, stored.id, tags)
    return stored


def _key_to_delete(call: Call, request: DeleteKeyPairRequestTypeDef) -> KeyPair | None:
    given = {}
    if name := request.get("KeyName"):
        given["name"] = name
    if key_pair_id := request.get("KeyPairId"):
        given["id"] = key_pair_id
    if not given or any("\0" in text for text in given.values()):  # no text in the database has a NUL
        return None
    return call.tx.find(KeyPair, **KEY_PAIR.owner(call) | given)


def _summary(call: Call, key: KeyPair) -> dict[str, Any]:
    return {
        "KeyPairId": key.id,
        "KeyName": key.name,
        "KeyFingerprint": key.fingerprint,
        "Tags": tag_list(tags_of(call.tx, [key.id])[key.id]),
    }


def _sha256(key: PublicKey) -> str:
    """What ``ssh-keygen -l`` shows: a digest of the key in SSH's wire format."""
    blob = base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    return base64.b64encode(hashlib.sha256(blob).digest()).decode()


def _colons(digest: str) -> str:
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
