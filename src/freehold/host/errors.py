"""What can go wrong on a host. Messages are for operators: what is wrong and what to do, without tenant text."""

from __future__ import annotations


class HostError(Exception):
    """Something of this machine did not work; it may work when tried again."""


class CommandError(HostError):
    """A program failed; `output` is the last line it wrote to standard error."""

    def __init__(self, program: str, status: int, output: str) -> None:
        super().__init__(f"{program} ended with status {status}: {output or 'no message'}")
        self.program = program
        self.status = status
        self.output = output


class CannotStart(HostError):
    """A guest can not be started, and trying again at once would not help."""


class NotYet(HostError):
    """Something else has to come about first, and does by itself: to be looked at again after `seconds`."""

    seconds = 0.2
