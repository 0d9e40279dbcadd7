"""All guests of a host: each follows its spec in a task of its own; what changes is gathered into reports."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from functools import partial

import structlog
from msgspec.structs import replace

from freehold import processes
from freehold.host.answers import Answers
from freehold.host.console import Console
from freehold.host.credits.keeper import Credits
from freehold.host.errors import HostError
from freehold.host.guest import Guest
from freehold.host.hypervisor import process
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.layout import MalformedSpec, check_ids, tap_name
from freehold.host.machine import Machine
from freehold.host.metadata.service import MetadataService
from freehold.host.ports import taps
from freehold.host.pressure import Pressure
from freehold.host.probes import Probes
from freehold.host.records import load_record, load_spec
from freehold.host.starts import Starts
from freehold.host.stats.egress import Egress
from freehold.host.templates.service import Templates, WarmStart
from freehold.host.volumes.blocks import Blocks
from freehold.host.volumes.copies import Copies
from freehold.host.volumes.free import FreeVolumes
from freehold.host.volumes.merging import Merging
from freehold.host.volumes.shares import Sharing, Use
from freehold.host.volumes.snapshots import Snapshots
from freehold.host.wire import (
    KEYS_MAX,
    Assignment,
    GuestReport,
    GuestSpec,
    Report,
    RoleCredentials,
    VolumeKey,
    volumes_of,
)

log = structlog.get_logger()

_CONSOLE_SECONDS = 0.5
_CONSOLES_MAX = 50  # in one report, so that it stays far below the largest frame


class Agent:
    """`changed` is set when there is something to report. `answers` are to what is asked of this host."""

    def __init__(self, machine: Machine, cores: int, warm: WarmStart) -> None:
        self.changed = asyncio.Event()
        self._machine = machine
        self._starts = Starts(cores, self._rested)
        self._templates = Templates(machine, warm, lambda: self._starts.idle, self.changed.set)
        self._metadata = MetadataService(machine, self._credentials_of, self.changed.set)
        self._egress = Egress(machine.effects, self.changed.set)
        self._snapshots = Snapshots(
            *(machine, self._something_went, self._user_of, self._monitor_of, self._rests, self._sources)
        )
        self._volumes = FreeVolumes(machine, self._something_went)
        self._merging = Merging(
            *(machine, self._user_of, self._monitor_of, self._attached),
            self._snapshots.report_again,
            self.changed.set,
        )
        self._blocks = Blocks(machine)
        self._sharing = Sharing(machine, self._uses_of)
        self._copies = Copies(machine, self._snapshots.copied)
        self._guests: dict[str, Guest] = {}
        self._probes = Probes(self._guests, self._changed)
        self._pressure = Pressure(self._guests)
        self._credits = Credits(machine, self._guests, self._changed)
        self._credentials: dict[str, RoleCredentials] = {}  # never on disk: a new agent waits for the control plane
        self._consoles: dict[str, Console] = {}
        self.answers = Answers(self._guests, self._consoles, self._snapshots, self._blocks)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unreported: set[str] = set()
        self._news: set[str] = set()
        self._cleaning: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on with the guests that were here before; the control plane need not answer for that."""
        running = processes.guests(self._machine.layout.tag)
        for directory in sorted(self._machine.layout.guests.iterdir()):
            spec = load_spec(self._machine.layout.guest(directory.name))
            if spec is not None:
                self._follow(spec, None)
        in_use = [
            volume_id for each in running.keys() & self._guests for volume_id in volumes_of(self._guests[each].spec)
        ]
        in_use += processes.shares(self._machine.layout.tag)
        self._machine.pool.layers.forget_unfinished(in_use)
        self._sharing.start()
        self._looking = asyncio.create_task(self._look_at_consoles())
        self._tell_guests()
        self._metadata.start()
        self._egress.start()
        self._snapshots.start()
        self._probes.start()
        self._credits.start()
        self._volumes.start()
        self._pressure.start()
        self._templates.start()
        self._merging.start()
        self._copies.start()
        self._blocks.start()

    async def close(self) -> None:
        """Stop working. Guests run on."""
        await self._metadata.close()
        await self.answers.close()
        await self._egress.close()
        await self._snapshots.close()
        await self._probes.close()
        await self._credits.close()
        await self._volumes.close()
        await self._pressure.close()
        await self._templates.close()
        await self._merging.close()
        await self._copies.close()
        await self._blocks.close()
        await self._sharing.close()
        tasks = [*self._tasks.values(), *(task for task in (self._cleaning, self._looking) if task)]
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def assign(self, assignment: Assignment) -> None:
        """Take what should be from the control plane."""
        credentials = {given.instance_id: given for given in assignment.credentials}
        keys = {given.volume_id: given for given in assignment.keys}
        self._snapshots.take(assignment.snapshots, keys)
        self._copies.make(assignment.copies, keys)
        self._snapshots.delete(assignment.delete_snapshots)
        self._merging.give_keys(keys)
        for spec in assignment.guests:
            self._credentials.pop(spec.instance_id, None)
            if spec.instance_id in credentials:
                self._credentials[spec.instance_id] = credentials[spec.instance_id]
            try:
                check_ids(spec)
            except MalformedSpec as error:
                log.error("spec refused", error=str(error))
                continue
            ids = {volume.volume_id for volume in spec.volumes}
            self._follow(spec, {volume_id: key for volume_id, key in keys.items() if volume_id in ids})
        if assignment.complete:
            wanted = {spec.instance_id for spec in assignment.guests}
            for instance_id in self._guests.keys() - wanted:
                orphan = self._guests[instance_id]
                log.warning("guest is not known to the control plane: it is removed", instance=instance_id)
                orphan.assign(replace(orphan.spec, desired="absent"), {})
            if self._cleaning is None or self._cleaning.done():
                self._cleaning = asyncio.create_task(self._clean())
        self._volumes.make(assignment.make_volumes, keys)
        self._volumes.delete(assignment.delete_volumes)
        self._sharing.wake()
        self._tell_guests()

    def report(self, *, everything: bool) -> Report:
        """What changed since the last report, or all that is. `reported` must follow once it has been sent."""
        # The metadata service's link goes with the last guest of a VPC: until then something of that guest is left.
        held = set() if self._metadata.tidy else {each for each, guest in self._guests.items() if guest.gone}
        ids = sorted((self._guests.keys() if everything else self._unreported | self._news) - held)
        consoles = set(sorted(self._news)[:_CONSOLES_MAX])
        reports = [self._report(each, console=each in consoles) for each in ids if each in self._guests]
        self._unreported = held
        self._news -= consoles
        if not self._news:
            self.changed.clear()
        return Report(
            tuple(reports),
            self._egress.readings(everything=everything),
            self._volumes.deleted(),
            self._snapshots.taken(),
            self._snapshots.deleted(),
            tuple(sorted(self._merging.missing)[:KEYS_MAX]),
            self._volumes.made(),
            self._templates.ready,
        )

    def reported(self, report: Report) -> None:
        """The control plane has this report: forget the guests that it says are gone."""
        for said in report.guests:
            guest = self._guests.get(said.instance_id)
            if guest is not None and guest.gone and said.state == "absent":
                del self._guests[said.instance_id], self._consoles[said.instance_id]
                self._credentials.pop(said.instance_id, None)
                self._credits.forget(said.instance_id)
                self._tasks.pop(said.instance_id).cancel()
        self._egress.reported(report.traffic)
        self._volumes.reported(report.made_volumes, report.deleted_volumes)
        self._snapshots.reported(report.snapshots, report.deleted_snapshots)

    def forget_reported(self) -> None:
        """The link is a new one: whoever is there now may have heard nothing yet."""
        for console in self._consoles.values():
            console.forget_reported()

    def _follow(self, spec: GuestSpec, keys: Mapping[str, VolumeKey] | None) -> None:
        known = self._guests.get(spec.instance_id)
        if known is not None:
            known.assign(spec, keys)
            return
        instance_id = spec.instance_id
        paths = self._machine.layout.guest(instance_id)
        remembered = load_spec(paths)
        record = load_record(paths)
        changed = partial(self._changed, instance_id)
        guest = Guest(self._machine, self._starts, self._templates, remembered or spec, record, changed)
        guest.assign(spec, keys)
        self._guests[instance_id] = guest
        self._consoles[instance_id] = Console(paths)
        self._tasks[instance_id] = asyncio.create_task(guest.run(), name=instance_id)
        self._changed(instance_id)

    def _something_went(self) -> None:
        """To be called when a snapshot was taken or has gone, or a volume has: there may be layers to merge."""
        self.changed.set()
        self._merging.wake()

    def _sources(self) -> set[str]:
        """The ids of the snapshots that volumes are still to be made from."""
        of_guests = [v for guest in self._guests.values() if guest.spec.desired != "absent" for v in guest.spec.volumes]
        made_from = {v.snapshot_id for v in of_guests if v.snapshot_id and not self._machine.has_volume(v.volume_id)}
        return made_from | self._volumes.sources()

    def _attached(self) -> list[tuple[str, str]]:
        """The ids of all volumes that guests have, each with whose QEMU has it open."""
        volume_ids = {volume_id for guest in self._guests.values() for volume_id in volumes_of(guest.spec)}
        return [(user, each) for each in sorted(volume_ids) if (user := self._user_of(each)) is not None]

    def _user_of(self, volume_id: str) -> str | None:
        """The guest that has a volume; of one that several have, the volume itself, which has a QEMU of its own."""
        if self._machine.is_shared(volume_id) and self._machine.find(volume_id) is not None:
            return volume_id
        for instance_id, guest in self._guests.items():
            if guest.may_have(volume_id):
                return instance_id
        return None

    def _uses_of(self, volume_id: str) -> list[Use | None]:
        """What those guests whose QEMU runs are to have of a volume (`Sharing`)."""
        uses: list[Use | None] = []
        for instance_id, guest in self._guests.items():
            if guest.may_have(volume_id) and self._machine.find(instance_id) is not None:
                wanted = [volume for volume in guest.spec.volumes if volume.volume_id == volume_id]
                uses.append((wanted[0], guest.keys) if wanted else None)
        return uses

    def _rests(self, user: str) -> bool:
        """Whether a guest has shut down, or one of those that have a volume."""
        if user in self._guests:
            return self._guests[user].rests
        sharing = [guest for guest in self._guests.values() if guest.may_have(user)]
        return not sharing or any(guest.rests for guest in sharing)

    def _monitor_of(self, user: str) -> Monitor | None:
        guest = self._guests.get(user)
        return self._machine.shares.find(user) if guest is None else guest.monitor

    def _rested(self) -> None:
        self._templates.wake()

    def _credentials_of(self, instance_id: str) -> RoleCredentials | None:
        return self._credentials.get(instance_id)

    def _tell_guests(self) -> None:
        """To be called whenever a spec is another one, or a guest is gone."""
        specs = [guest.spec for guest in self._guests.values() if not guest.gone]
        self._metadata.know(specs)
        self._egress.know(specs)

    def _changed(self, instance_id: str) -> None:
        self._unreported.add(instance_id)
        self._sharing.wake()
        if self._guests[instance_id].gone:
            self._tell_guests()
        self.changed.set()

    def _report(self, instance_id: str, *, console: bool) -> GuestReport:
        report = replace(
            self._guests[instance_id].report(),
            answers=self._probes.answers(instance_id),
            credits=self._credits.reading(instance_id),
        )
        return replace(report, console=self._consoles[instance_id].take()) if console else report

    async def _look_at_consoles(self) -> None:
        while True:
            await asyncio.sleep(_CONSOLE_SECONDS)
            for instance_id, console in self._consoles.items():
                try:
                    if console.has_news():
                        self._news.add(instance_id)
                        self.changed.set()
                except OSError as error:
                    log.warning("console log", instance=instance_id, error=error.strerror)

    async def _clean(self) -> None:
        """Remove what belongs to this cloud and to no guest: left by an agent whose files were lost."""
        machine = self._machine
        try:
            for instance_id in processes.guests(machine.layout.tag).keys() - self._guests.keys():
                log.warning("process of no known guest is ended", instance=instance_id)
                await process.end(machine.layout.tag, instance_id)
                machine.cgroups.remove(instance_id)
            for directory in machine.layout.guests.iterdir():
                if directory.name not in self._guests and not self._templates.holds(directory.name):
                    shutil.rmtree(directory)
            made = {tap_name(each): each for each in await taps.made(machine.layout.tag)}
            plugged = {name for name in await machine.vswitch.plugged() if name in made or name.startswith("fh")}
            known = {tap_name(i.interface_id) for guest in self._guests.values() for i in guest.spec.interfaces}
            for name in (made.keys() | plugged) - known:
                log.warning("tap of no known guest is removed", tap=name)
                await machine.vswitch.unplug(name)
                if name in made:
                    await taps.remove(made[name])
        except (HostError, OSError) as error:
            log.warning("what is left over could not be removed, it is tried again later", error=str(error))
