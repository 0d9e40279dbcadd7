"""Clouds for tests, driven by the command as a person drives it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.cli.temporary import free_port
from freehold.paths import Paths
from freehold.supervisor_status import read_status
from tests.ovn import wait_until
from tests.templates import SharedTemplates

COMMAND = [sys.executable, "-c", "from freehold.cli import main; main()"]


@dataclass(frozen=True)
class CommandCloud:
    """A data directory and the port of its cloud."""

    data_dir: Path
    port: int

    @classmethod
    def at(cls, data_dir: Path, pool: str, configuration: str = "") -> CommandCloud:
        data_dir.mkdir()
        (data_dir / "freehold.toml").write_text(f'{configuration}[network]\npublic_pool = "{pool}"\n')
        return cls(data_dir, free_port())

    @property
    def paths(self) -> Paths:
        return Paths(self.data_dir)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The command with this cloud's data directory."""
        environment = {**os.environ, "FREEHOLD_DATA_DIR": str(self.data_dir)}
        return subprocess.run(
            [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=300, **options
        )

    def ok(self, *arguments: str) -> str:
        """Its output; the test fails if it does."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """The one sentence with which it refuses."""
        done = self.run(*arguments)
        assert done.returncode == 1, f"{arguments}: {done.stdout}{done.stderr}"
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.strip()

    def up(self) -> None:
        self.ok("up", "--port", str(self.port))

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.ok("status", "--json"))
        return status

    def pids(self) -> dict[str, int]:
        """Of all parts, as the command has them, without the second that a command takes."""
        status = read_status(self.paths.run)
        assert status is not None, self.logs()
        return {"supervisor": status["supervisor"]["pid"], **{part["name"]: part["pid"] for part in status["parts"]}}

    def replace(self, part: str) -> None:
        """Kill a part, and return when all run again with another in its place."""
        before = self.pids()[part]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: self.pids()[part] not in (before, None), f"another {part} is started")
        self.wait_running()

    def wait_running(self) -> None:
        wait_until(lambda: (read_status(self.paths.run) or {}).get("state") == "running", "all parts run")

    def identity(self) -> str:
        """The account that the AWS CLI finds itself in."""
        return str(json.loads(self.ok("aws", "sts", "get-caller-identity"))["Account"])

    def logs(self) -> str:
        """The ends of all logs, for a test that failed."""
        files = sorted((self.data_dir / "log").glob("*.log"))
        return "".join(f"\n--- {file.name}\n{file.read_text()[-1500:]}" for file in files)

    def destroy(self) -> None:
        if self.data_dir.exists():
            self.ok("destroy", "--yes")


@contextmanager
def short_place() -> Iterator[Path]:
    """A directory with a short path, for there are sockets in a data directory; gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="fh-"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


@contextmanager
def running_cloud(
    data_dir: Path, pool: str, configuration: str = "", templates: SharedTemplates | None = None
) -> Iterator[CommandCloud]:
    """A new cloud, with `templates` of what it launches most; gone with everything in it afterwards."""
    cloud = CommandCloud.at(data_dir, pool, configuration)
    if templates is not None:
        templates.lend(data_dir, "fh1.nano")
    try:
        cloud.up()
        yield cloud
    finally:
        cloud.destroy()
