"""Launches as clones of a template: the real agent, templates that it makes, guests that must not be alike."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.host.hypervisor.qemu import BINARY, system_uuid
from freehold.host.layout import Layout
from freehold.host.templates import memory
from freehold.host.templates.store import Recipe, Store
from freehold.host.volumes import qcow2
from freehold.host.wire import GuestSpec, Ready, SnapshotSpec
from freehold.images import packages, program
from freehold.images.build import cache_directory
from freehold.processes import Identity, alive, guests, standbys
from tests.host.disks import check
from tests.host.metadata import apply_network, ports_of, spec_of, view_of
from tests.host.plane import READY, AgentProcess, Plane, key_of, leftovers
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("198.18.4.32/28")
OWN_TEMPLATES = True  # and spoils them
MANY = 50
AT_ONCE = 10
SAME_SECRET = 1 << 15  # apart, in 64 ns: how long a guest may take between looking at its clock and connecting

LIVES_ON = b"""#!/bin/sh
echo user data runs $((40 + 2))
(n=0; while sleep 0.2; do n=$((n + 1)); echo "count $n sectors $(cat /sys/block/vda/size)" >/dev/console; done) &
"""

USES_MEMORY = b"""#!/bin/sh
mount -t tmpfs none /mnt
yes freehold | head -c 1m >/mnt/part
use() {
  for each in $(seq 40); do cat /mnt/part; done >/mnt/large
  echo used $(md5sum </mnt/large)
  sleep 3
  rm /mnt/large
}
use
(sleep 10; use >/dev/console) &
"""
USED = b"used " + hashlib.md5((b"freehold\n" * (1 << 17))[: 1 << 20] * 40).hexdigest().encode()

PORTS = tuple(ports_of(number) for number in range(2, MANY + 20))
places = iter(PORTS)


def said(agent: AgentProcess, event: str) -> int:
    """How often the agent has written a line about something."""
    return sum(json.loads(line)["event"] == event for line in agent.log.read_text().splitlines() if line[0] == "{")


def is_clone(plane: Plane, spec: GuestSpec) -> bool:
    pid = guests(plane.paths.tag)[spec.instance_id].pid
    return b"\0-incoming\0" in Path(f"/proc/{pid}/cmdline").read_bytes()


def launch(
    plane: Plane,
    image_id: str,
    user_data: bytes | None = None,
    instance_type: str = "t3.nano",
    instance_id: str | None = None,
) -> GuestSpec:
    spec = spec_of(next(places), image_id, desired="running")
    spec = replace(spec, metadata=replace(spec.metadata, user_data=user_data, instance_type=instance_type))
    spec = replace(spec, instance_id=instance_id or spec.instance_id)
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    return spec


def end(plane: Plane, *specs: GuestSpec) -> None:
    for spec in specs:
        plane.want(spec.instance_id, "absent")
    for spec in specs:
        plane.wait_for_state(spec.instance_id, "absent")


@pytest.fixture(scope="module")
def ready(plane: Plane, agent: AgentProcess, image_id: str, cloud: Cloud) -> AgentProcess:
    """An agent that has made a template of its own accord, after the first launch, which boots."""
    apply_network(cloud, view_of(1, *PORTS))
    first = launch(plane, image_id)
    assert not is_clone(plane, first)
    wait_until(lambda: said(agent, "template ready") > 0, "a template is ready", 300)
    end(plane, first)
    return agent


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """User data that writes on the console all that must differ from guest to guest."""
    directory = tmp_path_factory.mktemp("sequence")
    compiler = packages.fetch(program.PACKAGES, cache_directory() / "packages", print)
    program.unpack_compiler(compiler, directory / "compiler")
    source = Path(__file__).with_name("sequence.c")
    program.compile_sources([source], directory / "compiler", directory / "sequence")
    packed = base64.b64encode(gzip.compress((directory / "sequence").read_bytes())).decode()
    return f"""#!/bin/sh
echo {packed} | base64 -d | gunzip >/tmp/sequence
chmod 700 /tmp/sequence
echo "boot=$(cat /proc/sys/kernel/random/boot_id)" "machine=$(cat /etc/machine-id)"
cd /sys/class/dmi/id
echo "uuid=$(cat product_uuid)" "serial=$(cat product_serial)" "asset=$(cat board_asset_tag)"
echo "random=$(head -c 24 /dev/urandom | base64)" "sequence=$(/tmp/sequence)"
""".encode()


def test_no_two_of_fifty_clones_have_the_same_secrets(
    plane: Plane, ready: AgentProcess, image_id: str, show: bytes
) -> None:
    found: dict[str, list[str]] = {}
    for _ in range(MANY // AT_ONCE):
        specs = [launch(plane, image_id, show) for _ in range(AT_ONCE)]
        assert all(is_clone(plane, spec) for spec in specs)
        for spec in specs:
            console = plane.wait_for_console(spec.instance_id, READY, seconds=180)
            found.setdefault("host key", []).append(re.findall("^ssh-ed25519 ([^ ]+)", console, re.MULTILINE)[0])
            assert "sequence=" in console, console
            for name, value in re.findall("(boot|machine|uuid|serial|asset|random|sequence)=([^ \n]+)", console):
                found.setdefault(name, []).append(value)
        end(plane, *specs)
    sequences = sorted(int(each, 16) for each in found.pop("sequence"))
    assert {name: len(set(values)) for name, values in found.items()} == dict.fromkeys(
        ("host key", "boot", "machine", "uuid", "serial", "asset", "random"), MANY
    )
    assert set(found["uuid"]) == set(found["serial"]) == set(map(system_uuid, found["asset"]))
    assert found["asset"][0] == spec_of(PORTS[1], image_id).instance_id
    near = [one for one, next_one in itertools.pairwise(sequences) if next_one - one < SAME_SECRET]
    assert len(sequences) == MANY
    assert len(near) <= 2  # by chance, one in thirty times


def counts(plane: Plane, spec: GuestSpec) -> list[int]:
    """What the process that `LIVES_ON` starts has said."""
    return [int(number) for number in re.findall(rb"count (\d+) ", plane.consoles[spec.instance_id])]


def test_a_clone_lives_on_as_a_guest_that_has_booted(
    plane: Plane, ready: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud
) -> None:
    """Its disk grows while it runs, snapshots are taken of that while it runs and while it hibernates, its processes go
    on; it reboots, hears the power button, starts again as a clone with its disk, and leaves nothing, also nothing in
    the template."""
    before = [path.read_bytes() for path in sorted((data_dir / "host/templates").rglob("*")) if path.is_file()]
    spec = launch(plane, image_id, LIVES_ON)
    plane.wait_for_console(spec.instance_id, READY)
    (root,) = spec.volumes
    plane.wait_for_console(spec.instance_id, f"sectors {1 << 21}".encode())
    grown = replace(root, size_gib=2)
    plane.want(spec.instance_id, "running", volumes=(grown,))
    plane.wait_for_console(spec.instance_id, f"sectors {2 << 21}".encode())
    taken = [SnapshotSpec(f"snap-{each:017x}", root.volume_id, f"instant {each}", encrypted=True) for each in range(2)]
    plane.wait_for_snapshots(taken[0])
    plane.want(spec.instance_id, "stopped", hibernate=True, shutdown_grace_seconds=3600)
    assert plane.wait_for_state(spec.instance_id, "stopped").hibernated
    plane.wait_for_snapshots(taken[1])
    counted = len(counts(plane, spec))
    plane.want(spec.instance_id, "running", hibernate=False)
    plane.wait_for(lambda: len(counts(plane, spec)) > counted + 3, "it counts on")
    assert counts(plane, spec) == list(range(1, len(counts(plane, spec)) + 1))
    plane.delete_snapshot(taken[0].snapshot_id)  # one is merged while it runs, the other stays
    plane.want(spec.instance_id, "running", reboots=1)
    plane.wait_for_console(spec.instance_id, READY, times=2)
    plane.want(spec.instance_id, "stopped", shutdown_grace_seconds=3600)
    plane.wait_for_state(spec.instance_id, "stopped")
    plane.want(spec.instance_id, "running")
    plane.wait_for_state(spec.instance_id, "running")
    assert is_clone(plane, spec)
    console = plane.wait_for_console(spec.instance_id, READY, times=3)
    assert console.count("user data runs 42") == 1
    assert len(set(re.findall("^ssh-ed25519 .*", console, re.MULTILINE))) == 1
    end(plane, spec)
    layer = Layout(plane.paths).layer(taken[1].snapshot_id)
    check(layer, key_of(root.volume_id))
    assert qcow2.size(layer) == 2 << 30
    plane.delete_snapshot(taken[1].snapshot_id)
    wait_until(lambda: leftovers(data_dir, cloud.paths.switch) == [], "nothing is left")
    assert before == [path.read_bytes() for path in sorted((data_dir / "host/templates").rglob("*")) if path.is_file()]


IDENTITY = b"""#!/bin/sh
cd /sys/class/dmi/id
echo "uuid=$(cat product_uuid)" "asset=$(cat board_asset_tag)"
"""


def stands_ready(plane: Plane, but: str | None = None) -> tuple[str, Identity]:
    """The id that the next instance is to have, once a machine stands ready for it, and the process of that."""
    plane.wait_for(lambda: plane.ready is not None and plane.ready.instance_id != but, "a clone stands ready")
    assert plane.ready is not None
    return plane.ready.instance_id, standbys(plane.paths.tag)[plane.ready.instance_id]


def test_a_launch_gets_the_clone_that_stands_ready(
    plane: Plane, ready: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud
) -> None:
    """It is the guest from then on, also for another agent, and another one stands ready."""
    end(plane, launch(plane, image_id))
    instance_id, process = stands_ready(plane)
    assert plane.ready == Ready(instance_id, image_id, "t3.nano", 1, 128)
    assert instance_id not in guests(plane.paths.tag)
    spec = launch(plane, image_id, IDENTITY, instance_id=instance_id)
    assert guests(plane.paths.tag)[instance_id] == process
    console = plane.wait_for_console(instance_id, READY)
    assert f"uuid={system_uuid(instance_id)} asset={instance_id}" in console
    next_id, next_process = stands_ready(plane, instance_id)
    assert standbys(plane.paths.tag) == {next_id: next_process}
    ready.end(signal.SIGKILL)
    with started(ready):
        pass
    plane.wait_for(lambda: plane.ready is None, "another agent has nothing ready")
    wait_until(lambda: not alive(next_process), "what stood ready has gone")
    wait_until(lambda: not Layout(plane.paths).guest(next_id).directory.exists(), "and its files")
    assert guests(plane.paths.tag)[instance_id] == process
    plane.want(instance_id, "running", reboots=1)
    plane.wait_for_console(instance_id, READY, times=2)
    end(plane, spec)
    wait_until(lambda: leftovers(data_dir, cloud.paths.switch) == [], "nothing is left")


def test_a_launch_does_without_what_stood_ready_and_has_died(plane: Plane, ready: AgentProcess, image_id: str) -> None:
    end(plane, launch(plane, image_id))
    first, process = stands_ready(plane)
    os.kill(process.pid, signal.SIGKILL)
    spec = launch(plane, image_id, instance_id=first)
    assert guests(plane.paths.tag)[first] != process
    assert is_clone(plane, spec)
    plane.wait_for_console(first, READY)
    stands_ready(plane, first)
    end(plane, spec)


def test_a_clone_gives_back_the_memory_that_it_no_longer_uses(plane: Plane, ready: AgentProcess, image_id: str) -> None:
    spec = launch(plane, image_id, USES_MEMORY)
    assert is_clone(plane, spec)
    plane.wait_for_console(spec.instance_id, USED)
    pid = guests(plane.paths.tag)[spec.instance_id].pid
    used = own_bytes(pid)
    wait_until(lambda: own_bytes(pid) < used - (30 << 20), "what was freed is given back")
    plane.wait_for_console(spec.instance_id, USED, times=2)
    end(plane, spec)


def own_bytes(pid: int) -> int:
    """What only this process has in the machine's memory (proc_pid_smaps(5))."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(found) << 10 for found in re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.MULTILINE))


def test_a_template_of_no_use_is_replaced_and_the_launch_boots(
    plane: Plane, ready: AgentProcess, image_id: str, data_dir: Path
) -> None:
    """A state that QEMU can not load, though it is as it was saved; then a file that is not."""
    store = Store(data_dir / "host/templates")
    (recipe,) = store.recipes()
    ready.end()
    unusable(store, recipe)
    with started(ready), another_template(ready):
        spec = launch(plane, image_id)
        assert not is_clone(plane, spec)
        assert said(ready, "no clone of a template: it boots") == 1
        end(plane, spec)
    file = data_dir / "host/templates" / recipe.key / "state"
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(1000)
        opened.write(b"spoilt")
    ready.end()
    with started(ready):
        assert said(ready, "template is made again") == 1
        spec = launch(plane, image_id)
        assert is_clone(plane, spec)
        end(plane, spec)


def unusable(store: Store, recipe: Recipe) -> None:
    ram, state = memory.new(recipe.shape.memory_mib << 20), memory.new(4096)
    store.remove(recipe)
    store.add(recipe, ram, state)
    os.close(ram)
    os.close(state)


@contextmanager
def started(agent: AgentProcess, *options: str, wrapper: tuple[str | Path, ...] = ()) -> Iterator[None]:
    """The agent is started, and has its template."""
    with another_template(agent):
        agent.start(*options, wrapper=wrapper)
    yield


@contextmanager
def another_template(agent: AgentProcess) -> Iterator[None]:
    """What is done has the agent make or load a template."""
    before = said(agent, "template ready")
    yield
    wait_until(lambda: said(agent, "template ready") > before, "a template is ready", 300)


def test_another_qemu_makes_another_template(
    plane: Plane, ready: AgentProcess, image_id: str, data_dir: Path, tmp_path: Path
) -> None:
    """The same QEMU that says it is another version, where only the agent sees it. The earlier template goes."""
    store, binary = Store(data_dir / "host/templates"), Path("/usr/bin") / BINARY
    (before,) = store.recipes()
    version = before.qemu.removeprefix("QEMU emulator version ")
    other = tmp_path / "qemu"
    shutil.copy(binary, other)
    other.write_bytes(binary.read_bytes().replace(version.encode(), version[::-1].encode()))
    ready.end()
    bind = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', other, binary)
    with started(ready, wrapper=bind):
        (after,) = store.recipes()
        assert after == replace(before, qemu=f"QEMU emulator version {version[::-1]}")
        spec = launch(plane, image_id)
        assert is_clone(plane, spec)
        end(plane, spec)
    ready.end()
    with started(ready):
        assert store.recipes() == [before]


def test_another_kernel_makes_another_template(
    plane: Plane, ready: AgentProcess, image_id: str, data_dir: Path
) -> None:
    (before,) = Store(data_dir / "host/templates").recipes()
    end(plane, launch(plane, image_id))
    instance_id, process = stands_ready(plane)
    kernel = data_dir / "images" / image_id / "vmlinux"
    shutil.copy(kernel, kernel.with_suffix(".new"))
    with kernel.with_suffix(".new").open("ab") as file:
        file.write(b"another")
    kernel.with_suffix(".new").rename(kernel)
    with another_template(ready):
        spec = launch(plane, image_id, instance_id=instance_id)
        assert not is_clone(plane, spec)
        assert not alive(process)  # it was a clone of the earlier one
        end(plane, spec)
    (after,) = Store(data_dir / "host/templates").recipes()
    assert (after.shape, after.kernel == before.kernel) == (before.shape, False)


def test_templates_keep_to_their_memory(plane: Plane, ready: AgentProcess, image_id: str, data_dir: Path) -> None:
    """Where there is room for one, what is launched now has it, and what was launched before boots."""
    ready.end()
    with started(ready, "--template-mib", "100"):
        with another_template(ready):
            end(plane, launch(plane, image_id, instance_type="t3.micro"))
        (recipe,) = Store(data_dir / "host/templates").recipes()
        assert recipe.shape.instance_type == "t3.micro"
        for instance_type in ("t3.micro", "t3.nano"):
            spec = launch(plane, image_id, instance_type=instance_type)
            assert is_clone(plane, spec) == (instance_type == "t3.micro")
            end(plane, spec)


def test_memory_of_a_template_can_be_read_and_be_copied_on_write_and_nothing_else(tmp_path: Path) -> None:
    written = memory.new(1 << 20)
    os.pwrite(written, b"secret", 300_000)
    digest = memory.store(written, tmp_path / "memory")
    os.close(written)
    sealed, again = memory.load(tmp_path / "memory")
    assert digest == again
    assert memory.used_bytes(sealed) < 1 << 18  # holes are holes
    own = mmap.mmap(sealed, 1 << 20, mmap.MAP_PRIVATE)
    own[300_000:300_006] = b"mine  "
    own.close()
    with pytest.raises(PermissionError):
        os.pwrite(sealed, b"x", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(sealed, 1 << 20, mmap.MAP_SHARED)
    with pytest.raises(PermissionError):
        os.ftruncate(sealed, 0)
    opened = os.open(f"/proc/self/fd/{sealed}", os.O_RDWR)  # as QEMU does it
    punched = subprocess.run(
        ("fallocate", "--punch-hole", "--offset", "0", "--length", "4096", f"/proc/self/fd/{opened}"),
        pass_fds=(opened,),
        capture_output=True,
    )
    assert b"not permitted" in punched.stderr
    assert os.pread(sealed, 6, 300_000) == b"secret"
    os.close(opened)
    os.close(sealed)
