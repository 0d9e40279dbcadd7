"""Asking an operation whether it refuses a parameter: it is called with nothing else, on an empty database.

Operations refuse what they do not honour before they do anything else (CONTRIBUTING.md), so what comes after that does
not matter here: it fails on the parameters or the tables that are missing.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from botocore.model import ListShape, MapShape, Shape, StringShape

from freehold.config import Config
from freehold.records.ids import AccountId
from freehold.records.secrets import Sealer
from freehold.records.store import Transaction
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call, Operation, Principal

_EMPTY = sa.create_engine("sqlite://", poolclass=sa.NullPool)
_SEALER = Sealer(bytes(32))
_ACCOUNT = AccountId("000000000000")
_VALUES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "integer": [77, 0],
    "long": [77, 0],
    "float": [77.5, 0.0],
    "double": [77.5, 0.0],
    "timestamp": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)],
    "blob": [b"probe"],
}


def declares(operation: Operation) -> bool:
    """Whether the operation refuses whatever it does not know."""
    return _refuses(operation, {"NoParameter": "probe"}, "NoParameter")


def is_refused(operation: Operation, path: str, shapes: list[Shape]) -> bool:
    """Whether the operation refuses at least one value of the parameter `path` (or of one above it), by its name.
    `shapes` are those of the members on the path."""
    *above, leaf = path.split(".")
    for value in _values(shapes[-1]):
        request: Any = {leaf: value}
        for name, shape in zip(reversed(above), reversed(shapes[:-1]), strict=True):
            request = {name: [request] if isinstance(shape, ListShape) else request}
        if _refuses(operation, request, path):
            return True
    return False


def _values(shape: Shape) -> list[Any]:
    match shape:
        case ListShape():
            return [[value] for value in _values(shape.member)]
        case MapShape():
            return [{"probe": "probe"}]
        case StringShape() if shape.enum:
            return list(shape.enum)
        case _:
            return _VALUES.get(shape.type_name, ["probe"])


def _refuses(operation: Operation, request: dict[str, Any], path: str) -> bool:
    names = path.split(".")
    refusals = {UnsupportedOperation(f"The parameter {'.'.join(names[: n + 1])}").message for n in range(len(names))}
    with _EMPTY.connect() as connection:
        try:
            operation.function(_call(operation, Transaction(connection, writable=False)), request)
        except UnsupportedOperation as error:
            return error.message in refusals
        except Exception:
            return False  # it passed: what stopped it is that nothing else was given
    return False


def _call(operation: Operation, tx: Transaction) -> Call:
    principal = Principal(_ACCOUNT, f"arn:aws:iam::{_ACCOUNT}:root", _ACCOUNT, "root", "")
    return Call(operation.service, operation.name, principal, "us-east-1", "", "", "", Config(), tx, _SEALER)
