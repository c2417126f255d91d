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


@pytest.mark.parametrize(
    ("declared", "used", "p"),
    [
        ({"a": 40, "b": 40}, {"a": 40, "b": 28}, fisher_exact([[40, 0], [28, 12]]).pvalue),
        ({"a": 40, "b": 40}, {"a": 40, "b": 40}, None),
        ({"a": 40, "b": 0}, {"a": 30, "b": 0}, None),
        ({"a": 40, "b": 40}, {"a": 0, "b": 0}, None),
    ],
)
def test_classes_are_compared_where_there_is_something_to_compare(
    declared: dict[str, int], used: dict[str, int], p: float | None
) -> None:
    found = unlike([{"classes": declared}, {"classes": used}])
    assert found["p"] == (None if p is None else pytest.approx(p))


def test_three_classes_are_compared_by_chi_squared() -> None:
    found = unlike([{"classes": dict.fromkeys("abc", 50)}, {"classes": {"a": 50, "b": 50, "c": 30}}])
    assert found["test"] == "chi-squared test"
    assert found["p"] < 1e-6


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
