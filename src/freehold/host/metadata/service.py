"""The metadata service of a host: a link and a listener for each VPC that has a guest here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from freehold.host.layout import metadata_link
from freehold.host.machine import Machine
from freehold.host.metadata import links
from freehold.host.metadata.server import Caller, Server
from freehold.host.metadata.tokens import Tokens, load_key
from freehold.host.wire import GuestSpec, RoleCredentials
from freehold.host.worker import Worker

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
        self._listening: dict[str, asyncio.Server] = {}

    async def close(self) -> None:
        """Serve no more. The links stay."""
        await super().close()
        for listening in self._listening.values():
            listening.close()
        if self._server is not None:
            await self._server.close()

    def know(self, specs: Iterable[GuestSpec]) -> None:
        """These are all guests of this host. Of two with the same address, the one that is to run has it."""
        by_age = sorted(specs, key=lambda spec: (spec.desired != "absent", spec.metadata.launched_at))
        guests = {(each.vpc_id, each.private_ip): spec for spec in by_age for each in spec.interfaces}
        if guests != self._guests:
            before = self._vpcs()
            self._guests = guests
            self.tidy = self.tidy and before <= self._vpcs()
            self.wake()

    async def _round(self) -> None:
        if self._server is None:
            await links.prepare(self._machine)
            self._server = Server(self._who, self._credentials, Tokens(load_key(self._machine.layout.metadata_key)))
        self._server.forget_all_but({spec.instance_id for spec in self._guests.values()})
        if not self.tidy:
            await self._remove()
        for vpc_id in sorted(self._vpcs() - self._listening.keys()):
            await links.make(self._machine, vpc_id)
            self._listening[vpc_id] = await self._server.listen(vpc_id, links.listen(vpc_id))
            log.info("metadata service listens", vpc=vpc_id)

    async def _remove(self) -> None:
        """Have no link of a VPC that no guest is in, also none that an earlier agent left."""
        wanted = self._vpcs()
        for vpc_id in self._listening.keys() - wanted:
            self._listening.pop(vpc_id).close()
        for name in await links.found(self._machine) - {metadata_link(vpc_id) for vpc_id in wanted}:
            await links.remove(self._machine, name)
        if wanted == self._vpcs():  # else it was woken again
            self.tidy = True
            self._tidied()

    def _who(self, caller: Caller) -> GuestSpec | None:
        return self._guests.get(caller)

    def _vpcs(self) -> set[str]:
        return {vpc_id for vpc_id, _ in self._guests}
