"""What the audit trail costs, and how fast it is read: ``python -m bench.trail``.

Recording is measured as the CPU time of a request, which is what bounds the throughput and what other work on the
machine changes least: of the front door with the trail and of the chain behind it, against a front door without. A
machine is not as fast in one second as in the next, so they take turns of a fraction of a second, and of many ratios
the median counts. LookupEvents is asked of a million events.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median

import boto3
import msgspec
from rich.console import Console
from rich.table import Table

from bench.api import DESCRIBE, EC2, STS, Requests, read
from bench.client import REGION, rate, signed
from bench.servers import Server, freehold
from freehold import config as configuration
from freehold.control.sealing import Chain
from freehold.front.serve import open_store
from freehold.paths import Paths
from freehold.records.audit import AuditEvent, event_time, new_event_id
from freehold.records.secrets import Sealer

EVENTS = 1_000_000
ROUNDS = 15
REQUESTS = 3_000  # of a round, to each front door
CONNECTIONS = 8
SECONDS_MAX = 60.0
_BATCH = 20_000
_TURN = 300  # requests
_names = count()


def tags(server: Server, number: int) -> list[bytes]:
    vpcs = boto3.client(
        "ec2", endpoint_url=server.endpoint, region_name=REGION,
        aws_access_key_id=server.keys[0], aws_secret_access_key=server.keys[1],
    ).describe_vpcs()["Vpcs"]  # fmt: skip
    vpc_id = vpcs[0]["VpcId"]
    return [
        signed(
            server.endpoint, server.keys, *EC2, "CreateTags",
            **{"ResourceId.1": vpc_id, "Tag.1.Key": "bench", "Tag.1.Value": str(next(_names))},
        )
        for _ in range(number)
    ]  # fmt: skip


def follow(data_dir: Path) -> None:
    """Lengthen the chain every second, as the controllers do, until this process is ended."""
    store = open_store(data_dir, configuration.load(data_dir))
    chain = Chain(store, Sealer.of(data_dir), Paths(data_dir).audit_head)
    while True:
        chain.follow()
        time.sleep(1.0)


@contextmanager
def chained(server: Server) -> Iterator[int]:
    """The chain follows, in a process of its own, whose id is given."""
    process = multiprocessing.get_context("spawn").Process(target=follow, args=(server.data_dir,), daemon=True)
    process.start()
    assert process.pid is not None
    try:
        yield process.pid
    finally:
        process.terminate()
        process.join()


def cpu_seconds(pid: int) -> float:
    """What a process and its children have taken of the CPU."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = (Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in (pid, *children))
    return sum(int(of[11]) + int(of[12]) for of in fields) / os.sysconf("SC_CLK_TCK")


def microseconds(recorded: Server, bare: Server, chain: int, requests: Requests) -> tuple[float, float]:
    """CPU time of a request with the trail, and of the chain that is given time to follow; and without the trail."""
    asked = [(server.port, requests(server, REQUESTS)) for server in (recorded, bare)]
    processes = (recorded.process.pid, chain), (bare.process.pid,)
    before = [sum(map(cpu_seconds, pids)) for pids in processes]
    for first in range(0, REQUESTS, _TURN):
        for port, wanted in asked:
            if failed := rate(port, wanted[first : first + _TURN], CONNECTIONS, SECONDS_MAX).failed:
                raise RuntimeError(f"{failed} requests failed")
    time.sleep(2)
    with_it, without = (
        (sum(map(cpu_seconds, pids)) - at) / REQUESTS * 1e6 for pids, at in zip(processes, before, strict=True)
    )
    return with_it, without


def cost() -> Table:
    table = Table(title="What recording costs of the throughput: CPU time of a request")
    for name in ("operation", "without", "with", "cost", "wanted"):
        table.add_column(name, justify="left" if name == "operation" else "right")
    kinds: tuple[tuple[str, Requests], ...] = (
        ("GetCallerIdentity", read(STS, "GetCallerIdentity")),
        ("DescribeInstances, none", DESCRIBE),
        ("CreateTags", tags),
    )
    medians: list[tuple[float, float]] = []
    with freehold() as recorded, freehold("bench.unrecorded") as bare, chained(recorded) as chain:
        microseconds(recorded, bare, chain, DESCRIBE)  # while the chain's process begins
        for name, requests in kinds:
            taken = [microseconds(recorded, bare, chain, requests) for _ in range(ROUNDS)]
            costs = [1 - without / with_it for with_it, without in taken]
            with_it, without = map(median, zip(*taken, strict=True))
            medians.append((with_it, without))
            cost = f"{median(costs):.1%} ({min(costs):.1%} to {max(costs):.1%})"
            table.add_row(name, f"{without:,.0f} µs", f"{with_it:,.0f} µs", cost, "")
    with_it, without = map(sum, zip(*medians, strict=True))
    cost = f"{1 - without / with_it:.1%}"
    table.add_row("one of each", f"{without:,.0f} µs", f"{with_it:,.0f} µs", cost, "≤ 10 %")
    return table


def fill(server: Server, number: int) -> dict[str, str]:
    """Give the account `number` events of the last 80 days, made of one that was recorded; something to look up of the
    one in the middle, by attribute."""
    assert server.store is not None
    assert server.data_dir is not None
    client = boto3.client(
        "ec2", endpoint_url=server.endpoint, region_name=REGION,
        aws_access_key_id=server.keys[0], aws_secret_access_key=server.keys[1],
    )  # fmt: skip
    client.create_key_pair(KeyName="bench")
    with server.store.read() as tx:
        model = msgspec.json.decode(tx.select(AuditEvent)[-1].body)
    chain = Chain(server.store, Sealer.of(server.data_dir), Paths(server.data_dir).audit_head)
    start, step = dt.datetime.now(dt.UTC) - dt.timedelta(days=80), dt.timedelta(days=80) / number
    middle = {}
    for first in range(0, number, _BATCH):
        with server.store.write() as tx:
            for place in range(first, min(first + _BATCH, number)):
                at = start + place * step
                model["eventTime"], model["eventID"] = event_time(at), new_event_id(at)
                model["eventName"], model["readOnly"] = ("CreateKeyPair", "DescribeVpcs")[place % 2], bool(place % 2)
                model["requestParameters"] = {"keyName": f"pair-{place % 1000}"}
                tx.append(AuditEvent, body=msgspec.json.encode(model).decode())
                if place == number // 2:
                    middle = {"EventId": model["eventID"], "ResourceName": "pair-0", "EventName": "CreateKeyPair"}
        chain.follow()
    return middle


def lookups(number: int = EVENTS) -> Table:
    table = Table(title=f"The first page (50) of LookupEvents of {number:,} events")
    for name in ("by", "median", "slowest of 20", "wanted"):
        table.add_column(name, justify="left" if name == "by" else "right")
    with freehold() as server:
        started = time.perf_counter()
        known = fill(server, number)
        Console(stderr=True).print(f"chained {number / (time.perf_counter() - started):,.0f} events a second")
        client = boto3.client(
            "cloudtrail", endpoint_url=server.endpoint, region_name=REGION,
            aws_access_key_id=server.keys[0], aws_secret_access_key=server.keys[1],
        )  # fmt: skip
        for key in ("", "EventName", "ResourceName", "EventId", "Username"):
            asked = [{"AttributeKey": key, "AttributeValue": known.get(key, "root")}] if key else []
            taken = []
            for _ in range(20):
                started = time.perf_counter()
                found = client.lookup_events(LookupAttributes=asked)["Events"]
                taken.append((time.perf_counter() - started) * 1000)
                if not found:
                    raise RuntimeError(f"{key}: nothing is found")
            table.add_row(key or "nothing", f"{median(taken):.1f} ms", f"{max(taken):.1f} ms", "< 20 ms")
        client.close()
    return table


def main() -> None:
    for table in (cost(), lookups()):
        Console().print(table)


if __name__ == "__main__":
    main()
