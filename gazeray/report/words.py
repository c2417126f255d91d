# SPDX-License-Identifier: Apache-2.0
"""The words of the report: numbers and p-values as text, names of metrics, and the verdict in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gazeray.report.results import Results

HEADLINE = "balanced_accuracy"
SIGNIFICANT = 0.05

METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "mcc": "Matthews correlation",
    "auroc": "area under ROC",
    "average_precision": "average precision",
}


METHOD_NAMES = {"smoothgrad": "SmoothGrad"}


def method_name(key: str) -> str:
    """The name of a map's method in words."""
    return METHOD_NAMES.get(key, key.replace("_", " "))


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A score in words: "undefined" when there is none; a true minus sign."""
    if value is None or not math.isfinite(value):
        return "undefined"
    rounded = round(value, digits) + 0.0  # no negative zero
    return f"{rounded:{'+' if signed else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(bounds: Sequence[float] | None, digits: int = 3, signed: bool = False) -> str:
    """An interval as "[low, high]"; empty when there is none."""
    return "" if bounds is None else "[" + ", ".join(number(bound, digits, signed) for bound in bounds) + "]"


def p_value(value: float) -> str:
    """A p-value with its relation, not to be broken over lines: "p = 0.012" or "p < 0.001"."""
    return f"p {'< 0.001' if value < 0.0005 else f'= {value:.3f}'}".replace(" ", "\N{NO-BREAK SPACE}")


def metric_name(key: str) -> str:
    """The metric's name in words; recall_x becomes "recall of x"."""
    return METRIC_NAMES.get(key, f"recall of {key.removeprefix('recall_')}" if key.startswith("recall_") else key)


def verdict(results: Results) -> str:
    """One plain sentence: does the model tell the classes apart in new people, and better than the simple baseline."""
    done = sum(unit["status"] == "done" for unit in results.units.values())
    start = f"Incomplete run ({done} of {len(results.units)} folds): " if done < len(results.units) else ""
    entry = results.metrics.get("metrics", {}).get(HEADLINE) or {}
    value, bounds, chance = entry.get("value"), entry.get("ci95"), entry.get("chance")
    if value is None:
        reason = entry.get("reason") or ("no fold was tested" if not results.metrics else "too few classes were tested")
        return f"{start}{'no' if start else 'No'} verdict, because balanced accuracy is undefined: {reason}."
    p = (results.metrics.get("permutation") or {}).get("p")
    gain = (entry.get("gain_ci95") or {}).get("logistic_regression")
    digits = 2 if chance is None or all(abs(bound - chance) >= 0.01 for bound in [value, *(bounds or [])]) else 3
    label = results.manifest["data"]["label"]
    above = bounds is not None and chance is not None and bounds[0] > chance
    if bounds is not None and chance is not None and bounds[1] < chance:
        claim = f"in participants it never saw, the model predicts “{label}” worse than chance, which points at a fault"
    elif above and (p is None or p < SIGNIFICANT):
        claim = f"the model predicts “{label}” above chance in participants it never saw"
    elif above:
        claim = f"the evidence is mixed that the model predicts “{label}” in participants it never saw"
    else:
        claim = f"there is no clear evidence that the model predicts “{label}” in participants it never saw"
    scores = [f"balanced accuracy {number(value, digits)} {interval(bounds, digits) or '(no interval)'}"]
    if chance is not None:
        within = bounds is not None and bounds[0] <= chance <= bounds[1]
        scores.append(f"chance {number(chance, digits)}" + (" lies inside the interval" if within else ""))
    if p is not None:
        scores.append(f"permutation {p_value(p)}")
    sentence = f"{start}{claim}: {', '.join(scores)}{_against_baseline(entry, gain, digits)}."
    return sentence[0].upper() + sentence[1:]


def _against_baseline(entry: Mapping[str, Any], gain: Sequence[float] | None, digits: int) -> str:
    value = (entry.get("baselines") or {}).get("logistic_regression")
    if value is None:
        return ""
    if gain is None:
        return f"; logistic regression on simple gaze features scores {number(value, digits)}"
    if gain[0] > 0:
        words = "it is better than"
    elif gain[1] < 0:
        words = "it is worse than"
    else:
        words = "it cannot be told apart from"
    return f"; {words} logistic regression on simple gaze features ({number(value, digits)})"
