"""A guest's memory, and the state of its devices, in a file: written while its CPUs stand still, and loaded once.

    job ``snapshot-save``, ``snapshot-load``  ──►  qcow2 ``memory``  ──►  luks ``memory-luks``  ──►  file

QEMU does the work by itself, as a job that the agent need not live to see the end of. The file holds a snapshot of the
machine when the job has succeeded, and none before: QEMU enters it into qcow2's table last. LUKS is a node of its own
below qcow2: into a qcow2 file that is itself encrypted, QEMU 7.2 writes what is not whole sectors, and dies of it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal, TypedDict, cast

from freehold.host.hypervisor.disks import key_id
from freehold.host.hypervisor.monitor import Monitor, MonitorError, Refused
from freehold.host.volumes import luks

_NAME = "memory"  # of the node, the snapshot, the job and the set of descriptors
_LUKS = "memory-luks"

Progress = Literal["none", "working", "done", "failed"]


class _Job(TypedDict, total=False):
    id: str
    status: str
    error: str


async def progress(monitor: Monitor) -> tuple[Progress, str]:
    """How far the last `begin` has come, and why it failed. QEMU's event ``JOB_STATUS_CHANGE`` says when to look."""
    for job in cast(list[_Job], await monitor.execute("query-jobs")):
        if job["id"] == _NAME:
            if job["status"] != "concluded":
                return "working", ""
            return ("failed", job["error"]) if "error" in job else ("done", "")
    return "none", ""


async def begin(monitor: Monitor, what: Literal["save", "load"], path: Path, volume_id: str) -> None:
    """Have QEMU begin, unless it has. The key of volume `volume_id`, which QEMU has, opens the file. Raises
    MonitorError."""
    if (await progress(monitor))[0] != "none":
        return
    await close(monitor)  # what an agent that was cut has left
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        key = luks.opened_by(os.pread(descriptor, luks.HEAD_BYTES, 0))
        answer = await monitor.hand_over(descriptor, "add-fd", {"opaque": _NAME})
    except ValueError as error:
        raise MonitorError(f"{path.name} is damaged: {error}") from error
    finally:
        os.close(descriptor)
    number = cast(dict[str, int], answer)["fdset-id"]
    file = {"driver": "file", "filename": f"/dev/fdset/{number}"}
    encrypted = {"driver": "luks", "node-name": _LUKS, "key-secret": key_id(volume_id, key), "file": file}
    await monitor.execute("blockdev-add", {"driver": "qcow2", "node-name": _NAME, "file": encrypted})
    job = {"job-id": _NAME, "tag": _NAME, "vmstate": _NAME, "devices": [_NAME]}
    await monitor.execute(f"snapshot-{what}", job)


async def close(monitor: Monitor) -> None:
    """Have nothing of it in QEMU; nothing happens where nothing is. A job must not be at work."""
    with contextlib.suppress(Refused):  # there is none
        await monitor.execute("job-dismiss", {"id": _NAME})
    with contextlib.suppress(Refused):
        await monitor.execute("blockdev-del", {"node-name": _NAME})
    for each in cast(list[dict[str, object]], await monitor.execute("query-fdsets")):
        if any(file.get("opaque") == _NAME for file in cast(list[dict[str, object]], each["fds"])):
            await monitor.execute("remove-fd", {"fdset-id": each["fdset-id"]})


async def announce(monitor: Monitor) -> None:
    """Have the guest's network cards tell their network who they are, a few times from now on."""
    await monitor.execute("announce-self", {"initial": 50, "max": 550, "rounds": 5, "step": 100})
