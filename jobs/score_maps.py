#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Score a folder of saliency maps (png, npy, npz) against a picture set, with baselines, ceilings and a report.

Without arguments it scores maps of local contrast on embedded simulated scenes. `--help` lists every setting,
`--dry-run` prints the plan.
"""

import sys
from pathlib import Path

from gazeray.engine.cli import main
from gazeray.studies.pictures.report import write_saliency_report
from gazeray.studies.score_maps.study import ScoreMapsConfig, ScoreMapsStudy

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "score_maps.yaml"

if __name__ == "__main__":
    sys.exit(main(ScoreMapsStudy, ScoreMapsConfig, "score_maps", CONFIG, write_saliency_report))
