"""A controllers' process that dies, as by `kill -9`, at a change of the world that is named by its number: right before
or right after it. The changes are the commits of its store and the transactions that its fabric asks of OVN.

`Nursery` starts such processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from freehold.control import __main__ as control
from freehold.control.housekeeping import keep_house
from freehold.fabric.differ import Fabric
from freehold.fabric.row import Ref, Row
from freehold.logs import log_as_json
from freehold.network.ovsdb import Operation, Ovsdb
from freehold.records.store import Store, Transaction

DEATH = 77
Cut = tuple[int, Literal["before", "after"]]


class Gate:
    """Changes are counted from 1, and written down before they are made."""

    def __init__(self, journal: Path, cut: Cut | None) -> None:
        self._journal = journal
        self._cut = cut
        self._count = 0
        self._lock = threading.Lock()

    @contextmanager
    def passing(self, name: str) -> Iterator[None]:
        with self._lock:
            self._count += 1
            number = self._count
            with self._journal.open("a") as journal:
                journal.write(f"{name}\n")
        self._die_at(number, "before")
        yield
        self._die_at(number, "after")

    def _die_at(self, number: int, moment: Literal["before", "after"]) -> None:
        if (number, moment) == self._cut:
            os._exit(DEATH)


class CutStore(Store):
    """Dies before a commit when all of its transaction has been written."""

    def __init__(self, gate: Gate, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._gate = gate

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        transaction = super().write()
        tx = transaction.__enter__()
        try:
            yield tx
        except BaseException as error:
            transaction.__exit__(type(error), error, error.__traceback__)
            raise
        with self._gate.passing("commit"):
            transaction.__exit__(None, None, None)


class CutOvsdb(Ovsdb):
    def __init__(self, gate: Gate, socket: Path) -> None:
        super().__init__(socket, "OVN_Northbound")
        self._gate = gate

    def transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        if all(operation["op"] == "select" for operation in operations):
            return super().transact(operations)
        with self._gate.passing("network"):
            return super().transact(operations)


class CutFabric(Fabric):
    """`twice`: whatever was applied is applied again by one who remembers nothing, which must change nothing."""

    def __init__(self, gate: Gate, twice: bool, socket: Path) -> None:
        super().__init__(socket)
        self._ovsdb = CutOvsdb(gate, socket)
        self._twice = twice

    def apply(self, vpc_id: str, rows: Mapping[Ref, Row]) -> int:
        operations = super().apply(vpc_id, rows)
        if self._twice:
            self.forget()
            assert super().apply(vpc_id, rows) == 0
        return operations


_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


class Nursery:
    """Where the controllers of a data directory are started, one process at a time. To start them a hundred times would
    be mostly to put together the same statements of SQL: a process that has been through all of it is copied."""

    def __init__(self, data_dir: Path) -> None:
        self._ours, theirs = _processes.Pipe()
        self._process = _processes.Process(target=_nursery, args=(data_dir, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._pid: int | None = None  # of the controllers that run

    def start(self, journal: Path, cut: Cut | None, twice: bool) -> None:
        """They write their changes into `journal`, and die at one of them if there is a `cut`."""
        self._ours.send((journal, cut, twice))
        self._pid = self._ours.recv()

    def ended(self) -> int | None:
        """How they ended, said once; None while they run."""
        if self._pid is None or not self._ours.poll():
            return None
        self._pid = None
        return int(self._ours.recv())

    def stop(self) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):  # it has just died
                os.kill(self._pid, signal.SIGTERM)
            self._pid = None
            self._ours.recv()

    def close(self) -> None:
        self.stop()
        self._ours.send(None)
        self._process.join()


def _nursery(data_dir: Path, asked: Connection) -> None:
    """The first controllers run in this process, and come to a good end; the later ones are copies of it."""
    order = asked.recv()
    asked.send(os.getpid())
    _controllers(data_dir, *order)
    asked.send(0)
    while (order := asked.recv()) is not None:
        child = os.fork()
        if child == 0:
            _controllers(data_dir, *order)
            os._exit(0)
        asked.send(child)
        _, status = os.waitpid(child, 0)
        asked.send(os.waitstatus_to_exitcode(status))


def _controllers(data_dir: Path, journal: Path, cut: Cut | None, twice: bool) -> None:
    log = os.open(data_dir / "control.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    log_as_json()
    gate = Gate(journal, cut)
    if twice:
        control.keep_house = lambda *arguments: [keep_house(*arguments) for _ in range(2)]  # type: ignore[assignment]
    asyncio.run(control.run(data_dir, partial(CutStore, gate), partial(CutFabric, gate, twice)))
