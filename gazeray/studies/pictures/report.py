# SPDX-License-Identifier: Apache-2.0
"""The page of a run that compares saliency predictors, drawn from its run folder alone."""

from __future__ import annotations

from dataclasses import replace

from gazeray.report import many
from gazeray.report.model_card import write_card
from gazeray.report.page import Page, write_page
from gazeray.report.results import Results, read_results
from gazeray.report.sections import flow, provenance, rejects, scores, spread, variants
from gazeray.report.sections.methods import config
from gazeray.report.words import counted
from gazeray.storage import Folder
from gazeray.studies.pictures import methods, sections
from gazeray.studies.pictures.card import card
from gazeray.studies.pictures.words import CENTRE, CHOSEN, GOLD, METRICS, OTHERS, caveats, headline, verdict

ORDER = ("uniform", "centre_quarter", "centre", "mean_of_others", "centre_bias", "split_half", "other_observers",
         "gold_standard")  # fmt: skip
"""Baselines and ceilings as the report lists them, from what knows least; metrics.json sorts them by name."""

SPREAD = ("information_gain", "auc_shuffled", "nss", "cc", "auc_uniform", "sim")
"""The distributions show the first three of these that were scored."""

GAINS = scores.Gains(CENTRE, "the centre bias of the other pictures", "centre bias", ("information_gain",))


def write_saliency_report(run: Folder) -> None:
    """Draw figures/*.png and report.html in the run folder, from what lies there; for fitted probes model_card.md too.

    Raises FileNotFoundError when there is no manifest.json; everything else may be missing or empty and is then said
    to be so in the report. Raises ValueError for a metric that is not known, or an example picture that lacks
    the picture itself, its human map or its fixations.
    """
    results = read_saliency(run)
    manifest, probing = results.manifest, results.manifest["study"] == "probe_saliency"
    backbone, by = manifest.get("backbone") or {}, headline(results)
    seen = " that the model never saw" if probing else ""
    intro = (
        f"Means over pictures{seen}; in square brackets the 95 % bootstrap interval over pictures. Baselines do not "
        "look at the picture; ceilings come from its own observers. Shaded: the best model."
    )
    folds = many.named([f"{fold['fold']} ({fold['pictures']})" for fold in manifest.get("folds") or []])
    read = (
        f"Read: {_counts(results)}. Rejects: {results.counts.get('rejected')} (fixations, pictures or whole files)."
        f"{f' Folds of pictures: {folds}.' if folds else ''}"
    )
    spread_of = [name for name in SPREAD if name in results.shown and name in results.per_item.column_names][:3]
    compared = spread.compared(results, METRICS, by, (results.best, CHOSEN))
    network = f"Where people look, read from {backbone.get('arch') or 'a network'}"
    page = Page(
        title="Where people look",
        heading=network if probing else "Saliency maps against people",
        about=[_counts(results), *([f"weights {backbone['weights']}"] if probing and backbone else [])],
        verdict=verdict(results),
        caveats=caveats(results),
        sections=[
            scores.section(results, METRICS, by, "picture", intro, [GAINS], methods.on_grid(results)),
            variants.section(results),
            sections.layers(results),
            sections.pictures(run, results),
            sections.centre(run),
            spread.section(
                results, METRICS, "picture", spread_of, compared, [("information_gain", GOLD), ("nss", OTHERS)]
            ),
            sections.penalties(results),
            provenance.section(results),
            *flow.section(results),
            rejects.section(results, "Data, and what was rejected", "Data, rejects", read),
            methods.section(results, probing),
            config(results),
        ],
    )
    write_page(run, results, page)
    if probing:
        write_card(run, results, page, card(results))


def read_saliency(run: Folder) -> Results:
    """The run folder, with its models by layer and probe. Raises as `read_results`."""
    results = read_results(run)
    layers, probes = results.metrics.get("layers") or [], results.metrics.get("probes") or []
    models = [f"model:{layer}:{probe}" for layer in layers for probe in probes]
    return replace(results, order=[*models, *ORDER])


def _counts(results: Results) -> str:
    return ", ".join(counted(results.counts.get(f"{noun}s", 0), noun) for noun in ("picture", "observer", "fixation"))
