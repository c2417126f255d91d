# SPDX-License-Identifier: Apache-2.0
"""The flow of people and trials adds up, whatever refused them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from scipy.stats import fisher_exact

from gazeray.studies.shared.flow import Key, Passed, flow_faults, pictures_flow, trials_flow, unlike
from gazeray.tables import Reject

CLASSES = ("control", "pseudoword")


def reject(stage: str, reason: str, key: Key = ("", ""), row: int = -1) -> Reject:
    return Reject("file", row, stage, reason, *key)


def manifest(told: dict[str, Any], rejects: list[Reject]) -> dict[str, Any]:
    return {"flow": told, "counts": {"rejected": len(rejects)}}


def rejected(told: dict[str, Any]) -> dict[tuple[str, str], int]:
    """(stage, cause) -> trials."""
    return {(step["stage"], step["cause"]): step["trials"] for step in told["steps"][1:-1]}


def test_each_trial_counts_once_under_what_refused_it() -> None:
    declared = {(who, trial): CLASSES[int(trial) % 2] for who in ("P1", "P2", "P3") for trial in "0123"}
    declared["P1", "0"] = ""
    opened = [key for key in declared if key not in (("P1", "0"), ("P1", "1"), ("P1", "2"))]
    read = [key for key in opened if key[0] != "P2" and key != ("P1", "3")]
    used = [key for key in read if key != ("P3", "3")]
    rejects = [
        reject("trials", "no trial", ("P1", ""), 9),
        reject("labels", "missing label", ("P1", "0"), 1),
        reject("trials", "duplicate trial: the same as row 1", ("P1", "0"), 7),
        reject("trials", "duplicate trial: the same as row 2", ("P1", "1"), 8),
        reject("read", "another file is read for it", ("P1", "1")),
        reject("gaze", "trial without gaze", ("P1", "1"), 2),
        reject("gaze", "trial without gaze", ("P1", "2"), 3),
        reject("read", "2 rows are no numbers", ("P2", "0"), 4),
        *(reject("quality", f"lost_share 0.{trial}2 > limit 0.5", ("P2", trial)) for trial in "0123"),
        reject("gaze", "gaze entirely off the screen", ("P1", "3"), 4),
        reject("read", "1 row is no number", ("P3", "0"), 5),
        reject("read", "cannot be read"),
        reject("read", "cannot be read", ("P9", "1")),
        reject("folds", "names no usable example", ("P2", "1")),
        reject("folds", "no fold names this example", ("P3", "3")),
    ]
    told = trials_flow(declared, Passed(declared, opened, read, used), rejects, CLASSES)
    assert rejected(told) == {
        ("labels", "missing label"): 1,
        ("gaze", "trial without gaze"): 2,
        ("gaze", "gaze entirely off the screen"): 1,
        ("quality", "lost_share … > limit 0.5"): 4,
        ("folds", "no fold names this example"): 1,
    }
    first, *_, last = told["steps"]
    assert first == {"step": "declared", "people": 3, "trials": 12, "classes": {"control": 5, "pseudoword": 6},
                     "class_not_known": 1}  # fmt: skip
    assert last == {"step": "used", "people": 1, "trials": 3, "classes": {"control": 2, "pseudoword": 1},
                    "class_not_known": 0}  # fmt: skip
    assert told["people_lost"] == ["P1", "P2"]
    assert told["apart"] == [{"stage": "trials", "cause": "no trial", "rejects": 1},
                             {"stage": "read", "cause": "cannot be read", "rejects": 2}]  # fmt: skip
    assert told["further"] == 6
    assert list(flow_faults(manifest(told, rejects), 3)) == []


def test_sums_hold_for_rejects_at_random() -> None:
    for seed in range(30):
        draw = random.Random(seed)
        keys = [(f"P{person}", str(trial)) for person in range(6) for trial in range(8)]
        declared = {key: draw.choice([*CLASSES, ""]) for key in keys}
        opened = [key for key in keys if draw.random() < 0.8]
        read = [key for key in opened if draw.random() < 0.8]
        used = [key for key in read if draw.random() < 0.9]
        stages = ("trials", "labels", "read", "gaze", "quality", "folds", "news")
        named = [*keys, ("", ""), ("P9", "1")]
        rejects = [reject(draw.choice(stages), f"reason {draw.randrange(9)}", draw.choice(named))
                   for _ in range(draw.randrange(90))]  # fmt: skip
        told = trials_flow(declared, Passed(declared, opened, read, used), rejects, CLASSES)
        assert list(flow_faults(manifest(told, rejects), len(used))) == []
        told["steps"][-1]["trials"] += 1
        assert len(list(flow_faults(manifest(told, rejects), len(used)))) == 3


def test_counts_that_were_changed_are_found() -> None:
    declared = {("P1", "1"): "control", ("P1", "2"): "pseudoword"}
    rejects = [reject("gaze", "lost", ("P1", "2"))]
    told = trials_flow(declared, Passed(declared, declared, [("P1", "1")], [("P1", "1")]), rejects, CLASSES)
    assert list(flow_faults(manifest(told, rejects), None)) == []
    assert list(flow_faults({}, 3)) == [], "a run of before"
    assert any("1 trials used, 2 elsewhere" in line for line in flow_faults(manifest(told, rejects), 2))
    assert any("1 rejects, 2 counted" in line for line in flow_faults(manifest(told, rejects * 2), None))
    told["steps"][1]["classes"] = {"control": 1, "pseudoword": 0}
    assert any("class control: 1 declared, 2" in line for line in flow_faults(manifest(told, rejects), None))


def trials_of(people: int, label: str) -> dict[Key, str]:
    """The class of ten trials of each participant. label: trial (half of them each), run (the first half) or person."""
    index = {"trial": lambda person, trial: trial % 2, "run": lambda person, trial: trial // 5,
             "person": lambda person, trial: person % 2}[label]  # fmt: skip
    return {(f"P{p}", str(t)): CLASSES[index(p, t)] for p in range(people) for t in range(10)}


@pytest.mark.parametrize("kept", ["nothing", "everything", "one class"])
def test_nothing_is_asked_where_there_is_nothing_to_compare(kept: str) -> None:
    trials = trials_of(8, "trial")
    trials |= dict.fromkeys(trials, "control") if kept == "one class" else {}
    lost = set(trials) if kept == "nothing" else {("P1", "0")} if kept == "one class" else set()
    assert unlike(trials, lost)["p"] is None


@pytest.mark.parametrize("label", ["trial", "run", "person"])
def test_loss_of_one_class_in_everybody_is_unlike(label: str) -> None:
    trials = trials_of(12, label)
    found = unlike(trials, {key for key, name in trials.items() if name == "control" and int(key[1]) % 5 < 3})
    assert found["p"] < 0.01
    assert found["test"] == f"permutation test {'between' if label == 'person' else 'within'} participants"
    assert found["people"] == (6 if label == "person" else 12)
    everybody_alike = unlike(trials, {key for key in trials if key[1] in "27"})
    assert everybody_alike["p"] > 0.5


@pytest.mark.parametrize("label", ["run", "person"])
def test_what_one_participant_lost_at_once_is_no_sign_however_many_trials(label: str) -> None:
    trials = trials_of(12, label)
    found = unlike(trials, {key for key in trials if key[0] == "P4" and int(key[1]) < (5 if label == "run" else 10)})
    assert found["p"] > 0.5
    assert found["people"] == 1
    assert found["p_trials"] == pytest.approx(
        fisher_exact([[5, 55], [0, 60]]).pvalue if label == "run" else fisher_exact([[10, 50], [0, 60]]).pvalue
    )


@pytest.mark.parametrize("label", ["run", "person"])
def test_loss_of_runs_and_people_at_random_is_seldom_unlike(label: str) -> None:
    """By trials it is in every third of such data sets."""
    trials, found = trials_of(16, label), []
    for seed in range(100):
        draw = random.Random(seed)
        parts = [(f"P{p}", draw.choice((0, 5)), 5 if label == "run" else 10) for p in range(16) if draw.random() < 0.3]
        lost = {(who, str((first + t) % 10)) for who, first, n in parts for t in range(n)}
        found.append(unlike(trials, lost))
    assert sum(one["p"] < 0.01 for one in found) <= 3
    assert sum(one["p_trials"] < 0.01 for one in found) > 20


def test_three_classes_are_compared() -> None:
    trials = {(f"P{p}", str(t)): "abc"[t % 3] for p in range(12) for t in range(9)}
    found = unlike(trials, {key for key, name in trials.items() if name == "c" and key[1] != "2"})
    assert found["p"] < 0.01
    assert found["p_trials"] < 1e-6


def test_pictures_that_are_not_scored_were_refused_by_the_last_step() -> None:
    names = [("", name) for name in "abcd"]
    rejects = [
        reject("read", "duplicate", ("", "a")),
        reject("gaze", "3 fixations without picture: 'a'", ("", "a")),
        reject("gaze", "2 of 9 fixations are outside the picture", ("", "b")),
        reject("pictures", "none of its fixations lies on it", ("", "b")),
        reject("maps", "no map of this picture", ("", "b")),
        reject("maps", "no map of this picture", ("", "c")),
    ]
    told = pictures_flow(Passed(names, names[1:], names[2:], names[3:]), rejects)
    assert [step["pictures"] for step in told["steps"]] == [4, 1, 1, 1, 1]
    assert [step["stage"] for step in told["steps"][1:-1]] == ["read", "pictures", "maps"]
    assert list(flow_faults(manifest(told, rejects), 1)) == []
