"""One guest: a loop that looks at what is and at what should be, and takes the next step from the one to the other.

It is woken by a new spec, by QEMU's events and by time, is never told what changed, and may be cut anywhere: what it
needs to know across a cut is in the guest's record.

    starting ──► running ──► stopping ──► stopped        absent, from anywhere
        │           └── the guest powers off ──┘
        └──► failed (tried again)
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import assert_never

import structlog
from msgspec.structs import replace

from freehold.host import hibernation
from freehold.host.errors import CannotStart, HostError, NotYet
from freehold.host.guest_disks import GuestDisks
from freehold.host.hypervisor import devices, memory, process
from freehold.host.hypervisor.guest_agent import AgentError
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.machine import Machine
from freehold.host.records import GuestRecord, Saved, State, new_record
from freehold.host.starts import Starts
from freehold.host.templates import clone
from freehold.host.templates.service import Templates
from freehold.host.wire import MESSAGE_CHARACTERS_MAX, GuestReport, GuestSpec, VolumeKey

log = structlog.get_logger()

_NOW = 0.0
_PRESS_SECONDS = 5.0  # a guest that still boots does not hear the power button
_RETRY_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_TRIES = 5  # in a row, before a guest is reported as failed
_NOT_SHUTTING_DOWN: dict[str, object] = {"resetting": False, "shutdown_asked_at": None, "cannot_hibernate": False}
_HIBERNATION_SECONDS = 5.0  # QEMU says when it has saved or loaded a guest's memory; this is if that was not heard
_CALM_SECONDS = 60.0  # without a failure, after which earlier ones are forgiven

_LOST = "Its QEMU ended, and its automatic recovery is disabled; reboot the instance, or stop and start it."

# Runstates in which a guest's CPUs do not run and will not by themselves, and what to tell an operator.
_BROKEN = {
    "io-error": "The guest is paused because its disk can not be written; free disk space on the host.",
    "internal-error": "The guest's virtual machine stopped with an internal error; reboot the instance.",
    "guest-panicked": "The guest's kernel panicked; reboot the instance.",
}


class Guest:
    """`changed` is called when there is something to report."""

    def __init__(
        self,
        machine: Machine,
        starts: Starts,
        templates: Templates,
        spec: GuestSpec,
        record: GuestRecord | None,
        changed: Callable[[], None],
    ) -> None:
        self._machine = machine
        self._starts = starts
        self._templates = templates
        self._changed = changed
        self._woken = asyncio.Event()
        self._monitor: Monitor | None = None
        self._remembered = record is not None and record.generation == spec.generation
        self._plugged = False
        self._disks = GuestDisks(machine, changed)
        self._keys: Mapping[str, VolumeKey] | None = None
        self._failures = 0
        self._failed_at = 0.0
        self.spec = spec
        self.record = record or new_record(spec)

    @property
    def gone(self) -> bool:
        """Nothing of it is left, and nothing is to be made."""
        return self.record.state == "absent" and self.spec.desired == "absent"

    @property
    def monitor(self) -> Monitor | None:
        """That of its QEMU, if one runs."""
        return self._monitor if self._monitor is not None and self._monitor.alive else None

    def may_have(self, volume_id: str) -> bool:
        """Whether a volume is the guest's, or is still to be let go of."""
        held = self._disks.held
        letting_go = volume_id in self.spec.detach and (held is None or volume_id in held)
        return letting_go or any(volume.volume_id == volume_id for volume in self.spec.volumes)

    @property
    def keys(self) -> Mapping[str, VolumeKey]:
        """What opens its encrypted volumes, by volume id, as far as that is known."""
        return self._keys or {}

    def report(self) -> GuestReport:
        record = self.record
        return GuestReport(
            self.spec.instance_id,
            record.generation,
            record.state,
            record.changed_at,
            guest_shutdown=record.guest_shutdown,
            disks_fail=record.disks_fail,
            hibernated=record.state == "stopped" and record.saved is not None,
            message=record.message and record.message[:MESSAGE_CHARACTERS_MAX],
            volumes=self._volumes(),
            disks_fit=self._disks.fitted == self.spec.generation,
        )

    def _volumes(self) -> tuple[str, ...] | None:
        """Those of its spec that it has, and those that it is not to have and has not let go of."""
        held = self._disks.held
        if held is not None and self._remembered:
            held -= {volume.volume_id for volume in self.spec.volumes} - self._disks.plugged
        return None if held is None else tuple(sorted(held))

    def wake(self) -> None:
        self._woken.set()

    def assign(self, spec: GuestSpec, keys: Mapping[str, VolumeKey] | None) -> None:
        """Follow another spec from now on. A spec older than the present one is a message that was overtaken.

        `keys` open the encrypted volumes, by volume id; None: the control plane has not spoken yet. No file has them:
        after its own restart an agent waits for them before it starts a guest, and needs none for one that runs.
        """
        if spec.generation < self.spec.generation or (spec, keys) == (self.spec, self._keys):
            return
        self._remembered = self._remembered and spec == self.spec
        self.spec = spec
        self._keys = keys
        self._failures = 0
        self.wake()

    async def run(self) -> None:
        """Work for ever; ended by cancelling, which leaves the guest as it is."""
        try:
            while True:
                self._woken.clear()
                pause = await self._try_step()
                if pause != _NOW:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._woken.wait()
        finally:
            self._starts.give_back(self.spec.instance_id)
            self._machine.agents.drop(self.spec.instance_id)
            if self._monitor is not None:
                await self._monitor.close()

    async def _try_step(self) -> float | None:
        """One step; returns the seconds until the next one, None = not before it is woken."""
        try:
            return await self._step()
        except CannotStart as error:
            return await self._give_up(str(error))
        except NotYet as error:
            return error.seconds
        except (HostError, OSError) as error:
            return await self._failed(str(error))
        except Exception:
            log.exception("guest failed", instance=self.spec.instance_id)
            return await self._failed("The host agent has a defect; its log says more.")

    async def _failed(self, message: str) -> float:
        now = time.monotonic()
        self._failures = self._failures + 1 if now - self._failed_at < _CALM_SECONDS else 1
        self._failed_at = now
        log.warning("step failed", instance=self.spec.instance_id, error=message, failures=self._failures)
        if self._failures < _TRIES or self.spec.desired != "running":
            return min(0.1 * 2.0**self._failures, _RETRY_SECONDS)
        return await self._give_up(message)

    async def _give_up(self, message: str) -> float:
        """Report it as failed, and let others start before it is tried again."""
        self._starts.give_back(self.spec.instance_id)
        with contextlib.suppress(OSError):  # a full disk may be what failed
            await self._turn("failed", message=message)
        return _RETRY_SECONDS

    async def _step(self) -> float | None:
        if self.gone:
            if self.record.generation != self.spec.generation:
                self.record = replace(self.record, generation=self.spec.generation)
                self._changed()
            return None
        if not self._remembered:
            await self._adopt()
        await self._attach()
        match self.spec.desired:
            case "running":
                return await self._towards_running()
            case "stopped":
                return await self._towards_stopped()
            case "absent":
                return await self._towards_absent()
        assert_never(self.spec.desired)

    async def _adopt(self) -> None:
        """Write down a new spec, and what it makes of the record."""
        spec, record = self.spec, self.record
        await self._machine.remember(spec)
        record = replace(record, generation=spec.generation)
        if spec.desired != "running":
            record = replace(record, guest_shutdown=False, lost=False)
        elif record.state in ("failed", "absent"):
            record = replace(record, state="starting", message=None, changed_at=dt.datetime.now(dt.UTC))
        await self._machine.record(spec.instance_id, record)
        self.record = record
        self._remembered = spec is self.spec
        self._changed()

    async def _attach(self) -> None:
        """Hold QEMU's monitor if a QEMU runs."""
        if self._monitor is not None and self._monitor.alive:
            return
        if self._monitor is not None:
            await self._monitor.close()
            self._monitor = None
        if self._machine.find(self.spec.instance_id) is None:
            self._plugged = False
            self._disks.hold(frozenset(), frozenset())
            return
        paths = self._machine.layout.guest(self.spec.instance_id)
        try:
            self._monitor = await Monitor.connect(paths.monitor, self.wake)
        except HostError as error:
            if self._machine.find(self.spec.instance_id) is None:
                raise HostError(f"QEMU ended: {process.last_words(paths) or 'without a word'}") from error
            # Ended without being asked, it would lose what it has in memory: only one that hangs is.
            if self.spec.desired == "running" or (self._keeps_disks and self._failures < _TRIES):
                raise
        with contextlib.suppress(AgentError):  # it has no port for one
            await self._machine.agents.get(self.spec.instance_id, paths.guest_agent)

    async def _towards_running(self) -> float | None:
        spec, monitor = self.spec, self._monitor
        if monitor is None:
            return await self._start()
        if not self._plugged:
            await self._machine.plug(spec)
            self._plugged = True
        status = await monitor.status()
        if spec.reboots > self.record.reboots:
            return await self._reboot(spec, monitor, status)
        match status:
            case "inmigrate":
                await self._take_down()  # a clone that was cut before it was one
            case "prelaunch" | "paused":
                pid = self._machine.find(spec.instance_id)
                if pid is None:
                    return _NOW
                new = self.record.state != "running" and self.record.saved is None
                if new and not await clone.is_complete(spec, monitor):
                    await self._take_down()
                    return _NOW
                if (pause := await self._resume(monitor, status)) is not None:
                    return pause
                await self._machine.limit(spec, pid)
                await self._machine.effects.perform("start cpus", monitor.start_cpus)
                self._starts.watch(spec.instance_id, pid)
            case "running":
                await self._turn("running")
                return await self._disks.fit(monitor, spec, self._keys or {})
            case "shutdown":
                await self._turn("stopped", guest_shutdown=True)
                await self._take_down()
                return None
            case "io-error":
                await self._turn("failed", message=_BROKEN[status], disks_fail=True)
                self._machine.pool.check_space()
                await self._machine.effects.perform("start cpus", monitor.start_cpus)
                return _RETRY_SECONDS
            case _:
                message = _BROKEN.get(
                    status, "The guest's virtual machine is in an unknown state; reboot the instance."
                )
                await self._turn("failed", message=message)
                return _RETRY_SECONDS
        return _NOW

    async def _start(self) -> float | None:
        if self.record.guest_shutdown:
            await self._machine.dismantle(self.spec)
            return None  # it stays off until it is told to start
        if self.record.state == "running":
            lost = not self.spec.auto_recovery
            if self._machine.cgroups.out_of_memory(self.spec.instance_id):
                # Nobody is to think that it has rebooted by itself: it counts as failed until it runs again.
                message = "The host has run out of memory: the kernel has ended the guest."
                await self._turn("failed", message=message, lost=lost)
                await self._machine.dismantle(self.spec)
                raise HostError("QEMU was ended for want of memory and is started again.")
            await self._turn("starting", lost=lost)
            words = process.last_words(self._machine.layout.guest(self.spec.instance_id)) or "it left no word"
            if not lost:
                raise HostError(f"QEMU ended and is started again: {words}")
        if self.record.lost and not self.spec.auto_recovery and self.spec.reboots == self.record.reboots:
            await self._machine.dismantle(self.spec)
            raise CannotStart(_LOST)
        if self._awaits_snapshots():
            return _LOOK_SECONDS
        if (keys := self._keys_to_start()) is None or not self._starts.take(self.spec.instance_id, self.wake):
            return None
        started: State = "failed" if self.record.state == "failed" else "starting"
        begins = {"message": self.record.message, "reboots": self.spec.reboots, "lost": False}
        await self._turn(started, **begins, **_NOT_SHUTTING_DOWN)
        saved = self.record.saved
        if saved is not None and (self.record.loading or not hibernation.fits(self._machine, self.spec, saved)):
            log.warning("memory does not fit the guest any more, it boots", instance=self.spec.instance_id)
            await self._forget_memory()
            saved = None
        await self._build(keys, saved)
        self._plugged = True
        return _NOW

    async def _resume(self, monitor: Monitor, status: str) -> float | None:
        """Give the guest the memory that is kept of it, before its next step. Seconds to wait; None = it may go on."""
        if self.record.saved is None:
            return None
        if status == "prelaunch" and self._machine.memories.has(self.spec.instance_id):
            await self._record(replace(self.record, loading=True))
            match await hibernation.load(self._machine, self.spec, monitor):
                case "working":
                    return _HIBERNATION_SECONDS
                case "failed":
                    await self._take_down()
                    await self._forget_memory()
                    return _NOW
        await self._machine.effects.perform("close memory", partial(memory.close, monitor))
        await self._forget_memory()
        return None

    async def _forget_memory(self) -> None:
        await self._machine.forget_memory(self.spec.instance_id)
        await self._record(replace(self.record, saved=None, loading=False))

    async def _build(self, keys: Mapping[str, VolumeKey], saved: Saved | None) -> None:
        """Have QEMU with all of the guest's devices, its CPUs stopped: a clone of a template, or one that boots."""
        template = self._templates.of(self.spec) if saved is None else None
        standby = await self._templates.take(self.spec.instance_id, template)
        if template is not None:
            try:
                return await clone.build(self._machine, self.spec, keys, template, standby)
            except CannotStart:
                raise
            except (HostError, OSError) as error:
                log.warning("no clone of a template: it boots", instance=self.spec.instance_id, error=str(error))
                if standby is None:
                    self._templates.discard(template)
                await self._machine.end(self.spec.instance_id, None)
        await self._machine.build(self.spec, keys, saved)

    @property
    def _keeps_disks(self) -> bool:
        """Whether any disk is there still when it is not."""
        volumes = {volume.volume_id for volume in self.spec.volumes}
        return self.spec.desired != "absent" or not volumes <= set(self.spec.delete_volumes)

    @property
    def rests(self) -> bool:
        """Whether it has shut down to reboot, or runs not at all."""
        return self.record.resetting or self._machine.find(self.spec.instance_id) is None

    def _awaits_snapshots(self) -> bool:
        """Whether its disks must stay as they are for a moment more."""
        return not all(map(self._machine.pool.layers.frozen, self.spec.snapshots_at_rest))

    def _keys_to_start(self) -> Mapping[str, VolumeKey] | None:
        """What opens the encrypted volumes, by volume id; None: it is still to come. Raises CannotStart."""
        for volume in self.spec.volumes:
            if volume.encrypted and self._keys is None:
                return None
            if volume.encrypted and volume.volume_id not in (self._keys or {}):
                raise CannotStart(
                    f"There is no key for {volume.volume_id}: its KMS key can not be used. Enable that, then stop and "
                    "start the instance."
                )
        return self._keys or {}

    async def _reboot(self, spec: GuestSpec, monitor: Monitor, status: str) -> float | None:
        """Ask the guest to shut down, then reset it, also if it does not. What a newer spec wants is still to come."""
        if not self.record.resetting:
            pause = await self._ask_to_shut_down(monitor, status)
            if pause is not None:
                return pause
            await self._record(replace(self.record, resetting=True))
        if self._awaits_snapshots():
            return _LOOK_SECONDS
        if not await _has_root(monitor, spec):
            await self._turn("starting")
            await self._take_down()  # it starts with another root volume
            return _NOW
        if status != "prelaunch":
            await self._machine.effects.perform("reset", monitor.reset)
        await self._record(replace(self.record, reboots=spec.reboots, **_NOT_SHUTTING_DOWN))
        return _NOW

    async def _towards_stopped(self) -> float | None:
        if self._monitor is not None and self.record.state != "stopped":
            await self._turn("stopping")
            if self.spec.hibernate and not self.record.cannot_hibernate:
                pause = await self._hibernate(self._monitor)
            else:
                pause = await self._ask_to_shut_down(self._monitor, await self._monitor.status())
            if pause is not None:
                return pause
        await self._take_down()
        saved = self.record.saved if self._machine.memories.has(self.spec.instance_id) else None
        await self._turn("stopped", saved=saved, loading=False, **_NOT_SHUTTING_DOWN)
        return None

    async def _hibernate(self, monitor: Monitor) -> float | None:
        """Keep the guest's memory. Seconds to wait; None = it is kept."""
        if self.record.saved is None:
            shape = await hibernation.shape(self._machine, self.spec, monitor)
            await self._record(replace(self.record, saved=shape))
        match await hibernation.save(self._machine, self.spec, monitor, self._keys):
            case "working":
                return _HIBERNATION_SECONDS
            case "failed":
                await self._record(replace(self.record, saved=None, cannot_hibernate=True))
                return _NOW
            case "done":
                return None

    async def _towards_absent(self) -> float | None:
        """Gone at once, unless a disk is kept: then it is left in order."""
        if self._keeps_disks and self._monitor is not None:
            pause = await self._ask_to_shut_down(self._monitor, await self._monitor.status())
            if pause is not None:
                return pause
        await self._take_down()
        await self._machine.erase(self.spec)
        self.record = replace(self.record, state="absent", message=None, changed_at=dt.datetime.now(dt.UTC))
        self._changed()
        return None

    async def _ask_to_shut_down(self, monitor: Monitor, status: str) -> float | None:
        """Press the power button. Seconds to wait for the guest; None = it is off, or its grace is over."""
        if status != "running":
            return None
        now = dt.datetime.now(dt.UTC)
        asked_at = self.record.shutdown_asked_at
        if asked_at is None:
            await self._record(replace(self.record, shutdown_asked_at=now))
            asked_at = now
        left = self.spec.shutdown_grace_seconds - (now - asked_at).total_seconds()
        if left <= 0:
            return None
        await self._machine.effects.perform("press power button", monitor.press_power_button)
        return min(left, _PRESS_SECONDS)

    async def _take_down(self) -> None:
        """Have no process, port, tap and control group; disks stay."""
        self._starts.give_back(self.spec.instance_id)
        monitor, self._monitor = self._monitor, None
        await self._machine.end(self.spec.instance_id, monitor)
        if monitor is not None:
            await monitor.close()
        await self._machine.dismantle(self.spec)

    async def _turn(self, state: State, **changes: object) -> None:
        """Be in a state from now on, unless it is so already."""
        if state != self.record.state:
            changes["changed_at"] = dt.datetime.now(dt.UTC)
        await self._record(replace(self.record, **{"state": state, "message": None, "disks_fail": False, **changes}))

    async def _record(self, record: GuestRecord) -> None:
        """Write the record down, then report it, if it is another one."""
        if record != self.record:
            await self._machine.record(self.spec.instance_id, record)
            self.record = record
            self._changed()


async def _has_root(monitor: Monitor, spec: GuestSpec) -> bool:
    """Whether QEMU has the boot volume of the spec: it may have been replaced by another."""
    held = await devices.held(monitor)
    return all(volume.volume_id in held for volume in spec.volumes if volume.boot)
