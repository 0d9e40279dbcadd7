"""A controllers' process that dies, as by `kill -9`, at a change of the world that is named by its number: right before
or right after it. The changes are the commits of its store and the transactions that its fabric asks of OVN."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
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


def controllers(data_dir: Path, journal: Path, cut: Cut | None, twice: bool) -> None:
    """To be called in a process of its own."""
    log = os.open(data_dir / "control.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    log_as_json()
    gate = Gate(journal, cut)
    if twice:
        control.keep_house = lambda *arguments: [keep_house(*arguments) for _ in range(2)]  # type: ignore[assignment]
    asyncio.run(control.run(data_dir, partial(CutStore, gate), partial(CutFabric, gate, twice)))
