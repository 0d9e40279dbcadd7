"""All that the tests need of Debian's mirror, in the cache: they run without a way out. Run as a program."""

from __future__ import annotations

import tempfile
from pathlib import Path

from freehold.images.build import build, cache_directory
from freehold.images.packages import fetch
from tests.images.bootable import LOADERS


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        build("freehold-micro", Path(place), print)
    fetch(LOADERS, cache_directory() / "packages", print)


if __name__ == "__main__":
    main()
