"""``freehold audit``."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from freehold.cli.state import open_state
from freehold.cli.tables import print_table, table
from freehold.control.verifying import verify as compare
from freehold.paths import Paths
from freehold.records.secrets import Sealer


def verify(data_dir: Path, *, as_json: bool) -> None:
    """Print what was changed in the audit trail; the command ends with 1 if anything was."""
    _config, store = open_state(data_dir)
    verdict = compare(store, Sealer.of(data_dir), Paths(data_dir).audit_head)
    store.close()
    if as_json:
        print(msgspec.json.encode(verdict).decode())
    else:
        if verdict.findings:
            shown = table("Found", "Seal", "Position", "What", title="The audit trail is not as it was recorded")
            for finding in verdict.findings:
                seal = "" if finding.seal is None else str(finding.seal)
                position = "" if finding.position is None else str(finding.position)
                shown.add_row(finding.kind, seal, position, finding.what)
            print_table(shown)
        kept = f", {verdict.pruned} of them too old to have records still" if verdict.pruned else ""
        seals = "1 seal" if verdict.seals == 1 else f"{verdict.seals} seals"
        print(f"{verdict.records} records in {seals}{kept}; {verdict.unsealed} not sealed yet.")
        print("Intact." if verdict.intact else f"{len(verdict.findings)} findings.")
    if not verdict.intact:
        sys.exit(1)
