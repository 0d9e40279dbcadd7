"""Calling operations without HTTP: a caller of one account and region on a real store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import botocore
import pytest
from botocore.validate import ParamValidator

from freehold.config import Config
from freehold.questions import Ask, ask_nobody
from freehold.records.ids import AccountId
from freehold.records.secrets import Sealer
from freehold.records.store import Store, Transaction
from freehold.services.errors import AwsError, PartlyDone
from freehold.services.operation import Call, Catalog, Principal

CATALOG = Catalog()
SEALER = Sealer(bytes(32))


class Caller:
    """``caller.describe_vpcs(VpcIds=[…])`` runs the operation in a transaction of its own and gives its answer, which
    is checked against the model's shape."""

    def __init__(
        self,
        store: Store,
        account: str = "111122223333",
        region: str = "us-east-1",
        config: Config | None = None,
        sealer: Sealer = SEALER,
        ask: Ask = ask_nobody,
    ) -> None:
        self.store = store
        self.account = AccountId(account)
        self.region = region
        self.config = config or Config()
        self.sealer = sealer
        self.ask = ask

    def call(self, tx: Transaction, operation: str) -> Call:
        arn = f"arn:aws:iam::{self.account}:root"
        principal = Principal(self.account, arn, self.account, "root", "AKIATEST", self.account, arn)
        of = (self.region, "request-1", "127.0.0.1", "test", self.config, tx, self.sealer)
        return Call("ec2", operation, principal, *of, ask=self.ask)

    def __getattr__(self, name: str) -> Any:
        def run(**request: Any) -> Mapping[str, Any]:
            (operation,) = [o for o in CATALOG.operations.values() if botocore.xform_name(o.name) == name]
            check(operation.model.input_shape, request)
            partly: PartlyDone | None = None
            prepared = None
            if operation.prepare is not None:
                with self.store.read() as tx:
                    prepared = operation.prepare(self.call(tx, operation.name), request)
            with self.store.read() if operation.read_only else self.store.write() as tx:
                call = replace(self.call(tx, operation.name), prepared=prepared)
                assert list(operation.resources(call, request))
                try:
                    answer = operation.function(call, request)
                except PartlyDone as error:
                    partly = error
            if partly is not None:
                raise partly.error
            check(operation.model.output_shape, answer)
            return answer

        return run


def check(shape: Any, value: Any) -> None:
    """A request or an answer has only members of its shape, of their types."""
    if shape is None:
        assert value == {}
        return
    report = ParamValidator().validate(dict(value), shape)
    assert not report.has_errors(), report.generate_report()
    _check_members(shape, value)


def _check_members(shape: Any, value: Any) -> None:
    if shape.type_name == "structure":
        assert value.keys() <= shape.members.keys(), (shape.name, value.keys() - shape.members.keys())
        for name, member in value.items():
            _check_members(shape.members[name], member)
    elif shape.type_name == "list":
        for member in value:
            _check_members(shape.member, member)


def refused(code: str) -> Any:
    """The context in which an operation must fail with this code."""
    return pytest.raises(AwsError, check=lambda error: error.code == code)
