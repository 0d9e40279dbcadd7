"""``freehold env`` and ``freehold aws``."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from freehold.cli.endpoint import running_endpoint

# What would point the AWS CLI elsewhere, or sign with other keys.
_OTHERS = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")


def env(data_dir: Path) -> None:
    """Print the shell commands that point AWS's tools here."""
    for name in _OTHERS:
        print(f"unset {name}")
    for name, value in running_endpoint(data_dir).environment().items():
        print(f"export {name}={shlex.quote(value)}")


def aws(data_dir: Path, arguments: list[str]) -> NoReturn:
    """Become the AWS CLI of this virtual environment."""
    endpoint = running_endpoint(data_dir)
    kept = {name: value for name, value in os.environ.items() if name not in _OTHERS}
    command = [sys.executable, "-m", "awscli", "--endpoint-url", endpoint.url, *arguments]
    os.execve(command[0], command, {**kept, **endpoint.environment()})  # noqa: S606 an argument list, no shell
