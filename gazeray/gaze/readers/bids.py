# SPDX-License-Identifier: Apache-2.0
"""BIDS eye tracking: *_physio.tsv.gz (samples) and *_physioevents.tsv.gz (fixations), with their sidecars.

Follows the Brain Imaging Data Structure 1.10 with its eye-tracking extension, BEP020, as in pull request 1128 of
bids-specification ("Eye-Tracking-BIDS: the Brain Imaging Data Structure extended to gaze position and pupil data").

The tables have no header: Columns of the sidecar *.json names them. Units of x_coordinate and y_coordinate are those of
the sidecar; the geometry of the screen is StimulusPresentation of the sidecar or of *_events.json. The clock of a
recording starts at StartTime, in s on the clock of *_events.tsv.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from gazeray.gaze.readers.base import IDS, TIME_UNITS_MS, GazeSpec, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.text import clock_hz, clock_notes, spans_by_messages
from gazeray.gaze.readers.vendor_bids import (
    Screen,
    events_spans,
    onsets_ms,
    reachable,
    screen_of,
    sidecar_of,
    times_ms,
    to_px,
    unit_of,
)
from gazeray.gaze.readers.vendor_tables import Cells, Sheet, build, chosen_gaze, decoded, named, with_ids

X, Y = ("x_coordinate", "x", "gaze_x"), ("y_coordinate", "y", "gaze_y")
TIME = ("timestamp", "time")
SUFFIX = re.compile(r"_(physio|physioevents)\.tsv(\.gz)?$")


def bids_companions(source: str) -> list[str]:
    """The files that may belong to a recording: sidecars, the recording of events and the events of a recording, and
    the events of the run; each with and without the entity recording-<label>, in the same folder."""
    path = PurePosixPath(source)
    match = SUFFIX.search(path.name)
    if not match:
        return []
    stem = path.name[: match.start()]
    bare = re.sub(r"_recording-[^_]+", "", stem)
    ends = ("physio.json", "physioevents.json", "physioevents.tsv.gz", "physio.tsv.gz", "events.tsv", "events.json")
    names = [f"{base}_{end}" for base in dict.fromkeys([stem, bare]) for end in ends]
    return [str(path.with_name(name)) for name in names if name.removesuffix(".gz") != path.name.removesuffix(".gz")]


@dataclass(frozen=True)
class _Recording:
    """One table with what its sidecars say."""

    sheet: Sheet
    sidecar: Mapping[str, Any]
    screen: Screen
    beside: Mapping[str, bytes]


@register_reader("bids", supplies=("trial",), described=True, companions=bids_companions)
def read_bids(
    data: bytes, source: str, spec: GazeSpec, fixed: Mapping[str, str], beside: Mapping[str, bytes]
) -> GazeTable:
    """Read one table; see `Reader`. Coordinates come out in px, times in ms on the clock of the events.

    Without a timestamp column samples are SamplingFrequency apart. Fixations are the events of trial_type fixation;
    where they have no coordinates, the mean gaze of the recording beside them. Trials: messages of *_physioevents where
    `messages` brackets them, else the rows of *_events.tsv that have a duration, numbered 1, 2, ... or named by its
    column columns.trial. What lies outside every trial is left out, with a note.
    Raises ReadError: no sidecar or no Columns, a column is missing, another coordinate system than gaze-on-screen,
    mm or degrees without the geometry of the screen, no trials.
    """
    suffix = "physio" if spec.kind == "samples" else "physioevents"
    if not re.search(rf"_{suffix}\.tsv(\.gz)?$", source):
        raise ReadError(source, f"{spec.kind} of BIDS are in files called *_{suffix}.tsv.gz")
    recording = _recording(data, source, spec, suffix, beside)
    return (_samples if spec.kind == "samples" else _fixations)(recording, spec, fixed)


def _recording(data: bytes, source: str, spec: GazeSpec, suffix: str, beside: Mapping[str, bytes]) -> _Recording:
    """A table and its sidecars. Raises ReadError without a usable sidecar, or for gaze that is not on a screen."""
    sidecar = sidecar_of(source, suffix, beside)
    names = sidecar.get("Columns")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ReadError(source, f"no sidecar *_{suffix}.json that names the Columns")
    system = str(sidecar.get("SampleCoordinateSystem", "gaze-on-screen"))
    if system != "gaze-on-screen":
        raise ReadError(source, f"SampleCoordinateSystem is {system!r}: only gaze-on-screen has a place on a screen")
    eye = str(sidecar.get("RecordedEye", "")).lower()
    if spec.eye in ("left", "right") and eye in ("left", "right") and eye != spec.eye:
        raise ReadError(source, f"no {spec.eye} eye in the file (RecordedEye: {eye})")
    text, notes = decoded(data, source)
    notes += [f"RecordedEye is {eye}"] if eye else []
    return _Recording(Sheet(text, source, "\t", names, 0, notes), sidecar, screen_of(sidecar, source, beside), beside)


def _read_samples(
    recording: _Recording, spec: GazeSpec, fixed: Mapping[str, str], ids: Mapping[str, str]
) -> tuple[Cells, np.ndarray, np.ndarray, np.ndarray, tuple[str, str, str], list[str]]:
    """Cells, times in ms, x and y in px (N,) each, what messages call these columns, and notes."""
    sheet = recording.sheet
    declared = "timestamp_ms" in spec.columns
    time = sheet.column(spec, "timestamp_ms") if declared else sheet.find(*TIME)
    x_name, y_name = sheet.column(spec, "x_px", *X), sheet.column(spec, "y_px", *Y)
    cells = sheet.read(set(ids.values()), dict.fromkeys([*([time] if time else []), x_name, y_name]), fixed)
    x, y, _ = chosen_gaze(cells, {"gaze": (x_name, y_name)}, {}, spec, sheet.source)
    x, y, notes = to_px(x, y, (x_name, y_name), recording.sidecar, recording.screen, sheet.source)
    stamps = cells.values(time) if time else None
    at = times_ms(stamps, cells.rows, recording.sidecar, time, spec.units.get("timestamp_ms"), sheet.source)
    if time and "timestamp_ms" not in spec.units and unit_of(recording.sidecar, time) not in TIME_UNITS_MS:
        notes.append(f"the sidecar gives no Units for {time}; its unit is seen from SamplingFrequency")
    return cells, at, x, y, (time or "SamplingFrequency", x_name, y_name), notes


def _samples(recording: _Recording, spec: GazeSpec, fixed: Mapping[str, str]) -> GazeTable:
    sheet = recording.sheet
    ids, events_trial = _ids(sheet, spec, fixed)
    cells, at, x, y, (time, x_name, y_name), notes = _read_samples(recording, spec, fixed, ids)
    columns = with_ids(cells, ids, timestamp_ms=(time, at), x_px=(x_name, x), y_px=(y_name, y))
    keep = None
    if "trial" not in fixed and "trial" not in ids:
        keep, columns["trial"], more = _trials(recording, spec, at, events_trial)
        notes += more
    table = build(cells, sheet, spec, fixed, columns, {"timestamp_ms": "ms"}, keep)
    header = dict(recording.screen.header)
    rate = recording.sidecar.get("SamplingFrequency")
    if isinstance(rate, int | float) and rate > 0:
        header["sampling_hz"] = float(rate)
    usual = clock_hz(at[~np.isnan(at)])
    return replace(table, header=header, notes=table.notes + notes + clock_notes(header, usual))


def _fixations(recording: _Recording, spec: GazeSpec, fixed: Mapping[str, str]) -> GazeTable:
    sheet = recording.sheet
    ids, events_trial = _ids(sheet, spec, fixed)
    onset, duration = sheet.column(spec, "onset_ms", "onset"), sheet.column(spec, "duration_ms", "duration")
    kind = sheet.need("the type of event", "trial_type")
    point = [
        sheet.find(*([spec.columns[ours]] if ours in spec.columns else names))
        for ours, names in (("x_px", X), ("y_px", Y))
    ]
    own = [name for name in point if name] if all(point) else []
    cells = sheet.read({*ids.values(), kind}, dict.fromkeys([onset, duration, *own]), fixed)
    keep = cells.words(kind) == "fixation"
    if not keep.any():
        raise ReadError(sheet.source, "no event of trial_type fixation")
    physio = _beside_samples(recording, spec)
    at, lasts = onsets_ms(
        cells.values(onset),
        cells.values(duration),
        recording.sidecar,
        (onset, duration),
        physio and physio[0],
        spec.units,
        sheet.source,
    )
    if own:
        x, y, _ = chosen_gaze(cells, {"gaze": (own[0], own[1])}, {}, spec, sheet.source)
        x, y, notes = to_px(x, y, (own[0], own[1]), recording.sidecar, recording.screen, sheet.source)
    elif physio:
        x, y = _mean_gaze(at, lasts, physio[1])
        notes = ["fixations have no coordinates; they are the mean gaze of the recording"]
    else:
        raise ReadError(sheet.source, "fixations have no coordinates, and there is no *_physio.tsv.gz beside them")
    names = own or ["mean gaze x", "mean gaze y"]
    columns = with_ids(
        cells, ids, onset_ms=(onset, at), duration_ms=(duration, lasts), x_px=(names[0], x), y_px=(names[1], y)
    )
    if "trial" not in fixed and "trial" not in ids:
        inside, columns["trial"], more = _trials(recording, spec, at, events_trial)
        keep, notes = keep & inside, notes + more
    table = build(cells, sheet, spec, fixed, columns, {"onset_ms": "ms", "duration_ms": "ms"}, keep)
    return replace(table, header=dict(recording.screen.header), notes=table.notes + notes)


def _ids(sheet: Sheet, spec: GazeSpec, fixed: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """The columns of the ids in the table itself, and the column of *_events.tsv that names trials."""
    ids = {name: spec.columns[name] for name in IDS if name not in fixed and name in spec.columns}
    events_trial = None
    if "trial" in ids and sheet.find(ids["trial"]) is None:
        events_trial = ids.pop("trial")
    if "participant" not in fixed:
        ids["participant"] = sheet.need("participant", ids.get("participant", "participant_id"))
    return ids, events_trial


def _beside_samples(
    recording: _Recording, spec: GazeSpec
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]] | None:
    """The recording beside events: (its clock as it stands, ms), (ms, x px, y px); None when there is none."""
    source = recording.sheet.source
    path, data = reachable(source, "physio.tsv.gz", recording.beside)
    if data is None:
        return None
    samples = _recording(data, path, spec, "physio", recording.beside)
    plain = spec.model_copy(update={"columns": {}, "units": {}})
    cells, at, x, y, (time, _, _), _ = _read_samples(samples, plain, {"participant": "", "trial": ""}, {})
    raw = cells.values(time) if time in cells.numbers else cells.rows - 1.0
    order = np.flatnonzero(~np.isnan(at) & ~np.isnan(raw))
    order = order[np.argsort(at[order], kind="stable")]
    if not len(order):
        raise ReadError(source, f"{path} has no usable time")
    return (raw[order], at[order]), (at[order], x[order], y[order])


def _mean_gaze(
    onset_ms: np.ndarray, duration_ms: np.ndarray, samples: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The mean gaze from onset to onset + duration (N,), NaN where all of it is lost; `samples`: sorted ms, x, y."""
    at, x, y = samples
    there = ~np.isnan(x)
    start = np.searchsorted(at, np.nan_to_num(onset_ms, nan=np.inf), side="left")
    stop = np.maximum(np.searchsorted(at, np.nan_to_num(onset_ms + duration_ms, nan=-np.inf), side="right"), start)
    n = np.concatenate([[0], np.cumsum(there)])
    count = n[stop] - n[start]
    means = []
    for values in (x, y):
        total = np.concatenate([[0.0], np.cumsum(np.where(there, values, 0.0))])
        means.append(np.where(count > 0, (total[stop] - total[start]) / np.maximum(count, 1), np.nan))
    return means[0], means[1]


def _trials(
    recording: _Recording, spec: GazeSpec, at: np.ndarray, events_trial: str | None
) -> tuple[np.ndarray, tuple[str, Any], list[str]]:
    """Which times (N,) in ms lie in a trial, the column of its names, and notes."""
    sheet = recording.sheet
    if spec.messages:
        spans = spans_by_messages(_messages(recording, spec), spec.messages, sheet.source)
    else:
        spans = events_spans(sheet.source, recording.beside, events_trial)
    names = list(dict.fromkeys(spans.names))
    codes = spans.codes(np.nan_to_num(at, nan=-np.inf), names)
    timeless = np.isnan(at)
    outside = int((codes < 0).sum() - timeless.sum())
    notes = spans.notes() + ([f"{outside} of {len(at)} {spec.kind} lie outside every trial"] if outside else [])
    return (codes >= 0) | timeless, (events_trial or "trial", named(codes, names)), notes


def _messages(recording: _Recording, spec: GazeSpec) -> list[tuple[float, str]]:
    """The messages of *_physioevents, (ms, text) in order of time. Raises ReadError when there are none."""
    source = recording.sheet.source
    if spec.kind == "fixations":
        events, path = recording, source
    else:
        path, data = reachable(source, "physioevents.tsv.gz", recording.beside)
        if data is None:
            raise ReadError(source, "messages bracket the trials, but there is no *_physioevents.tsv.gz beside it")
        events = _recording(data, path, spec, "physioevents", recording.beside)
    onset, text = events.sheet.need("onset_ms", "onset"), events.sheet.need("messages", "message")
    cells = events.sheet.read([text], [onset], {})
    clock = None
    if spec.kind == "fixations":
        physio = _beside_samples(recording, spec)
        clock = physio and physio[0]
    else:
        found = _read_samples(recording, spec, {"participant": "", "trial": ""}, {})
        cells_of, at, name = found[0], found[1], found[4][0]
        raw = cells_of.values(name) if name in cells_of.numbers else cells_of.rows - 1.0
        fine = ~np.isnan(at) & ~np.isnan(raw)
        clock = (raw[fine], at[fine]) if fine.any() else None
    values = cells.values(onset)
    at, _ = onsets_ms(values, np.zeros(len(values)), events.sidecar, (onset, "duration"), clock, {}, path)
    pairs = [(float(time), message) for time, message in zip(at, cells.text[text].to_pylist(), strict=True)]
    return sorted((time, message) for time, message in pairs if time == time and message not in ("", "n/a"))
