"""What a launch needs, made directly: a host with room, an image; and the host's side of what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from freehold.control.reports import apply_report
from freehold.host.wire import GuestReport, Report
from freehold.records.compute import Host, Instance
from freehold.records.ids import HostId, ImageId
from freehold.records.schema import TABLES
from freehold.records.store import Store
from freehold.services.ec2.images import register_builtin
from tests.ec2.calls import Caller

IMAGE = ImageId("ami-0123456789abcdef0")
BIG_IMAGE = ImageId("ami-0123456789abcdef1")
"""Needs 512 MiB of memory and 3 GiB of disk."""


def add_host(store: Store, name: str = "host-1", zone: str | None = None, memory_mib: int = 8192) -> None:
    with store.write() as tx:
        tx.insert(Host(HostId(name), zone, 64, memory_mib, 0, 0, "tcg", True, tx.now))


def add_images(store: Store) -> None:
    with store.write() as tx:
        for image_id, name, gib, memory_mib in ((IMAGE, "freehold-micro", 1, 64), (BIG_IMAGE, "debian-12", 3, 512)):
            register_builtin(
                tx,
                image_id=image_id,
                name=name,
                description=name,
                architecture="x86_64",
                root_device_name="/dev/xvda",
                size_bytes=gib * 1024**3 - 5,
                minimum_memory_mib=memory_mib,
                default_user="root",
                created_at=tx.now,
            )


def launch(caller: Caller, **request: Any) -> Mapping[str, Any]:
    """RunInstances of one fh1.nano unless `request` says otherwise; the reservation."""
    given = {"ImageId": IMAGE, "InstanceType": "fh1.nano", "MinCount": 1, "MaxCount": 1} | request
    answer: Mapping[str, Any] = caller.run_instances(**given)
    return answer


def launch_one(caller: Caller, **request: Any) -> Any:
    (instance,) = launch(caller, **request)["Instances"]
    return instance


def shown(caller: Caller, instance_id: str) -> Any:
    """The instance as DescribeInstances shows it."""
    (reservation,) = caller.describe_instances(InstanceIds=[instance_id])["Reservations"]
    (instance,) = reservation["Instances"]
    return instance


def host_reports(
    store: Store,
    instance_id: str,
    state: Literal["starting", "running", "stopping", "stopped", "absent", "failed"],
    **fields: Any,
) -> None:
    """The host of the instance says what it is now, for the generation that it was last told of."""
    with store.write() as tx:
        instance = tx.get(Instance, instance_id)
        assert instance is not None
        assert instance.host_id is not None
        guest = GuestReport(instance_id, instance.generation, state, tx.now, **fields)
        apply_report(tx, instance.host_id, Report((guest,)))


def run_one(caller: Caller, **request: Any) -> str:
    """The id of an instance that was launched and runs."""
    instance_id: str = launch_one(caller, **request)["InstanceId"]
    host_reports(caller.store, instance_id, "running")
    return instance_id


def stop(caller: Caller, instance_id: str) -> None:
    """StopInstances of a running instance, and its host reports that it has stopped."""
    caller.stop_instances(InstanceIds=[instance_id])
    host_reports(caller.store, instance_id, "stopped")


def terminate(caller: Caller, instance_id: str) -> None:
    """TerminateInstances, and its host reports that nothing is left."""
    caller.terminate_instances(InstanceIds=[instance_id])
    host_reports(caller.store, instance_id, "absent")


def record(store: Store, instance_id: str) -> Instance:
    with store.read() as tx:
        found = tx.get(Instance, instance_id)
    assert found is not None
    return found


def census(store: Store) -> dict[str, list[Any]]:
    """Every row of every table, but for what a refused call may leave: to show that it left nothing."""
    with store.read() as tx:
        return {
            table.name: [tuple(map(repr, row)) for row in tx.connection.execute(table.select())]
            for table in TABLES.values()
            if table.name not in ("changes", "audit_events", "access_key_uses")
        }
