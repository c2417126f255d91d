#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Linear probes of a frozen network: which layer knows where people look? Scores, maps and a report.

Without arguments it reads embedded simulated scenes through an untrained network. `--help` lists every setting,
`--dry-run` prints the plan.
"""

import sys
from pathlib import Path

from gazeray.engine.cli import main
from gazeray.studies import PROBE_SALIENCY
from gazeray.studies.probe_saliency.config import ProbeSaliencyConfig

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "probe_saliency.yaml"

if __name__ == "__main__":
    study, report, plan = PROBE_SALIENCY.study, PROBE_SALIENCY.report, PROBE_SALIENCY.plan
    sys.exit(main(study, ProbeSaliencyConfig, "probe_saliency", CONFIG, report, plan=plan))
