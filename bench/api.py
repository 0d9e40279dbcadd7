"""API throughput against moto_server, both on this machine, in one run: ``python -m bench.api``.

moto_server is no server for many clients at once: some of its answers to 16 connections are errors. They are not
counted, and the table says how many there were; a failed answer of Freehold's ends the run.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from statistics import median

import boto3
from rich.console import Console
from rich.table import Table

from bench.client import REGION, Connection, rate, signed
from bench.servers import IMAGE_ID, Server, freehold, moto

EC2, STS = ("ec2", "2016-11-15"), ("sts", "2011-06-15")
Requests = Callable[[Server, int], list[bytes]]
SECONDS, ROUNDS = 0.5, 9
CONNECTIONS = (1, 16)
_names = count()


def instances(server: Server, number: int) -> None:
    """Launch `number` instances by the API (Freehold's on a simulated host, which never reports them running)."""
    client = boto3.client(
        "ec2",
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id=server.keys[0],
        aws_secret_access_key=server.keys[1],
    )
    image_id = IMAGE_ID if server.store else client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for _ in range(number // 50):
        client.run_instances(ImageId=image_id, InstanceType="t3.nano", MinCount=50, MaxCount=50)
    client.close()


def read(service: tuple[str, str], action: str) -> Requests:
    def requests(server: Server, number: int) -> list[bytes]:
        return [signed(server.endpoint, server.keys, *service, action)] * number

    return requests


def create_group(server: Server, number: int) -> list[bytes]:
    return [
        signed(
            server.endpoint, server.keys, *EC2, "CreateSecurityGroup",
            GroupName=f"bench-{next(_names)}", GroupDescription="bench",
        )
        for _ in range(number)
    ]  # fmt: skip


def create_tags(server: Server, number: int) -> list[bytes]:
    vpcs = Connection(server.port).send(signed(server.endpoint, server.keys, *EC2, "DescribeVpcs")).decode()
    vpc_id = vpcs.partition("<vpcId>")[2].partition("<")[0]
    return [
        signed(
            server.endpoint, server.keys, *EC2, "CreateTags",
            **{"ResourceId.1": vpc_id, "Tag.1.Key": "bench", "Tag.1.Value": str(next(_names))},
        )
        for _ in range(number)
    ]  # fmt: skip


DESCRIBE = read(EC2, "DescribeInstances")


def by_turns(
    ours: Server, theirs: Server, requests: Requests, number: int, connections: int, rounds: int
) -> tuple[str, str, str, str]:
    """Both rates, the errors of the peer, and the ratio: the medians of `rounds` in which both are asked, because a
    machine is not as fast in one second as in the next. RuntimeError when a request to us fails."""
    our_rates, their_rates, ratios, failed = [], [], [], 0
    for _ in range(rounds):
        our = rate(ours.port, requests(ours, number), connections, SECONDS)
        their = rate(theirs.port, requests(theirs, max(20, number // 4)), connections, SECONDS)
        if our.failed:
            raise RuntimeError(f"{our.failed} requests failed")
        our_rates.append(our.per_second)
        their_rates.append(their.per_second)
        ratios.append(our.per_second / their.per_second)
        failed += their.failed
    spread = f"{median(ratios):.1f}× ({min(ratios):.1f} to {max(ratios):.1f})"
    return f"{median(our_rates):,.0f}", f"{median(their_rates):,.1f}", str(failed), spread


def compare(console: Console) -> Table:
    """The table of rates; a line of progress for each row."""
    table = Table(title="Requests per second, Freehold against moto_server")
    for name in ("operation", "connections", "Freehold", "moto", "moto's errors", "ratio", "wanted"):
        leads = name == "operation"
        table.add_column(name, justify="left" if leads else "right", no_wrap=leads)
    with freehold() as ours, moto() as theirs:
        regions, identity = read(EC2, "DescribeRegions"), read(STS, "GetCallerIdentity")
        for server in (ours, theirs):  # what a server reads at its first request is not what a request costs
            for requests in (regions, identity):
                rate(server.port, requests(server, 5), 1, SECONDS)

        def row(name: str, requests: Requests, number: int, wanted: float, rounds: int = ROUNDS) -> None:
            for connections in CONNECTIONS:
                cells = by_turns(ours, theirs, requests, number, connections, rounds)
                table.add_row(name, str(connections), *cells, f"≥ {wanted:.0f}×")
                console.print(f"{name}, {connections} connections: {', '.join(cells)}", style="dim")

        row("DescribeRegions", regions, 1400, 4)
        row("GetCallerIdentity", identity, 1400, 4)
        row("CreateTags", create_tags, 500, 3)
        row("CreateSecurityGroup", create_group, 130, 3)  # an account may have 2,500 in a region
        row("DescribeInstances, none", DESCRIBE, 1400, 4)
        for server in (ours, theirs):
            instances(server, 100)
        row("DescribeInstances, 100", DESCRIBE, 200, 4)
        for server in (ours, theirs):
            instances(server, 900)
        row("DescribeInstances, 1,000", DESCRIBE, 50, 50, rounds=3)
    return table


def main() -> None:
    progress = Console(stderr=True)
    Console().print(compare(progress))


if __name__ == "__main__":
    main()
