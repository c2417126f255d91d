# SPDX-License-Identifier: Apache-2.0
"""model_card.md: what the fitted models of a run are for and what not, how good they are, how to load them.

After Mitchell et al. (2019). It is made of the page: verdict, tables and caveats are those of report.html, in its
words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gazeray.report.blocks import Block, Figure, FigureRow, Heading, Listing, Section, Table, Terms, Text
from gazeray.report.page import Page
from gazeray.report.results import Results
from gazeray.storage import Folder, masked

CARD = "model_card.md"

SCORES, MADE = ("scores", "calibration", "variants", "regimes", "participants", "spread"), "config"
"""The sections of a page, by anchor, that tell how good the models are, and how they were made."""

REFERENCE = (
    "Mitchell, M. et al. (2019). Model cards for model reporting. FAT* 2019, 220–229. doi:10.1145/3287560.3287596."
)


class Card(NamedTuple):
    """What a study says of the models of a run, beside its page; sentences all.

    unshown: what the run did not show, to be read before anything else. model: what the models are. uses, misuses: what
    they may be used for, and what not. data: what they were fitted to and tested on. loading, code: how the weights are
    loaded, and Python that does it when it is run in the run folder; code is empty where no weights are kept.
    """

    unshown: Sequence[str]
    model: Sequence[str]
    uses: Sequence[str]
    misuses: Sequence[str]
    data: Sequence[str]
    loading: str
    code: str


def write_card(run: Folder, results: Results, page: Page, card: Card) -> None:
    """Write model_card.md. page: the one that was drawn of the same run."""
    run.write_text(CARD, masked(_text(results, page, card)))


def _text(results: Results, page: Page, card: Card) -> str:
    manifest, data = results.manifest, results.manifest["data"]
    sections = {section.anchor: section for section in page.sections if section is not None}
    made = sections[MADE].blocks if MADE in sections else ()
    limits = [*page.caveats, *(data["notes"] or []), *page.missing]
    about = (
        f"Model card (Mitchell et al., 2019) of run {manifest['job']}-{manifest['config_hash']} on the data set "
        f"{data['dataset']}; report.html in the same folder has figures and methods. What it shades is bold here."
    )
    parts = [
        f"# {_plain(page.heading)}",
        *(f"**{_plain(sentence)}**" for sentence in card.unshown),
        _plain(page.verdict),
        _plain(about),
        "## What it is",
        _list(card.model),
        "## What it may be used for",
        _list(card.uses),
        "## What it must not be used for",
        _list(card.misuses),
        "## What it was fitted to and tested on",
        _list(card.data),
        *(part for anchor in SCORES if anchor in sections for part in _section(sections[anchor])),
        "## Limits",
        _list(limits or ["The declaration of the data set names no confound of the label. That is no proof of none."]),
        "## Loading the weights",
        _plain(card.loading),
        *([f"```python\n{card.code.strip()}\n```"] if card.code else []),
        "## How it was made",
        *(_block(block) for block in made if isinstance(block, Terms)),
        "## Reference",
        REFERENCE,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> list[str]:
    return [f"## {_plain(section.title)}", *map(_block, section.blocks)]


def _block(block: Block) -> str:
    """A block as Markdown; of a figure what it says to those who cannot see it. Empty: there are no words for it."""
    if isinstance(block, Text):
        return f"**{_plain(block.lead)}** {_plain(block.words)}" if block.lead else _plain(block.words)
    if isinstance(block, Heading):
        return f"### {_plain(block.words)}"
    if isinstance(block, Listing):
        return _list(block.items)
    if isinstance(block, Terms):
        return "\n".join(f"- {_plain(term)}: {_plain(meaning)}" for term, meaning in block.pairs)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return _plain(block.alt)
    return "\n\n".join(map(_block, block.figures)) if isinstance(block, FigureRow) else ""


def _table(table: Table) -> str:
    heads = [_cell(column.head) for column in table.columns]
    lines = [heads, ["---"] * len(heads)]
    for place, row in enumerate(table.rows):
        cells = [_cell(f"{cell.words} {cell.range}") for _, cell in table.cells(row)]
        lines.append([f"**{cell}**" if cell and place in table.shaded else cell for cell in cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(words: str) -> str:
    return _plain(words).replace("|", "\\|")


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(item)}" for item in items)


def _plain(words: str) -> str:
    """Words on one line, of which Markdown makes no HTML."""
    return " ".join(words.split()).replace("\\", "\\\\").replace("<", "\\<")
