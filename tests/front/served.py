"""A front door over the tests' own services in a process of its own, whose memory can be looked at.

python -m tests.front.served DIRECTORY PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

from freehold.config import Config
from freehold.front.app import create_app
from freehold.front.serve import open_store, server
from freehold.logs import log_as_json
from freehold.records.secrets import Sealer
from freehold.services.operation import Catalog


def main(directory: Path, port: int) -> None:
    log_as_json()
    store = open_store(directory, Config())
    package = "tests.front.services"
    server(create_app(Catalog(package), store, Sealer.of(directory), Config(), package=package), port=port).run()
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
