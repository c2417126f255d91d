# SPDX-License-Identifier: Apache-2.0
"""The section on explanations: do the maps say anything about the model, and class averages of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gazeray.report.figure import Figure
from gazeray.report.results import Results
from gazeray.report.sections.gallery import picture_unit
from gazeray.report.words import interval, method_name, number
from gazeray.storage import Folder


@dataclass(frozen=True)
class MapSection:
    """Pictures that belong together, under a heading."""

    title: str
    pictures: list[Figure]


def map_sections(run: Folder, results: Results) -> list[MapSection]:
    """The figures of explain.npz; empty when the run has none.

    Raises ValueError when it is no map summary, or one of other classes than the manifest's.
    """
    if not run.exists("explain.npz"):
        return []
    # Here, since most runs of older versions have no map summary, and this imports PyTorch.
    from gazeray.explain.summary import MapSummary
    from gazeray.report import map_figures

    summary, classes, window = MapSummary.from_npz(run.read_bytes("explain.npz")), results.classes, window_px(results)
    unit = picture_unit(results)
    counts = ", ".join(f"{name}: {count}" for name, count in zip(classes, summary.count_label, strict=True))
    averages = [
        Figure(
            "class_maps",
            map_figures.class_maps(summary, classes, window, unit),
            f"Mean picture and mean map per class and method. Examples: {counts}.",
            f"Means over the test examples of each true class ({counts}). Maps: contributions to the logit of that "
            "class, red raises it, blue lowers it. Lines: the mean picture at 25, 50 and 75 % of its peak.",
        )
    ]
    if len(classes) > 1:
        other = f"{classes[1]} minus {classes[0]}" if len(classes) == 2 else "each class minus the mean of the others"
        words = f"Difference of the class means: {other}."
        averages.append(
            Figure("class_differences", map_figures.class_differences(summary, classes, window, unit), words, words)
        )
    checked = int(summary.checked.sum())
    areas = "; ".join(f"{row[0]} {row[1]}" for row in explanation_rows(results))
    checks = [
        Figure(
            "deletion_curves",
            map_figures.deletion_curves(summary),
            f"Deletion curves of {checked} examples. Areas: {areas or 'see the legend'}.",
            f"Deletion over {checked} test examples: the faster a curve falls, the more the model relies on what the "
            "map puts first.",
        ),
        Figure(
            "randomisation",
            map_figures.randomisation(summary),
            f"Rank correlations of the maps of {checked} examples with maps of random weights and with the picture.",
            "Rank correlation of the size of a map with maps of networks with random weights, and with the picture "
            "itself; box: quartiles, whiskers: 5th and 95th percentile.",
        ),
    ]
    return [MapSection("Checks", checks), MapSection("Averages over classes", averages)]


def window_px(results: Results) -> tuple[float, float]:
    """(width, height) of the commonest stimulus window, px. Raises ValueError when the predictions do not tell."""
    columns = ("window_width_px", "window_height_px")
    table = results.predictions
    if not table.num_rows or not set(columns) <= set(table.column_names):
        raise ValueError(f"explain.npz is there, but predictions.parquet has no {' and '.join(columns)}")
    sizes = Counter(zip(*(table[name].to_pylist() for name in columns), strict=True))
    width, height = min(sizes, key=lambda size: (-sizes[size], size))
    return float(width), float(height)


def explanation_rows(results: Results) -> list[list[str]]:
    """Per method: name, areas under the deletion curves (map, random order, order of dwell), how much smaller the
    map's is than the other two, median correlation with random weights, verdict."""
    return [_row(method, entry) for method, entry in (results.metrics.get("explanations") or {}).items()]


def _row(method: str, entry: Mapping[str, Any]) -> list[str]:
    areas = [number(entry.get(name)) for name in ("deletion_auc", "deletion_auc_random", "deletion_auc_dwell")]
    gains = [_gain(entry.get(f"gain_over_{order}") or {}) for order in ("random", "dwell")]
    check = entry.get("randomisation_correlation") or {}
    correlation = f"{number(check.get('median'), 2)} {interval(check.get('iqr'), 2)}".strip()
    return [method_name(method), *areas, *gains, correlation, str(entry.get("verdict") or "")]


def _gain(gain: Mapping[str, Any]) -> str:
    return f"{number(gain.get('value'), signed=True)} {interval(gain.get('ci95'), signed=True)}".strip()
