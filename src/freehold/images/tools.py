"""The external programs of an image build: run them, and turn a failure into one sentence for the operator."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# The Debian package to install when a program is missing.
PACKAGE_OF = {
    "apt-cache": "apt",
    "apt-config": "apt",
    "apt-get": "apt",
    "cpio": "cpio",
    "dpkg-deb": "dpkg",
    "dpkg-query": "dpkg",
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
    on_line: Callable[[str], None] | None = None,
) -> bytes:
    """Run a program of the build and return its standard output.

    `env` is added to the environment; `on_line` gets each line of standard error as it comes. Raises
    ImageBuildError if the program is missing or fails, with the last line that it wrote to standard error.
    """
    # The sbin directories hold mke2fs and are not in every user's PATH.
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    environment = {**os.environ, **(env or {}), "LC_ALL": "C", "PATH": path}
    last = ""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
        given.write(stdin)
        given.seek(0)
        try:
            process = subprocess.Popen(
                argv, cwd=cwd, env=environment, stdin=given, stdout=output, stderr=subprocess.PIPE, text=True
            )
        except FileNotFoundError as missing:
            package = PACKAGE_OF.get(argv[0], argv[0])
            raise ImageBuildError(f"{argv[0]} is missing: install it with 'apt-get install {package}'.") from missing
        with process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.strip():
                    last = line.strip()
                    if on_line:
                        on_line(last)
        if process.returncode != 0:
            raise ImageBuildError(f"{argv[0]} failed: {last or f'exit status {process.returncode}'}")
        output.seek(0)
        return output.read()
