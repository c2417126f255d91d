# SPDX-License-Identifier: Apache-2.0
"""The HTML report of a run that compares saliency predictors, drawn from its run folder alone.

`write_saliency_report` reads the run folder (manifest, metrics, per_image, maps, centre, rejects), draws figures/*.png
and writes report.html: one file that needs nothing else, and the same bytes for the same run folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gazeray.report.figure import Figure
from gazeray.report.sections.saliency import GROUPS, Example, all_figures, grid, ranked, read_examples
from gazeray.report.sections.saliency_results import KINDS, SaliencyResults, read_saliency
from gazeray.report.sections.saliency_words import (
    CENTRE,
    CHOSEN,
    METRICS,
    REFERENCES,
    caveats,
    counted,
    headline,
    metric,
    undefined,
    verdict,
)
from gazeray.report.template import Rejects, config_yaml, environment, write_figures
from gazeray.storage import Folder


def write_saliency_report(run: Folder) -> None:
    """Draw figures/*.png and report.html in the run folder, from what lies there.

    Raises FileNotFoundError when there is no manifest.json; everything else may be missing or empty and is then said
    to be so in the report. Raises ValueError for a metric that is not known, or an example picture that lacks
    the picture itself, its human map or its fixations.
    """
    results = read_saliency(run)
    pictures, examples = all_figures(results), read_examples(run, results)
    write_figures(run, [*pictures, *(example.picture for example in examples)])
    run.write_text("report.html", render(results, pictures, examples))


def score_rows(results: SaliencyResults) -> list[dict[str, Any]]:
    """One row per predictor for the score tables: models from the best to the worst, then baselines, then ceilings."""
    name = headline(results.metrics)
    rows = []
    for kind in KINDS:
        keys = results.of_kind(kind)
        for key in ranked(results, keys, name) if kind == "model" and name else keys:
            entries = {shown: results.entry(key, shown) for shown in results.shown}
            rows.append({"key": key, "label": results.label(key), "kind": kind, "best": key == results.best,
                         "entries": entries})  # fmt: skip
    return rows


def gain_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `score_rows` with their gain over the centre bias for entries, those that have one only.

    Information gain is left out: it is a gain over the centre bias already.
    """
    gains = []
    for row in rows:
        entries = {
            name: entry.get("gain") or {} for name, entry in row["entries"].items() if name != "information_gain"
        }
        known = {name: gain for name, gain in entries.items() if gain.get("value") is not None}
        gains.append(row | {"entries": known})
    return [row for row in gains if row["entries"] and row["key"] != CENTRE]


def penalty_rows(results: SaliencyResults) -> list[dict[str, Any]]:
    """One row per model with a penalty: which was chosen in how many folds, and how often the grid ended there."""
    rows = []
    for key in results.of_kind("model"):
        entry = results.metrics["predictors"][key]
        chosen, tried = entry.get("penalty") or [], grid(entry)
        if not chosen:
            continue
        counts = sorted(Counter(chosen).items())
        words = ", ".join(f"{value:g} ({counted(count, 'fold')})" for value, count in counts)
        ends = sum(value in (min(tried), max(tried)) for value in chosen) if len(tried) > 1 else 0
        rows.append({"label": results.label(key), "chosen": words, "ends": ends, "folds": len(chosen)})
    return rows


def chosen_layers(results: SaliencyResults) -> str:
    """The layer that the inner folds chose in each fold, in words; empty where none was chosen."""
    predictors = results.metrics.get("predictors") or {}
    folds = (predictors.get(CHOSEN) or {}).get("folds") or {}
    layers = [
        (fold, predictors[key].get("layer")) for fold, key in sorted(folds.items(), key=lambda item: int(item[0]))
    ]
    return ", ".join(f"{layer} (fold {fold})" for fold, layer in layers)


def sorted_by(results: SaliencyResults) -> str:
    """The name of the metric that the example pictures were picked by; empty where they have no value of it."""
    names = [metric(row["metric"]).name for row in results.maps if row["value"] is not None]
    return names[0] if names else ""


def render(results: SaliencyResults, pictures: Sequence[Figure], examples: Sequence[Example]) -> str:
    """The page as HTML. Whatever comes from the data is escaped."""
    manifest = results.manifest
    rows = score_rows(results)
    gains = gain_rows(rows)
    sources = {"kuemmerer", *(METRICS[name].source for name in results.shown)}
    states = {name: state for name, state in (manifest.get("units") or {}).items() if state != "done"}
    failures = manifest.get("failures") or {}
    template = environment().get_template("saliency.html.j2")
    return template.render(
        manifest=manifest,
        results=results,
        counts=manifest.get("counts") or {},
        backbone=manifest.get("backbone") or {},
        verdict=verdict(manifest, results.metrics),
        caveats=caveats(manifest, results.metrics),
        failed=[{"unit": name, "status": state, "error": failures.get(name)} for name, state in states.items()],
        rows=rows,
        gains=gains,
        gain_shown=[name for name in results.shown if any(name in row["entries"] for row in gains)],
        heads={name: metric(name).head for name in results.shown},
        undefined=undefined(results.metrics) if results.rows else [],
        pictures={picture.name: picture for picture in pictures},
        examples={why: [example.picture for example in examples if example.why == why] for why in GROUPS},
        example_metric=sorted_by(results),
        counted=counted,
        penalties=penalty_rows(results),
        chosen_layers=chosen_layers(results),
        words=[METRICS[name] for name in results.shown],
        references=[text for key, text in REFERENCES.items() if key in sources],
        rejects=Rejects.of(results.rejects),
        config_yaml=config_yaml(manifest),
    )
