"""The two that are compared: Freehold's front door as its own process, and moto_server."""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from freehold import config as configuration
from freehold.cli.temporary import free_port
from freehold.control.accounts import create_account
from freehold.front.serve import open_store
from freehold.paths import Paths
from freehold.records.compute import Host
from freehold.records.ids import HostId, ImageId
from freehold.records.migrations import upgrade
from freehold.records.secrets import Sealer
from freehold.records.store import Store
from freehold.services.ec2.images import register_builtin

IMAGE_ID = ImageId("ami-" + "0" * 17)


@dataclass(frozen=True)
class Server:
    """`store` is the state of Freehold's, in `data_dir`, to put accounts and records in; None for the peer."""

    name: str
    port: int
    keys: tuple[str, str]
    account_id: str
    store: Store | None
    data_dir: Path | None
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def account(server: Server, name: str) -> Server:
    """The same server for a new account."""
    assert server.store is not None
    assert server.data_dir is not None
    with server.store.write() as tx:
        made, key_id, secret = create_account(tx, Sealer.of(server.data_dir), name)
    return replace(server, keys=(key_id, secret), account_id=made.id)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args} ended with {process.returncode}") from None
            time.sleep(0.05)
    raise RuntimeError(f"{process.args} does not listen")


@contextmanager
def freehold(module: str = "freehold.front") -> Iterator[Server]:
    """The front door over a database of its own, as `freehold up` configures it, with one simulated host. `module` is
    what is run."""
    with tempfile.TemporaryDirectory(prefix="freehold-bench-") as directory:
        data_dir, port = Path(directory), free_port()
        # 131,072 public addresses, of the range for benchmarks (RFC 2544): each launch takes one.
        (data_dir / "freehold.toml").write_text('[network]\npublic_pool = "198.18.0.0/15"\n')
        upgrade(Paths(data_dir).state_url)
        store = open_store(data_dir, configuration.load(data_dir))
        with store.write() as tx:
            owner, key_id, secret = create_account(tx, Sealer.of(data_dir), "bench")
            far = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
            tx.insert(Host(HostId("simulated"), None, 10**7, 10**10, 0, 0, "tcg", True, far))
            register_builtin(
                tx,
                image_id=IMAGE_ID,
                name="simulated",
                description="An image that nothing boots",
                architecture="x86_64",
                root_device_name="/dev/xvda",
                size_bytes=1 << 30,
                minimum_memory_mib=96,
                default_user="root",
                created_at=tx.now,
            )
        command = [sys.executable, "-m", module, "--data-dir", directory, "--port", str(port)]
        process = subprocess.Popen(command)
        try:
            _wait(port, process)
            yield Server("freehold", port, (key_id, secret), owner.id, store, data_dir, process)
        finally:
            process.terminate()
            process.wait()
            store.close()


@contextmanager
def moto() -> Iterator[Server]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port, process)
        yield Server("moto", port, ("AKIAIOSFODNN7EXAMPLE", "secret"), "123456789012", None, None, process)
    finally:
        process.terminate()
        process.wait()
