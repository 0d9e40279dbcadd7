"""Making a template: an image's kernel and first program boot in a machine without disks and network cards, and are
saved where they wait for a root volume. No guest ever runs there, and nothing of a tenant is in it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from freehold.host.commands import last_line, run, start_confined
from freehold.host.errors import HostError
from freehold.host.hypervisor import migration
from freehold.host.hypervisor.accelerator import groups
from freehold.host.hypervisor.monitor import Monitor, MonitorError
from freehold.host.hypervisor.process import demand
from freehold.host.hypervisor.qemu import BINARY, Accelerator, Hardware, boot, template_line
from freehold.host.images import Kernel
from freehold.host.layout import guest_uid
from freehold.host.templates import memory
from freehold.host.templates.store import Recipe, Shape, Store

_WAITS = b"freehold: waiting for a root volume\r\n"  # images/guest/helper/boot.c
_BOOT_SECONDS_MAX = 300.0  # it has the processor only when nobody else wants it
_CALM_SECONDS = 0.5
_CALM_CORES = 0.1
_CALM_LOOKS_MAX = 40


async def qemu_version() -> str:
    """What the QEMU of this machine says it is."""
    return (await run((BINARY, "--version"))).decode().splitlines()[0]


def hardware(shape: Shape, accelerator: Accelerator, image: Kernel) -> Hardware:
    return Hardware(shape.vcpus, shape.memory_mib, accelerator, guest_agent=image.guest_agent)


def machine(shape: Shape, accelerator: Accelerator, image: Kernel) -> tuple[str, ...]:
    """QEMU's arguments that must be the same in a template and its clones."""
    return tuple(hardware(shape, accelerator, image).arguments())


async def make(store: Store, recipe: Recipe, image: Kernel, accelerator: Accelerator, name: str) -> None:
    """Boot the machine, save it into the store and end it. `name` is what its process is called.

    Raises HostError: it did not come so far.
    """
    store.directory.mkdir(mode=0o700, exist_ok=True)
    uid = guest_uid("template")
    with ExitStack() as opened:
        ram = memory.new(recipe.shape.memory_mib * 1024 * 1024)
        opened.callback(os.close, ram)
        state = os.memfd_create("freehold-state", os.MFD_CLOEXEC)
        opened.callback(os.close, state)
        files = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in (image.kernel, image.initrd)]
        for file in files:
            opened.callback(os.close, file)
        path = store.directory / "monitor.sock"
        listener = opened.enter_context(_listener(path))
        reading, writing = os.pipe()
        console = opened.enter_context(os.fdopen(reading, "rb"))
        os.fchown(writing, uid, uid)  # QEMU opens it anew, by /dev/fd
        line = template_line(
            name,
            hardware(recipe.shape, accelerator, image),
            recipe.shape.instance_type,
            ram,
            listener.fileno(),
            writing,
            boot(files[0], files[1], recipe.append),
        )
        process = await start_confined(
            # It ends with the agent, and takes from no guest what that could use.
            ("setpriv", "--pdeathsig", "KILL", "nice", "-n", "19", *line),
            uid,
            groups=groups(accelerator),
            pass_fds=(ram, *files, listener.fileno(), writing),
            stderr=asyncio.subprocess.PIPE,
        )
        os.close(writing)
        try:
            await _wait_for(console, _WAITS)
            await _calm(process.pid)
            monitor = await Monitor.connect(path, lambda: None)
            try:
                await monitor.stop_cpus()
                await migration.save(monitor, state)
                await monitor.quit()
            finally:
                await monitor.close()
            async with asyncio.timeout(_BOOT_SECONDS_MAX):
                await process.wait()
        except (TimeoutError, MonitorError, EOFError) as error:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            assert process.stderr is not None
            words = last_line(await process.stderr.read())
            raise HostError(f"No template of {recipe.shape.image_id}: {error or 'time limit'} {words}") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await asyncio.to_thread(store.add, recipe, ram, state)


@contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(1)
        yield made
        path.unlink()


async def _wait_for(console: object, text: bytes) -> None:
    """Raises TimeoutError, and EOFError when the console closes before it has said that."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), console
    )
    try:
        async with asyncio.timeout(_BOOT_SECONDS_MAX):
            await reader.readuntil(text)
    finally:
        transport.close()


async def _calm(pid: int) -> None:
    """What a kernel does after its start is not left to each clone."""
    before = demand(pid)
    for _ in range(_CALM_LOOKS_MAX):
        await asyncio.sleep(_CALM_SECONDS)
        now = demand(pid)
        if now - before < _CALM_CORES * _CALM_SECONDS:
            return
        before = now
