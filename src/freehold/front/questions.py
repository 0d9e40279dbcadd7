"""Asking a host while a caller waits: through the controllers, which have the links."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import msgspec

from freehold.questions import ANSWER_BYTES_MAX, ASK_SECONDS, Answer, NoAnswer, Question, Questioned, encode

_AT_ONCE_MAX = 8  # of the threads that answer requests: a host that hangs must not have them all
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

    def _ask(self, asked: Questioned) -> Answer:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ASK_SECONDS + 1.0)
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
