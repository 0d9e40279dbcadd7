"""What encryption of volumes costs: ``python -m bench.encryption``.

Each figure is of an encrypted volume against a plain one made the same way, in one run by turns: processor time to make
a volume; from RunInstances to a login by SSH; and reading and writing through the same storage stack as a guest's, by
QEMU's storage daemon from the machine's page cache, where nothing but the processor counts.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import resource
import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.launch import IMAGE, Freehold
from freehold.cli.temporary import temporary_cloud
from freehold.host.layout import Layout
from freehold.host.volumes import luks
from freehold.host.volumes.pool import Pool
from freehold.host.wire import VolumeSpec
from freehold.paths import Paths

CPU_MS_MAX = 50
_MIB = 1 << 20
_ROOM = 256 * _MIB  # what is read and written in a row
# A prime number of blocks: no two requests are at the same place of the disk, or beside each other.
_STEP = 4096 * 8191

Seconds = Callable[[bool], float]
"""What something takes, with an encrypted volume or with a plain one."""


def by_turns(rounds: int, measure: Seconds) -> tuple[float, float]:
    """The medians (encrypted, plain)."""
    taken = {encrypted: [] for encrypted in (True, False)}
    for _ in range(rounds):
        for encrypted, seconds in taken.items():
            seconds.append(measure(encrypted))
    return statistics.median(taken[True]), statistics.median(taken[False])


class Volumes:
    """A host's pool of volumes in a directory of its own, over an image of 1 GiB."""

    def __init__(self, directory: Path) -> None:
        layout = Layout(Paths(directory))
        layout.prepare()
        self._pool = Pool(layout)
        self._image = directory / "image.qcow2"
        subprocess.run(("qemu-img", "create", "-q", "-f", "qcow2", self._image, "1G"), check=True)
        self._made = 0

    def make(self, encrypted: bool) -> tuple[Path, bytes | None]:
        """A new volume and its key."""
        self._made += 1
        key = secrets.token_bytes(32) if encrypted else None
        volume = VolumeSpec(f"vol-{self._made:017x}", 1, None, "/dev/xvda", boot=True, encrypted=encrypted)
        asyncio.run(self._pool.make(volume, self._image, key))
        return self._pool.layout.volume(volume.volume_id), key

    def cpu(self, encrypted: bool) -> float:
        """Seconds of processor time, of this process and of what it runs, to make a volume."""
        before = _processor_seconds()
        self.make(encrypted)
        return _processor_seconds() - before

    def cpu_of_qemu_img(self) -> float:
        """The same for an encrypted volume made by `qemu-img create` alone, which measures its password hash."""
        secret = self._image.with_name("secret")
        secret.write_text(luks.passphrase(secrets.token_bytes(32)))
        options = "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"
        before = _processor_seconds()
        subprocess.run(
            (
                *("qemu-img", "create", "-q", "-f", "qcow2", "--object", f"secret,id=key,file={secret}"),
                *("-o", options, "-F", "qcow2", "-b", self._image, self._image.with_name("theirs.qcow2"), "1G"),
            ),
            check=True,
        )
        return _processor_seconds() - before


def _processor_seconds() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@contextmanager
def exported(path: Path, key: bytes | None) -> Iterator[str]:
    """The address of a volume that QEMU's storage daemon serves, with the block nodes that guests have."""
    secret = path.with_suffix(".secret")
    node = f"driver=qcow2,node-name=disk,discard=unmap,file.driver=file,file.filename={path},file.discard=unmap"
    objects: tuple[str, ...] = ()
    if key is not None:
        secret.write_text(luks.passphrase(key))
        objects = ("--object", f"secret,id=key,file={secret}")
        node += ",encrypt.format=luks,encrypt.key-secret=key"
    with served(path.with_suffix(".sock"), *objects, "--blockdev", node) as address:
        yield address


@contextmanager
def served(socket: Path, *arguments: str) -> Iterator[str]:
    """The address of the block node ``disk`` of the arguments, which QEMU's storage daemon serves on a socket."""
    daemon = subprocess.Popen(
        (
            *("qemu-storage-daemon", *arguments),
            *("--nbd-server", f"addr.type=unix,addr.path={socket}"),
            *("--export", "type=nbd,id=disk,node-name=disk,name=disk,writable=on"),
        )
    )
    try:
        while not socket.exists():
            if daemon.poll() is not None:
                raise RuntimeError(f"qemu-storage-daemon ended with {daemon.returncode}")
            time.sleep(0.01)
        yield f"nbd+unix:///disk?socket={socket}"
    finally:
        daemon.terminate()
        daemon.wait()


def transfer(address: str, size: int, count: int, *, write: bool, step: int = 0) -> float:
    """Seconds for so many requests, sixteen at a time."""
    done = subprocess.run(
        (
            *("qemu-img", "bench", "-f", "raw", "-t", "none", "-d", "16", "-s", str(size), "-c", str(count)),
            *(("-S", str(step)) if step else ()),
            *(("-w",) if write else ()),
            address,
        ),
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"completed in ([0-9.]+) seconds", done.stdout)
    if found is None:
        raise RuntimeError(done.stdout)
    return float(found[1])


PATTERNS = {
    "sequential write, 64 KiB": (65536, _ROOM // 65536, True, 0),
    "sequential read, 64 KiB": (65536, _ROOM // 65536, False, 0),
    "scattered write, 4 KiB": (4096, 20_000, True, _STEP),
    "scattered read, 4 KiB": (4096, 20_000, False, _STEP),
}


def throughput(volumes: Volumes, rounds: int) -> dict[str, tuple[float, float]]:
    """MiB a second (encrypted, plain) of each pattern, on disks that have been written to once."""
    disks = {encrypted: volumes.make(encrypted) for encrypted in (True, False)}
    with exported(*disks[True]) as secret, exported(*disks[False]) as plain:
        addresses = {True: secret, False: plain}
        for address in addresses.values():
            transfer(address, _MIB, 1024, write=True)
        found = {}
        for name, (size, count, write, step) in PATTERNS.items():

            def measure(
                encrypted: bool, size: int = size, count: int = count, write: bool = write, step: int = step
            ) -> float:
                return size * count / _MIB / transfer(addresses[encrypted], size, count, write=write, step=step)

            found[name] = by_turns(rounds, measure)
        return found


def launches(rounds: int) -> tuple[float, float]:
    """Seconds from RunInstances to a login (encrypted, plain)."""
    with temporary_cloud(IMAGE, None, print) as cloud:
        freehold = Freehold(cloud)

        def launch(encrypted: bool) -> float:
            freehold.encrypt(encrypted)
            seconds = freehold.launch(1)
            freehold.terminate()
            print(f"{'encrypted' if encrypted else 'plain'}: {seconds:.2f} s")
            return seconds

        launch(True)  # the first one of a cloud makes its network too
        return by_turns(rounds, launch)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.encryption", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    table = Table(title="Encrypted volumes against plain ones")
    for name in ("", "encrypted", "plain", "", "wanted"):
        table.add_column(name, justify="right" if table.columns else "left")
    with tempfile.TemporaryDirectory(prefix="fh-bench-", dir="/var/tmp") as directory:
        volumes = Volumes(Path(directory))
        ours, plain = by_turns(rounds, volumes.cpu)
        theirs = volumes.cpu_of_qemu_img()
        more = f"{(ours - plain) * 1000:.0f} ms more"
        table.add_row(
            "CPU to make a volume", f"{ours * 1000:.0f} ms", f"{plain * 1000:.0f} ms", more, f"≤ {CPU_MS_MAX} ms"
        )
        table.add_row("the same by qemu-img alone", f"{theirs * 1000:,.0f} ms", "", "", "")
        for name, (secret, open_) in throughput(volumes, rounds).items():
            table.add_row(name, f"{secret:,.0f} MiB/s", f"{open_:,.0f} MiB/s", f"{secret / open_:.2f}×", "")
    ours, plain = launches(rounds)
    table.add_row("launch to a login by SSH", f"{ours:.2f} s", f"{plain:.2f} s", f"{ours / plain:.2f}×", "")
    Console().print(table)


if __name__ == "__main__":
    main()
