"""``freehold doctor``."""

from __future__ import annotations

import json as json_text
import sys
from dataclasses import asdict
from pathlib import Path

from freehold.cli import fail
from freehold.doctor.checks import examine
from freehold.doctor.fix import mend
from freehold.doctor.install import InstallError


def doctor(data_dir: Path, fix: bool, as_json: bool) -> None:
    """Print what every check saw; the command ends with 1 if something lacks."""
    if fix:
        try:
            mend(data_dir, False, lambda line: print(f"  {line}", file=sys.stderr, flush=True))
        except InstallError as error:
            raise fail(str(error)) from None
    findings = examine(data_dir)
    if as_json:
        print(json_text.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{finding.state:5} {finding.check:11} {finding.saw}  {finding.remedy}".rstrip())
    if any(finding.state in ("mend", "fail") for finding in findings):
        sys.exit(1)
