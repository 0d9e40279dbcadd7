"""What may be asked of a host while a caller of the API waits, and how it is answered.

What a host is to do is state, which it follows in its own time (host/wire.py). These few things are worth nothing
later: what is on a screen now, an interrupt now. A question goes from an operation (`Call.ask`) through the controllers
to the host, and its answer back, within its `patience`; an answer that does not come is an error to the caller, and
nobody asks again. A host answers few at a time, and no answer is larger than `ANSWER_BYTES_MAX`.

Whoever waits for `Taken` has nothing done for it: that many may at once (`WAITING_MAX`), and holds no thread anywhere.
That is asked again, until the host has answered or its patience ends.

Another question is one more struct here, and its answer in host/answers.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

if TYPE_CHECKING:  # costs the commands a tenth of a second
    import asyncio

ASK_SECONDS = 5.0
WAIT_SECONDS = 50.0
"""For what is on its way behind that of others, or for a host that comes back; clients give up an answer after 60
seconds."""

WAITING_MAX = 1024
ANSWER_BYTES_MAX = 2 << 20
QUESTION_BYTES_MAX = 1 << 20


class ConsoleText(msgspec.Struct, frozen=True, tag="console-text", tag_field="about"):
    """The newest 64 KiB that a guest has written to its serial console."""

    instance_id: str


class Interrupt(msgspec.Struct, frozen=True, tag="interrupt", tag_field="about"):
    """Send a guest a non-maskable interrupt. The answer is empty."""

    instance_id: str


Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""What opens an encrypted snapshot, or a layer below it that has another key."""

KEYS_BELOW_MAX = 15


class SnapshotBlocks(msgspec.Struct, frozen=True, tag="snapshot-blocks", tag_field="about"):
    """The numbers of a snapshot's blocks that hold data, from `first` on and `most` at most: 4 bytes each, big
    endian."""

    snapshot_id: str
    first: int
    most: int


class ChangedBlocks(msgspec.Struct, frozen=True, tag="changed-blocks", tag_field="about"):
    """The numbers of the blocks that two snapshots may differ in, as `SnapshotBlocks`, each with one more byte: 1, the
    earlier has data there; 2, the later; 3, both."""

    before_id: str
    after_id: str
    first: int
    most: int


class ReadBlock(msgspec.Struct, frozen=True, tag="read-block", tag_field="about"):
    """A block of a snapshot: 512 KiB."""

    snapshot_id: str
    number: int
    key: Key | None
    below: tuple[Key, ...] = ()


class WriteBlock(msgspec.Struct, frozen=True, tag="write-block", tag_field="about"):
    """Write a block of a snapshot that is being made, over `parent_id`; and begin to make it, if it is the first. The
    answer is empty."""

    snapshot_id: str
    size_gib: int
    parent_id: str | None
    key: Key | None
    number: int
    data: bytes
    below: tuple[Key, ...] = ()


class Complete(msgspec.Struct, frozen=True, tag="complete", tag_field="about"):
    """Have a snapshot that is being made be complete. The answer is what its layer takes, and what all of it does: 8
    bytes each."""

    snapshot_id: str
    size_gib: int
    parent_id: str | None
    key: Key | None


class Taken(msgspec.Struct, frozen=True, tag="taken", tag_field="about"):
    """Wait until these snapshots are taken. The answer is empty."""

    snapshot_ids: tuple[str, ...]


class Screenshot(msgspec.Struct, frozen=True, tag="screenshot", tag_field="about"):
    """What is on a guest's screen, as JPEG; with `wake_up` a key is pressed before."""

    instance_id: str
    wake_up: bool


Question = (
    ConsoleText | Interrupt | Screenshot | Taken | SnapshotBlocks | ChangedBlocks | ReadBlock | WriteBlock | Complete
)


def patience(question: Question) -> float:
    """How many seconds its answer may take."""
    return WAIT_SECONDS if isinstance(question, Taken) else ASK_SECONDS


class Answer(msgspec.Struct, frozen=True, tag="answer", tag_field="type"):
    """To the question of this `number`. `refusal`: there is none, for the host is not linked (``away``), answers too
    many others (``busy``), has nothing to answer from (``gone``: no such guest runs), or failed (its log says more)."""

    number: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    data: Annotated[bytes, msgspec.Meta(max_length=ANSWER_BYTES_MAX)] = b""
    refusal: Literal["away", "busy", "gone", "failed"] | None = None


class Questioned(msgspec.Struct, frozen=True):
    """What the front door wants the controllers to ask."""

    host_id: str
    question: Question


def encode(message: Questioned | Answer) -> bytes:
    """The frame of a message: 4 bytes length (big endian), then JSON."""
    body = msgspec.json.encode(message)
    return len(body).to_bytes(4, "big") + body


async def read(reader: asyncio.StreamReader, bytes_max: int) -> bytes:
    """The JSON of a frame. Raises IncompleteReadError; ValidationError if it is larger than it may be."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > bytes_max:
        raise msgspec.ValidationError(f"a frame of {length} bytes is too large")
    return await reader.readexactly(length)


class NoAnswer(Exception):
    """`reason` is an Answer's `refusal`; ``late`` when none came in time."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Ask = Callable[[str, Question], bytes]
"""Ask a host, by its id, and wait. Raises NoAnswer."""


Wait = Callable[[str, Question], Awaitable[bool]]
"""Ask a host and wait until it has answered; False: it has not in time."""


def ask_nobody(_host_id: str, _question: Question) -> bytes:
    """Where there are no hosts to ask."""
    raise NoAnswer("away")


async def wait_for_nobody(_host_id: str, _question: Question) -> bool:
    """Where nothing is to be waited for: the hosts are not there yet."""
    return True
