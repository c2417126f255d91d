# SPDX-License-Identifier: Apache-2.0
"""What the units of the emotion study add up to: metrics.json, its headline, and what must hold in its predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.metrics.permutation import claim
from gazeray.report.results import HEADLINE, Results
from gazeray.report.sections.without_gaze import best_gain
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.emotion.importance import IMPORTANCE
from gazeray.studies.emotion.predictors import Target
from gazeray.studies.emotion.scores import importance, score_label
from gazeray.studies.shared.classification import PREDICTIONS
from gazeray.study import Finished, Headline
from gazeray.unit import Json

LEAKS = {
    "neither": "trials were split at random: every person and every picture is on both sides, so that their habits "
    "alone make a score",
    "stimuli": "the same people are on both sides, so that how each of them answers can be learned",
}
"""folds.hold_out -> what every score of such a split owes to the split."""

SHOWN = (HEADLINE, "qwk", "auroc")
"""The metrics of each label that stand in the table of all rows."""


def score_run(
    predictions: pa.Table, manifest: Json, finished: Finished, folds: Sequence[int], model: str, cfg: EmotionConfig
) -> Json:
    """metrics.json but for the search.

    predictions: joined, of `folds`. model: the key of the row that is claimed of.
    """
    told = [Target(one["name"], tuple(one["levels"]), one["ordered"]) for one in manifest["data"]["labels"]]
    statistics = cfg.scores, cfg.run.seed, cfg.folds.hold_out
    labels = {
        label.name: score_label(predictions, label, finished.rows, model, *statistics, asked=cfg.controls.of)
        for label in told
    }
    asked = "fold" if cfg.controls.of == model else cfg.controls.of
    units = [finished.done[f"{asked}-{fold}"] for fold in folds if f"{asked}-{fold}" in finished.done]
    parts = [unit.folder.read_table(IMPORTANCE) for unit in units if unit.wrote(IMPORTANCE)]
    dropped = pa.concat_tables(parts) if parts else None
    weighed = {
        label.name: importance(dropped, predictions, label, cfg.controls.of, *statistics)
        for label in told if dropped is not None
    }  # fmt: skip
    shown = [f"{name}.{metric}" for name, one in labels.items() for metric in SHOWN if metric in one["metrics_shown"]]
    flat = {
        key: {f"{name}.{metric}": entry for name, one in labels.items()
              for metric, entry in (one["rows"].get(key) or {}).items() if metric in SHOWN}
        for key in finished.rows if any(key in one["rows"] for one in labels.values())
    }  # fmt: skip
    counts = {"participants": "participant", "stimuli": "stimulus"}
    return {
        "model": model,
        "hold_out": cfg.folds.hold_out,
        "leaks": LEAKS.get(cfg.folds.hold_out) if cfg.folds.path is None else None,
        "n": {
            **{name: len(set(predictions.column(column).to_pylist())) for name, column in counts.items()},
            "trials": predictions.num_rows,
            "rejected": manifest["counts"]["rejected"],
        },
        "folds": [{"fold": fold["fold"], "test": fold["test"]} for fold in manifest["folds"] if fold["fold"] in folds],
        "labels": labels,
        "importance": weighed,
        "rows": flat,
        "metrics_shown": shown,
    }


def headline(scores: Json) -> Headline | None:
    """Macro recall of the model for the first label, and its gain over the best that needs neither gaze nor body."""
    name, one = next(iter(scores["labels"].items()))
    model, held = scores["model"], one["held_out"]
    entry = one["rows"][model][HEADLINE]
    chance, best = one["metrics"][HEADLINE]["chance"], one["without_gaze"]["best"]
    found = best_gain(Results({}, one), model, HEADLINE, held)
    gain: Json | None = None
    if found is not None:
        gain = {"over": best, "value": found.gain, "ci95": found.ci95, "p": found.p, "side": found.found.side}
    against = claim(entry["ci95"], chance, one["permutation"], held).side
    return Headline(
        HEADLINE, model, entry, chance, against, gain, f"the best for {name} that sees neither gaze nor body"
    )


def score_faults(table: pa.Table, manifest: Json) -> Iterator[str]:
    """Probabilities that are none, and levels that no label has, one line each. table: predictions.parquet."""
    for label in manifest["data"]["labels"]:
        name, levels = label["name"], label["levels"]
        strange = sorted({str(one) for one in table[name].to_pylist() if one is not None} - set(levels))
        if strange:
            yield f"{PREDICTIONS}: {name}: {', '.join(strange[:5])}: none of the levels {', '.join(levels)}"
        for column in (one for one in table.column_names if one.startswith(f"{name}:")):
            if not all(row is None or _probabilities(row, len(levels)) for row in table[column].to_pylist()):
                yield f"{PREDICTIONS}: {column}: {len(levels)} probabilities that sum to 1 are needed in every row"


def _probabilities(row: Any, levels: int) -> bool:
    """Are there so many numbers that sum to 1?"""
    if not isinstance(row, list) or len(row) != levels or None in row:
        return False
    return bool(np.isclose(sum(row), 1.0)) and min(row) >= 0
