"""The processes of the front door: they serve one port, stop together, and never outlive the one that began them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from freehold.cli.temporary import free_port
from freehold.config import Config
from freehold.control.accounts import create_account
from freehold.front.serve import open_store
from freehold.paths import Paths
from freehold.processes import children
from freehold.records.migrations import upgrade
from freehold.records.secrets import Sealer
from tests.front.audited import written


def eventually(true: Callable[[], bool]) -> None:
    for _ in range(400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


class Front:
    """A front door of two processes."""

    def __init__(self, data_dir: Path, keys: tuple[str, str]) -> None:
        self.data_dir, self.port = data_dir, free_port()
        command = [sys.executable, "-m", "freehold.front", "--data-dir", data_dir, "--port", str(self.port)]
        self.process = subprocess.Popen(command)
        self._keys = keys
        eventually(self.answers)

    def client(self, service: str) -> Any:
        key_id, secret = self._keys
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
        )

    def answers(self) -> bool:
        client = self.client("sts")
        try:
            return bool(client.get_caller_identity()["Account"])
        except Exception:
            assert self.process.poll() is None
            return False
        finally:
            client.close()

    @property
    def workers(self) -> set[int]:
        return children(self.process.pid)


@contextmanager
def _front(data_dir: Path) -> Iterator[Front]:
    (data_dir / "freehold.toml").write_text("front_processes = 2\n")
    upgrade(Paths(data_dir).state_url)
    store = open_store(data_dir, Config())
    with store.write() as tx:
        _, *keys = create_account(tx, Sealer.of(data_dir), "test")
    store.close()
    front = Front(data_dir, (keys[0], keys[1]))
    try:
        yield front
    finally:
        front.process.terminate()
        front.process.wait()


def test_they_share_the_work_and_lose_nothing_when_asked_to_stop(tmp_path: Path) -> None:
    with _front(tmp_path) as front:
        assert len(front.workers) == 2
        clients = [front.client("ec2") for _ in range(8)]

        def create(number: int) -> str:
            group: str = clients[number % 8].create_security_group(GroupName=f"g-{number}", Description="d")["GroupId"]
            return group

        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(create, range(80)))
        shown = clients[0].describe_security_groups(GroupIds=made)["SecurityGroups"]
        assert {group["GroupId"] for group in shown} == set(made)
        for client in clients:
            client.close()
    assert front.process.returncode == 0
    store = open_store(tmp_path, Config())
    recorded = [record["eventName"] for record in written(store)]
    store.close()
    assert recorded.count("CreateSecurityGroup") == 80
    assert recorded.count("DescribeSecurityGroups") == 1


def test_when_one_dies_all_end(tmp_path: Path) -> None:
    """So that who keeps the front door alive sees it."""
    with _front(tmp_path) as front:
        workers = front.workers
        subprocess.run(["kill", "-9", str(min(workers))], check=True)
        assert front.process.wait(30) == 1
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_they_die_with_the_one_that_began_them(tmp_path: Path) -> None:
    with _front(tmp_path) as front:
        workers = front.workers
        front.process.send_signal(signal.SIGKILL)
        front.process.wait()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_the_port_is_taken(tmp_path: Path) -> None:
    with _front(tmp_path) as front:
        command = [sys.executable, "-m", "freehold.front", "--data-dir", tmp_path, "--port", str(front.port)]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert second.stderr == f"Port {front.port}: Address already in use\n"
