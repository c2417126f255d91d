#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Check that a run folder (local or s3://) is whole and that its scores follow from its units: a line per finding."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gazeray.config import ConfigError
from gazeray.storage import Folder, masked
from gazeray.studies import study_of

VALID, FINDINGS, UNREADABLE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Check the run folder on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python jobs/validate_run.py",
        description="Check that a run folder is whole, and compute its scores again from what its units left.",
        epilog="Exit codes: 0 valid; 1 findings, one per line; 2 not a run folder, or it cannot be read.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, local or s3://")
    arguments = parser.parse_args(argv)
    from gazeray.engine.validate import validate_run  # here, since it takes seconds, and --help does not need it

    shown = masked(arguments.run)
    try:
        findings = validate_run(Folder(arguments.run), study_of)
    except ConfigError as error:
        print(f"error: {masked(str(error))}", file=sys.stderr)
        return UNREADABLE
    except OSError as error:
        print(f"error: {shown}: cannot be read: {masked(str(error))}", file=sys.stderr)
        return UNREADABLE
    for finding in findings:
        print(finding)
    if findings:
        print(f"{shown}: {len(findings)} finding{'s' * (len(findings) > 1)}", file=sys.stderr)
        return FINDINGS
    print(f"{shown}: valid")
    return VALID


if __name__ == "__main__":
    sys.exit(main())
