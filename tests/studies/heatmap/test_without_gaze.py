# SPDX-License-Identifier: Apache-2.0
"""What of a heatmap study can be had without gaze: what its examples know beside it, and what a run says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gazeray.storage import Folder
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapStudy
from gazeray.studies.shared.classification import WITHOUT_GAZE
from gazeray.tables import DataError
from tests.studies.heatmap.test_study import READERS, SMALL, TRIALS, config, read_all, write_study
from tests.studies.here import faults, whole

GIVEN_AWAY = (
    "“kind” is a function of trial order: whoever knows it needs no gaze (places in the order of each label: "
    "first 2, second 2)."
)


def label_by_order(declaration: Path) -> None:
    """The second half of everybody's trials is of the second kind."""
    rows = declaration.with_name("trials.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows[1:]]
    halves = [
        ",".join([*row[:2], f"T{(int(row[1]) * 3 + int(row[0][1:])) % TRIALS}", "ab"[int(row[1]) // 2]])
        for row in cells
    ]
    declaration.with_name("trials.csv").write_text("\n".join([rows[0], *halves]) + "\n")


def test_examples_know_their_order_duration_rate_and_loss(tmp_path: Path) -> None:
    store = read_all(config(write_study(tmp_path / "data", {})))
    assert store.log is not None
    quality = {(row["participant"], row["trial"]): row for row in store.table_of("quality").to_pylist()}
    for row in store.table.to_pylist():
        own = quality[row["participant"], row["trial"]]
        assert row["nuisance_order"] == int(row["trial"]) + 1
        assert row["nuisance_duration_ms"] == own["duration_ms"] > 0
        assert row["nuisance_rate_hz"] == own["sampling_hz"] > 0
        assert row["nuisance_lost"] == own["lost_share"]


def test_label_that_goes_with_the_order_is_said_first_and_no_gain_is_claimed(tmp_path: Path) -> None:
    declaration = write_study(tmp_path / "data", {})
    assert HeatmapStudy(config(declaration)).open().data.given_away == []
    label_by_order(declaration)
    study = HeatmapStudy(config(declaration, *SMALL, "explain.maps=false"))
    assert GIVEN_AWAY in study.open().lines
    outcome = whole(study)
    assert outcome.run.read_json("manifest.json")["data"]["notes"] == [GIVEN_AWAY]
    assert outcome.metrics is not None
    assert outcome.metrics["n"]["trials"] == READERS * TRIALS
    assert set(WITHOUT_GAZE) - set(outcome.metrics["rows"]) == {"reading_speed"}, "no words are declared"
    assert outcome.metrics["rows"]["nuisance"]["balanced_accuracy"]["value"] == 1.0
    assert outcome.metrics["without_gaze"]["best"] in ("nuisance", "without_gaze")
    predictions = outcome.run.read_table("predictions.parquet")
    assert predictions["participant_only"].null_count == READERS * TRIALS
    assert np.isfinite(np.array(predictions["stimulus_only"].to_pylist())).all()
    write_report(outcome.run)
    page = outcome.run.read_text("report.html")
    assert GIVEN_AWAY in page
    assert "what can be had without gaze (order, duration, rate, loss: balanced accuracy 1.00" in page


def test_refused_trial_keeps_its_place_in_the_order(tmp_path: Path) -> None:
    declaration = write_study(tmp_path / "data", {})
    label_by_order(declaration)
    table = declaration.with_name("trials.csv")
    rows = [line.split(",") for line in table.read_text().splitlines()]
    for at in (1, 5, 9):  # the first trial of three people
        rows[at][3] = ""
    table.write_text("\n".join(map(",".join, rows)) + "\n")
    found = HeatmapStudy(config(declaration)).open().data
    assert len(found.rejects) == 3
    assert found.order[:3].tolist() == [2, 3, 4]
    assert GIVEN_AWAY in found.given_away


def test_order_of_a_table_that_has_none_gives_nothing_away_and_reads_nothing_again(tmp_path: Path) -> None:
    declaration = write_study(tmp_path / "data", {})
    label_by_order(declaration)
    before = HeatmapStudy(config(declaration)).open().data
    trials = yaml.safe_load(declaration.read_text())["trials"]
    declare(declaration, trials={**trials, "in_order": False})
    found = HeatmapStudy(config(declaration)).open().data
    assert before.given_away == [GIVEN_AWAY]
    assert found.given_away == []
    assert np.isnan(found.order).all()
    assert found.fingerprint == before.fingerprint


def declare(declaration: Path, **changes: Any) -> None:
    spec = yaml.safe_load(declaration.read_text())
    declaration.write_text(yaml.safe_dump({**spec, **changes}))


def written(run: Folder, unit: str) -> list[int]:
    """When the results of the units were written."""
    return [
        stat.mtime_ns for stat in run.list("units") if stat.path.startswith(f"units/{unit}-") and "result" in stat.path
    ]


def test_what_is_declared_beside_the_gaze_makes_rows_and_no_fit_of_the_cnn_again(tmp_path: Path) -> None:
    declaration = write_study(tmp_path / "data", {})
    trials = declaration.with_name("trials.csv")
    rows = [line.split(",") for line in trials.read_text().splitlines()]
    more = [["n", "mood"], *([str(100 + 50 * (row[3] == "b")) if at else "?", "gay" if row[3] == "b" else "glum"]
                            for at, row in enumerate(rows[1:]))]  # fmt: skip
    trials.write_text("\n".join(",".join(row + own) for row, own in zip(rows, more, strict=True)) + "\n")
    study = HeatmapStudy(config(declaration, *SMALL, "explain.maps=false"))
    first = whole(study)
    fitted, beside = written(first.run, "fold"), written(first.run, "baselines")
    assert first.metrics is not None
    assert "reading_speed" not in first.metrics["rows"]
    assert "reading_speed" not in first.run.read_table("predictions.parquet").column_names

    columns = {"participant": "participant", "trial": "trial", "stimulus": "text", "words": "n"}
    declare(declaration, nuisance=["mood"], trials={"path": "trials.csv", "columns": columns})
    again = whole(study)
    assert again.run.uri == first.run.uri
    assert written(again.run, "fold") == fitted, "the CNN does not depend on it"
    assert set(written(again.run, "baselines")).isdisjoint(beside)
    assert again.metrics is not None
    assert again.metrics["rows"]["nuisance"]["balanced_accuracy"]["value"] == 1.0
    assert again.metrics["rows"]["reading_speed"]["balanced_accuracy"]["value"] > 0.9
    assert again.metrics["predictors"]["nuisance"]["label"] == "order, duration, rate, loss, mood"
    for name in ("cnn", "logistic_regression", "stimulus_only"):
        for metric, entry in first.metrics["rows"][name].items():
            assert again.metrics["rows"][name][metric]["value"] == entry["value"]
    note = "trials.csv: of 1 trials n is no number of words, 1 or more"
    assert note in study.open().lines
    assert note in again.run.read_json("manifest.json")["notes_on_recordings"]
    assert faults(again.run) == []
    write_report(again.run)
    page = again.run.read_text("report.html")
    assert "order, duration, rate, loss, mood" in page
    assert "what the data set declares: mood (" in page
    assert "reading speed" in page

    declare(declaration, nuisance=["kind"])
    with pytest.raises(DataError, match="nuisance: 'kind': is no circumstance but the label"):
        study.open()


def test_fold_whose_baselines_failed_is_not_scored_and_done_again_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = HeatmapStudy(config(write_study(tmp_path / "data", {}), *SMALL, "explain.maps=false"))

    def broken(*_: Any) -> None:
        raise RuntimeError("no regression today")

    with monkeypatch.context() as patch:
        patch.setattr("gazeray.studies.shared.baselines.gazeless_scores", broken)
        outcome = whole(study, failed=2)
        assert outcome.metrics is None, "no fold has both its units"
        assert not outcome.run.exists("metrics.json")
        write_report(outcome.run)
        assert "Incomplete run (0 of 2 folds): no verdict" in outcome.run.read_text("report.html")
    fitted = written(outcome.run, "fold")
    whole(study)

    (tmp_path / "runs" / outcome.run.uri.rpartition("/")[2] / "units/baselines-1/result.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("gazeray.studies.shared.baselines.gazeless_scores", broken)
        outcome = whole(study, failed=1)
    assert outcome.metrics is not None
    assert outcome.metrics["failed"] == ["baselines-1"]
    assert [fold["fold"] for fold in outcome.metrics["folds"]] == [0]
    assert set(outcome.run.read_table("predictions.parquet")["fold"].to_pylist()) == {0}
    found = faults(outcome.run)
    assert all("failed" in line for line in found), found
    write_report(outcome.run)
    page = outcome.run.read_text("report.html")
    assert "Incomplete run (1 of 2 folds)" in page
    assert "baselines failed" in page
    whole(study)
    assert written(outcome.run, "fold") == fitted


def test_baselines_know_who_is_known_to_the_refit_that_a_search_chose(tmp_path: Path) -> None:
    words = ["search.space.train.learning_rate=[0.001, 0.01]", "folds.inner=2", "train.epochs=1", "explain.maps=false"]
    outcome = whole(HeatmapStudy(config(write_study(tmp_path / "data", {}), *SMALL, *words)))
    for number in range(2):
        counts = outcome.run.read_json(f"units/baselines-{number}/result.json")["n"]
        fitted = outcome.run.read_json(f"units/fold-{number}/result.json")["n"]
        assert counts == {"known": fitted["train"], "test": fitted["test"]}
