"""Encryption of root volumes: what launches ask for, what accounts choose, and where the keys are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from freehold.control.accounts import close_account
from freehold.control.acts import Acts
from freehold.control.keys import delete_key
from freehold.control.reports import apply_report
from freehold.control.volume_keys import VolumeKeys, give_up, volume_keys
from freehold.host.wire import Report
from freehold.records.accounts import Account
from freehold.records.compute import Instance
from freehold.records.encryption import EbsEncryption, WrappedKey
from freehold.records.ids import InstanceId
from freehold.records.keys import Key
from freehold.records.snapshots import Snapshot
from freehold.records.store import Store
from tests.ec2.calls import SEALER, Caller, refused
from tests.ec2.launching import host_reports, launch, launch_one, run_one, shown, stop, terminate
from tests.ec2.snapshotting import host_took
from tests.front.audited import written

ARN = "arn:aws:kms:us-east-1:111122223333:"


def root_volume(caller: Caller, instance_id: str) -> Mapping[str, Any]:
    answer = caller.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])
    (volume,) = answer["Volumes"]
    return dict(volume)


def mapping(**ebs: Any) -> dict[str, Any]:
    return {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": ebs}]}


def new_key(caller: Caller, **request: Any) -> str:
    return str(caller.create_key(**request)["KeyMetadata"]["Arn"])


def keys_sent(caller: Caller, *instance_ids: str) -> dict[str, bytes]:
    """What the host of these instances gets, by volume."""
    with caller.store.read() as tx:
        found = tx.select(Instance, id=list(instance_ids))
        keys, _hopeless = volume_keys(tx, SEALER, found)
    return {each.volume_id: each.key for each in keys}


def wrapped(store: Store) -> list[WrappedKey]:
    with store.read() as tx:
        return tx.select(WrappedKey)


def test_volumes_are_encrypted_by_default_each_with_a_key_of_its_own(ready: Caller) -> None:
    made = [instance["InstanceId"] for instance in launch(ready, MinCount=3, MaxCount=3)["Instances"]]
    volumes = [root_volume(ready, each) for each in made]
    managed = ready.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]
    assert managed["KeyManager"] == "AWS"
    assert {(volume["Encrypted"], volume["KmsKeyId"]) for volume in volumes} == {(True, managed["Arn"])}
    sent = keys_sent(ready, *made)
    assert sent.keys() == {volume["VolumeId"] for volume in volumes}
    assert len(set(sent.values())) == 3
    assert {len(key) for key in sent.values()} == {32}
    assert not any(key in each.ciphertext for key in sent.values() for each in wrapped(ready.store))


def test_that_ebs_opens_a_key_is_in_the_trail_once_for_each_start(ready: Caller) -> None:
    instance_id, acts = run_one(ready), Acts()
    opener = VolumeKeys(SEALER, acts)

    def tell() -> None:
        with ready.store.read() as tx:
            opener.of(tx, "host-1", tx.select(Instance, id=instance_id))
        acts.record(ready.store)

    tell()
    tell()
    stop(ready, instance_id)
    tell()
    ready.start_instances(InstanceIds=[instance_id])
    tell()
    volume = root_volume(ready, instance_id)
    opened = [record for record in written(ready.store) if record["eventName"] == "Decrypt"]
    assert len(opened) == 2
    assert opened[0]["userIdentity"] == {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}
    assert opened[0]["requestParameters"]["encryptionContext"] == {"aws:ebs:id": volume["VolumeId"]}
    assert (opened[0]["resources"][0]["ARN"], opened[0]["readOnly"]) == (volume["KmsKeyId"], True)


def test_of_what_hosts_were_told_only_what_they_have_is_kept(ready: Caller) -> None:
    made = [instance["InstanceId"] for instance in launch(ready, MinCount=3, MaxCount=3)["Instances"]]
    opener = VolumeKeys(SEALER, Acts())

    def tell(*instance_ids: str, complete: bool = False) -> int:
        with ready.store.read() as tx:
            opener.of(tx, "host-1", tx.select(Instance, id=list(instance_ids)), complete=complete)
            opener.of_snapshots(tx, "host-1", tx.select(Snapshot, state="pending"))
        return opener.remembered

    assert (tell(made[0]), tell(*made), tell(*made)) == (1, 3, 3)
    terminate(ready, made[0])
    assert tell(made[0]) == 2
    terminate(ready, made[1])  # while the host is away, so that it is not told
    assert tell(made[2], complete=True) == 1
    for _ in range(3):
        snapshot_id = ready.create_snapshot(VolumeId=root_volume(ready, made[2])["VolumeId"])["SnapshotId"]
        assert tell() == 2
        host_took(ready.store, snapshot_id)
        assert tell() == 1


def test_what_stops_gets_no_keys(ready: Caller) -> None:
    instance_id = run_one(ready)
    before = keys_sent(ready, instance_id)
    ready.stop_instances(InstanceIds=[instance_id])
    assert keys_sent(ready, instance_id) == {}
    host_reports(ready.store, instance_id, "stopped")
    ready.start_instances(InstanceIds=[instance_id])
    assert keys_sent(ready, instance_id) == before


def test_a_launch_names_its_key(ready: Caller) -> None:
    arn = new_key(ready)
    ready.create_alias(AliasName="alias/disks", TargetKeyId=arn)
    for name in (arn, arn.rpartition("/")[2], "alias/disks", f"{ARN}alias/disks"):
        volume = root_volume(ready, run_one(ready, **mapping(Encrypted=True, KmsKeyId=name)))
        assert (volume["Encrypted"], volume["KmsKeyId"]) == (True, arn)


def test_encrypted_false_counts_where_encryption_is_not_the_default(ready: Caller) -> None:
    assert root_volume(ready, run_one(ready, **mapping(Encrypted=False)))["Encrypted"] is True
    assert ready.disable_ebs_encryption_by_default() == {"EbsEncryptionByDefault": False}
    plain = run_one(ready, **mapping(Encrypted=False))
    for instance_id, encrypted in (
        (plain, False),
        (run_one(ready), False),
        (run_one(ready, **mapping(Encrypted=True)), True),
    ):
        volume = root_volume(ready, instance_id)
        assert (volume["Encrypted"], "KmsKeyId" in volume) == (encrypted, encrypted)
    assert keys_sent(ready, plain) == {}
    with refused("InvalidParameterDependency"):
        launch(ready, **mapping(KmsKeyId="alias/aws/ebs"))
    found = ready.describe_volumes(Filters=[{"Name": "encrypted", "Values": ["false"]}])["Volumes"]
    assert len(found) == 2
    assert ready.enable_ebs_encryption_by_default() == {"EbsEncryptionByDefault": True}
    assert root_volume(ready, run_one(ready, **mapping(KmsKeyId="alias/aws/ebs")))["Encrypted"] is True


def test_each_account_and_region_has_its_choice(ready: Caller, stranger: Caller) -> None:
    elsewhere = Caller(ready.store, region="eu-west-1")
    ready.disable_ebs_encryption_by_default()
    for caller, by_default in ((ready, False), (stranger, True), (elsewhere, True)):
        assert caller.get_ebs_encryption_by_default() == {"EbsEncryptionByDefault": by_default}


def test_an_account_changes_its_default_key_and_resets_it(ready: Caller) -> None:
    assert ready.get_ebs_default_kms_key_id() == {"KmsKeyId": "alias/aws/ebs"}
    arn = new_key(ready)
    assert ready.modify_ebs_default_kms_key_id(KmsKeyId=arn.rpartition("/")[2]) == {"KmsKeyId": arn}
    assert ready.get_ebs_default_kms_key_id() == {"KmsKeyId": arn}
    assert root_volume(ready, run_one(ready))["KmsKeyId"] == arn
    ready.disable_ebs_encryption_by_default()
    assert ready.get_ebs_default_kms_key_id() == {"KmsKeyId": arn}
    reset = ready.reset_ebs_default_kms_key_id()["KmsKeyId"]
    assert reset == ready.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]
    assert ready.get_ebs_default_kms_key_id() == {"KmsKeyId": "alias/aws/ebs"}
    assert ready.get_ebs_encryption_by_default() == {"EbsEncryptionByDefault": False}
    with refused("InvalidParameterValue"):
        ready.modify_ebs_default_kms_key_id(KmsKeyId="<key>")
    with refused("MissingParameter"):
        ready.modify_ebs_default_kms_key_id(KmsKeyId="")


def test_a_key_goes_with_its_volume(ready: Caller) -> None:
    going, staying = run_one(ready), run_one(ready, **mapping(DeleteOnTermination=False))
    kept = root_volume(ready, staying)["VolumeId"]
    for instance_id in (going, staying):
        terminate(ready, instance_id)
    assert [each.volume_id for each in wrapped(ready.store)] == [kept]
    ready.delete_volume(VolumeId=kept)
    assert wrapped(ready.store) == []
    with ready.store.write() as tx:
        apply_report(tx, "host-1", Report((), (), (kept,)))


def test_a_closed_account_leaves_neither_keys_nor_choices(ready: Caller) -> None:
    instance_id = run_one(ready)
    ready.disable_ebs_encryption_by_default()
    with ready.store.write() as tx:
        account = tx.get(Account, ready.account)
        assert account is not None
        close_account(tx, account)
    host_reports(ready.store, instance_id, "absent")
    with ready.store.read() as tx:
        assert (tx.count(WrappedKey), tx.count(EbsEncryption)) == (0, 0)


def disable(caller: Caller, arn: str) -> None:
    caller.disable_key(KeyId=arn)


def schedule(caller: Caller, arn: str) -> None:
    caller.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)


def controllers_look(caller: Caller, instance_id: str) -> tuple[str, str]:
    """What the controllers do before they tell a host of an instance; its state and the reason for it."""
    with caller.store.write() as tx:
        give_up(tx, SEALER, [InstanceId(instance_id)], [])
    instance = shown(caller, instance_id)
    return instance["State"]["Name"], instance.get("StateReason", {}).get("Message", "").partition(":")[0]


INVALID_STATE = "Client.InvalidKMSKey.InvalidState"


@pytest.mark.parametrize("spoil", [disable, schedule])
def test_nothing_starts_under_a_key_that_can_not_be_used(ready: Caller, spoil: Callable[[Caller, str], None]) -> None:
    """The calls succeed, as AWS's do; the instances go down again. What runs runs on."""
    arn = new_key(ready)
    running, stopped = (run_one(ready, **mapping(Encrypted=True, KmsKeyId=arn)) for _ in range(2))
    stop(ready, stopped)
    before = keys_sent(ready, running)
    spoil(ready, arn)

    assert keys_sent(ready, running) == {}
    assert controllers_look(ready, running) == ("running", "")
    ready.start_instances(InstanceIds=[stopped])
    assert keys_sent(ready, stopped) == {}
    assert controllers_look(ready, stopped) == ("stopping", INVALID_STATE)
    host_reports(ready.store, stopped, "stopped")
    launched = launch_one(ready, **mapping(Encrypted=True, KmsKeyId=arn))
    assert launched["State"]["Name"] == "pending"
    assert controllers_look(ready, launched["InstanceId"]) == ("shutting-down", INVALID_STATE)
    host_reports(ready.store, launched["InstanceId"], "absent")
    assert shown(ready, launched["InstanceId"])["State"]["Name"] == "terminated"

    if spoil is schedule:
        ready.cancel_key_deletion(KeyId=arn)
    ready.enable_key(KeyId=arn)
    assert keys_sent(ready, running) == before
    ready.start_instances(InstanceIds=[stopped])
    assert controllers_look(ready, stopped) == ("pending", "pending")
    assert len(keys_sent(ready, stopped)) == 1


def test_a_key_that_is_not_there_or_not_symmetric_ends_a_launch(ready: Caller) -> None:
    signing = new_key(ready, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    for named, arn in (
        ("alias/nobodys", f"{ARN}alias/nobodys"),
        ("1234abcd-12ab-34cd-56ef-1234567890ab", f"{ARN}key/1234abcd-12ab-34cd-56ef-1234567890ab"),
        (signing, signing),
    ):
        launched = launch_one(ready, **mapping(Encrypted=True, KmsKeyId=named))["InstanceId"]
        assert root_volume(ready, launched)["KmsKeyId"] == arn
        assert controllers_look(ready, launched) == ("shutting-down", "Client.InternalError")
        host_reports(ready.store, launched, "absent")
    assert ready.modify_ebs_default_kms_key_id(KmsKeyId="alias/nobodys") == {"KmsKeyId": f"{ARN}alias/nobodys"}
    assert controllers_look(ready, launch_one(ready)["InstanceId"]) == ("shutting-down", "Client.InternalError")


def test_a_deleted_key_opens_nothing_for_ever(ready: Caller) -> None:
    arn = new_key(ready)
    instance_id = run_one(ready, **mapping(KmsKeyId=arn))
    stop(ready, instance_id)
    schedule(ready, arn)
    with ready.store.write() as tx:
        key = tx.get(Key, arn.rpartition("/")[2])
        assert key is not None
        delete_key(tx, key)
    ready.start_instances(InstanceIds=[instance_id])
    assert controllers_look(ready, instance_id) == ("stopping", "Client.InternalError")
    assert root_volume(ready, instance_id)["KmsKeyId"] == arn


def test_a_rotated_key_opens_older_volumes(ready: Caller) -> None:
    arn = new_key(ready)
    instance_id = run_one(ready, **mapping(Encrypted=True, KmsKeyId=arn))
    before = keys_sent(ready, instance_id)
    ready.rotate_key_on_demand(KeyId=arn)
    assert keys_sent(ready, instance_id) == before != {}


def test_a_ciphertext_moved_to_another_volume_does_not_open(ready: Caller) -> None:
    ids = [run_one(ready) for _ in range(2)]
    one, other = wrapped(ready.store)
    with ready.store.write() as tx:
        tx.update(one, ciphertext=other.ciphertext)
    assert len(keys_sent(ready, *ids)) == 1
