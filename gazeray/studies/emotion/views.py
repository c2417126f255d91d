# SPDX-License-Identifier: Apache-2.0
"""A run of the emotion study as its report sees it: each label by itself, in the form of a run with one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gazeray.metrics.ordinal import balanced
from gazeray.metrics.statistics import participant_confusions
from gazeray.report.results import HEADLINE, Results
from gazeray.report.sections.classification import class_indices, scores_of

PERSON, PICTURE, ADDITIVE, OTHERS = "participant_mean", "picture_mean", "additive", "other_people"
"""Rows that know whose trial it is, what was looked at, and both; and other people's ratings of the same picture."""

CIRCUMSTANCES = "nuisance"
"""The row that knows when and how a trial was recorded."""

SEES = {
    "series": "signals over time",
    "scanpath": "picture of the scanpath",
    "picture": "picture that was looked at",
}
"""What each branch of the model sees."""

CONTROLS = ("shift", "cut", "shuffled", "swapped")
"""How the keys of controls begin, in the order of the report."""

ORDER = ("majority", PERSON, PICTURE, ADDITIVE, CIRCUMSTANCES, "without_gaze", "ridge", OTHERS, "retest")
"""Baselines and ceilings as the report lists them, from what knows least."""


def views(results: Results) -> list[Results]:
    """Each label that was scored as if it were all that the run is about, in the order of the run.

    Its levels are the classes, its table is the table, its predictions are those of trials whose label is known; its
    name is `label_of` it. Recalls of single levels are not among the metrics shown. Raises ValueError where predictions
    name a level that the label does not have.
    """
    return [_view(results, name, own) for name, own in (results.metrics.get("labels") or {}).items()]


def _view(results: Results, name: str, own: Mapping[str, Any]) -> Results:
    whole = {key: value for key, value in results.metrics.items() if key != "labels"}
    metrics = {
        **whole,
        **own,
        "label": name,
        "metrics_shown": [metric for metric in own["metrics_shown"] if not metric.startswith("recall_")],
        "n": {**(whole.get("n") or {}), "trials": own["n"]},
        "best": whole["model"],
        "folds": own.get("per_fold") or [],
    }
    found = replace(
        results,
        manifest={**results.manifest, "classes": list(own["levels"])},
        metrics=metrics,
        predictions=_known(results.predictions, name),
        order=(*models(results), *controls(results), *ORDER),
    )
    metrics["participants"] = confusions(found, "participant")
    return found


def label_of(view: Results) -> str:
    """The name of the label that a view is of."""
    return str(view.metrics["label"])


def model_of(results: Results) -> str:
    """The row of the model that the run is about, which sees all its branches."""
    return str(results.metrics["model"])


def asked(results: Results) -> str:
    """The row of the model that the controls are asked of."""
    return str((results.config.get("controls") or {}).get("of") or model_of(results))


def models(results: Results) -> list[str]:
    """The rows of the models, those of fewer branches first, the one that the run is about last."""
    keys = [key for key, row in results.predictors.items() if row["kind"] == "model"]
    known = list(SEES)
    return sorted(keys, key=lambda key: (key == results.metrics.get("model"), key.count("-"), [
        known.index(name) if name in known else len(known) for name in key.split("-")
    ]))  # fmt: skip


def controls(results: Results) -> list[str]:
    """The rows of the controls, in the order of the report."""
    keys = [key for key, row in results.predictors.items() if row["kind"] == "control"]
    places = {key: place for place, start in enumerate(CONTROLS) for key in keys if key.startswith(start)}
    return sorted(keys, key=lambda key: (places.get(key, len(CONTROLS)), key))


def _known(predictions: pa.Table, label: str) -> pa.Table:
    if label not in predictions.column_names:
        return predictions.slice(0, 0)
    return predictions.filter(pc.is_valid(predictions[label]))


def chance_of(view: Results) -> float:
    """The macro recall of who knows nothing: one over the number of levels that were tested."""
    told = (view.metrics.get("metrics") or {}).get(HEADLINE) or {}
    return float(told["chance"]) if told.get("chance") is not None else 1 / len(view.classes)


# -- what was predicted


def probabilities(view: Results, row: str) -> NDArray[np.float64]:
    """What a row says of the levels in every prediction, (N, K); NaN where it says nothing."""
    table, column = view.predictions, f"{label_of(view)}:{row}"
    if column not in table.column_names:
        return np.full((table.num_rows, len(view.classes)), np.nan)
    return scores_of(table[column], len(view.classes))


def decided(view: Results, row: str, even: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """(levels that are true, levels that a row decides for), (M,) each, and (N,) in which predictions it says anything.

    even: probabilities are divided by the shares of the levels in training first, so that rare levels count as much as
    frequent ones.
    """
    shares = probabilities(view, row)
    there: NDArray[np.bool_] = np.asarray(np.isfinite(shares).all(axis=1))
    if not there.any():
        return np.empty(0, np.int64), np.empty(0, np.int64), there
    true = class_indices(view.predictions[label_of(view)].to_pylist(), view.classes)
    shares = balanced(shares[there], probabilities(view, "prior")[there]) if even else shares[there]
    return true[there], shares.argmax(axis=1), there


def confusions(view: Results, column: str) -> dict[str, Any]:
    """{participant or stimulus: {"confusion": of the model, levels even}}; empty without predictions."""
    true, said, there = decided(view, model_of(view), even=True)
    if not there.any() or column not in view.predictions.column_names:
        return {}
    names = view.predictions.filter(pa.array(there))[column].to_pylist()
    return participant_confusions(true, said, [str(name) for name in names], view.classes)
