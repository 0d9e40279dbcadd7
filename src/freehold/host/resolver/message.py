"""DNS messages, as far as the resolver needs them: one question in, at most one record out (RFC 1035, 4.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

_HEADER = struct.Struct(">HHHHHH")  # id, flags, numbers of questions, answers, authorities, additional records
_RESPONSE, _OPCODE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x7800, 0x0100, 0x0080
_NAME_BYTES_MAX, _LABEL_BYTES_MAX = 255, 63
_NAME_OF_THE_QUESTION = b"\xc0\x0c"  # a pointer to where every question begins
_INTERNET, _ANY_CLASS = 1, 255
TTL_SECONDS = 60


class Kind(IntEnum):
    """Types of records, of those that are answered here."""

    A = 1
    PTR = 12
    ANY = 255


class Code(IntEnum):
    """RCODEs."""

    NO_ERROR = 0
    MALFORMED = 1
    SERVER_FAILURE = 2
    NO_SUCH_NAME = 3
    REFUSED = 5


class NoQuery(Exception):
    """A message that is no query, or none with one whole question: nobody is owed an answer."""


@dataclass(frozen=True, slots=True)
class Query:
    """`name` is in lower case, without the root's dot; a dot within a label is ``\\.``. `kind` is any type number;
    `question` the whole question as it came."""

    number: int
    flags: int
    name: str
    kind: int
    question: bytes

    def answer(self, code: Code, record: tuple[Kind, bytes] | None = None) -> bytes:
        """The response, with at most one record: its type and data. It has no EDNS option, which says that none is
        understood (RFC 6891, 6.1.1)."""
        flags = _RESPONSE | self.flags & (_OPCODE | _RECURSION_DESIRED) | _RECURSION_AVAILABLE | code
        head = _HEADER.pack(self.number, flags, 1, 0 if record is None else 1, 0, 0) + self.question
        if record is None:
            return head
        kind, data = record
        return head + _NAME_OF_THE_QUESTION + struct.pack(">HHIH", kind, _INTERNET, TTL_SECONDS, len(data)) + data

    def is_answered_by(self, message: bytes, number: int) -> bool:
        """Whether a message answers this question, asked under another number."""
        return (
            len(message) >= _HEADER.size
            and int.from_bytes(message[:2], "big") == number
            and bool(message[2] & 0x80)
            and message[_HEADER.size :][: len(self.question)].lower() == self.question.lower()
        )


def read(message: bytes) -> Query:
    """Raises NoQuery."""
    if len(message) < _HEADER.size:
        raise NoQuery
    number, flags, questions, _answers, _authorities, _additional = _HEADER.unpack_from(message)
    if flags & (_RESPONSE | _OPCODE) or questions != 1:
        raise NoQuery
    labels, at = _labels(message, _HEADER.size)
    question = message[_HEADER.size : at + 4]
    kind, of_class = struct.unpack(">HH", message[at : at + 4]) if len(message) >= at + 4 else (0, 0)
    if of_class not in (_INTERNET, _ANY_CLASS):
        raise NoQuery
    name = ".".join(label.decode("latin-1").lower().replace(".", "\\.") for label in labels)
    return Query(number, flags, name, kind, question)


def _labels(message: bytes, at: int) -> tuple[list[bytes], int]:
    """The labels of the name at a place, and where it ends. In a question there is nothing to point to."""
    labels: list[bytes] = []
    begin = at
    while True:
        length = message[at] if at < len(message) else _LABEL_BYTES_MAX + 1
        at += 1
        if length > _LABEL_BYTES_MAX or at + length - begin > _NAME_BYTES_MAX or at + length > len(message):
            raise NoQuery
        if length == 0:
            return labels, at
        labels.append(message[at : at + length])
        at += length


def name_data(name: str) -> bytes:
    """A name of ours as the data of a record."""
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"
