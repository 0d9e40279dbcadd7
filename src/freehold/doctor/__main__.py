"""``python3 -m freehold.doctor``: the doctor with the bare system Python, for the Makefile."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from freehold.doctor.checks import DEFAULT_DATA_DIR, examine
from freehold.doctor.fix import mend
from freehold.doctor.install import InstallError


def main() -> int:
    parser = argparse.ArgumentParser(prog="freehold doctor", description="Say what this machine lacks to be a cloud.")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended: install packages, load tun")
    parser.add_argument("--with-tests", action="store_true", help="also what `make test` needs")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_DIR)
    options = parser.parse_args()
    if options.fix:
        try:
            mend(options.data_dir, options.with_tests, lambda line: print(f"  {line}", file=sys.stderr, flush=True))
        except InstallError as error:
            print(error, file=sys.stderr)
            return 1
    findings = examine(options.data_dir, options.with_tests)
    lacking = [finding for finding in findings if finding.state in ("mend", "fail")]
    for finding in lacking if options.fix else findings:
        print(f"{finding.state:5} {finding.check:11} {finding.saw}  {finding.remedy}".rstrip(), flush=True)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
