#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Draw report.html and figures/ of a run again, from its run folder alone (local or s3://)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gazeray.config import ConfigError
from gazeray.engine.run import draw, read_manifest
from gazeray.storage import Folder, masked
from gazeray.studies import known_as

DRAWN, UNREADABLE = 0, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the report of the run folder on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python jobs/report.py",
        description="Draw report.html and figures/ of a run again, from its run folder alone.",
        epilog="Exit codes: 0 drawn; 2 not a run folder, or it cannot be read.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, local or s3://")
    arguments = parser.parse_args(argv)
    shown = masked(arguments.run)
    try:
        run = Folder(arguments.run)
        *_, write_report = known_as(read_manifest(run))
        draw(run, write_report)
    except ConfigError as error:
        words = str(error)
    except FileNotFoundError as error:
        words = f"{shown}: not a run folder: {error}"
    except (OSError, ValueError, KeyError) as error:
        words = f"{shown}: cannot be read: {type(error).__name__}: {error}"
    else:
        print(f"report: {run.uri}/report.html")
        return DRAWN
    print(f"error: {masked(words)}", file=sys.stderr)
    return UNREADABLE


if __name__ == "__main__":
    sys.exit(main())
