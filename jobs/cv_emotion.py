#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Cross-validated arousal and valence from gaze, body and picture: recordings to scores, controls and a report.

Without arguments it reads the embedded simulated study. `--help` lists every setting, `--dry-run` prints the plan, and
configs/cv_emotion.paper.yaml is the published protocol as far as it can be followed.
"""

import sys
from pathlib import Path

from gazeray.engine.cli import main
from gazeray.report.text_tables import labels_table
from gazeray.studies import EMOTION
from gazeray.studies.emotion.config import EmotionConfig

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "cv_emotion.yaml"

if __name__ == "__main__":
    study, report, plan = EMOTION.study, EMOTION.report, EMOTION.plan
    sys.exit(main(study, EmotionConfig, "cv_emotion", CONFIG, report, table=labels_table, plan=plan))
