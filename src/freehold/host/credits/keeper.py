"""Keeps the credit accounts of a host's guests, and has those that have none left use no more than they earn.

What a guest uses is the processor time of its QEMU, which the kernel counts: an agent that was away for a while misses
nothing. An account lies beside the guest's other files and outlives its stops, for seven days, as on AWS.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from freehold.host.credits import account
from freehold.host.credits.account import CreditAccount
from freehold.host.guest import Guest
from freehold.host.machine import Machine
from freehold.host.records import load, save
from freehold.host.wire import CreditReading, CreditSpec
from freehold.host.worker import Worker
from freehold.processes import Identity, identity

_LOOK_SECONDS = 5.0
_SAVE = dt.timedelta(seconds=60)
_KEPT = dt.timedelta(days=7)  # the account of a guest that does not run
_TICKS = os.sysconf("SC_CLK_TCK")


class Book(msgspec.Struct, frozen=True):
    """An account at a moment, and what `process` had used by then, in seconds of a vCPU. None: the guest did not
    run."""

    account: CreditAccount
    at: dt.datetime
    process: Identity | None
    used: float


class Credits(Worker):
    """`changed` is called with the id of a guest that may use more or less from now on."""

    def __init__(self, machine: Machine, guests: Mapping[str, Guest], changed: Callable[[str], None]) -> None:
        super().__init__("CPU credits", _LOOK_SECONDS)
        self._machine = machine
        self._guests = guests
        self._changed = changed
        self._books: dict[str, Book] = {}
        self._saved_at: dict[str, dt.datetime] = {}
        self._granted: dict[str, tuple[Identity, float]] = {}

    def reading(self, instance_id: str) -> CreditReading | None:
        """What the guest has now; with all surplus charged when it is not to run any more."""
        guest = self._guests.get(instance_id)
        if guest is None or guest.spec.credits is None or (book := self._book(instance_id)) is None:
            return None
        now = book.account if guest.spec.desired == "running" else account.settled(book.account)
        amounts = (round(amount / account.SECONDS * 1000) for amount in (now.balance, now.surplus, now.charged))
        return CreditReading(*amounts)

    def forget(self, instance_id: str) -> None:
        """The guest is gone, and said to be."""
        for each in (self._books, self._saved_at, self._granted):
            each.pop(instance_id, None)

    async def _round(self) -> float | None:
        for guest in list(self._guests.values()):
            if guest.spec.credits is not None and guest.spec.desired != "absent":
                await self._look(guest, guest.spec.credits)
        return _LOOK_SECONDS

    async def _look(self, guest: Guest, spec: CreditSpec) -> None:
        instance_id = guest.spec.instance_id
        pid = self._machine.find(instance_id)
        process = None if pid is None else identity(pid)
        used = 0.0 if process is None else _used(process.pid)
        before = self._book(instance_id)
        book = next_book(before, spec, dt.datetime.now(dt.UTC), process, used)
        self._books[instance_id] = book
        if before is None or before.process != process or book.at - self._saved_at[instance_id] > _SAVE:
            self._save(instance_id, book)
        if process is not None:
            await self._grant(guest, spec, process, book.account)

    async def _grant(self, guest: Guest, spec: CreditSpec, process: Identity, now: CreditAccount) -> None:
        instance_id = guest.spec.instance_id
        known = self._granted.get(instance_id)
        throttled = known is not None and known[1] < guest.spec.vcpus
        vcpus = allowed(now, spec, guest.spec.vcpus, throttled=throttled)
        if known != (process, vcpus):
            await self._machine.limit(guest.spec, process.pid, vcpus)
            self._granted[instance_id] = (process, vcpus)
            self._changed(instance_id)

    def _book(self, instance_id: str) -> Book | None:
        if instance_id not in self._books:
            if (kept := load(self._path(instance_id), Book)) is None:
                return None
            self._books[instance_id] = kept
            self._saved_at[instance_id] = kept.at
        return self._books[instance_id]

    def _save(self, instance_id: str, book: Book) -> None:
        save(self._path(instance_id), book)
        self._saved_at[instance_id] = book.at

    def _path(self, instance_id: str) -> Path:
        return self._machine.layout.guest(instance_id).credits


def next_book(before: Book | None, spec: CreditSpec, now: dt.datetime, process: Identity | None, used: float) -> Book:
    """The account after a look: `process` is the guest's QEMU and has used `used` seconds since it began."""
    if before is None:
        return Book(CreditAccount(), now, process, used)
    if before.process is None and now - before.at > _KEPT:
        before = replace(before, account=replace(before.account, balance=0.0))
    if process is None:
        # It stands still from the moment it was last seen.
        return Book(account.settled(before.account), now if before.process else before.at, None, 0.0)
    if process != before.process:
        return Book(account.advance(before.account, spec, 0.0, used), now, process, used)
    seconds = max(0.0, (now - before.at).total_seconds())
    return Book(account.advance(before.account, spec, seconds, max(0.0, used - before.used)), now, process, used)


def allowed(now: CreditAccount, spec: CreditSpec, vcpus: int, *, throttled: bool) -> float:
    """How many vCPUs' worth of time a guest may use. One that was `throttled` is so until it can do something with what
    it has earned."""
    enough = vcpus * _LOOK_SECONDS * spec.clock if throttled else 0.0
    return float(vcpus) if spec.unlimited or now.balance > enough else min(account.baseline(spec), float(vcpus))


def _used(pid: int) -> float:
    """Seconds of processor time of all threads of a process, also of those that have ended (proc_pid_stat(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
