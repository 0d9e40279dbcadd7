"""``freehold quota``: the owner of the cloud says what accounts may hold."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from freehold.cli.app import app
from freehold.cli.state import open_state
from freehold.quotas import RUNNING_VCPUS
from freehold.records.quotas import QuotaRequest


def run(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--data-dir", str(directory)])


def vcpus(directory: Path, account_id: str) -> float:
    shown = run(directory, "quota", "list", "--account", account_id, "--json")
    value: float = json.loads(shown.output)[RUNNING_VCPUS]["Value"]
    return value


def test_the_owner_decides(tmp_path: Path) -> None:
    account_id = json.loads(run(tmp_path, "account", "create", "team").output)["AccountId"]
    assert vcpus(tmp_path, account_id) == 10_000
    done = run(tmp_path, "quota", "set", account_id, RUNNING_VCPUS, "4")
    assert done.output == (
        f"Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances, account {account_id}, us-east-1: 4.\n"
    )
    assert vcpus(tmp_path, account_id) == 4
    _config, store = open_state(tmp_path)
    with store.write() as tx:
        for request_id in ("r1", "r2"):
            tx.insert(
                QuotaRequest(request_id, account_id, "us-east-1", RUNNING_VCPUS, 12, "PENDING", "me", tx.now, tx.now)
            )
    store.close()
    assert [each["Id"] for each in json.loads(run(tmp_path, "quota", "requests", "--json").output)] == ["r1", "r2"]
    assert "r1" in run(tmp_path, "quota", "requests").output
    assert run(tmp_path, "quota", "approve", "r1").output.startswith("Approved: Running On-Demand")
    assert run(tmp_path, "quota", "deny", "r2").output.startswith("Denied: Running On-Demand")
    assert vcpus(tmp_path, account_id) == 12
    assert json.loads(run(tmp_path, "quota", "requests", "--json").output) == []
    run(tmp_path, "quota", "set", account_id, RUNNING_VCPUS, "--default")
    assert vcpus(tmp_path, account_id) == 10_000
    assert RUNNING_VCPUS in run(tmp_path, "quota", "list").output


def test_what_can_not_be_says_so(tmp_path: Path) -> None:
    account_id = json.loads(run(tmp_path, "account", "create", "team").output)["AccountId"]
    for arguments, said in (
        (("quota", "set", "123456789012", RUNNING_VCPUS, "4"), "There is no account 123456789012"),
        (("quota", "set", account_id, "L-00000000", "4"), "There is no quota L-00000000"),
        (("quota", "set", account_id, RUNNING_VCPUS), "Give a VALUE, or --default."),
        (("quota", "approve", "r9"), "No open request r9"),
        (("quota", "list", "--account", "x"), "There is no account x"),
    ):
        done = run(tmp_path, *arguments)
        assert done.exit_code != 0
        assert said in f"{done.output}{done.exception}", arguments
