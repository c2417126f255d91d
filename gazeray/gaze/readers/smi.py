# SPDX-License-Identifier: Apache-2.0
"""SMI text exports: samples of the IDF Converter and of BeGaze, fixations of the IDF Event Detector and of BeGaze.

Four layouts, told apart by the names of their columns (`smi_export`), never by position:

    samples    "##" lines, then Time Type Trial ... L POR X [px] ... with SMP and MSG rows (IDF Converter, BeGaze 2)
               RecordingTime [ms] Trial ... Category Left ... Point of Regard Left X [px] ... (BeGaze 3, raw data)
    fixations  "Table Header for Fixations:", Event Type Trial Number Start End Duration Location X ... (BeGaze 2)
               Trial ... Category ... Event Start Trial Time [ms] ... Fixation Position X [px] ... (BeGaze 3, events)

A time whose column names no unit is in microseconds: a recording of the IDF Converter that says 50 Hz has rows that are
20 000 apart. Rows are line numbers, the first line of the file is 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import pyarrow as pa

from gazeray.gaze.clock import ENOUGH, clock_hz, clock_notes
from gazeray.gaze.readers.base import IDS, TIME_UNITS_MS, GazeFile, GazeTable, register_reader
from gazeray.gaze.readers.smi_export import (
    FIXATION_PUPILS,
    NAMES,
    PUPILS,
    Export,
    number_of,
    open_fixations,
    open_samples,
)
from gazeray.gaze.readers.text import (
    Spans,
    eye_of_fixations,
    rejects_outside,
    spans_by_messages,
)
from gazeray.gaze.readers.vendor_tables import (
    PRESENTATION,
    Cells,
    Channels,
    Columns,
    Pairs,
    Sheet,
    build,
    channel_columns,
    chosen_gaze,
    codes_of,
    declared_channels,
    declared_pair,
    decoded,
    first_of_events,
    in_spans,
    is_any,
    says_something,
    trial_of_several,
)
from gazeray.tables import Reject

INTAKE = "visual intake"
"""What BeGaze calls a fixation of glasses, whose gaze lies in the picture of their scene camera."""

KEYS = ("columns", "units", "missing", "channels", "delimiter", "eye", "messages")


@register_reader("smi", supplies=("participant", "trial"), described=True, keys=KEYS)
def read_smi(file: GazeFile) -> GazeTable:
    """Read one SMI text export, plain or gzipped; see `Reader`.

    A sample at 0, 0 or in a blink is lost. The trial comes from the path, from the column Trial, or from
    `spec.messages`, which also cut the trial that the path names; the participant from the path, the column
    Participant, or the header line Subject. Fixations have a row in each trial that they last into, where messages, the
    user events or the times that were exported say when trials begin and end. Raises ReadError: empty, damaged, no
    column of times or of gaze in px, an eye that was not recorded, no row of what is asked for, several people where
    the path names one.
    """
    text, notes = decoded(file)
    lines = text.split(b"\n")
    if file.spec.kind == "samples":
        return _samples(open_samples(file, lines, notes))
    return _fixations(open_fixations(file, lines, notes))


def _samples(export: Export) -> GazeTable:
    """The samples as a GazeTable."""
    sheet = export.sheet
    time = sheet.column("timestamp_ms", *NAMES["time"])
    there = _gaze_columns(sheet)
    pairs = declared_pair(sheet, there) or there
    if not pairs:
        present = ", ".join(sheet.names)
        raise sheet.error(f"no columns of the point of regard, such as 'L POR X [px]' (present: {present})")
    states = {eye: sheet.find(f"Category {eye.title()}", f"{eye[:1].upper()} Event Info") for eye in pairs}
    categories = [f"Category {part}" for part in ("Group", "Left", "Right", "Binocular")]
    kinds = [*filter(None, [sheet.find(name) for name in ("Type", "Category", *categories)])]
    content, ids, pupils = sheet.find("Content"), _ids(sheet), _pupil_columns(sheet)
    words, values = channel_columns(sheet)
    text = [*ids.values(), *_further(sheet), *states.values(), *kinds, content, sheet.find("Stimulus"), *words]
    own = chain.from_iterable(names for _, names in chain.from_iterable(pupils.values()))
    cells = export.read(text, [time, *chain(*pairs.values())], [*own, *values])
    is_sample, messages = _kinds_of_rows(cells, kinds, content)
    messages = [*export.messages, *messages]
    cells = _only(cells, is_sample, "sample")
    _check_person(cells, time)
    blink = {eye: is_any(cells, state, ["blink"]) for eye, state in states.items() if state}
    lost = {eye: (cells.values(x) == 0) & (cells.values(y) == 0) for eye, (x, y) in pairs.items()}
    lost |= {eye: lost[eye] | closed for eye, closed in blink.items()}
    gaze, notes = chosen_gaze(cells, pairs, lost)
    columns = cells.columns(timestamp_ms=time) | gaze | _trial(cells, ids)
    channels = _pupils(cells, pupils, blink) | declared_channels(cells)
    found = _built(export, cells, ids, columns, channels, messages)
    counted = number_of(next(iter(export.about.get("Number of Samples", [])), ""))
    if counted > 0 and counted != len(cells.rows):
        notes = [*notes, f"the header counts other samples than the file has: {counted:.0f}, {len(cells.rows)}"]
    breaks = np.flatnonzero(np.diff(found.codes)) + 1
    notes += clock_notes(export.header, clock_hz(found.columns["timestamp_ms"], breaks, ENOUGH))
    glasses = any(is_any(cells, name, [INTAKE]).any() for name in kinds)
    eyes = set(there) if "declared" not in pairs else set()
    eye = next(iter(eyes)) if len(eyes) == 1 and not eyes & {"binocular"} else ""
    return replace(found, notes=[*found.notes, *notes], origin=_origin(cells) if glasses else "", eye=eye)


def _kinds_of_rows(
    cells: Cells, kinds: Sequence[str], content: str | None
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """The rows that are samples, (N,) bool; rows of BeGaze that are none have a message in their column Content:
    (line, text)."""
    is_sample = np.ones(len(cells.rows), dtype=bool)
    for name in kinds:
        no_eye = is_any(cells, name, ["separator", "user event", "userevent", "information"])
        is_sample &= is_any(cells, name, ["smp"]) if name == "Type" else ~no_eye
    if content is None:
        return is_sample, []
    said = np.flatnonzero(~is_sample)
    texts = cells.text[content].take(pa.array(said)).to_pylist()
    return is_sample, [(float(cells.rows[row]), words or "") for row, words in zip(said, texts, strict=True)]


def _built(
    export: Export,
    cells: Cells,
    ids: Mapping[str, str],
    columns: Columns,
    channels: Channels,
    messages: Sequence[tuple[float, str]],
) -> GazeTable:
    """The table of samples, in the trials that messages (line, text) bracket where the declaration says so."""
    file, inside = export.sheet.file, None
    units, rejects = {"timestamp_ms": _unit(columns["timestamp_ms"][0], "timestamp_ms", export.sheet)}, list[Reject]()
    if file.spec.messages is not None:
        spans = spans_by_messages(sorted(messages, key=lambda one: one[0]), file.spec.messages, file.source)
        codes = spans.codes(cells.rows.astype(np.float64))
        inside = codes >= 0
        if not inside.any():
            raise export.sheet.error(f"none of the {len(inside)} samples lies in a trial")
        columns = columns | in_spans(spans, codes, "trial of the messages")
        rejects = rejects_outside(file.source, "samples", cells.rows[~inside], file.ids[0])
    found = build(cells, ids, columns, units, inside, header=export.header, channels=channels)
    return replace(found, rejects=[*found.rejects, *rejects])


def _fixations(export: Export) -> GazeTable:
    """The fixations as a GazeTable."""
    sheet = export.sheet
    onset, duration = sheet.column("onset_ms", *NAMES["onset"]), sheet.column("duration_ms", *NAMES["duration"])
    pair = sheet.column("x_px", *NAMES["x"]), sheet.column("y_px", *NAMES["y"])
    category, side = sheet.find(*NAMES["category"]), sheet.find(*NAMES["side"])
    edges = [sheet.find(*NAMES[name]) for name in ("trial_start", "trial_end")] if "Trial" in onset else []
    ids, pupil = _ids(sheet), {"pupil": _there(sheet, FIXATION_PUPILS)}
    words, values = channel_columns(sheet)
    sizes = chain.from_iterable(names for _, names in pupil["pupil"])
    text = [*ids.values(), *_further(sheet), category, side, sheet.find("Stimulus"), *words]
    cells = export.read(text, [onset, duration, *pair], [*sizes, *edges, *values])
    _check_person(cells, onset)
    glasses = INTAKE in pair[0].lower()
    if category:
        said = [(word or "") for word in cells.words(category).tolist()]
        glasses |= any(word.startswith(INTAKE) for word in said)
        is_fixation = np.array([word.startswith(("fixation", INTAKE)) for word in said], dtype=bool)
        cells = _only(cells, is_fixation, "fixation")
    notes: list[str] = []
    if side:
        eyes = {"left": "left", "l": "left", "right": "right", "r": "right"}
        eye_of = np.array([eyes.get((word or "").split(" ")[-1], "") for word in cells.words(side)])
        eye, notes = _fixation_eye(eye_of, cells.values(duration), sheet.file)
        cells = _only(cells, np.isin(eye_of, [eye, ""]), f"fixation of the {eye} eye")
    units = {"onset_ms": _unit(onset, "onset_ms", sheet), "duration_ms": _unit(duration, "duration_ms", sheet)}
    factors = [TIME_UNITS_MS[unit] for unit in units.values()]
    at, lasts = cells.values(onset), cells.values(duration) * (factors[1] / factors[0])
    windows, rejects = None, list[Reject]()
    if spread := _spread(export, cells, ids, at, at + lasts):
        event, span, spans = spread
        faulty = np.flatnonzero(np.isnan(at + lasts))
        outside = np.setdiff1d(np.arange(len(at)), np.append(event, faulty))
        rejects = rejects_outside(sheet.file.source, "fixations", cells.rows[outside], sheet.file.ids[0])
        event, span = np.append(event, faulty), np.append(span, spans.codes(at[faulty]))  # `build` rejects them
        order = np.argsort(event, kind="stable")
        cells = cells.at(event[order])
        columns, windows = in_spans(spans, span[order], "trial"), spans.windows * factors[0]
    elif len(edges) == 2 and all(edges):
        columns, windows = _exported(cells, ids, [cells.values(str(name)) for name in edges])
    else:
        columns = _trial(cells, ids)
    columns |= cells.columns(onset_ms=onset, duration_ms=duration)
    columns |= chosen_gaze(cells, {"fixation": pair})[0]
    channels = _pupils(cells, pupil, {}) | declared_channels(cells)
    found = build(cells, ids, columns, units, header=export.header, channels=channels, windows=windows)
    origin = _origin(cells) if glasses else ""
    return replace(found, notes=[*found.notes, *notes], origin=origin, rejects=[*found.rejects, *rejects])


def _spread(
    export: Export, cells: Cells, ids: Mapping[str, str], starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Spans] | None:
    """Fixation and span, (M,) each, for each trial that one of the fixations from `starts` to `ends` (N,) lasts into,
    and the spans; None where neither messages nor the user events tell them.

    Raises ReadError: messages, and times that start again or none of which lies in a trial.
    """
    sheet, messages, own = export.sheet, export.sheet.file.spec.messages, ids.get("trial")
    if messages is not None:
        if (np.diff(starts) < 0).any():
            raise sheet.error("times start again within the file, so that messages cannot tell its trials")
        spans = spans_by_messages(export.messages, messages, sheet.file.source)
        event, span = spans.overlapping(starts, ends)
        if not len(event):
            raise sheet.error(f"none of the {len(starts)} fixations lies in a trial")
        return event, span, spans
    if own is None or own != sheet.find(*NAMES["trial"]):
        return None
    told = _spans_of_trials(export.events, cells.text[own].to_pylist(), starts)
    return (*_lasting_into(told, starts, ends), told) if told else None


def _gaze_columns(sheet: Sheet) -> Pairs:
    """The columns of the point of regard in px: of the left and the right eye, else of both together."""
    pairs: Pairs = {}
    for eye in ("left", "right", "binocular"):
        names = (f"{eye[0].upper()} POR", f"Point of Regard {eye.title()}")
        x, y = (sheet.find(*(f"{name} {axis} [px]" for name in names)) for axis in "XY")
        if x and y and (eye != "binocular" or not pairs):
            pairs[eye] = (x, y)
    return pairs


def _fixation_eye(eye_of: np.ndarray, duration: np.ndarray, file: GazeFile) -> tuple[str, list[str]]:
    """The eye whose fixations are used, and a note when there was a choice; "" where the file names no eye. best: the
    eye that fixated longer in all, since such files have no samples. Raises ReadError as `eye_of_fixations`."""
    total = {eye: float(np.nansum(duration[eye_of == eye])) for eye in ("left", "right") if (eye_of == eye).any()}
    if not total:
        return "", []
    chosen = eye_of_fixations(list(total), file.spec, file.source)
    if chosen:
        return chosen
    eye = max(total, key=lambda eye: total[eye])
    return eye, [f"both eyes are in the file; the {eye} eye is used (it fixated longer)"]


def _ids(sheet: Sheet) -> dict[str, str]:
    """The columns of the ids; a trial told by messages, or by several columns, is in none. Raises ReadError when one is
    not there."""
    told = sheet.file.spec.messages is not None or len(sheet.file.spec.trial_columns) > 1
    return sheet.ids(IDS[:1] if told else IDS, participant=NAMES["participant"], trial=NAMES["trial"])


def _further(sheet: Sheet) -> list[str | None]:
    """Further columns that tell people and presentations apart: of the participant, of the trial, of its parts."""
    parts = sheet.file.spec.trial_columns
    several = [sheet.need("trial", name) for name in parts if len(parts) > 1]
    return [sheet.find(*NAMES["participant"]), sheet.find(*NAMES["trial"]), *several]


def _check_person(cells: Cells, time: str) -> None:
    """Raises ReadError where the path names one participant and the rows with a time several."""
    sheet, name = cells.sheet, cells.sheet.find(*NAMES["participant"])
    if name and "participant" in sheet.file.fixed:
        there = says_something(cells, name) & np.isfinite(cells.values(time))
        if len(np.unique(codes_of(cells, name)[there])) > 1:
            raise sheet.error(f"the path names one participant, the column {name!r} several: name the column instead")


def _trial(cells: Cells, ids: Mapping[str, str]) -> Columns:
    """The columns for `build` that tell presentations: the trial of several columns, and what the column Trial says
    where another one names the trials."""
    columns, own = trial_of_several(cells), cells.sheet.find(*NAMES["trial"])
    if own and (columns or ids.get("trial", own) != own):
        columns[PRESENTATION] = (own, codes_of(cells, own))
    return columns


def _exported(cells: Cells, ids: Mapping[str, str], edges: Sequence[np.ndarray]) -> tuple[Columns, np.ndarray]:
    """The columns for `build` that tell presentations, and their windows: the times of the trial, ms since it began,
    between which it was exported, `edges` (N,) each."""
    names = [*ids.values(), *filter(None, [cells.sheet.find(*NAMES["trial"])])]
    code, first = first_of_events(*(codes_of(cells, name) for name in names)) if names else (None, None)
    if code is None:
        return {}, np.empty((0, 2))
    start, end = (own[first] for own in edges)
    known = end > start
    windows = np.array([np.where(known, start, -np.inf), np.where(known, end, np.inf)]).T
    return trial_of_several(cells) | {PRESENTATION: ("presentation", code)}, windows


def _spans_of_trials(events: Sequence[tuple[float, str]], trials: Sequence[str], onset: np.ndarray) -> Spans | None:
    """From when to when the trials last, by the user events (time, trial) of which each holds some, and by their
    fixations (of `trials`, from `onset`, (N,)); None where there is none or they contradict each other."""
    if not events:
        return None
    begins: dict[str, float] = {}
    for time, trial in (*events, *zip(onset.tolist(), trials, strict=True)):
        if trial and time == time:
            begins[trial] = min(time, begins.get(trial, np.inf))
    names = sorted(begins, key=lambda trial: begins[trial])
    starts = [begins[trial] for trial in names]
    spans = Spans(names, starts, [*starts[1:], np.inf])
    own = spans.codes(onset)
    agree = all(
        not trial or time != time or names[code] == trial
        for time, trial, code in zip(onset.tolist(), trials, own.tolist(), strict=True)
    )
    return spans if agree else None


def _lasting_into(spans: Spans, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fixation and span, (M,) each, for each span that a fixation lasts into, but where it is listed there again."""
    event, span = spans.overlapping(starts, ends)
    own = spans.codes(starts)
    first = np.full(len(spans.names), np.inf)
    np.minimum.at(first, own[own >= 0], starts[own >= 0])
    keep = (span == own[event]) | (first[span] >= ends[event])
    return event[keep], span[keep]


def _only(cells: Cells, keep: np.ndarray, what: str) -> Cells:
    """The rows of the mask `keep` (N,). Raises ReadError when there is none."""
    if not keep.any():
        raise cells.sheet.error(f"no {what} in the file")
    return cells if keep.all() else cells.at(keep)


def _there(sheet: Sheet, known: Sequence[tuple[str, tuple[str, ...]]]) -> list[tuple[str, list[str]]]:
    """Those of the columns of pupils that the file has all of, with their unit."""
    spelt = [(unit, [sheet.find(name) for name in names]) for unit, names in known]
    return [(unit, [str(name) for name in names]) for unit, names in spelt if all(names)]


def _pupil_columns(sheet: Sheet) -> dict[str, list[tuple[str, list[str]]]]:
    """The columns of the size of the pupils of samples, by channel."""
    found = {}
    for eye in ("left", "right"):
        spelt = {"L": eye[0].upper(), "Left": eye.title()}
        names = [(unit, tuple(name.format(**spelt) for name in own)) for unit, own in PUPILS]
        if there := _there(sheet, names):
            found[f"pupil_{eye}"] = there
    return found


def _pupils(
    cells: Cells, columns: Mapping[str, list[tuple[str, list[str]]]], blink: Mapping[str, np.ndarray]
) -> Channels:
    """The size of pupils (N,), of the best columns that hold any; NaN in a blink, and where it is 0."""
    found = Channels()
    for name, choices in columns.items():
        for unit, names in choices:
            values = np.mean([cells.values(own) for own in names], axis=0)
            closed = blink.get(name.removeprefix("pupil_"), np.zeros(len(values), dtype=bool))
            if (values > 0).any():
                found[name] = np.where(closed | ~(values > 0), np.nan, values), unit
                break
    return found


def _origin(cells: Cells) -> str:
    """What gaze of glasses counts from: the picture of the scene camera, whose recording is the stimulus, or that to
    which it was mapped."""
    name = cells.sheet.find("Stimulus")
    said = [str(text).lower() for text in cells.text[name].unique().to_pylist()] if name else []
    return "stimulus" if said and not any(text.endswith(".avi") for text in said) else "scene_camera"


def _unit(column: str, ours: str, sheet: Sheet) -> str:
    """The unit of a time: declared, in the brackets of the column's name, microseconds when it has none."""
    found = re.search(r"\[(ms|s|us|ns)\]", column)
    return sheet.file.spec.units.get(ours, found[1] if found else "us")
