"""Who waits for a snapshot hears that it can not be taken."""

from __future__ import annotations

import asyncio
from pathlib import Path

from freehold.host.cgroup import Cgroups
from freehold.host.effects import Effects
from freehold.host.layout import Layout
from freehold.host.machine import Machine
from freehold.host.ports.vswitch import Vswitch
from freehold.host.volumes.snapshots import Snapshots
from freehold.host.wire import SnapshotSpec
from freehold.paths import Paths

VOLUME, SNAPSHOT = "vol-0123456789abcdef0", "snap-0123456789abcdef0"


def test_one_that_can_not_be_taken_is_waited_for_no_longer(tmp_path: Path) -> None:
    layout = Layout(Paths(tmp_path))
    layout.volume(VOLUME).parent.mkdir(parents=True)
    layout.volume(VOLUME).touch()

    async def wait() -> str | None:
        machine = Machine(layout, "tcg", Vswitch(layout.ovsdb), Cgroups(layout.tag, ()), Effects())
        snapshots = Snapshots(machine, lambda: None, lambda _: None, lambda _: None, lambda _: True, set)
        waiting = asyncio.create_task(snapshots.until_taken([SNAPSHOT]))
        snapshots.start()
        await asyncio.sleep(0.05)
        assert not waiting.done()
        snapshots.take([SnapshotSpec(SNAPSHOT, VOLUME, "instant-1", encrypted=True)], {})
        await asyncio.wait_for(waiting, 10)
        await snapshots.close()
        (report,) = snapshots.taken()
        return report.message

    assert asyncio.run(wait()) == f"There is no key for {VOLUME}: its KMS key can not be used."
