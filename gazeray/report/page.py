# SPDX-License-Identifier: Apache-2.0
"""One page for all studies: a header with the verdict and what to know before the numbers, and sections of blocks.

The page is one file that needs nothing else, and the same bytes for the same run folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from gazeray.report import many
from gazeray.report.blocks import Section
from gazeray.report.results import Results
from gazeray.storage import Folder


class Page(NamedTuple):
    """What a study says about a run.

    title: in the browser's tab, before data set and job. heading: above the page. about: facts on data and models.
    sections: None is one that this run has no data for. caveats: what to know before the numbers, beside the notes of
    the data set. missing: what the run lacks, beside the units that failed.
    """

    title: str
    heading: str
    about: Sequence[str]
    verdict: str
    sections: Sequence[Section | None]
    caveats: Sequence[str] = ()
    missing: Sequence[str] = ()


def write_page(run: Folder, results: Results, page: Page) -> None:
    """Write figures/<name>.png and report.html, and delete other PNGs that lie in figures/."""
    sections = [section for section in page.sections if section is not None]
    drawn = {f"figures/{figure.name}.png": figure.png for section in sections for figure in section.figures()}
    for path, png in drawn.items():
        run.write_bytes(path, png)
    for old in run.list("figures"):
        if old.path.endswith(".png") and old.path not in drawn:
            run.delete(old.path)
    run.write_text("report.html", _render(results, page, sections))


def _render(results: Results, page: Page, sections: Sequence[Section]) -> str:
    """The page as HTML. Whatever comes from the data is escaped; an unknown variable is an error."""
    environment = Environment(
        loader=PackageLoader("gazeray.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
    environment.filters["tied"] = lambda words: words.replace(" %", "\N{NO-BREAK SPACE}%")
    manifest, data = results.manifest, results.manifest["data"]
    finished = f"finished {manifest['finished'] or 'not yet'}"
    about = [f"Data set {data['dataset']}", f"study {manifest['study']}", *page.about, finished]
    return environment.get_template("page.html.j2").render(
        page=page,
        title=f"{page.title}: {data['dataset']} ({manifest['job']})",
        about=" · ".join([*about, f"run {manifest['job']}-{manifest['config_hash']}"]),
        status=manifest["status"],
        failed=many.first(results.failed),
        unnamed=len(results.failed) - len(many.first(results.failed)),
        notes=[*page.caveats, *(data["notes"] or [])],
        sections=sections,
    )
