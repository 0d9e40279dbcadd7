"""The metadata service, the resolver and the way to the API of a host: a link, and a listener each, for each VPC that
has a guest here."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network

import structlog

from freehold.host.layout import metadata_link
from freehold.host.machine import Machine
from freehold.host.metadata import links
from freehold.host.metadata.server import Caller, Server
from freehold.host.metadata.tokens import Tokens, load_key
from freehold.host.relay import Relay
from freehold.host.resolver.names import Vpc
from freehold.host.resolver.server import Resolver
from freehold.host.wire import GuestSpec, RoleCredentials
from freehold.host.worker import Worker
from freehold.network.names import API_PORT

log = structlog.get_logger()

_RETRY_SECONDS = 2.0


class MetadataService(Worker):
    """Told which guests there are; makes and removes links by itself, until it is closed. `credentials` are asked for
    those of an instance's role.

    `tidy` = there is no link of a VPC without guests; `tidied` is called when that has become so.
    """

    def __init__(
        self, machine: Machine, credentials: Callable[[str], RoleCredentials | None], tidied: Callable[[], None]
    ) -> None:
        super().__init__("metadata service", _RETRY_SECONDS)
        self.tidy = False
        self._credentials = credentials
        self._tidied = tidied
        self._machine = machine
        self._guests: dict[Caller, GuestSpec] = {}
        self._server: Server | None = None
        self._vpcs: dict[str, Vpc] = {}
        self._resolver = Resolver(self._vpc_of)
        self._relay = Relay(machine.layout.paths, self._who)
        self._listening: dict[str, tuple[asyncio.Server | asyncio.DatagramTransport, ...]] = {}

    async def close(self) -> None:
        """Serve no more. The links stay."""
        await super().close()
        for vpc_id in list(self._listening):
            self._hush(vpc_id)
        await self._resolver.close()
        await self._relay.close()
        if self._server is not None:
            await self._server.close()

    def know(self, specs: Iterable[GuestSpec]) -> None:
        """These are all guests of this host. Of two with the same address, the one that is to run has it."""
        by_age = sorted(specs, key=lambda spec: (spec.desired != "absent", spec.metadata.launched_at))
        guests = {(each.vpc_id, each.private_ip): spec for spec in by_age for each in spec.interfaces}
        if guests != self._guests:
            before = self._vpcs.keys()
            self._guests = guests
            self._vpcs = _vpcs(guests.values())
            self.tidy = self.tidy and before <= self._vpcs.keys()
            self.wake()

    async def _round(self) -> None:
        if self._server is None:
            await links.prepare(self._machine)
            self._server = Server(self._who, self._credentials, Tokens(load_key(self._machine.layout.metadata_key)))
        self._server.forget_all_but({spec.instance_id for spec in self._guests.values()})
        self._resolver.forget_all_but(self._guests)
        if not self.tidy:
            await self._remove()
        for vpc_id in sorted(self._vpcs.keys() - self._listening.keys()):
            await links.make(self._machine, vpc_id)
            opened: list[asyncio.Server | asyncio.DatagramTransport] = []
            try:
                opened.append(await self._server.listen(vpc_id, links.listen(vpc_id)))
                opened += await self._resolver.listen(vpc_id, *links.hear(vpc_id))
                opened.append(await self._relay.listen(vpc_id, links.listen(vpc_id, API_PORT)))
            except OSError:
                for listening in opened:
                    listening.close()
                raise
            self._listening[vpc_id] = tuple(opened)
            log.info("metadata service listens", vpc=vpc_id)

    async def _remove(self) -> None:
        """Have no link of a VPC that no guest is in, also none that an earlier agent left."""
        wanted = self._vpcs.keys()
        for vpc_id in self._listening.keys() - wanted:
            self._hush(vpc_id)
        for name in await links.found(self._machine) - {metadata_link(vpc_id) for vpc_id in wanted}:
            await links.remove(self._machine, name)
        if wanted == self._vpcs.keys():  # else it was woken again
            self.tidy = True
            self._tidied()

    def _who(self, caller: Caller) -> GuestSpec | None:
        return self._guests.get(caller)

    def _vpc_of(self, caller: Caller) -> Vpc | None:
        return self._vpcs[caller[0]] if caller in self._guests else None

    def _hush(self, vpc_id: str) -> None:
        for listening in self._listening.pop(vpc_id):
            listening.close()


def _vpcs(specs: Iterable[GuestSpec]) -> dict[str, Vpc]:
    """The VPCs that guests are in, as the resolver knows them."""
    found: dict[str, Vpc] = {}
    private_ips: dict[str, dict[IPv4Address, IPv4Address]] = defaultdict(dict)
    for spec in specs:
        for each in spec.interfaces:
            found[each.vpc_id] = Vpc(spec.metadata.region, IPv4Network(each.vpc_cidr), private_ips[each.vpc_id])
            if each.public_ip is not None:
                private_ips[each.vpc_id][IPv4Address(each.public_ip)] = IPv4Address(each.private_ip)
    return found
