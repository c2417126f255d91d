# SPDX-License-Identifier: Apache-2.0
"""The page of a run that classifies heatmaps, drawn from its run folder alone."""

from __future__ import annotations

from gazeray.report.model_card import write_card
from gazeray.report.page import Page, write_page
from gazeray.report.results import read_results
from gazeray.report.sections import (
    calibration,
    classification,
    explanations,
    flow,
    folds,
    gallery,
    learning,
    participants,
    provenance,
    quality,
    rejects,
    search,
    variants,
)
from gazeray.report.sections.methods import config
from gazeray.report.words import counted
from gazeray.storage import Folder
from gazeray.studies.heatmap.card import card
from gazeray.studies.heatmap.words import given, methods, regimes, verdict, whom


def write_report(run: Folder) -> None:
    """Draw figures/*.png, report.html and model_card.md in the run folder, from what lies there.

    Raises FileNotFoundError when there is no manifest.json; everything else may be missing or empty and is then said
    to be so in the report. Raises ValueError when predictions name a class that the manifest does not.
    """
    results = read_results(run)
    label, counts, words = results.manifest["data"]["label"], results.counts, given(results)
    hold_out = (results.config.get("folds") or {}).get("hold_out", "participants")
    maps = explanations.section(run, results, words)
    declared, used = flow.ends(results)
    people, trials = counted(used["people"], "participant"), counted(used["trials"], "trial")
    read = (
        f"Read: {counted(counts['recordings'], 'recording')}. Declared: {counted(declared['trials'], 'trial')}. "
        f"Used: {trials} of {people}. Rejects: {counts['rejected']} (rows, trials or whole files)."
    )
    page = Page(
        title=f"{label} from gaze",
        heading=f"Predicting “{label}” from gaze",
        about=[
            f"{people}, {trials}",
            f"classes {', '.join(results.classes)}",
        ],
        verdict=verdict(results),
        missing=folds.untested(results),
        sections=[
            classification.scores(results, f"Scores on {whom(results)}"),
            *regimes(results),
            classification.curves(results),
            variants.section(results),
            calibration.section(results),
            participants.section(results),
            maps,
            gallery.section(run, results, words),
            search.section(results),
            learning.section(results),
            folds.per_fold(results),
            folds.tested(results, hold_out),
            provenance.section(results),
            *flow.section(results),
            quality.section(results),
            rejects.section(results, "What was rejected, and why", "Rejected", read),
            methods(results, hold_out, checked=maps is not None),
            config(results),
        ],
    )
    write_page(run, results, page)
    write_card(run, results, page, card(results))
