# SPDX-License-Identifier: Apache-2.0
"""How often data of nothing lead to a claim, and whether data of something do: a ridge regression under our own folds.

`python -m pytest -m nightly tests/metrics/test_null_claims.py -s` prints the rates.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from gazeray.config import FoldsConfig
from gazeray.learn.folds import HELD_OUT, make_folds
from gazeray.metrics.permutation import CLAIM, Claim, claim, exchanges, permutation_test
from gazeray.metrics.statistics import resampled

SETS = 250


class Design(NamedTuple):
    """A data set to simulate. whose: what the label belongs to. effect: of the label on one feature, in its sd."""

    whose: Literal["participant", "stimulus", "trial"]
    people: int
    stimuli: int
    hold_out: Literal["participants", "stimuli", "both"] = "participants"
    classes: int = 2
    features: int = 10
    effect: float = 0.0
    alike: float = 1.0  # sd of what a feature has in common in the trials of a participant, and of a stimulus


def simulated(design: Design, rng: np.random.Generator) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Participants and stimuli, labels (N,) and features (N, F): everybody saw every stimulus."""
    who, what = (values.ravel() for values in np.mgrid[: design.people, : design.stimuli])
    of = {"participant": (design.people, who), "stimulus": (design.stimuli, what), "trial": (len(who), None)}
    count, places = of[design.whose]
    if places is None:  # each participant has all classes
        dealt = np.tile(np.arange(design.stimuli) % design.classes, (design.people, 1))
        labels = rng.permuted(dealt, axis=1).ravel()
    else:
        labels = rng.permutation(np.arange(count) % design.classes)[places]
    features = rng.normal(size=(len(who), design.features))
    for size, owner in ((design.people, who), (design.stimuli, what)):
        features += design.alike * rng.normal(size=(size, design.features))[owner]
    features[:, 0] += design.effect * (labels == 0)
    names = {"participant": [f"p{number}" for number in who], "stimulus": [f"s{number}" for number in what]}
    return pa.table(names), labels, features


def ridge(known: np.ndarray, labels: np.ndarray, tested: np.ndarray, classes: int) -> np.ndarray:
    """(N_test, K) scores: least squares on the classes, which weigh the same, with a ridge penalty of 10."""
    mean, spread = known.mean(axis=0), known.std(axis=0)
    left, right = (np.column_stack([(x - mean) / spread, np.ones(len(x))]) for x in (known, tested))
    target, counts = np.eye(classes)[labels], np.bincount(labels, minlength=classes)
    weighed = left * (len(labels) / counts[labels])[:, None]
    penalty = 10.0 * classes * np.diag(np.append(np.ones(left.shape[1] - 1), 1e-9))
    return np.asarray(right @ np.linalg.solve(weighed.T @ left + penalty, weighed.T @ target))


def claimed(design: Design, seed: int, turned: bool = False) -> Claim:
    """What is claimed of one simulated data set. turned: a fault, the model says the opposite of what it learned."""
    table, labels, features = simulated(design, np.random.default_rng([seed, 1]))
    folds = make_folds(table, labels, FoldsConfig(hold_out=design.hold_out, outer=8, stimuli=4), seed)
    scores, number = np.zeros((len(labels), design.classes)), np.zeros(len(labels), int)
    for fold in folds:
        known = fold.train if design.hold_out == "both" else fold.known
        scores[fold.test] = ridge(features[known], labels[known], features[fold.test], design.classes)
        number[fold.test] = fold.fold
    scores = -scores if turned else scores
    names, people, stimuli = [str(c) for c in range(design.classes)], *(table[name] for name in HELD_OUT["both"])
    held = [table[column].to_pylist() for column in HELD_OUT[design.hold_out]]
    entry = resampled(labels, {"model": scores}, held[0], names, 200, seed, *held[1:])["model"]["balanced_accuracy"]
    exchange, _ = exchanges(labels, people, stimuli, stimuli)
    test = permutation_test(labels, scores, number, exchange, names, n=399, seed=seed)
    return claim(entry.interval, 1 / design.classes, test, {"units": len(set(held[0]))})


NOTHING = {
    "95 people's label": Design("participant", 95, 6),
    "40 people's label, 4 classes": Design("participant", 40, 8, classes=4),
    "40 people's label, both held out": Design("participant", 40, 16, "both"),
    "8 people's label": Design("participant", 8, 12),
    "8 people's trials": Design("trial", 8, 24),
    "8 people's trials, 4 classes": Design("trial", 8, 24, classes=4),
    "40 people's trials": Design("trial", 40, 12),
    "40 people's trials, 4 classes": Design("trial", 40, 12, classes=4),
    "40 people's trials, 1 feature": Design("trial", 40, 12, features=1),
    "500 people's two trials": Design("trial", 500, 2),
    "trials, stimuli held out": Design("trial", 20, 24, "stimuli"),
    "trials, both held out, 4 classes": Design("trial", 20, 24, "both", classes=4),
    "24 stimuli's label, stimuli held out": Design("stimulus", 20, 24, "stimuli"),
    "24 stimuli's label, both held out": Design("stimulus", 20, 24, "both"),
    "24 stimuli's label, people held out": Design("stimulus", 20, 24, alike=0.0),
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", NOTHING)
def test_data_of_nothing_lead_to_few_claims(name: str) -> None:
    found = Counter(claimed(NOTHING[name], seed).side for seed in range(SETS))
    print(f"\n{name}: " + ", ".join(f"{side} {100 * count / SETS:.1f} %" for side, count in sorted(found.items())))
    most = SETS * (CLAIM + 3 * np.sqrt(CLAIM * (1 - CLAIM) / SETS))
    assert found["above"] <= most
    assert found["below"] <= most


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("design", "turned", "side"),
    [
        pytest.param(Design("participant", 40, 8, effect=3.0), False, "above", id="people"),
        pytest.param(Design("participant", 95, 6, effect=4.0, alike=0.5), True, "below", id="people_turned"),
        pytest.param(Design("trial", 8, 24, effect=2.0), False, "above", id="trials_of_8"),
        pytest.param(Design("trial", 24, 12, effect=2.0), False, "above", id="trials_of_24"),
        pytest.param(Design("trial", 24, 12, effect=2.0), True, "below", id="trials_of_24_turned"),
        pytest.param(Design("trial", 24, 24, "stimuli", effect=2.0), False, "above", id="trials_new_stimuli"),
        pytest.param(Design("stimulus", 20, 24, "both", effect=4.0), False, "above", id="stimuli_both_new"),
    ],
)
def test_data_of_something_lead_to_the_claim(design: Design, turned: bool, side: str) -> None:
    found = Counter(claimed(design, seed, turned).side for seed in range(20))
    assert found[side] >= 18, found
