"""What guests send to the API, relayed by their hosts (see `freehold.host.relay`).

A host proves by its certificate that it is one of this cloud's, and says in a frame before all else from whom it
relays: a connection is then that guest's. Who signs is proven as everywhere; a host could only say that a request came
from another address.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

import msgspec
import structlog

from freehold.control.hosts import link_security
from freehold.front.connection import Connection
from freehold.host.wire import Origin
from freehold.paths import Paths

log = structlog.get_logger()

_ORIGIN_BYTES_MAX = 1024
_BACKLOG = 1024

_decoder = msgspec.json.Decoder(Origin)


def door(paths: Paths) -> tuple[socket.socket, ssl.SSLContext] | None:
    """A listening Unix socket that only root may open, and what proves both sides; None in a cloud without certificates
    for its parts, which has no host. Raises OSError."""
    if not (paths.pki / "control.crt").exists():
        return None
    security = link_security(paths.pki)
    path = paths.guest_door
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
        bound.listen(_BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound, security


class GuestConnection(Connection):
    """A connection that begins with an `Origin`."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        self._before: bytes | None = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The guest itself speaks plain HTTP.
        self._tls, self.scheme = None, "http"

    def data_received(self, data: bytes) -> None:
        if self._before is None:
            super().data_received(data)
            return
        self._before += data
        length = int.from_bytes(self._before[:4], "big")
        if len(self._before) >= 4 and not 0 < length <= _ORIGIN_BYTES_MAX:
            self.transport.close()
        elif len(self._before) >= 4 + length:
            said, rest, self._before = self._before[4 : 4 + length], self._before[4 + length :], None
            self._begin(said)
            if rest:
                super().data_received(rest)

    def _begin(self, said: bytes) -> None:
        try:
            origin = _decoder.decode(said)
        except msgspec.MsgspecError:
            log.warning("a host relays from nobody")
            self.transport.close()
            return
        self.client = (origin.private_ip, 0)
        self._scope = {"vpc": origin.vpc_id}
