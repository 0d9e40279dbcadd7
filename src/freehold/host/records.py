"""What a host remembers of each guest on disk: the spec it was given, and how far it has come.

Both are whole files replaced by a rename, so that an agent that was killed reads the old or the new, never a mixture.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import structlog

from freehold.host.layout import GuestPaths
from freehold.host.wire import GuestSpec

log = structlog.get_logger()

State = Literal["starting", "running", "stopping", "stopped", "absent", "failed"]
T = TypeVar("T")


class Saved(msgspec.Struct, frozen=True):
    """The machine whose memory is kept, which one that goes on with it must be like. `slots` says where each disk and
    network card is, `guest_agent` whether there is a port for that."""

    vcpus: int
    memory_mib: int
    accelerator: str
    slots: dict[str, int]
    guest_agent: bool = False


class GuestRecord(msgspec.Struct, frozen=True):
    """How far a guest has come, for spec `generation`. Times in UTC.

    `reboots` is the number acted on; `resetting` = its reset has begun; `shutdown_asked_at` = when a stop or reboot
    began to ask the guest to shut down, from which its grace counts; `disks_fail`: it has failed for its disks can not
    be written. `saved` = what it was like when it was told to hibernate; its memory is there only if the pool has it.
    `loading` = that is or was being loaded; `cannot_hibernate` = that has failed, and it is shut down.
    `lost`: its QEMU ended, and nobody has said that it is to be started again.
    """

    generation: int
    state: State
    changed_at: dt.datetime
    guest_shutdown: bool = False
    message: str | None = None
    reboots: int = 0
    resetting: bool = False
    shutdown_asked_at: dt.datetime | None = None
    disks_fail: bool = False
    saved: Saved | None = None
    loading: bool = False
    cannot_hibernate: bool = False
    lost: bool = False


def new_record(spec: GuestSpec) -> GuestRecord:
    return GuestRecord(spec.generation, "starting", dt.datetime.now(dt.UTC), reboots=spec.reboots)


def load_spec(paths: GuestPaths) -> GuestSpec | None:
    return load(paths.spec, GuestSpec)


def load_record(paths: GuestPaths) -> GuestRecord | None:
    return load(paths.record, GuestRecord)


def save(path: Path, value: msgspec.Struct) -> None:
    """Replace a file by this value; on the disk when this returns."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(value))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def load(path: Path, kind: type[T]) -> T | None:
    """None where there is no such file, or a disk error or a person has spoilt it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        log.error("unreadable file; the control plane will say again what should be", file=str(path), error=str(error))
        return None
