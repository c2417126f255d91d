# SPDX-License-Identifier: Apache-2.0
"""The HTML report of a classification run, drawn from its run folder alone.

`write_report` reads the run folder (manifest, metrics, predictions, unit logs, maps, rejects, quality), draws
figures/*.png and writes report.html: one file that needs nothing else, and the same bytes for the same run folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gazeray.report.figure import Figure
from gazeray.report.results import Results, read_results
from gazeray.report.sections.classification import all_figures
from gazeray.report.sections.explanations import MapSection, explanation_rows, map_sections
from gazeray.report.sections.gallery import Gallery, picture_kind, read_gallery
from gazeray.report.sections.quality import read_quality
from gazeray.report.sections.search import read_search
from gazeray.report.template import Rejects, config_yaml, environment, write_figures
from gazeray.report.words import METRIC_NAMES, verdict
from gazeray.storage import Folder


def write_report(run: Folder) -> None:
    """Draw figures/*.png and report.html in the run folder, from what lies there.

    Raises FileNotFoundError when there is no manifest.json; everything else may be missing or empty and is then said
    to be so in the report. Raises ValueError when predictions name a class that the manifest does not.
    """
    results = read_results(run)
    gallery = read_gallery(run, results)
    pictures = all_figures(results)
    sections = map_sections(run, results)
    shown = [*pictures, *(example.picture for example in gallery.examples)]
    shown += [picture for section in sections for picture in section.pictures]
    write_figures(run, shown)
    run.write_text("report.html", render(results, pictures, gallery, sections))


def fold_rows(results: Results) -> list[dict[str, Any]]:
    """One row per planned fold: who was where, what its unit says, its scores (empty when it failed)."""
    scores = {fold["fold"]: fold.get("metrics") or {} for fold in results.metrics.get("folds", [])}
    rows = []
    for fold in results.manifest.get("folds", []):
        unit = results.units.get(f"fold-{fold['fold']}", {"status": "not run"})
        rows.append({**fold, "unit": unit, "n": unit.get("n") or {}, "metrics": scores.get(fold["fold"], {})})
    return rows


def render(results: Results, pictures: Sequence[Figure], gallery: Gallery, sections: Sequence[MapSection]) -> str:
    """The page as HTML. Whatever comes from the data is escaped."""
    folds = fold_rows(results)
    tested = set(results.metrics.get("participants") or {})
    scored = results.metrics.get("metrics", {})
    config = results.manifest.get("config", {})
    template = environment().get_template("report.html.j2")
    return template.render(
        manifest=results.manifest,
        classes=results.classes,
        verdict=verdict(results),
        failed=[unit for unit in results.units.values() if unit["status"] != "done"],
        untested=sorted({name for fold in folds for name in fold["test"]} - tested),
        headline={key: scored[key] or {} for key in sorted(scored, key=_metric_order)},
        permutation=results.metrics.get("permutation") or {},
        hold_out=(config.get("folds") or {}).get("hold_out", "participants"),
        folds=folds,
        fold_metrics=sorted({key for fold in folds for key in fold["metrics"]}, key=_metric_order),
        search=read_search(results),
        pictures={picture.name: picture for picture in pictures},
        sections=sections,
        explanations=explanation_rows(results),
        gallery=gallery,
        picture_kind=picture_kind(results),
        quality=read_quality(results),
        rejects=Rejects.of(results.rejects),
        config_yaml=config_yaml(results.manifest),
    )


def _metric_order(key: str) -> tuple[int, str]:
    names = list(METRIC_NAMES)
    return (names.index(key) if key in names else len(names), key)
