# SPDX-License-Identifier: Apache-2.0
"""Broken data and the emotion job: what is impossible exits 2 before anything is fitted and names its place, the rest
is refused by name, counted once, and the run folder holds together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gazeray.storage import Folder
from gazeray.unit import Json
from tests.running import findings
from tests.studies.emotion.small_study import SAMPLES, Small

Damage = Callable[[Small], Any]

EVERYTHING = ["model.branches=[series,scanpath,picture]"]
PICTURES = ["model.branches=[series,picture]"]


def nothing(study: Small) -> None:
    """As it is."""


def cells(column: str, where: Callable[[pd.DataFrame], Any], value: str) -> Damage:
    def damage(study: Small) -> None:
        study.trials.loc[where(study.trials), column] = value

    return damage


def of_everybody(column: str, value: float) -> Damage:
    def damage(study: Small) -> None:
        for samples in study.samples.values():
            samples[column] = value

    return damage


def gaze_of_one_person(study: Small) -> None:
    for who, samples in study.samples.items():
        samples["x"] = samples["x"] if who == "P0" else np.nan


def declared(**parts: Any) -> Damage:
    return lambda study: study.declared.update(parts)


def without_pictures(study: Small) -> None:
    del study.declared["pictures"]


def without_coordinates(study: Small) -> None:
    for name in ("x_px", "y_px"):
        del study.declared["samples"]["columns"][name]


def no_file_is_a_picture(study: Small) -> None:
    study.damaged = {f"pictures/{name}.png": b"junk" for name in study.pictures}


NOBODY = declared(labels={"arousal": {"levels": [7, 8, 9]}})
NOMINAL = declared(labels={"arousal": {1: "a", 2: "b", 3: "c"}})
SEARCH = "search={metric: qwk, space: {loss: {gamma: [0, 2]}}}"


@pytest.mark.parametrize(
    ("damage", "words", "message"),
    [
        pytest.param(NOBODY, [], "label arousal: no trial is left; rejected were: ", id="no_level_is_declared"),
        pytest.param(cells("arousal", lambda t: t.index >= 0, ""), [], "36 x missing label arousal", id="label_gone"),
        pytest.param(cells("arousal", lambda t: t.index >= 0, "2"), [], "of one class, '2'", id="one_level_left"),
        pytest.param(
            cells("arousal", lambda t: t["participant"] != "P0", ""),
            [],
            "label arousal, which 6 of 36 trials have, is known of none to train on in fold 0",
            id="label_of_nobody_who_is_trained_on",
        ),
        pytest.param(
            declared(labels={"fold": {"levels": [1, 2], "column": "arousal"}}),
            [],
            "dataset.yaml: labels.fold",
            id="label_named_as_a_column_of_the_predictions",
        ),
        pytest.param(
            declared(labels={"a:b": {"levels": [1, 2], "column": "arousal"}}),
            [],
            "dataset.yaml: labels.a:b",
            id="label_with_a_colon",
        ),
        pytest.param(
            nothing, ["data.labels=[mood]"], "unknown label 'mood' (declared: arousal, valence)", id="no_such"
        ),
        pytest.param(nothing, ["data.labels=[valence,valence]"], "valence is named twice", id="label_twice"),
        pytest.param(
            NOMINAL, ["train.stop_on=qwk"], "train.stop_on: qwk needs a label with three", id="qwk_of_no_order"
        ),
        pytest.param(NOMINAL, [SEARCH], "search.metric: qwk needs a label with three", id="search_for_qwk_of_no_order"),
        pytest.param(nothing, ["folds.outer=7"], "6 participants have usable trials", id="more_folds_than_people"),
        pytest.param(
            cells("picture", lambda t: t.index >= 0, "pic 0"),
            ["folds.hold_out=both"],
            "1 stimuli have usable trials, fewer than folds.stimuli = 4",
            id="one_picture_and_both_held_out",
        ),
        pytest.param(
            cells("picture", lambda t: t.index >= 0, "pic 0"),
            ["folds.hold_out=stimuli"],
            "1 stimuli have usable trials, fewer than folds.outer = 2",
            id="one_picture_held_out",
        ),
        pytest.param(
            without_pictures,
            ["model.branches=[picture]"],
            "branch picture: no pictures are declared",
            id="no_branch_is_left",
        ),
        pytest.param(
            without_pictures,
            [*EVERYTHING, "controls.of=series-scanpath-picture", "controls.shift_ms=[9]"],
            "controls.of: no model 'series-scanpath-picture' here: picture is left out: no pictures",
            id="control_of_a_branch_that_is_left_out",
        ),
        pytest.param(
            nothing,
            ["signals.channels=[smell]"],
            "signals.channels: no channel 'smell' (the data set has: x, ",
            id="unknown_channel",
        ),
        pytest.param(
            nothing,
            [*PICTURES, "picture.weights=nowhere/w.pth"],
            "picture.weights: nowhere/w.pth: there is no",
            id="no_weights",
        ),
        pytest.param(
            nothing,
            [*PICTURES, "picture.unfreeze=99"],
            "picture.unfreeze: mobilenet_v2 has no 99 blocks",
            id="more_blocks_than_there_are",
        ),
        pytest.param(
            lambda study: study.pictures.clear(), PICTURES, "no file matches pictures/{stimulus}.png", id="no_picture"
        ),
    ],
)
def test_what_makes_the_study_impossible_exits_2_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage, words: list[str], message: str
) -> None:
    study = Small(tmp_path / "study")
    damage(study)
    assert study.run(*words) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert all(line.startswith("error: ") for line in shown.splitlines())
    assert not list(study.runs.glob("cv_emotion-*")), "nothing was begun"


@pytest.mark.parametrize(
    ("damage", "words", "message"),
    [
        pytest.param(
            nothing, ["signals.start_ms=100000"], "reasons: no sample from 100000 to 102000 ms", id="too_late"
        ),
        pytest.param(nothing, ["signals.duration_ms=100000"], "from 0 to 100000 ms: x 0.0417, ", id="window_too_long"),
        pytest.param(of_everybody("x", np.nan), [], "all 41 samples are lost", id="all_gaze_lost"),
        pytest.param(
            gaze_of_one_person,
            [],
            "1 participants have usable trials, fewer than folds.outer = 2; lower folds.outer;"
            " rejected were: 30 x all 41 samples are lost",
            id="all_gaze_but_of_one_person_lost",
        ),
        pytest.param(no_file_is_a_picture, PICTURES, "no picture can be decoded", id="no_picture_opens"),
    ],
)
def test_data_of_which_no_trial_is_usable_exit_2_with_the_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage, words: list[str], message: str
) -> None:
    study = Small(tmp_path / "study")
    damage(study)
    assert study.run(*words) == 2
    assert message in capsys.readouterr().err


def damaged_everywhere(study: Small) -> None:
    """One damage of each kind that a study survives: a person each."""
    trials = study.trials
    trials.loc[(trials["participant"] == "P0") & (trials["trial"] == "0"), "arousal"] = "9"
    trials.loc[(trials["participant"] == "P0") & (trials["trial"] == "1"), "arousal"] = ""
    trials.loc[(trials["participant"] == "P0") & (trials["trial"] == "2"), "arousal"] = " 2 "
    del study.pictures["pic 5"]
    study.pictures["nobody's"] = study.pictures["pic 0"]
    study.damaged["pictures/pic 4.png"] = b"no picture"
    times, epochs, body = study.samples["P1"], study.samples["P2"], study.samples["P3"]
    times.loc[study.rows("P1", 0), "t_ms"] = np.repeat(np.arange(SAMPLES) * 100.0, 2)[:SAMPLES]  # each twice
    times.loc[study.rows("P1", 1), "t_ms"] = 500.0
    times.loc[study.rows("P1", 2)[20:], "t_ms"] += 1e6
    times.loc[study.rows("P1", 3)[20:], "t_ms"] -= 900
    study.samples["P2"] = epochs.drop([*study.rows("P2", 0)[1:], *study.rows("P2", 1)[15:]])
    longer = epochs.loc[study.rows("P2", 2)]
    study.samples["P2"] = pd.concat([study.samples["P2"], longer.assign(t_ms=longer["t_ms"] + 2050)])
    body["gsr"], body["hr"] = np.nan, 0.0
    body.loc[study.rows("P3", 0), "pupil"] = np.tile([1.5, 9.0], SAMPLES)[:SAMPLES]
    body.loc[study.rows("P3", 1), "pupil"] = 3.0
    study.samples["P4"].loc[study.rows("P4", 0), "gsr"] = 1e300
    study.samples["P4"].loc[study.rows("P4", 1)[:5], "gsr"] = np.inf
    for name in ("x", "pupil"):
        study.samples["P5"][name] = study.samples["P5"][name].astype(str).str.replace(".", ",")


REFUSED = {
    ("trials.csv", "P0", "0", "labels"): "label arousal: '9' is not declared (declared: 1, 2, 3)",
    ("trials.csv", "P0", "1", "labels"): "missing label arousal; the trial is kept for valence",
    ("trials.csv", "P3", "5", "pictures"): "no picture of stimulus 'pic 5'",
    ("pictures/pic 4.png", "P3", "4", "pictures"): "not a picture",
    ("P1", "P1", "1", "signals"): "no channel is there for signals.min_share 0.5",
    ("P1", "P1", "2", "signals"): "no channel is there for signals.min_share 0.5",
    ("samples/P1.csv", "P1", "3", "gaze"): "time runs backwards: from 950 to 100 ms",
    ("P2", "P2", "0", "signals"): "x 0.0417, y 0.0417",
    ("P2", "P2", "1", "signals"): "no channel is there for signals.min_share 0.5",
    ("samples/P5.csv", "P5", "0", "gaze"): "a decimal comma? declare decimal: ','",
}
"""(source, participant, trial, stage) -> what the reason says."""


def test_damaged_recordings_are_refused_by_name_once_and_the_rest_is_used(tmp_path: Path) -> None:
    study = Small(tmp_path / "study")
    damaged_everywhere(study)
    assert study.run(*EVERYTHING, "controls.of=series-scanpath-picture", "controls.knock_out=true") == 0
    run = Folder(next(study.runs.glob("cv_emotion-*")))
    rejects = run.read_table("rejects.parquet").to_pandas()
    reasons = rejects.set_index(["source", "participant", "trial", "stage"])["reason"]
    for where, what in REFUSED.items():
        assert what in reasons[where], where
    trials = rejects[rejects["trial"] != ""]
    assert not trials.duplicated(["participant", "trial"]).any(), "each trial is refused once"
    assert not rejects["reason"].str.contains("not in the trials table").any()
    manifest, metrics = run.read_json("manifest.json"), run.read_json("metrics.json")
    assert metrics["n"]["rejected"] == len(rejects)
    kept = trials["reason"].str.contains("is kept for")
    assert metrics["n"]["trials"] == 36 - (~kept).sum()
    assert metrics["labels"]["valence"]["n"] - metrics["labels"]["arousal"]["n"] == kept.sum() == 1
    assert manifest["counts"]["unused_pictures"] == manifest["counts"]["missing_pictures"] == 1
    channels = run.read_table("channels.parquet").to_pandas().set_index(["participant", "trial", "channel"])
    assert (channels.loc["P3"].loc[:, ["gsr", "heart_rate"], :]["lost_share"] == 1).all(), "a heart of 0 is none"
    assert channels.loc[("P3", "1", "pupil_mm"), "flat"]
    assert channels.loc[("P3", "0", "pupil_mm"), "saturated_share"] == 1
    assert channels.loc[("P4", "0", "gsr"), "lost_share"] == 1
    notes = " | ".join(manifest["notes_on_recordings"])
    assert "no value in a channel: gsr" in notes
    assert [line for line in findings(run) if "report.html" not in line] == []


def person_of_one_trial(study: Small) -> None:
    study.trials = study.trials[(study.trials["participant"] != "P0") | (study.trials["trial"] == "0")]


def level_of_one_person(study: Small) -> None:
    study.trials["arousal"] = np.where(study.trials["participant"] == "P0", "3", study.trials["valence"]).tolist()
    study.trials.loc[study.trials["participant"] != "P0", "arousal"] = "1"


def odd_names(study: Small) -> None:
    odd = {"P0": "P 'ä,\"=1", "0": "<b>:/", "pic 0": "a%20b €"}
    study.samples = {odd.get(who, who): own.replace({"trial": odd}) for who, own in study.samples.items()}
    study.trials = study.trials.replace(dict.fromkeys(("participant", "trial", "picture"), odd))
    study.pictures = {odd.get(name, name): picture for name, picture in study.pictures.items()}
    study.declared["labels"] = {
        "felt, x.y/z": {"levels": [1, 2, 3], "column": "arousal"}, "prior": {"levels": [1, 2, 3], "column": "valence"},
    }  # fmt: skip


def two_and_nine_levels(study: Small) -> None:
    study.trials["many"] = [str(1 + row % 9) for row in range(len(study.trials))]
    study.declared["labels"] = {"arousal": {"at_least": 2}, "many": {"levels": list(range(1, 10))}}


def heart_alone(study: Small) -> None:
    without_coordinates(study)
    del study.declared["screen"]
    channels = study.declared["samples"]["channels"]
    study.declared["samples"]["channels"] = {"heart_rate": channels["heart_rate"]}


def levels_of(metrics: Json) -> dict[str, int]:
    return {name: len(one["counts"]) for name, one in metrics["labels"].items()}


@pytest.mark.parametrize(
    ("damage", "words", "holds"),
    [
        pytest.param(
            person_of_one_trial,
            ["controls.shuffle_labels=true", "controls.swap_signals=true"],
            lambda m: m["n"]["trials"] == 31,
            id="person_of_one_trial",
        ),
        pytest.param(
            level_of_one_person, [], lambda m: m["labels"]["arousal"]["counts"] == [30, 0, 6], id="absent_level"
        ),
        pytest.param(
            odd_names,
            [*PICTURES, "controls.of=series-picture"],
            lambda m: [*m["labels"]] == ["felt, x.y/z", "prior"] and m["n"]["trials"] == 36,
            id="odd_names",
        ),
        pytest.param(
            two_and_nine_levels,
            ["model.head=ordinal"],
            lambda m: levels_of(m) == {"arousal": 2, "many": 9},
            id="two_and_nine_levels",
        ),
        pytest.param(heart_alone, EVERYTHING, lambda m: m["model"] == "series-picture", id="heart_alone"),
        pytest.param(
            nothing, ["data.labels=[valence]"], lambda m: [*m["labels"]] == ["valence"], id="one_of_two_labels"
        ),
        pytest.param(
            nothing,
            ["model.branches=[scanpath]", "controls.of=scanpath", "controls.knock_out=true"],
            lambda m: m["importance"] == {},
            id="no_channel_to_knock_out",
        ),
        pytest.param(of_everybody("gsr", np.nan), [], lambda m: m["n"]["trials"] == 36, id="channel_that_nobody_has"),
    ],
)
def test_odd_data_work(tmp_path: Path, damage: Damage, words: list[str], holds: Callable[[Json], bool]) -> None:
    study = Small(tmp_path / "study")
    damage(study)
    assert study.run(*words) == 0
    run = Folder(next(study.runs.glob("cv_emotion-*")))
    assert holds(run.read_json("metrics.json"))
    assert [line for line in findings(run) if "report.html" not in line] == []


def test_a_moved_window_that_holds_nothing_is_noted(tmp_path: Path) -> None:
    study = Small(tmp_path / "study")
    assert study.run("controls.shift_ms=[100000]") == 0
    notes = Folder(next(study.runs.glob("cv_emotion-*"))).read_json("manifest.json")["notes_on_recordings"]
    assert any("nothing in the window of controls.shift_ms +100000: 6 of 6: 6 files" in note for note in notes)
