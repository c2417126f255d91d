# SPDX-License-Identifier: Apache-2.0
"""The page of a run that tells felt arousal and valence, or any label, from gaze, body and picture."""

from __future__ import annotations

from dataclasses import replace

from gazeray.report.blocks import ROW, Column, Section, Table, Text
from gazeray.report.model_card import write_card
from gazeray.report.page import Page, write_page
from gazeray.report.results import Results, read_results
from gazeray.report.sections import flow, folds, learning, provenance, quality, rejects, search, variants
from gazeray.report.sections.methods import config
from gazeray.report.words import counted
from gazeray.storage import Folder
from gazeray.studies.emotion import control_section, sections, signal_section
from gazeray.studies.emotion.card import card
from gazeray.studies.emotion.methods import methods
from gazeray.studies.emotion.views import label_of, views
from gazeray.studies.emotion.words import caveats, hold_out, verdict

LOGGED = learning.Logged(
    "training: what is fitted, summed over the labels; validation: log loss, their mean, so that the two lines are not "
    "to be compared", "balanced_accuracy", "mean macro recall",
)  # fmt: skip


def write_report(run: Folder) -> None:
    """Draw figures/*.png, report.html and model_card.md in the run folder, from what lies there.

    Raises FileNotFoundError when there is no manifest.json; everything else may be missing or empty and is then said
    to be so in the report. Raises ValueError when predictions name a level that the label does not have, and for a
    metric that is not known.
    """
    results = read_results(run)
    told, counts = views(results), results.counts
    names = [str(label["name"]) for label in results.manifest["data"]["labels"]]
    declared, used = flow.ends(results)
    people, trials = counted(used["people"], "participant"), counted(used["trials"], "trial")
    read = (
        f"Read: {counted(counts['recordings'], 'recording')}. Declared: {counted(declared['trials'], 'trial')}. "
        f"Used: {trials} of {people}, who saw {counted(counts['stimuli'], 'picture')}. Rejects: {counts['rejected']} "
        "(rows, trials or whole files)."
    )
    first = _first(results, told)
    page = Page(
        title=f"{', '.join(names)} from {_seen(results)}",
        heading=f"Telling {' and '.join(names)} from {_seen(results)}",
        about=[f"{people}, {counted(counts['stimuli'], 'picture')}, {trials}"],
        verdict=verdict(results, told),
        missing=folds.untested(first),
        caveats=caveats(results),
        sections=[
            sections.table(results, told),
            sections.branches(results, told),
            control_section.section(results, told),
            variants.section(results),
            sections.levels(told),
            sections.calibration(told),
            sections.spread(told),
            signal_section.section(run, results, told),
            signal_section.augmentation(run, results),
            _search(results, names),
            learning.section(_of_model(results), LOGGED),
            *_per_fold(told),
            _tested(results),
            provenance.section(results),
            *_flow(first, names[0]),
            quality.section(results),
            rejects.section(results, "What was rejected, and why", "Rejected", read),
            methods(results, told),
            config(results),
        ],
    )
    write_page(run, results, page)
    write_card(run, results, page, card(results, told))


def _first(results: Results, told: list[Results]) -> Results:
    """The view of the first label, which the flow is told by; its levels are known even where nothing was scored."""
    if told:
        return told[0]
    levels = results.manifest["data"]["labels"][0]["levels"]
    return replace(results, manifest={**results.manifest, "classes": levels})


def _seen(results: Results) -> str:
    """What the model of all branches sees: "signals, scanpath and picture"."""
    *some, last = ["signals" if name == "series" else name for name in results.manifest["branches"]["used"]]
    return f"{', '.join(some)} and {last}" if some else last


def _of_model(results: Results) -> Results:
    """The run with the epochs of the model of all branches alone, where there are others beside it."""
    own = {name: rows for name, rows in results.epochs.items() if name.startswith("fold-")}
    return replace(results, epochs=own)


def _flow(first: Results, label: str) -> list[Section]:
    """What became of the trials, by the levels of the first label."""
    words = f"The last columns are the levels of {label}, {first.classes[0]} to {first.classes[-1]}."
    return [one._replace(blocks=[Text(words, small=True), *one.blocks]) for one in flow.section(first)]


def _search(results: Results, labels: list[str]) -> Section | None:
    """The search, whose scores and losses are means over the labels."""
    found = search.section(results)
    if found is None or len(labels) < 2:
        return found
    words = f"Scores and losses are means over {' and '.join(labels)}; balanced accuracy is macro recall."
    return found._replace(blocks=[Text(words, small=True), *found.blocks])


def _per_fold(told: list[Results]) -> list[Section]:
    """A section per label: how each fold went."""
    found = []
    for view in told:
        section, name = folds.per_fold(view), label_of(view)
        anchor = "per-fold" if view is told[0] else f"per-fold-{told.index(view) + 1}"
        many = len(told) > 1
        title, link = (f"Folds: {name}", f"Folds, {name}") if many else (section.title, section.link)
        blocks = [Text("Balanced accuracy is macro recall.", small=True), *section.blocks]
        found.append(section._replace(anchor=anchor, title=title, link=link, blocks=blocks))
    return found


def _tested(results: Results) -> Section:
    """Who was tested where; of a random split there is nobody to name."""
    held = hold_out(results)
    if held != "neither":
        return folds.tested(results, held)
    words = "Trials were dealt to folds at random: people and pictures are on every side of each."
    sides = ("train", "validation", "test")
    rows = [[fold["fold"], *(fold["trials"][side] for side in sides)] for fold in results.manifest.get("folds") or []]
    columns = [Column("fold", ROW), *(Column(f"trials: {side}") for side in sides)]
    shown = Table("Trials per fold", columns, rows, tall=len(rows) > 15)
    return Section("tested", "Who was tested where", "Who was tested", [Text(words), shown])
