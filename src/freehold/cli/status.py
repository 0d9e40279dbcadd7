"""``freehold status``: parts, servers, capacity, accounts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from freehold import config as configuration
from freehold.cli.endpoint import cloud_paths
from freehold.cli.tables import print_table, table
from freehold.paths import Paths
from freehold.processes import children, guests
from freehold.records.accounts import Account
from freehold.records.compute import Host, Instance, instances
from freehold.records.cpu_credits import CpuCredits
from freehold.records.store import Store, Transaction
from freehold.records.wake import SocketBell
from freehold.supervisor_status import read_status

_SERVERS_MAX = 100  # listed; all are counted
_FAILURES_MAX = 20  # the newest


def show(data_dir: Path, *, as_json: bool) -> None:
    paths = cloud_paths(data_dir)
    found = look(paths)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)


def look(paths: Paths) -> dict[str, Any]:
    """What `status --json` prints. Memory in MiB, times in seconds since 1970; at most 100 servers, none terminated,
    and the 20 newest that their host could not run. CPU credits are of burstable servers."""
    config = configuration.load(paths.data_dir)
    status = read_status(paths.run)
    parts = status["parts"] if status else []
    if status:
        parts = [{"name": "supervisor", "state": "running", "pid": status["supervisor"]["pid"]}, *parts]
    found: dict[str, Any] = {
        "state": status["state"] if status else "stopped",
        "data_dir": str(paths.data_dir),
        "endpoint": f"http://127.0.0.1:{status['port']}" if status else None,
        "parts": [part | {"memory_mib": _memory_of(part)} for part in parts],
        "guests": sorted(guests(paths.tag)),
        "hosts": [],
        "instances": {},
        "servers": [],
        "failures": [],
        "accounts": [],
    }
    if config.state.url or (paths.data_dir / "state.db").exists():
        store = Store(config.state.url or paths.state_url, SocketBell(paths.bells), durable=config.state.durable)
        with store.read() as tx:
            found |= _records(tx)
        store.close()
    return found


def _records(tx: Transaction) -> dict[str, Any]:
    credits_of = {each.instance_id: each.balance / 1000 for each in tx.select(CpuCredits)}
    counted = sa.select(instances.c.state, sa.func.count()).group_by(instances.c.state)
    return {
        "hosts": [
            {
                "id": host.id,
                "connected": host.connected,
                "accelerator": host.accelerator,
                "vcpus": host.vcpus,
                "vcpus_used": host.vcpus_used,
                "memory_mib": host.memory_mib,
                "memory_used_mib": host.memory_used_mib,
            }
            for host in tx.select(Host)
        ],
        "instances": {str(state): number for state, number in tx.connection.execute(counted)},
        "servers": [
            {
                "id": server.id,
                "account": server.account_id,
                "type": server.instance_type,
                "state": server.state,
                "private_ip": server.private_ip,
                "host": server.host_id,
                "cpu_credits": credits_of.get(server.id),
            }
            for server in tx.select(Instance, instances.c.state != "terminated", limit=_SERVERS_MAX)
        ],
        "failures": [
            {"id": server.id, "host": server.host_id, "launched": server.launched_at.timestamp(), "why": server.failure}
            for server in tx.select(
                Instance,
                instances.c.failure.is_not(None),
                order_by=(instances.c.launched_at.desc(), instances.c.id),
                limit=_FAILURES_MAX,
            )
        ],
        "accounts": [
            {"id": account.id, "name": account.name, "closing": account.closing_at is not None}
            for account in tx.select(Account)
        ],
    }


def _memory_of(part: dict[str, Any]) -> float | None:
    """In MiB, with the processes that the part began (of the supervisor these are the other parts)."""
    own = _memory_mib(part["pid"])
    if own is None or part["name"] == "supervisor":
        return own
    return round(own + sum(_memory_mib(pid) or 0 for pid in children(part["pid"])), 1)


def _memory_mib(pid: int | None) -> float | None:
    """What a process adds to the machine's used memory (its proportional set size); None if it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return round(int(line.split()[1]) / 1024, 1)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def _print(found: dict[str, Any]) -> None:
    where = f" at {found['endpoint']}" if found["endpoint"] else ""
    print(f"Freehold is {found['state']}{where}, data in {found['data_dir']}")
    if found["parts"]:
        parts = table("Part", "State", "Process", "Memory (MiB)", "Restarts", "Since", "Last end")
        for part in found["parts"]:
            since = f"{time.time() - part['since']:.0f} s" if "since" in part else ""
            cells = (part["pid"], part["memory_mib"], part.get("restarts"), since, part.get("last_end"))
            parts.add_row(part["name"], part["state"], *("" if cell is None else str(cell) for cell in cells))
        print_table(parts)
        print(f"Memory of all parts: {sum(part['memory_mib'] or 0 for part in found['parts']):.0f} MiB")
    for host in found["hosts"]:
        print(
            f"Host {host['id']}: {'connected' if host['connected'] else 'not connected'}, {host['accelerator']}, "
            f"vCPUs {host['vcpus_used']} of {host['vcpus']}, "
            f"memory {host['memory_used_mib']} of {host['memory_mib']} MiB"
        )
    states = ", ".join(f"{number} {state}" for state, number in sorted(found["instances"].items())) or "none"
    print(f"Servers: {states} (QEMU processes: {len(found['guests'])})")
    if found["servers"]:
        servers = table("Server", "Account", "Type", "State", "Private address", "Host", "CPU credits")
        for server in found["servers"]:
            left = "" if server["cpu_credits"] is None else f"{server['cpu_credits']:.1f}"
            names = (server[key] or "" for key in ("id", "account", "type", "state", "private_ip", "host"))
            servers.add_row(*names, left)
        print_table(servers)
    for failure in found["failures"]:
        # repr: a host is not trusted to leave the terminal alone.
        print(f"Failed: {failure['id']} on {failure['host']}: {failure['why']!r}")
    for account in found["accounts"]:
        # repr: the name is a customer's text, and must not steer the terminal.
        print(f"Account {account['id']}  {account['name']!r}" + ("  closing" if account["closing"] else ""))
