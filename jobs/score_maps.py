#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Score a folder of saliency maps (png, npy, npz) against a picture set, with baselines, ceilings and a report.

Without arguments it scores maps of local contrast on embedded simulated scenes. `--help` lists every setting,
`--dry-run` prints the plan.
"""

import sys
from pathlib import Path

from gazeray.engine.cli import main
from gazeray.studies import SCORE_MAPS
from gazeray.studies.score_maps.config import ScoreMapsConfig

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "score_maps.yaml"

if __name__ == "__main__":
    study, report, plan = SCORE_MAPS.study, SCORE_MAPS.report, SCORE_MAPS.plan
    sys.exit(main(study, ScoreMapsConfig, "score_maps", CONFIG, report, plan=plan))
