# SPDX-License-Identifier: Apache-2.0
"""Broken recordings and the job: what is impossible exits 2 before anything starts, the rest is refused by name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import ray

from gazeray.engine.cli import main
from gazeray.storage import Folder
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.synth.reading import simulate
from gazeray.synth.reading_parameters import ReadingSimulation
from tests.running import CONFIGS, HERE

CONFIG = CONFIGS / "cv_heatmap.yaml"
WORDS = ["folds.outer=2", "train.epochs=2", "model.width=2", "scores.resamples=100", "scores.permutations=99"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A small simulated study, six readers of eight sentences, to be damaged."""
    folder = tmp_path / "study"
    simulate(Folder(folder), ReadingSimulation(readers=6, sentences=8))
    return folder


def run(study: Path, *words: str) -> int:
    place = [f"data.dataset={study / 'dataset.yaml'}", f"run.dir={study.parent / 'runs'}"]
    return main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIG, write_report, [*place, *WORDS, *words])


def trials_of(study: Path) -> pd.DataFrame:
    return pd.read_csv(study / "trials.csv", dtype=str, keep_default_na=False)


def keep_trials(study: Path, choose: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    choose(trials_of(study)).to_csv(study / "trials.csv", index=False)


def only_one_class(study: Path) -> None:
    keep_trials(study, lambda trials: trials.assign(condition="C"))


def only_two_readers(study: Path) -> None:
    keep_trials(study, lambda trials: trials[trials["participant"].isin(["R01", "R02"])])


def no_trials_file(study: Path) -> None:
    (study / "trials.csv").unlink()


def header_only(study: Path) -> None:
    keep_trials(study, lambda trials: trials.iloc[:0])


def no_label_column(study: Path) -> None:
    keep_trials(study, lambda trials: trials.drop(columns="condition"))


def no_labels(study: Path) -> None:
    keep_trials(study, lambda trials: trials.assign(condition=""))


def no_gaze(study: Path) -> None:
    for path in (study / "gaze").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "words", "message"),
    [
        pytest.param(only_one_class, [], "class", id="one_class_in_the_whole_data_set"),
        pytest.param(only_two_readers, ["folds.outer=3"], "2 participants", id="fewer_participants_than_folds"),
        pytest.param(no_trials_file, [], "trials.csv", id="missing_trials_file"),
        pytest.param(header_only, [], "trials.csv", id="trials_header_without_rows"),
        pytest.param(no_label_column, [], "condition", id="missing_label_column"),
        pytest.param(no_labels, [], "label", id="every_label_missing"),
        pytest.param(no_gaze, [], "gaze", id="no_gaze_file"),
        pytest.param(lambda study: None, ["data.label=mood"], "mood", id="unknown_label"),
        pytest.param(lambda study: None, ["data.root=nowhere/at/all"], "nowhere", id="missing_folder"),
        pytest.param(lambda study: None, ["data.dataset=no.yaml"], "no such file", id="missing_declaration"),
    ],
)
def test_what_makes_the_study_impossible_exits_2_and_starts_nothing(
    study: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    words: list[str],
    message: str,
) -> None:
    damage(study)
    monkeypatch.setattr(ray, "init", lambda *args, **kwargs: pytest.fail("a cluster was started"))
    assert run(study, *words) == 2
    shown = capsys.readouterr().err
    assert all(line.startswith("error: ") for line in shown.splitlines())
    assert message in shown
    assert not (study.parent / "runs").exists()


def test_unit_that_fits_no_machine_exits_2(ray_cluster: None, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(study, "resources.per_unit.cpu=64") == 2
    assert "resources.per_unit: one unit takes 64 CPU, but this machine has 2 CPU" in capsys.readouterr().err
    assert not list((study.parent / "runs").glob("*/units"))


def test_empty_folder_exits_2(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run(study, f"data.root={tmp_path / 'empty'}") == 2
    assert "empty" in capsys.readouterr().err


def damage_everywhere(study: Path) -> None:
    """One damage of each kind that a study survives."""
    packed = gzip.compress((study / "gaze/R06.csv").read_bytes())
    (study / "gaze/R06.csv").write_bytes(packed[: len(packed) // 2])
    keep_trials(study, hurt_trials)
    header, *rows = (study / "gaze/R01.csv").read_text().splitlines()
    names = header.split(",")
    gaze = pd.DataFrame([row.split(",") for row in rows], columns=names)
    trials = sorted(gaze["trial"].unique(), key=int)
    x, y, t = (next(name for name in names if name.startswith(letter)) for letter in "xyt")
    t = next(name for name in names if "ms" in name)
    gaze.loc[gaze["trial"] == trials[0], [x, y]] = ""
    gaze.loc[gaze["trial"] == trials[1], x] = "99999"
    backwards = gaze.index[gaze["trial"] == trials[2]][5]
    gaze.loc[backwards, t] = "-50"
    gaze.loc[gaze.index[gaze["trial"] == trials[3]][3], x] = "oops"
    gaze = gaze[gaze["trial"] != trials[4]]
    gaze = pd.concat([gaze, gaze[gaze["trial"] == trials[5]].assign(trial="404")])
    gaze.to_csv(study / "gaze/R01.csv", index=False)
    (study / "gaze/R99.csv").write_text(header + "\n1,0,1,1\n")


def hurt_trials(trials: pd.DataFrame) -> pd.DataFrame:
    trials.loc[(trials["participant"] == "R02") & (trials.index % 8 == 0), "condition"] = ""
    trials.loc[(trials["participant"] == "R02") & (trials.index % 8 == 1), "condition"] = "Q"
    trials.loc[(trials["participant"] == "R03") & (trials["condition"] == "P"), "condition"] = "C"
    evil = trials.iloc[[0]].assign(participant="../../R01")
    return pd.concat([trials, trials[trials["participant"] == "R04"].iloc[[0]], evil])


@pytest.mark.slow
def test_damaged_recordings_are_refused_by_name_and_the_rest_is_used(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage_everywhere(study)
    assert run(study, HERE, "explain.maps=false") == 0, capsys.readouterr().err
    folder = Folder(next((study.parent / "runs").glob("cv_heatmap-*")))
    rejects = folder.read_table("rejects.parquet").to_pandas()
    reasons = " | ".join(rejects["source"] + ": " + rejects["reason"])
    for source, word in [
        ("gaze/R06.csv", "gz"),
        ("gaze/R99.csv", "R99"),
        ("gaze/R01.csv", "lost"),
        ("gaze/R01.csv", "backwards"),
        ("gaze/R01.csv", "oops"),
        ("gaze/R01.csv", "404"),
        ("trials.csv", "label"),
        ("trials.csv", "Q"),
        ("trials.csv", "duplicate"),
        ("trials.csv", "no file matches"),
    ]:
        mine = rejects[rejects["source"] == source]
        assert mine["reason"].str.contains(word).any() or (mine["trial"] == word).any(), f"{source}: {word}: {reasons}"
    assert (rejects["reason"] != "").all()
    metrics = folder.read_json("metrics.json")
    assert metrics["n"]["participants"] == 5
    assert metrics["n"]["rejected"] == len(rejects)
    assert sum(metrics["participants"]["R03"]["confusion"][1]) == 0, "a participant with one class is kept"
    used = folder.read_table("predictions.parquet").num_rows
    assert used == metrics["n"]["trials"] == 5 * 8 - 3 - 2, "a row that steps back costs that row"
    page = folder.read_text("report.html")
    assert "backwards" in page
    assert "oops" in page
