# SPDX-License-Identifier: Apache-2.0
"""Can its probabilities be believed: reliability diagrams, the Brier score, and what they mean in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gazeray.metrics.bootstrap import Estimate
from gazeray.metrics.calibration import Calibration, calibrations
from gazeray.metrics.permutation import LEAST_UNITS, ONE
from gazeray.metrics.statistics import Draws
from gazeray.report import figures
from gazeray.report.blocks import ROW, TEXT, Block, Cell, Column, Figure, FigureRow, Section, Table, Text, more
from gazeray.report.figures import BLUE, GREY, HALF_IN, PALE, VERMILION, drawing, shorten
from gazeray.report.results import MODEL, SIMPLE, Results
from gazeray.report.sections.classification import class_indices, held_out, resampled, scores_of
from gazeray.report.words import interval, number

STYLES = {MODEL: (BLUE, "-", "o", "model"), SIMPLE: (VERMILION, "--", "s", "logistic regression")}

CLASSES = 6
"""Classes with a diagram of their own, at most."""

SEEN = 0.005
"""What two digits can show: whatever is nearer to what is right is right."""


def section(results: Results) -> Section:
    """The section; it says so where there are no predictions.

    Raises ValueError when a prediction's label is none of the classes.
    """
    found, title = measured(results), "Can its probabilities be believed?"
    if not found:
        return Section("calibration", title, "Calibration", [Text("No predictions.")])
    places = range(len(results.classes)) if len(results.classes) > 2 else [1]
    drawn: list[Block] = [FigureRow([_figure(results, found, place) for place in list(places)[:CLASSES]])]
    blocks = [Text(_meaning(results, found[MODEL])), *drawn, *more(len(places) - CLASSES, "classes", _FILE)]
    return Section(
        "calibration", title, "Calibration", [*blocks, Text(_words(results), small=True), _table(results, found)]
    )


_FILE = "predictions.parquet in the run folder"


def measured(results: Results) -> dict[str, Calibration]:
    """{model and logistic regression: calibration} of the predictions of all folds; empty without predictions."""
    table, scores = _forecasts(results)
    if not table.num_rows:
        return {}
    labels = class_indices(table["label"].to_pylist(), results.classes)
    held = [table[ONE[name]].to_pylist() for name in held_out(results)]
    draws = Draws.of(len(labels), *held)
    resamples = int((results.config.get("scores") or {}).get("resamples", 2000))
    return calibrations(labels, scores, len(results.classes), draws, resamples, int(results.manifest["seed"]))


def _forecasts(results: Results) -> tuple[pa.Table, dict[str, NDArray[np.float64]]]:
    """The N predictions where model and logistic regression say something, and what: {predictor: (N, K)}."""
    table = results.predictions
    if not table.num_rows:
        return table, {}
    columns = {MODEL: "scores", SIMPLE: SIMPLE}
    scores = {name: scores_of(table[column], len(results.classes)) for name, column in columns.items()}
    there = np.all([np.isfinite(values).all(axis=1) for values in scores.values()], axis=0)
    return table.filter(pa.array(there)), {name: values[there] for name, values in scores.items()}


# -- words


def _meaning(results: Results, found: Calibration) -> str:
    """What the diagram means, by the intervals of the slope and of the mean forecast."""
    slope, bounds, even = found.slope.value, found.slope.interval, 1 / len(results.classes)
    told = f" (slope {number(slope, 2)} {interval(bounds, 2)}, where 1 is calibrated)".replace(" ,", ",")
    place, mean = _most_said(found)
    if not np.isfinite(mean.value):
        return "It cannot be said: a class was not tested, or the scores are no probabilities."
    few = found.slope.groups < LEAST_UNITS
    if few or (bounds is None and np.isfinite(slope)):
        return f"Too few {resampled(results)} were held out to say{told if np.isfinite(slope) else ''}."
    name, often = f"“{results.classes[place]}”", (mean.interval or [0.0])[0] > even + SEEN
    shifted = (
        f"it says {name} too often: {number(mean.value, 2)} {interval(mean.interval, 2)} on average, where "
        f"{number(even, 2)} is right"
    )
    if bounds is None:  # no slope
        same = "It says the same of all trials, which tells nothing of the class"
        return f"{same}; and {shifted}." if often else f"{same}."
    high = float(found.curves[place].forecast[-1])
    so = min(1.0, max(0.0, even + slope * (high - mean.value)))
    comes = f"where it says {name} with {100 * high:.0f} %, about {100 * so:.0f} % are so by the fitted line"
    if bounds[1] < 1 - SEEN:
        nothing = " Its probabilities tell nothing of the class that can be told from chance." * (bounds[0] <= 0)
        sense = " Its probabilities go against the class, not with it." if bounds[1] < -SEEN else nothing
        return f"The model is surer than it should be{', and ' + shifted if often else ''}: {comes}{told}.{sense}"
    if bounds[0] > 1 + SEEN:
        return f"The model could be surer{', and ' + shifted if often else ''}: {comes}{told}."
    if often:
        return f"The model’s probabilities are off, since {shifted}: {comes}{told}."
    wide = " Nor does anything show that they tell more than chance: there is too little to say." * (bounds[0] <= 0)
    return f"Nothing shows that the model’s probabilities are off, which does not prove them right{told}.{wide}"


def _most_said(found: Calibration) -> tuple[int, Estimate]:
    """The class with the highest mean forecast."""
    place = int(np.argmax([own.value for own in found.means]))
    return place, found.means[place]


def _words(results: Results) -> str:
    """How to read the figures and the table."""
    kept = (results.config.get("train") or {}).get("class_weights", True)
    uneven = "" if kept else (
        " The model was fitted without class weights, so its probabilities are those of classes as frequent as in "
        "training: where these are uneven, it is off the diagonal by design."
    )  # fmt: skip
    even = 1 / len(results.classes)
    return (
        f"Trials weigh so that all classes count the same, as in the fits: a share of {number(even)} is chance. "
        "Points: bins of equally many test trials of all folds. Bars and square brackets: 95 % bootstrap interval over "
        f"{resampled(results)}; a bin whose trials are all of one kind has none. Slope: by how much the observed share "
        "rises where the forecast rises by 1, by least squares. The class said most is the one with the highest mean "
        f"forecast; {number(even)} is right. Miscalibration: mean squared distance of the points from the diagonal, "
        "summed over classes, the part of the Brier score that calibration alone could save; by chance: about how much "
        f"of it few trials add, found by resampling. A Brier score above {number(1 - even)} is worse than saying "
        f"{number(even)} of each class always.{uneven}"
    )


def _table(results: Results, found: Mapping[str, Calibration]) -> Table:
    columns = [Column("predictor", ROW), Column("Brier score (lower is better)"), Column("slope (1 is calibrated)")]
    columns += [Column("class said most", TEXT), Column("its mean forecast")]
    columns += [Column("miscalibration"), Column("of that by chance")]
    rows: list[list[object]] = []
    for name, own in found.items():
        entry, (place, mean) = results.entry(name, "brier"), _most_said(own)
        rows.append([
            STYLES[name][3],
            Cell(number(entry.get("value")), interval(entry.get("ci95"))),
            Cell(number(own.slope.value), interval(own.slope.interval)),
            results.classes[place],
            Cell(number(mean.value), interval(mean.interval)),
            number(own.miscalibration),
            number(None if own.noise is None else max(0.0, own.noise)),
        ])  # fmt: skip
    return Table("Calibration", columns, rows)


# -- the figure


def _figure(results: Results, found: Mapping[str, Calibration], place: int) -> Figure:
    """Of one class: its reliability diagram above the histogram of its forecasts."""
    classes = results.classes
    forecasts = {name: values[:, place] for name, values in _forecasts(results)[1].items()}
    said = "; ".join(
        f"{STYLES[name][3]}: {', '.join(f'{x:.2f} → {y:.2f}' for x, y in zip(one.forecast, one.observed, strict=True))}"
        for name, one in ((name, own.curves[place]) for name, own in found.items())
    )
    name = f"“{classes[place]}”"
    return Figure(
        "calibration" if len(classes) == 2 else f"calibration-{place}",
        reliability(found, forecasts, place, f"forecast probability of “{shorten(classes[place])}”"),
        f"Reliability diagram of {name}, forecast → observed share. {said}.",
        f"{name}: how often it was so where it was forecast with a probability. On the dotted line forecasts can be "
        "believed. Below: how often each probability was forecast.",
    )


@drawing()
def reliability(
    found: Mapping[str, Calibration], forecasts: Mapping[str, NDArray[np.float64]], place: int, xlabel: str
) -> Any:
    """Reliability diagram of class `place`, above histograms of its forecasts {predictor: (N,)}."""
    figure = figures.new_figure(HALF_IN, HALF_IN + 0.9)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="calibrated")
    for name, own in found.items():
        _curve(upper, own, place, *STYLES[name])
    _histograms(lower, forecasts)
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="observed share, classes even")
    lower.set(xlabel=xlabel, ylabel="trials")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper left", ncols=3, columnspacing=1.0)
    return figure


def _curve(axis: Any, own: Calibration, place: int, colour: str, line: str, mark: str, title: str) -> None:
    curve = own.curves[place]
    low, high = curve.interval.T
    axis.vlines(curve.forecast, low, high, color=colour, linewidth=1, alpha=0.6)
    axis.plot(curve.forecast, curve.observed, color=colour, linestyle=line, marker=mark, markersize=4, linewidth=1.4,
              label=title)  # fmt: skip


def _histograms(axis: Any, forecasts: Mapping[str, NDArray[np.float64]]) -> None:
    edges: Sequence[float] = np.linspace(0, 1, 21).tolist()
    for name, values in forecasts.items():
        colour, line, *_ = STYLES[name]
        if name == MODEL:
            axis.hist(values, bins=edges, color=PALE, edgecolor="white", linewidth=0.4)
        else:
            axis.hist(values, bins=edges, histtype="step", color=colour, linestyle=line, linewidth=1.2)
    axis.yaxis.set_major_locator(figures.MaxNLocator(3, integer=True, min_n_ticks=1))
