# SPDX-License-Identifier: Apache-2.0
"""Data sets of channels without gaze, and channels that are bad: zeros, jumps, commas, nothing at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.config import ConfigError
from gazeray.engine.cli import main
from gazeray.gaze.dataset import DatasetSpec
from gazeray.gaze.quality import QualityConfig, TrialGaze, gate, trial_quality
from gazeray.gaze.recording import RecordingGaze
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.tables import DataError
from tests.gaze.tiny_dataset import TRIALS, declared, read_all, write
from tests.running import CONFIGS

SIGNALS = "trial,t,p,g,h\n" + "".join(
    f"{trial},{t},{3 + t / 1000:.3f},{1 + t / 100:.2f},{60 + t / 10:.1f}\n" for trial in "12" for t in range(0, 200, 20)
)
CHANNELS: dict[str, Any] = {
    "pupil": {"column": "p", "unit": "mm", "missing": [-1]},
    "gsr": {"column": "g", "unit": "uS"},
    "heart_rate": {"column": "h", "unit": "bpm", "missing": [0]},
}
ALONE: dict[str, Any] = {
    "reader": "delimited",
    "path": "gaze/{participant}.csv",
    "columns": {"trial": "trial", "timestamp_ms": "t"},
    "channels": CHANNELS,
}


def spec_of(**samples: Any) -> DatasetSpec:
    """No screen, no stimulus: nothing is known of where people looked."""
    return declared(samples={**ALONE, **samples}, screen={}, stimulus=None)


def read(folder: Path, second: str = SIGNALS, **samples: Any) -> list[RecordingGaze]:
    files: dict[str, str | bytes] = {"trials.csv": TRIALS, "gaze/P1.csv": SIGNALS, "gaze/P2.csv": second}
    return read_all(write(folder, files), spec_of(**samples))[1]


def changed(rows: dict[int, str]) -> str:
    """SIGNALS with some of its lines replaced; the header is line 0."""
    lines = SIGNALS.splitlines()
    for number, line in rows.items():
        lines[number] = line
    return "\n".join(lines) + "\n"


def signals(trial: TrialGaze) -> dict[str, np.ndarray]:
    assert trial.samples is not None
    return trial.samples


def test_trials_have_channels_and_coordinates_that_are_nan(tmp_path: Path) -> None:
    first, second = read(tmp_path)
    assert [(one.participant, one.trial) for one in first.trials + second.trials] == [
        *(("P1", "1"), ("P1", "2"), ("P2", "1"), ("P2", "2"))
    ]
    for trial in first.trials:
        assert not trial.has_gaze
        assert trial.units == {"pupil": "mm", "gsr": "uS", "heart_rate": "bpm"}
        assert np.isnan(signals(trial)["x_px"]).all()
        assert np.isnan(signals(trial)["y_px"]).all()
        assert signals(trial)["x_px"].dtype == np.float32
        np.testing.assert_array_equal(signals(trial)["timestamp_ms"], np.arange(0, 200, 20))
        np.testing.assert_allclose(signals(trial)["heart_rate"], 60 + np.arange(0, 200, 20) / 10)
    assert [part.rejects for part in (first, second)] == [[], []]


def test_quality_of_gaze_is_not_known_and_no_gate_refuses_for_its_loss(tmp_path: Path) -> None:
    trial = read(tmp_path)[0].trials[0]
    row = trial_quality(trial, [math.nan] * 4)
    assert (row["n_samples"], row["duration_ms"], row["sampling_hz"]) == (10, 180, 50)
    for name in ("lost_share", "outside_share", "off_screen_share", "longest_gap_ms", "rms_s2s_px", "bcea_px2"):
        assert math.isnan(float(row[name])), name
    assert gate(row, QualityConfig(max_lost_share=0.0)) == ""
    assert "duration_ms 180 <" in gate(row, QualityConfig(min_duration_ms=500))
    assert "off_screen_share is not known" in gate(row, QualityConfig(max_off_screen_share=0.5))


def test_gaze_that_was_recorded_and_all_lost_has_a_loss() -> None:
    samples = {"timestamp_ms": np.arange(4.0), **dict.fromkeys(("x_px", "y_px"), np.full(4, np.nan, np.float32))}
    assert trial_quality(TrialGaze("P1", "1", samples, None), [0, 0, 1, 1])["lost_share"] == 1
    assert math.isnan(
        float(trial_quality(TrialGaze("P1", "1", samples, None, has_gaze=False), [0, 0, 1, 1])["lost_share"])
    )


def test_trial_is_refused_only_where_every_channel_is_lost(tmp_path: Path) -> None:
    lost = changed(
        {row: f"1,{20 * (row - 1)},-1,,0" for row in range(1, 11)}
        | {row: f"2,{20 * (row - 11)},-1,,{70 if row == 15 else 0}" for row in range(11, 21)}
    )
    (first, second) = read(tmp_path, lost)
    assert [one.trial for one in first.trials] == ["1", "2"]
    assert [one.trial for one in second.trials] == ["2"]
    assert np.isnan(signals(second.trials[0])["gsr"]).all()
    assert np.nansum(signals(second.trials[0])["heart_rate"]) == 70
    reasons = [(one.trial, one.reason) for one in second.rejects]
    assert reasons == [("1", "all 10 samples are lost in every channel (pupil, gsr, heart_rate)")]


def test_skin_conductance_without_any_value_of_a_person_costs_that_channel_alone(tmp_path: Path) -> None:
    lines = [line.split(",") for line in SIGNALS.splitlines()]
    empty = "".join(",".join([*line[:3], "g" if line[0] == "trial" else "", line[4]]) + "\n" for line in lines)
    first, second = read(tmp_path, empty)
    assert len(second.trials) == len(first.trials) == 2
    for trial in second.trials:
        assert np.isnan(signals(trial)["gsr"]).all()
        assert np.isfinite(signals(trial)["pupil"]).all()
    assert "gaze/P2.csv: no value in a channel: gsr" in second.notes


def test_channel_that_never_changes_passes_as_it_is(tmp_path: Path) -> None:
    lines = [line.split(",") for line in SIGNALS.splitlines()]
    flat = "".join(",".join([*line[:3], "g" if line[0] == "trial" else "2.5", line[4]]) + "\n" for line in lines)
    trial = read(tmp_path, flat)[1].trials[0]
    assert set(signals(trial)["gsr"].tolist()) == {2.5}


def test_heart_rate_of_zero_is_lost_where_declared_and_noted_where_not(tmp_path: Path) -> None:
    zeros = changed({row: f"1,{20 * (row - 1)},3,1,0" for row in range(2, 5)})
    second = read(tmp_path, zeros)[1]
    np.testing.assert_array_equal(np.isnan(signals(second.trials[0])["heart_rate"]), [0, 1, 1, 1, *[0] * 6])
    assert second.notes == []
    plain = {**CHANNELS, "heart_rate": {"column": "h", "unit": "bpm"}}
    second = read(tmp_path, zeros, channels=plain)[1]
    assert (signals(second.trials[0])["heart_rate"][1:4] == 0).all()
    note = "values of heart_rate that are not above 0; are they lost? declare `missing` of the channel: 3 of 20 rows"
    assert second.notes == [f"gaze/P2.csv: {note}"]


def test_times_that_are_there_twice_stay_and_lines_written_twice_are_left_out(tmp_path: Path) -> None:
    twice = changed({3: "1,20,3.9,1.9,69"})  # another value at the time of the row before it
    trial = read(tmp_path, twice)[1].trials[0]
    np.testing.assert_array_equal(signals(trial)["timestamp_ms"], [0, 20, 20, *range(60, 200, 20)])
    assert signals(trial)["gsr"][2] == np.float32(1.9)
    lines = SIGNALS.splitlines()
    again = "\n".join([*lines[:6], *lines[3:6], *lines[6:]]) + "\n"  # the block of rows 3 to 5 once more
    second = read(tmp_path, again)[1]
    np.testing.assert_array_equal(signals(second.trials[0])["timestamp_ms"], np.arange(0, 200, 20))
    assert [one.row for one in second.rejects] == [6, 7, 8]


@pytest.mark.parametrize(
    ("rows", "left", "reason"),
    [
        pytest.param({5: "1,-5000,3,1,60"}, 9, "time runs backwards: to -5000 ms", id="one_row_jumps_back"),
        pytest.param({row: f"1,{20 * (row - 1) - 9000},3,1,60" for row in range(5, 9)}, 0,
                     "time runs backwards: from 60 to -8920 ms", id="clock_is_set_back"),
    ],
)  # fmt: skip
def test_clock_that_jumps_back_costs_the_row_or_the_trial(
    tmp_path: Path, rows: dict[int, str], left: int, reason: str
) -> None:
    second = read(tmp_path, changed(rows))[1]
    assert [len(signals(one)["timestamp_ms"]) for one in second.trials if one.trial == "1"] == ([left] if left else [])
    assert [one.trial for one in second.trials][-1] == "2"
    assert any(reason in one.reason for one in second.rejects), second.rejects


def test_clock_that_jumps_ahead_is_a_pause_that_is_noted(tmp_path: Path) -> None:
    ahead = changed({row: f"1,{20 * (row - 1) + 9000},3,1,60" for row in range(5, 11)})
    second = read(tmp_path, ahead)[1]
    assert len(signals(second.trials[0])["timestamp_ms"]) == 10
    assert any("a pause of more than 2 s" in note for note in second.notes)
    assert trial_quality(second.trials[0], [math.nan] * 4)["duration_ms"] == 9180


def test_decimal_commas_are_read_as_declared_and_told_where_not(tmp_path: Path) -> None:
    commas = SIGNALS.replace(",", ";").replace(".", ",")
    plain = read(tmp_path / "plain")[0].trials[0]
    root = write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": commas, "gaze/P2.csv": commas})
    found = read_all(root, spec_of(delimiter=";", decimal=","))[1][0].trials[0]
    for name, values in signals(plain).items():
        np.testing.assert_array_equal(signals(found)[name], values, err_msg=name)
    undeclared = read_all(root, spec_of(delimiter=";"))[1][0]
    assert undeclared.trials == []
    why = "no value in a channel: pupil holds '3,000': a decimal comma? declare decimal: ','"
    assert undeclared.notes[0] == f"gaze/P1.csv: {why}"


@pytest.mark.parametrize(
    ("samples", "fault"),
    [
        ({"channels": {}}, "does not say which column holds x_px; does not say which column holds y_px"),
        ({"columns": {"trial": "trial", "timestamp_ms": "t", "x_px": "x"}}, "does not say which column holds y_px"),
        ({"units": {"x_px": "normalised"}}, "x_px: no column holds coordinates"),
        ({"missing": [-1]}, "no column holds coordinates; a channel has `missing` of its own"),
        ({"origin": "stimulus"}, "stimulus: no column holds coordinates"),
        ({"y_axis": "up"}, "up: no column holds coordinates"),
        ({"eye": "left"}, "no columns of two eyes"),
        ({"path": "gaze/{participant}_{eye}.csv"}, "told apart by their gaze, and there is none"),
        ({"columns": {**ALONE["columns"], "validity": "ok"}, "valid": [1]}, "validity has no meaning without coordin"),
    ],
)
def test_keys_of_gaze_mean_nothing_without_coordinates(samples: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        spec_of(**samples)


def test_screen_must_be_known_where_there_is_gaze(tmp_path: Path) -> None:
    columns = {"trial": "trial", "timestamp_ms": "t", "x_px": "p", "y_px": "g"}
    with pytest.raises(DataError, match=r"screen\.width_px is not declared"):
        read(tmp_path, columns=columns)


def test_heatmap_says_that_there_is_no_gaze_to_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path)
    (tmp_path / "dataset.yaml").write_text(
        "name: tiny\nlabels: {condition: {C: one, P: other}}\ntrials: {path: trials.csv}\n"
        "samples: {reader: delimited, path: 'gaze/{participant}.csv', columns: {trial: trial, timestamp_ms: t},"
        " channels: {gsr: {column: g}}}\n"
    )
    words = [f"data.dataset={tmp_path}/dataset.yaml", f"run.dir={tmp_path}/runs", "resources.workers=0"]
    assert main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIGS / "cv_heatmap.yaml", write_report, words) == 2
    assert "tiny has channels alone, no coordinates (x_px, y_px)" in capsys.readouterr().err
