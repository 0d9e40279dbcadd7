"""The external programs of an image build: run them, and turn a failure into one sentence for the operator."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# The Debian package to install when a program is missing.
PACKAGE_OF = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "cpio": "cpio",
    "dpkg-deb": "dpkg",
    "gzip": "gzip",
    "lz4": "lz4",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    "tar": "tar",
    "xz": "xz-utils",
    "zstd": "zstd",
}


class ImageBuildError(Exception):
    """An image cannot be built; the message is one sentence that says what is wrong and what to do."""


def run_tool(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Run a program of the build and return its standard output.

    `env` is added to the environment. Raises ImageBuildError if the program is missing or fails, with the last line
    that it wrote to standard error.
    """
    # The sbin directories hold mke2fs and are not in every user's PATH.
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    environment = {**os.environ, **(env or {}), "LC_ALL": "C", "PATH": path}
    try:
        done = subprocess.run(argv, cwd=cwd, input=stdin, env=environment, capture_output=True, check=False)
    except FileNotFoundError as missing:
        package = PACKAGE_OF.get(argv[0], argv[0])
        raise ImageBuildError(f"{argv[0]} is missing: install it with 'apt-get install {package}'.") from missing
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise ImageBuildError(f"{argv[0]} failed: {lines[-1] if lines else f'exit status {done.returncode}'}")
    return done.stdout
