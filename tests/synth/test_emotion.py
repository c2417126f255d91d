# SPDX-License-Identifier: Apache-2.0
"""The simulated study of felt arousal and valence: the published layout, and body and gaze that know what was felt."""

from __future__ import annotations

import datetime
import io
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.stats import spearmanr

from gazeray.config import parse_yaml
from gazeray.storage import Folder
from gazeray.synth.emotion import (
    LEVELS,
    answer,
    make_clock,
    make_study,
    order_of,
    simulate_emotion,
)
from gazeray.synth.emotion_body import Felt, Signals, make_person, signals
from gazeray.synth.emotion_parameters import EmotionSimulation
from gazeray.synth.emotion_pictures import make_contents, paint
from gazeray.synth.emotion_raw import simulate_raw

SMALL = EmotionSimulation(people=4, pictures=10, bodiless_people=0.25, bodiless_trials=1.0)
NAME = re.compile(r"epochs/(\d+)/(\d+)_(.+)_([1-7])_([1-7])\.csv")
COLUMNS = ["FPOGX", "FPOGY", "FPOGID", "FPOGV", "LPMM", "LPMMV", "RPMM", "RPMMV", "GSR", "GSRV", "HR", "HRV"]
COLUMNS += ["Image", "Arousal", "Valence"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("emotion"))
    simulate_emotion(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def epochs(study: Folder) -> dict[tuple[str, ...], pd.DataFrame]:
    """(participant, seq, image, arousal, valence) -> the file."""
    found = [NAME.fullmatch(stat.path) for stat in study.list() if stat.path.startswith("epochs/")]
    assert all(found)
    return {one.groups(): pd.read_csv(io.BytesIO(study.read_bytes(one[0]))) for one in found if one}


def seen(params: EmotionSimulation) -> pd.DataFrame:
    """A row of answers and simple features per trial."""
    whole = make_study(params)
    rows = []
    for number in range(params.people):
        for slot, trial, found in whole.recorded(number, make_clock(params, number)):
            if slot:
                rows.append([number, trial.picture, trial.arousal, trial.felt.arousal, *features(found)])
    names = ["person", "picture", "arousal", "felt", "pupil", "dilation", "skin", "heart", "fixations", "wide"]
    return pd.DataFrame(rows, columns=names)


def features(found: Signals) -> list[float]:
    """Of the 301 rows of an epoch; conductance and heart rate as if nobody had lost contact."""
    eyes = np.where(found.left_valid, found.left_mm, np.where(found.right_valid, found.right_mm, np.nan))[:301]
    skin = -np.log(np.maximum(found.gsr_ohm[:301], 1))
    return [
        *(np.nanmean(eyes), np.nanmean(eyes[180:]) - np.nanmean(eyes[50:70])),
        *(skin[-60:].mean() - skin[:60].mean(), found.heart_bpm[120:240].mean() - found.heart_bpm[:60].mean()),
        *(len(np.unique(found.fixation[:301])), found.x[:301].std()),
    ]


def test_every_trial_is_a_file_of_17_columns_named_by_its_answers(
    epochs: dict[tuple[str, ...], pd.DataFrame],
) -> None:
    assert len(epochs) == 4 * 10
    for (_, _, image, arousal, valence), table in epochs.items():
        assert table.shape == (301, 17)
        assert re.fullmatch(r"TIME\(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{3}\)", table.columns[1])
        assert list(table.columns[2:]) == COLUMNS
        said = table[["Image", "Arousal", "Valence"]].drop_duplicates().to_numpy().tolist()
        assert said == [[f"Images/{image}.jpg", int(arousal), int(valence)]]
        assert np.diff(table.iloc[:, 0]).tolist() == [1] * 300
        assert set(np.diff(table["FPOGID"])) <= {0, 1}


def test_names_of_pictures_have_spaces_and_underscores_and_each_has_its_file(
    study: Folder, epochs: dict[tuple[str, ...], pd.DataFrame]
) -> None:
    images = {key[2] for key in epochs}
    assert any(" " in image and "_" not in image for image in images)
    assert any("_" in image for image in images)
    assert {f"Images/{image}.jpg" for image in images} == {
        stat.path for stat in study.list() if stat.path.startswith("Images/")
    }
    decoded = cv2.imdecode(np.frombuffer(study.read_bytes("Images/dog 1.jpg"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert decoded.shape == (192, 256, 3)


def test_each_person_sees_every_picture_once_and_seq_counts_them(
    epochs: dict[tuple[str, ...], pd.DataFrame],
) -> None:
    for person in "1234":
        own = [key for key in epochs if key[0] == person]
        assert sorted(int(key[1]) for key in own) == list(range(10))
        assert len({key[2] for key in own}) == 10
    assert order_of(SMALL, 0) != order_of(SMALL, 1)


def test_times_run_on_through_a_recording_in_steps_that_are_not_quite_equal(
    epochs: dict[tuple[str, ...], pd.DataFrame],
) -> None:
    own = sorted((int(key[1]), table) for key, table in epochs.items() if key[0] == "2")
    assert len({table.columns[1] for _, table in own}) == 1
    times = np.concatenate([table.iloc[:, 1].to_numpy() for _, table in own])
    steps = np.concatenate([np.diff(table.iloc[:, 1]) for _, table in own])
    assert (np.diff(times) > 0).all()
    assert np.mean(steps) == pytest.approx(1 / 61.2, rel=1e-3)
    assert 0.3e-3 < np.std(steps) < 0.6e-3
    starts = {table.columns[1] for table in epochs.values()}
    assert len(starts) == 4


def test_what_is_not_valid_says_so(epochs: dict[tuple[str, ...], pd.DataFrame]) -> None:
    every = pd.concat([table.rename(columns={table.columns[1]: "TIME"}) for table in epochs.values()])
    flags = every[["FPOGV", "LPMMV", "RPMMV", "GSRV", "HRV"]]
    assert set(np.unique(flags)) == {0, 1}
    blinks = (flags["LPMMV"] == 0) & (flags["RPMMV"] == 0)
    assert 0.005 < blinks.mean() < 0.15
    assert (flags["FPOGV"][blinks] == 0).all()
    assert every["LPMM"][flags["LPMMV"] == 0].mean() < 0.7 * every["LPMM"][flags["LPMMV"] == 1].mean()
    without = {key[0] for key, table in epochs.items() if (table["GSRV"] == 0).all()}
    assert len(without) == 1  # a quarter of the people, in all their trials
    assert (every[["GSR", "HR"]][flags["GSRV"] == 0] == 0).all(axis=None)
    assert every["GSR"][flags["GSRV"] == 1].between(5e4, 1.5e6).all()
    assert every["HR"][flags["HRV"] == 1].between(35, 130).all()


def test_equal_parameters_give_equal_bytes_and_another_seed_does_not(study: Folder, tmp_path: Path) -> None:
    again, other = Folder(tmp_path / "again"), Folder(tmp_path / "other")
    simulate_emotion(again, SMALL)
    simulate_emotion(other, SMALL.model_copy(update={"seed": 1}))
    paths = [stat.path for stat in study.list()]
    assert [stat.path for stat in again.list()] == paths
    assert all(again.read_bytes(path) == study.read_bytes(path) for path in paths)
    assert [stat.path for stat in other.list()] != paths  # other answers
    assert other.read_bytes("Images/dog 1.jpg") != study.read_bytes("Images/dog 1.jpg")
    with pytest.raises(FileExistsError, match="already holds"):
        simulate_emotion(again, SMALL)


def test_declaration_names_levels_pictures_and_names_of_files(study: Folder) -> None:
    declared = parse_yaml(study.read_text("dataset.yaml"), "dataset.yaml")
    assert declared["labels"] == {name: {"levels": [1, 2, 3, 4, 5, 6, 7]} for name in ("arousal", "valence")}
    assert declared["pictures"] == {"path": "Images/{stimulus}.jpg"}
    assert declared["trials"]["path"] == declared["samples"]["path"]


def test_arousal_is_v_shaped_over_valence() -> None:
    contents = make_contents(EmotionSimulation(pictures=60))
    arousal, valence = np.array([[one.arousal, one.valence] for one in contents]).T
    assert np.corrcoef(arousal, np.abs(valence - valence.mean()))[0, 1] > 0.7
    assert abs(np.corrcoef(arousal, valence)[0, 1]) < 0.3
    for side in (valence < 4, valence > 4.4):
        assert abs(np.corrcoef(arousal[side], valence[side])[0, 1]) > 0.6


def test_pictures_show_what_is_felt_but_not_by_their_brightness() -> None:
    params = EmotionSimulation(pictures=60)
    contents = make_contents(params)
    painted = [paint(params, number, one).astype(float) for number, one in enumerate(contents)]
    arousal, valence = np.array([[one.arousal, one.valence] for one in contents]).T
    redness = [(one[..., 0] - one[..., 1]).mean() for one in painted]
    assert spearmanr(redness, valence)[0] < -0.6
    assert spearmanr([one.std() for one in painted], arousal)[0] > 0.6
    assert abs(spearmanr([one.mean() for one in painted], arousal)[0]) < 0.4


def test_answers_are_levels_bent_by_a_style() -> None:
    params = EmotionSimulation(people=40, pictures=40)
    contents, said, felt = make_contents(params), [], []
    for number in range(params.people):
        who = make_person(params, number)
        trials = [answer(params, number, picture, content, who) for picture, content in enumerate(contents)]
        said.append([trial.arousal for trial in trials])
        felt.append([trial.felt.arousal for trial in trials])
    assert set(np.unique(said)) <= set(LEVELS)
    offsets = np.array([make_person(params, number).offset[0] for number in range(params.people)])
    assert np.corrcoef(np.mean(said, axis=1) - np.mean(felt, axis=1), offsets)[0, 1] > 0.8


@pytest.mark.parametrize(
    ("high", "low", "what", "apart"),
    [
        pytest.param(Felt(5, 4), Felt(2, 4), lambda one: one.left_mm[250:300].mean(), 3 * 0.12 * 0.99, id="pupil"),
        pytest.param(Felt(5, 4), Felt(2, 4), lambda one: one.left_mm[:60].mean(), 0.0, id="pupil_in_first_second"),
    ],
)
def test_effects_are_as_large_as_the_parameters_say(high: Felt, low: Felt, what: object, apart: float) -> None:
    quiet = EmotionSimulation(
        body_cv=0, hippus_mm=0, blinks_per_min=0, one_eye_share=0, bodiless_people=0, pupil_mm=0.12
    )
    assert callable(what)
    assert what(one_trial(quiet, high)) - what(one_trial(quiet, low)) == pytest.approx(
        apart, abs=0.02 + 0.1 * abs(apart)
    )


def test_heart_slows_down_by_what_is_unpleasant_most_of_all_at_3_s() -> None:
    quiet = EmotionSimulation(body_cv=0, bodiless_people=0, heart_bpm=1)
    slower = one_trial(quiet, Felt(3, 2)).heart_bpm - one_trial(quiet, Felt(3, 5)).heart_bpm
    assert slower.min() == pytest.approx(-3, abs=0.3)
    assert 2 < np.argmin(slower) / 61.2 < 4
    assert slower[0] == pytest.approx(0, abs=0.3)


def test_skin_conductance_rises_1_to_3_s_after_the_picture_with_arousal() -> None:
    quiet = EmotionSimulation(body_cv=0, spontaneous_per_min=0, bodiless_people=0, scr_share=0.03)
    high, low = (1 / one_trial(quiet, Felt(arousal, 4)).gsr_ohm for arousal in (6.0, 2.0))
    ratio = high / low
    assert ratio[:60] == pytest.approx(np.ones(60), abs=1e-9)
    onset_s = int(np.argmax(ratio > 1.005)) / 61.2
    assert 1 < onset_s < 3
    assert ratio.max() - 1 == pytest.approx(4 * 0.03, rel=0.5)


def one_trial(params: EmotionSimulation, felt: Felt) -> Signals:
    """8 s of the same person and picture, with the same luck."""
    person, content = make_person(params, 0), make_contents(params)[0]
    return signals(params, person, content, 0.5, felt, (3, 4), np.arange(490) / 61.2, np.random.default_rng(3))


def test_without_effect_no_signal_depends_on_what_is_felt() -> None:
    none = EmotionSimulation(effect=0)
    one, other = one_trial(none, Felt(1, 1)), one_trial(none, Felt(7, 7))
    for name in Signals.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    some = one_trial(EmotionSimulation(), Felt(7, 7))
    assert all(np.any(getattr(some, name) != getattr(one, name)) for name in ("x", "left_mm", "gsr_ohm", "heart_bpm"))


def test_gaze_goes_to_the_things_of_the_picture_and_then_to_the_answers_on_the_scales() -> None:
    params = EmotionSimulation(offset_deg=0)
    content = make_contents(params)[0]
    found = one_trial(params, Felt(3, 6))
    x, y = (1920 * found.x - 240) / 1080, found.y
    away = np.min([np.hypot(x - thing[0], y - thing[1]) / thing[2] for thing in content.things], axis=0)
    assert (away[30:300] < 1.5).mean() > 0.5
    settled = slice(330, 395)  # on the first scale
    assert np.median(found.x[settled]) == pytest.approx(0.2 + 0.6 * 2 / 6, abs=0.02)


def held_out(table: pd.DataFrame, effect_of: list[str]) -> tuple[float, float]:
    """Spearman of arousal with the picture's mean over other people, and with a ridge that also has features."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    by_picture, ridge = np.zeros(len(table)), np.zeros(len(table))
    for fold in range(4):
        test = (table["person"] % 4 == fold).to_numpy()
        train = table[~test]
        means = train.groupby("picture")["arousal"].mean()
        model = make_pipeline(StandardScaler(), Ridge(10.0))
        model.fit(train[effect_of].assign(mean=train["picture"].map(means)), train["arousal"])
        by_picture[test] = table[test]["picture"].map(means)
        ridge[test] = model.predict(table[test][effect_of].assign(mean=by_picture[test]))
    return float(spearmanr(by_picture, table["arousal"])[0]), float(spearmanr(ridge, table["arousal"])[0])


@pytest.mark.parametrize(("effect", "least", "most"), [(1.0, 0.15, 1.0), (0.0, -0.1, 0.03)])
def test_body_adds_to_the_mean_of_the_picture_where_there_is_an_effect_and_only_there(
    effect: float, least: float, most: float
) -> None:
    table = seen(EmotionSimulation(effect=effect, bodiless_people=0))
    by_picture, with_body = held_out(table, ["dilation", "skin", "fixations", "wide"])
    assert least <= with_body - by_picture <= most


def test_raw_form_holds_the_epochs_at_the_onsets_that_the_log_tells(study: Folder, tmp_path: Path) -> None:
    raw = Folder(tmp_path)
    simulate_raw(raw, SMALL.model_copy(update={"drift_ppm": 0.0}))
    table = pd.read_csv(io.BytesIO(raw.read_bytes("raw_data/all gaze/User 2_all_gaze.csv")))
    log = pd.read_csv(io.BytesIO(raw.read_bytes("raw_data/our scale OS files/subject-2.csv")), sep=";")
    time = next(name for name in table.columns if name.startswith("TIME("))
    began = datetime.datetime.strptime(time, "TIME(%Y/%m/%d %H:%M:%S.%f)")
    assert len(log) == 1 + 2 * 10
    trials = zip(log[1::2].to_dict("records"), log[2::2]["form_response"], strict=True)
    for seq, (row, valence) in enumerate(trials):
        ahead = (datetime.datetime.strptime(row["start_time_system"], "%d/%m/%y %H:%M:%S.%f") - began).total_seconds()
        first = int(np.argmax(table[time] > ahead + row["time_Images"] / 1000))
        name = f"epochs/2/{seq}_{row['Image']}_{row['form_response']}_{valence}.csv"
        epoch = pd.read_csv(io.BytesIO(study.read_bytes(name)))
        assert epoch.iloc[0, 0] == first
        shared = ["FPOGX", "FPOGY", "FPOGID", "FPOGV", "LPMM", "LPMMV", "RPMM", "GSR", "GSRV", "HR", "HRV"]
        pd.testing.assert_frame_equal(table[shared][first : first + 301].reset_index(drop=True), epoch[shared])


def test_clocks_drift_and_those_of_strangers_are_hours_apart(tmp_path: Path) -> None:
    params = SMALL.model_copy(update={"strangers": 1})
    clocks = [make_clock(params, number) for number in range(params.people)]
    apart = [abs((clock.log_start - clock.start).total_seconds()) for clock in clocks]
    assert max(apart[:3]) <= 60
    assert apart[3] > 3600
    assert len({clock.log_rate for clock in clocks}) == 4
    assert all(abs(clock.log_rate - 1) < 5 * 50e-6 for clock in clocks)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"picture_px": (200, 200)}, "4 to 3"),
        ({"strangers": 21}, "there are 20 people"),
        ({"effect": -1}, "greater than or equal to 0"),
        ({"jitter": 1}, "jitter"),
    ],
)
def test_wrong_parameters_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EmotionSimulation.model_validate(wrong)
