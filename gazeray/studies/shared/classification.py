# SPDX-License-Identifier: Apache-2.0
"""What every study that tells classes apart has in common: baselines under the same folds, and the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from gazeray.config import JobConfig, Section
from gazeray.learn.balance import balanced_weights
from gazeray.learn.folds import inner_seed, inner_splits
from gazeray.metrics.classification import score_all
from gazeray.metrics.permutation import ONE, Exchange, exchanges, permutation_test
from gazeray.metrics.statistics import participant_confusions, resampled, rows, summarise
from gazeray.report.results import HEADLINE, MODEL
from gazeray.study import Fold, Row
from gazeray.tables import DataError

WITHOUT_GAZE = {
    "stimulus_only": Row("stimulus alone", "baseline"),
    "participant_only": Row("participant alone", "baseline"),
    "reading_speed": Row("reading speed", "baseline"),
    "nuisance": Row("order, duration, rate, loss", "baseline"),
    "without_gaze": Row("all without gaze together", "baseline"),
}
"""The rows that never see gaze, see `gazeray.studies.shared.without_gaze`."""

BASELINES = {
    "logistic_regression": Row("logistic regression", "baseline"),
    "majority": Row("majority class", "baseline"),
    **WITHOUT_GAZE,
}
"""The rows beside any model, see `gazeray.studies.shared.baselines`; the columns of their scores have their names."""

MODELS = {MODEL: "scores"}
"""The model's row -> the column of predictions.parquet in which its scores are."""

PREDICTIONS = "predictions.parquet"
"""Of a unit and of the run: a row per tested example."""

PLURAL = {one: several for several, one in ONE.items()}
"""What was held out, in words, by the column of its names."""


class ScoresConfig(Section):
    """How sure the numbers are."""

    resamples: int = Field(2000, ge=100, description="bootstrap resamples of what was held out")
    permutations: int = Field(1000, ge=99, description="shuffles of the labels")


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(K,) weights with which each class counts the same whatever its size in `labels` (N,), see `balanced_weights`."""
    return balanced_weights(np.bincount(labels, minlength=classes))


def balanced_accuracy(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean over the classes among the labels (N,) of the share that the highest of the scores (N, K) finds."""
    hits = scores.argmax(axis=1) == labels
    return float(np.mean([float(hits[labels == c].mean()) for c in np.unique(labels)]))


def check_classes(
    folds: Sequence[Fold], table: pa.Table, labels: np.ndarray, classes: Sequence[str], label: str, cfg: JobConfig
) -> None:
    """Raises DataError when a class is nowhere, or not among the training rows of a fold or of an inner fold.

    table, labels: as in `gazeray.learn.folds.make_folds`.
    """
    missing = [name for c, name in enumerate(classes) if not np.any(labels == c)]
    if missing:
        raise DataError([f"no usable trial of class {name}; {label} cannot be learned" for name in missing])
    unit = {"stimuli": "stimuli", "neither": "trials"}.get(cfg.folds.hold_out, "participants")
    for fold in folds:
        parts = {f"fold {fold.fold}": fold.train}
        if cfg.search is not None:
            try:
                inner = inner_splits(fold.known, table, labels, cfg.folds, inner_seed(cfg.run.seed, fold))
            except ValueError as error:
                raise DataError([f"fold {fold.fold}: {error}; lower folds.inner"]) from error
            for number, (train, validation) in enumerate(inner):
                if not len(validation):
                    raise DataError([f"fold {fold.fold}, inner fold {number}: no example to validate on"])
                parts[f"fold {fold.fold}, inner fold {number}"] = train
        for name, train in parts.items():
            absent = [text for c, text in enumerate(classes) if c not in set(labels[train])]
            if absent:
                raise DataError([f"{name}: no training example has class {', '.join(absent)}; it takes more {unit}"])


def logistic_regression_scores(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, penalty: float = 1.0, balanced: bool = True
) -> np.ndarray:
    """Class probabilities (N_test, K) of a ridge-penalised logistic regression on standardised features.

    train (N, F) and labels (N,) fit both the scaler and the regression; test (N_test, F) is only predicted. Classes
    weigh the same where `balanced`, else examples do. A class that is absent from `labels` gets probability 0.
    """
    # Here, since every worker that only reads recordings would pay two seconds for the import.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    weight = "balanced" if balanced else None
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=1 / penalty, class_weight=weight, max_iter=5000, tol=1e-6)
    )
    scores = np.zeros((len(test), classes))
    present = np.unique(labels)
    if len(present) == 1:
        scores[:, present[0]] = 1.0
        return scores
    model.fit(train.astype(np.float64), labels)
    scores[:, present] = model.predict_proba(test.astype(np.float64))
    return scores


def softmax(logits: np.ndarray) -> np.ndarray:
    """Class probabilities (N, K) float64 of logits (N, K)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def predictions_table(
    ids: pa.Table, classes: Sequence[str], labels: np.ndarray, scores: dict[str, np.ndarray]
) -> pa.Table:
    """One row per test example: its ids, label, predicted class, and the scores of the model and of the baselines.

    ids: the columns that come first. labels (N,). scores: {"scores": the model's (N, K), baseline: (N, K)}, see
    `with_scores`.
    """
    names = np.asarray(classes)
    table = ids.append_column("label", pa.array(names[labels].tolist()))
    table = table.append_column("predicted", pa.array(names[scores["scores"].argmax(axis=1)].tolist()))
    return with_scores(table, scores)


def with_scores(table: pa.Table, scores: Mapping[str, np.ndarray]) -> pa.Table:
    """The table (N rows) with a column of each name, its class scores (N, K); rows of NaN are null: undefined there."""
    for name, values in scores.items():
        lists = [None if np.isnan(row[0]) else row.tolist() for row in values]
        table = table.append_column(name, pa.array(lists, pa.list_(pa.float64())))
    return table


def with_regimes(table: pa.Table, fold: Fold, test: np.ndarray) -> pa.Table:
    """The table, a row for each of the tested rows (N,) of a fold, with the number of the fold and the test regime."""
    regimes = {int(row): side.name for side in fold.tests for row in side.rows}
    table = table.append_column("fold", pa.array([fold.fold] * len(test), pa.int32()))
    return table.append_column("regime", pa.array([regimes[row] for row in test.tolist()], pa.string()))


def fold_scores(labels: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    """The metrics of one fold; None where undefined."""
    values = score_all(labels, scores, classes)
    return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in values.items()}


def fold_scores_of(predictions: pa.Table, classes: Sequence[str]) -> dict[int, dict[str, float | None]]:
    """{fold: its metrics} of out-of-fold predictions."""
    folds = predictions.column("fold").to_numpy()
    labels, scores = _labels(predictions, classes), _scores(predictions, "scores", len(classes))
    return {int(fold): fold_scores(labels[folds == fold], scores[folds == fold], classes) for fold in np.unique(folds)}


def _labels(predictions: pa.Table, classes: Sequence[str]) -> np.ndarray:
    lookup = {name: number for number, name in enumerate(classes)}
    return np.array([lookup[name] for name in predictions.column("label").to_pylist()])


def score_predictions(
    predictions: pa.Table,
    classes: Sequence[str],
    cfg: ScoresConfig,
    seed: int,
    unseen: Sequence[str] = ("participant",),
    models: Mapping[str, str] = MODELS,
) -> dict[str, Any]:
    """Everything metrics.json says about out-of-fold predictions: rows, metrics, permutation tests, confusions.

    predictions: as `predictions_table` makes it, with the columns participant, stimulus, trial and fold, and with those
    of `BASELINES` that there are. models: key of each model's row -> its column of scores; the gains, the tests and
    the confusions are the first one's. unseen: which of participant and stimulus were held out, one or both; the
    intervals draw these. Where the label is the participant's and all tests are of participants that nothing was
    fitted to, `per_person` has the rows of whole participants.
    `without_gaze` has the rows that never see gaze, the majority class among them, and the best of those by the metric
    of the permutation test: the gain of the model over it is what the gaze adds. Chosen on the test examples it is
    rather too good. Runs of before had no such rows. `permutation` is of balanced accuracy, its `auroc` of that.
    """
    model = next(iter(models))
    labels = _labels(predictions, classes)
    people, stimuli, trials, folds = (_names(predictions, key) for key in ("participant", "stimulus", "trial", "fold"))
    held = [{"participant": people, "stimulus": stimuli}[column] for column in unseen]
    columns = {**models, **{name: name for name in BASELINES if name in predictions.column_names}}
    everything = {name: _scores(predictions, column, len(classes)) for name, column in columns.items()}
    undefined = {
        name: why for name in WITHOUT_GAZE if name in everything and (why := _undefined(name, everything[name]))
    }
    scores = {name: theirs for name, theirs in everything.items() if name not in undefined}
    found = rows(resampled(labels, scores, held[0], classes, cfg.resamples, seed, *held[1:]), model)
    designs = exchanges(labels, people, stimuli, trials, unseen)
    tested = permutation_tests(labels, scores, model, folds, designs, classes, cfg, seed)
    nothing = {
        name: {metric: {"value": None, "ci95": None, "n": 0, "why": why} for metric in found[model]}
        for name, why in undefined.items()
    }
    whole = designs[0].of_people and _strangers(unseen, everything)
    persons = _per_person(labels, scores, people, classes, cfg, seed, model) if whole else None
    blind = [name for name in ("majority", *WITHOUT_GAZE) if name in everything]
    best = max(blind, key=lambda name: found[name][tested["metric"]]["value"] or 0.0 if name in found else -1.0)
    return {
        "rows": {name: found.get(name) or nothing[name] for name in everything},
        "metrics_shown": list(found[model]),
        "metrics": summarise(labels, classes, found, model),
        "permutation": tested,
        **({"without_gaze": {"best": best, "rows": blind}} if len(blind) > 1 else {}),
        "held_out": {PLURAL[column]: len(set(theirs)) for column, theirs in zip(unseen, held, strict=True)},
        "participants": participant_confusions(labels, scores[model].argmax(axis=1), people, classes),
        **({} if persons is None else {"per_person": persons}),
    }


def _strangers(unseen: Sequence[str], scores: Mapping[str, np.ndarray]) -> bool:
    """Were all tests of participants that nothing was fitted to? Else `participant_only` knows some of them."""
    known = scores.get("participant_only")
    return "participant" in unseen and (known is None or not np.isfinite(known).any())


def permutation_tests(
    labels: np.ndarray, scores: Mapping[str, np.ndarray], model: str, folds: np.ndarray,
    designs: tuple[Exchange, Exchange | None], classes: Sequence[str], cfg: ScoresConfig, seed: int,
    beside: Sequence[str] = ("auroc",),
) -> dict[str, Any]:  # fmt: skip
    """The permutation test of the model's balanced accuracy and of its gains, by the first design; `further`: of its
    score by the second. Under the name of each metric of `beside` the first test of that."""
    over = {name: theirs for name, theirs in scores.items() if name != model}

    def test(exchange: Exchange, over: Mapping[str, np.ndarray], metric: str) -> dict[str, Any]:
        n = cfg.permutations
        return permutation_test(labels, scores[model], folds, exchange, classes, metric, n, seed, over)

    first, further = designs
    found = test(first, over, HEADLINE) | ({} if further is None else {"further": test(further, {}, HEADLINE)})
    return {**found, **{metric: test(first, over, metric) for metric in beside}}


def _per_person(
    labels: np.ndarray, scores: dict[str, np.ndarray], people: np.ndarray, classes: Sequence[str], cfg: ScoresConfig,
    seed: int, model: str,
) -> dict[str, Any]:  # fmt: skip
    """The rows where each participant is one example: the decision is by the mean of the scores of their trials."""
    names, first, whose = np.unique(people, return_index=True, return_inverse=True)
    trials = np.bincount(whose)[:, None]
    means = {}
    for name, theirs in scores.items():
        means[name] = np.zeros((len(names), len(classes)))
        np.add.at(means[name], whose, theirs)
        means[name] /= trials
    found = rows(resampled(labels[first], means, names, classes, cfg.resamples, seed), model)
    return {name: found[name] for name in means}


def _undefined(name: str, scores: np.ndarray) -> str:
    """Why a row that never sees gaze has no scores (N, K) for some examples; "" where it has."""
    gone = np.isnan(scores[:, 0])
    owner = {"stimulus_only": "stimuli", "participant_only": "participants"}.get(name, "they")
    return "" if not gone.any() else f"{owner} are held out" + ("" if gone.all() else " in some of the tests")


def _names(predictions: pa.Table, column: str) -> np.ndarray:
    return np.array(predictions.column(column).to_pylist(), dtype=np.str_)


def _scores(predictions: pa.Table, column: str, classes: int) -> np.ndarray:
    """(N, K); NaN where there are none."""
    nothing = [np.nan] * classes
    rows = [nothing if row is None else row for row in predictions.column(column).to_pylist()]
    return np.array(rows, dtype=np.float64)
