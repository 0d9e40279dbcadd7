"""Writing to a guest's disks and reading what the pool holds, as tests of volumes and snapshots do."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from freehold.host.layout import Layout
from freehold.host.volumes import luks, qcow2
from freehold.host.volumes.layers import Layers

BLOCK = 64 << 10


class SpareMonitor:
    """QEMU's second monitor, which the agent does not use."""

    def __init__(self, layout: Layout, instance_id: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._stream = self._socket.makefile("rwb")
        try:
            self._socket.connect(str(layout.guest(instance_id).spare_monitor))
            self._stream.readline()
            self.execute("qmp_capabilities")
        except (OSError, ValueError):  # QEMU has ended
            self.close()
            raise

    def execute(self, command: str, **arguments: Any) -> Any:
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._stream.flush()
        while True:
            answer = json.loads(self._stream.readline())
            if "event" not in answer:
                return answer["return"]

    def write(self, volume_id: str, block: int, value: int) -> None:
        """Have block number `block` of a volume filled with a byte, as if the guest had written it. Raises LookupError
        when QEMU does not have the volume."""
        self._do(volume_id, f"write -P {value} {block * BLOCK} {BLOCK}")

    def flush(self, volume_id: str) -> None:
        """Have what was written be on the volume, as a guest does that can not lose it."""
        self._do(volume_id, "flush")

    def _do(self, volume_id: str, command: str) -> None:
        line = f'qemu-io -d /machine/peripheral/{volume_id}/virtio-backend "{command}"'
        said = self.execute("human-monitor-command", **{"command-line": line})
        if "not found" in said:
            raise LookupError(said)
        assert "error" not in said.lower(), said

    def close(self) -> None:
        with suppress(OSError):  # what QEMU did not read before it ended
            self._stream.close()
        self._socket.close()


def blocks(layout: Layout, path: Path, key: bytes | None, of: Iterable[int], *below: bytes) -> dict[int, int]:
    """What is in some blocks of a file and what lies below it: the byte that each is filled with, -1 for a mixture.
    `below` opens layers that `key` does not."""
    node: dict[str, Any] | None = None
    for file in reversed(Layers(layout).chain(path)):
        lower = node
        node = {"driver": "qcow2", "file": {"driver": "file", "filename": str(file)}, "backing": lower}
        if qcow2.encrypted(file):
            node["encrypt"] = {
                "format": "luks",
                "key-secret": f"key-{luks.opened_by(qcow2.luks_head(file, luks.HEAD_BYTES))}",
            }
    given = luks.passphrases([each for each in (key, *below) if each is not None])
    objects = [("--object", f"secret,id=key-{name},data={passphrase}") for name, passphrase in given.items()]
    secret = [argument for each in objects for argument in each]
    raw = layout.volumes / "read.raw"
    try:
        source = "json:" + json.dumps(node)
        subprocess.run(("qemu-img", "convert", "-U", *secret, "-O", "raw", source, raw), check=True)
        with raw.open("rb") as data:
            found = {}
            for block in of:
                data.seek(block * BLOCK)
                content = set(data.read(BLOCK))
                found[block] = content.pop() if len(content) == 1 else -1
            return found
    finally:
        raw.unlink(missing_ok=True)


def check(path: Path, key: bytes | None) -> None:
    """`qemu-img check` finds nothing wrong and nothing leaked."""
    options: dict[str, Any] = {"driver": "qcow2", "file": {"driver": "file", "filename": str(path)}, "backing": None}
    secret = ()
    if qcow2.encrypted(path):
        assert key is not None
        options["encrypt"] = {"format": "luks", "key-secret": "key"}
        secret = ("--object", f"secret,id=key,data={luks.passphrase(key)}")
    subprocess.run(("qemu-img", "check", "-U", *secret, "json:" + json.dumps(options)), check=True)
