# SPDX-License-Identifier: Apache-2.0
"""What metrics.json says of a label: every row's scores, what the model adds to them, and what each channel gives.

Only rows whose label is known are scored. Intervals draw people and pictures, independently, whatever was held out:
ratings of a person resemble each other, and so do those of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gazeray.gaze.labels import Target
from gazeray.learn.folds import HELD_OUT
from gazeray.metrics import statistics
from gazeray.metrics.bootstrap import Estimate, entry
from gazeray.metrics.classification import Floats, confusion
from gazeray.metrics.ordinal import balanced, ordinal_chance, score_ordinal, why_undefined
from gazeray.metrics.permutation import LEAST_UNITS, exchanges
from gazeray.report.results import HEADLINE
from gazeray.studies.emotion.predictors import BLIND, PRIOR, why_missing
from gazeray.studies.shared.classification import ScoresConfig, permutation_tests
from gazeray.study import Row
from gazeray.unit import Json

SIGHTLESS = (*BLIND, "picture")
"""The rows that know neither gaze nor body; the branch of the picture sees the stimulus alone."""

DROPS = ("balanced_accuracy", "qwk", "auroc")
"""In what the importance of a channel is measured, where the label has it."""


def score_label(
    predictions: pa.Table, label: Target, rows: Mapping[str, Row], model: str, cfg: ScoresConfig, seed: int,
    hold_out: str, asked: str = "",
) -> Json:  # fmt: skip
    """Everything that metrics.json says of one label.

    predictions: a row per tested trial with participant, stimulus, trial, fold, `<label>` (level or null),
    `<label>:prior` and `<label>:<row>`, lists of K probabilities, null where undefined. rows: those that are told; one
    without a column is left out, and so is a ceiling that these ratings do not have. model: the row whose gains,
    permutation tests and confusions are told. hold_out: see `gazeray.config.FoldsConfig`. asked: the row that the
    controls are of; each control has its gain over it.

    `levels`, `ordered`, `n`, `counts` (K,); `rows`, `metrics_shown` and `metrics` as of every study; `held_out`: what
    the intervals draw, and how many of it; `without_gaze`: the rows that know neither gaze nor body, and the best of
    them by balanced accuracy (chosen on the tested trials it is rather too good); `permutation`: of balanced accuracy,
    by p / prior; `confusion` of the model by that decision, rows true; `per_class`; `per_fold`. A row that is undefined
    for some trials is scored on the others, and so is the model's gain over it; where nothing is left it says why.
    Raises LookupError where the model has no column, ValueError where it has no scored row.
    """
    here, unseen = Tested.of(predictions, label, model), HELD_OUT[hold_out]
    everything = {name: here.scores(name) for name in rows if f"{label.name}:{name}" in predictions.column_names}
    gone = [name for name, own in everything.items() if rows[name].kind == "ceiling" and not np.isfinite(own).any()]
    everything = {name: own for name, own in everything.items() if name not in gone}
    of = {name: asked for name, row in rows.items() if row.kind == "control" and name != model}
    found = _rows(here, everything, model, of, cfg, seed, unseen)
    blind = [name for name in SIGHTLESS if name in found and name != model]
    chance = ordinal_chance(here.labels, label.classes, label.ordered)
    matrix = confusion(here.labels, here.decided(everything[model]), label.classes)[0].astype(int)
    beside = {name: own for name, own in found.items() if name == model or name in found[model][HEADLINE]["gain"]}
    return {
        "levels": list(label.classes),
        "ordered": label.ordered,
        "n": len(here.labels),
        "counts": matrix.sum(axis=1).tolist(),
        "rows": found,
        "metrics_shown": [name for name in found[model] if not name.startswith("recall_")],
        "metrics": statistics.summarise(here.labels, label.classes, beside, model, chance),
        "held_out": here.drawn(unseen).counts,
        "without_gaze": {"best": _best(found, blind), "rows": blind},
        "permutation": _permuted(here, everything, model, cfg, seed, unseen),
        "confusion": matrix.tolist(),
        "per_class": _per_class(matrix, label.classes, found[model]),
        "per_fold": _per_fold(here, everything[model]),
    }


def _rows(
    here: Tested, everything: Mapping[str, Floats], model: str, of: Mapping[str, str], cfg: ScoresConfig, seed: int,
    unseen: Sequence[str],
) -> dict[str, dict[str, Json]]:  # fmt: skip
    """{row: {metric: entry}}, in their order; rows that say nothing of some trials are scored on the others.

    of: row -> the row that its gain is told over, beside those of the model.
    """
    whole = {name: scores for name, scores in everything.items() if np.isfinite(scores).all()}
    estimates = here.estimates(whole, cfg, seed, unseen)
    found = statistics.rows(estimates, model, why_undefined)
    for name, other in ((name, other) for name, other in of.items() if name in whole and other in whole):
        for metric, estimate in estimates[name].items():
            found[name][metric]["gain"] = entry(estimate, {other: estimate.minus(estimates[other][metric])})["gain"]
    for own in found[model].values():
        own.setdefault("gain", {})
    for name in (name for name in everything if name not in whole):
        there = np.isfinite(everything[name][:, 0])
        why = why_missing(name, int(there.sum()), len(there))
        if not there.any():
            found[name] = {metric: {"value": None, "ci95": None, "n": 0, "why": why} for metric in found[model]}
            continue
        pair = {key: everything[key][there] for key in (model, name)}
        told = statistics.rows(here.part(there).estimates(pair, cfg, seed, unseen), model, why_undefined)
        found[name] = {metric: {"why": why, **own} for metric, own in told[name].items()}
        for metric, own in told[model].items():
            found[model][metric]["gain"][name] = own["gain"][name]
    return {name: found[name] for name in everything}


def _best(found: Mapping[str, Mapping[str, Json]], names: Sequence[str]) -> str | None:
    """The row with the highest balanced accuracy, the first of several; None where none has any."""
    values = {name: found[name][HEADLINE]["value"] for name in names}
    return max((name for name in names if values[name] is not None), key=lambda name: values[name], default=None)


def _permuted(
    here: Tested, everything: Mapping[str, Floats], model: str, cfg: ScoresConfig, seed: int, unseen: Sequence[str]
) -> Json:
    """The permutation tests of the rows that are defined throughout. Where trials were split at random, they change
    places within participants as in other splits: people and pictures are on both sides, and the first question stays
    whether predictions know more than whose a trial is."""
    scores = {name: balanced(p, here.prior) for name, p in everything.items() if np.isfinite(p).all()}
    people, stimuli, trials = (here.names(column) for column in ("participant", "stimulus", "trial"))
    beside = [] if here.label.ordered and len(here.label.classes) > 2 else ["auroc"]
    designs = exchanges(here.labels, people, stimuli, trials, unseen)
    return permutation_tests(here.labels, scores, model, here.folds, designs, here.label.classes, cfg, seed, beside)


def _per_class(matrix: np.ndarray, levels: Sequence[str], model: Mapping[str, Json]) -> Json:
    """{level: how many there are, how often it was said, and its recall}."""
    return {
        name: {"n": own, "predicted": said, "recall": model[f"recall_{name}"]["value"]}
        for name, own, said in zip(levels, matrix.sum(axis=1).tolist(), matrix.sum(axis=0).tolist(), strict=True)
    }


def _per_fold(here: Tested, scores: Floats) -> list[Json]:
    """The model's metrics in each fold."""
    found = []
    for fold in sorted(set(here.folds.tolist())):
        own = here.folds == fold
        found.append({"fold": fold, "n": int(own.sum()), "metrics": here.part(own).plain(scores[own])})
    return found


# -- what each channel gives


def importance(
    dropped: pa.Table, predictions: pa.Table, label: Target, model: str, cfg: ScoresConfig, seed: int, hold_out: str
) -> dict[str, dict[str, Json]]:
    """{control: {metric of `DROPS`: entry of the drop: the model's score less that under the control}}.

    dropped: control, repeat, label, participant, trial, fold, regime and scores (list of K probabilities) of all labels
    and folds. predictions: see `score_label`. Of several repeats (permutations) it is the mean, on each resample too.
    More than 0: the model used the channel, for better; it was fitted with the channel there, so that this is not what
    a model without it would lose.
    """
    here, unseen = Tested.of(predictions, label, model), HELD_OUT[hold_out]
    place = {key: number for number, key in enumerate(_keys(here.table))}
    own = dropped.filter(pc.equal(dropped.column("label"), label.name))
    at = np.array([place.get(key, -1) for key in _keys(own)])
    controls, repeats = (np.array(own.column(name).to_pylist()) for name in ("control", "repeat"))
    scores, whole = _lists(own, "scores", len(label.classes)), here.scores(model)
    ranked = not (label.ordered and len(label.classes) > 2)
    found = {}
    for control in dict.fromkeys(controls.tolist()):
        each = {}
        for repeat in sorted(set(repeats[controls == control].tolist())):
            some = (controls == control) & (repeats == repeat) & (at >= 0)
            each[str(repeat)] = np.full(whole.shape, np.nan)
            each[str(repeat)][at[some]] = scores[some]
        there = np.isfinite(np.concatenate(list(each.values()), axis=1)).all(axis=1)
        if there.any():
            part, both = here.part(there), {"": whole, **each}
            kept = {name: values[there] for name, values in both.items()}
            found[control] = _drops(part.estimates(kept, cfg, seed, unseen, ranked))
    return found


def _drops(estimates: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Json]:
    """{metric: entry} of the score of "" less the mean of the others'."""
    own, others = estimates[""], [theirs for name, theirs in estimates.items() if name]
    found = {}
    for metric in (name for name in DROPS if name in own):
        value = float(np.mean([theirs[metric].value for theirs in others]))
        replicates = np.mean([theirs[metric].replicates for theirs in others], axis=0)
        drop = own[metric].minus(Estimate(value, replicates, own[metric].n, own[metric].groups))
        found[metric] = entry(drop, why=why_undefined(metric) if np.isnan(drop.value) else "")
    return found


def _keys(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    names = ("fold", "participant", "trial", "regime")
    return zip(*(table.column(name).to_pylist() for name in names), strict=True)


# -- the tested rows of a label


@dataclass(frozen=True)
class Drawn:
    """What is resampled: the names of one kind or of two, (N,) each, and how many different ones there are."""

    groups: tuple[np.ndarray, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class Tested:
    """The tested rows (N,) of a label that are scored: the label is known, and the model says something of them."""

    table: pa.Table
    label: Target
    labels: np.ndarray
    prior: Floats

    @classmethod
    def of(cls, predictions: pa.Table, label: Target, model: str) -> Tested:
        """Raises LookupError where the model has no column, ValueError where no row is scored."""
        column = f"{label.name}:{model}"
        if column not in predictions.column_names:
            raise LookupError(f"no column {column} among the predictions")
        place = {name: number for number, name in enumerate(label.classes)}
        known = [place.get(name, -1) for name in predictions.column(label.name).to_pylist()]
        there = np.array(predictions.column(column).is_valid().to_pylist(), bool) & (np.array(known) >= 0)
        if not there.any():
            raise ValueError(f"{label.name}: no tested row has a label and scores of {model}")
        table = predictions.filter(pa.array(there))
        return cls(table, label, np.array(known)[there], _lists(table, f"{label.name}:{PRIOR}", len(label.classes)))

    def part(self, mask: np.ndarray) -> Tested:
        """Some of the rows (N,)."""
        return Tested(self.table.filter(pa.array(mask)), self.label, self.labels[mask], self.prior[mask])

    @property
    def folds(self) -> np.ndarray:
        """(N,) in which fold a row was tested."""
        return self.table.column("fold").to_numpy()

    def names(self, column: str) -> np.ndarray:
        """(N,) str."""
        return np.array(self.table.column(column).to_pylist(), np.str_)

    def scores(self, row: str) -> Floats:
        """(N, K) probabilities of a row, NaN where undefined."""
        return _lists(self.table, f"{self.label.name}:{row}", len(self.label.classes))

    def decided(self, scores: Floats) -> np.ndarray:
        """(N,) the level that is said where all count the same: argmax of p / prior."""
        return np.asarray(balanced(scores, self.prior).argmax(axis=1))

    def drawn(self, unseen: Sequence[str] = ()) -> Drawn:
        """People and pictures; of a kind of which there are fewer than `LEAST_UNITS` only where it was held out, or
        nothing else is left: so few say nothing of others, and the interval is of these."""
        kinds = {"participants": self.names("participant"), "stimuli": self.names("stimulus")}
        many = {name: len(set(theirs.tolist())) for name, theirs in kinds.items()}
        held = {"participants": "participant" in unseen, "stimuli": "stimulus" in unseen}
        kept = [name for name in kinds if many[name] >= LEAST_UNITS or held[name]] or ["participants"]
        return Drawn(tuple(kinds[name] for name in kept), {name: many[name] for name in kept})

    def measure(
        self, labels: Any, scores: Any, levels: Sequence[str], weights: Any = None, owner: Any = None,
        ranked: bool = True,
    ) -> dict[str, Floats]:  # fmt: skip
        """`score_ordinal` with the prior of these rows."""
        return score_ordinal(labels, scores, self.prior, levels, self.label.ordered, weights, owner, ranked)

    def plain(self, scores: Floats) -> dict[str, float | None]:
        """Each metric of the rows' scores (N, K), None where undefined."""
        found = self.measure(self.labels, scores, self.label.classes)
        return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in found.items()}

    def estimates(
        self, scores: Mapping[str, Floats], cfg: ScoresConfig, seed: int, unseen: Sequence[str], ranked: bool = True
    ) -> dict[str, dict[str, Estimate]]:
        """{predictor: {metric: estimate}} of scores (N, K), all on the same draws."""
        first, *second = self.drawn(unseen).groups
        of, crossed = partial(self.measure, ranked=ranked), second[0] if second else None
        return statistics.resampled(
            self.labels, scores, first, self.label.classes, cfg.resamples, seed, crossed, measure=of
        )


def _lists(table: pa.Table, column: str, count: int) -> Floats:
    """(N, K); NaN where there is none."""
    values = table.column(column).combine_chunks()
    found = np.full((len(values), count), np.nan)
    found[values.is_valid().to_numpy(zero_copy_only=False)] = values.flatten().to_numpy().reshape(-1, count)
    return found
