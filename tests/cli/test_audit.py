"""``freehold audit verify``, as its user sees it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from click.testing import CliRunner, Result

from freehold.cli.app import app
from freehold.cli.state import open_state
from freehold.control.accounts import create_account
from freehold.control.sealing import Chain
from freehold.paths import Paths
from freehold.records.secrets import Sealer


def verify(data_dir: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["audit", "verify", *options, "--data-dir", str(data_dir)])


def test_a_trail_that_somebody_alters(tmp_path: Path) -> None:
    _config, store = open_state(tmp_path)
    with store.write() as tx:
        for name in ("one", "two", "three"):
            create_account(tx, Sealer.of(tmp_path), name)
    Chain(store, Sealer.of(tmp_path), Paths(tmp_path).audit_head).follow()
    store.close()

    whole = verify(tmp_path)
    assert (whole.exit_code, whole.output.splitlines()) == (0, ["3 records in 1 seal; 0 not sealed yet.", "Intact."])
    assert json.loads(verify(tmp_path, "--json").output)["intact"] is True

    with sqlite3.connect(tmp_path / "state.db") as database:
        database.execute(
            "UPDATE audit_events SET body = replace(body, 'CreateAccount', 'DeleteAccount') WHERE position = 2"
        )
    altered = verify(tmp_path)
    assert altered.exit_code == 1
    assert "The audit trail is not as it was recorded" in altered.output
    assert altered.output.splitlines()[-1] == "1 findings."
    as_json = verify(tmp_path, "--json")
    assert as_json.exit_code == 1
    (finding,) = json.loads(as_json.output)["findings"]
    assert (finding["kind"], finding["seal"], finding["position"]) == ("changed", 1, 2)
