"""What a guest has in memory outlives its QEMU: it goes on where it was, once, or boots."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.records import load_record, save
from freehold.host.volumes.memories import Memories
from freehold.processes import guests
from tests.host.cut_host import Host
from tests.host.metadata import apply_network, ports_of, spec_of, view_of
from tests.host.plane import READY, AgentProcess, Plane
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("198.18.8.64/28")
COUNT = b"#!/bin/sh\n(n=0; while sleep 0.1; do n=$((n + 1)); echo count $n >/dev/console; done) &\n"


@pytest.fixture(scope="module")
def guest(agent: AgentProcess, plane: Plane, cloud: Cloud, image_id: str) -> Iterator[str]:
    """Its process counts in the first boot."""
    plugged = ports_of(10)
    apply_network(cloud, view_of(1, plugged))
    spec = spec_of(plugged, image_id, desired="running", shutdown_grace_seconds=0)
    plane.assign(replace(spec, metadata=replace(spec.metadata, user_data=COUNT)))
    plane.wait_for_console(spec.instance_id, b"count 5\r")
    yield spec.instance_id
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")


def counts(plane: Plane, instance_id: str) -> list[int]:
    """What the process in the guest has said."""
    lines = plane.consoles[instance_id].decode(errors="replace").split()
    return [int(number) for word, number in pairwise(lines) if word == "count"]


def memory_files(plane: Plane) -> list[str]:
    names = [path.name for path in Layout(plane.paths).volumes.iterdir()]
    return [name for name in names if name.endswith((".memory", ".saving"))]


def hibernate(plane: Plane, instance_id: str) -> bool:
    plane.want(instance_id, "stopped", hibernate=True)
    return plane.wait_for_state(instance_id, "stopped").hibernated


def start(plane: Plane, instance_id: str, **changes: Any) -> None:
    plane.want(instance_id, "running", hibernate=False, **changes)


def boots(plane: Plane, instance_id: str) -> int:
    return plane.consoles[instance_id].count(READY)


def wait_for_boot(plane: Plane, instance_id: str) -> None:
    before = boots(plane, instance_id)
    plane.wait_for(lambda: boots(plane, instance_id) > before, "it boots")


def test_processes_go_on_where_they_were(plane: Plane, guest: str) -> None:
    for _ in range(2):
        assert hibernate(plane, guest)
        assert guests(plane.paths.tag) == {}
        assert memory_files(plane) == [f"{guest}.memory"]
        before = len(counts(plane, guest))
        start(plane, guest)
        plane.wait_for(lambda before=before: len(counts(plane, guest)) >= before + 5, "it counts")  # type: ignore[misc]
        assert counts(plane, guest) == list(range(1, len(counts(plane, guest)) + 1))
        assert memory_files(plane) == []


def test_what_was_in_memory_can_not_be_read_in_the_file_and_is_used_once(plane: Plane, guest: str) -> None:
    assert hibernate(plane, guest)
    kept = Memories(Layout(plane.paths)).path(guest).read_bytes()
    assert len(kept) > 20 << 20
    # The process's, and how QEMU's formats begin, with their version: four bytes are met by chance in so many.
    for known in (b"echo count", b"QEVM\0\0\0\3", b"QFI\xfb\0\0\0\3"):
        assert known not in kept
    start(plane, guest)
    plane.wait_for_state(guest, "running")
    os.kill(guests(plane.paths.tag)[guest].pid, signal.SIGKILL)
    wait_for_boot(plane, guest)


def test_a_machine_that_ends_while_its_memory_is_saved_has_stopped(plane: Plane, guest: str) -> None:
    plane.want(guest, "stopped", hibernate=True)
    unfinished = Memories(Layout(plane.paths)).unfinished(guest)
    wait_until(lambda: unfinished.exists() and unfinished.stat().st_size > 4 << 20, "it is being saved")
    os.kill(guests(plane.paths.tag)[guest].pid, signal.SIGKILL)
    assert not plane.wait_for_state(guest, "stopped").hibernated
    assert memory_files(plane) == []
    start(plane, guest)
    wait_for_boot(plane, guest)


def test_memory_that_is_spoilt_is_not_used(plane: Plane, guest: str) -> None:
    assert hibernate(plane, guest)
    kept = Memories(Layout(plane.paths)).path(guest)
    os.truncate(kept, kept.stat().st_size // 2)
    start(plane, guest)
    wait_for_boot(plane, guest)
    assert memory_files(plane) == []


def test_memory_of_another_machine_is_not_used(plane: Plane, guest: str) -> None:
    assert hibernate(plane, guest)
    start(plane, guest, memory_mib=160)
    wait_for_boot(plane, guest)
    assert memory_files(plane) == []


def test_an_agent_that_was_just_started_waits_for_the_key(plane: Plane, agent: AgentProcess, guest: str) -> None:
    """The one before was killed as soon as it had written down that the guest is to hibernate."""
    agent.end(signal.SIGKILL)
    paths = Layout(plane.paths).guest(guest)
    plane.want(guest, "stopped", hibernate=True)
    save(paths.spec, plane.specs[guest])
    with plane.silent():
        agent.start()
        wait_until(lambda: (record := load_record(paths)) is not None and record.saved is not None, "it is to be saved")
    assert plane.wait_for_state(guest, "stopped").hibernated
    start(plane, guest)
    plane.wait_for_state(guest, "running")


def test_a_machine_that_does_not_answer_for_a_while_is_not_ended(
    plane: Plane, agent: AgentProcess, guest: str, data_dir: Path
) -> None:
    """It has no time when a new agent wants to speak to it."""
    agent.end(signal.SIGKILL)
    pid, host = guests(plane.paths.tag)[guest].pid, Host(data_dir, plane)
    os.kill(pid, signal.SIGSTOP)
    plane.want(guest, "stopped", hibernate=True)
    save(Layout(plane.paths).guest(guest).spec, plane.specs[guest])
    failed = host.log().count("step failed")

    def stop() -> None:
        host.wait(lambda: host.log().count("step failed") > failed, "it does not answer")
        os.kill(pid, signal.SIGCONT)
        host.reach(guest, "stopped")

    host.run(stop, patience=1)
    assert plane.guests[guest].hibernated
    agent.start()
    start(plane, guest)
    plane.wait_for_state(guest, "running")


def test_without_its_key_a_guest_is_shut_down(plane: Plane, guest: str) -> None:
    (volume,) = plane.specs[guest].volumes
    plane.withheld.add(volume.volume_id)
    assert not hibernate(plane, guest)
    assert memory_files(plane) == []
