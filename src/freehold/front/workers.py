"""Several processes that serve the same sockets: in each of them Python runs on one core at a time.

They are forked from one that has loaded everything and does nothing else, so what they read they share. Each keeps to a
core: its threads take turns anyway, and handing over to one on another core, which has to be woken, takes longer.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

import structlog

log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1


def run(number: int, work: Callable[[], int]) -> int:
    """Do `work` in `number` processes until asked to stop; returns the exit status.

    When one of them ends, so do the others: whoever keeps this process alive starts them all anew. They die with this
    process, or they would keep the port from its successor.
    """
    if number == 1:
        return work()
    parent, cores = os.getpid(), sorted(os.sched_getaffinity(0))
    children = {_fork(parent, cores[place % len(cores)], work) for place in range(number)}
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    failed = False
    while children:
        pid, status = os.wait()
        children.discard(pid)
        if not stopping:
            log.error("a front door process has ended", pid=pid, status=os.waitstatus_to_exitcode(status))
            failed = True
            stop(signal.SIGTERM, None)
    return 1 if failed else 0


def _fork(parent: int, core: int, work: Callable[[], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    os.sched_setaffinity(0, {core})
    status = 1
    try:
        status = work()
    except BaseException:
        log.exception("a front door process has failed")
    finally:
        sys.stderr.flush()
        os._exit(status)
