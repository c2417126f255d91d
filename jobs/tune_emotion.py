#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""The emotion study with its settings searched: chosen anew on the inner folds of every fold, tested once.

On a cluster Ray Tune drives the search. What is tried stands in configs/tune_emotion.yaml, every other setting in
configs/cv_emotion.yaml; `--help` lists them all.
"""

import sys
from pathlib import Path

from gazeray.engine.cli import main
from gazeray.report.text_tables import labels_table
from gazeray.studies import EMOTION
from gazeray.studies.emotion.config import EmotionConfig

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "tune_emotion.yaml"

if __name__ == "__main__":
    study, report, plan = EMOTION.study, EMOTION.report, EMOTION.plan
    sys.exit(main(study, EmotionConfig, "tune_emotion", CONFIG, report, table=labels_table, plan=plan))
