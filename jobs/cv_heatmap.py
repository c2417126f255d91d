#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Cross-validated heatmap CNN: gaze files (or screen pictures) to scores, checked gradient maps and a report.

Without arguments it reads the embedded simulated study. `--help` lists every setting, `--dry-run` prints the plan, and
configs/cv_heatmap.paper.yaml is the published protocol.
"""

import sys
from pathlib import Path

from gazeray.engine.cli import main
from gazeray.report.text_tables import classification_table
from gazeray.studies import HEATMAP
from gazeray.studies.heatmap.config import HeatmapConfig

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "cv_heatmap.yaml"

if __name__ == "__main__":
    study, report, plan = HEATMAP.study, HEATMAP.report, HEATMAP.plan
    sys.exit(main(study, HeatmapConfig, "cv_heatmap", CONFIG, report, table=classification_table, plan=plan))
