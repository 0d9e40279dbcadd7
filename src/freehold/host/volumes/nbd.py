"""The little of NBD that reading and writing blocks of a disk takes: one request after the other.

https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path

from freehold.host.errors import HostError

_OPENING = struct.Struct(">8s8sH")
_EXPORT = struct.Struct(">8sII")
_SIZE = struct.Struct(">QH")
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_FIXED_NEWSTYLE_NO_ZEROES = 3
_EXPORT_NAME = 1
_READ, _WRITE, _FLUSH = 0, 1, 3
_ASKED, _ANSWERED = 0x25609513, 0x67446698


class Nbd:
    """A connection to a server's export of `size` bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
        self._reader = reader
        self._writer = writer
        self.size = size

    @classmethod
    async def connect(cls, path: Path, export: str) -> Nbd:
        """Raises HostError, OSError."""
        reader, writer = await asyncio.open_unix_connection(path)
        magic, option, _flags = _OPENING.unpack(await reader.readexactly(_OPENING.size))
        if (magic, option) != (b"NBDMAGIC", b"IHAVEOPT"):
            raise HostError("not an NBD server")
        name = export.encode()
        writer.write(struct.pack(">I", _FIXED_NEWSTYLE_NO_ZEROES))
        writer.write(_EXPORT.pack(b"IHAVEOPT", _EXPORT_NAME, len(name)) + name)
        size, _flags = _SIZE.unpack(await reader.readexactly(_SIZE.size))
        return cls(reader, writer, size)

    async def read(self, offset: int, length: int) -> bytes:
        """Raises HostError, OSError."""
        await self._do(_READ, offset, length)
        return await self._reader.readexactly(length)

    async def write(self, offset: int, data: bytes) -> None:
        """Raises HostError, OSError."""
        await self._do(_WRITE, offset, len(data), data)

    async def flush(self) -> None:
        """Raises HostError, OSError."""
        await self._do(_FLUSH, 0, 0)

    def close(self) -> None:
        self._writer.close()

    async def _do(self, kind: int, offset: int, length: int, data: bytes = b"") -> None:
        try:
            self._writer.write(_REQUEST.pack(_ASKED, 0, kind, 0, offset, length) + data)
            await self._writer.drain()
            magic, error, _cookie = _REPLY.unpack(await self._reader.readexactly(_REPLY.size))
        except asyncio.IncompleteReadError as broken:
            raise HostError("the NBD server has gone") from broken
        if magic != _ANSWERED or error:
            raise HostError(f"a block was not read or written: {os.strerror(error)}")
