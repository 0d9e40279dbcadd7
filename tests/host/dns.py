"""Queries for tests of the resolver."""

from __future__ import annotations

import struct

from freehold.host.resolver.message import Code, Kind, name_data


def query(name: str, kind: int = Kind.A, number: int = 7) -> bytes:
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + name_data(name) + struct.pack(">HH", kind, 1)


def heard(answer: bytes) -> tuple[Code, bytes | None]:
    """The code of an answer, and the data of its record."""
    number, flags, questions, answers, *_ = struct.unpack_from(">HHHHHH", answer)
    assert (number, questions, flags & 0x8180) == (7, 1, 0x8180)
    at = answer.index(b"\xc0\x0c", 12) if answers else 0
    return Code(flags & 15), answer[at + 12 :] if answers else None
