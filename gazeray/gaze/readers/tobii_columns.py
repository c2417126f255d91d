# SPDX-License-Identifier: Apache-2.0
"""What the columns of Tobii's data exports are called, what they count from and in, and which rows are gaze.

Names after the manuals of Tobii Studio (2.x, 3.4) and Tobii Pro Lab, and after the headers of public exports of both.
The same things come under names that differ in blanks, capitals and a unit or coordinate system in brackets:
"Gaze point left X [DACS px]", "GazePointLeftX (ADCSpx)". DACS, ADCS and RCS count from the top left of the display, MCS
from that of the medium shown. HUCS, TCS and all mm are places in the room or on the glass, in which nothing lies that
can be shown on a screen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from gazeray.gaze.readers.base import COORDINATES
from gazeray.gaze.readers.vendor_tables import Cells, Pairs, Sheet, declared_pair, says_something

NAMES: dict[str, tuple[str, ...]] = {
    "participant": ("participantname",),  # Pro Lab 1.x to 24.x, Studio 3.x
    "trial": (
        "presentedstimulusname",  # Pro Lab 1.x to 24.x
        "presentedmedianame",  # Pro Lab, exports without the former
        "medianame",  # Studio 3.x
        "stimuliname",  # Studio 1.x and 2.x
    ),
    "shown": ("mediaid", "stimuliid"),  # Studio 1.x and 2.x: StimuliID
    "recording": ("recordingname",),  # Pro Lab, Studio 3.x
    "time": (
        "recordingtimestamp",  # Pro Lab, Studio 3.x
        "timestamp",  # Studio 1.x and 2.x
    ),
    "tracker_time": ("eyetrackertimestamp",),  # Pro Lab, Studio 3.x: us in all versions
    "sensor": ("sensor",),  # Pro Lab
    "validity_left": ("validityleft",),  # Pro Lab: Valid, Invalid; Studio: 0 to 4
    "validity_right": ("validityright",),
    "type": (
        "eyemovementtype",  # Pro Lab 1.x to 24.x
        "gazeeventtype",  # Studio 3.x
    ),
    "number": (
        "eyemovementtypeindex",  # Pro Lab 1.x to 24.x
        "fixationindex",  # Studio 1.x to 3.x
        "gazeeventindex",  # Studio 3.x without FixationIndex
    ),
    "duration": (
        "eyemovementeventduration",  # Pro Lab 24.x
        "gazeeventduration",  # Pro Lab 1.x, Studio 3.x
        "fixationduration",  # Studio 1.x and 2.x
    ),
    "left_px": ("presentedmediapositionx", "mediaposx"),  # Pro Lab; Studio 1.x to 3.x
    "top_px": ("presentedmediapositiony", "mediaposy"),
    "shown_width": ("presentedmediawidth", "mediawidth"),
    "shown_height": ("presentedmediaheight", "mediaheight"),
    "own_width": ("originalmediawidth",),  # Pro Lab; Studio counts MCS in px of the display
    "own_height": ("originalmediaheight",),
    "screen_width": ("recordingresolutionwidth",),  # Pro Lab
    "screen_height": ("recordingresolutionheight",),
    "screen": ("recordingresolution",),  # Studio 3.x: 1920 x 1080
    "pupil_left": ("pupildiameterleft", "pupilleft", "pupilsizeleft"),  # Pro Lab; Studio 1.x to 3.x; T series SDK logs
    "pupil_right": ("pupildiameterright", "pupilright", "pupilsizeright"),
    "pupil": ("pupildiameterfiltered",),  # Pro Lab
    "gsr": ("galvanicskinresponse(gsr)", "galvanicskinresponse", "gsr"),  # Pro Lab, from a Shimmer sensor
}
"""Our name -> the names of the column without blanks, capitals and what is in brackets at the end, best first."""

GAZE: dict[str, tuple[str, ...]] = {
    "combined": (
        "gazepoint{}",  # Pro Lab, Studio 3.x
        "mappedgazedatapoint{}",  # Studio 2.x, px of the medium
    ),
    "left": (
        "gazepointleft{}",  # Pro Lab, Studio 3.x
        "gazepoint{}left",  # Studio 1.x and 2.x
    ),
    "right": ("gazepointright{}", "gazepoint{}right"),
}
FIXATION: dict[str, tuple[str, ...]] = {
    "fixation": (
        "fixationpoint{}",  # Pro Lab, Studio 3.x
        "mappedfixationpoint{}",  # Studio 1.x and 2.x, px of the medium
    )
}
"""Names of columns of x and y, best first; the axis stands in the braces."""

MESSAGES = (
    ("event", ("eventvalue", "data1", "descriptor")),  # Pro Lab: Event value; Studio 2.x: Data1, Descriptor
    ("studioevent", ("studioeventdata",)),  # Studio 3.x
    ("externalevent", ("externaleventvalue",)),  # Studio 3.x
)
"""Columns of messages, and those of what else they say."""

SYSTEMS = {
    "": ("display", "px"),
    "px": ("display", "px"),
    "dacspx": ("display", "px"),  # Pro Lab
    "adcspx": ("display", "px"),  # Studio 3.x
    "rcspx": ("display", "px"),  # Pro Lab before 1.100
    "dacsnorm": ("display", "normalised"),
    "adcsnorm": ("display", "normalised"),
    "mcspx": ("medium", "px"),  # Studio 3.x; Pro Lab: px of the medium itself, or of the scene camera's picture
    "mcsnorm": ("medium", "normalised"),  # Pro Lab: fractions of the medium
}
"""What is in the brackets of a column of coordinates -> where 0, 0 is, and the unit. All else is no place on screen."""

SCENE_CAMERA = ("gazepoint3dx", "gaze3dpositioncombinedx", "recordingmedianame", "recordingmediawidth")
"""Columns of recordings with glasses or a scene camera (Pro Lab)."""

MICRO = re.compile(r"u|[^ -~]{1,3}|\?")
"""The sign of micro, as it was written (two code points stand for it) or spoilt by another encoding."""


def key(name: str) -> tuple[str, str]:
    """A column name without blanks, capitals and brackets; and what is in the brackets at its end, likewise."""
    base, tag = name, ""
    if match := re.fullmatch(r"(.*?)\s*[\[(]([^\[\]()]*)[\])]", name.strip()):
        base, tag = match.groups()
        if tag.lower() == "gsr":
            base, tag = name.strip(), ""
    return re.sub(r"\s+", "", base).lower(), re.sub(r"\s+", "", tag).lower()


def named(sheet: Sheet, ours: str) -> str | None:
    """The column of one of `NAMES`, whatever is in its brackets."""
    by_base = {key(name)[0]: name for name in reversed(sheet.names)}
    return next((by_base[base] for base in NAMES[ours] if base in by_base), None)


def clock_unit(tag: str) -> str | None:
    """The unit of a clock that the brackets of its column's name say, None when they say none."""
    if tag in ("ms", "s", "ns"):
        return tag
    return "us" if tag.endswith("s") and MICRO.fullmatch(tag[:-1]) else None


def message_columns(sheet: Sheet) -> list[str]:
    """The columns of messages, in the order in which their cells make a message."""
    by_base = {key(name)[0]: name for name in reversed(sheet.names)}
    found = [base for event, more in MESSAGES if event in by_base for base in (event, *more)]
    return [by_base[base] for base in found if base in by_base]


@dataclass(frozen=True)
class Points:
    """Columns of gaze of one coordinate system, by eye. where: display, medium, or camera; unit: px or normalised."""

    pairs: Pairs
    where: str
    unit: str


def points(sheet: Sheet, known: Mapping[str, tuple[str, ...]]) -> list[Points]:
    """The columns of x and y that can be used, those that are best first; the first is what the declaration names.

    Raises ReadError: the declaration names columns of another coordinate system, or where there are none that count
    from the top left of a screen, a medium or the scene camera's picture.
    """
    spelt = {eye: _spelt(sheet, names) for eye, names in known.items()}
    every = {eye: [name for pair in own for name in pair[:2]] for eye, own in spelt.items()}
    if pair := declared_pair(sheet, every):
        eye, names = next(iter(pair.items()))
        systems = [SYSTEMS.get(key(name)[1]) for name in names]
        if systems[0] is None or systems[0] != systems[1]:
            raise sheet.error(f"{' and '.join(names)} are not px or fractions of one screen or medium")
        found = [Points({eye: names}, *_mapped(names[0], systems[0]))]
    else:
        found = []
        for system in dict.fromkeys(system for own in spelt.values() for *_, system in own):
            pairs = {eye: next(((x, y) for x, y, its in own if its == system), None) for eye, own in spelt.items()}
            found.append(Points({eye: pair for eye, pair in pairs.items() if pair}, *system))
    camera = any(key(name)[0] in SCENE_CAMERA for name in sheet.names) and named(sheet, "trial") is None
    if camera:
        return [replace(one, where="camera") for one in found if one.unit == "px"]
    order = ("medium", "display") if sheet.file.spec.origin == "stimulus" else ("display", "medium")
    return sorted(found, key=lambda one: (order.index(one.where), one.unit != "px"))


def _spelt(sheet: Sheet, names: tuple[str, ...]) -> list[tuple[str, str, tuple[str, str]]]:
    """Columns of x and y that belong together, with their system: of each of the names, best first."""
    found = []
    by_key = {key(name): name for name in reversed(sheet.names)}
    for base in names:
        for tag, system in SYSTEMS.items():
            x, y = by_key.get((base.format("x"), tag)), by_key.get((base.format("y"), tag))
            if x and y:
                found.append((x, y, _mapped(x, system)))
    return found


def _mapped(name: str, system: tuple[str, str]) -> tuple[str, str]:
    """The system of a column; the columns of Studio 2.x that begin with Mapped count from the medium."""
    return ("medium", "px") if name.lower().startswith("mapped") else system


def media_columns(sheet: Sheet) -> dict[str, str]:
    """Our name -> the column that says where on the display the medium lay and how large it and its file are."""
    names = ("left_px", "top_px", "shown_width", "shown_height", "own_width", "own_height")
    found = {ours: name for ours in names if (name := named(sheet, ours))}
    pairs = {system: (x, y) for x, y, system in reversed(_spelt(sheet, GAZE["combined"]))}
    display, medium = pairs.get(("display", "px")), pairs.get(("medium", "px"))
    if display and medium:  # the same gaze in both tells how they lie to each other
        found |= dict(zip(("display_x", "display_y", "medium_x", "medium_y"), (*display, *medium), strict=True))
    return found


def on_display(cells: Cells, found: Points, media: Mapping[str, str], rows: np.ndarray) -> tuple[Cells, Points] | None:
    """The cells with coordinates of a medium made px of the display, row by row, by the columns of `media`; None where
    these do not say enough in any of the rows of the mask `rows` (N,)."""
    need = {"x": ("left_px", "shown_width", "own_width"), "y": ("top_px", "shown_height", "own_height")}
    numbers, missing = dict(cells.numbers), cells.sheet.file.spec.missing
    for axis, (corner, size, own) in need.items():
        scale, start = np.ones(len(cells.rows)), np.full(len(cells.rows), np.nan)
        if corner in media:
            start = cells.values(media[corner])
        if found.unit == "normalised":
            scale = cells.values(media[size]) if size in media else scale * np.nan
        elif own in media and size in media:
            scale = cells.values(media[size]) / np.where(cells.values(media[own]) > 0, cells.values(media[own]), np.nan)
        elif corner in media and key(media[corner])[0].startswith("presented"):
            return None  # px of the medium itself, and it may have been shown larger or smaller
        else:
            offset = start  # a page may have been scrolled since
            if "display_x" in media:
                offset = cells.values(media[f"display_{axis}"]) - cells.values(media[f"medium_{axis}"])
            start = np.where(np.isfinite(offset), offset, start)
        if not np.isfinite(start + scale)[rows].any():
            return None
        for name in {pair[axis == "y"] for pair in found.pairs.values()}:
            values = cells.values(name)
            values = np.where(np.isin(values, missing), np.nan, values) if missing else values
            numbers[name] = replace(cells.numbers[name], values=start + values * scale)
    return replace(cells, numbers=numbers), Points(found.pairs, "display", "px")


def fractions(cells: Cells, found: Points, media: Mapping[str, str]) -> tuple[Cells, Points]:
    """The cells with px of the medium made fractions of it where its own size is in the file, else as they are."""
    if found.where != "medium" or found.unit != "px" or not {"own_width", "own_height"} <= media.keys():
        return cells, found
    numbers, missing = dict(cells.numbers), cells.sheet.file.spec.missing
    for axis, own in enumerate(("own_width", "own_height")):
        size = cells.values(media[own])
        if not (size > 0).any():
            return cells, found
        for name in {pair[axis] for pair in found.pairs.values()}:
            values = np.where(np.isin(cells.values(name), missing), np.nan, cells.values(name))
            numbers[name] = replace(cells.numbers[name], values=values / np.where(size > 0, size, np.nan))
    return replace(cells, numbers=numbers), Points(found.pairs, "medium", "normalised")


def check_unit(sheet: Sheet, found: Points) -> None:
    """Raises ReadError where the declaration says another unit or origin than the names of the columns."""
    spec = sheet.file.spec
    for name in COORDINATES:
        if spec.units.get(name, found.unit) != found.unit:
            raise sheet.error(f"units.{name}: {next(iter(found.pairs.values()))[0]} is read as {found.unit}")
    tagged = any(key(name)[1] for pair in found.pairs.values() for name in pair)
    if found.where == "display" and tagged and spec.origin != "screen":
        raise sheet.error(f"origin: {spec.origin}: the export holds gaze on the display alone")


def first_text(cells: Cells, name: str) -> str:
    """The first cell of a column of text that is not empty, else ""."""
    there = cells.text[name].filter(pa.array(says_something(cells, name)))
    return str(there[0].as_py()) if len(there) else ""
