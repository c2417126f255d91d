#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Check that a run folder (local or s3://) is whole and consistent: one line per finding."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gazeray.config import ConfigError
from gazeray.report.validate import NotARunError, validate_run
from gazeray.storage import Folder, masked

VALID, FINDINGS, UNREADABLE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Check the run folder on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python jobs/validate_run.py",
        description="Check that a run folder is whole and consistent: files, folds, units, predictions, scores, maps.",
        epilog="Exit codes: 0 valid; 1 findings, one per line; 2 not a run folder, or it cannot be read.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, local or s3://")
    arguments = parser.parse_args(argv)
    shown = masked(arguments.run)
    try:
        findings = validate_run(Folder(arguments.run))
    except (NotARunError, ConfigError) as error:
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
