# SPDX-License-Identifier: Apache-2.0
"""The words that all reports share: numbers, intervals and p-values as text, counted things, metrics and maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gazeray.report.results import Results

METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "mcc": "Matthews correlation",
    "brier": "Brier score (lower is better)",
    "auroc": "area under ROC",
    "average_precision": "average precision",
}
METHOD_NAMES = {"smoothgrad": "SmoothGrad"}


class Metric(NamedTuple):
    """A metric in words. unit: as in a table's head. rises: larger is better. definition: for the methods."""

    name: str
    unit: str = ""
    rises: bool = True
    definition: str = ""
    source: str = ""

    @property
    def head(self) -> str:
        """Name and unit, and the direction where smaller is better."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.name}{unit}{'' if self.rises else ', smaller is better'}"


def lookup(metrics: Mapping[str, Metric], key: str) -> Metric:
    """The metric in words. Raises ValueError for one that is not known."""
    if key not in metrics:
        raise ValueError(f"metrics.json: metric {key} is none of {', '.join(metrics)}")
    return metrics[key]


def metric_name(key: str) -> str:
    """The metric's name in words; recall_x becomes "recall of x"."""
    return METRIC_NAMES.get(key, f"recall of {key.removeprefix('recall_')}" if key.startswith("recall_") else key)


def method_name(key: str) -> str:
    """The name of a map's method in words."""
    return METHOD_NAMES.get(key, key.replace("_", " "))


def map_unit(method: str, unit: str) -> str:
    """The unit of a map, from the unit of what the model was given."""
    return "logit" if method == "integrated_gradients" else f"logit per {unit}"


def map_meaning(method: str, stuff: str) -> str:
    """What a map says and what its colours mean. stuff: what there is more of where the model's input is larger."""
    if method == "integrated_gradients":
        said = f"what the {stuff} there adds to the logit, from a blank picture on (an attribution); red raises it"
    else:
        mean = "the mean over noisy copies of " * (method == "smoothgrad")
        said = f"{mean}how the logit would change with a little more {stuff} there (a sensitivity); red: it would rise"
    return f"{method_name(method)}: {said}"


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A score in words: "undefined" when there is none; a true minus sign."""
    if value is None or not math.isfinite(value):
        return "undefined"
    rounded = round(value, digits) + 0.0  # no negative zero
    return f"{rounded:{'+' if signed else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(bounds: Sequence[float] | None, digits: int = 3, signed: bool = False) -> str:
    """An interval as "[low, high]"; empty when there is none."""
    return "" if bounds is None else "[" + ", ".join(number(bound, digits, signed) for bound in bounds) + "]"


def digits_for(*distances: float | None) -> int:
    """How many digits words need: 2, or as many (at most 4) as keep each distance that is not 0 from looking like 0."""
    sizes = [abs(distance) for distance in distances if distance and abs(distance) > 1e-9]
    return next((digits for digits in (2, 3) if all(size >= 10.0**-digits for size in sizes)), 4)


def score(entry: Mapping[str, Any] | None, digits: int = 2, signed: bool = False) -> str:
    """A value with its interval in words."""
    entry = entry or {}
    return f"{number(entry.get('value'), digits, signed)} {interval(entry.get('ci95'), digits, signed)}".strip()


def p_value(value: float) -> str:
    """A p-value with its relation, not to be broken over lines: "p = 0.012" or "p < 0.001"."""
    return f"p {'< 0.001' if value < 0.0005 else f'= {value:.3f}'}".replace(" ", "\N{NO-BREAK SPACE}")


def p_alone(value: float | None) -> str:
    """A p-value without its letter, for a column of them; empty where there is none."""
    return "" if value is None else p_value(value).removeprefix("p").lstrip(" =\N{NO-BREAK SPACE}")


def plural(count: float, one: str, several: str = "") -> str:
    """The word that goes with a count: `one`, or `several` (default: `one` with an s)."""
    return one if count == 1 else several or f"{one}s"


def counted(count: float, noun: str, nouns: str = "") -> str:
    """How many of a thing: "1 picture", "12 pictures"; nouns: a plural that does not end in s."""
    return f"{f'{count:g}' if isinstance(count, float) else count} {plural(count, noun, nouns)}"


def incomplete(results: Results, noun: str) -> str:
    """Says "Incomplete run (7 of 8 units)", or nothing for a run whose units are all done."""
    left, whole = len(results.failed), len(results.units)
    return f"Incomplete run ({whole - left} of {counted(whole, noun)})" if left else ""
