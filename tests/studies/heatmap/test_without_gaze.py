# SPDX-License-Identifier: Apache-2.0
"""What of a heatmap study can be had without gaze: what its examples know beside it, and what a run says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapStudy
from gazeray.studies.shared.classification import WITHOUT_GAZE
from tests.studies.heatmap.test_study import READERS, SMALL, TRIALS, config, read_all, write_study
from tests.studies.here import whole

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
    assert set(WITHOUT_GAZE) <= set(outcome.metrics["rows"])
    assert outcome.metrics["rows"]["nuisance"]["balanced_accuracy"]["value"] == 1.0
    assert outcome.metrics["without_gaze"]["best"] in ("nuisance", "without_gaze")
    predictions = outcome.run.read_table("predictions.parquet")
    assert predictions["participant_only"].null_count == READERS * TRIALS
    assert np.isfinite(np.array(predictions["stimulus_only"].to_pylist())).all()
    write_report(outcome.run)
    page = outcome.run.read_text("report.html")
    assert GIVEN_AWAY in page
    assert "what can be had without gaze (order, duration, rate, loss: balanced accuracy 1.00" in page
