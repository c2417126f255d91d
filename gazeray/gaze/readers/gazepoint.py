# SPDX-License-Identifier: Apache-2.0
"""Gazepoint: all_gaze.csv (samples, or fixations) and fixations.csv of Gazepoint Analysis, and logs of the Open Gaze
API such as those of PyGaze.

Column names after the Open Gaze API by Gazepoint, version 2.0: FPOG is the point of gaze filtered by the fixation
detector, BPOG the best point of gaze of both eyes, LPOG and RPOG those of one eye; coordinates are fractions of the
screen from its top left, times are seconds, and a flag that ends in V says whether a value is valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

import numpy as np
import pandas as pd

from gazeray.gaze.readers.base import IDS, GazeFile, GazeTable, register_reader
from gazeray.gaze.readers.gazepoint_clock import Clock, began, clock_of, in_ms
from gazeray.gaze.readers.known_channels import Known, channel_values, channels_of
from gazeray.gaze.readers.text import Spans, rejects_outside, spans_by_messages
from gazeray.gaze.readers.vendor_tables import (
    PRESENTATION,
    Cells,
    Columns,
    Pairs,
    Sheet,
    build,
    chosen_gaze,
    declared_pair,
    first_of_events,
    in_spans,
    open_sheet,
)

PREFIXES = {"best": "BPOG", "left": "LPOG", "right": "RPOG", "fixation": "FPOG"}

NAMES = {
    "time": ("TIME",),  # Open Gaze API 2.0, PyGaze; with the start of the recording in brackets: Analysis
    "tick": ("TIMETICK", "TIME_TICK"),  # Analysis, with its frequency in brackets: (f=10000000); Open Gaze API, PyGaze
    "medium": ("MEDIA_ID",),  # Analysis
    "trial": ("MEDIA_NAME", "MEDIA_ID"),  # Analysis; older ones without names
    "message": ("USER",),  # Open Gaze API, PyGaze, Analysis
}
"""What is looked for -> the names of its column, without what stands behind them in brackets."""

CHANNELS = {
    "pupil_left": (
        Known("LPMM", "mm", "LPMMV"),  # Open Gaze API 2.0, Analysis from 2019 to 7.3
        Known("LPUPILD", "mm", "LPUPILV", 1e3, most=20),  # Open Gaze API, PyGaze: m, though "same as LPMM"
        Known("LPD", "px", "LPV"),  # all; px of the camera
    ),
    "pupil_right": (
        Known("RPMM", "mm", "RPMMV"),
        Known("RPUPILD", "mm", "RPUPILV", 1e3, most=20),
        Known("RPD", "px", "RPV"),
    ),
    "gsr": (
        Known("GSR_US", "uS", "GSRV"),
        Known("GSR", "ohm", "GSRV"),
    ),  # Analysis 7.2; Open Gaze API 2.0, Analysis of 2019
    "gsr_tonic": (Known("GSR_US_TONIC", "uS", "GSRV", positive=False),),  # Analysis 7.2
    "gsr_phasic": (Known("GSR_US_PHASIC", "uS", "GSRV", positive=False),),  # Analysis 7.2
    "heart_rate": (Known("HR", "bpm", "HRV"),),  # Open Gaze API 2.0, Analysis from 2019 to 7.3
    "pulse": (Known("HRP", "a.u."),),  # Open Gaze API 2.0, Analysis 7.2: 0 without the sensor
    "heart_beat_interval": (Known("IBI", "s", "HRV"), Known("HRIBI", "s", "HRV")),  # Analysis 7.2; Open Gaze API 2.0
    "dial": (Known("DIAL", "", "DIALV", positive=False),),  # Open Gaze API 2.0, Analysis from 2019 to 7.3: 0 to 1
}

KEYS = ("columns", "units", "missing", "channels", "delimiter", "eye", "messages")
UNITS = {"x_px": "normalised", "y_px": "normalised"}


@register_reader("gazepoint", supplies=("trial",), described=True, units=UNITS, keys=KEYS)
def read_gazepoint(file: GazeFile) -> GazeTable:
    """Read one export; see `Reader`. Coordinates come out as fractions of the screen.

    Samples: BPOG for eye best, LPOG or RPOG for one eye, the mean of both for mean; FPOG, with a note, where nothing
    else is there. Fixations: the last valid row of each FPOGID of a medium, which has the whole duration.
    A trial is a MEDIA_NAME (else a MEDIA_ID), or what `messages` bracket in the column USER. Another MEDIA_ID is
    another presentation, and so is a medium for which TIME begins anew; a second one of a trial goes on by TIMETICK.
    Raises ReadError: empty, a column is missing, nothing tells the trials, no message begins one, no row of fixations,
    fixations of one eye asked for.
    """
    sheet = open_sheet(file)
    return (_samples if file.spec.kind == "samples" else _fixations)(sheet, _ids(sheet))


def _named(sheet: Sheet, what: str) -> str | None:
    """The column of a kind of NAMES, whatever is in its brackets."""
    bare = {re.sub(r"\s*\(.*\)?$", "", name).upper(): name for name in reversed(sheet.names)}
    return next((bare[name] for name in NAMES[what] if name in bare), None)


def _ids(sheet: Sheet) -> dict[str, str]:
    """The columns of participant and trial, where neither the path nor messages give them."""
    spec, trial = sheet.file.spec, _named(sheet, "trial")
    if not (spec.messages or trial or "trial" in (*sheet.file.fixed, *spec.columns)):
        user = _named(sheet, "message")
        where = f"in the column {user}, as " if user else "(there is no column USER either), as messages.file or "
        raise sheet.error(
            f"no column MEDIA_NAME or MEDIA_ID tells the trials: declare what brackets them {where}"
            f"messages: {{start: ..., end: ...}} (present: {', '.join(sheet.names)})"
        )
    return sheet.ids(IDS[:1] if spec.messages else IDS, trial=[trial] if trial else [])


def _time(sheet: Sheet) -> tuple[str, str | None]:
    """The columns of TIME, as declared or found, and of TIMETICK, if there is one that goes with it."""
    if "timestamp_ms" in sheet.file.spec.columns:
        return sheet.column("timestamp_ms"), None
    return _named(sheet, "time") or sheet.need("timestamp_ms", *NAMES["time"]), _named(sheet, "tick")


def _samples(sheet: Sheet, ids: Mapping[str, str]) -> GazeTable:
    spec = sheet.file.spec
    time, tick = _time(sheet)
    known = {eye: (f"{prefix}X", f"{prefix}Y") for eye, prefix in PREFIXES.items()}
    pairs = declared_pair(sheet, known) or _pairs(sheet, spec.eye)
    flags = {eye: flag for eye in pairs if eye in PREFIXES and (flag := sheet.find(f"{PREFIXES[eye]}V"))}
    user, medium = _named(sheet, "message"), _named(sheet, "medium")
    words, values = channels_of(sheet, CHANNELS)
    cells = sheet.read(
        [*ids.values(), user, medium, *words], [time, *chain(*pairs.values()), *flags.values()], [tick, *values]
    )
    clock = clock_of(cells, in_ms(cells, time, "timestamp_ms"), tick, medium)
    ms = clock.ms + clock.later(_trials(cells, ids))
    told: Columns = {PRESENTATION: ("", clock.media)}
    if spec.messages:
        user = user or sheet.need("messages", *NAMES["message"])
        spans = _spans(cells, user)
        inside = np.flatnonzero(spans.codes(np.arange(len(ms))) >= 0)
        outside = np.setdiff1d(np.arange(len(ms)), inside)
        left_out = rejects_outside(sheet.file.source, spec.kind, cells.rows[outside], sheet.file.ids[0])
        cells, ms = replace(cells.at(inside), rejects=[*cells.rejects, *left_out]), ms[inside]
        told = in_spans(spans, spans.codes(inside), user)
    gaze, notes = chosen_gaze(cells, pairs, {eye: ~(cells.values(flag) > 0) for eye, flag in flags.items()})
    if "fixation" in pairs and "x_px" not in spec.columns:
        notes = ["no point of gaze but FPOG, which the fixation detector has filtered"]
    columns = {"timestamp_ms": (time, ms)} | gaze | told
    channels = channel_values(cells, CHANNELS)
    return build(cells, ids, columns, {"timestamp_ms": "ms"}, notes=notes, header=began(time), channels=channels)


def _pairs(sheet: Sheet, eye: str) -> Pairs:
    """The columns of each eye that can be used. Raises ReadError when there is none for the eye asked for."""
    choices = {
        "best": (["best"], ["left", "right"], ["left"], ["right"], ["fixation"]),
        "left": (["left"],),
        "right": (["right"],),
        "mean": (["left", "right"], ["best"], ["left"], ["right"], ["fixation"]),
    }[eye]
    for eyes in choices:
        found = {eye: (sheet.find(PREFIXES[eye] + "X"), sheet.find(PREFIXES[eye] + "Y")) for eye in eyes}
        pairs = {eye: (x, y) for eye, (x, y) in found.items() if x and y}
        if len(pairs) == len(eyes):
            return pairs
    names = ", ".join(PREFIXES[eye] + "X" for eyes in choices for eye in eyes if len(eyes) == 1)
    raise sheet.error(f"no gaze for eye {eye}: no {names} (present: {', '.join(sheet.names)})")


def _spans(cells: Cells, user: str) -> Spans:
    """The trials that messages in a column bracket, by index of their rows. Raises ReadError when there are none.

    A text that comes again in the next row is no message: PyGaze repeats one by accident, and a marker of the API stays
    until another is set.
    """
    file = cells.sheet.file
    if file.spec.messages is None:
        raise ValueError(f"{file.source}: no messages are declared")
    texts = cells.text[user].fill_null("").to_numpy(zero_copy_only=False)
    comes = np.ones(len(texts), dtype=bool)
    comes[1:] = texts[1:] != texts[:-1]
    messages = [(float(row), texts[row]) for row in np.flatnonzero(comes & (texts != ""))]
    return spans_by_messages(messages, file.spec.messages, file.source)


def _trials(cells: Cells, ids: Mapping[str, str]) -> np.ndarray:
    """What is one trial whatever comes between, (N,): the name, or everything where messages or the path name it."""
    file = cells.sheet.file
    names = [ids["trial"]] if "trial" in ids else file.spec.trial_columns if "trial" not in file.fixed else []
    return first_of_events(*cells.keys(names))[0] if names else np.zeros(len(cells.rows))


def _fixations(sheet: Sheet, ids: Mapping[str, str]) -> GazeTable:
    spec, source = sheet.file.spec, sheet.file.source
    if spec.eye in ("left", "right") and "eye" not in sheet.file.fixed:
        raise sheet.error(f"no fixations of the {spec.eye} eye: those of Gazepoint are of both")
    onset, duration = sheet.column("onset_ms", "FPOGS"), sheet.column("duration_ms", "FPOGD")
    fpog = (sheet.column("x_px", "FPOGX"), sheet.column("y_px", "FPOGY"))
    number, flag = sheet.need("the number of the fixation", "FPOGID"), sheet.find("FPOGV")
    time, tick, medium, user = (_named(sheet, what) for what in ("time", "tick", "medium", "message"))
    words, values = channels_of(sheet, {})
    cells = sheet.read(
        [*ids.values(), medium, user, *words], [onset, duration, *fpog, number, flag], [time, tick, *values]
    )
    clock = clock_of(cells, in_ms(cells, time), tick, medium)
    later = clock.later(_trials(cells, ids))
    begins, lasts = in_ms(cells, onset, "onset_ms") + later, in_ms(cells, duration, "duration_ms")
    last, dense = _last_rows(cells, [*cells.keys(ids.values()), cells.values(number), clock.media], flag)
    told, windows = {PRESENTATION: ("", clock.media[last])}, clock.windows(later, dense)
    if spec.messages:
        if not dense:
            raise sheet.error("one row per fixation has no room for messages: name the file of all rows (all_gaze.csv)")
        user = user or sheet.need("messages", *NAMES["message"])
        spans = _spans_in_time(cells, user, clock, later)
        event, span = spans.overlapping(begins[last], begins[last] + lasts[last])
        outside = np.setdiff1d(last, last[event])
        left_out = rejects_outside(source, spec.kind, cells.rows[outside], sheet.file.ids[0])
        cells = replace(cells, rejects=[*cells.rejects, *left_out])
        last, told, windows = last[event], in_spans(spans, span, user), spans.windows
    cells = cells.at(last)
    columns = {"onset_ms": (onset, begins[last]), "duration_ms": (duration, lasts[last])} | told
    columns |= chosen_gaze(cells, {"fixation": fpog})[0]
    units = {"onset_ms": "ms", "duration_ms": "ms"}
    channels = channel_values(cells, {})
    return build(cells, ids, columns, units, header=began(time or ""), channels=channels, windows=windows)


def _last_rows(cells: Cells, keys: list[np.ndarray], flag: str | None) -> tuple[np.ndarray, bool]:
    """The last valid row (M,) of each fixation, which has the same `keys` (N,) throughout; and whether any fixation has
    more than that one. Raises ReadError when there is none."""
    valid = cells.values(flag) > 0 if flag else np.ones(len(cells.rows), dtype=bool)
    backwards = np.flatnonzero(valid & ~np.isnan(keys[-2]))[::-1]
    if not len(backwards):
        raise cells.sheet.error(f"no row with a fixation (FPOGID and {flag or 'no FPOGV'})")
    last = backwards[first_of_events(*(key[backwards] for key in keys))[1]]
    return np.sort(last), len(last) < len(backwards)


def _spans_in_time(cells: Cells, user: str, clock: Clock, later: np.ndarray) -> Spans:
    """The trials that messages bracket as spans of ms: each edge is the TIME of the row of its message.

    Raises ReadError where TIME begins anew and no TIMETICK says how much later that was.
    """
    if clock.anew.any() and np.isnan(clock.ahead).all():
        row = cells.rows[np.flatnonzero(clock.anew)[0]]
        raise cells.sheet.error(f"TIME begins anew and there is no TIMETICK to place messages by: row {row}")
    rows = _spans(cells, user)
    at = np.append(pd.Series(clock.ms + later).bfill().to_numpy(), np.inf)
    ends = [len(at) - 1 if end == np.inf else int(end) for end in rows.ends]
    return Spans(rows.names, at[np.array(rows.starts, dtype=int)].tolist(), at[ends].tolist())
