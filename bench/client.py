"""A client that costs little: requests signed beforehand, sent over kept connections, answers read but not parsed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "us-east-1"


def signed(endpoint: str, keys: tuple[str, str], service: str, version: str, action: str, **params: Any) -> bytes:
    """One request of a query-protocol operation as it goes over the wire."""
    url = urlsplit(endpoint)
    body = urlencode({"Action": action, "Version": version, **params})
    request = AWSRequest("POST", f"{endpoint}/", data=body)
    request.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    request.headers["Host"] = url.netloc
    SigV4Auth(Credentials(*keys), service, REGION).add_auth(request)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Failed(Exception):
    """An answer that is not 200."""


class Connection:
    """A connection that is kept as long as the server keeps it: some (moto's) close it after each answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: socket.socket | None = None

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def send(self, request: bytes) -> bytes:
        """The body of the answer. Raises Failed unless it is 200, RuntimeError unless it is whole."""
        if self._open is None:
            self._open = socket.create_connection(("127.0.0.1", self._port), timeout=300)
            self._open.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.sendall(request)
        received = bytearray()
        while (head_end := received.find(b"\r\n\r\n")) < 0:
            self._receive(received)
        head = bytes(received[:head_end])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        whole = head_end + 4 + int(fields[b"content-length"])
        while len(received) < whole:
            self._receive(received)
        if fields.get(b"connection") == b"close":
            self.close()
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Failed(received.decode())
        return bytes(received[head_end + 4 :])

    def _receive(self, received: bytearray) -> None:
        assert self._open is not None
        chunk = self._open.recv(1 << 20)
        if not chunk:
            raise RuntimeError("the server closed the connection within an answer")
        received += chunk


@dataclass(frozen=True)
class Measured:
    """`per_second` counts the answers that were 200, `failed` is how many were not."""

    per_second: float
    failed: int


def rate(port: int, requests: Sequence[bytes], connections: int, seconds_max: float) -> Measured:
    """Each of `requests` sent once, by `connections` at a time, for `seconds_max` at most."""
    pending: Iterator[bytes] = iter(requests)
    lock = threading.Lock()
    broken: list[Exception] = []
    done, failed = [0] * connections, [0] * connections
    opened = [Connection(port) for _ in range(connections)]
    end = time.perf_counter() + seconds_max

    def work(number: int) -> None:
        try:
            while time.perf_counter() < end:
                with lock:
                    request = next(pending, None)
                if request is None:
                    return
                try:
                    opened[number].send(request)
                    done[number] += 1
                except Failed:
                    failed[number] += 1
        except Exception as error:
            broken.append(error)

    started = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    for connection in opened:
        connection.close()
    if broken:
        raise broken[0]
    return Measured(sum(done) / elapsed, sum(failed))
