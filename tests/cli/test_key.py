"""``freehold key rotate``, as its user sees it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from freehold.cli.app import app
from freehold.cli.state import open_state
from freehold.control.accounts import create_account
from freehold.records.accounts import AccessKey
from freehold.records.secrets import ACCESS_KEY, Sealer
from tests.front.audited import written


def test_a_rotation_from_the_shell(tmp_path: Path) -> None:
    _config, store = open_state(tmp_path)
    with store.write() as tx:
        _account, key_id, secret = create_account(tx, Sealer.of(tmp_path), "lab")
    first = CliRunner().invoke(app, ["key", "rotate", "--data-dir", str(tmp_path)])
    assert first.output.splitlines() == [
        "Made root key 2.",
        "Sealed 1 secrets with the new root key.",
        "Retired root key 1.",
    ]
    second = CliRunner().invoke(app, ["key", "rotate", "--at-once", "--data-dir", str(tmp_path)])
    assert second.output.splitlines()[-1] == "Deleted the older root keys: temporary credentials have ended."
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["root.3.key"]
    with store.read() as tx:
        key = tx.get(AccessKey, key_id)
        assert key is not None
        assert Sealer.of(tmp_path).open(ACCESS_KEY, key_id, key.sealed_secret).decode() == secret
    rotations = [record for record in written(store) if record["eventName"] == "RotateRootKey"]
    assert [record["serviceEventDetails"] for record in rotations] == [{"atOnce": False}, {"atOnce": True}]
    store.close()
