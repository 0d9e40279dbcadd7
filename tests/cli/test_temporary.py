"""What ends a cloud that is there for a moment."""

from __future__ import annotations

import subprocess
import sys

LOST = """
import os, signal, time
from freehold.cli.temporary import heed_interrupts

class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # an exception here is told, and goes no further

signal.signal(signal.SIGINT, signal.default_int_handler)
heed_interrupts()
try:
    Interrupted()
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_that_a_destructor_loses_comes_again() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=60)
    assert "Exception ignored" in done.stderr
    assert done.stdout == "interrupted\n"
