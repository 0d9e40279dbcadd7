"""Waking those who follow the change feed, across processes.

A bell is only a hint that there is something to read: followers always read the feed itself, and look by themselves
now and then, so a lost ring costs a little time and nothing else. On one machine each follower owns a datagram
socket in a directory and a commit sends a byte to each.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Protocol


class Bell(Protocol):
    """Rings for every follower after a commit."""

    def ring(self) -> None: ...

    def close(self) -> None: ...


class SocketBell:
    """Rings by a datagram to every socket in `directory`. Never blocks, never fails the caller."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def ring(self) -> None:
        for entry in os.scandir(self._directory):
            try:
                self._socket.sendto(b"\0", entry.path)
            except OSError:
                # Full (it will wake anyway), or its owner has gone: a follower that returns reads the whole feed.
                continue

    def close(self) -> None:
        self._socket.close()


def listen(directory: Path, name: str) -> socket.socket:
    """This follower's own socket: readable when something was committed since the last read."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.sock"
    path.unlink(missing_ok=True)
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    receiver.bind(str(path))
    return receiver
