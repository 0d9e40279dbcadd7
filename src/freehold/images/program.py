"""The guests' own first programs, `guest/helper/*.c`: a shell script that does the same takes seconds under TCG (2.4 s
to SSH against 0.6 s, medians of 7), where each program that it starts is translated anew.

tcc, musl and libsodium are fetched and unpacked like the other ingredients (1.1 MB) and never installed; compiling
takes milliseconds and gives the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from freehold.images.packages import Package, unpack
from freehold.images.tools import run_tool

SOURCES = Path(__file__).with_name("guest") / "helper"
PACKAGES = ("tcc", "musl-dev", "libsodium-dev")

_OWN = {"micro": ("dropbear_key.c",)}
_SHARED = (
    *("awake.c", "boot.c", "connect.c", "devices.c", "files.c", "identity.c", "imds.c", "instance.c", "network.c"),
)


def compile_program(name: str, compiler: Path, target: Path) -> None:
    """Build the first program whose `main` is in `guest/helper/<name>.c`. In `compiler` the packages are unpacked."""
    compile_sources([SOURCES / file for file in (f"{name}.c", *_OWN.get(name, ()), *_SHARED)], compiler, target)


def compile_sources(sources: Sequence[Path], compiler: Path, target: Path) -> None:
    """Build a static program. Raises ImageBuildError, also for what the compiler only warns of."""
    tcc = compiler / "usr/lib/x86_64-linux-gnu/tcc"
    sodium = compiler / "usr/lib/x86_64-linux-gnu/libsodium.a"
    libraries, headers = compiler / "usr/lib/x86_64-linux-musl", compiler / "usr/include/x86_64-linux-musl"
    run_tool(
        (
            *(str(compiler / "usr/bin/tcc"), f"-B{tcc}", "-Wall", "-Werror", "-static", "-nostdinc", "-nostdlib"),
            *(f"-I{headers}", f"-I{tcc / 'include'}", "-o", str(target)),
            *(str(libraries / "crt1.o"), str(libraries / "crti.o"), *map(str, sources), str(sodium)),
            *(str(libraries / "libc.a"), str(tcc / "libtcc1.a"), str(libraries / "crtn.o")),
        )
    )
    target.chmod(0o755)


def unpack_compiler(packages: list[Package], target: Path) -> None:
    for package in packages:
        if package.name in PACKAGES:
            unpack(package, target)
