# SPDX-License-Identifier: Apache-2.0
"""The HTML report of a classification run, drawn from its run folder alone.

`write_report` reads the run folder (manifest, metrics, predictions, unit logs, maps, rejects, quality), draws
figures/*.png and writes report.html: one file that needs nothing else, and the same bytes for the same run folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from gazeray.report.explanations import MapSection, explanation_rows, map_sections
from gazeray.report.gallery import Gallery, picture_kind, read_gallery
from gazeray.report.picture import Picture
from gazeray.report.pictures import all_pictures
from gazeray.report.quality import read_quality
from gazeray.report.results import Results, read_results
from gazeray.report.search import read_search
from gazeray.report.words import METRIC_NAMES, interval, metric_name, number, p_value, verdict
from gazeray.storage import Folder

REJECT_ROWS, REJECT_REASONS = 200, 30


def write_report(run: Folder) -> None:
    """Draw figures/*.png and report.html in the run folder, from what lies there.

    Raises FileNotFoundError when there is no manifest.json; everything else may be missing or empty and is then said
    to be so in the report. Raises ValueError when predictions name a class that the manifest does not.
    """
    results = read_results(run)
    gallery = read_gallery(run, results)
    pictures = all_pictures(results)
    sections = map_sections(run, results)
    shown = [*pictures, *(example.picture for example in gallery.examples)]
    shown += [picture for section in sections for picture in section.pictures]
    drawn = {f"figures/{picture.name}.png": picture.png for picture in shown}
    for path, png in drawn.items():
        run.write_bytes(path, png)
    for old in run.list("figures"):
        if old.path.endswith(".png") and old.path not in drawn:
            run.delete(old.path)
    run.write_text("report.html", render(results, pictures, gallery, sections))


def fold_rows(results: Results) -> list[dict[str, Any]]:
    """One row per planned fold: who was where, what its unit says, its scores (empty when it failed)."""
    scores = {fold["fold"]: fold.get("metrics") or {} for fold in results.metrics.get("folds", [])}
    rows = []
    for fold in results.manifest.get("folds", []):
        unit = results.units.get(f"fold-{fold['fold']}", {"status": "not run"})
        rows.append({**fold, "unit": unit, "n": unit.get("n") or {}, "metrics": scores.get(fold["fold"], {})})
    return rows


def reject_counts(rejects: pa.Table) -> list[dict[str, Any]]:
    """How many rows were rejected per stage and reason, most first."""
    if not rejects.num_rows:
        return []
    counts = rejects.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return sorted(counts, key=lambda row: (-row["count_all"], row["stage"] or "", row["reason"] or ""))


def render(results: Results, pictures: Sequence[Picture], gallery: Gallery, sections: Sequence[MapSection]) -> str:
    """The page as HTML. Whatever comes from the data is escaped."""
    environment = Environment(
        loader=PackageLoader("gazeray.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, interval=interval, metric_name=metric_name, p_value=p_value)
    folds = fold_rows(results)
    tested = set(results.metrics.get("participants") or {})
    scored = results.metrics.get("metrics", {})
    counts = reject_counts(results.rejects)
    config = results.manifest.get("config", {})
    return environment.get_template("report.html.j2").render(
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
        reject_counts=counts[:REJECT_REASONS],
        more_reasons=max(0, len(counts) - REJECT_REASONS),
        rejects=results.rejects.slice(0, REJECT_ROWS).to_pylist(),
        more_rejects=max(0, results.rejects.num_rows - REJECT_ROWS),
        config_yaml=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
    )


def _metric_order(key: str) -> tuple[int, str]:
    names = list(METRIC_NAMES)
    return (names.index(key) if key in names else len(names), key)
