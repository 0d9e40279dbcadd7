"""The keys of encrypted volumes, for the hosts that run them; and giving up starts for which there is none.

They are decrypted each time that they are sent and kept nowhere: a KMS key that is disabled or deleted opens nothing
from then on. What runs already runs on, as on EC2 ("no immediate effect":
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-unusable-keys.html).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from freehold.host.wire import VolumeKey
from freehold.records.compute import Instance, StateReason, Volume
from freehold.records.encryption import WrappedKey
from freehold.records.feed import take_turn
from freehold.records.ids import InstanceId
from freehold.records.instances import give_up_start
from freehold.records.keys import Key
from freehold.records.secrets import Sealer, SealError
from freehold.records.store import Transaction
from freehold.services.errors import AwsError
from freehold.services.kms.volume_keys import open_volume_key

log = structlog.get_logger()

# What AWS says of such starts; the call that asked for them succeeds.
_INVALID_STATE = StateReason(
    "Client.InvalidKMSKey.InvalidState",
    "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state",
)
_NOT_THERE = StateReason("Client.InternalError", "Client.InternalError: Client error on launch")
_OURS = StateReason("Server.InternalError", "Server.InternalError: Internal error on launch")


class _Unusable(Exception):
    """`reason` is why there is no key."""

    def __init__(self, reason: StateReason) -> None:
        super().__init__(reason.message)
        self.reason = reason


def volume_keys(
    tx: Transaction, sealer: Sealer, among: Sequence[Instance]
) -> tuple[tuple[VolumeKey, ...], dict[InstanceId, StateReason]]:
    """(the keys for those that are to run, why others can not be started that are to be)."""
    to_run = {instance.id: instance for instance in among if instance.state in ("pending", "running")}
    encrypted = [volume for volume in tx.select(Volume, instance_id=list(to_run)) if volume.encrypted]
    wrapped = {found.volume_id: found for found in tx.select(WrappedKey, volume_id=[each.id for each in encrypted])}
    keys: list[VolumeKey] = []
    hopeless: dict[InstanceId, StateReason] = {}
    for volume in encrypted:
        assert volume.instance_id is not None
        try:
            keys.append(VolumeKey(volume.id, _opened(tx, sealer, volume, wrapped.get(volume.id))))
        except _Unusable as error:
            if to_run[volume.instance_id].state == "pending":
                hopeless[volume.instance_id] = error.reason
    return tuple(keys), hopeless


def give_up(tx: Transaction, sealer: Sealer, instance_ids: Iterable[InstanceId]) -> None:
    """Have none of these start for whose volumes there is no key."""
    take_turn(tx)
    found = tx.select(Instance, id=list(instance_ids))
    _keys, hopeless = volume_keys(tx, sealer, found)
    for instance in found:
        if instance.id in hopeless:
            give_up_start(tx, instance, hopeless[instance.id])


def _opened(tx: Transaction, sealer: Sealer, volume: Volume, wrapped: WrappedKey | None) -> bytes:
    """Raises _Unusable."""
    try:
        if wrapped is not None:
            return open_volume_key(tx, sealer, volume.account_id, volume.id, wrapped.ciphertext)
    except SealError as error:
        log.error("volume key not opened", volume=volume.id, reason=str(error))
        raise _Unusable(_OURS) from None
    except AwsError:
        pass
    key = tx.get(Key, (volume.kms_key_id or "").rpartition("/")[2])
    if key is None or key.account_id != volume.account_id or key.state == "Enabled":
        raise _Unusable(_NOT_THERE)
    raise _Unusable(_INVALID_STATE)
