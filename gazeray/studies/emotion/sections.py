# SPDX-License-Identifier: Apache-2.0
"""The sections that tell how well each label is told: the table of all rows, branches, levels, calibration, spread."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeray.metrics.shares import mean_recall
from gazeray.report import many
from gazeray.report.blocks import NAME, ROW, TEXT, Block, Cell, Column, Figure, FigureRow, Heading, Section, Table, Text
from gazeray.report.results import HEADLINE, Results
from gazeray.report.sections import participants, scores
from gazeray.report.sections.classification import resampled
from gazeray.report.sections.participants import People
from gazeray.report.words import counted, interval, number, p_alone
from gazeray.studies.emotion import figures
from gazeray.studies.emotion.views import (
    ADDITIVE,
    SEES,
    asked,
    chance_of,
    confusions,
    decided,
    label_of,
    model_of,
    models,
    probabilities,
)
from gazeray.studies.emotion.words import METRICS, branch_name, heading, second

BINS = 10
"""Of the reliability diagram, equally wide, as of the calibration error."""

FEWEST = 10
"""Trials of a point of the reliability diagram: the share that is right among fewer says nothing."""


def bounds(entry: Mapping[str, Any]) -> list[float]:
    """[value, low, high] of an entry; NaN where undefined, the value where it has no interval."""
    value = math.nan if entry.get("value") is None else entry["value"]
    return [value, *(entry.get("ci95") or (value, value))]


def own(name: str, views: Sequence[Results], view: Results) -> str:
    """A name that no other label has, for a figure of a view."""
    return f"{name}-{views.index(view) + 1}"


def _headed(views: Sequence[Results]) -> Iterator[tuple[Results, list[Block]]]:
    """Each view, with its heading where there are several."""
    for view in views:
        yield view, [Heading(heading(view))] if len(views) > 1 else []


# -- the table


def table(results: Results, views: Sequence[Results]) -> Section:
    """Every row by every metric, label by label, and what the model adds to each of them."""
    if not views:
        return Section("scores", "Scores", "Scores", [Text("No fold was tested: there are no scores.")])
    intro = (
        "Model: branches of one network, fused. Baselines see neither gaze nor body, but for the ridge regression on "
        "simple features of them. Ceilings are what people tell: they have seen ratings that no predictor may see. "
        f"In square brackets: 95 % bootstrap interval over {resampled(views[0])}, drawn anew together with the "
        "predictions as they are. Shaded: the model of all branches."
    )
    if any(view.of_kind("control") for view in views):
        intro += f" Controls are asked of the model of {branch_name(asked(results))}: see there."
    blocks: list[Block] = [Text(intro, small=True), *_ladder(views)]
    for view, head in _headed(views):
        blocks += [*head, *scores.blocks(view, METRICS, None, "trial", label=f"Scores of {label_of(view)}")]
        blocks += _gains(view)
    where = "What every row said of every trial is in predictions.parquet in the run folder."
    return Section("scores", "Every row beside every other", "Scores", [*blocks, Text(where)])


def _ladder(views: Sequence[Results]) -> list[Block]:
    """The model between what can be had without it and what people tell, in one figure."""
    first, model = views[0], model_of(views[0])
    blind = (first.metrics.get("without_gaze") or {}).get("rows") or []
    rows = [key for kind in ("baseline", "model", "ceiling") for key in first.of_kind(kind)]
    seeing = [key for key in rows if key not in blind and (first.predictors[key]["kind"] != "model" or key == model)]
    keys = [*(key for key in rows if key in blind), *seeing]
    drawn = [key for key in keys if any(view.entry(key, HEADLINE).get("value") is not None for view in views)]
    if not drawn:
        return []
    panels = [
        figures.Rows(label_of(view), np.array([bounds(view.entry(key, HEADLINE)) for key in drawn]),
                     {"chance": chance_of(view)})
        for view in views
    ]  # fmt: skip
    names = [first.label(key) for key in drawn]
    colours = [figures.BLIND if key in blind else figures.COLOURS[first.predictors[key]["kind"]] for key in drawn]
    said = "; ".join(
        f"{label_of(view)}: "
        + ", ".join(f"{view.label(key)} {number(view.entry(key, HEADLINE).get('value'), 2)}" for key in drawn)
        for view in views
    )
    caption = (
        "Macro recall with 95 % intervals. Grey: sees neither gaze nor body; blue: the model; black: simple features "
        "of gaze and body; green: ceilings. Whether gaze and body add something is told by the paired gains below, not "
        "by whether two intervals overlap."
    )
    png = figures.dots(names, colours, panels, METRICS[HEADLINE].head)
    return [Figure("ladder", png, f"Macro recall of the rows. {said}.", caption)]


def _gains(view: Results) -> list[Block]:
    """What the model has more than every other row, on the same resamples."""
    model, shown = model_of(view), [HEADLINE, second(view)]
    others = set(view.of_kind("control")) | {model}  # a control is compared with the model that it is of
    keys = [key for key in scores.ordered(view, METRICS, None) if key not in others]
    keys = [key for key in keys if view.gain(model, HEADLINE, key).get("value") is not None]
    if not keys:
        return []
    blind = view.metrics.get("without_gaze") or {}
    tests = (view.metrics.get("permutation") or {}).get("gain") or {}
    rows = []
    for key in keys:
        gains = [view.gain(model, metric, key) for metric in shown]
        cells = [Cell(number(one.get("value"), 3, True), interval(one.get("ci95"), 3, True)) for one in gains]
        sees = "no gaze, no body" if key in (blind.get("rows") or ()) else ""
        rows.append([view.label(key), sees, cells[0], p_alone((tests.get(key) or {}).get("p")), *cells[1:]])
    columns = [Column("the model over", NAME), Column("which sees", TEXT), Column(f"gain in {METRICS[shown[0]].name}")]
    columns += [Column("p"), Column(f"gain in {METRICS[shown[1]].name}")]
    shaded = [place for place, key in enumerate(keys) if key in (blind.get("best"), ADDITIVE)]
    words = (
        "The model minus each row, paired: an interval that holds 0 means that the two cannot be told apart. p: "
        "one-sided, by the permutation test. Shaded: the best row without gaze and body, which the verdict is about, "
        "and participant + picture."
    )
    table = Table(f"Gains in {label_of(view)}", columns, rows, shaded=shaded, style="compact")
    return [Heading("What the model adds"), Text(words, small=True), table]


# -- branches


def branches(results: Results, views: Sequence[Results]) -> Section | None:
    """Which branch contributes: every subset of them, and what is lost without each."""
    keys = [key for key in models(results) if any(key in view.rows for view in views)]
    told = results.manifest.get("branches") or {}
    left = [f"The {SEES.get(name, name)} is left out: {str(why).rstrip('.')}."
            for name, why in (told.get("left_out") or {}).items()]  # fmt: skip
    blocks: list[Block] = [Text(words) for words in left]
    if len(keys) > 1:
        blocks += [*_subsets(keys, views), *_without(keys, views)]
    elif keys:
        blocks.append(Text(f"One branch alone was fitted: {branch_name(keys[0])}. There is none to compare it with."))
    if not blocks:
        return None
    return Section("branches", "Which branch contributes", "Branches", blocks)


def _subsets(keys: Sequence[str], views: Sequence[Results]) -> list[Block]:
    panels = []
    for view in views:
        best = (view.metrics.get("without_gaze") or {}).get("best")
        lines = {"chance": chance_of(view)}
        for name, key in (("best without gaze and body", best), ("participant + picture", ADDITIVE)):
            value = view.entry(key, HEADLINE).get("value")
            if value is not None and not (key == best and name != "best without gaze and body"):
                lines[name] = value
        values = np.array([bounds(view.entry(key, HEADLINE)) for key in keys])
        panels.append(figures.Rows(label_of(view), values, lines))
    colours = [figures.COLOURS["model"]] * len(keys)
    png = figures.dots([branch_name(key) for key in keys], colours, panels, METRICS[HEADLINE].head)
    said = "; ".join(
        f"{panel.title}: "
        + ", ".join(f"{branch_name(k)} {number(v, 2)}" for k, v in zip(keys, panel.values[:, 0], strict=True))
        for panel in panels
    )
    meaning = "; ".join(f"{name}: {SEES[name]}" for name in SEES if any(name in key for key in keys))
    caption = f"Macro recall of every fitted subset of the branches, with 95 % intervals. {meaning[:1].upper()}"
    caption += f"{meaning[1:]}. Each subset is a network of its own, fitted in the same folds."
    return [Figure("branches", png, f"Macro recall by branches. {said}.", caption)]


def _without(keys: Sequence[str], views: Sequence[Results]) -> list[Block]:
    """What the model of all branches loses without each."""
    model = keys[-1]
    pairs = [(branch, "-".join(one for one in model.split("-") if one != branch)) for branch in model.split("-")]
    pairs = [(branch, rest) for branch, rest in pairs if rest in keys and model == model_of(views[0])]
    if not pairs:
        return []
    rows = []
    for branch, rest in pairs:
        gains = [view.gain(model, HEADLINE, rest) for view in views]
        alone = [view.entry(branch, HEADLINE) for view in views]
        cells: list[object] = [branch]
        for first, gain in zip(alone, gains, strict=True):
            cells.append(Cell(number(first.get("value")), interval(first.get("ci95"))))
            cells.append(Cell(number(gain.get("value"), 3, True), interval(gain.get("ci95"), 3, True)))
        rows.append(cells)
    heads = [Column(f"{label_of(view)}: {what}") for view in views for what in ("alone", "added to the others")]
    words = "Alone: macro recall. Added to the others: all branches minus all but this one, paired."
    return [Text(words, small=True), Table("What each branch adds", [Column("branch", ROW), *heads], rows)]


# -- levels


def levels(views: Sequence[Results]) -> Section | None:
    """Confusion, recall of each level, and how often levels are used."""
    blocks: list[Block] = []
    for view, head in _headed(views):
        matrix = np.array(view.metrics.get("confusion") or [], dtype=np.int64)
        if matrix.ndim == 2 and matrix.any():
            drawn = [_confusion(own("confusion", views, view), view, matrix), *_usage(own("usage", views, view), view)]
            blocks += [*head, FigureRow(drawn), _per_level(view, matrix)]
    if not blocks:
        return None
    words = (
        "Decided for: the level with the highest ratio of its probability to its share in training, as for macro "
        "recall. It uses rare levels more often than people do, on purpose; the most probable level uses them less."
    )
    return Section("levels", "Level by level", "Levels", [Text(words, small=True), *blocks])


def _confusion(name: str, view: Results, matrix: NDArray[np.int64]) -> Figure:
    hits = "; ".join(f"{level}: {matrix[i, i]} of {matrix[i].sum()}" for i, level in enumerate(view.classes))
    caption = (
        f"Confusion of {label_of(view)} over {counted(int(matrix.sum()), 'trial')}: share of the true level (%), and "
        "trials below."
    )
    png = figures.confusion(matrix, view.classes)
    return Figure(name, png, f"Confusion of {label_of(view)}; told right: {hits}.", caption)


def _usage(name: str, view: Results) -> list[Figure]:
    """How often people and the model use each level; nothing without predictions."""
    count, model = len(view.classes), model_of(view)
    true, even, _ = decided(view, model, even=True)
    if not true.size:
        return []
    _, probable, _ = decided(view, model, even=False)
    shares = {
        who: np.bincount(said, minlength=count) / said.size
        for who, said in (
            ("people", true),
            ("model, most probable level", probable),
            ("model, each level counting the same", even),
        )
    }
    said = "; ".join(
        f"{who}: " + ", ".join(f"{100 * share:.0f} %" for share in values) for who, values in shares.items()
    )
    caption = f"How often each level of {label_of(view)} is used: bars by people, lines by the model."
    return [Figure(name, figures.usage(shares, view.classes), f"Use of the levels. {said}.", caption)]


def _per_level(view: Results, matrix: NDArray[np.int64]) -> Table:
    said = matrix.sum(axis=0)
    rows: list[list[object]] = []
    for place, level in enumerate(view.classes):
        entry = view.entry(model_of(view), f"recall_{level}")
        trials = int(matrix[place].sum())
        recall = entry.get("value") if entry else (matrix[place, place] / trials if trials else None)
        right = matrix[place, place] / said[place] if said[place] else None
        rows.append([level, trials, int(said[place]), Cell(number(recall), interval(entry.get("ci95"))), number(right)])
    heads = ["trials", "decided for", "recall", "right where decided for"]
    return Table(f"Levels of {label_of(view)}", [Column("level", ROW), *map(Column, heads)], rows)


# -- calibration


def calibration(views: Sequence[Results]) -> Section | None:
    """How sure the model was against how often it was right."""
    drawn, words = [], []
    for view in views:
        rows = {"model": model_of(view)}
        rows |= {view.label(ADDITIVE): ADDITIVE} if ADDITIVE in view.rows else {}
        found = {name: filled(sure) for name, row in rows.items() if (sure := sure_of(view, row)) is not None}
        if not found:
            continue
        said = "; ".join(
            f"{name}: " + ", ".join(f"{x:.2f} → {y:.2f}" for x, y in zip(one.sure, one.right, strict=True))
            for name, one in found.items()
        )
        errors = [f"{name} {number(view.entry(rows[name], 'ece').get('value'), 3)}" for name in found]
        words.append(f"{label_of(view)}: {', '.join(errors)}")
        caption = (
            f"{label_of(view)}: how often the most probable level was right, by how probable it was said to be; below, "
            f"on how many trials. What was said on fewer than {FEWEST} trials is left out."
        )
        drawn.append(
            Figure(own("calibration", views, view), figures.reliability(found),
                   f"Reliability of {label_of(view)}, probability → share that was right. {said}.", caption)
        )  # fmt: skip
    if not drawn:
        return None
    told = (
        f"Expected calibration error (0 is best): {'; '.join(words)}. On the dotted line a probability can be "
        "believed: below it the model is surer than it should be. Probabilities are those of levels as frequent as "
        "in training."
    )
    return Section(
        "calibration", "Can its probabilities be believed?", "Calibration", [Text(told, small=True), FigureRow(drawn)]
    )


def sure_of(view: Results, row: str) -> figures.Sure | None:
    """The bins of a row that have trials; None where it says nothing."""
    true, said, there = decided(view, row, even=False)
    if not true.size:
        return None
    sure = probabilities(view, row)[there].max(axis=1)
    bins = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    some = count > 0
    sums = [np.bincount(bins, weights=values, minlength=BINS)[some] for values in (sure, (said == true).astype(float))]
    return figures.Sure(sums[0] / count[some], sums[1] / count[some], count[some])


def filled(of: figures.Sure) -> figures.Sure:
    """The bins that have `FEWEST` trials, or the fullest one."""
    some = of.trials >= min(FEWEST, of.trials.max())
    return figures.Sure(of.sure[some], of.right[some], of.trials[some])


# -- people and pictures


def spread(views: Sequence[Results]) -> Section | None:
    """How macro recall is spread over people and over pictures."""
    blocks: list[Block] = []
    for view, head in _headed(views):
        people = participants.tested(view)
        if people is None:
            continue
        blocks += [*head, *(_renamed(one, own("people", views, view)) for one in participants.section(view).blocks)]
        found = confusions(view, "stimulus")
        names = sorted(found)
        pictures = People(names, np.array([found[name]["confusion"] for name in names], dtype=np.int64))
        if len(names) > 1:
            blocks.append(_pictures(own("pictures", views, view), view, mean_recall(pictures.confusions)))
    if not blocks:
        return None
    words = (
        "Balanced accuracy is macro recall, here over the levels that a person used (a picture was given). Whoever "
        "used few levels scores easily: read how scores are spread, not who comes first."
    )
    return Section("spread", "Over people and pictures", "Spread", [Text(words, small=True), *blocks])


def _renamed(block: Block, name: str) -> Block:
    return block._replace(name=name) if isinstance(block, Figure) else block


def _pictures(name: str, view: Results, values: NDArray[np.float64]) -> Figure:
    chance = chance_of(view)
    low, middle, high = many.quartiles(values)
    png = many.spread(many.Spread(values, "macro recall", "picture", (0, 1), chance))
    told = f"median {middle:.2f}, quartiles {low:.2f} and {high:.2f}, chance {chance:.2f}"
    caption = f"Macro recall of {label_of(view)} on each picture, over the levels that it was given: {told}."
    return Figure(name, png, f"Macro recall of {label_of(view)} over {len(values)} pictures: {told}.", caption)
