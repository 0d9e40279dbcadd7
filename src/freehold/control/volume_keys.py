"""The keys of encrypted volumes, for the hosts that run them; and giving up starts for which there is none.

They are decrypted each time that they are sent and kept nowhere: a KMS key that is disabled or deleted opens nothing
from then on. What runs already runs on, as on EC2 ("no immediate effect":
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-unusable-keys.html).
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from freehold.control.acts import Acts
from freehold.host.wire import VolumeKey
from freehold.records.audit import service_event
from freehold.records.compute import Instance, StateReason, Volume, VolumeAttachment
from freehold.records.encryption import WrappedKey, keys_of
from freehold.records.feed import publish, take_turn
from freehold.records.ids import InstanceId, SnapshotId, VolumeId
from freehold.records.instances import give_up_start
from freehold.records.keys import Key
from freehold.records.secrets import Sealer, SealError
from freehold.records.snapshots import Snapshot
from freehold.records.store import Transaction
from freehold.records.volumes import begin_deleting, let_go
from freehold.services.errors import AwsError
from freehold.services.kms.volume_keys import context, open_volume_keys

log = structlog.get_logger()

# What AWS says of such starts; the call that asked for them succeeds.
_INVALID_STATE = StateReason(
    "Client.InvalidKMSKey.InvalidState",
    "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state",
)
_NOT_THERE = StateReason("Client.InternalError", "Client.InternalError: Client error on launch")
_OURS = StateReason("Server.InternalError", "Server.InternalError: Internal error on launch")


@dataclass(frozen=True, slots=True)
class Hopeless:
    """An instance that can not start, or a volume that can not be attached to it or, without one, not be made."""

    volume_id: VolumeId
    instance_id: InstanceId | None
    reason: StateReason


class _Unusable(Exception):
    """`reason` is why there is no key."""

    def __init__(self, reason: StateReason) -> None:
        super().__init__(reason.message)
        self.reason = reason


class VolumeKeys:
    """Opens the keys that hosts are told of. The first time for each start of an instance is an act of EBS, which the
    account's trail has: the same host is told the same again with whatever else changes.

    What was told is kept by host, as long as it is true there: a volume of an instance that runs, or a snapshot that is
    still to be taken."""

    def __init__(self, sealer: Sealer, acts: Acts) -> None:
        self._sealer = sealer
        self._acts = acts
        self._started: dict[str, dict[tuple[str, str], str]] = {}  # by volume and instance: when that was started
        self._pending: dict[str, set[str]] = {}  # the ids of snapshots

    @property
    def remembered(self) -> int:
        """How many volumes and snapshots it remembers to have told of."""
        return sum(map(len, (*self._started.values(), *self._pending.values())))

    def of(
        self,
        tx: Transaction,
        host_id: str,
        among: Sequence[Instance],
        to_make: Sequence[Volume] = (),
        *,
        complete: bool = False,
    ) -> tuple[tuple[VolumeKey, ...], list[Hopeless]]:
        """As `volume_keys`, for one host. `complete`: it has no other instances."""
        keys, hopeless = volume_keys(tx, self._sealer, among, to_make)
        starts = {instance.id: instance.launched_at.isoformat() for instance in among}
        opened = {volume.id: volume for volume in tx.select(Volume, id=[key.volume_id for key in keys])}
        before = self._started.get(host_id, {})
        now: dict[tuple[str, str], str] = {}
        for owner in tx.select(VolumeAttachment, volume_id=list(opened), instance_id=list(starts)):
            told = (owner.volume_id, owner.instance_id)
            now[told] = starts[owner.instance_id]
            if before.get(told) != now[told]:
                self._acts.add(_decrypted(tx, opened[owner.volume_id]))
        others = {} if complete else {told: start for told, start in before.items() if told[1] not in starts}
        self._started[host_id] = others | now
        return keys, hopeless

    def of_snapshots(self, tx: Transaction, host_id: str, pending: Sequence[Snapshot]) -> tuple[VolumeKey, ...]:
        """As `snapshot_keys`, for one host."""
        before = self._pending.get(host_id, set())
        now = {snapshot.id: snapshot for snapshot in pending if snapshot.encrypted}
        for snapshot_id in now.keys() - before:
            self._acts.add(_decrypted(tx, now[snapshot_id]))
        others = {each.id for each in tx.select(Snapshot, id=list(before - now.keys()), state="pending")}
        self._pending[host_id] = others | now.keys()
        return snapshot_keys(tx, self._sealer, pending)


def _decrypted(tx: Transaction, volume: Volume | Snapshot) -> str:
    """EBS's call of Decrypt, as CloudTrail shows it.

    https://docs.aws.amazon.com/kms/latest/developerguide/ct-ec2one.html"""
    return service_event(
        tx.now,
        volume.account_id,
        volume.region,
        "kms",
        "Decrypt",
        parameters={"encryptionContext": context(VolumeId(volume.id)), "encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
        resources=[{"accountId": volume.account_id, "type": "AWS::KMS::Key", "ARN": volume.kms_key_id}],
        invoked_by="ec2",
        read_only=True,
    )


def volume_keys(
    tx: Transaction, sealer: Sealer, among: Sequence[Instance], to_make: Sequence[Volume] = ()
) -> tuple[tuple[VolumeKey, ...], list[Hopeless]]:
    """(the keys for those that are to run or to hibernate and for volumes that are to be made, what there is no key
    for)."""
    needy = {instance.id: instance for instance in among if _needs_keys(instance)}
    owners: dict[str, list[VolumeAttachment]] = defaultdict(list)
    for attachment in tx.select(VolumeAttachment, instance_id=list(needy)):
        owners[attachment.volume_id].append(attachment)
    encrypted = [volume for volume in (*tx.select(Volume, id=list(owners)), *to_make) if volume.encrypted]
    wrapped = keys_of(tx, [volume.id for volume in encrypted])
    keys: list[VolumeKey] = []
    hopeless: list[Hopeless] = []
    for volume in encrypted:
        try:
            keys.append(_opened(tx, sealer, volume, wrapped[volume.id]))
        except _Unusable as error:
            if volume.state == "creating":
                hopeless.append(Hopeless(volume.id, None, error.reason))
            hopeless += [
                Hopeless(volume.id, owner.instance_id, error.reason)
                for owner in owners[volume.id]
                if needy[owner.instance_id].state == "pending" or owner.state == "attaching"
            ]
    return tuple(keys), hopeless


def _needs_keys(instance: Instance) -> bool:
    return instance.state in ("pending", "running") or (instance.state == "stopping" and instance.hibernate)


def snapshot_keys(tx: Transaction, sealer: Sealer, pending: Sequence[Snapshot]) -> tuple[VolumeKey, ...]:
    """The keys of the volumes of which snapshots are to be taken; none of those whose KMS key can not be used."""
    copies = [snapshot for snapshot in pending if snapshot.source_id is not None]
    keys: dict[str, VolumeKey] = {each.volume_id: each for each in _keys_of_copies(tx, sealer, copies)}
    taken = {each.id: each for each in pending if each.source_id is None}
    for key in _keys_of(tx, sealer, list(taken.values())):
        volume_id = taken[SnapshotId(key.volume_id)].volume_id
        keys[volume_id] = msgspec.structs.replace(key, volume_id=volume_id)
    return tuple(keys.values())


def _keys_of_copies(tx: Transaction, sealer: Sealer, copies: Sequence[Snapshot]) -> tuple[VolumeKey, ...]:
    """Of the copies and of what they are copies of."""
    sources = [copy.source_id for copy in copies if copy.source_id is not None]
    return _keys_of(tx, sealer, [*copies, *tx.select(Snapshot, id=sources)])


def keys_on_host(tx: Transaction, sealer: Sealer, host_id: str, ids: Sequence[str]) -> tuple[VolumeKey, ...]:
    """The keys of these volumes and snapshots, as far as they are on this host and their KMS keys can be used."""
    found: list[Volume | Snapshot] = [
        *tx.select(Volume, id=list(ids), host_id=host_id),
        *tx.select(Snapshot, id=list(ids), host_id=host_id),
    ]
    return _keys_of(tx, sealer, found)


def _keys_of(tx: Transaction, sealer: Sealer, found: Sequence[Volume | Snapshot]) -> tuple[VolumeKey, ...]:
    """None of those whose KMS key can not be used."""
    encrypted = [each for each in found if each.encrypted]
    wrapped = keys_of(tx, [each.id for each in encrypted])
    keys = []
    for each in encrypted:
        with contextlib.suppress(_Unusable):
            keys.append(_opened(tx, sealer, each, wrapped[each.id]))
    return tuple(keys)


def give_up(
    tx: Transaction, sealer: Sealer, instance_ids: Iterable[InstanceId], volume_ids: Iterable[VolumeId]
) -> None:
    """Have none of these instances start, and none of these volumes be made or attached, for which there is no key.

    A volume that was to be made is gone then, as on AWS ("the action can appear to complete, but eventually fails",
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html).
    """
    take_turn(tx)
    found = {instance.id: instance for instance in tx.select(Instance, id=list(instance_ids))}
    to_make = {volume.id: volume for volume in tx.select(Volume, id=list(volume_ids), state="creating")}
    _keys, hopeless = volume_keys(tx, sealer, list(found.values()), list(to_make.values()))
    for each in hopeless:
        if each.instance_id is None:
            begin_deleting(tx, to_make[each.volume_id])
            continue
        instance = found[each.instance_id]
        attachment = tx.get(VolumeAttachment, each.volume_id, each.instance_id)
        if instance.state == "pending":
            found[instance.id] = give_up_start(tx, instance, each.reason)
        elif attachment is not None and instance.state == "running":
            let_go(tx, attachment)
            found[instance.id] = tx.update(instance, generation=instance.generation + 1)
            publish(tx, "guest", instance.id)


def _opened(tx: Transaction, sealer: Sealer, volume: Volume | Snapshot, wrapped: Sequence[WrappedKey]) -> VolumeKey:
    """Raises _Unusable."""
    try:
        if (found := open_volume_keys(tx, sealer, wrapped)) is not None:
            return VolumeKey(volume.id, *found)
    except SealError as error:
        log.error("volume key not opened", volume=volume.id, reason=str(error))
        raise _Unusable(_OURS) from None
    except AwsError:
        pass
    key = tx.get(Key, (volume.kms_key_id or "").rpartition("/")[2])
    if key is None or key.state == "Enabled":
        raise _Unusable(_NOT_THERE)
    raise _Unusable(_INVALID_STATE)
