# SPDX-License-Identifier: Apache-2.0
"""Rows that know the person, the picture or the circumstances: what each may see, and what it finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from gazeray.config import FoldsConfig
from gazeray.gaze.labels import Target
from gazeray.learn.folds import make_folds
from gazeray.metrics.ordinal import score_ordinal
from gazeray.storage import Folder
from gazeray.store import Shard, Store, write_shard
from gazeray.studies.emotion.predictors import BLIND, ROWS, baselines, scored, why_missing
from gazeray.studies.shared.without_gaze import Known
from gazeray.study import Items, Ready
from gazeray.unit import Unit, UnitFolder, Worker
from tests.studies.emotion.rated import NOTHING, SOMETHING, Rated, beside

UNDEFINED = {
    "participants": {"participant_mean"},
    "stimuli": {"picture_mean"},
    "both": {"participant_mean", "picture_mean", "additive"},
    "neither": set(),
}


@pytest.mark.parametrize("hold_out", UNDEFINED)
def test_row_is_undefined_where_what_it_goes_by_is_held_out_and_all_else_are_probabilities(hold_out: str) -> None:
    design = replace(NOTHING, people=8, pictures=8, repeats=2 if hold_out == "neither" else 1)
    _, found = beside(*design.draw(1), design.target, hold_out)
    gone = {name for name, scores in found.items() if np.isnan(scores).all()}
    assert gone == UNDEFINED[hold_out] | (set() if design.repeats > 1 else {"retest"})
    for name in set(found) - gone:
        assert np.isfinite(found[name]).all()
        np.testing.assert_allclose(found[name].sum(axis=1), 1, err_msg=name)
        assert (found[name] >= 0).all()


@pytest.mark.parametrize("hold_out", UNDEFINED)
def test_baselines_never_see_a_tested_rating_and_ceilings_do(hold_out: str) -> None:
    table, labels, features = NOTHING.draw(2)
    fold = make_folds(table, labels, FoldsConfig(hold_out=hold_out, outer=4, stimuli=2), 0)[0]
    test = np.sort(fold.test)
    changed = labels.copy()
    changed[test] = np.random.default_rng(0).permutation(labels[test])
    one, other = (scored(table, own, NOTHING.target, Known(features, []), fold, test) for own in (labels, changed))
    for name, scores in one.items():
        same = np.array_equal(scores, other[name], equal_nan=True)
        assert same == (name != "other_people"), name


def test_people_and_pictures_are_found_where_they_are_seen_and_together_they_tell_more() -> None:
    design = Rated(people=24, pictures=20, style=1.0, pull=1.0)
    table, labels, features = design.draw(3)

    def kappa(hold_out: str) -> dict[str, float]:
        _, found = beside(table, labels, features, design.target, hold_out)
        return {
            name: score_ordinal(labels, own, found["prior"], design.target.classes)["qwk"][0]
            for name, own in found.items() if np.isfinite(own).all()
        }  # fmt: skip

    leaks, people, stimuli, both = map(kappa, ("neither", "participants", "stimuli", "both"))
    assert leaks["additive"] > max(leaks["participant_mean"], leaks["picture_mean"]) + 0.1 > 0.3
    assert people["additive"] == pytest.approx(people["picture_mean"], abs=0.03)
    assert stimuli["additive"] == pytest.approx(stimuli["participant_mean"], abs=0.03)
    assert min(people["picture_mean"], stimuli["participant_mean"]) > 0.2
    assert leaks["without_gaze"] == pytest.approx(leaks["additive"], abs=0.05)
    for name in BLIND:
        assert abs(both.get(name, 0.0)) < 0.15, name
    assert abs(people["ridge"]) < 0.15, "features of nothing"
    assert min(own["other_people"] for own in (leaks, people, stimuli, both)) > 0.2


def test_features_that_follow_the_rating_are_found() -> None:
    _, found = beside(*SOMETHING.draw(4), SOMETHING.target)
    labels = SOMETHING.draw(4)[1]
    assert score_ordinal(labels, found["ridge"], found["prior"], SOMETHING.target.classes)["qwk"][0] > 0.3


def test_second_rating_of_a_person_is_told_by_the_first() -> None:
    design = Rated(repeats=2, style=1.5, pull=1.5, gone=0.2)
    table, labels, features = design.draw(5)
    _, found = beside(table, labels, features, design.target)
    there = np.isfinite(found["retest"][:, 0])
    pairs = list(zip(table["participant"].to_pylist(), table["stimulus"].to_pylist(), strict=True))
    assert there.tolist() == [pairs.count(pair) > 1 for pair in pairs]
    own = score_ordinal(labels[there], found["retest"][there], found["prior"][there], design.target.classes)
    assert own["qwk"][0] > 0.4


@pytest.mark.parametrize("hold_out", ["stimuli", "neither"])
def test_latin_square_tells_nothing_of_people(hold_out: str) -> None:
    """Everybody gives each level equally often, so that what is known of a person leaves over what is tested."""
    rng = np.random.default_rng(6)
    table, labels, features = Rated(people=12, pictures=20, levels=2).draw(6)
    labels = np.concatenate([rng.permutation(np.arange(20) % 2) for _ in range(12)])
    target = Target("arousal", ("low", "high"), True)
    _, found = beside(table, labels, features, target, hold_out, outer=10)
    np.testing.assert_array_equal(found["participant_mean"], found["prior"])
    if hold_out == "stimuli":  # else pictures, which differ by chance, are told too
        own = score_ordinal(labels, found["without_gaze"], found["prior"], target.classes)
        assert own["balanced_accuracy"][0] < 0.54, "an opposite that was learned would be right far more often"


# -- labels as they come


def test_trials_without_a_label_teach_nothing_and_are_predicted_all_the_same() -> None:
    table, labels, features = NOTHING.draw(7)
    fold = make_folds(table, labels, FoldsConfig(outer=4), 0)[0]
    test = np.sort(fold.test)
    gone = np.random.default_rng(0).random(len(labels)) < 0.3
    known = np.where(gone, -1, labels)
    simple = Known(features, [])
    found = scored(table, known, NOTHING.target, simple, fold, test)
    assert np.isfinite(found["picture_mean"]).all()
    shares = np.bincount(labels[fold.known][~gone[fold.known]], minlength=5)
    np.testing.assert_allclose(found["prior"][0], shares / shares.sum())
    short = replace(
        fold, train=fold.train[~gone[fold.train]], validation=replace(fold.validation, rows=np.empty(0, int))
    )
    rest = replace(fold, train=fold.known[~gone[fold.known]], validation=short.validation)
    without = scored(table, known, NOTHING.target, simple, rest, test)
    for name in ("picture_mean", "ridge", "nuisance", "majority"):
        np.testing.assert_allclose(without[name], found[name], err_msg=name)
    nobody = np.where(np.isin(np.arange(len(labels)), fold.known), -1, labels)
    with pytest.raises(ValueError, match="arousal is known of no row that is not tested"):
        scored(table, nobody, NOTHING.target, simple, fold, test)


def test_level_that_is_absent_among_the_known_rows_is_never_said() -> None:
    table, labels, features = NOTHING.draw(8)
    fold = make_folds(table, labels, FoldsConfig(outer=4), 0)[0]
    labels[fold.known] = np.minimum(labels[fold.known], 3)
    found = scored(table, labels, NOTHING.target, Known(features, []), fold, np.sort(fold.test))
    for name, scores in found.items():
        if np.isfinite(scores).all():
            assert not scores[:, 4].any(), name


def test_one_level_alone_is_what_every_row_says() -> None:
    table, labels, features = NOTHING.draw(9)
    fold = make_folds(table, labels, FoldsConfig(outer=4), 0)[0]
    found = scored(table, np.full_like(labels, 2), NOTHING.target, Known(features, []), fold, np.sort(fold.test))
    for name in set(ROWS) - {"participant_mean", "retest"}:
        np.testing.assert_array_equal(found[name], np.tile(np.eye(5)[2], (len(fold.test), 1)), err_msg=name)


def test_classes_without_order_have_rows_too() -> None:
    design = Rated(levels=3, ordered=False, pull=2.0)
    table, labels, features = design.draw(10)
    swapped = np.array([2, 0, 1])[labels]
    _, found = beside(table, swapped, features, design.target)
    own = score_ordinal(swapped, found["picture_mean"], found["prior"], design.target.classes, False)
    assert own["auroc"][0] > 0.75


def test_features_that_are_not_known_are_no_error() -> None:
    table, labels, features = NOTHING.draw(11)
    features[:, 1] = np.nan
    features[::3, 2] = np.nan
    _, found = beside(table, labels, features, NOTHING.target)
    assert np.isfinite(found["ridge"]).all()


# -- units


def test_unit_of_a_fold_holds_all_labels_and_what_its_scores_need(tmp_path: Path) -> None:
    table, labels, features = NOTHING.draw(12)
    valence = np.where(np.arange(len(labels)) % 4 == 0, -1, (labels > 1).astype(int))
    table = table.append_column("arousal_index", [labels]).append_column("valence_index", [valence])
    write_shard(Folder(tmp_path), "0", Shard(table, {"features": features}))
    store = Store.open(Folder(tmp_path), ["0"])
    folds = make_folds(store.table, labels, FoldsConfig(outer=4), 0)
    ready = Ready(cast(Any, None), store, Items(store.table, ("participant", "trial"), folds, ""))
    both = [NOTHING.target, Target("valence", ("< 2", ">= 2"), True)]
    one = baselines(ready, store, both)
    assert list(one.rows) == list(ROWS)
    assert [spec.name for spec in one.units()] == [f"baselines-{fold.fold}" for fold in folds]
    other = baselines(ready, store, both[:1])
    assert one.units()[0].hashed != other.units()[0].hashed
    out = UnitFolder(Folder(tmp_path / "run"), Unit("baselines-1", one.units()[1].spec, ""))
    result = one.run(out.unit, cast(Worker, None), out)
    found, test = out.folder.read_table("predictions.parquet"), np.sort(folds[1].test)
    assert result["n"] == {"known": len(folds[1].known), "test": len(test)}
    assert found.column_names[:7] == ["participant", "trial", "stimulus", "fold", "regime", "arousal", "valence"]
    assert found.column_names[7:] == [f"{label}:{row}" for label in ("arousal", "valence") for row in (*ROWS, "prior")]
    assert found["arousal"].to_pylist() == [str(level + 1) for level in labels[test]]
    assert found["valence"].to_pylist() == [None if level < 0 else both[1].classes[level] for level in valence[test]]
    assert found["valence:participant_mean"].null_count == len(test)
    assert found["valence:picture_mean"].null_count == 0


def test_one_picture_for_all_trials_has_no_ceilings() -> None:
    design = replace(NOTHING, pictures=1, repeats=4)
    _, found = beside(*design.draw(1), design.target)
    assert {name for name, scores in found.items() if np.isnan(scores).all()} == {
        "participant_mean",
        "other_people",
        "retest",
    }


@pytest.mark.parametrize(
    ("row", "there", "words"),
    [
        ("participant_mean", 0, "participants are held out"),
        ("retest", 3, "the participant rated the picture only once, in 7 of 10 trials"),
        ("series", 9, "it says nothing of them, in 1 of 10 trials"),
    ],
)
def test_row_without_scores_says_why(row: str, there: int, words: str) -> None:
    assert why_missing(row, there, 10) == words
