# SPDX-License-Identifier: Apache-2.0
"""How well classes were told apart: the headline table, ROC curves and confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from gazeray.metrics.classification import LOWER_IS_BETTER
from gazeray.metrics.permutation import Claim, claim
from gazeray.report import figures
from gazeray.report.blocks import ROW, Block, Cell, Column, Figure, FigureRow, Heading, Section, Table, Text
from gazeray.report.figures import BLUE, DARK, GREY, HALF_IN, PAGE_IN, VERMILION, drawing, shorten
from gazeray.report.results import HEADLINE, MODEL, SIMPLE, Results
from gazeray.report.sections import without_gaze
from gazeray.report.sections.participants import tested
from gazeray.report.words import METRIC_NAMES, counted, interval, metric_name, number, p_value, plural

SCORE_STYLES = {"model": (BLUE, "-", "model"), SIMPLE: (VERMILION, "--", "logistic regression")}


def metric_order(key: str) -> tuple[int, str]:
    """Sorts metrics as the report lists them: those of `METRIC_NAMES` first, in their order."""
    names = list(METRIC_NAMES)
    return (names.index(key) if key in names else len(names), key)


# -- the headline table


def scores(results: Results, title: str) -> Section:
    """The section on the scores of the whole run: interval, chance, baselines, permutation test."""
    scored = results.metrics.get("metrics") or {}
    if not scored:
        return Section("scores", title, "Scores", [Text("No fold was tested: there are no scores.")])
    entries = {key: scored[key] or {} for key in sorted(scored, key=metric_order)}
    ceilings = any(entry.get("ceiling") is not None for entry in entries.values())
    heads = ["model", "chance", "majority class", "logistic regression", "gain over logistic regression"]
    table = Table(
        "Scores",
        [Column("score", ROW), *map(Column, heads + ["ceiling"] * ceilings)],
        [_headline_row(key, entry, ceilings) for key, entry in entries.items()],
        shaded=[place for place, key in enumerate(entries) if key == HEADLINE],
    )
    words = (
        f"In square brackets: 95 % bootstrap interval over {resampled(results)}. Gain: model minus logistic "
        "regression, on the same resamples; of the Brier score logistic regression minus model, so that more is "
        f"always better. Scores run from 0 to 1, Matthews correlation from {number(-1, 0)} to 1, the Brier score from "
        "0 (best) to 2."
    )
    return Section(
        "scores", title, "Scores",
        [Text(words, small=True), table, *_permutation(results), *without_gaze.blocks(results, MODEL),
         *_per_person(results)],
    )  # fmt: skip


def held_out(results: Results) -> dict[str, int]:
    """How many participants, stimuli or both the intervals draw from; participants in runs that do not say it."""
    metrics = results.metrics
    return dict(metrics.get("held_out") or {"participants": len(metrics.get("participants") or {})})


def against_chance(results: Results) -> Claim:
    """What may be said of the model's headline score against chance."""
    entry = (results.metrics.get("metrics") or {}).get(HEADLINE) or {}
    test = results.metrics.get("permutation") or {}
    return claim(entry.get("ci95"), entry.get("chance"), test, held_out(results))


def claimed(found: Claim, does: str, who: str) -> str:
    """A claim against chance as a clause. does: what the model does, such as "tells it"; who: whom it is tested on."""
    if found.side == "too_few":
        return f"there is too little to say whether the model {does} in {who} ({found.why})"
    if found.side == "below":
        return f"in {who}, the model {does} worse than chance, which points at a fault"
    if found.side == "above":
        return f"the model {does} above chance in {who}"
    doubt = "the evidence is mixed" if found.side == "mixed" else "there is no clear evidence"
    return f"{doubt} that the model {does} in {who}"


def resampled(results: Results) -> str:
    """What the intervals draw, in words."""
    return " and ".join(held_out(results))


def _headline_row(key: str, entry: Mapping[str, Any], ceilings: bool) -> list[object]:
    baselines, value = entry.get("baselines") or {}, entry.get("value")
    simple, gain = baselines.get(SIMPLE), (entry.get("gain_ci95") or {}).get(SIMPLE)
    over = None if value is None or simple is None else value - simple
    if key in LOWER_IS_BETTER:
        over, gain = None if over is None else -over, None if gain is None else [-bound for bound in reversed(gain)]
    reason = f" ({entry['why']})" if value is None and entry.get("why") else ""
    return [
        metric_name(key),
        Cell(number(value) + reason, interval(entry.get("ci95"))),
        number(entry.get("chance")),
        number(baselines.get("majority")),
        Cell(number(simple), interval((entry.get("baselines_ci95") or {}).get(SIMPLE))),
        Cell(number(over, signed=True), interval(gain, signed=True)),
        *([number(entry.get("ceiling"))] if ceilings else []),
    ]


QUESTIONS = {
    "between participants": "whole participants exchanged their labels: do predictions know a participant’s label",
    "between stimuli": "whole stimuli exchanged their labels: do predictions know a stimulus’s label",
    "within participants": "the trials of each participant exchanged their labels: do predictions know more than whose "
    "a trial is",
    "within stimuli": "the trials of each stimulus exchanged their labels: do predictions know more than what was "
    "looked at",
}
"""What an exchange of labels asks, by its name in metrics.json."""


def _permutation(results: Results) -> list[Text]:
    test = results.metrics["permutation"]
    further = test.get("further")
    return [_exchanged("Permutation test", test), *([_exchanged("A second test", further)] if further else [])]


def _exchanged(head: str, test: Mapping[str, Any]) -> Text:
    design = test.get("design", "within participants")
    if test["p"] is None:
        return Text(f"{head}: undefined ({test['reason']}).")
    few = f" Nothing can be claimed: {test['reason']}." if test.get("reason") else ""
    gain = (test.get("gain") or {}).get(SIMPLE)
    over = f"; gain over logistic regression: {p_value(gain['p'])}" if gain else ""
    return Text(
        f"{head} of {metric_name(test['metric'])}, {design}: {p_value(test['p'])} ({QUESTIONS[design]}; "
        f"{counted(test['n'], 'shuffle')} {plural(test['n'], 'gives', 'give')} {number(test.get('null_mean'))} on "
        f"average, 95 % of them at most {number(test.get('null_p95'))}; p allows for what folds share){over}.{few}"
    )


def _per_person(results: Results) -> list[Block]:
    """The scores of whole participants, where the label is theirs."""
    rows = results.metrics.get("per_person") or {}
    if not rows:
        return []
    labels = {key: one["label"] for key, one in results.metrics["predictors"].items()}
    shown = (HEADLINE, "accuracy", "auroc")
    cells = [
        [labels[name], *(Cell(number(scored[key]["value"]), interval(scored[key]["ci95"])) for key in shown)]
        for name, scored in rows.items()
    ]
    words = (
        "The label is the participant’s. The decision is by the mean of the scores "
        "of their trials. In square brackets: 95 % bootstrap interval over participants."
    )
    table = Table(
        "Scores per participant", [Column("predictor", ROW), *(Column(metric_name(key)) for key in shown)], cells
    )
    return [Heading("Each participant counted once"), Text(words, small=True), table]


# -- ROC and confusion


def curves(results: Results) -> Section:
    """The section with the ROC curves beside the confusion matrix.

    Raises ValueError when a prediction's label is none of the classes.
    """
    drawn = [figure for figure in (roc_figure(results), confusion_figure(results)) if figure]
    return Section(
        "curves", "ROC and confusion", "ROC, confusion", [FigureRow(drawn) if drawn else Text("No predictions.")]
    )


def class_indices(values: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Class names as indices (N,). Raises ValueError naming those that are no class."""
    lookup = {name: index for index, name in enumerate(classes)}
    unknown = sorted({str(value) for value in values if value not in lookup})
    if unknown:
        raise ValueError(f"predictions.parquet: label {', '.join(unknown)} is none of the classes {', '.join(classes)}")
    return np.array([lookup[value] for value in values], dtype=np.int64)


def scores_of(column: pa.ChunkedArray, classes: int) -> NDArray[np.float64]:
    """A list column as (N, K); a missing list becomes NaN."""
    there = pc.fill_null(pc.list_value_length(column), 0).to_numpy() > 0
    found = np.full((len(column), classes), np.nan)
    found[there] = pc.list_flatten(column).to_numpy().reshape(-1, classes)
    return found


def roc_figure(results: Results) -> Figure | None:
    """ROC of the model and of logistic regression; None without predictions."""
    table, classes = results.predictions, results.classes
    if not table.num_rows:
        return None
    labels = class_indices(table["label"].to_pylist(), classes)
    columns = {"model": table["scores"], SIMPLE: table[SIMPLE]}
    png = roc(labels, {name: scores_of(column, len(classes)) for name, column in columns.items()}, classes)
    areas = (results.metrics.get("metrics") or {}).get("auroc") or {}
    simple = (areas.get("baselines") or {}).get(SIMPLE)
    alt = f"ROC curves. Area: model {number(areas.get('value'))}, logistic regression {number(simple)}, chance 0.5."
    positive = f"“{classes[-1]}” counts as positive" if len(classes) == 2 else "each class against the rest"
    trials = counted(table.num_rows, "test trial")
    caption = f"ROC over the {trials} of all folds together; {positive}. Axes: rates from 0 to 1."
    return Figure("roc", png, alt, caption)


@drawing()
def roc(labels: NDArray[np.int64], scores: Mapping[str, NDArray[np.float64]], classes: Sequence[str]) -> Any:
    """ROC curves (Fawcett 2006): two classes, the last one is positive; more, one panel per class against the rest.

    labels: (N,) class indices. scores: name ("model", "logistic_regression") -> (N, K); rows with NaN are left out.
    """
    positives = [len(classes) - 1] if len(classes) == 2 else list(range(len(classes)))
    rows, columns = figures.grid(len(positives), 3)
    size = (HALF_IN, HALF_IN + 0.75) if columns == 1 else (PAGE_IN, (9.0 / columns + 0.6) * rows)
    figure, axes = figures.panels(len(positives), columns, *size)
    for axis, positive in zip(axes, positives, strict=True):
        _roc_panel(axis, labels, scores, positive)
        rest = shorten(classes[0]) if len(classes) == 2 else "the rest"
        axis.set_title(f"{shorten(classes[positive])} against {rest}", loc="left")
    return figure


def _roc_panel(axis: Any, labels: NDArray[np.int64], scores: Mapping[str, NDArray[np.float64]], positive: int) -> None:
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="chance, area 0.500")
    for name, values in scores.items():
        colour, line, title = SCORE_STYLES[name]
        usable = np.isfinite(values).all(axis=1)
        truth = labels[usable] == positive
        if truth.all() or not truth.any():
            axis.plot([], [], color=colour, linestyle=line, label=f"{title}: undefined, one class only")
            continue
        false_rate, true_rate, _ = roc_curve(truth, values[usable, positive])
        area = float(np.trapezoid(true_rate, false_rate))
        axis.plot(false_rate, true_rate, color=colour, linestyle=line, linewidth=1.5, label=f"{title}, area {area:.3f}")
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axis.set(xlabel="false positive rate", ylabel="true positive rate")
    below = axis.transAxes + ScaledTranslation(0, -0.45, axis.figure.dpi_scale_trans)  # inches: under the axis's label
    axis.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0)


def confusion_figure(results: Results) -> Figure | None:
    """The confusion matrix over all participants; None when nobody was tested."""
    people, classes = tested(results), results.classes
    if people is None:
        return None
    pooled = people.confusions.sum(axis=0)
    hits = "; ".join(f"{name}: {pooled[i, i]} of {pooled[i].sum()} correct" for i, name in enumerate(classes))
    caption = (
        f"Confusion over {counted(int(pooled.sum()), 'test trial')}: number of trials, and share of the true class (%)."
    )
    return Figure("confusion", confusion(pooled, classes), f"Confusion matrix. {hits}.", caption)


@drawing()
def confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> Any:
    """The confusion matrix (K, K), rows true and columns predicted: counts, with the share of the row below."""
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    count, names = len(classes), [shorten(name, 14) for name in classes]
    side = min(PAGE_IN, max(HALF_IN, 1.2 + 0.75 * count))
    figure = figures.new_figure(side, side)
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    big = 15 if count <= 3 else 9
    for (row, column), value in np.ndenumerate(matrix):
        style = {"color": "white" if share[row, column] > 0.65 else DARK, "ha": "center", "textcoords": "offset points"}
        percent = f"{100 * share[row, column]:.0f} %" if total[row, 0] else "no trial"
        axis.annotate(str(value), (column, row), (0, 1), va="bottom", fontsize=big, **style)
        axis.annotate(percent, (column, row), (0, -2), va="top", fontsize=0.6 * big + 1, **style)
    sideways = {"rotation": 90, "va": "center"} if max(map(len, names)) > 6 else {}
    axis.set_xticks(range(count), names, rotation=0 if count <= 4 else 45, ha="center" if count <= 4 else "right")
    axis.set_yticks(range(count), names, **(sideways if count <= 4 else {}))
    axis.set(xlabel="predicted", ylabel="true")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure
