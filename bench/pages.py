"""What the first page of a list costs in a small account and in a large one: ``python -m bench.pages``."""

from __future__ import annotations

import datetime as dt
import statistics
import time
from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.table import Table

from bench.client import Connection, signed
from bench.servers import IMAGE_ID, Server, account, freehold
from freehold.records.compute import Instance, Volume, VolumeAttachment
from freehold.records.ids import HostId, InstanceId, InterfaceId, SnapshotId, VolumeId, new_id
from freehold.records.network import Address, InterfaceGroup, NetworkInterface
from freehold.records.schema import Record
from freehold.records.snapshots import Snapshot

EC2 = ("ec2", "2016-11-15")
OPERATIONS = {
    "DescribeInstances": b"<instanceType>",
    "DescribeVolumes": b"<volumeType>",
    "DescribeSnapshots": b"<storageTier>",
}
"""With what each item of an answer has once."""
SMALL, LARGE = 100, 1_000_000
PAGE = 100
ROUNDS = 100
_BATCH = 2_000


def fill(server: Server, number: int) -> None:
    """Give the account `number` instances, each with a volume that has a snapshot: one is launched by the API, the
    others have records like it."""
    assert server.store is not None
    launch = {"ImageId": IMAGE_ID, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    Connection(server.port).send(signed(server.endpoint, server.keys, *EC2, "RunInstances", **launch))
    with server.store.write() as tx:
        (volume,) = tx.select(Volume, account_id=server.account_id)
        tx.insert(_snapshot(volume, tx.now))
    for start in range(1, number, _BATCH):
        with server.store.write() as tx:
            owner = server.account_id
            (instance,) = tx.select(Instance, account_id=owner, limit=1)
            (interface, *_) = tx.select(NetworkInterface, instance_id=instance.id)
            (attachment, *_) = tx.select(VolumeAttachment, instance_id=instance.id)
            (volume,) = tx.select(Volume, id=attachment.volume_id)
            (address, *_) = tx.select(Address, interface_id=interface.id)
            groups = tx.select(InterfaceGroup, interface_id=interface.id)
            first = (instance, interface, attachment, volume, address, groups)
            copies = (copy for place in range(start, min(start + _BATCH, number)) for copy in _copies(place, *first))
            tx.insert(*copies)


def _copies(
    place: int,
    instance: Instance,
    interface: NetworkInterface,
    attachment: VolumeAttachment,
    volume: Volume,
    address: Address,
    groups: list[InterfaceGroup],
) -> Iterator[Record]:
    replace = msgspec.structs.replace
    instance_id, interface_id = InstanceId(new_id("i")), InterfaceId(new_id("eni"))
    private_ip = f"10.{place >> 16}.{place >> 8 & 255}.{place & 255}"
    yield replace(instance, id=instance_id, private_ip=private_ip, reservation_id=new_id("r"))
    yield replace(interface, id=interface_id, instance_id=instance_id, private_ip=private_ip)
    copy = replace(volume, id=VolumeId(new_id("vol")))
    yield copy
    yield replace(attachment, volume_id=copy.id, instance_id=instance_id)
    yield _snapshot(copy, copy.created_at)
    yield replace(address, public_ip=f"{instance.account_id}-{place}", interface_id=interface_id)
    for group in groups:
        yield replace(group, interface_id=interface_id)


def _snapshot(volume: Volume, at: dt.datetime) -> Snapshot:
    return Snapshot(
        id=SnapshotId(new_id("snap")),
        account_id=volume.account_id,
        region=volume.region,
        zone=volume.zone,
        volume_id=volume.id,
        host_id=HostId("simulated"),
        instant=new_id("instant"),
        size_gib=volume.size_gib,
        description="",
        state="completed",
        started_at=at,
        encrypted=volume.encrypted,
        kms_key_id=volume.kms_key_id,
        completed_at=at,
        progress=100,
    )


def _seconds(connection: Connection, of_account: Server, operation: str, item: bytes) -> float:
    request = signed(of_account.endpoint, of_account.keys, *EC2, operation, MaxResults=PAGE)
    started = time.perf_counter()
    answer = connection.send(request)
    taken = time.perf_counter() - started
    if answer.count(item) != PAGE:
        raise RuntimeError(f"not a page of {PAGE}: {answer.decode()}")
    return taken


def pages() -> Table:
    """The table of first pages; the two accounts take turns, so that what else the machine does meets both."""
    table = Table(title=f"The first page of {PAGE}, in an account with {SMALL:,} and in one with {LARGE:,}")
    for name in ("operation", "small", "large", "ratio", "wanted"):
        table.add_column(name, justify="left" if name == "operation" else "right")
    with freehold() as server:
        small, large = account(server, "bench-small"), account(server, "bench-large")
        fill(small, SMALL)
        fill(large, LARGE)
        connection = Connection(server.port)
        for operation, item in OPERATIONS.items():
            times: dict[int, list[float]] = {SMALL: [], LARGE: []}
            for _ in range(ROUNDS):
                times[SMALL].append(_seconds(connection, small, operation, item))
                times[LARGE].append(_seconds(connection, large, operation, item))
            medians = {number: statistics.median(taken) for number, taken in times.items()}
            table.add_row(
                operation,
                *(f"{medians[number] * 1000:.1f} ms" for number in (SMALL, LARGE)),
                f"{medians[LARGE] / medians[SMALL]:.2f}×",
                "the same",
            )
        connection.close()
    return table


def main() -> None:
    Console().print(pages())


if __name__ == "__main__":
    main()
