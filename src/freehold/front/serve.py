"""The front door as a process: ``python -m freehold.front --data-dir D --port P``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvicorn

from freehold import config as configuration
from freehold.front.app import FrontDoor, create_app
from freehold.logs import log_as_json
from freehold.records.secrets import Sealer, SealError
from freehold.records.store import Store
from freehold.records.wake import SocketBell
from freehold.services.operation import Catalog

KEEP_ALIVE_SECONDS = 75  # longer than botocore keeps a pooled connection idle between two calls of a script
STOP_SECONDS = 20  # what runs may take to finish when the process is asked to stop


def open_store(data_dir: Path, config: configuration.Config) -> Store:
    """The state database of the cloud in `data_dir`; its tables must exist already."""
    bells = data_dir / "run" / "bells"
    bells.mkdir(parents=True, exist_ok=True)
    url = config.state.url or f"sqlite:///{data_dir.absolute() / 'state.db'}"
    return Store(url, SocketBell(bells), durable=config.state.durable)


def server(app: FrontDoor, *, host: str = "127.0.0.1", port: int) -> uvicorn.Server:
    """A uvicorn server for the front door; `run` it, or `serve` it in an event loop."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="httptools",
            loop="uvloop",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=True,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            backlog=1024,
        )
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m freehold.front", description="The front door of a cloud.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    log_as_json()
    try:
        config = configuration.load(options.data_dir)
        sealer = Sealer.of(options.data_dir)
    except (configuration.ConfigError, SealError) as error:
        print(error, file=sys.stderr)
        return 1
    store = open_store(options.data_dir, config)
    try:
        server(create_app(Catalog(), store, sealer, config), port=options.port).run()
    finally:
        store.close()
    return 0
