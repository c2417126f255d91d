#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Linear probes of a frozen network: which layer knows where people look? Scores, maps and a report.

Without arguments it reads embedded simulated scenes through an untrained network. `--help` lists every setting,
`--dry-run` prints the plan.
"""

import sys
from pathlib import Path

from gazeray.engine.cli import COMPARISON, main
from gazeray.report.salience import write_salience_report
from gazeray.studies.salience import SalienceStudy

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "probe_salience.yaml"

if __name__ == "__main__":
    sys.exit(main(SalienceStudy(), "probe_salience", CONFIG, write_salience_report, flow=COMPARISON))
