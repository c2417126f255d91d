# SPDX-License-Identifier: Apache-2.0
"""The words of the heatmap study's report: what the model was given, the verdict, and the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gazeray.metrics.permutation import Claim, claim
from gazeray.report.blocks import ROW, TEXT, Cell, Column, Section, Table, Text
from gazeray.report.results import HEADLINE, MODEL, SIMPLE, Results
from gazeray.report.sections import methods as sections
from gazeray.report.sections import provenance
from gazeray.report.sections.classification import against_chance, claimed, held_out, resampled
from gazeray.report.sections.gallery import Given
from gazeray.report.sections.search import choice_name
from gazeray.report.sections.without_gaze import Gain, best_gain
from gazeray.report.words import counted, digits_for, interval, metric_name, number, p_value

NAMES = {"heatmap": "gaze heatmap", "both": "heatmap and scanpath", "screens": "ink on the screen"}
"""What the pictures of each kind are called; the others are called by their kind."""


def given(results: Results) -> Given:
    """What the model was given: ms of dwell, or pictures of an intensity from 0 to 1."""
    kind = str((results.manifest.get("pictures") or {}).get("kind", "heatmap"))
    return Given(NAMES.get(kind, kind), *(("ms", "gaze") if kind == "heatmap" else ("intensity", "ink")))


# -- the verdict


def verdict(results: Results) -> str:
    """One plain sentence: does the model tell the classes apart in new people, and does the gaze add anything to it."""
    folds, scored = (of.get("folds") or [] for of in (results.manifest, results.metrics))
    start = f"Incomplete run ({len(scored)} of {len(folds)} folds): " if results.failed else ""
    entry = (results.metrics.get("metrics") or {}).get(HEADLINE) or {}
    value, bounds, chance = entry.get("value"), entry.get("ci95"), entry.get("chance")
    if value is None:
        reason = entry.get("why") or ("no fold was tested" if not results.metrics else "too few classes were tested")
        return f"{start}{'no' if start else 'No'} verdict, because balanced accuracy is undefined: {reason}."
    test = results.metrics.get("permutation") or {}
    found = against_chance(results)
    p = test.get("p_below" if found.side == "below" else "p")
    gain = best_gain(results, MODEL, HEADLINE, held_out(results))
    from_chance = [] if chance is None else [bound - chance for bound in [value, *(bounds or [])]]
    digits = digits_for(*from_chance, *([gain.gain, *(gain.ci95 or [])] if gain else []))
    scores = [f"balanced accuracy {number(value, digits)} {interval(bounds, digits) or '(no interval)'}"]
    if chance is not None:
        within = bounds is not None and bounds[0] <= chance <= bounds[1]
        scores.append(f"chance {number(chance, digits)}" + (" lies inside the interval" if within else ""))
    if p is not None:
        scores.append(f"permutation {p_value(p)}")
    said = claimed(found, f"predicts “{results.manifest['data']['label']}”", whom(results))
    said += _beyond(gain, found, digits)
    sentence = f"{start}{said}: {', '.join(scores)}{_against_baseline(entry, test, held_out(results), digits)}."
    return sentence[0].upper() + sentence[1:]


def whom(results: Results) -> str:
    """Whom the test examples are of: participants, stimuli, or both that the model never saw, or a file's regimes."""
    folds = results.config.get("folds") or {}
    if folds.get("path"):
        return "the test examples of the folds of a file"
    held = {"stimuli": "stimuli", "both": "participants and stimuli"}.get(folds.get("hold_out", ""), "participants")
    return f"{held} it never saw"


def regimes(results: Results) -> list[Section]:
    """The scores of each test regime of folds from a file; nothing where there is one regime alone."""
    found = results.metrics.get("regimes") or {}
    claims = {name: regime["unseen"] for fold in results.manifest.get("folds") or []
              for name, regime in (fold.get("regimes") or {}).items()}  # fmt: skip
    if not found:
        return []
    columns = [Column("regime", ROW), Column("never trained on", TEXT), Column("trials")]
    shown = (HEADLINE, "auroc")
    columns += [Column(f"{metric_name(key)}{who}") for key in shown for who in ("", ", logistic regression")]
    blind = any(scores.get("without_gaze") for scores in found.values())
    columns += [Column(f"{metric_name(HEADLINE)}, best without gaze")] if blind else []
    rows = []
    for name, scores in found.items():
        cells: list[object] = [name, " and ".join(claims.get(name, ())) or "–", scores["n"]]
        for key in shown:
            for row in (MODEL, SIMPLE):
                entry = scores["rows"][row].get(key) or {}
                cells.append(Cell(number(entry.get("value")), interval(entry.get("ci95"))))
        if blind:
            best = scores["without_gaze"]["best"]
            entry = scores["rows"][best].get(HEADLINE) or {}
            cells.append(Cell(number(entry.get("value")), f"({results.label(best)})"))
        rows.append(cells)
    words = "Each regime alone; in square brackets: 95 % bootstrap interval over what it holds out."
    return [Section("regimes", "Test regimes", "Regimes", [Text(words, small=True), Table("Regimes", columns, rows)])]


def _beyond(gain: Gain | None, found: Claim, digits: int) -> str:
    """What the gaze adds: the model against the best predictor that never sees it."""
    if gain is None:
        asked = found.side in ("above", "mixed")
        return ", but this run did not ask what can be had without gaze" if asked else ""
    figures = (
        f"{gain.over}: balanced accuracy {number(gain.value, digits)}, gain {number(gain.gain, digits, signed=True)}"
    )
    bounds = interval(gain.ci95, digits, signed=True)
    figures += f" {bounds}" if bounds else ""
    if gain.p is not None:
        figures += f", {p_value(gain.p)}" + " of being worse" * (gain.found.side == "below")
    if gain.found.side == "too_few":
        return f", or whether it is better than what can be had without gaze ({figures})"
    told = {"above": "better than", "below": "worse than"}.get(gain.found.side, "not clearly better than")
    start = ("and " if told == "better than" else "but ") if found.side == "above" else "it is "
    return f"{',' if found.side == 'above' else ';'} {start}{told} what can be had without gaze ({figures})"


def _against_baseline(entry: Mapping[str, Any], test: Mapping[str, Any], held: Mapping[str, int], digits: int) -> str:
    value = (entry.get("baselines") or {}).get(SIMPLE)
    gain = (entry.get("gain_ci95") or {}).get(SIMPLE)
    if value is None:
        return ""
    if gain is None:
        return f"; logistic regression on simple gaze features scores {number(value, digits)}"
    gained = {"reason": test.get("reason"), **((test.get("gain") or {}).get(SIMPLE) or {})}
    side = claim(gain, 0.0, gained, held).side
    words = {"above": "it is better than", "below": "it is worse than"}.get(side, "it cannot be told apart from")
    return f"; {words} logistic regression on simple gaze features ({number(value, digits)})"


# -- the methods


def methods(results: Results, hold_out: str, checked: bool) -> Section:
    """The section on methods. hold_out: participants, stimuli, or both. checked: the run has checks of its maps."""
    paragraphs = [
        Text(_folds(results, hold_out), "Folds."),
        Text(_fitting(results, hold_out), "Fitting."),
        Text(_scores(results.classes), "Scores"),
        Text(_brier(results), "Brier score and calibration."),
        Text(_intervals(results), "Intervals"),
        Text(_permutation(results), "Permutation."),
        Text(
            "Majority always says the class that is most frequent among the trials that are not tested. Logistic "
            "regression (ridge penalty, standardised features, classes weighed equally) on simple gaze features, such "
            "as fixation count, mean and total duration, regressions and dwell time by column, is fitted in the same "
            "folds on all trials that are not tested, those included that the model only stops on: the gain leans "
            "slightly against the model. Gains are paired: both sides on the same resamples.",
            "Baselines.",
        ),
        *([Text(_without_gaze(results), "Without gaze")] if results.metrics.get("without_gaze") else []),
        Text(_gradients(results, checked), "Gradients"),
    ]
    references = ["adebayo", "bengio", "brier", "brodersen", "fawcett", "field", "gorodkin", "murphy", "newcombe"]
    references += ["niculescu", "phipson", "simonyan", "vancalster", *provenance.references(results)]
    references += ["owen"] if len(held_out(results)) > 1 else []
    references += ["cawley"] if results.metrics.get("search") else []
    references += ["petsiuk", "samek", "smilkov", "sundararajan"] if checked else []
    return sections.methods(paragraphs, references)


def _without_gaze(results: Results) -> str:
    undefined = {results.label(name): entry["why"] for name in results.metrics["without_gaze"]["rows"]
                 if (entry := results.entry(name, HEADLINE)).get("why")}  # fmt: skip
    left_out = "".join(f" Of {label} there are no scores: {why}." for label, why in undefined.items())
    further = (results.manifest["data"].get("declaration") or {}).get("nuisance") or []
    declared = (
        f"; beside them what the data set declares: {', '.join(further)} (each category of a text is a feature; what "
        "is not known is the mean, and a feature says so)"
    )
    speed = (
        " Reading speed: the same on the declared words by the duration of the recording, which is among all together."
    )
    has_speed = "reading_speed" in results.metrics["without_gaze"]["rows"]
    return (
        "are predictors that are fitted in the same folds on all trials that are not tested, and see no gaze. Stimulus "
        "alone and participant alone: how much more frequent each class is with the stimulus (participant) than "
        "overall, both smoothed by two examples of the overall shares. Order, duration, rate, loss: a logistic "
        "regression (as above) on the place of the trial among those of its participant, how long the recording is, "
        f"its sampling rate and its share of lost samples{declared if further else ''}.{speed if has_speed else ''} "
        "All together: these and the log odds of stimulus and participant, which for each fitted trial come from other "
        "people (other stimuli), and are left out where a trial rather has the class that the others do not have, as "
        "in counterbalanced designs. The best of them by balanced accuracy was found on the test trials, which leans "
        f"against the model.{left_out}"
    )


def _folds(results: Results, hold_out: str) -> str:
    folds = results.manifest.get("folds") or []
    count, dealt = len(folds), counted(len(folds), "fold")
    if (results.config.get("folds") or {}).get("path"):
        claims = {name: regime["unseen"] for fold in folds for name, regime in (fold.get("regimes") or {}).items()}
        told = "; ".join(
            f"{name}: {' and '.join(unseen) or 'nothing'} never trained on" for name, unseen in claims.items()
        )
        return (
            f"The folds ({count}) were dealt elsewhere and read from a file, with the test regimes {told}, which was "
            "checked. An example may be tested in several folds, and then counts each time."
        )
    if hold_out == "stimuli":
        return (
            f"The stimuli were divided into {dealt}. The model tested on a fold was never given a recording of "
            "its stimuli, and every stimulus is tested in exactly one fold. Folds hold out stimuli, not participants: "
            "the scores speak for new stimuli read by these people."
        )
    if hold_out == "both":
        return (
            "The participants and the stimuli were each divided into groups, and every group of participants was "
            f"crossed with every group of stimuli: {dealt}. The model tested on a fold was given neither a "
            "recording of its participants nor one of its stimuli, and every trial is tested in exactly one fold."
        )
    return (
        f"The participants were divided into {dealt}. The model tested on a fold was never given a recording of "
        "its participants, and every participant is tested in exactly one fold. Folds hold out participants, not "
        "stimuli: where participants saw the same stimuli, the scores speak for new people with these stimuli."
    )


def _fitting(results: Results, hold_out: str) -> str:
    train, share = results.config.get("train") or {}, (results.config.get("folds") or {}).get("validation")
    by = choice_name(results)
    if by:
        how = (
            "In each fold the setting and the number of epochs were chosen by inner folds of its training examples "
            f"alone, by their mean {by} (Cawley and Talbot, 2010); the model that was tested is a refit on all of them."
        )
    else:
        part = f"{number(100 * share, 0)} %" if share is not None else "a part"
        held = "stimuli" if hold_out == "stimuli" else "participants"
        best = "lowest loss" if train.get("stop_on", "loss") == "loss" else f"highest {metric_name(train['stop_on'])}"
        stops = (
            f", and fitting stops after {counted(train['patience'], 'epoch')} without a better one"
            if "patience" in train
            else ""
        )
        how = (
            f"In each fold {part} of the training {held} were kept apart for validation; the weights of the epoch with "
            f"the {best} on them are the ones tested{stops}."
        )
    weighed = " The loss weighs each class by its inverse frequency among the training examples."
    return f"{how}{weighed if train.get('class_weights') else ''} Within this run nothing was chosen on test examples."


def _scores(classes: Sequence[str]) -> str:
    curves = (
        f"Area under ROC and average precision take “{classes[1]}” as positive (Fawcett, 2006)."
        if len(classes) == 2
        else "Area under ROC (Fawcett, 2006) and average precision are the mean over classes, each against the rest."
    )
    return (
        "are computed over the test trials of all folds together. Balanced accuracy is the mean recall of the classes "
        f"(Brodersen et al., 2010); chance is {number(1 / len(classes))}. {curves} Matthews correlation follows "
        "Gorodkin (2004). Chance of accuracy and of F1 is the expected score of a guesser who draws labels at their "
        "true frequencies."
    )


def _brier(results: Results) -> str:
    even = 1 / len(results.classes)
    kept = (results.config.get("train") or {}).get("class_weights", True)
    whose = (
        "The predictors are fitted with classes weighing the same, so their probabilities are those of a world where "
        "all classes are equally frequent"
        if kept
        else "Logistic regression is fitted with classes weighing the same; the model was not (train.class_weights is "
        "off), so its probabilities are those of the class shares in training, and where these are uneven it counts as "
        "miscalibrated by design"
    )
    return (
        "The Brier score of a trial is the sum over all classes of (p − o)², p being the forecast probability and o 1 "
        "for the true class, else 0 (Brier, 1950): from 0 to 2, of two classes twice what the form with one class "
        f"gives. {whose}. The score is therefore the mean over classes of the mean over their trials, and to forecast "
        f"{number(even)} of each class scores {number(1 - even)}, which is given as chance. Reliability diagrams "
        "(Murphy, 1973; Niculescu-Mizil and Caruana, 2005) weigh trials in the same way; calibration is summed up by "
        "mean forecast and slope (after Van Calster et al., 2019, but by least squares on probabilities). The "
        "reliability term of the Brier score is too high with few trials in a bin; by how much is estimated by the "
        "resamples."
    )


def _intervals(results: Results) -> str:
    crossed = (
        " Both are drawn independently, and a trial counts as often as its participant was drawn times as often as its "
        "stimulus was (Owen, 2007)."
    )
    return (
        f"are 95 % percentile intervals of a cluster bootstrap: {resampled(results)} are drawn with replacement, each "
        f"with all their trials (Field and Welsh, 2007).{crossed if len(held_out(results)) > 1 else ''} They cover "
        f"which {resampled(results)} there happened to be; they do not cover the noise of fitting again with another "
        "seed."
    )


def _permutation(results: Results) -> str:
    test = results.metrics.get("permutation") or {}
    times = f" {counted(test['n'], 'time')}" if test.get("n") else ""
    design = test.get("design", "within participants")
    alike = design == "within participants" and "stimuli" in held_out(results)
    places = ", the stimuli in the same way for all participants" if alike else ""
    return (
        f"Labels were shuffled{times} {design}{places}, among those tested in the same folds, while predictions stayed "
        "fixed; p = (1 + shuffles that score at least as high) / (1 + shuffles) "
        "(Phipson and Smyth, 2010). Folds train on each other’s test examples, so that a score without an effect "
        "varies more than its shuffles do (Bengio and Grandvalet, 2004): their spread was widened by the root of 2 for "
        "scores above chance, and by the root of the number of folds for scores below. A score is called above or "
        "below chance where this one-sided p is below 0.025 and the interval excludes chance, both; better or worse "
        "than logistic regression, or what can be had without gaze, where this holds of the difference, with the root "
        "of 2 for both; worse than the best without gaze takes a p below 0.025 after it was multiplied by the number "
        "of rows that it is the best of (Bonferroni)."
    )


def _gradients(results: Results, checked: bool) -> str:
    pixels = "every pixel of the picture, summed over its channels"
    if given(results).unit == "ms":
        pixels = "the dwell (ms) in every pixel of the heatmap"
    others = (
        " Integrated gradients add them up on the way from a blank picture (Sundararajan et al., 2017); SmoothGrad "
        "averages them over noisy copies of the picture (Smilkov et al., 2017)."
    )
    return (
        f"are signed derivatives of one class logit with respect to {pixels} (Simonyan et al., 2014), neither clipped "
        f"nor smoothed.{others if checked else ''} They describe what this fitted model reacts to, not what readers "
        "attend to; such maps can look convincing for models that learned nothing (Adebayo et al., 2018)."
    )
