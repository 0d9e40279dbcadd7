"""Open vSwitch's side of a port: an interface in the integration bridge that OVN knows by its logical port's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.host.commands import run

BRIDGE = "br-int"
_SECONDS_MAX = 10  # ovs-vsctl would wait for a dead ovs-vswitchd for ever


@dataclass(frozen=True, slots=True)
class Vswitch:
    """`database` is Open vSwitch's database as its tools name it: ``unix:PATH``."""

    database: str

    async def plug(self, interface: str, logical_port: str, owner: str) -> None:
        """Have `interface` in the bridge, bound to the logical port. `owner` is the id of what it belongs to."""
        await self._change(
            ("--may-exist", "add-port", BRIDGE, interface),
            (
                "set",
                "Interface",
                interface,
                f"external_ids:iface-id={logical_port}",
                f"external_ids:freehold-owner={owner}",
            ),
        )

    async def unplug(self, interface: str) -> None:
        await self._change(("--if-exists", "del-port", BRIDGE, interface))

    async def plugged(self) -> frozenset[str]:
        """The interfaces in the bridge."""
        return frozenset((await self._change(("list-ports", BRIDGE))).decode().split())

    async def _change(self, *commands: Sequence[str]) -> bytes:
        argv = ["ovs-vsctl", f"--timeout={_SECONDS_MAX}", f"--db={self.database}"]
        for command in commands:
            argv += ["--", *command]
        return await run(argv, seconds_max=_SECONDS_MAX + 5)
