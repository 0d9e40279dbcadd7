"""Asking a host while a caller waits: through the controllers, which have the links."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from pathlib import Path

import msgspec

from freehold.questions import ANSWER_BYTES_MAX, Answer, NoAnswer, Question, Questioned, encode, patience, read

_AT_ONCE_MAX = 8  # of the threads that answer requests: a host that hangs must not have them all
_AGAIN_SECONDS = 0.25
_FRAME_BYTES_MAX = ANSWER_BYTES_MAX * 2  # in JSON, bytes are half as many again


class HostQuestions:
    """`path`: the controllers' socket (control/questions.py)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free = threading.BoundedSemaphore(_AT_ONCE_MAX)

    def ask(self, host_id: str, question: Question) -> bytes:
        """What the host answers. Raises NoAnswer."""
        if not self._free.acquire(blocking=False):
            raise NoAnswer("busy")
        try:
            answer = self._ask(Questioned(host_id, question))
        except TimeoutError:
            raise NoAnswer("late") from None
        except (OSError, EOFError, msgspec.MsgspecError):
            raise NoAnswer("away") from None
        finally:
            self._free.release()
        if answer.refusal is not None:
            raise NoAnswer(answer.refusal)
        return answer.data

    async def wait(self, host_id: str, question: Question) -> bool:
        """Wait until the host has answered; False: it has not in time. One that can not answer now is asked again: its
        agent, or the controllers, may just be starting anew. In the event loop, so that those who wait for a host take
        nothing from those who do not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience(question)):
                while not await self._answered(host_id, question):
                    await asyncio.sleep(_AGAIN_SECONDS)
                return True
        return False

    async def _answered(self, host_id: str, question: Question) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            return False
        try:
            writer.write(encode(Questioned(host_id, question)))
            return msgspec.json.decode(await read(reader, _FRAME_BYTES_MAX), type=Answer).refusal is None
        except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError):
            return False
        finally:
            writer.close()

    def _ask(self, asked: Questioned) -> Answer:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(patience(asked.question) + 1.0)
            line.connect(str(self._path))
            line.sendall(encode(asked))
            with line.makefile("rb") as stream:
                head = stream.read(4)
                if not head:
                    raise TimeoutError
                length = int.from_bytes(head, "big")
                if length > _FRAME_BYTES_MAX:
                    raise EOFError
                body = stream.read(length)
        return msgspec.json.decode(body, type=Answer)
