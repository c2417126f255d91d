# SPDX-License-Identifier: Apache-2.0
"""The words of the emotion study's report: what metrics and rows are called, the verdict, and what limits it."""

from __future__ import annotations

from gazeray.metrics.permutation import Claim, claim
from gazeray.report.results import HEADLINE, Results
from gazeray.report.sections.classification import against_chance, claimed, held_out
from gazeray.report.sections.without_gaze import best_gain
from gazeray.report.words import METRIC_NAMES, Metric, digits_for, incomplete, interval, number, p_value
from gazeray.studies.emotion.views import (
    ADDITIVE,
    CIRCUMSTANCES,
    OTHERS,
    PERSON,
    PICTURE,
    SEES,
    chance_of,
    label_of,
    model_of,
)

METRICS = {
    **{key: Metric(name) for key, name in METRIC_NAMES.items() if key != "brier"},
    HEADLINE: Metric(
        "macro recall", "", True,
        "mean over the levels of the share of their trials that are told right (balanced accuracy), where the level "
        "with the highest ratio of its probability to its share in training is decided for, so that rare levels count "
        "as much as frequent ones; chance is one over the number of levels that were tested", "brodersen"),
    "accuracy": Metric("accuracy", "", True, "share of trials whose most probable level is right"),
    "qwk": Metric(
        "weighted kappa", "", True,
        "Cohen’s kappa of the expected level, rounded, with errors weighed by their squared distance", "cohen"),
    "mae": Metric("mean absolute error", "levels", False, "mean distance of the expected level, rounded"),
    "within_one": Metric("within one level", "share", True, "share of trials at most one level off, likewise"),
    "spearman": Metric(
        "Spearman", "", True,
        "rank correlation of the expected level, less what the shares in training alone would have it be"),
    "ccc": Metric("concordance", "", True, "correlation of the expected level that also asks for mean and spread",
                  "lin"),
    "log_loss": Metric(
        "log loss", "nat", False, "mean of −ln of the probability of the true level, of one millionth at least"),
    "ece": Metric(
        "calibration error", "", False,
        "mean distance of how sure the most probable level was from how often it was right, over ten bins", "guo"),
    "brier": Metric("Brier score", "", False, "squared distance of all probabilities from the truth", "brier"),
    "auroc": Metric(
        "area under ROC", "", True,
        "of the second class, or the mean over classes, each against the rest, by the same ratio", "fawcett"),
}  # fmt: skip
"""Every metric that a run may show, in words."""

KNOWN_SIDES = {
    "participants": "people it never saw, with pictures it knew",
    "stimuli": "pictures it never saw, of people it knew",
    "both": "people and pictures it never saw",
    "neither": "people and pictures that it knew, both",
}
"""Whom and what the test is of, by what is held out."""

EXPLAINED = {
    PICTURE: ("the stimulus", "the mean rating of other people for the same picture"),
    PERSON: ("the person", "this person's mean rating of other pictures"),
    ADDITIVE: ("person and picture", "the sum of this person's mean rating and the picture's"),
}
"""What a score is credited to where such a row has it too, and what that row knows."""


def hold_out(results: Results) -> str:
    """What the folds hold out: participants, stimuli, both or neither."""
    told = results.metrics.get("hold_out") or (results.config.get("folds") or {}).get("hold_out")
    return str(told or "participants")


def whom(results: Results) -> str:
    """Whom and what the test is of."""
    if (results.config.get("folds") or {}).get("path"):
        return "the test trials of the folds of a file"
    alone = hold_out(results) == "participants" and results.counts.get("stimuli") == 1
    return "people it never saw" if alone else KNOWN_SIDES[hold_out(results)]


def second(view: Results) -> str:
    """The metric that stands beside macro recall: weighted kappa of ordered levels, else the area under ROC."""
    return "qwk" if "qwk" in view.shown else "auroc"


def heading(view: Results) -> str:
    """A label with its levels, as a heading."""
    name, levels = label_of(view), view.classes
    told = f"{len(levels)} ordered levels" if view.metrics.get("ordered") else f"{', '.join(levels)}"
    return f"{_capital(name)} ({told})"


# -- the verdict


def verdict(results: Results, views: list[Results]) -> str:
    """Plain sentences, label by label: is anything told above chance, and does it need gaze and body?"""
    start = f"{begun}. " if (begun := incomplete(results, "unit")) else ""
    if not views:
        return f"{start}No verdict, because nothing was scored."
    leaks = results.metrics.get("leaks")
    if leaks:
        start += f"This split leaks: {str(leaks).rstrip('.')}. "
    return start + " ".join(map(of_label, views))


def of_label(view: Results) -> str:
    """The verdict on one label."""
    name, entry = label_of(view), view.entry(model_of(view), HEADLINE)
    if entry.get("value") is None:
        return (
            f"{_capital(name)}: no verdict, because macro recall is undefined ({entry.get('why') or 'too few levels'})."
        )
    chance = chance_of(view)
    gain = best_gain(view, model_of(view), HEADLINE, held_out(view))
    distances = [bound - chance for bound in [entry["value"], *(entry.get("ci95") or [])]]
    digits = digits_for(*distances, *([gain.gain, *(gain.ci95 or [])] if gain else []))
    scored = [
        f"macro recall {number(entry['value'], digits)} {interval(entry.get('ci95'), digits) or '(no interval)'}",
        f"chance {number(chance, digits)}",
    ]
    found = against_chance(view)
    p = (view.metrics.get("permutation") or {}).get("p_below" if found.side == "below" else "p")
    scored += [f"permutation {p_value(p)}"] if p is not None else []
    beside = view.entry(model_of(view), second(view))
    if beside.get("value") is not None:
        bounds = interval(beside.get("ci95"), 2)
        scored.append(f"{METRICS[second(view)].name} {number(beside['value'], 2)} {bounds}".rstrip())
    said = claimed(found, "tells it", whom(view))
    sentence = f"{_capital(name)}: {said} ({', '.join(scored)})."
    return " ".join(filter(None, [sentence, _beyond(view, digits), explained(view, digits), given_away(view, digits)]))


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _beyond(view: Results, digits: int) -> str:
    """What gaze and body add to the best predictor that sees neither."""
    gain = best_gain(view, model_of(view), HEADLINE, held_out(view))
    if gain is None:
        return "This run did not ask what can be had without gaze and body."
    bounds = interval(gain.ci95, digits, signed=True)
    figures = (
        f"{gain.over} {number(gain.value, digits)}, gain {number(gain.gain, digits, signed=True)} {bounds}".strip()
    )
    if gain.p is not None:
        figures += f", {p_value(gain.p)}" + " of being worse" * (gain.found.side == "below")
    further = view.gain(model_of(view), second(view), view.metrics["without_gaze"]["best"])
    if further.get("value") is not None:
        bounds = interval(further.get("ci95"), 2, signed=True)
        figures += f"; in {METRICS[second(view)].name} {number(further['value'], 2, signed=True)} {bounds}".rstrip()
    told = {
        "above": "It is better than what can be had without gaze and body",
        "below": "It is worse than what can be had without gaze and body",
        "too_few": "Nor can it be said whether it is better than what can be had without gaze and body",
    }.get(gain.found.side, "It is not clearly better than what can be had without gaze and body")
    return f"{told} ({figures})."


def credited(view: Results) -> str | None:
    """The row that has the score of the model too, and so explains it; None where none has, or none is above chance.

    Asked of the picture alone, the person alone, and both: those that score at least as well as the model, are above
    chance by their interval, and over which the gain of the model cannot be told from 0 (or is below), in the second
    metric either. The first of them, or the best where the model is not above chance. Not where the model is better
    than all that can be had without gaze and body.
    """
    model, chance = model_of(view), chance_of(view)
    gain = best_gain(view, model, HEADLINE, held_out(view))
    value = view.entry(model, HEADLINE).get("value")
    if value is None or (gain is not None and gain.found.side == "above"):
        return None
    found = []
    parted = all(view.entry(row, HEADLINE).get("value") is not None for row in (PERSON, PICTURE))
    for row in EXPLAINED if parted else (PICTURE, PERSON):  # what was held out adds nothing to the sum
        entry, over = view.entry(row, HEADLINE), view.gain(model, HEADLINE, row)
        bounds, gained = entry.get("ci95"), over.get("ci95")
        if entry.get("value") is None or bounds is None or gained is None:
            continue
        beside = view.gain(model, second(view), row).get("ci95")
        if beside is not None and beside[0] > 0:
            continue
        if entry["value"] >= value and bounds[0] > chance and gained[0] <= 0:
            found.append(row)
    if against_chance(view).side == "above":
        return next(iter(found), None)
    return max(found, key=lambda row: float(view.entry(row, HEADLINE)["value"]), default=None)


def explained(view: Results, digits: int = 2) -> str:
    """What a score is credited to, as a sentence; empty where nothing without gaze and body has it too."""
    row = credited(view)
    if row is None:
        return ""
    what, knows = EXPLAINED[row]
    entry, beside = view.entry(row, HEADLINE), view.entry(row, second(view))
    scored = f"{number(entry['value'], digits)} {interval(entry['ci95'], digits)}"
    if beside.get("value") is not None:
        scored += f" and {METRICS[second(view)].name} {number(beside['value'], 2)}"
    others = view.entry(OTHERS, second(view))
    if row == PICTURE and others.get("value") is not None:
        scored += f" (with everybody else’s ratings {number(others['value'], 2)})"
    if against_chance(view).side == "above":
        return f"All of it may be {what}: {knows} alone scores {scored}."
    return f"It can be told without gaze and body. All of it is {what}: {knows} alone scores {scored}."


def given_away(view: Results, digits: int = 2) -> str:
    """That the circumstances of a trial tell its label, as a sentence; empty where they are not above chance, or the
    model is above them, by the intervals."""
    entry, over = view.entry(CIRCUMSTANCES, HEADLINE), view.gain(model_of(view), HEADLINE, CIRCUMSTANCES)
    bounds, gained = entry.get("ci95"), over.get("ci95")
    if bounds is None or gained is None or bounds[0] <= chance_of(view) or gained[0] > 0:
        return ""
    scored, beside = f"{number(entry['value'], digits)} {interval(bounds, digits)}", view.entry(CIRCUMSTANCES, "auroc")
    if beside.get("value") is not None:
        scored += f", area under ROC {number(beside['value'], 2)}"
    return (
        f"When and how a trial was recorded gives it away ({view.label(CIRCUMSTANCES)} alone: {scored}): what the "
        "model scores is evidence only if it cannot see that, such as how long a recording was."
    )


def against(view: Results, row: str) -> Claim:
    """What may be said of the gain of the model over a row."""
    test = view.metrics.get("permutation") or {}
    tested = {"reason": test.get("reason"), **((test.get("gain") or {}).get(row) or {})}
    return claim(view.gain(model_of(view), HEADLINE, row).get("ci95"), 0.0, tested, held_out(view))


# -- what to know before the numbers


def caveats(results: Results) -> list[str]:
    """What to know before the numbers are believed, a sentence each."""
    branches, config = results.manifest.get("branches") or {}, results.config
    found = [f"The {SEES.get(name, name)} is left out: {str(why).rstrip('.')}."
             for name, why in (branches.get("left_out") or {}).items()]  # fmt: skip
    if "picture" in (branches.get("used") or []) and (config.get("picture") or {}).get("weights") == "none":
        found.append("The network that sees the pictures is untrained (weights: none): what it adds is a control.")
    if scaled_within(results):
        found.append(
            "Signals are scaled within each person, by all of the person's own trials and without labels: a person "
            "must have been recorded for a while before anything can be told of them."
        )
    missing = results.counts.get("missing_pictures")
    if missing:
        found.append(f"Pictures that trials name and that are not there: {missing}.")
    return found


def scaled_within(results: Results) -> bool:
    """Are the signals scaled by each person's own trials?"""
    return (results.config.get("signals") or {}).get("scale") == "participant"


def branch_name(key: str) -> str:
    """The branches of a row in words: "series + picture"."""
    return " + ".join(key.split("-"))
