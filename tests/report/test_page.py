# SPDX-License-Identifier: Apache-2.0
"""A page of a study that the report has never heard of: composed of sections, with words of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from gazeray.report.blocks import Figure, Text
from gazeray.report.page import Page, write_page
from gazeray.report.results import Results, read_results
from gazeray.report.sections import learning, quality, rejects, scores, search, spread
from gazeray.report.sections.methods import config, methods
from gazeray.report.words import Metric
from gazeray.storage import Folder
from tests.report.pages import check_self_contained, figure_names, read_page

METRICS = {"ccc": Metric("concordance"), "rmse": Metric("RMSE", "points", rises=False)}


def row(ccc: float, rmse: float | None, **more: Any) -> dict[str, Any]:
    entry = {"value": rmse, "ci95": None, "n": 3}
    return {
        "ccc": {"value": ccc, "ci95": [ccc - 0.1, ccc + 0.1], "n": 4, **more},
        "rmse": entry | {"why": "one is gone"},
    }


def study(run: Folder) -> None:
    """A finished run of a regression: a network and two baselines on four trials."""
    gain = {"mean": {"value": 0.4, "ci95": [0.3, 0.5], "p": 0.004}}
    kinds = {"fusion": ("model", "fusion"), "eye": ("model", "eyes alone"), "mean": ("baseline", "participant’s mean")}
    run.write_json("manifest.json", {
        "job": "emotion", "study": "emotion", "status": "done", "config": {"seed": 1}, "config_hash": "ab", "seed": 1,
        "started": "then", "finished": "now", "versions": {"gazeray": "1"}, "units": {"fold-0": "done"},
        "data": {"dataset": "faces", "fingerprint": "f", "licence": None, "notes": ["A note."]},
    })  # fmt: skip
    run.write_json("metrics.json", {
        "metrics_shown": ["ccc", "rmse"], "best": "fusion", "n": {"trials": 4},
        "predictors": {key: {"kind": kind, "label": label} for key, (kind, label) in kinds.items()},
        "rows": {"eye": row(0.2, 2.0), "mean": row(0.1, None), "fusion": row(0.5, 1.0, gain=gain)},
    })  # fmt: skip
    epochs = ['{"epoch": 1, "train_loss": 2.0, "validation_loss": 2.1, "validation_ccc": 0.1}',
              '{"epoch": 2, "train_loss": 1.0, "validation_loss": 1.8, "validation_ccc": -0.2}']  # fmt: skip
    run.write_text("units/fold-0/metrics.jsonl", "\n".join(epochs))
    items = [{"item": f"P1/{trial}", "predictor": key, "ccc": 0.1 * trial} for key in kinds for trial in range(4)]
    run.write_table("per_item.parquet", pa.Table.from_pylist(items))


def write(run: Folder) -> None:
    read = read_results(run)
    results = Results(**(vars(read) | {"item": "item", "order": list(read.predictors)}))
    keys = spread.compared(results, METRICS, "ccc", ["fusion"])
    write_page(run, results, Page(
        "Emotion", "Emotion from faces and eyes", ["4 trials"], "It works.",
        [
            scores.section(results, METRICS, "ccc", "trial", "Intro.", [scores.Gains("mean", "the mean", "mean")]),
            learning.section(results, learning.Logged("squared error", "ccc", "concordance", (-1, 1))),
            search.section(results),
            spread.section(results, METRICS, "trial", ["ccc"], keys, [("ccc", "mean")]),
            quality.section(results),
            rejects.section(results, "Rejected", "Rejected", "Read: 4 trials."),
            methods([Text("are made.", "Scores")], ["cawley", "Ours, A. (2026)."]),
            config(results),
        ],
        caveats=["Four trials."],
    ))  # fmt: skip


def test_page_of_another_study_is_composed_of_the_same_sections(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    study(run)
    write(run)
    check_self_contained(run)
    page = read_page(run)
    assert page.sections == ["scores", "learning", "spread", "quality", "rejected", "methods", "config"]
    assert figure_names(run) == ["ceiling", "learning_curves", "spread"]
    for words in (
        "Emotion: faces (emotion)", "Data set faces · study emotion · 4 trials · finished now · run emotion-ab",
        "Four trials. A note.", "fusion model 0.500 [0.400, 0.600] 1.000 eyes alone model 0.200",
        "Scored on 3 of 4 trials, one is gone: eyes alone (RMSE); fusion (RMSE).",
        "One is gone: participant’s mean (RMSE).",
        "fusion model +0.400 [+0.300, +0.500] p = 0.004", "Loss (squared error) and concordance (−1 to 1) per epoch",
        "By concordance the model is above the ceiling on 0 of 4 trials", "Cawley, G. C.", "Ours, A. (2026).",
    ):  # fmt: skip
        assert words in page.words, words


def test_figure_tells_its_size_and_holds_its_bytes() -> None:
    header = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (7).to_bytes(4, "big") + (5).to_bytes(4, "big")
    figure = Figure("a", header, "alt", "caption")
    assert figure.size_px == (7, 5)
    assert figure.uri.startswith("data:image/png;base64,iVBORw0KGgo")
