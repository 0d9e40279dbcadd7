"""Keeps the processes of a cloud alive: one thread, the standard library, a few MB.

Parts are started in order, each when the ones before it are ready; one that ends is started again by itself, later
and later if it keeps ending. Whatever the supervisor does may be cut off: it holds a lock while it lives, every part
writes down who it is (`processes.register`) before it becomes what it runs, and the next supervisor adopts what still
runs. It never signals a process that it can not prove to be its own, and never a guest.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from freehold.network import namespace
from freehold.processes import Identity, end, ended, handle, identity, register, registered
from freehold.supervisor_status import status_path

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 25.0  # longer than the front door gives the requests that run
_BACKOFF_SECONDS = (0.1, 0.5, 2.0, 5.0, 10.0)
_STABLE_SECONDS = 30.0  # who has run for so long is forgiven its earlier ends
_LOOK_SECONDS = 0.05  # between two looks whether a part is ready
_ROUND_SECONDS = 10.0
LOG_BYTES_MAX = 4 << 20


class AlreadyRunning(Exception):
    """Another supervisor keeps this cloud."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process to keep alive. `started` is called after each start once `ready` has said yes, in a process of its
    own; it may be called again. `outlives` = it stays at the end while guests run."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Callable[[], bool]
    started: Callable[[], None] | None = None
    namespace: str | None = None
    outlives: bool = False


State = Literal["waiting", "starting", "running", "failed"]


class Keeper:
    """One part and how it fares. `failed` = it ended, and is tried again at `retry_at` (monotonic seconds)."""

    def __init__(self, part: Part, run: Path, log: Path) -> None:
        self.part = part
        self.state: State = "waiting"
        self.since = time.time()
        self.came_up = False
        self.restarts = 0
        self.last_end: str | None = None
        self.retry_at = 0.0
        self.log = log / f"{part.name}.log"
        self.pid_file = run / f"{part.name}.pid"
        self.who: Identity | None = None
        self.handle: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._began = 0.0

    def adopt(self) -> None:
        """Take over what an earlier supervisor started, if it runs what this one would start; else end it."""
        found = registered(self.pid_file)
        if found is None:
            return
        who, argv = found
        if argv != self.part.argv:
            end(who, STOP_SECONDS_MAX)
        elif (opened := handle(who)) is not None:
            self._began = time.monotonic()
            self._runs(who, opened)

    def start(self) -> None:
        part = self.part

        def become() -> None:
            register(self.pid_file, part.argv)
            if part.namespace is not None:
                namespace.enter(part.namespace)

        self._began = time.monotonic()
        try:
            with self.log.open("ab") as log:
                self._child = subprocess.Popen(
                    part.argv,
                    env=dict(part.env),
                    preexec_fn=become,  # noqa: PLW1509 the supervisor has one thread
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C in a terminal is for the supervisor
                )
        except (OSError, subprocess.SubprocessError) as error:
            self._failed(f"could not be started: {error}")
            return
        who = identity(self._child.pid) or Identity(self._child.pid, 0, "")
        self._runs(who, os.pidfd_open(self._child.pid))

    def _runs(self, who: Identity, opened: int) -> None:
        self.who, self.handle = who, opened
        self._turn("starting")

    def look(self) -> None:
        """Move on from `starting`: to `running` when the part is ready, to its end when it takes too long."""
        assert self.handle is not None
        if self.part.ready():
            if self.part.started is None or _in_child(self.part.started):
                self.came_up = True
                self._turn("running")
                return
            say(f"{self.part.name}: what has to be done after its start failed")
            self.kill()
        elif time.monotonic() - self._began > READY_SECONDS_MAX:
            say(f"{self.part.name}: not ready after {READY_SECONDS_MAX:.0f} s")
            self.kill()

    def has_ended(self) -> None:
        """The process is gone: bury it, and set the time of the next try."""
        self._failed(self._bury())

    def _failed(self, how: str) -> None:
        self.last_end = how
        lasted = time.monotonic() - self._began
        self._failures = 0 if lasted > _STABLE_SECONDS else self._failures + 1
        self.restarts += 1
        self.retry_at = time.monotonic() + _BACKOFF_SECONDS[min(self._failures, len(_BACKOFF_SECONDS) - 1)]
        say(f"{self.part.name}: {how} after {lasted:.1f} s")
        self._turn("failed")

    def stop(self) -> None:
        """Ask it to end; after a while, make it."""
        if self.handle is None:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGTERM)
        if not ended(self.handle, STOP_SECONDS_MAX):
            say(f"{self.part.name}: did not end in {STOP_SECONDS_MAX:.0f} s, it is killed")
            self.kill()
        self._bury()
        self.pid_file.unlink(missing_ok=True)
        self._turn("waiting")

    def kill(self) -> None:
        assert self.handle is not None
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        ended(self.handle, STOP_SECONDS_MAX)

    def let_go(self) -> None:
        if self.handle is not None:
            os.close(self.handle)
        self.handle = None

    def status(self) -> dict[str, Any]:
        return {
            "name": self.part.name,
            "state": self.state,
            "pid": self.who.pid if self.who else None,
            "since": self.since,
            "restarts": self.restarts,
            "last_end": self.last_end,
        }

    def bound_log(self) -> None:
        """Keep the log and one earlier piece of it. A line written between copy and cut is lost; the part keeps its
        descriptor, which appends."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            with contextlib.suppress(OSError):  # a full disk, on which to cut the log matters more
                self.log.with_suffix(".log.1").write_bytes(self.log.read_bytes())
            os.truncate(self.log, 0)

    def _bury(self) -> str:
        """Close the handle of what has ended; says how it ended, if it was this process's child."""
        self.let_go()
        self.who = None
        child, self._child = self._child, None
        if child is None:
            return "ended, adopted"
        code = child.wait()
        return f"exit {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def _turn(self, state: State) -> None:
        self.state, self.since = state, time.time()


class Supervisor:
    """`about`: what the status file says beside the parts (the port). `guests_run`: whether any guest does."""

    def __init__(
        self, parts: tuple[Part, ...], run: Path, log: Path, about: dict[str, Any], guests_run: Callable[[], bool]
    ) -> None:
        log.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keepers = [Keeper(part, run, log) for part in parts]
        self._status = status_path(run)
        self._about = about
        self._guests_run = guests_run
        self._written: dict[str, Any] = {}
        self._stopping = False

    @property
    def size(self) -> int:
        """How many parts it keeps."""
        return len(self._keepers)

    def run(self) -> None:
        """Keep the parts alive until SIGTERM or SIGINT; then stop them, the last one first."""
        woken = _signals_to_pipe(self._stop)
        for keeper in self._keepers:
            keeper.adopt()
        self._write_status("starting")
        while not self._stopping:
            pause = self._turn()
            self._wait(woken, pause)
        self._end(stay=self._guests_run())

    def end_left(self) -> None:
        """End all that an earlier supervisor left running, if no guest needs it."""
        for keeper in self._keepers:
            keeper.adopt()
        self._end(stay=self._guests_run())

    def _end(self, stay: bool) -> None:
        self._write_status("stopping")
        for keeper in reversed(self._keepers):
            if stay and keeper.part.outlives:
                keeper.let_go()
            else:
                keeper.stop()
            self._write_status("stopping")
        self._status.unlink(missing_ok=True)

    def _stop(self) -> None:
        self._stopping = True

    def _turn(self) -> float:
        """One look at every part; returns how many seconds may pass until the next if nothing happens."""
        pause = _ROUND_SECONDS
        for keeper in self._keepers:
            if self._stopping:
                break
            if keeper.handle is not None and ended(keeper.handle, 0):
                keeper.has_ended()
            now = time.monotonic()
            if keeper.state in ("waiting", "failed") and keeper.retry_at <= now:
                keeper.start()
                self._write_status("starting")
            if keeper.state == "starting":
                keeper.look()
            if keeper.state == "failed":
                pause = min(pause, max(0.0, keeper.retry_at - now))
            elif keeper.state == "starting":
                pause = min(pause, _LOOK_SECONDS)
            keeper.bound_log()
            if not keeper.came_up:
                break
        ready = all(keeper.state == "running" for keeper in self._keepers)
        self._write_status("running" if ready else "starting")
        return pause

    def _wait(self, woken: int, seconds: float) -> None:
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        for keeper in self._keepers:
            if keeper.handle is not None:
                poll.register(keeper.handle, select.POLLIN)
        for descriptor, _ in poll.poll(seconds * 1000):
            if descriptor == woken:
                os.read(woken, 512)

    def _write_status(self, state: str) -> None:
        me = identity(os.getpid())
        assert me is not None
        now = {
            **self._about,
            "state": state,
            "supervisor": asdict(me),
            "parts": [keeper.status() for keeper in self._keepers],
        }
        if now != self._written:
            temporary = self._status.with_suffix(".new")
            try:
                temporary.write_text(json.dumps(now))
            except OSError as error:  # the parts are to be kept, and ended, on a full disk too
                say(f"the status could not be written: {error.strerror}")
                return
            temporary.rename(self._status)
            self._written = now


@contextlib.contextmanager
def only_supervisor(run: Path) -> Iterator[None]:
    """Be the only supervisor of a cloud. Children hold the lock too until they have become what they run: who gets it
    next finds all of them registered. Raises AlreadyRunning."""
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (run / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"Another supervisor keeps the cloud of {run.parent}.") from None
        yield


def say(line: str) -> None:
    with contextlib.suppress(OSError):  # the log is on a disk that is full
        print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), line, file=sys.stderr, flush=True)


def answers(port: int) -> bool:
    """Whether a front door answers on this loopback port that it is well."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/_freehold/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _in_child(work: Callable[[], None]) -> bool:
    """Do work in a process of its own, so that what it loads does not stay; whether it succeeded."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            say(f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _signals_to_pipe(stop: Callable[[], None]) -> int:
    """Call `stop` on SIGTERM and SIGINT; returns a descriptor that becomes readable then."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop())
    return reading
