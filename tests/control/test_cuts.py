"""The cut test of the controllers: wherever they are killed, those that are started next make all well.

The life of an account (servers launched, stopped, started, terminated, interrupted, a rule changed, a volume deleted,
the account closed) is lived once to learn what the controllers change, once with everything said and done twice, and
then with controllers that die again and again, right before a change or right after it, in each life at others. So is
one with disks (volumes attached, modified, detached, snapshots taken, copied, deleted, a server that hibernates). When
all cuts are asked for, there is a life for each change, too. Controllers, store and OVN are the real ones; the host is
willing.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Literal

import pytest

from freehold import config as configuration
from freehold import pki
from freehold.control.accounts import close_account, create_account
from freehold.control.networks import vpc_view
from freehold.fabric import differ
from freehold.fabric.differ import Fabric
from freehold.fabric.rows import rows
from freehold.fabric.view import PublicView
from freehold.paths import Paths
from freehold.records.accounts import Account
from freehold.records.compute import Host, Instance, TrafficCounter, Volume, VolumeAttachment
from freehold.records.network import Vpc
from freehold.records.schema import TABLES
from freehold.records.secrets import Sealer
from freehold.records.snapshots import DoomedSnapshot, Snapshot
from freehold.records.spot import SpotRequest
from freehold.records.store import Store, Transaction
from freehold.records.usage import UsageEntry, usage
from freehold.records.wake import SocketBell
from freehold.services.ec2.default_vpc import open_region
from tests.control.builders import REGION, make_bare_instance
from tests.control.cut_control import DEATH, Cut, Nursery
from tests.control.willing_host import WILLING_MIB, WillingHost
from tests.ec2.calls import Caller
from tests.ec2.launching import IMAGE, add_images, launch_one
from tests.ovn import Cloud, ovn_cloud

POOL = IPv4Network("198.51.100.128/28")
HOST = "host-1"
KEPT = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}]
_ALL = os.environ.get("FREEHOLD_CUTS") == "all"  # `make test-cuts`
_MOMENTS: tuple[Literal["before", "after"], ...] = ("before", "after")
_EVERY = 14  # controllers that start make some eight changes before they go on with what they were at
RULE = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.18.0.0/15"}]}


class Life:
    """The life of an account, with controllers that are started again as soon as they have died."""

    def __init__(self, plane: Plane, cuts: Iterable[Cut], times: int) -> None:
        self._cuts = iter(cuts)
        self._plane = plane
        self._store = plane.store
        self._journal = plane.data_dir / f"changes-{time.monotonic_ns()}"
        self._journal.touch()
        self._times = times
        plane.host.times = times
        plane.host.forget_sent()
        sealer = Sealer.of(plane.data_dir)
        with self._store.write() as tx:
            account, _key, _secret = create_account(tx, sealer, "lab")
            open_region(tx, plane.config, account.id, REGION)
            self._forgotten = make_bare_instance(
                tx, state="terminated", terminated_at=tx.now - dt.timedelta(hours=2), holds_capacity=False
            )
        self._account = account
        self._caller = Caller(self._store, account.id, REGION, plane.config, sealer)
        self._start()

    def live(self) -> list[str]:
        """Returns what all controllers have changed."""
        try:
            self._live()
        finally:
            self._plane.nursery.stop()
        return self._journal.read_text().splitlines()

    def _live(self) -> None:
        caller = self._caller
        self._wait(lambda tx: tx.get(Host, HOST) is not None and tx.get(Host, HOST).connected, "host is connected")
        self._wait(lambda tx: tx.get(Instance, self._forgotten.id) is None, "old instance is forgotten")

        first = launch_one(caller, BlockDeviceMappings=KEPT)["InstanceId"]
        self._reach(first, "running")
        self._network_is_right()
        (volume,) = caller.describe_volumes()["Volumes"]
        caller.authorize_security_group_ingress(GroupName="default", IpPermissions=[RULE])
        self._network_is_right()
        caller.stop_instances(InstanceIds=[first])
        self._reach(first, "stopped")
        self._network_is_right()
        caller.start_instances(InstanceIds=[first])
        self._reach(first, "running")
        caller.terminate_instances(InstanceIds=[first])
        self._reach(first, "terminated")
        caller.delete_volume(VolumeId=volume["VolumeId"])
        self._wait(lambda tx: tx.get(Volume, volume["VolumeId"]) is None, "volume is deleted")

        asked = {"ImageId": IMAGE, "InstanceType": "fh1.nano"}
        (request,) = caller.request_spot_instances(LaunchSpecification=asked)["SpotInstanceRequests"]
        spare = self._fulfilled(request["SpotInstanceRequestId"])
        self._reach(spare, "running")
        second = launch_one(caller, BlockDeviceMappings=KEPT)["InstanceId"]
        third = launch_one(caller)["InstanceId"]  # in the room of the spot instance
        self._reach(second, "running")
        self._reach(third, "running")
        self._reach(spare, "terminated")
        with self._closed() as tx:
            items = [entry.item for entry in tx.select(UsageEntry, usage.c.account_id == self._account.id)]
            assert items.count("instance:fh1.nano") == 4
            assert items.count("spot:fh1.nano") == 1
            assert items.count("address") == 5

    @contextmanager
    def _closed(self) -> Iterator[Transaction]:
        """Once the account is."""
        with self._store.write() as tx:
            close_account(tx, self._account)
        self._wait(lambda tx: tx.get(Account, self._account.id) is None, "account is gone")
        self._network_is_right()
        with self._store.read() as tx:
            self._assert_nothing_is_left(tx)
            yield tx

    def _assert_nothing_is_left(self, tx: Transaction) -> None:
        mine = [
            kind.__name__
            for kind, table in TABLES.items()
            if "account_id" in table.c and tx.count(kind, table.c.account_id == self._account.id)
        ]
        assert set(mine) == {kind.__name__ for kind in (UsageEntry, TrafficCounter)}
        entries = tx.select(UsageEntry, usage.c.account_id == self._account.id)
        assert all(entry.closed_at is not None for entry in entries)
        assert sum(entry.quantity for entry in entries if entry.item == "egress") == self._plane.host.sent
        host = tx.get(Host, HOST)
        assert host is not None
        assert (host.vcpus_used, host.memory_used_mib) == (0, 0)

    def _reach(self, instance_id: str, state: str) -> None:
        self._wait(lambda tx: tx.get(Instance, instance_id).state == state, f"{instance_id} is {state}")

    def _fulfilled(self, request_id: str) -> str:
        """The id of the instance of a spot request."""

        def instance_of(tx: Transaction) -> str | None:
            request = tx.get(SpotRequest, request_id)
            return request.instance_id if request is not None else None

        self._wait(lambda tx: instance_of(tx) is not None, "spot request is fulfilled")
        with self._store.read() as tx:
            return instance_of(tx) or ""

    def _network_is_right(self) -> None:
        """OVN has what the records say, and nothing else."""
        self._wait(self._plane.network_is_right, "network is right")

    def _wait(self, condition: Callable[[Any], bool], what: str) -> None:
        """Until the condition on the records holds."""
        deadline = time.monotonic() + 90
        while True:
            with self._store.read() as tx:
                if condition(tx):
                    return
            assert time.monotonic() < deadline, f"not: {what}, after {self._journal.read_text()}{self._plane.log()}"
            if (status := self._plane.nursery.ended()) is not None:
                assert status == DEATH, self._plane.log()
                self._start()
            time.sleep(0.01)

    def _start(self) -> None:
        self._plane.nursery.start(self._journal, next(self._cuts, None), twice=self._times > 1)


class LifeWithDisks(Life):
    def _live(self) -> None:
        caller, zone = self._caller, "us-east-1a"
        self._wait(lambda tx: tx.get(Host, HOST) is not None and tx.get(Host, HOST).connected, "host is connected")
        server = launch_one(
            caller,
            HibernationOptions={"Configured": True},
            Placement={"AvailabilityZone": zone},
            BlockDeviceMappings=KEPT,
        )["InstanceId"]
        self._reach(server, "running")
        disk = caller.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
        self._wait_for(Volume, disk, "available")
        caller.attach_volume(VolumeId=disk, InstanceId=server, Device="/dev/sdf")
        self._wait(lambda tx: tx.select(VolumeAttachment, volume_id=disk)[0].state == "attached", "it is attached")
        first = self._snapshot(disk)
        caller.modify_volume(VolumeId=disk, Size=2)
        self._wait(lambda tx: self._modification(disk) == "completed", "it is modified")
        caller.stop_instances(InstanceIds=[server], Hibernate=True)
        self._reach(server, "stopped")
        second = self._snapshot(disk)
        caller.start_instances(InstanceIds=[server])
        self._reach(server, "running")
        copy = caller.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=first, Description="copy")["SnapshotId"]
        self._wait_for(Snapshot, copy, "completed")
        caller.delete_snapshot(SnapshotId=first)
        self._wait(lambda tx: not tx.select(DoomedSnapshot, snapshot_id=first), "it is deleted")
        caller.detach_volume(VolumeId=disk)
        self._wait_for(Volume, disk, "available")
        restored = caller.create_volume(AvailabilityZone=zone, SnapshotId=second)["VolumeId"]
        self._wait_for(Volume, restored, "available")
        caller.attach_volume(VolumeId=restored, InstanceId=server, Device="/dev/sdg")
        caller.delete_volume(VolumeId=disk)
        self._wait(lambda tx: tx.get(Volume, disk) is None, "it is deleted")
        with self._closed() as tx:
            assert tx.count(DoomedSnapshot) == 0

    def _snapshot(self, volume_id: str) -> str:
        snapshot_id: str = self._caller.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        self._wait_for(Snapshot, snapshot_id, "completed")
        return snapshot_id

    def _modification(self, volume_id: str) -> str:
        found = self._caller.describe_volumes_modifications(VolumeIds=[volume_id])["VolumesModifications"]
        return str(found[0]["ModificationState"])

    def _wait_for(self, kind: type[Volume] | type[Snapshot], row_id: str, state: str) -> None:
        self._wait(lambda tx: tx.get(kind, row_id).state == state, f"{row_id} is {state}")


class Plane:
    """What outlives the controllers: the records, OVN, the host."""

    def __init__(self, data_dir: Path, cloud: Cloud, store: Store) -> None:
        self.data_dir = data_dir
        self.store = store
        self.config = configuration.load(data_dir)
        self.host = WillingHost(data_dir, HOST)
        self.nursery = Nursery(data_dir)
        self._fabric = Fabric(cloud.paths.northbound)
        self._public = PublicView(cloud.network.pool, cloud.network.link_range, cloud.network.chassis)

    def close(self) -> None:
        self.nursery.close()
        self.host.close()
        self._fabric.close()

    def live(self, cuts: Iterable[Cut] = (), times: int = 1, kind: type[Life] = Life) -> list[str]:
        return kind(self, cuts, times).live()

    def network_is_right(self, tx: Transaction) -> bool:
        self._fabric.forget()
        present = self._fabric._read()
        views = [view for vpc in tx.select(Vpc) if (view := vpc_view(tx, vpc.id))]
        return self._fabric.vpcs_present() == {view.vpc_id for view in views} and not any(
            differ._difference(view.vpc_id, present[view.vpc_id], rows(view, self._public)) for view in views
        )

    def log(self) -> str:
        return (self.data_dir / "control.log").read_text()[-4000:]


@pytest.fixture
def plane(tmp_path: Path, store: Store) -> Iterator[Plane]:
    (tmp_path / "freehold.toml").write_text(
        f'[network]\npublic_pool = "{POOL}"\n[state]\nurl = "{store.url}"\ndurable = false\n'
        f"[compute]\nmemory_reserved_mib = {WILLING_MIB - 2 * 128}\n[spot]\nnotice_seconds = 1\n"
    )
    pki.ensure(tmp_path / "pki", HOST)
    add_images(store)
    bells = Paths(tmp_path).bells
    bells.mkdir(parents=True)
    with (
        closing(Store(store.url, SocketBell(bells), durable=False)) as calls,
        ovn_cloud(tmp_path, POOL) as cloud,
        closing(Plane(tmp_path, cloud, calls)) as opened,
    ):
        yield opened


def test_everything_may_be_said_and_done_twice(plane: Plane) -> None:
    plane.live(times=2)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_controllers_may_die_before_and_after_any_change(plane: Plane) -> None:
    die_at_each_change(plane, Life, every_life=1 if _ALL else 2)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_everything_of_disks_may_be_said_and_done_twice(plane: Plane) -> None:
    plane.live(times=2, kind=LifeWithDisks)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_controllers_may_die_whatever_is_done_to_disks(plane: Plane) -> None:
    die_at_each_change(plane, LifeWithDisks, every_life=1 if _ALL else 4)


def die_at_each_change(plane: Plane, kind: type[Life], every_life: int) -> None:
    """In one life the controllers die at every `_EVERY`th change, in the next each time `every_life` later: with 2, as
    right after one change is before the next, every place between two."""
    changes = plane.live(kind=kind)
    assert {"commit", "network"} == set(changes)
    for moment in _MOMENTS:
        for first in range(1, _EVERY + 1, every_life):
            plane.live(itertools.chain([(first, moment)], itertools.repeat((_EVERY, moment))), kind=kind)
    if _ALL:
        for number in range(1, len(changes) + 1):
            for moment in _MOMENTS:
                plane.live([(number, moment)], kind=kind)
