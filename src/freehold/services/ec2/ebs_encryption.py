"""Whether and under which KMS key the volumes of an account are encrypted: {Enable,Disable,Get}EbsEncryptionByDefault,
{Get,Modify,Reset}EbsDefaultKmsKeyId, and what launches do with it.

Every account begins with encryption by default, under the AWS managed key alias/aws/ebs.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from freehold.questions import KEYS_BELOW_MAX
from freehold.records.audit import service_event
from freehold.records.compute import Volume, VolumeAttachment
from freehold.records.encryption import EbsEncryption, WrappedKey, share_keys
from freehold.records.feed import take_turn
from freehold.records.ids import AccountId, is_ec2_id
from freehold.records.keys import Key
from freehold.records.snapshots import Snapshot
from freehold.services.ec2.compute_errors import InvalidParameterDependency
from freehold.services.ec2.errors import InvalidParameterValue, MissingParameter
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import VOLUME
from freehold.services.errors import AwsError, UnsupportedOperation
from freehold.services.kms.key_ids import find, key_arn
from freehold.services.kms.managed import managed_key
from freehold.services.kms.permissions import on_key
from freehold.services.kms.volume_keys import VOLUME_KEY_BYTES, context, new_volume_key, rewrapped
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CopyVolumesRequestTypeDef,
        CreateVolumeRequestTypeDef,
        DisableEbsEncryptionByDefaultRequestTypeDef,
        EbsBlockDeviceTypeDef,
        EnableEbsEncryptionByDefaultRequestTypeDef,
        GetEbsDefaultKmsKeyIdRequestTypeDef,
        GetEbsEncryptionByDefaultRequestTypeDef,
        ModifyEbsDefaultKmsKeyIdRequestTypeDef,
        ResetEbsDefaultKmsKeyIdRequestTypeDef,
    )

MANAGED_ALIAS = "alias/aws/ebs"

_KEY_NAME = re.compile(r"[A-Za-z0-9:/_-]{1,2048}")


@operation()
def get_ebs_encryption_by_default(call: Call, request: GetEbsEncryptionByDefaultRequestTypeDef) -> Response:
    """On, until the account switches it off in the region."""
    refuse_others(request, set())
    return {"EbsEncryptionByDefault": chosen(call).by_default}


@operation()
def enable_ebs_encryption_by_default(call: Call, request: EnableEbsEncryptionByDefaultRequestTypeDef) -> Response:
    """For the volumes that are made from here on."""
    refuse_others(request, set())
    return _switch(call, by_default=True)


@operation()
def disable_ebs_encryption_by_default(call: Call, request: DisableEbsEncryptionByDefaultRequestTypeDef) -> Response:
    """Volumes that are encrypted stay so."""
    refuse_others(request, set())
    return _switch(call, by_default=False)


@operation()
def get_ebs_default_kms_key_id(call: Call, request: GetEbsDefaultKmsKeyIdRequestTypeDef) -> Response:
    """The ARN of the key that was named; ``alias/aws/ebs`` where none was."""
    refuse_others(request, set())
    return {"KmsKeyId": chosen(call).kms_key_id or MANAGED_ALIAS}


@operation()
def modify_ebs_default_kms_key_id(call: Call, request: ModifyEbsDefaultKmsKeyIdRequestTypeDef) -> Response:
    """AWS looks at the key later ("if you specify an ID, alias, or ARN that is not valid, the action can appear to
    complete, but eventually fails"): launches fail then, as with a key that is disabled afterwards."""
    refuse_others(request, {"KmsKeyId"})
    if not request["KmsKeyId"]:
        raise MissingParameter("KmsKeyId")
    take_turn(call.tx)
    arn, _key = _named(call, request["KmsKeyId"])
    call.tx.put(EbsEncryption(call.account_id, call.region, chosen(call).by_default, arn))
    return {"KmsKeyId": arn}


@operation()
def reset_ebs_default_kms_key_id(call: Call, request: ResetEbsDefaultKmsKeyIdRequestTypeDef) -> Response:
    """The answer is the ARN of the key behind alias/aws/ebs."""
    refuse_others(request, set())
    take_turn(call.tx)
    call.tx.put(EbsEncryption(call.account_id, call.region, chosen(call).by_default, None))
    arn, _key = _named(call, MANAGED_ALIAS)
    return {"KmsKeyId": arn}


@dataclass(frozen=True, slots=True)
class Asked:
    """How a volume is to be encrypted; `kms_key_id` as the caller names it, None: the account's default."""

    encrypted: bool
    kms_key_id: str | None


@dataclass(frozen=True, slots=True)
class VolumeEncryption:
    """How the volumes of a launch are encrypted; without an `arn` not at all.

    `key` None: what the ARN names is not there. AWS finds that out after it has answered the call; so do the
    controllers here, which give up the launch (control/volume_keys.py).
    """

    arn: str | None = None
    key: Key | None = None


def chosen(call: Call) -> EbsEncryption:
    """What the account has chosen in the region."""
    found = call.tx.get(EbsEncryption, call.account_id, call.region)
    return found or EbsEncryption(call.account_id, call.region)


def asked_for(call: Call, ebs: EbsBlockDeviceTypeDef | CopyVolumesRequestTypeDef | CreateVolumeRequestTypeDef) -> Asked:
    """Where encryption is the default, Encrypted=false makes no difference ("the EBS volumes that you create are always
    encrypted"). Raises InvalidParameterDependency for a key without encryption."""
    encrypted = bool(ebs.get("Encrypted")) or chosen(call).by_default
    named = ebs.get("KmsKeyId") or None
    if named is not None and not encrypted:
        raise InvalidParameterDependency("KmsKeyId", "Encrypted")
    return Asked(encrypted, named)


def of_copy(request: Mapping[str, Any]) -> Any:
    """What a request asks of the encryption of a copy, as of a volume's: a key is enough."""
    named = {"KmsKeyId": request["KmsKeyId"]} if request.get("KmsKeyId") else {}
    return {"Encrypted": bool(request.get("Encrypted")) or bool(named), **named}


def over(call: Call, source: Snapshot | Volume | None, asked: Asked) -> Asked:
    """How a volume over a snapshot, or the copy of a volume, is encrypted that is `asked` for so. Over an encrypted one
    it is so in any case: under the key that is named, else that one's, or the account's default over another account's.

    Raises UnsupportedOperation over one whose layers have too many keys already.
    https://docs.aws.amazon.com/ebs/latest/userguide/encryption-examples.html#ebs-volume-encryption-outcomes
    """
    if source is None or not source.encrypted:
        return asked
    own = source.kms_key_id if source.account_id == call.account_id else None
    over = Asked(encrypted=True, kms_key_id=asked.kms_key_id or own)
    changes = arn_of(call, over) != source.kms_key_id
    if changes and call.tx.count(WrappedKey, volume_id=source.id) > KEYS_BELOW_MAX:
        raise UnsupportedOperation(f"A volume over layers of {KEYS_BELOW_MAX} other keys: copy the snapshot first")
    return over


def resolved(call: Call, asked: Asked) -> VolumeEncryption:
    """The key to be used; the account's AWS managed key is made if it is needed and not there yet."""
    if not asked.encrypted:
        return VolumeEncryption()
    return VolumeEncryption(*_named(call, asked.kms_key_id or chosen(call).kms_key_id or MANAGED_ALIAS))


def give_key(call: Call, volume: Volume, snapshot: Snapshot | None, encryption: VolumeEncryption) -> None:
    """Give an encrypted volume what opens it: its snapshot's key if that is under the same KMS key, else one of its
    own. None if a KMS key can not be used: AWS finds that out after it has answered the call, too."""
    source = snapshot if snapshot is not None and snapshot.encrypted else None
    if source is not None and encryption.arn == source.kms_key_id:
        share_keys(call.tx, source.id, volume.id, volume.account_id)
    elif encryption.key is not None:
        _make_key(call, volume, source, encryption.key)


def _make_key(call: Call, volume: Volume, source: Snapshot | None, key: Key) -> None:
    """A new key. What lies below was written under other ones: they are encrypted anew under the volume's KMS key, so
    that the volume needs the snapshot's no more, whatever becomes of that and of the snapshot."""
    below = call.tx.select(WrappedKey, volume_id=source.id) if source is not None else []
    if source is not None and not below:
        return
    try:
        ciphertext = new_volume_key(call.tx, call.sealer, key, volume.id)
        made = [WrappedKey(volume.id, volume.account_id, ciphertext, volume.id)]
        for each in below:
            ciphertext = rewrapped(call.tx, call.sealer, key, each.made_for, each.ciphertext)
            made.append(WrappedKey(volume.id, volume.account_id, ciphertext, each.made_for, below=True))
    except AwsError:
        return  # as in `VolumeEncryption`
    call.tx.insert(*made)
    parameters = {"keyId": key_arn(key), "encryptionContext": context(volume.id), "numberOfBytes": VOLUME_KEY_BYTES}
    _note(call, call.account_id, "GenerateDataKeyWithoutPlaintext", parameters)
    for each in below:
        parameters = {
            "sourceKeyId": source.kms_key_id if source is not None else None,
            "sourceEncryptionContext": context(each.made_for),
            "destinationKeyId": key_arn(key),
            "destinationEncryptionContext": context(each.made_for),
        }
        for account_id in {call.account_id, each.account_id}:  # its owner sees who has used the key
            _note(call, account_id, "ReEncrypt", parameters)


def _note(call: Call, account_id: AccountId, name: str, parameters: dict[str, Any]) -> None:
    """EBS's call of KMS, for the trail."""
    where = (call.now, account_id, call.region)
    call.tx.acts.append(service_event(*where, "kms", name, parameters=parameters, invoked_by="ec2"))


def to_create(call: Call, asked: Asked, source: Snapshot | Volume | None = None) -> list[Needed]:
    """What a new volume, over a snapshot or as a copy, needs of the key that it is to be encrypted under, and of its
    source's.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html#ebs-encryption-permissions
    """
    if not asked.encrypted:
        return []
    named = asked.kms_key_id or chosen(call).kms_key_id or MANAGED_ALIAS
    needed = _needed(call, [named], "kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant")
    if source is not None and source.kms_key_id not in (None, arn_of(call, asked)):
        needed += _needed(call, [named], "kms:ReEncryptTo") + to_read(call, source)
    return needed


def to_read(call: Call, source: Snapshot | Volume) -> list[Needed]:
    """What a volume or copy under another key needs of its source's key, which may be another account's.

    https://docs.aws.amazon.com/ebs/latest/userguide/share-kms-key.html
    """
    return to_decrypt(call, source, "kms:ReEncryptFrom", "kms:CreateGrant")


def to_decrypt(call: Call, source: Snapshot | Volume, *more: str) -> list[Needed]:
    """What reading blocks of a snapshot needs of its key, which is in the snapshot's region; and `more` actions.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-permissions.html#ebsapi-kms-permissions
    """
    there = replace(call, region=source.region)
    names = [] if source.kms_key_id is None else [source.kms_key_id]
    return _needed(there, names, "kms:Decrypt", *more)


def to_attach(call: Call, volume_id: str) -> list[Needed]:
    """What attaching a volume needs of the key that it is encrypted under."""
    volume = VOLUME.find(call, volume_id)
    return _needed(call, [volume.kms_key_id], "kms:CreateGrant") if volume and volume.kms_key_id else []


def to_start(call: Call, instance_ids: Iterable[str]) -> list[Needed]:
    """What starting instances needs of the keys that their volumes are encrypted under."""
    owner: dict[str, Any] = {"account_id": call.account_id, "region": call.region}
    ids = [each for each in instance_ids if is_ec2_id("i", each)]
    attachments = call.tx.select(VolumeAttachment, instance_id=ids, **owner)
    attached = call.tx.select(Volume, id=[each.volume_id for each in attachments], **owner)
    return _needed(call, {volume.kms_key_id for volume in attached if volume.kms_key_id}, "kms:CreateGrant")


def arn_of(call: Call, asked: Asked) -> str | None:
    """The ARN of the key that is asked for, if it is there."""
    named = asked.kms_key_id or chosen(call).kms_key_id or MANAGED_ALIAS
    key = _found(call, named) if asked.encrypted else None
    return None if key is None else key_arn(key)


def _needed(call: Call, names: Iterable[str], *actions: str) -> list[Needed]:
    """That KMS may do this for the caller with these keys. The policy of an AWS managed one lets in its whole account,
    and nobody else."""
    found = {key.id: key for key in (_found(call, named) for named in names) if key is not None}
    via = {"ViaService": f"ec2.{call.region}.amazonaws.com", "GrantIsForAWSResource": "true"}
    return [
        on_key(call, key, {}, action=action, **via)
        for key in found.values()
        if key.manager == "CUSTOMER" or key.account_id != call.account_id
        for action in actions
    ]


def _switch(call: Call, *, by_default: bool) -> dict[str, Any]:
    take_turn(call.tx)
    call.tx.put(EbsEncryption(call.account_id, call.region, by_default, chosen(call).kms_key_id))
    return {"EbsEncryptionByDefault": by_default}


def _named(call: Call, named: str) -> tuple[str, Key | None]:
    """(the ARN, the key) that a key's name in a request stands for. Raises InvalidParameterValue."""
    if not _KEY_NAME.fullmatch(named):
        raise InvalidParameterValue("Invalid value for KmsKeyId: not the id, alias or ARN of a KMS key.")
    arn_of = f"arn:aws:kms:{call.region}:{call.account_id}:"
    if named.removeprefix(arn_of) == MANAGED_ALIAS:
        managed = managed_key(call.tx, call.sealer, call.account_id, call.region, MANAGED_ALIAS)
        return key_arn(managed), managed
    key = _found(call, named)
    if key is not None:
        return key_arn(key), key
    return named if named.startswith("arn:") else f"{arn_of}{named if '/' in named else f'key/{named}'}", None


def _found(call: Call, named: str) -> Key | None:
    try:
        return find(call, named)
    except AwsError:
        return None
