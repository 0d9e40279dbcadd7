"""The front door as a process: ``python -m freehold.front --data-dir D --port P``."""

from __future__ import annotations

import argparse
import gc
import os
import resource
import socket
import ssl
import sys
from pathlib import Path

import structlog
import uvicorn

from freehold import config as configuration
from freehold.config import Config
from freehold.front import workers
from freehold.front.app import FrontDoor, create_app
from freehold.front.connection import Connection
from freehold.front.guests import GuestConnection, door
from freehold.front.https import Certificate
from freehold.front.questions import HostQuestions
from freehold.front.throttle import Limiter
from freehold.logs import log_as_json
from freehold.paths import Paths
from freehold.pki import PkiError
from freehold.records.secrets import Sealer, SealError
from freehold.records.store import Store
from freehold.records.wake import SocketBell
from freehold.services.operation import Catalog

log = structlog.get_logger()

STOP_SECONDS = 20  # what runs may take to finish when the process is asked to stop
_BACKLOG = 1024
_OBJECTS_BETWEEN_COLLECTIONS = 20_000
_TICKS_AN_HOUR = 36_000


def open_store(data_dir: Path, config: Config) -> Store:
    """The state database of the cloud in `data_dir`; its tables must exist already."""
    bells = data_dir / "run" / "bells"
    bells.mkdir(parents=True, exist_ok=True)
    url = config.state.url or f"sqlite:///{data_dir.absolute() / 'state.db'}"
    return Store(url, SocketBell(bells), durable=config.state.durable)


class Server(uvicorn.Server):
    """uvicorn, listening for HTTP, for what hosts relay from guests and, when there is a certificate, for HTTPS."""

    def __init__(
        self,
        config: uvicorn.Config,
        https: tuple[socket.socket, Certificate] | None,
        guests: tuple[socket.socket, ssl.SSLContext] | None,
    ) -> None:
        super().__init__(config)
        self._https = https
        self._guests = guests

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        (http, *_) = self.servers
        loop = http.get_loop()
        if self._guests is not None:
            listener, security = self._guests
            self.servers.append(
                await loop.create_unix_server(
                    lambda: GuestConnection(
                        config=self.config, server_state=self.server_state, app_state=self.lifespan.state
                    ),
                    sock=listener,
                    ssl=security,
                    backlog=_BACKLOG,
                )
            )
        if self._https is not None:
            listener, certificate = self._https
            self.servers.append(
                await loop.create_server(
                    lambda: Connection(
                        config=self.config, server_state=self.server_state, app_state=self.lifespan.state
                    ),
                    sock=listener,
                    ssl=certificate.context,
                    backlog=_BACKLOG,
                )
            )

    async def on_tick(self, counter: int) -> bool:
        if self._https is not None and counter % _TICKS_AN_HOUR == _TICKS_AN_HOUR - 1:
            try:
                self._https[1].load()
            except (configuration.ConfigError, PkiError):
                log.exception("certificate not renewed")
        return await super().on_tick(counter)


def server(
    app: FrontDoor,
    *,
    host: str = "127.0.0.1",
    port: int,
    https: tuple[socket.socket, Certificate] | None = None,
    guests: tuple[socket.socket, ssl.SSLContext] | None = None,
) -> Server:
    """A server for the front door; `run` it, or `serve` it in an event loop. `https` is a bound socket and what to
    present on it, and so is `guests`, for the hosts (see `front.guests`)."""
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=Connection,
            loop="uvloop",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            proxy_headers=False,  # a client could say it is another
            server_header=False,
            date_header=True,
            timeout_keep_alive=app.limits.idle_seconds,
            timeout_graceful_shutdown=STOP_SECONDS,
            backlog=_BACKLOG,
        ),
        https,
        guests,
    )


def listen(address: str, port: int) -> socket.socket:
    """A TCP socket bound to an address. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m freehold.front", description="The front door of a cloud.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    log_as_json()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection is a file
    https, paths = None, Paths(options.data_dir)
    try:
        http = listen("127.0.0.1", options.port)
    except OSError as error:
        print(f"Port {options.port}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        config = configuration.load(options.data_dir)
        sealer = Sealer.of(options.data_dir)
        if config.https_address:
            certificate = Certificate(config, paths.pki)
            https = (listen(config.https_address, config.https_port), certificate)
        guests = door(paths)
    except (configuration.ConfigError, SealError, PkiError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"HTTPS on {config.https_address} port {config.https_port}: {error.strerror}", file=sys.stderr)
        return 1
    catalog, limiter = Catalog(), Limiter(config.throttle)
    # The service models are many objects that stay: collecting garbage must not walk them every few requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)

    def serve() -> int:
        store = open_store(options.data_dir, config)
        try:
            store.prepare()
        except OSError as error:
            log.warning("free some disk: the database can hardly grow", error=error.strerror)
        try:
            hosts = HostQuestions(paths.questions)
            app = create_app(catalog, store, sealer, config, limiter=limiter, ask=hosts.ask, wait=hosts.wait)
            server(app, port=options.port, https=https, guests=guests).run([http])
        finally:
            store.close()
        return 0

    return workers.run(config.front_processes or len(os.sched_getaffinity(0)), serve)
