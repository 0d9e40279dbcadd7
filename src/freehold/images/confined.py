"""qemu-img, where it can do no harm: it reads a hostile file, and is a large program written in C.

It runs as a user that nothing belongs to, in namespaces of its own: of files it has the system's programs, which it can
not change, the file to read and the file to write; it has no network, no other process, no device and no way to get
more rights. Its memory, its time and what it writes are limited. What it writes of a disk that is imported is raw, so
that nobody who reads it has to trust it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from freehold.images.disk_formats import Format, UnusableDisk, driver, written

SIZE_BYTES_MAX = 16 << 40  # the largest volume
SECONDS_MAX = 3600.0
_MEMORY_BYTES_MAX = 2 << 30
_FREE_BYTES_MIN = 1 << 30  # room that guests need to write
_UID = 0x3FFFFFFF  # one below the guests' (host/layout.guest_uid), far above those of people and services
_LOOK_SECONDS = 0.2

# In a mount namespace of its own: a root directory with nothing but what is needed, which goes with the namespace.
# $1 is an empty directory, $2 the file to read, $3 the file to write; the rest is the program.
_CONFINE = """
set -e
root=$1 input=$2 output=$3
shift 3
mount -t tmpfs -o mode=755,size=64k,nosuid,nodev none "$root"
mkdir "$root/usr"
mount --bind /usr "$root/usr"
mount -o remount,bind,ro,nosuid,nodev "$root/usr"
for name in bin lib lib64; do ln -s "usr/$name" "$root/$name"; done
touch "$root/input" "$root/output"
mount --bind "$input" "$root/input"
mount -o remount,bind,ro,nosuid,nodev,noexec "$root/input"
mount --bind "$output" "$root/output"
mount -o remount,ro "$root"
cd "$root"
exec "$@"
"""
_PROGRESS = re.compile(rb"\((\d+\.\d+)/100%\)")


def convert(source: Path, of: Format, target: Path, progress: Callable[[float], None], *, to: Format = "raw") -> None:
    """Write the disk that is in a file into `target`. `progress` is called with 0 to 1.

    Needs root; a file that not everybody may read goes over to the confined user. Raises UnusableDisk if the file is no
    such disk, is larger than it may be, or takes too long.
    """
    if not source.stat().st_mode & stat.S_IROTH:
        os.chown(source, _UID, _UID)
    target.touch(mode=0o600)
    os.chown(target, _UID, _UID)
    node = {**driver(of), "backing": None, "file": {"driver": "file", "filename": "/input"}}
    with tempfile.TemporaryDirectory(prefix="freehold-") as root, tempfile.TemporaryFile() as words:
        with subprocess.Popen(
            (
                *("unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "--"),
                *("sh", "-c", _CONFINE, "sh", root, str(source), str(target)),
                *("prlimit", f"--as={_MEMORY_BYTES_MAX}", f"--fsize={SIZE_BYTES_MAX}", "--core=0", "--nofile=64"),
                *("setpriv", "--no-new-privs", "chroot", f"--userspec={_UID}:{_UID}", "--groups=", root),
                *("qemu-img", "convert", "-p", *written(to), "json:" + json.dumps(node), "/output"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        ) as process:
            try:
                _watch(process, target, progress)
            finally:
                process.kill()  # and with it all that it has started
        if process.returncode != 0:
            words.seek(0)
            raise UnusableDisk(_reason(words.read()[-2000:], to))
    os.chown(target, 0, 0)


def _watch(process: subprocess.Popen[bytes], target: Path, progress: Callable[[float], None]) -> None:
    """Return when it has ended. Raises UnusableDisk when it has used up its time, or the room that there is."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
        if said := _PROGRESS.findall(process.stdout.read() or b""):
            progress(float(said[-1]) / 100)
        if process.returncode is not None:
            return
        if time.monotonic() > deadline:
            raise UnusableDisk(f"It was not converted within {SECONDS_MAX / 60:.0f} minutes.")
        if shutil.disk_usage(target.parent).free < _FREE_BYTES_MIN:
            raise UnusableDisk(f"There is no room for what it holds: {target.parent} is full.")


def _reason(words: bytes, to: Format) -> str:
    """What qemu-img says, without the names of files, which are none of the owner's."""
    line = words.decode(errors="replace").strip().rsplit("\n", 1)[-1]
    said = re.sub(r"[^ -~]", "?", line.rpartition(": ")[2])
    what = "read as a disk" if to == "raw" else f"written as {to}"
    return f"It can not be {what}: {said or 'qemu-img ended without a word'}."
