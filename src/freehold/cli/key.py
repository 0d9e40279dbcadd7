"""``freehold key``."""

from __future__ import annotations

from pathlib import Path

from freehold.cli.endpoint import cloud_paths
from freehold.cli.state import open_state
from freehold.records import audit
from freehold.records.audit import PROVIDER, service_event
from freehold.records.root_keys import root_keys
from freehold.records.root_rotation import rotate as steps
from freehold.records.secrets import Sealer


def rotate(data_dir: Path, *, at_once: bool) -> None:
    """Seal everything with a new root key, saying so step by step."""
    paths = cloud_paths(data_dir)
    config, store = open_state(paths.data_dir)
    sealer = Sealer.of(paths.data_dir)
    with store.write() as tx:  # before anything is done: a rotation may be cut
        audit.record(
            tx, service_event(tx.now, PROVIDER, config.region, "kms", "RotateRootKey", details={"atOnce": at_once})
        )
    for step in steps(store, sealer, root_keys(paths.data_dir, config.root_key), at_once=at_once):
        print(step, flush=True)
    store.close()
