# SPDX-License-Identifier: Apache-2.0
"""The HTML report of a classification run, drawn from its run folder alone.

`write_report` reads the run folder (manifest, metrics, predictions, unit logs, maps, rejects, quality), draws
figures/*.png and writes report.html: one file that needs nothing else, and the same bytes for the same run folder.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from gazeray.report import example_figure, figures
from gazeray.report.results import Results, read_results
from gazeray.report.words import METRIC_NAMES, interval, metric_name, number, p_value, verdict
from gazeray.storage import Folder

EXAMPLES = 6
"""Correct and wrong examples in the gallery, each."""
CURVES = 20
REJECT_ROWS, REJECT_REASONS = 200, 30

QUALITY_NAMES = {
    "lost_share": "lost samples (%)",
    "outside_share": "gaze outside the window (%)",
    "sampling_hz": "sampling rate (Hz)",
    "n_samples": "samples per trial",
    "n_fixations": "fixations per trial",
    "duration_ms": "duration of a trial (ms)",
}
DRAWN_QUALITY = ("lost_share", "sampling_hz", "n_fixations", "duration_ms")


@dataclass(frozen=True)
class Picture:
    """A drawn picture with its words."""

    name: str
    png: bytes
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) from the PNG header."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height


def write_report(run: Folder) -> None:
    """Draw figures/*.png and report.html in the run folder, from what lies there.

    Raises FileNotFoundError when there is no manifest.json; everything else may be missing or empty and is then said
    to be so in the report. Raises ValueError when predictions name a class that the manifest does not.
    """
    results = read_results(run)
    correct, wrong = gallery(run, results)
    single = {
        picture.name: picture
        for picture in (roc_picture(results), confusion_picture(results), participants_picture(results),
                        curves_picture(results), quality_picture(results))
        if picture is not None
    }  # fmt: skip
    drawn = {f"figures/{picture.name}.png": picture.png for picture in [*single.values(), *correct, *wrong]}
    for path, png in drawn.items():
        run.write_bytes(path, png)
    for old in run.list("figures"):
        if old.path.endswith(".png") and old.path not in drawn:
            run.delete(old.path)
    run.write_text("report.html", render(results, single, correct, wrong))


# -- tables


def fold_rows(results: Results) -> list[dict[str, Any]]:
    """One row per planned fold: who was where, what its unit says, its scores (empty when it failed)."""
    scores = {fold["fold"]: fold.get("metrics") or {} for fold in results.metrics.get("folds", [])}
    rows = []
    for fold in results.manifest.get("folds", []):
        unit = results.units.get(f"fold-{fold['fold']}", {"status": "not run"})
        rows.append({**fold, "unit": unit, "n": unit.get("n") or {}, "metrics": scores.get(fold["fold"], {})})
    return rows


def reject_counts(rejects: pa.Table) -> list[dict[str, Any]]:
    """How many rows were rejected per stage and reason, most first."""
    if not rejects.num_rows:
        return []
    counts = rejects.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return sorted(counts, key=lambda row: (-row["count_all"], row["stage"] or "", row["reason"] or ""))


def quality_columns(quality: pa.Table) -> dict[str, NDArray[np.float64]]:
    """The numbers of the quality table, (N,) float64 with NaN for unknown; shares in %."""
    columns = {}
    for name in QUALITY_NAMES:
        if quality.num_rows and name in quality.column_names:
            values = pc.cast(quality[name], pa.float64()).to_numpy()
            columns[name] = values * 100 if name.endswith("_share") else values
    return columns


def quality_rows(quality: pa.Table) -> list[list[str]]:
    """Per column of the quality table: name, trials measured, minimum, 5th percentile, median, 95th, maximum."""
    rows = []
    for name, values in quality_columns(quality).items():
        finite = values[np.isfinite(values)]
        spread = np.percentile(finite, [0, 5, 50, 95, 100]) if finite.size else [None] * 5
        digits = 0 if name in ("n_samples", "n_fixations", "duration_ms") else 1
        rows.append([QUALITY_NAMES[name], str(finite.size), *(number(value, digits) for value in spread)])
    return rows


# -- pictures


def class_indices(values: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Class names as indices (N,). Raises ValueError naming those that are no class."""
    lookup = {name: index for index, name in enumerate(classes)}
    unknown = sorted({str(value) for value in values if value not in lookup})
    if unknown:
        raise ValueError(f"predictions.parquet: label {', '.join(unknown)} is none of the classes {', '.join(classes)}")
    return np.array([lookup[value] for value in values], dtype=np.int64)


def _scores(column: pa.ChunkedArray, classes: int) -> NDArray[np.float64]:
    """A list column as (N, K); a missing or wrongly long list becomes NaN."""
    absent = [math.nan] * classes
    rows = [row if row is not None and len(row) == classes else absent for row in column.to_pylist()]
    return np.array(rows, dtype=np.float64).reshape(len(rows), classes)


def roc_picture(results: Results) -> Picture | None:
    """ROC of the model and of logistic regression; None without predictions."""
    table, classes = results.predictions, results.classes
    if not table.num_rows:
        return None
    labels = class_indices(table["label"].to_pylist(), classes)
    columns = {"model": "scores", "logistic_regression": "logistic_regression"}
    present = {name: column for name, column in columns.items() if column in table.column_names}
    scores = {name: _scores(table[column], len(classes)) for name, column in present.items()}
    png = figures.roc(labels, scores, classes)
    areas = results.metrics.get("metrics", {}).get("auroc") or {}
    simple = (areas.get("baselines") or {}).get("logistic_regression")
    alt = f"ROC curves. Area: model {number(areas.get('value'))}, logistic regression {number(simple)}, chance 0.5."
    positive = f"“{classes[-1]}” counts as positive" if len(classes) == 2 else "each class against the rest"
    caption = f"ROC over the {table.num_rows} test trials of all folds together; {positive}. Axes: rates from 0 to 1."
    return Picture("roc", png, alt, caption)


def _confusions(results: Results) -> dict[str, NDArray[np.int64]]:
    people = results.metrics.get("participants") or {}
    matrices = {name: np.array(people[name]["confusion"], dtype=np.int64) for name in sorted(people)}
    return {name: matrix for name, matrix in matrices.items() if matrix.sum()}


def confusion_picture(results: Results) -> Picture | None:
    """The confusion matrix over all participants; None when nobody was tested."""
    matrices, classes = _confusions(results), results.classes
    if not matrices:
        return None
    pooled = np.sum(list(matrices.values()), axis=0)
    hits = "; ".join(f"{name}: {pooled[i, i]} of {pooled[i].sum()} correct" for i, name in enumerate(classes))
    caption = f"Confusion over {pooled.sum()} test trials: number of trials, and share of the true class (%)."
    return Picture("confusion", figures.confusion(pooled, classes), f"Confusion matrix. {hits}.", caption)


def participants_picture(results: Results) -> Picture | None:
    """Balanced accuracy per participant; None when nobody was tested."""
    matrices, classes = _confusions(results), results.classes
    if not matrices:
        return None
    trials = np.array([matrix.sum() for matrix in matrices.values()])
    present = np.array([matrix.sum(axis=1) > 0 for matrix in matrices.values()])
    recalls = np.array([np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1) for matrix in matrices.values()])
    values = (recalls * present).sum(axis=1) / present.sum(axis=1)
    one_class = present.sum(axis=1) == 1
    png = figures.participants(list(matrices), values, trials, one_class, 1 / len(classes), "balanced accuracy")
    alt = (
        f"Balanced accuracy of {len(values)} participants: lowest {values.min():.2f}, median {np.median(values):.2f}, "
        f"highest {values.max():.2f}, chance {1 / len(classes):.2f}."
    )
    caption = "Balanced accuracy (0 to 1) of each participant, best first; number of test trials in brackets."
    if one_class.any():
        caption += f" Pale: {one_class.sum()} with trials of one class only, where it is the recall of that class."
    return Picture("participants", png, alt, caption)


def _curve(unit: str, rows: Sequence[Mapping[str, Any]], best_epoch: int | None) -> figures.Curve:
    names = ("epoch", "train_loss", "validation_loss", "validation_balanced_accuracy")
    columns = {name: [math.nan if row.get(name) is None else row[name] for row in rows] for name in names}
    arrays = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    return figures.Curve(unit.replace("-", " "), best_epoch, **arrays)


def curves_picture(results: Results) -> Picture | None:
    """Learning curves of the folds; None when no fit logged an epoch."""

    logged = [name for name, rows in results.epochs.items() if rows]
    curves = [_curve(name, results.epochs[name], results.units[name].get("best_epoch")) for name in logged[:CURVES]]
    if not curves:
        return None
    best = [f"{curve.name}: epoch {curve.best_epoch} of {len(curve.epoch)}" for curve in curves]
    caption = "Loss (cross-entropy, nats) and balanced accuracy (0 to 1) per epoch, one pair of panels per fold."
    if len(logged) > CURVES:
        caption += f" The first {CURVES} of {len(logged)} folds; the others are in units/."
    return Picture("learning_curves", figures.learning_curves(curves), f"Learning curves. {'; '.join(best)}.", caption)


def quality_picture(results: Results) -> Picture | None:
    """Histograms of the quality table; None when it is empty."""
    columns = quality_columns(results.quality)
    drawn = {QUALITY_NAMES[name]: columns[name] for name in DRAWN_QUALITY if name in columns}
    if not drawn:
        return None
    alt = "Histograms over trials: " + ", ".join(drawn) + ". The table below gives the figures."
    caption = f"Quality of the {results.quality.num_rows} trials that were read. Dashed: median."
    return Picture("quality", figures.histograms(drawn), alt, caption)


# -- gallery


def choose_examples(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """At most `count` of `rows`, spread over labels and then participants; ties go by a hash of the ids.

    The choice depends on participant, trial and label only: not on the order of the rows, nor on any score.
    """
    left = sorted(rows, key=lambda row: hashlib.sha256(f"{row['participant']}\0{row['trial']}".encode()).hexdigest())
    labels: Counter[Any] = Counter()
    people: Counter[Any] = Counter()
    chosen: list[Mapping[str, Any]] = []
    while left and len(chosen) < count:
        row = min(left, key=lambda item: (labels[item["label"]], people[item["participant"]]))
        left.remove(row)
        labels[row["label"]] += 1
        people[row["participant"]] += 1
        chosen.append(row)
    return chosen


def gallery(run: Folder, results: Results) -> tuple[list[Picture], list[Picture]]:
    """Pictures of correct and of wrong examples."""
    score = {}
    if results.predictions.num_rows:
        keys = zip(*(results.predictions[name].to_pylist() for name in ("participant", "trial", "scores")), strict=True)
        score = {(participant, trial): scores for participant, trial, scores in keys}
    pictures: list[list[Picture]] = []
    for kind in ("correct", "wrong"):
        rows = [row for row in results.maps if (row["label"] == row["predicted"]) == (kind == "correct")]
        chosen = enumerate(choose_examples(rows, EXAMPLES), start=1)
        keyed = [(f"example_{kind}_{index}", row, (row["participant"], row["trial"])) for index, row in chosen]
        pictures.append([example_picture(run, results.classes, name, row, score.get(key)) for name, row, key in keyed])
    return pictures[0], pictures[1]


def example_picture(
    run: Folder, classes: Sequence[str], name: str, row: Mapping[str, Any], scores: Sequence[float] | None
) -> Picture:
    """One example: its heatmap beside the gradient of the predicted class, and of the true class where they differ."""
    label, predicted = class_indices([row["label"], row["predicted"]], classes)
    with np.load(io.BytesIO(run.read_bytes(row["path"])), allow_pickle=False) as stored:
        gradients = {"predicted": (classes[predicted], stored["gradient_predicted"])}
        if label != predicted:
            gradients["true"] = (classes[label], stored["gradient_true"])
        png = example_figure.example(stored["heatmap"], gradients, (row["window_width_px"], row["window_height_px"]))
    sure = f" with score {number(scores[predicted], 2)}" if scores is not None else ""
    who = f"Participant {row['participant']}, trial {row['trial']}, stimulus {row['stimulus']}"
    caption = f"{who}: {classes[label]}, predicted {classes[predicted]}{sure} (fold {row['fold']})."
    return Picture(name, png, f"Heatmap and gradient. {caption}", caption)


# -- the page


def render(
    results: Results, pictures: Mapping[str, Picture], correct: Sequence[Picture], wrong: Sequence[Picture]
) -> str:
    """The page as HTML. Whatever comes from the data is escaped."""
    environment = Environment(
        loader=PackageLoader("gazeray.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, interval=interval, metric_name=metric_name, p_value=p_value)
    folds = fold_rows(results)
    tested = set(results.metrics.get("participants") or {})
    scored = results.metrics.get("metrics", {})
    counts = reject_counts(results.rejects)
    return environment.get_template("report.html.j2").render(
        manifest=results.manifest,
        classes=results.classes,
        verdict=verdict(results),
        failed=[unit for unit in results.units.values() if unit["status"] != "done"],
        untested=[name for fold in folds for name in fold["test"] if name not in tested],
        headline={key: scored[key] or {} for key in sorted(scored, key=_metric_order)},
        permutation=results.metrics.get("permutation") or {},
        folds=folds,
        fold_metrics=sorted({key for fold in folds for key in fold["metrics"]}, key=_metric_order),
        pictures=pictures,
        correct=correct,
        wrong=wrong,
        quality=quality_rows(results.quality),
        reject_counts=counts[:REJECT_REASONS],
        more_reasons=max(0, len(counts) - REJECT_REASONS),
        rejects=results.rejects.slice(0, REJECT_ROWS).to_pylist(),
        more_rejects=max(0, results.rejects.num_rows - REJECT_ROWS),
        config_yaml=yaml.safe_dump(results.manifest.get("config", {}), sort_keys=False, allow_unicode=True),
    )


def _metric_order(key: str) -> tuple[int, str]:
    names = list(METRIC_NAMES)
    return (names.index(key) if key in names else len(names), key)
