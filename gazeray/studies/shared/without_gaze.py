# SPDX-License-Identifier: Apache-2.0
"""What can be had without the eye tracker: predictors that never see gaze, and labels that need none.

They are fitted to everybody who is not tested, as the other baselines are, and meet the same test examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

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


def trial_order(participants: Iterable[str]) -> np.ndarray:
    """(N,) float from 1: which of its participant's trials each row is."""
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


def _keys(table: pa.Table) -> Iterable[tuple[str, str]]:
    return zip(table.column("participant").to_pylist(), table.column("trial").to_pylist(), strict=True)


@dataclass(frozen=True)
class Circumstances:
    """What is known of N examples beside their gaze. owners: stimulus and participant, (N,) names each.

    nuisance: (N, F) float, NaN where not known. labels: (N,) class indices.
    """

    owners: Mapping[str, np.ndarray]
    nuisance: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, labels: np.ndarray) -> Circumstances:
        """Those of the examples of a table as `with_nuisance` makes it."""
        owners = {name: np.array(table.column(name).to_pylist(), np.str_) for name in OWNERS.values()}
        columns = [table.column(name).to_numpy().astype(np.float64) for name in (ORDER, *NUISANCE.values())]
        return cls(owners, np.stack(columns, axis=1), labels)


def gazeless_scores(
    here: Circumstances, known: np.ndarray, sides: Sequence[Side], test: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """{row of `WITHOUT_GAZE`: class scores (N_test, K)}, classes weighing the same.

    Scores are NaN where a side holds out what a row goes by. known: rows that are not tested; all fits see these alone.
    sides: the test regimes, whose rows make up `test`.
    """
    scores = {name: np.full((len(test), classes), np.nan) for name in WITHOUT_GAZE}
    for unseen in {side.unseen for side in sides}:
        rows = np.concatenate([side.rows for side in sides if side.unseen == unseen])
        at = np.isin(test, rows)
        asked, owners = test[at], [owner for owner in OWNERS.values() if owner not in unseen]
        for name, owner in OWNERS.items():
            if owner in owners:
                scores[name][at] = _own_scores(here, owner, known, asked, classes)
        scores["nuisance"][at] = _regression(here, [], known, asked, classes)
        scores["without_gaze"][at] = _regression(here, owners, known, asked, classes)
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
    here: Circumstances, owners: Sequence[str], known: np.ndarray, asked: np.ndarray, classes: int
) -> np.ndarray:
    """(N, K) of a logistic regression on the nuisance features and the log odds of the owners' classes."""
    features = [_filled(here.nuisance[known], here.nuisance[asked])]
    for owner in owners:
        features.append((_cross_fitted(here, owner, known, classes), _log_odds(here, owner, known, asked, classes)))
    left, right = (np.concatenate(parts, axis=1) for parts in zip(*features, strict=True))
    return logistic_regression_scores(left, here.labels[known], right, classes)


def _filled(known: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the means of the known for NaN, and a column for each feature that says where it was."""
    there = np.isfinite(known)
    means = np.where(there, known, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)

    def filled(values: np.ndarray) -> np.ndarray:
        gone = ~np.isfinite(values)
        return np.concatenate([np.where(gone, means, values), gone], axis=1)

    return filled(known), filled(asked)


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


# -- labels that need no gaze


def given_away(table: pa.Table, order: np.ndarray, labels: np.ndarray, classes: Sequence[str], label: str) -> list[str]:
    """Sentences on what gives the label of every trial away: its stimulus, or its place in the order of trials.

    table: a row per trial with participant and stimulus. order (N,): see `trial_order`, NaN where not known. Stimuli or
    places of which none is that of several people say nothing, and neither does a single one.
    """
    people = np.array(table.column("participant").to_pylist(), np.str_)
    owners = {
        "the stimulus": ("stimuli", np.array(table.column("stimulus").to_pylist(), np.str_)),
        "trial order": ("places in the order", order.astype(np.str_)),
    }
    found = []
    for what, (noun, names) in owners.items():
        shared, counts = _one_label(people, names, labels, len(classes))
        if shared:
            told = ", ".join(f"{name} {count}" for name, count in zip(classes, counts, strict=True))
            found.append(
                f"“{label}” is a function of {what}: whoever knows it needs no gaze ({noun} of each label: {told})."
            )
    return found


def _one_label(people: np.ndarray, names: np.ndarray, labels: np.ndarray, classes: int) -> tuple[bool, list[int]]:
    """Whether all rows of a name have one label, and several people's rows do; how many names have each label."""
    (own, whose), (everybody, who) = (np.unique(values, return_inverse=True) for values in (names, people))
    pairs = np.unique(whose * classes + labels)
    several = len(np.unique(whose * len(everybody) + who)) > len(own)
    return len(pairs) == len(own) > 1 and several, np.bincount(pairs % classes, minlength=classes).tolist()
