# SPDX-License-Identifier: Apache-2.0
"""The words of the report on saliency predictors: the verdict, what limits it, and why cells are empty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gazeray.report.results import Results, read_results
from gazeray.report.sections.scores import undefined
from gazeray.report.words import counted
from gazeray.storage import Folder
from gazeray.studies.pictures.methods import on_grid
from gazeray.studies.pictures.words import METRICS, beats_centre, caveats, verdict
from gazeray.tables import Reject, reject_kinds, rejects_table, said_alike
from tests.report.fabricate_saliency import SMALL, Scene, fabricate


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    run = Folder(tmp_path_factory.mktemp("probe_saliency") / "run")
    fabricate(run, SMALL)
    return run


@pytest.fixture
def results(small: Folder) -> Results:
    """The small run, to be changed."""
    return read_results(small)


def reasons(results: Results) -> list[str]:
    return undefined(results, METRICS, "picture")


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
    results: Results, value: float, ci95: list[float], said: str
) -> None:
    metrics = results.metrics
    metrics["rows"][metrics["best"]]["information_gain"].update(value=value, ci95=ci95)
    assert said in verdict(results)


def test_verdict_turns_round_where_smaller_is_better(results: Results) -> None:
    metrics = results.metrics
    entry = {"value": 0.5, "ci95": [0.4, 0.6], "n": 12, "gain": {"centre_bias": {"value": -0.3, "ci95": [-0.4, -0.2]}}}
    metrics["rows"][metrics["best"]] = {"kl": entry, "information_gain": {"value": None}}
    text = verdict(results)
    assert (
        "better than the centre bias of the other pictures does: KL 0.50 [0.40, 0.60] nat, −0.30 [−0.40, −0.20]" in text
    )
    assert "not clearly above 0" not in text
    entry["gain"]["centre_bias"].update(value=0.3, ci95=[0.2, 0.4])
    assert "worse than the centre bias" in verdict(results)


@pytest.mark.parametrize(("pictures", "claimed"), [(5, False), (6, True)])
def test_few_pictures_are_no_evidence_whatever_their_interval(results: Results, pictures: int, claimed: bool) -> None:
    best = results.metrics["best"]
    results.metrics["rows"][best]["information_gain"].update(value=0.4, ci95=[0.3, 0.5], n=pictures)
    assert ("better than the centre bias" in verdict(results)) == claimed
    assert ("too little (5 pictures, and a claim takes at least 6)" in verdict(results)) != claimed
    assert beats_centre(results, best, "information_gain") == (True if claimed else None)


def test_sentence_on_the_second_metric_begins_with_a_capital(results: Results) -> None:
    metrics = results.metrics
    del metrics["rows"][metrics["best"]]["nss"]
    assert ". Shuffled AUC is 0." in verdict(results)


def test_verdict_gives_the_share_and_points_at_the_honest_row(results: Results) -> None:
    metrics = results.metrics
    rows = metrics["rows"]
    rows[metrics["best"]]["explained"].update(value=0.654, ci95=[0.6, 0.7])
    rows["chosen"]["information_gain"].update(value=0.5, ci95=[0.4, 0.6])
    text = verdict(results)
    assert "explains 65\N{NO-BREAK SPACE}% [60, 70] of what they know beyond the centre bias" in text
    assert "the best of 4 models" in text
    assert "the row “layer chosen by inner folds”, chosen without the test pictures: 0.50 [0.40, 0.60]." in text


def test_verdict_without_a_gold_standard_says_that_the_share_is_unknown(results: Results) -> None:
    metrics = results.metrics
    del metrics["rows"]["gold_standard"]
    for row in metrics["rows"].values():
        row["explained"].update(value=None, ci95=None)
    assert "the share of what could be explained is unknown" in verdict(results)


def test_caveats_follow_from_the_run(results: Results) -> None:
    manifest, metrics = results.manifest, results.metrics
    assert caveats(results) == ["There are 12 pictures only: intervals over so few are rough, and too narrow."]
    manifest["counts"].update(pictures=400)
    metrics["n"].update(pictures=400)
    metrics["rows"]["model:layer3:readout"]["explained"]["value"] = 1.2
    found = " ".join(caveats(results))
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
    results = read_results(run)
    manifest, metrics = results.manifest, results.metrics
    manifest["counts"]["fixations"] = metrics["n"]["fixations"] = 100
    assert caveats(results) == [said]
    share = "so the share of what could be explained is unknown" in verdict(results)
    assert share == (observers < 3)
    lines = [line for line in reasons(results) if line.startswith("There is no gold standard to divide by: ")]
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
def test_many_observers_who_saw_different_pictures_allow_no_ceiling(
    results: Results, gone: list[str], said: str
) -> None:
    metrics = results.metrics
    for key in gone:
        del metrics["rows"][key]
    assert said in caveats(results)


def test_ceilings_that_the_config_left_out_are_said_to_be_left_out(results: Results) -> None:
    manifest, metrics = results.manifest, results.metrics
    manifest["config"]["baselines"]["observers"] = False
    for key in ("gold_standard", "other_observers", "split_half"):
        del metrics["rows"][key]
    assert "The config leaves the ceilings out (baselines.observers: false)." in caveats(results)


def test_gold_standard_no_better_than_the_centre_bias_leaves_no_share(results: Results) -> None:
    manifest, metrics = results.manifest, results.metrics
    manifest["counts"]["observers"] = 4
    rows = metrics["rows"]
    rows["gold_standard"]["information_gain"].update(value=0.02, ci95=[-0.1, 0.14])
    for row in rows.values():
        row["explained"].update(value=None, ci95=None)
    said = verdict(results)
    assert "The other observers of a picture gain 0.02 [−0.10, 0.14] bit, not clearly above 0: " in said
    every = " ".join([said, *caveats(results)])
    assert f"There are 4 {FEW}." in every
    assert "explain" not in every
    assert " share " not in every.replace("what people share", "")


def test_human_maps_without_fixations_are_named_as_the_reason(results: Results) -> None:
    manifest, metrics = results.manifest, results.metrics
    for counts in (manifest["counts"], metrics["n"]):
        counts.update(fixations=0, observers=0)
    for key in ("gold_standard", "other_observers", "split_half"):
        del metrics["rows"][key]
    for row in metrics["rows"].values():
        for name in ("information_gain", "explained", "auc_uniform", "auc_shuffled", "nss"):
            row[name] = {"value": None, "ci95": None, "n": 0}
    assert (
        "The data set gives human maps and no fixations: information gain, explained, AUC, shuffled AUC, NSS are "
        "undefined for that reason, and there are no ceilings." in caveats(results)
    )


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
    results = read_results(run)
    manifest = results.manifest
    manifest["counts"]["pictures"] = 40
    covered = [line for line in caveats(results) if "cover" in line]
    assert covered == ([] if said is None else [said])


@pytest.mark.parametrize(("count", "said"), [(0, "0 maps"), (1, "1 map"), (2, "2 maps")])
def test_one_thing_is_singular(count: int, said: str) -> None:
    assert counted(count, "map") == said


# -- why cells are empty


def test_reasons_that_the_run_wrote_down_are_told_once_with_their_rows(results: Results) -> None:
    results.metrics["rows"]["model:layer4:ridge"]["cc"].update(n=11, why="no map of the others")
    results.metrics["rows"]["model:layer4:readout"]["sim"].update(n=11)
    lines = reasons(results)
    assert any(line.startswith("One left-out person’s") and line.count("(CC, SIM, KL)") == 2 for line in lines)
    assert "Undefined for a map that is the same everywhere: uniform (CC)." in lines
    assert "Scored on 11 of 12 pictures, no map of the others: layer4, ridge (CC)." in lines
    assert "Scored on 11 of 12 pictures: layer4, readout (SIM)." in lines


def test_score_without_a_reason_is_still_said_to_be_undefined(results: Results) -> None:
    results.metrics["rows"]["centre"]["nss"] = {"value": None, "ci95": None, "n": 0, "why": None}
    assert "Undefined: centre Gaussian, fitted (NSS)." in reasons(results)


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
    assert said_alike(reasons) == said


def test_rejects_of_one_kind_are_counted_together() -> None:
    rows = [Reject("a.mat", -1, "gaze", f"{count} fixations outside") for count in (3, 5, 5)]
    kinds = reject_kinds(rejects_table([rows[0], Reject("b.jpg", -1, "read", "no picture"), *rows[1:]]))
    said = [(kind.stage, kind.reason, kind.places.tolist()) for kind in kinds]
    assert said == [("gaze", "… fixations outside", [0, 2, 3]), ("read", "no picture", [1])]


def test_the_grid_is_said_under_the_scores_and_what_depends_on_it(results: Results) -> None:
    assert on_grid(results).startswith("Scored on a grid of 200 px at the longest side")
    assert ("AUC-Judd" in on_grid(results)) == ("auc_judd" in results.shown)
    assert on_grid(Results({})) == ""
