"""What is guessed is guessed slowly, in whatever process of the front door."""

from __future__ import annotations

import os

from freehold.services.guesses import Guesses


def test_processes_count_together() -> None:
    guesses = Guesses()
    for _ in range(5):
        guesses.add("secret")
    pid = os.fork()
    if pid == 0:
        for _ in range(5):
            guesses.add("secret")
        os._exit(0)
    os.waitpid(pid, 0)
    assert guesses.too_many("secret")
    assert not guesses.too_many("another")
