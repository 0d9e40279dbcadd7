"""Bytes that guests send to the internet, counted for each public address by the kernel.

What leaves a guest by its public address passes the cloud's namespace: from br-ex to the link to the machine if it is
for the world outside, back into br-ex if it is for another guest, which costs nothing. A set of the public addresses of
this host's guests counts the first kind, IP headers included, after the firewall has let it pass.

Each address of the set has its own epoch, in its comment: it is another one whenever the address belongs to another
network interface or its counter began anew, and is lost exactly when the counter is.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

import structlog

from freehold.host.commands import run
from freehold.host.effects import Effects
from freehold.host.errors import CommandError
from freehold.host.wire import REPORT_SECONDS, GuestSpec, TrafficReading
from freehold.host.worker import Worker

log = structlog.get_logger()

_TABLE = "inet freehold-egress"
_SET = f"{_TABLE} sent"
_SETUP = (
    f"add table {_TABLE}",
    f"add set {_SET} {{ type ipv4_addr; counter; }}",
    # After the cloud's own firewall, whose priority is 0.
    f"add chain {_TABLE} forward {{ type filter hook forward priority 10; policy accept; }}",
    f"flush chain {_TABLE} forward",
    f"add rule {_TABLE} forward iifname br-ex oifname != br-ex ip saddr @sent",
)


@dataclass(frozen=True, slots=True)
class _Counter:
    address: IPv4Address
    epoch: str
    bytes_out: int

    @property
    def owner(self) -> str:
        return self.epoch.partition(":")[0]


class Egress(Worker):
    """Told which guests there are; counts and reads by itself, until it is closed; the kernel counts on. `changed` is
    called when there is something to report."""

    def __init__(self, effects: Effects, changed: Callable[[], None]) -> None:
        super().__init__("egress counters", REPORT_SECONDS)
        self._effects = effects
        self._changed = changed
        self._owners: dict[IPv4Address, str] = {}
        self._counters: tuple[_Counter, ...] = ()
        self._reported: dict[str, int] = {}  # bytes, by epoch
        self._leaving: dict[str, int] = {}  # the same, when the counter's interface was first seen to be gone

    def know(self, specs: Iterable[GuestSpec]) -> None:
        """These are all guests of this host."""
        owners = {
            IPv4Address(interface.public_ip): interface.interface_id
            for spec in specs
            for interface in spec.interfaces
            if interface.public_ip is not None
        }
        if owners != self._owners:
            self._owners = owners
            self.wake()

    def readings(self, *, everything: bool) -> tuple[TrafficReading, ...]:
        """All counters as last read, or those with something new. `reported` must follow once they have been sent."""
        return tuple(
            TrafficReading(str(each.address), each.owner, each.epoch, each.bytes_out)
            for each in self._counters
            if everything or self._is_news(each)
        )

    def reported(self, readings: Iterable[TrafficReading]) -> None:
        """The control plane has these."""
        self._reported.update((each.epoch, each.bytes_out) for each in readings)
        if self._leaving:
            self.wake()

    def _is_news(self, counter: _Counter) -> bool:
        return self._reported.get(counter.epoch) != counter.bytes_out

    async def _round(self) -> float:
        present = {each.address: each for each in await self._read()}
        self._leaving = {
            each.epoch: self._leaving.get(each.epoch, each.bytes_out)
            for each in present.values()
            if self._owners.get(each.address) != each.owner
        }
        # Not before the last that was counted for its interface has been reported.
        done = {
            address
            for address, each in present.items()
            if each.epoch in self._leaving and self._reported.get(each.epoch, -1) >= self._leaving[each.epoch]
        }
        fresh = {
            address: f"{owner}:{secrets.token_hex(4)}"
            for address, owner in self._owners.items()
            if address not in present or address in done
        }
        if done or fresh:
            await self._change(
                # Added first, so that to delete it again is no error.
                *(f"{verb} element {_SET} {{ {address} }}" for address in done for verb in ("add", "delete")),
                *(f'add element {_SET} {{ {address} counter comment "{epoch}" }}' for address, epoch in fresh.items()),
            )
        kept = [each for address, each in present.items() if address not in done]
        self._counters = (*kept, *(_Counter(address, epoch, 0) for address, epoch in fresh.items()))
        self._reported = {each.epoch: self._reported[each.epoch] for each in kept if each.epoch in self._reported}
        if any(self._is_news(each) for each in self._counters):
            self._changed()
        return REPORT_SECONDS

    async def _change(self, *commands: str) -> None:
        async def change() -> None:
            await run(("nft", "; ".join(commands)))

        await self._effects.perform("change egress counters", change)

    async def _read(self) -> list[_Counter]:
        try:
            output = await run(("nft", "-j", "list", "set", *_SET.split()))
        except CommandError:
            if self._counters:
                log.warning("the egress counters were lost; they begin anew")
            await self._change(*_SETUP)
            return []
        (listed,) = (entry["set"] for entry in json.loads(output)["nftables"] if "set" in entry)
        elements = [element["elem"] for element in listed.get("elem", ())]
        return [_Counter(IPv4Address(e["val"]), e["comment"], e["counter"]["bytes"]) for e in elements]
