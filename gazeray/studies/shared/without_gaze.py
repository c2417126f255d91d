# SPDX-License-Identifier: Apache-2.0
"""What can be had without the eye tracker: predictors that never see gaze, and labels that need none.

They are fitted to everybody who is not tested, as the other baselines are, and meet the same test examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gazeray.gaze.declaration import NUISANCE_COLUMN, WORDS
from gazeray.studies.shared.classification import WITHOUT_GAZE, logistic_regression_scores
from gazeray.study import Side

SMOOTHING = 2.0
"""How many examples the overall class shares count for beside those of a stimulus, or of a participant."""

PARTS = 5
"""Into how many parts the known examples are dealt, so that none tells its own label to the regression."""

OWNERS = {"stimulus_only": "stimulus", "participant_only": "participant"}
"""Whose labels a row of `WITHOUT_GAZE` goes by."""

NUISANCE = {"duration_ms": "nuisance_duration_ms", "sampling_hz": "nuisance_rate_hz", "lost_share": "nuisance_lost"}
"""Columns of the quality table -> those of the examples."""

ORDER = "nuisance_order"
"""The place of an example's trial among those of its participant, from 1, in the order of the trials table."""

NEARLY = 0.9
"""The share of the trials of which a label's near function has to be right."""


def trial_order(participants: Iterable[str]) -> np.ndarray:
    """(N,) float from 1: which of its participant's trials each row is, of a row for every trial."""
    seen: dict[str, int] = {}
    places = []
    for name in participants:
        seen[name] = seen.get(name, 0) + 1
        places.append(seen[name])
    return np.array(places, np.float64)


def with_nuisance(examples: pa.Table, order: np.ndarray, quality: pa.Table | None) -> pa.Table:
    """The examples (N rows) with the columns of `NUISANCE` and their order (N,); null where they are not known.

    quality: a row for every example's participant and trial, see `gazeray.tables.QUALITY`; None: not known.
    """
    examples = examples.append_column(ORDER, pa.array(order, pa.float64(), from_pandas=True))
    place: dict[tuple[str, str], int] = {}
    if quality is not None:
        place = {key: number for number, key in enumerate(_keys(quality))}
    for name, column in NUISANCE.items():
        values = [] if quality is None else quality.column(name).to_pylist()
        own = [values[place[key]] if key in place else None for key in _keys(examples)]
        examples = examples.append_column(column, pa.array(own, pa.float64(), from_pandas=True))
    return examples


def with_trials(
    examples: pa.Table, trials: pa.Table, beside: pa.Table, order: np.ndarray, quality: pa.Table | None
) -> pa.Table:
    """The examples with the columns of their trials and what is known beside gaze, in the order of the examples.

    trials: a row per trial; beside (the same rows): see `further_columns`; order (N,): see `trial_order`. quality: as
    in `with_nuisance`.
    """
    position = {key: number for number, key in enumerate(_keys(trials))}
    rows = [position[key] for key in _keys(examples)]
    table = with_nuisance(trials.take(rows), order[rows], quality)
    for name in beside.column_names:
        table = table.append_column(name, beside.column(name).take(rows))
    return table


def _keys(table: pa.Table) -> Iterable[tuple[str, str]]:
    return zip(table.column("participant").to_pylist(), table.column("trial").to_pylist(), strict=True)


def further_columns(table: pa.Table) -> list[str]:
    """The columns of a table of examples that the declaration asks for: `WORDS`, and those of `nuisance`."""
    return [name for name in table.column_names if name == WORDS or name.startswith(NUISANCE_COLUMN)]


@dataclass(frozen=True)
class Known:
    """Features of N examples. values: (N, F) float, NaN where not known. marked: of which a further feature says where
    that is; the categories of one text are known together, and share it."""

    values: np.ndarray
    marked: Sequence[int]

    def __add__(self, other: Known) -> Known:
        marked = [*self.marked, *(self.values.shape[1] + place for place in other.marked)]
        return Known(np.concatenate([self.values, other.values], axis=1), marked)

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Known:
        """A number as it is, a text as one feature for each of its categories, 1 where it is that and else 0."""
        if not pa.types.is_string(column.type):
            return cls(column.to_numpy().astype(np.float64)[:, None], [0])
        cells = column.to_pylist()
        names = sorted({cell for cell in cells if cell is not None})
        rows = [[np.nan if cell is None else float(cell == name) for name in names] for cell in cells]
        return cls(np.array(rows, np.float64).reshape(len(cells), len(names)), [0] if names else [])

    def filled(self, known: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The features of both rows, with the means of the known for NaN."""
        there = np.isfinite(self.values[known])
        means = np.where(there, self.values[known], 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)

        def filled(values: np.ndarray) -> np.ndarray:
            gone = ~np.isfinite(values)
            return np.concatenate([np.where(gone, means, values), gone[:, self.marked]], axis=1)

        return filled(self.values[known]), filled(self.values[asked])


@dataclass(frozen=True)
class Circumstances:
    """What is known of N examples beside their gaze. owners: stimulus and participant, (N,) names each.

    labels: (N,) class indices. speed: words per minute of the recording; None where no words are declared.
    """

    owners: Mapping[str, np.ndarray]
    nuisance: Known
    labels: np.ndarray
    speed: Known | None = None

    @classmethod
    def of(cls, table: pa.Table, labels: np.ndarray) -> Circumstances:
        """Those of the examples of a table as `with_nuisance` makes it, with its `further_columns`."""
        owners = {name: np.array(table.column(name).to_pylist(), np.str_) for name in OWNERS.values()}
        further = further_columns(table)
        columns = [ORDER, *NUISANCE.values(), *(name for name in further if name != WORDS)]
        first, *others = (Known.of(table.column(name)) for name in columns)
        speed = None
        if WORDS in further:
            words, ms = (table.column(name).to_numpy().astype(np.float64) for name in (WORDS, NUISANCE["duration_ms"]))
            minutes = np.where(ms > 0, ms, np.nan) / 60_000
            speed = Known((words / minutes)[:, None], [0])
        return cls(owners, sum(others, first), labels, speed)


def gazeless_scores(
    here: Circumstances, known: np.ndarray, sides: Sequence[Side], test: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """{row of `WITHOUT_GAZE`: class scores (N_test, K)}, classes weighing the same; reading speed where it is known.

    Scores are NaN where a side holds out what a row goes by. known: rows that are not tested; all fits see these alone.
    sides: the test regimes, whose rows make up `test`.
    """
    names = [name for name in WITHOUT_GAZE if name != "reading_speed" or here.speed is not None]
    scores = {name: np.full((len(test), classes), np.nan) for name in names}
    speed = [here.speed] if here.speed is not None else []
    for unseen in {side.unseen for side in sides}:
        rows = np.concatenate([side.rows for side in sides if side.unseen == unseen])
        at = np.isin(test, rows)
        asked, owners = test[at], [owner for owner in OWNERS.values() if owner not in unseen]
        for name, owner in OWNERS.items():
            if owner in owners:
                scores[name][at] = _own_scores(here, owner, known, asked, classes)
        if speed:
            scores["reading_speed"][at] = _regression(here, speed, [], known, asked, classes)
        scores["nuisance"][at] = _regression(here, [here.nuisance], [], known, asked, classes)
        scores["without_gaze"][at] = _regression(here, [here.nuisance, *speed], owners, known, asked, classes)
    return scores


def _own_scores(here: Circumstances, owner: str, known: np.ndarray, asked: np.ndarray, classes: int) -> np.ndarray:
    """(N, K): how much more frequent each class is with the owner than overall, summing to 1.

    An owner without known examples gives all classes that are known the same. Relative to the overall shares, since
    these alone would tell what is tested: a fold that is rich in a class leaves fewer of it to be known.
    """
    ratios = _ratios(here, owner, known, asked, _shares(here.labels[known], classes))
    return ratios / ratios.sum(axis=1, keepdims=True)


def _ratios(here: Circumstances, owner: str, known: np.ndarray, asked: np.ndarray, overall: np.ndarray) -> np.ndarray:
    """(N, K) smoothed class shares of the owners of the asked rows among the known rows, over the overall shares."""
    names, whose = np.unique(here.owners[owner], return_inverse=True)
    counts = np.zeros((len(names), len(overall)))
    np.add.at(counts, (whose[known], here.labels[known]), 1.0)
    shares = (counts + SMOOTHING * overall) / (counts.sum(axis=1, keepdims=True) + SMOOTHING)
    found = np.divide(shares, overall, out=np.zeros_like(shares), where=overall > 0)
    return np.asarray(found[whose[asked]])


def _shares(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(labels, minlength=classes) / len(labels)


def _regression(
    here: Circumstances, measured: Sequence[Known], owners: Sequence[str], known: np.ndarray, asked: np.ndarray,
    classes: int,
) -> np.ndarray:  # fmt: skip
    """(N, K) of a logistic regression on what was measured and the log odds of the owners' classes, where they tell."""
    features = [one.filled(known, asked) for one in measured]
    for owner in owners:
        others = _cross_fitted(here, owner, known, classes)
        if _tells(others, here.labels[known]):
            features.append((others, _log_odds(here, owner, known, asked, classes)))
    left, right = (np.concatenate(parts, axis=1) for parts in zip(*features, strict=True))
    return logistic_regression_scores(left, here.labels[known], right, classes)


def _log_odds(
    here: Circumstances, owner: str, known: np.ndarray, asked: np.ndarray, classes: int, of: np.ndarray | None = None
) -> np.ndarray:
    """(N, K_present - 1) log ratios against the first class of the known rows; `of`: whose overall shares count."""
    overall = _shares(here.labels[known if of is None else of], classes)
    logs = np.log(_ratios(here, owner, known, asked, overall)[:, overall > 0])
    return np.asarray(logs[:, 1:] - logs[:, :1])


def _cross_fitted(here: Circumstances, owner: str, known: np.ndarray, classes: int) -> np.ndarray:
    """(N_known, K_present - 1) log odds of each known row from the other parts: of other people, or other stimuli.

    From all of the known rows they would hold the row's own label, and the regression would trust them too much.
    """
    (other,) = set(OWNERS.values()) - {owner}
    names, whose = np.unique(here.owners[other][known], return_inverse=True)
    part = (np.random.default_rng(0).permutation(len(names)) % PARTS)[whose]
    found = np.zeros((len(known), int(np.count_nonzero(_shares(here.labels[known], classes))) - 1))
    for number in np.unique(part):
        own = part == number
        found[own] = _log_odds(here, owner, known[~own], known[own], classes, of=known)
    return found


def _tells(others: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the log ratios (N, K_present - 1) of what others had are higher for a row's own class, classes counting
    the same: does the label resemble that of others?

    In a counterbalanced design it does the opposite: everybody has as many of each class, so that the labels that are
    known leave over those that are tested. A regression would subtract, and be right with one participant per fold in
    nearly all trials. That tells how the experiment was planned, and nothing of what could be had without gaze.
    """
    present, own = np.unique(labels, return_inverse=True)
    ratios = np.concatenate([np.zeros((len(labels), 1)), others], axis=1)
    higher = ratios[np.arange(len(labels)), own] - ratios.mean(axis=1)
    return float(np.mean([higher[own == place].mean() for place in range(len(present))])) > 0


# -- labels that need no gaze


def given_away(
    table: pa.Table, order: np.ndarray, labels: np.ndarray, classes: Sequence[str], label: str,
    beside: pa.Table | None = None,
) -> list[str]:  # fmt: skip
    """Sentences on what gives the label of every trial away, or of nearly every one: its stimulus, its place in the
    order of trials, or a column of `nuisance`.

    table: a row per trial with participant and stimulus. order (N,): see `trial_order`, NaN where not known. beside:
    the declared columns of the same rows, see `further_columns`; not to be known is a value, too. Stimuli, places or
    values of which fewer than half of the trials share theirs with other people say nothing, and neither do those that
    share one label only.
    """
    people = np.array(table.column("participant").to_pylist(), np.str_)
    owners = {
        "the stimulus": ("stimuli", np.array(table.column("stimulus").to_pylist(), np.str_)),
        "trial order": ("places in the order", order.astype(np.str_)),
    }
    for name, cells in ({} if beside is None else beside.to_pydict()).items():
        if name != WORDS:
            owners[f"“{name.removeprefix(NUISANCE_COLUMN)}”"] = ("values", np.array([*map(str, cells)], np.str_))
    found = []
    for what, (noun, names) in owners.items():
        exactly, counts = _one_label(people, names, labels, len(classes))
        nearly = _nearly(people, names, labels, len(classes))
        if exactly:
            told = ", ".join(f"{name} {count}" for name, count in zip(classes, counts, strict=True))
            found.append(
                f"“{label}” is a function of {what}: whoever knows it needs no gaze ({noun} of each label: {told})."
            )
        elif nearly is not None:
            right, majority = (f"{min(99.0, 100 * share):.0f} %" for share in nearly)  # in all it is a function
            found.append(
                f"“{label}” is all but a function of {what}: it is right in {right} of trials, the majority class in "
                f"{majority}."
            )
    return found


def _one_label(people: np.ndarray, names: np.ndarray, labels: np.ndarray, classes: int) -> tuple[bool, list[int]]:
    """Whether all rows of a name have one label, and half of the rows or more, of several labels, are of names that
    several people have (of few it is so by chance); how many names have each label."""
    (own, whose), (everybody, who) = (np.unique(values, return_inverse=True) for values in (names, people))
    pairs = np.unique(whose * classes + labels)
    theirs = np.unique(whose * len(everybody) + who) // len(everybody)
    shared = (np.bincount(theirs, minlength=len(own)) > 1)[whose]
    several = shared.mean() >= 0.5 and len(np.unique(labels[shared])) > 1
    return len(pairs) == len(own) and several, np.bincount(pairs % classes, minlength=classes).tolist()


def _nearly(people: np.ndarray, names: np.ndarray, labels: np.ndarray, classes: int) -> tuple[float, float] | None:
    """In which share of all rows the label that other people have most often at the same name is right, and the share
    of the majority class; None unless the first is at least `NEARLY` and exceeds the second by half of what is left.

    Other people's, since the row's own would be among the most frequent by chance; of several that are as frequent each
    is right in part, and rows of names that nobody else has are wrong. Such labels of nothing are right as often as the
    majority class at most, which is `NEARLY` too where a label is uneven: hence the second condition.
    """
    (own, whose), (everybody, who) = (np.unique(values, return_inverse=True) for values in (names, people))
    counts = np.zeros((len(own), classes))
    np.add.at(counts, (whose, labels), 1.0)
    pairs, pair = np.unique(whose * len(everybody) + who, return_inverse=True)
    theirs = np.zeros((len(pairs), classes))
    np.add.at(theirs, (pair, labels), 1.0)
    others = counts[whose] - theirs[pair]
    most = (others == others.max(axis=1, keepdims=True)) & (others > 0)
    right = float(np.mean(most[np.arange(len(labels)), labels] / np.maximum(most.sum(axis=1), 1)))
    majority = float(np.bincount(labels).max() / len(labels))
    return (right, majority) if right >= max(NEARLY, (1 + majority) / 2) else None
