# SPDX-License-Identifier: Apache-2.0
"""A drawn page as the tests read it, and a run folder as they change it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from gazeray.storage import Folder

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """The parsed page: every tag with its attributes, the text, and whether the tags balance."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in ("td", "th", "tr", "p", "li", "section") else ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def sections(self) -> list[str]:
        return [str(attributes["id"]) for attributes in self.all("section")]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def read_page(run: Folder) -> Page:
    parsed = Page(run.read_text("report.html"))
    assert not parsed.open
    return parsed


def change(run: Folder, name: str, edit: Callable[[Any], None]) -> None:
    """Edit a JSON file of the run folder."""
    content = run.read_json(name)
    edit(content)
    run.write_json(name, content)


def figure_names(run: Folder) -> list[str]:
    """The figures of a run folder, without their endings."""
    return [Path(stat.path).stem for stat in run.list("figures")]


def check_self_contained(run: Folder) -> None:
    """The page shows exactly the figures of the folder, asks for nothing else, and links to each of its sections."""
    html, parsed = run.read_text("report.html"), read_page(run)
    files = {base64.b64encode(run.read_bytes(stat.path)).decode() for stat in run.list("figures")}
    assert {str(image["src"]) for image in parsed.all("img")} == {f"data:image/png;base64,{file}" for file in files}
    assert all(len(str(image["alt"])) > 20 for image in parsed.all("img"))
    assert "url(" not in html
    assert "@import" not in html
    targets = {str(attributes["id"]) for _, attributes in parsed.tags if "id" in attributes}
    for _, attributes in parsed.tags:
        for name in {"src", "href", "srcset", "action", "data", "poster"} & set(attributes):
            value = str(attributes[name])
            assert value.startswith("data:image/png;base64,") or (value[0] == "#" and value[1:] in targets)
    assert [str(link["href"])[1:] for link in parsed.all("a")] == parsed.sections
