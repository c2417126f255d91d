# SPDX-License-Identifier: Apache-2.0
"""Controls that see another window of time, and whom they may be asked of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from gazeray.config import ConfigError, load_config
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.emotion.control_models import controls, shuffled
from gazeray.studies.emotion.source import open_trials
from gazeray.studies.emotion.study import EmotionStudy
from tests.gaze.test_channels_alone import ALONE, SIGNALS
from tests.gaze.tiny_dataset import TRIALS, write
from tests.studies.emotion.tiny_trials import config, learner
from tests.studies.here import in_this_process


def store_of(folder: Path, *words: str) -> Store:
    """The examples of a small simulated study on a grid of 100 ms."""
    small = ["data.simulate.people=4", "data.simulate.pictures=4", "folds.outer=2", "signals.samples=50"]
    branches = ["model.branches=[series,scanpath]", "controls.of=series-scanpath", "scanpath.side_px=32"]
    study = EmotionStudy(load_config(EmotionConfig, None, [f"run.dir={folder}", *small, *branches, *words]))
    return in_this_process(study.passes(study.open(), Folder(folder / "stores")))[0].examples


def columns(store: Store, *names: str) -> list[np.ndarray]:
    found = store.take(np.arange(len(store)), list(names))
    return [np.asarray(found[name]) for name in names]


def test_signals_and_scanpaths_are_moved_and_cut_alike(tmp_path: Path) -> None:
    store = store_of(tmp_path, "controls.shift_ms=[500,9000]", "controls.cut_ms=1000")
    names = ("", "@shift+500", "@cut-1000", "@shift+9000")
    plain, later, cut, gone = columns(store, *(f"series{name}" for name in names))
    np.testing.assert_allclose(later[:, :, 2:-10], plain[:, :, 7:-5], rtol=1e-3, atol=2e-2)
    assert np.isnan(later[:, :, -5:]).all(), "the recordings end with the window"
    np.testing.assert_array_equal(cut[:, :, :40], plain[:, :, :40])
    assert np.isnan(cut[:, :, 40:]).all()
    assert np.isnan(gone).all()

    whole, moved, short, empty = columns(store, *(f"scanpath{name}" for name in names))
    assert (short <= whole).all(), "a part of the strokes"
    assert (short < whole).any(axis=(1, 2, 3)).mean() > 0.8
    assert (moved != whole).any(axis=(1, 2, 3)).all()
    assert whole.any(axis=(1, 2, 3)).all()
    assert not empty.any()


def test_only_what_is_asked_sees_other_windows(tmp_path: Path) -> None:
    """Of what nobody asks nothing is drawn."""
    store = store_of(tmp_path, "controls.of=scanpath", "controls.shift_ms=[-500]", "scanpath.look.kind=channels")
    whole, moved = columns(store, "scanpath", "scanpath@shift-500")
    assert whole.shape == moved.shape == (len(store), 3, 32, 32)
    with pytest.raises(Exception, match="series@shift-500"):
        columns(store, "series@shift-500")


def test_each_control_is_the_model_with_another_window() -> None:
    cfg = config(
        signals={"scale": "published"}, controls={"of": "series-scanpath", "shift_ms": [500, -250.5], "cut_ms": 1000}
    )
    asked = learner(cfg, ("series", "scanpath"))
    found = controls(cfg.controls, asked, None, ["arousal"], 0)  # type: ignore[arg-type]
    assert list(found) == cfg.controls.fits == ["shift+500", "shift-250.5", "cut-1000"]
    for key, (row, own, _) in found.items():
        assert own.columns == (f"series@{key}", f"scanpath@{key}")
        assert row.kind == "control"
    assert [row.label for row, _, _ in found.values()] == [
        "window 500 ms later",
        "window 250.5 ms earlier",
        "without the last 1000 ms",
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["controls.cut_ms=4900"], "controls.cut_ms: 4900 leaves nothing of signals.duration_ms 4900"),
        (["controls.shift_ms=[0]"], "controls.shift_ms: each once in six digits, none 0"),
        (["controls.shift_ms=[500,500.0]"], "controls.shift_ms: each once"),
        (["controls.of=gaze", "controls.cut_ms=1"], "controls.of: no such model"),
        (["controls.of=picture", "controls.cut_ms=1"], "cut_ms: 'picture' sees no signals"),
        (["controls.of=picture", "controls.swap_signals=true"], "swap_signals: 'picture' sees no signals"),
        (
            ["model.branches=[series]", "search.space.loss.gamma=[0, 2]", "controls.cut_ms=1"],
            "controls.of: the settings of 'series' are searched",
        ),
        (["signals.channels=[]"], "signals.channels"),
        (["signals.channels=[x,gsr]", "augment.views=2"], "signals.channels: x and y are moved together"),
    ],
)
def test_controls_and_channels_that_ask_nothing_are_refused(words: list[str], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(EmotionConfig, None, words)
    assert reason in str(caught.value)


def test_a_model_that_the_data_do_not_allow_cannot_be_asked(tmp_path: Path) -> None:
    """Else its controls would be left out without a word."""
    write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": SIGNALS, "gaze/P2.csv": SIGNALS})
    columns = {"participant": "participant", "trial": "trial"}
    declared = {"name": "alone", "trials": {"path": "trials.csv", "columns": columns}, "samples": ALONE,
                "labels": {"condition": {"C": "control", "P": "pseudoword"}}}  # fmt: skip
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(declared))
    words = [f"data.dataset={tmp_path / 'alone.yaml'}", "controls.of=scanpath", "controls.swap_signals=true"]
    with pytest.raises(ConfigError) as caught:
        open_trials(load_config(EmotionConfig, None, words))
    assert "controls.of: no model 'scanpath' here: scanpath is left out" in str(caught.value)
    assert "(allowed: series)" in str(caught.value)


def test_labels_are_shuffled_within_people_and_stay_together() -> None:
    people, rng = np.repeat(["a", "b", "c"], 40), np.random.default_rng(0)
    first = np.repeat([0, 100, 200], 40) + rng.integers(0, 7, 120)
    plain = pa.table({"participant": people, "one_index": first, "two_index": -first, "row": np.arange(120)})
    found = shuffled(plain, ["one", "two"], 3)
    one = found.column("one_index").to_numpy()
    np.testing.assert_array_equal(found.column("two_index").to_numpy(), -one)
    np.testing.assert_array_equal(found.column("row").to_numpy(), np.arange(120))
    for person in "abc":
        own = people == person
        np.testing.assert_array_equal(np.sort(one[own]), np.sort(first[own]))
        assert (one[own] != first[own]).mean() > 0.5
    assert shuffled(plain, ["one", "two"], 3).equals(found)
    assert not shuffled(plain, ["one", "two"], 4).equals(found)
