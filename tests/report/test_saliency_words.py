# SPDX-License-Identifier: Apache-2.0
"""The words of the report on saliency predictors: the verdict, what limits it, and why cells are empty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gazeray.report.sections.saliency_words import caveats, counted, undefined, verdict
from gazeray.report.template import Rejects, shared
from gazeray.storage import Folder
from gazeray.tables import Reject, rejects_table
from tests.report.fabricate_saliency import SMALL, Scene, fabricate


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    run = Folder(tmp_path_factory.mktemp("probe_saliency") / "run")
    fabricate(run, SMALL)
    return run


def texts(run: Folder) -> tuple[dict[str, Any], dict[str, Any]]:
    return run.read_json("manifest.json"), run.read_json("metrics.json")


# -- the verdict


@pytest.mark.parametrize(
    ("value", "ci95", "said"),
    [
        pytest.param(0.4, [0.3, 0.5], "better than the centre bias", id="above_the_centre_bias"),
        pytest.param(0.02, [-0.1, 0.14], "cannot be told apart from the centre bias", id="interval_holds_zero"),
        pytest.param(-0.4, [-0.5, -0.3], "worse than the centre bias", id="below_the_centre_bias"),
    ],
)
def test_verdict_follows_the_interval_of_the_information_gain(
    small: Folder, value: float, ci95: list[float], said: str
) -> None:
    manifest, metrics = texts(small)
    metrics["rows"][metrics["best"]]["information_gain"].update(value=value, ci95=ci95)
    assert said in verdict(manifest, metrics)


def test_verdict_turns_round_where_smaller_is_better(small: Folder) -> None:
    manifest, metrics = texts(small)
    entry = {"value": 0.5, "ci95": [0.4, 0.6], "n": 12, "gain": {"over": "centre_bias", "value": -0.3,
                                                               "ci95": [-0.4, -0.2]}}  # fmt: skip
    metrics["rows"][metrics["best"]] = {"kl": entry, "information_gain": {"value": None}}
    text = verdict(manifest, metrics)
    assert (
        "better than the centre bias of the other pictures does: KL 0.50 [0.40, 0.60] nat, −0.30 [−0.40, −0.20]" in text
    )
    assert "not clearly above 0" not in text
    entry["gain"].update(value=0.3, ci95=[0.2, 0.4])
    assert "worse than the centre bias" in verdict(manifest, metrics)


def test_sentence_on_the_second_metric_begins_with_a_capital(small: Folder) -> None:
    manifest, metrics = texts(small)
    del metrics["rows"][metrics["best"]]["nss"]
    assert ". Shuffled AUC is 0." in verdict(manifest, metrics)


def test_verdict_gives_the_share_and_points_at_the_honest_row(small: Folder) -> None:
    manifest, metrics = texts(small)
    rows = metrics["rows"]
    rows[metrics["best"]]["explained"].update(value=0.654, ci95=[0.6, 0.7])
    rows["chosen"]["information_gain"].update(value=0.5, ci95=[0.4, 0.6])
    text = verdict(manifest, metrics)
    assert "explains 65 % [60, 70] of what they know beyond the centre bias" in text
    assert "the best of 4 models" in text
    assert "the row “layer chosen by inner folds”, chosen without the test pictures: 0.50 [0.40, 0.60]." in text


def test_verdict_without_a_gold_standard_says_that_the_share_is_unknown(small: Folder) -> None:
    manifest, metrics = texts(small)
    del metrics["rows"]["gold_standard"]
    for row in metrics["rows"].values():
        row["explained"].update(value=None, ci95=None)
    assert "the share of what could be explained is unknown" in verdict(manifest, metrics)
    (line,) = (line for line in undefined(metrics) if line.startswith("There is no gold standard to divide by: "))
    assert "layer3, readout (explained)" in line


def test_caveats_follow_from_the_run(small: Folder) -> None:
    manifest, metrics = texts(small)
    assert caveats(manifest, metrics) == [
        "There are 12 pictures only: intervals over so few are rough, and too narrow."
    ]
    manifest["counts"].update(pictures=400)
    metrics["n"].update(pictures=400)
    metrics["rows"]["model:layer3:readout"]["explained"]["value"] = 1.2
    found = " ".join(caveats(manifest, metrics))
    assert "pictures only" not in found
    assert "More than the gold standard is explained by layer3, readout" in found


FEW = "observers only: a density of so few understates what people share, so the gold standard is too low"


@pytest.mark.parametrize(
    ("observers", "said"),
    [
        pytest.param(0, "The data set tells no observers apart: there are no ceilings from other observers.", id="0"),
        pytest.param(1, "There is one observer: there are no ceilings.", id="1"),
        pytest.param(2, "There are two observers: the gold standard needs three observers.", id="2"),
        pytest.param(3, f"There are 3 {FEW} and the explained share too high.", id="3"),
        pytest.param(9, f"There are 9 {FEW} and the explained share too high.", id="9"),
    ],
)
def test_few_observers_get_one_caveat_that_fits_the_table(tmp_path: Path, observers: int, said: str) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, replace(SMALL, pictures=40, observers=observers, maps=0))
    manifest, metrics = texts(run)
    manifest["counts"]["fixations"] = metrics["n"]["fixations"] = 100
    assert caveats(manifest, metrics) == [said]
    share = "so the share of what could be explained is unknown" in verdict(manifest, metrics)
    assert share == (observers < 3)
    lines = [line for line in undefined(metrics) if line.startswith("There is no gold standard to divide by: ")]
    assert len(lines) == (observers < 3)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        pytest.param(["gold_standard"], "No picture has fixations of three observers: the gold standard needs three "
                     "observers.", id="two_observers_a_picture"),
        pytest.param(["gold_standard", "other_observers", "split_half"],
                     "No picture has fixations of two observers: there are no ceilings.", id="one_observer_a_picture"),
    ],
)  # fmt: skip
def test_many_observers_who_saw_different_pictures_allow_no_ceiling(small: Folder, gone: list[str], said: str) -> None:
    manifest, metrics = texts(small)
    for key in gone:
        del metrics["rows"][key]
    assert said in caveats(manifest, metrics)


def test_ceilings_that_the_config_left_out_are_said_to_be_left_out(small: Folder) -> None:
    manifest, metrics = texts(small)
    manifest["config"]["baselines"]["observers"] = False
    for key in ("gold_standard", "other_observers", "split_half"):
        del metrics["rows"][key]
    assert "The config leaves the ceilings out (baselines.observers: false)." in caveats(manifest, metrics)


def test_gold_standard_no_better_than_the_centre_bias_leaves_no_share(small: Folder) -> None:
    manifest, metrics = texts(small)
    manifest["counts"]["observers"] = 4
    rows = metrics["rows"]
    rows["gold_standard"]["information_gain"].update(value=0.02, ci95=[-0.1, 0.14])
    for row in rows.values():
        row["explained"].update(value=None, ci95=None)
    said = verdict(manifest, metrics)
    assert "The other observers of a picture gain 0.02 [−0.10, 0.14] bit, not clearly above 0: " in said
    every = " ".join([said, *caveats(manifest, metrics)])
    assert f"There are 4 {FEW}." in every
    assert "explain" not in every
    assert " share " not in every.replace("what people share", "")
    (line,) = (line for line in undefined(metrics) if line.startswith("The gold standard’s gain, to divide by, is not"))
    assert "layer3, readout (explained)" in line
    assert "uniform (explained)" in line


def test_human_maps_without_fixations_are_named_as_the_reason(small: Folder) -> None:
    manifest, metrics = texts(small)
    for counts in (manifest["counts"], metrics["n"]):
        counts.update(fixations=0, observers=0)
    for key in ("gold_standard", "other_observers", "split_half"):
        del metrics["rows"][key]
    for row in metrics["rows"].values():
        for name in ("information_gain", "explained", "auc_uniform", "auc_shuffled", "nss"):
            row[name] = {"value": None, "ci95": None, "n": 0}
    assert (
        "The data set gives human maps and no fixations: information gain, explained, AUC, shuffled AUC, NSS are "
        "undefined for that reason, and there are no ceilings." in caveats(manifest, metrics)
    )
    lines = undefined(metrics)
    (line,) = (line for line in lines if line.startswith("The data set gives human maps and no fixations: "))
    assert "layer3, readout (information gain, explained, AUC, shuffled AUC, NSS)" in line
    assert "Undefined for a map that is the same everywhere: uniform (CC)." in lines


@pytest.mark.parametrize(
    ("scored", "said"),
    [
        pytest.param(30, "The maps cover 30 of 40 pictures; every row is over these 30 alone.", id="several"),
        pytest.param(1, "The maps cover 1 of 40 pictures; every row is over this one alone.", id="one"),
        pytest.param(40, None, id="all"),
    ],
)
def test_maps_of_some_pictures_only_are_said_before_the_numbers(scored: int, said: str | None, tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, Scene(pictures=scored, models=("deepgaze",), layers=(), probes=(), maps=0))
    manifest, metrics = texts(run)
    manifest["counts"]["pictures"] = 40
    covered = [line for line in caveats(manifest, metrics) if "cover" in line]
    assert covered == ([] if said is None else [said])


def test_pictures_without_a_map_are_told_from_pictures_where_a_score_is_undefined(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, Scene(pictures=12, models=("deepgaze",), layers=(), probes=(), maps=0))
    metrics = run.read_json("metrics.json")
    row = metrics["rows"]["model:deepgaze"]
    for name, entry in row.items():
        entry["n"] = 8 if name == "cc" else 9
    lines = undefined(metrics)
    assert "Scored on 8 of 12 pictures, undefined on the others: deepgaze (CC)." in lines
    assert any(line.startswith("Scored on 9 of 12 pictures, no map of the others: deepgaze (information gain,")
               for line in lines)  # fmt: skip
    for entry in row.values():
        entry["n"] = 12
    row["cc"]["n"] = 11
    assert "Scored on 11 of 12 pictures, undefined on the others: deepgaze (CC)." in undefined(metrics)
    metrics["failed"] = ["maps-fold-0"]
    assert any("undefined on the others or in a unit that failed: deepgaze (CC)." in line
               for line in undefined(metrics))  # fmt: skip


@pytest.mark.parametrize(("count", "said"), [(0, "0 maps"), (1, "1 map"), (2, "2 maps")])
def test_one_thing_is_singular(count: int, said: str) -> None:
    assert counted(count, "map") == said


def test_empty_cells_are_explained_and_partly_scored_rows_named(small: Folder) -> None:
    _, metrics = texts(small)
    metrics["rows"]["model:layer4:ridge"]["cc"]["n"] = 11
    lines = undefined(metrics)
    assert any(line.startswith("One left-out person’s") and line.count("(CC, SIM, KL)") == 2 for line in lines)
    assert "Undefined for a map that is the same everywhere: uniform (CC)." in lines
    assert "Scored on 11 of 12 pictures, undefined on the others: layer4, ridge (CC)." in lines


# -- the rejects


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        pytest.param(["8 fixations without picture: 'a.jpg'", "9 fixations without picture: 'b.jpg'"],
                     "… fixations without picture: …", id="numbers_and_names_that_differ"),
        pytest.param(["share 0.6 is above 0.5", "share 0.7 is above 0.5"], "share … is above 0.5", id="shared_limit"),
        pytest.param(["8 fixations without picture: 'a.jpg'"], "8 fixations without picture: 'a.jpg'", id="alone"),
        pytest.param(["P01.csv is empty", "P01.csv is empty"], "P01.csv is empty", id="same"),
    ],
)  # fmt: skip
def test_reasons_that_differ_in_figures_alone_are_told_as_one(reasons: list[str], said: str) -> None:
    assert shared(reasons) == said


def test_rejects_of_one_kind_are_counted_together() -> None:
    rows = [Reject("a.mat", -1, "gaze", f"{count} fixations outside") for count in (3, 5, 5)]
    counts = Rejects.of(rejects_table([*rows, Reject("b.jpg", -1, "read", "no picture")])).counts
    assert [(row["count_all"], row["stage"], row["reason"]) for row in counts] == [
        (3, "gaze", "… fixations outside"), (1, "read", "no picture")
    ]  # fmt: skip
