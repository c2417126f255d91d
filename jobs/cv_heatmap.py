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
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapStudy

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "cv_heatmap.yaml"

if __name__ == "__main__":
    sys.exit(main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIG, write_report, table=classification_table))
