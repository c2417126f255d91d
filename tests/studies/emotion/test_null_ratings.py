# SPDX-License-Identifier: Apache-2.0
"""How often signals of nothing are claimed to add to knowing the person and the picture, by way of metrics.json.

`python -m pytest -m nightly tests/studies/emotion/test_null_ratings.py -s` prints the rates.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gazeray.metrics.permutation import CLAIM, claim
from gazeray.studies.emotion.scores import score_label
from gazeray.studies.shared.classification import ScoresConfig
from tests.studies.emotion.rated import ALL_ROWS, NOTHING, SOMETHING, Rated, beside, predictions

SETS = 200
MOST = SETS * (CLAIM + 3 * np.sqrt(CLAIM * (1 - CLAIM) / SETS))
CFG = ScoresConfig(resamples=200, permutations=199)
OVER = ("picture_mean", "participant_mean", "additive", "without_gaze")

SHUFFLED = replace(NOTHING, style=0.0, pull=0.0)
DESIGNS: dict[str, tuple[Rated, str, str]] = {
    "people held out": (NOTHING, "participants", "signals"),
    "people held out, the model knows the picture": (NOTHING, "participants", "picture_mean"),
    "stimuli held out, the model knows the person": (NOTHING, "stimuli", "participant_mean"),
    "both held out": (NOTHING, "both", "signals"),
    "neither held out, the model knows both": (NOTHING, "neither", "additive"),
    "labels of nothing, people held out": (SHUFFLED, "participants", "signals"),
    "labels of nothing, stimuli held out": (SHUFFLED, "stimuli", "signals"),
    "labels of nothing, neither held out": (SHUFFLED, "neither", "signals"),
    "two levels, people held out": (replace(NOTHING, levels=2), "participants", "picture_mean"),
}
"""What is simulated, what is held out, and what the model is: a regression on signals, or a row that knows more, with
some noise of its own."""


def claimed(design: Rated, hold_out: str, model: str, seed: int) -> dict[str, str]:
    """{row: the side on which the gain in mean recall over it is claimed}; "": against chance."""
    table, labels, features = design.draw(seed)
    folds, scores = beside(table, labels, features, design.target, hold_out, seed, outer=4)
    own = scores["ridge"]
    if model != "signals":
        noise = np.random.default_rng([seed, 1]).normal(0, 0.2, own.shape)
        own = scores[model] * np.exp(noise)
        own = own / own.sum(axis=1, keepdims=True)
    rows = {name: row for name, row in ALL_ROWS.items() if name in ("series", "majority", *OVER)}
    told = predictions(table, labels, folds, {"series": own, **scores}, design.target)
    found = score_label(told, design.target, rows, "series", CFG, seed, hold_out)
    return sides(found, 1 / design.levels)


def sides(found: dict[str, Any], chance: float) -> dict[str, str]:
    """As the report claims: interval and exchange of labels agree."""
    entry, test = found["rows"]["series"]["balanced_accuracy"], found["permutation"]
    told = {"": claim(entry["ci95"], chance, test, found["held_out"]).side}
    for row, gain in entry["gain"].items():
        if row in OVER:
            exchanged = {**test["gain"][row], "reason": test.get("reason")}
            told[row] = claim(gain["ci95"], 0.0, exchanged, found["held_out"]).side
    return told


def told(name: str, found: list[dict[str, str]]) -> dict[str, Counter[str]]:
    """How often each side was claimed over each row, printed in per cent."""
    rows = {row: Counter(one[row] for one in found) for row in found[0]}
    for row, own in rows.items():
        shares = ", ".join(f"{side} {100 * n / len(found):.1f} %" for side, n in sorted(own.items()))
        print(f"\n{name}, over {row or 'chance'}: {shares}")
    return rows


def nothing_gained(name: str, row: str) -> bool:
    """Whether the model truly adds nothing to a row, or to chance (""): it knows no more than that."""
    model = DESIGNS[name][2]
    return model == "signals" or (row in ("additive", "without_gaze") if model == "additive" else row != "")


@pytest.mark.parametrize("name", ["people held out", "people held out, the model knows the picture"])
def test_some_ratings_of_nothing_lead_to_no_claim_of_a_gain(name: str) -> None:
    found = [claimed(*DESIGNS[name], seed) for seed in range(4)]
    above = [row for one in found for row, side in one.items() if side == "above" and nothing_gained(name, row)]
    assert len(above) <= 1


def test_signals_that_follow_ratings_add_to_person_and_picture() -> None:
    strong = replace(SOMETHING, people=24, pictures=20, pull=0.3, style=0.3)
    found = claimed(strong, "participants", "signals", 0)
    assert found == dict.fromkeys(["", "picture_mean", "additive", "without_gaze"], "above")


@pytest.mark.nightly
@pytest.mark.parametrize("name", DESIGNS)
def test_ratings_of_nothing_seldom_lead_to_a_claim_of_a_gain(name: str) -> None:
    rows = told(name, [claimed(*DESIGNS[name], seed) for seed in range(SETS)])
    for row, own in rows.items():
        if nothing_gained(name, row):
            assert own["above"] <= MOST, row


@pytest.mark.nightly
def test_ratings_of_something_lead_to_the_claim() -> None:
    strong = replace(SOMETHING, people=24, pictures=20, pull=0.3, style=0.3)
    rows = told("something", [claimed(strong, "participants", "signals", seed) for seed in range(20)])
    assert min(own["above"] for own in rows.values()) >= 17
