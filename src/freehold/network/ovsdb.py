"""A client of ovsdb-server (RFC 7047) on its Unix socket: transactions, and nothing kept in memory."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Operation = dict[str, Any]


class OvsdbError(Exception):
    """The database refused a transaction; nothing of it was done."""


class OvsdbUnavailable(Exception):
    """The database can not be reached, or went away: whether a transaction under way was done is not known."""


class Ovsdb:
    """One connection to one database, opened when first needed and again after a failure. For one thread."""

    def __init__(self, path: Path, database: str, timeout: float = 30.0) -> None:
        """`timeout`: seconds that an answer may take."""
        self._path = path
        self._database = database
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._received = b""
        self._last_id = 0

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._received = b""

    def transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        """Do all operations, or none; the result of each (RFC 7047 §5.2).

        Raises OvsdbError or OvsdbUnavailable.
        """
        results = self.call("transact", [self._database, *operations])
        for result in results:
            if result is not None and "error" in result:
                raise OvsdbError(f"{result['error']}: {result.get('details', '')}")
        return results  # type: ignore[no-any-return]

    def call(self, method: str, params: list[Any]) -> Any:
        """The result of any method that answers once.

        Raises OvsdbError or OvsdbUnavailable.
        """
        deadline = time.monotonic() + self._timeout
        try:
            return self._call(method, params, deadline)
        except (OSError, ValueError) as error:
            self.close()
            raise OvsdbUnavailable(f"{self._path}: {error}") from error

    def _call(self, method: str, params: list[Any], deadline: float) -> Any:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(self._timeout)
            self._socket.connect(str(self._path))
        self._last_id += 1
        request = {"method": method, "params": params, "id": self._last_id}
        self._socket.sendall(json.dumps(request, separators=(",", ":")).encode())
        while True:
            message = self._receive(self._socket, deadline)
            if message.get("method") == "echo":  # the server asks whether this end is alive
                answer = {"result": message["params"], "error": None, "id": message["id"]}
                self._socket.sendall(json.dumps(answer).encode())
            elif message.get("id") == self._last_id:
                if message.get("error") is not None:
                    raise OvsdbError(json.dumps(message["error"]))
                return message["result"]

    def _receive(self, connection: socket.socket, deadline: float) -> dict[str, Any]:
        """The next message. Messages follow each other without a frame: one is whole when it parses."""
        while True:
            if self._received.endswith(b"}"):
                text = self._received.decode()
                try:
                    message, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    pass  # a closing brace within the message
                else:
                    self._received = text[end:].lstrip().encode()
                    return dict(message)
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            data = connection.recv(1 << 20)
            if not data:
                raise ConnectionError("the connection was closed")
            self._received += data
