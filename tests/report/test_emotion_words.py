# SPDX-License-Identifier: Apache-2.0
"""What the report of the emotion study says: never more than interval and exchange of labels bear out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.report.results import Results, read_results
from gazeray.report.text_tables import TERMINAL, labels_table
from gazeray.storage import Folder
from gazeray.studies.emotion import control_section, figures, sections
from gazeray.studies.emotion.card import card
from gazeray.studies.emotion.views import decided, views
from gazeray.studies.emotion.words import caveats, credited, given_away, of_label, verdict, whom
from tests.report import fabricate_emotion as made
from tests.report.pages import change

Make = Callable[..., Folder]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A run folder of a scene that is read only."""

    @cache
    def make(**scene: Any) -> Folder:
        run = Folder(tmp_path_factory.mktemp("emotion") / "run")
        made.fabricate(run, made.EmotionScene(**scene))
        return run

    return make


def said(run: Folder) -> str:
    results = read_results(run)
    return verdict(results, views(results))


def edited(run: Folder, path: Path, edit: Callable[[dict[str, Any]], None]) -> Results:
    """A copy of the metrics and the manifest, with the label arousal edited."""
    copy = Folder(path / "copy")
    for name in ("manifest.json", "metrics.json"):
        copy.write_json(name, run.read_json(name))
    copy.write_table("predictions.parquet", run.read_table("predictions.parquet"))
    change(copy, "metrics.json", lambda metrics: edit(metrics["labels"]["arousal"]))
    return read_results(copy)


# -- the verdict


def test_a_label_that_signals_tell_is_better_than_what_can_be_had_without_them(run_of: Make) -> None:
    arousal, valence = said(run_of()).split(" Valence: ")
    assert arousal.startswith("Arousal: the model tells it above chance in people it never saw, with pictures it knew")
    assert "chance 0.14" in arousal
    assert "It is better than what can be had without gaze and body (" in arousal
    assert "All of it" not in arousal
    assert "All of it may be the stimulus: the mean rating of other people for the same picture alone scores" in valence


def test_a_label_at_chance_is_all_stimulus_where_the_picture_tells_it(run_of: Make) -> None:
    words = said(run_of(two_classes=True, controls=False, signal=0.0))
    assert words.startswith("Mos: there is no clear evidence that the model tells it in people it never saw")
    assert "area under ROC" in words
    assert "weighted kappa" not in words
    assert "It can be told without gaze and body. All of it is the stimulus" in words


def test_of_a_label_at_chance_the_best_row_tells_most(run_of: Make, tmp_path: Path) -> None:
    """Above chance it is the first that scores as well as the model."""

    def edit(label: dict[str, Any]) -> None:
        for row, value in (("picture_mean", 0.5), ("additive", 0.6)):
            label["rows"][row]["balanced_accuracy"] = {"value": value, "ci95": [value - 0.1, value + 0.1], "n": 9}
        label["rows"]["participant_mean"]["balanced_accuracy"] = {"value": 0.1, "ci95": [0.0, 0.2], "n": 9}
        own = label["rows"][made.ALL]["balanced_accuracy"]
        own |= {"value": 0.4, "ci95": [0.3, 0.5]}
        gains = {row: {"value": -0.1, "ci95": [-0.2, 0.1], "p": 0.9} for row in ("picture_mean", "additive")}
        for metric in ("balanced_accuracy", "qwk"):
            label["rows"][made.ALL][metric]["gain"] |= gains

    def at_chance(label: dict[str, Any]) -> None:
        edit(label)
        label["metrics"]["balanced_accuracy"]["ci95"] = [0.1, 0.5]

    def held_out(label: dict[str, Any]) -> None:
        at_chance(label)
        label["rows"]["participant_mean"]["balanced_accuracy"] = {"value": None, "ci95": None, "n": 0}

    folder = run_of()
    assert credited(views(edited(folder, tmp_path / "above", edit))[0]) == "picture_mean"
    assert credited(views(edited(folder, tmp_path / "chance", at_chance))[0]) == "additive"
    assert credited(views(edited(folder, tmp_path / "held_out", held_out))[0]) == "picture_mean"


def test_with_pictures_held_out_it_is_the_person(run_of: Make) -> None:
    words = said(run_of(hold_out="stimuli", signal=0.0))
    assert "pictures it never saw, of people it knew" in words
    assert "All of it is the person: this person's mean rating of other pictures" in words
    assert "the stimulus" not in words


def test_with_both_held_out_nothing_explains(run_of: Make) -> None:
    words = said(run_of(hold_out="both", signal=0.0))
    assert "in people and pictures it never saw" in words
    assert "All of it" not in words


def test_a_split_that_leaks_says_so_first(run_of: Make) -> None:
    words = said(run_of(hold_out="neither", leaks="people and pictures are on both sides."))
    assert words.startswith("This split leaks: people and pictures are on both sides. Arousal: ")
    assert "people and pictures that it knew, both" in words


def test_the_gain_in_the_second_metric_stands_beside_that_in_macro_recall(run_of: Make, tmp_path: Path) -> None:
    def gained(own: dict[str, Any]) -> None:
        best = own["without_gaze"]["best"]
        own["rows"][made.ALL]["qwk"]["gain"][best] = {"value": 0.21, "ci95": [0.11, 0.35], "p": 0.001}

    results = edited(run_of(), tmp_path, gained)
    assert "; in weighted kappa +0.21 [+0.11, +0.35])." in verdict(results, views(results))


def test_a_gain_that_interval_and_exchange_do_not_both_bear_out_is_not_claimed(run_of: Make, tmp_path: Path) -> None:
    def doubtful(own: dict[str, Any]) -> None:
        own["permutation"]["gain"][own["without_gaze"]["best"]]["p"] = 0.2

    results = edited(run_of(), tmp_path, doubtful)
    assert "It is not clearly better than what can be had without gaze and body" in verdict(results, views(results))


def test_a_score_that_the_exchange_does_not_bear_out_is_mixed(run_of: Make, tmp_path: Path) -> None:
    results = edited(run_of(), tmp_path, lambda own: own["permutation"].update(p=0.2))
    assert "Arousal: the evidence is mixed that the model tells it" in verdict(results, views(results))


def test_five_people_are_too_few_for_a_claim(run_of: Make) -> None:
    assert "there is too little to say whether the model tells it" in said(run_of(people=5, seed=2))


def test_circumstances_that_tell_a_label_are_named_unless_the_model_is_above_them(run_of: Make, tmp_path: Path) -> None:
    def leaking(gained: list[float]) -> Callable[[dict[str, Any]], None]:
        def edit(own: dict[str, Any]) -> None:
            own["rows"]["nuisance"]["balanced_accuracy"] |= {"value": 0.9, "ci95": [0.85, 0.95]}
            own["rows"][made.ALL]["balanced_accuracy"]["gain"]["nuisance"] = {"value": 0.0, "ci95": gained}

        return edit

    told = [views(edited(run_of(), tmp_path, leaking(gained)))[0] for gained in ([-0.4, -0.2], [0.01, 0.1])]
    assert given_away(told[0]).startswith(
        "When and how a trial was recorded gives it away (order, duration, rate, loss alone: 0.90 [0.85, 0.95]): "
    )
    assert given_away(told[0]) in of_label(told[0])
    assert given_away(told[1]) == given_away(views(read_results(run_of()))[0]) == ""


def test_people_who_all_saw_the_same_are_not_said_to_have_seen_known_pictures(run_of: Make) -> None:
    own = read_results(run_of())
    assert whom(own) == "people it never saw, with pictures it knew"
    own.manifest["counts"]["stimuli"] = 1
    assert whom(own) == "people it never saw"


def test_an_undefined_score_has_no_verdict_but_a_reason(run_of: Make, tmp_path: Path) -> None:
    def undefined(own: dict[str, Any]) -> None:
        own["rows"][made.ALL]["balanced_accuracy"] |= {"value": None, "ci95": None, "why": "one level alone"}

    results = edited(run_of(), tmp_path, undefined)
    assert "Arousal: no verdict, because macro recall is undefined (one level alone)." in verdict(
        results, views(results)
    )


def test_an_unfinished_run_says_so(run_of: Make) -> None:
    assert said(run_of(failed=(1,))).startswith("Incomplete run (23 of 24 units). ")


def test_nothing_scored_is_no_verdict() -> None:
    assert verdict(Results({}), []) == "No verdict, because nothing was scored."


def test_the_picture_explains_only_what_it_tells_at_least_as_well(run_of: Make, tmp_path: Path) -> None:
    """Not where it is worse, not where its own interval holds chance, not where the model is clearly above it in either
    metric."""
    own = views(read_results(run_of()))[1]
    assert credited(own) == "picture_mean"
    row = own.metrics["rows"]["picture_mean"]["balanced_accuracy"]
    gain = own.metrics["rows"][made.ALL]["balanced_accuracy"]["gain"]["picture_mean"]
    beside = own.metrics["rows"][made.ALL]["qwk"]["gain"]["picture_mean"]
    for entry, changed in (
        (row, {"ci95": [0.1, 0.4]}),
        (row, {"value": 0.15}),
        (gain, {"ci95": [0.01, 0.05]}),
        (beside, {"ci95": [0.1, 0.4]}),
    ):
        before = dict(entry)
        entry.update(changed)
        assert credited(own) != "picture_mean"
        entry.update(before)


def test_caveats_name_what_is_left_out_and_how_signals_are_scaled(run_of: Make) -> None:
    told = " ".join(caveats(read_results(run_of(two_classes=True, controls=False, signal=0.0))))
    assert "The picture of the scanpath is left out: the data set has no coordinates." in told
    assert "The picture that was looked at is left out: no pictures are declared." in told
    assert "scaled within each person" in told
    assert "untrained" in " ".join(caveats(read_results(run_of())))


# -- the card


def test_the_card_shows_nothing_that_the_run_did_not_show(run_of: Make) -> None:
    results = read_results(run_of())
    told = card(results, views(results))
    (unshown,) = told.unshown
    assert unshown.startswith("Not shown: that gaze and body add anything to valence")
    assert unshown.endswith("All of it may be the stimulus.")
    assert any("how far arousal can be told" in use for use in told.uses)
    assert any("To tell what a person feels" in misuse for misuse in told.misuses)
    leaking = read_results(run_of(hold_out="neither", leaks="people and pictures are on both sides."))
    assert all("The split leaks" in words for words in card(leaking, views(leaking)).unshown)


# -- controls


def asked(control: str, ci95: list[float] | None, **changes: Any) -> Results:
    """A label of two levels: the control at 0.6, the series at 0.7, and the interval of their paired difference."""
    gain = {"series": {"value": -0.1, "ci95": ci95, "p": 0.5}} if ci95 else {}
    rows = {"series": {"balanced_accuracy": {"value": 0.7, "ci95": [0.6, 0.8]}},
            control: {"balanced_accuracy": {"value": 0.6, "ci95": [0.45, 0.75], "gain": gain}}}  # fmt: skip
    for key, entry in changes.pop("entries", {}).items():
        rows[key]["balanced_accuracy"] |= entry
    manifest = {"classes": ["low", "high"], "config": {"controls": {"of": "series"}}}
    return Results(manifest, {"rows": rows, "model": "series-picture", **changes})


@pytest.mark.parametrize(
    ("control", "ci95", "outcome"),
    [
        pytest.param("shift+500", [0.01, 0.2], "fails", id="score_rises_towards_the_rating"),
        pytest.param("shift+500", [-0.2, 0.1], "passes", id="score_does_not_rise"),
        pytest.param("shift-500", [0.01, 0.2], "fails", id="score_rises_before_the_picture"),
        pytest.param("cut-1000", [-0.2, -0.01], "fails", id="score_falls_without_the_end"),
        pytest.param("cut-1000", [-0.2, 0.1], "passes", id="score_does_not_fall"),
        pytest.param("swapped_signals", [-0.2, -0.01], "passes", id="others_do_worse"),
        pytest.param("swapped_signals", [-0.2, 0.1], "does not pass", id="others_do_as_well"),
    ],
)
def test_outcome_of_a_control_follows_the_paired_interval(control: str, ci95: list[float], outcome: str) -> None:
    assert control_section.outcome(asked(control, ci95), control).startswith(outcome)


def test_shuffled_labels_must_be_at_chance_and_say_what_is_left_where_people_are_known() -> None:
    key, above = "shuffled_labels", {"entries": {"shuffled_labels": {"ci95": [0.55, 0.7]}}}
    assert control_section.outcome(asked(key, None), key) == "passes: at chance"
    assert control_section.outcome(asked(key, None, **above), key).startswith("fails")
    assert "knowing the person" in control_section.outcome(asked(key, None, hold_out="stimuli", **above), key)


def test_a_model_at_chance_has_nothing_to_ask() -> None:
    at_chance = asked("cut-1000", [-0.2, -0.01], entries={"series": {"ci95": [0.45, 0.9]}})
    assert control_section.outcome(at_chance, "cut-1000").startswith("nothing to ask")
    nothing = asked("cut-1000", [-0.2, -0.01], entries={"series": {"ci95": None}})
    assert control_section.outcome(nothing, "cut-1000").startswith("cannot be told")


def test_a_control_without_a_pair_is_compared_by_intervals_that_lie_apart() -> None:
    apart = asked("cut-1000", None, entries={"cut-1000": {"ci95": [0.4, 0.55]}})
    assert control_section.paired(apart, "cut-1000", "series") == {"value": pytest.approx(-0.1)}
    assert control_section.moved(apart, "cut-1000", "series") == -1
    assert control_section.moved(asked("cut-1000", None), "cut-1000", "series") == 0


def test_the_gain_of_the_model_over_its_control_is_read_from_the_other_side() -> None:
    gain = {"cut-1000": {"value": 0.1, "ci95": [0.02, 0.3], "p": 0.01}}
    found = asked("cut-1000", None, entries={"series": {"gain": gain}})
    assert control_section.paired(found, "cut-1000", "series") == {"value": -0.1, "ci95": [-0.3, -0.02]}
    assert control_section.outcome(found, "cut-1000").startswith("fails")


# -- what was predicted


def test_two_decisions_from_the_same_probabilities() -> None:
    """By hand: level 1 is rare, and taken where levels count the same; a row that is null is left out."""
    table = pa.table({"a": ["0", "1", "1"], "a:m": [[0.7, 0.3], None, [0.9, 0.1]], "a:prior": [[0.8, 0.2]] * 3})
    view = Results({"classes": ["0", "1"]}, {"label": "a", "model": "m"}, table)
    true, said, there = decided(view, "m", even=True)
    assert (true.tolist(), said.tolist(), there.tolist()) == ([0, 1], [1, 0], [True, False, True])
    assert decided(view, "m", even=False)[1].tolist() == [0, 0]
    assert decided(view, "nobody", even=True)[0].size == 0


def test_bins_of_few_trials_are_not_drawn() -> None:
    whole = figures.Sure(np.array([0.2, 0.5, 0.9]), np.array([0.2, 0.4, 0.0]), np.array([40, 10, 3]))
    assert sections.filled(whole).trials.tolist() == [40, 10]
    few = figures.Sure(np.array([0.2, 0.5]), np.array([0.2, 0.4]), np.array([4, 3]))
    assert sections.filled(few).trials.tolist() == [4], "something is seen"


def test_bins_of_reliability_are_those_of_the_calibration_error(run_of: Make) -> None:
    view = views(read_results(run_of()))[0]
    true, said, there = decided(view, made.ALL, even=False)
    sure = np.array([row for row, is_there in zip(sections.probabilities(view, made.ALL), there, strict=True)
                     if is_there]).max(axis=1)  # fmt: skip
    found = sections.sure_of(view, made.ALL)
    assert found is not None
    slow = [[place for place, one in enumerate(sure) if low / 10 < one <= (low + 1) / 10] for low in range(10)]
    slow = [places for places in slow if places]
    assert found.trials.tolist() == list(map(len, slow))
    np.testing.assert_allclose(found.right, [np.mean((said == true)[places]) for places in slow])
    np.testing.assert_allclose(found.sure, [np.mean(sure[places]) for places in slow])


# -- the terminal


def test_table_of_the_terminal_fits_it_and_marks_the_best_without_gaze(run_of: Make) -> None:
    metrics = run_of().read_json("metrics.json")
    lines = labels_table(metrics).splitlines()
    assert max(map(len, lines)) <= TERMINAL
    best = metrics["predictors"][metrics["labels"]["arousal"]["without_gaze"]["best"]]["label"]
    assert sum(f"{best} *" in line for line in lines) >= 1
    assert [line.split()[0] for line in lines[1:4]] == ["ceiling", "model", "model"]
    undefined = next(line for line in lines if "participant mean" in line)
    assert undefined.split()[-2:] == ["-", "-"]


def test_table_of_the_terminal_tells_of_a_leak_first(run_of: Make) -> None:
    metrics = run_of(hold_out="neither", leaks="people and pictures are on both sides.").read_json("metrics.json")
    assert labels_table(metrics).startswith("this split leaks: people and pictures")
