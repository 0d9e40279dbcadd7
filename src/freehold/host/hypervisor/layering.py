"""Changing what lies under a disk while it is used: a new tip put on it, and what it lies on merged and replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import TypedDict, cast

from freehold.host.errors import HostError
from freehold.host.hypervisor import devices, disks
from freehold.host.hypervisor.disks import Disk, Layer, job_id, layer_node
from freehold.host.hypervisor.monitor import Monitor

_Status = TypedDict(
    "_Status",
    {"id": str, "status": str, "error": str, "current-progress": int, "total-progress": int},
    total=False,
)


async def put_under(monitor: Monitor, volume_id: str, layer: Layer) -> None:
    """Have a node of a new tip of a disk, for `go_over`."""
    await devices.cancel_job(monitor, volume_id)
    with ExitStack() as until:
        (files,) = disks.opened(Disk(volume_id, (layer,)), until).files
        number = await devices.hand_over(monitor, volume_id, files)
    await monitor.execute("blockdev-add", disks.layer_nodes(volume_id, layer, number, None, top=True))


async def go_over(monitor: Monitor, tips: Mapping[str, str]) -> None:
    """Have disks written to other nodes from one instant on: the old one → the new one, which lies on it then."""
    actions = [{"type": "blockdev-snapshot", "data": {"node": old, "overlay": new}} for old, new in tips.items()]
    await monitor.execute("transaction", {"actions": actions})


async def begin_merging(
    monitor: Monitor, volume_id: str, upper: Layer, below: Layer | None, header: str | None
) -> None:
    """Begin to bring into `upper` what lies between it and `below`, or all that lies under it, unless that is begun.
    `header` is how the file's header is to name what it then lies on."""
    if await devices.has_job(monitor, volume_id):
        return
    given: dict[str, object] = {"job-id": job_id(volume_id), "device": layer_node(volume_id, upper.name)}
    if below is not None:
        given |= {"base-node": layer_node(volume_id, below.name), "backing-file": header}
    # Until a job that has ended is dismissed, it holds a filter without anything below, and QEMU 7.2 crashes when
    # anybody asks for its nodes: so that it must go by itself.
    await monitor.execute("block-stream", given)


async def merging_ended(monitor: Monitor, volume_id: str, upper: Layer, below: Layer | None) -> bool:
    """Whether `upper` lies on `below` now. Raises HostError if it does not and nobody works on it any more."""
    if await devices.has_job(monitor, volume_id):
        return False
    depths = await devices.nodes(monitor)
    wanted = 0 if below is None else depths.get(layer_node(volume_id, below.name), -2) + 1
    if depths.get(layer_node(volume_id, upper.name)) != wanted:
        raise HostError("merging layers failed, or was called off")
    return True


async def flush(monitor: Monitor, volume_id: str, upper: Layer) -> None:
    """Have on the disk what was brought into `upper`: a job ends while its file's tables are in QEMU's memory only."""
    line = f"qemu-io {layer_node(volume_id, upper.name)} flush"  # QMP has no command for it
    if answer := await monitor.execute("human-monitor-command", {"command-line": line}):
        raise HostError(f"A merged layer was not flushed: {answer}")


async def begin_copying(monitor: Monitor, source: str, target: str) -> None:
    """Begin to copy all data of a disk to another one, by the ids of both."""
    given = {"job-id": job_id(target), "device": disks.device_node(source), "target": disks.device_node(target)}
    await monitor.execute("blockdev-backup", given | {"sync": "full", "auto-dismiss": False})


async def percent(monitor: Monitor, volume_id: str) -> int:
    """How far the work on a disk has come."""
    for job in cast(list[_Status], await monitor.execute("query-jobs")):
        if job["id"] == job_id(volume_id):
            return 100 * job["current-progress"] // max(1, job["total-progress"])
    return 0


async def copying_ended(monitor: Monitor, volume_id: str) -> bool:
    """Whether all is copied to a disk. Raises HostError if it failed."""
    name = job_id(volume_id)
    found = [job for job in cast(list[_Status], await monitor.execute("query-jobs")) if job["id"] == name]
    if not found:
        raise HostError("copying was called off")
    if found[0]["status"] != "concluded":
        return False
    await monitor.execute("job-dismiss", {"id": name})
    if "error" in found[0]:
        raise HostError(f"copying failed: {found[0]['error']}")
    return True


async def follow(monitor: Monitor, volume_id: str, chain: Sequence[Layer], merged: Collection[Layer]) -> None:
    """Have a disk lie on the files of `chain`, from what is written to down, each with the same data as what is in its
    place now, and close all others. Those of `merged` need not be there if what lay on them has their data."""
    names = {layer: layer_node(volume_id, layer.name) for layer in chain}
    depths = await devices.nodes(monitor)
    if names[chain[0]] not in depths:
        return  # it is not attached any more
    parts = _missing_or_laid_wrong(chain, merged, {layer: depths.get(name) for layer, name in names.items()})
    if any(wrong for _, wrong in parts):
        await devices.cancel_job(monitor, volume_id)
    below = None
    for layer, wrong in reversed(parts):
        if names[layer] not in depths:
            await _add(monitor, volume_id, layer, below)
        elif wrong:
            node = disks.layer_nodes(volume_id, layer, 0, below, top=layer is chain[0])
            node["file"] = names[layer].replace("node", "file", 1)
            await monitor.execute("blockdev-reopen", {"options": [node]})
        below = names[layer]
    await devices.close_unused(monitor, volume_id)


def _missing_or_laid_wrong(
    chain: Sequence[Layer], merged: Collection[Layer], depths: Mapping[Layer, int | None]
) -> list[tuple[Layer, bool]]:
    """The layers that a disk is to have, and of each whether it lies not on the next one. `depths`: on how many others
    QEMU has each lie; None: it has it not."""
    parts, place = [], 0
    while place < len(chain):
        following = place + 1
        while following < len(chain) and chain[following] in merged and depths[chain[following]] is None:
            following += 1
        below = depths[chain[following]] if following < len(chain) else -1
        right = below is not None and depths[chain[place]] == below + 1
        parts.append((chain[place], not right))
        place = following if right else place + 1
    return parts


async def _add(monitor: Monitor, volume_id: str, layer: Layer, below: str | None) -> None:
    """Have a node of a file that nobody writes to."""
    with ExitStack() as until:
        (files,) = disks.opened(Disk(volume_id, (layer,), writable=False), until).files
        number = await devices.hand_over(monitor, volume_id, files)
    await monitor.execute("blockdev-add", disks.layer_nodes(volume_id, layer, number, below, top=False))
