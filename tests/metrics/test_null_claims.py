# SPDX-License-Identifier: Apache-2.0
"""How often data of nothing lead to a claim, and whether data of something do: simple learners under our own folds.

`python -m pytest -m nightly tests/metrics/test_null_claims.py -s` prints the rates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from gazeray.config import FoldsConfig
from gazeray.learn.folds import HELD_OUT, make_folds
from gazeray.metrics import statistics
from gazeray.metrics.permutation import CLAIM, Claim, claim, exchanges, permutation_test
from gazeray.metrics.statistics import majority_scores, resampled
from gazeray.report.results import Results
from gazeray.report.sections.without_gaze import best_gain
from gazeray.studies.shared import classification, without_gaze
from gazeray.studies.shared.classification import (
    ScoresConfig,
    logistic_regression_scores,
    predictions_table,
    score_predictions,
)
from gazeray.studies.shared.without_gaze import Circumstances, gazeless_scores, trial_order, with_nuisance
from tests.metrics.null_data import LEARNERS, Design, logistic, ridge, simulated, unranked

SETS = 200


@pytest.fixture(autouse=True)
def in_less_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what no claim here goes by, and fits the same regression faster."""
    monkeypatch.setattr(statistics, "score_all", unranked)
    monkeypatch.setattr(without_gaze, "logistic_regression_scores", logistic)
    monkeypatch.setattr(classification, "exchanges", lambda *held: (exchanges(*held)[0], None))


def claimed(design: Design, seed: int, turned: bool = False) -> tuple[Claim, Claim]:
    """What is claimed of one simulated data set: of all features, and of every other feature over the rest.

    turned: a fault, the model says the opposite of what it learned.
    """
    table, labels, features = simulated(design, np.random.default_rng([seed, 1]))
    folds = make_folds(table, labels, FoldsConfig(hold_out=design.hold_out, outer=8, stimuli=4), seed)
    names, number = [str(c) for c in range(design.classes)], np.zeros(len(labels), int)
    for fold in folds:
        number[fold.test] = fold.fold

    def predicted(own: slice) -> np.ndarray:
        scores = np.zeros((len(labels), design.classes))
        for fold in folds:
            known = features[fold.known, own], labels[fold.known]
            scores[fold.test] = LEARNERS[design.learner](*known, features[fold.test, own], design.classes)
        return -scores if turned else scores

    halves = {"even": slice(0, None, 2), "odd": slice(1, None, 2)} if design.features > 1 else {"even": slice(None)}
    scores = {"all": predicted(slice(None)), **{name: predicted(own) for name, own in halves.items()}}
    held = [table[column].to_pylist() for column in HELD_OUT[design.hold_out]]
    found = resampled(labels, scores, held[0], names, 200, seed, *held[1:])
    names_of = table["participant"], table["stimulus"], table["stimulus"]
    exchange, _ = exchanges(labels, *names_of, HELD_OUT[design.hold_out])

    def judged(name: str, over: str = "") -> Claim:
        own, others = found[name]["balanced_accuracy"], {over: scores[over]} if over else {}
        test = permutation_test(labels, scores[name], number, exchange, names, n=199, seed=seed, over=others)
        if over:
            gain = own.minus(found[over]["balanced_accuracy"]).interval
            return claim(gain, 0.0, {**test["gain"][over], "reason": test.get("reason")}, {"units": len(set(held[0]))})
        return claim(own.interval, 1 / design.classes, test, {"units": len(set(held[0]))})

    return judged("all"), judged("even", "odd" if "odd" in scores else "all")


def claimed_without_gaze(design: Design, seed: int) -> Claim:
    """What is claimed of the gain over the best that can be had without gaze, by way of metrics.json."""
    rng = np.random.default_rng([seed, 1])
    table, labels, features = simulated(design, rng)
    table = table.append_column("trial", table["stimulus"])
    table = with_nuisance(table, trial_order(table["participant"].to_pylist()), None)
    folds = make_folds(table, labels, FoldsConfig(hold_out=design.hold_out, outer=8, stimuli=4), seed)
    names, here = [str(c) for c in range(design.classes)], Circumstances.of(table, labels)
    scores: dict[str, np.ndarray] = {}
    number = np.zeros(len(labels), int)
    for fold in folds:
        test, known = np.sort(fold.test), fold.known
        number[test] = fold.fold
        own = {
            "scores": ridge(features[known], labels[known], features[test], design.classes),
            "majority": majority_scores(labels[known], len(test), names),
            "logistic_regression": ridge(features[known, 2:], labels[known], features[test, 2:], design.classes),
        }
        blind = gazeless_scores(here, known, fold.tests, test, design.classes)
        if design.model == "stimulus":
            own["scores"] = blind["stimulus_only"] + rng.normal(0, 0.05, (len(test), 1)) * [-1, 1]
        for name, theirs in (own | blind).items():
            scores.setdefault(name, np.zeros((len(labels), design.classes)))[test] = theirs
    ids = table.select(["participant", "stimulus", "trial"]).append_column("fold", pa.array(number))
    predictions, cfg = predictions_table(ids, names, labels, scores), ScoresConfig(resamples=200, permutations=399)
    found = score_predictions(predictions, names, cfg, seed, HELD_OUT[design.hold_out])
    gain = best_gain(Results({}, found), "cnn", "balanced_accuracy", found["held_out"])
    assert gain is not None
    return gain.found


NOTHING = {
    "95 people's label": Design("participant", 95, 4),
    "40 people's label, 4 classes": Design("participant", 40, 8, classes=4),
    "40 people's label, both held out": Design("participant", 40, 16, "both"),
    "8 people's label": Design("participant", 8, 12),
    "8 people's trials": Design("trial", 8, 24),
    "8 people's trials, 4 classes": Design("trial", 8, 24, classes=4),
    "40 people's trials": Design("trial", 40, 12),
    "40 people's trials, 4 classes": Design("trial", 40, 8, classes=4),
    "40 people's trials, 1 feature": Design("trial", 40, 12, features=1),
    "12 people's trials, one feature of 50": Design("trial", 12, 24, features=50, learner="one of many"),
    "300 people's two trials": Design("trial", 300, 2),
    "trials, stimuli held out": Design("trial", 20, 24, "stimuli"),
    "trials, both held out, 4 classes": Design("trial", 16, 16, "both", classes=4),
    "24 stimuli's label, stimuli held out": Design("stimulus", 20, 24, "stimuli"),
    "24 stimuli's label, both held out": Design("stimulus", 20, 24, "both"),
    "24 stimuli's label, people held out": Design("stimulus", 20, 24, alike=0.0),
    "trials of easy stimuli, stimuli held out": Design("trial", 20, 24, "stimuli", ease=1.5),
    "trials of easy stimuli, both held out": Design("trial", 20, 20, "both", ease=1.5),
    "40 people's trials, 90 : 10": Design("trial", 40, 20, rare=0.1),
    "60 people's label, 72 : 28": Design("participant", 60, 8, rare=0.28),
    "40 people's label, 90 : 10": Design("participant", 40, 8, rare=0.1),
    "32 stimuli's label, 72 : 28, stimuli held out": Design("stimulus", 20, 32, "stimuli", rare=0.28),
    "30 people's 1 to 40 trials": Design("trial", 30, 40, uneven=True),
    "40 people's label, 1 to 40 trials": Design("participant", 40, 40, uneven=True),
    "1 to 40 trials, 72 : 28, both held out": Design("trial", 24, 40, "both", uneven=True, rare=0.28),
}

WITHOUT_GAZE = {
    "24 stimuli's label, stimuli held out": NOTHING["24 stimuli's label, stimuli held out"],
    "24 stimuli's label, both held out": NOTHING["24 stimuli's label, both held out"],
    "40 people's trials, 90 : 10": NOTHING["40 people's trials, 90 : 10"],
    "30 people's 1 to 40 trials": NOTHING["30 people's 1 to 40 trials"],
    "easy stimuli, gaze of nothing": Design("trial", 24, 16, ease=1.5, alike=0.0),
    "easy stimuli, gaze tells the stimulus": Design("trial", 24, 16, ease=1.5, alike=2.0),
    "easy stimuli, both held out": NOTHING["trials of easy stimuli, both held out"],
    "easy stimuli, the model knows them": Design("trial", 24, 16, ease=1.5, model="stimulus"),
    "easy stimuli, 1 to 40 trials, the model knows them": Design(
        "trial", 24, 40, ease=1.0, uneven=True, model="stimulus"
    ),
}
"""Of what the gain over the best without gaze is counted."""

WORSE = {"easy stimuli, gaze of nothing", "easy stimuli, gaze tells the stimulus"}
"""Where the model is worse than what can be had without gaze: saying so is no false claim."""


MOST = SETS * (CLAIM + 3 * np.sqrt(CLAIM * (1 - CLAIM) / SETS))


def told(name: str, found: Sequence[Claim]) -> Counter[str]:
    """How often each side was claimed, printed in per cent."""
    sides = Counter(one.side for one in found)
    print(f"\n{name}: " + ", ".join(f"{side} {100 * n / len(found):.1f} %" for side, n in sorted(sides.items())))
    return sides


@pytest.mark.nightly
@pytest.mark.parametrize("name", NOTHING)
def test_data_of_nothing_lead_to_few_claims(name: str) -> None:
    found = [claimed(NOTHING[name], seed) for seed in range(SETS)]
    for what, claims in zip(("chance", "gain"), zip(*found, strict=True), strict=True):
        sides = told(f"{name}, {what}", claims)
        assert sides["above"] <= MOST
        assert sides["below"] <= MOST


@pytest.mark.nightly
@pytest.mark.parametrize("name", WITHOUT_GAZE)
def test_data_of_nothing_seldom_lead_to_a_gain_over_what_can_be_had_without_gaze(name: str) -> None:
    sides = told(f"{name}, without gaze", [claimed_without_gaze(WITHOUT_GAZE[name], seed) for seed in range(SETS)])
    assert sides["above"] <= MOST
    assert name in WORSE or sides["below"] <= MOST


@pytest.mark.nightly
@pytest.mark.parametrize(
    "design",
    [
        pytest.param(Design("trial", 24, 12, effect=1.5), id="trials"),
        pytest.param(Design("trial", 24, 16, ease=1.0, effect=2.5), id="trials_easy_stimuli"),
        pytest.param(Design("stimulus", 20, 40, "stimuli", effect=5.0), id="stimuli_new"),
        pytest.param(Design("stimulus", 20, 40, "both", effect=5.0), id="stimuli_both_new"),
    ],
)
def test_data_of_something_lead_to_a_gain_over_what_can_be_had_without_gaze(design: Design) -> None:
    sides = told(f"{design}, without gaze", [claimed_without_gaze(design, seed) for seed in range(20)])
    assert sides["above"] >= 18


def test_regression_of_these_tests_is_that_of_the_package() -> None:
    rng = np.random.default_rng(0)
    train, test, labels = rng.normal(size=(60, 4)), rng.normal(size=(9, 4)), (np.arange(60) % 3 == 0).astype(int)
    train[:, 3] = test[:, 3] = 1.0
    expected = logistic_regression_scores(train, labels, test, 2)
    np.testing.assert_allclose(logistic(train, labels, test, 2), expected, atol=1e-4)


@pytest.mark.nightly
def test_equally_good_predictors_are_seldom_told_apart() -> None:
    sides = told("equally good", [claimed(Design("trial", 24, 12, effect=1.0), seed)[1] for seed in range(SETS)])
    assert sides["above"] <= MOST
    assert sides["below"] <= MOST


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("design", "turned", "side"),
    [
        pytest.param(Design("participant", 40, 8, effect=3.0), False, "above", id="people"),
        pytest.param(Design("participant", 95, 6, effect=4.0, alike=0.5), True, "below", id="people_turned"),
        pytest.param(Design("trial", 8, 24, effect=1.5), False, "above", id="trials_of_8"),
        pytest.param(Design("trial", 24, 12, effect=1.5), False, "above", id="trials_of_24"),
        pytest.param(Design("trial", 24, 12, effect=2.0), True, "below", id="trials_of_24_turned"),
        pytest.param(Design("trial", 24, 24, "stimuli", effect=1.5), False, "above", id="trials_new_stimuli"),
        pytest.param(Design("stimulus", 20, 24, "both", effect=4.0), False, "above", id="stimuli_both_new"),
    ],
)
def test_data_of_something_lead_to_the_claim(design: Design, turned: bool, side: str) -> None:
    sides = told(f"{design}", [claimed(design, seed, turned)[0] for seed in range(20)])
    assert sides[side] >= 18
