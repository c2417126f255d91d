# SPDX-License-Identifier: Apache-2.0
"""BIDS eye tracking: *_physio.tsv.gz (samples) and *_physioevents.tsv.gz (fixations), with their sidecars.

Follows the Brain Imaging Data Structure 1.11, "Physiological recordings", "Eye-tracking" (extension BEP020:
"Eye-Tracking-BIDS: the Brain Imaging Data Structure extended to gaze position and pupil data"), the drafts of BEP020 in
which public data sets are written, and what mne-bids 0.20 writes.

The tables have no header: Columns of the sidecar names them. The clock of a recording starts at StartTime, in s on the
clock of *_events.tsv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gazeray.gaze.clock import ENOUGH, clock_hz, clock_notes
from gazeray.gaze.files import EYE
from gazeray.gaze.readers import bids_files, vendor_bids
from gazeray.gaze.readers.base import COORDINATES, TIME_UNITS_MS, TIMES, GazeFile, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.bids_tables import (
    EVENTS,
    GAZE,
    ROW,
    SAMPLES,
    Recording,
    Samples,
    channels_of,
    on_screen,
    pairs_of,
    read_samples,
    recording_of,
    with_rows,
)
from gazeray.gaze.readers.bids_trials import Trials, trials_of_events
from gazeray.gaze.readers.text import sorted_into, spans_by_messages
from gazeray.gaze.readers.vendor_tables import Cells, Channels, Columns, Sheet, build, channel_columns


@register_reader(
    "bids",
    supplies=("trial",),
    described=True,
    companions=bids_files.companions,
    keys=("columns", "units", "missing", "eye", "messages", "channels", "y_axis"),
)
def read_bids(file: GazeFile) -> GazeTable:
    """Read one table; see `Reader`. Coordinates come out in px or normalised, times in ms on the clock of the events.

    Without a timestamp column samples are SamplingFrequency apart. Fixations are the events of trial_type fixation;
    where they have no coordinates, the mean gaze of the recording beside them. Trials: messages of *_physioevents where
    `messages` brackets them, else the path or a column of the table, else the rows of *_events.tsv that have a
    duration, named by its column columns.trial, or by their number. What lies outside every trial is rejected.
    Pupils and other columns of numbers are channels.
    Raises ReadError: no names of the columns, a column is missing, another coordinate system than gaze-on-screen, a
    unit or an origin that is unknown or needs a geometry which is not given, no trials.
    """
    wanted = SAMPLES if file.spec.kind == "samples" else EVENTS
    if bids_files.suffix_of(file.source) not in wanted:
        names = " or ".join(f"*_{suffix}.tsv.gz" for suffix in wanted)
        raise ReadError(file.source, f"{file.spec.kind} of BIDS are in files called {names}")
    recording = recording_of(file)
    eye = recording.eye
    if file.spec.eye in ("left", "right") and eye not in ("", file.spec.eye) and EYE not in file.fixed:
        raise ReadError(file.source, f"no {file.spec.eye} eye in the file (RecordedEye: {eye})")
    table = (_samples if file.spec.kind == "samples" else _fixations)(recording)
    accuracy = [recording.accuracy] * len(table.ids) if recording.accuracy else []
    notes = [*table.notes, *([f"the recorded eye: {eye}"] if eye else [])]
    return replace(table, eye=eye, accuracy=accuracy, notes=notes)


def _samples(recording: Recording) -> GazeTable:
    """The samples of a recording as a table."""
    ids = _ids(recording.sheet)
    read = read_samples(recording, recording.sheet.names, list(ids.values()))
    trials = _trials(recording, read)
    columns = {"timestamp_ms": (read.time or "SamplingFrequency", read.ms)} | read.gaze
    header = dict(recording.screen.header)
    if rate := bids_files.positive(recording.about.get("SamplingFrequency")):
        header["sampling_hz"] = rate
    notes = [*read.notes, *clock_notes(header, clock_hz(read.ms[~np.isnan(read.ms)], least=ENOUGH))]
    used = [read.time, *(name for pair in pairs_of(recording.sheet).values() for name in pair), *ids.values()]
    keep = np.ones(len(read.ms), dtype=bool)
    channels = channels_of(recording, read.cells, used, keep)
    return _table(read.cells, ids, columns, keep, read.placed, channels, notes, header, trials)


def _fixations(recording: Recording) -> GazeTable:
    """The fixations among the events of a recording as a table."""
    sheet, spec = recording.sheet, recording.sheet.file.spec
    ids = _ids(sheet)
    onset, index = _onset_column(recording)
    duration, kind = sheet.column("duration_ms", "duration"), sheet.need("the type of event", "trial_type")
    own = any(sheet.find(*pair) for pairs in GAZE.values() for pair in pairs) or "x_px" in spec.columns
    pairs = pairs_of(sheet) if own else {}
    words, values = channel_columns(sheet)
    numbers = [onset, duration, *(name for pair in pairs.values() for name in pair)]
    further = [name for name in sheet.names if sheet.names.count(name) == 1 and name != kind]
    cells = with_rows(sheet.read([*ids.values(), kind, *words], numbers, [*values, *further]))
    keep = cells.words(kind) == "fixation"
    if not keep.any():
        raise sheet.error("no event of trial_type fixation")
    physio = _physio(recording, index) if index or not own or spec.messages else None
    units = vendor_bids.unit_of_events(
        recording.sidecar, {"onset_ms": onset, "duration_ms": duration}, spec.units, sheet.file.source
    )
    ms, tick = _onsets_ms(cells.values(onset), units["onset_ms"], index, physio)
    durations = np.where(keep, cells.values(duration), np.nan)
    lasts, notes = vendor_bids.lasting_ms(durations, units["duration_ms"], tick)
    if own:
        gaze, placed = on_screen(recording, cells, pairs)
        notes += placed.notes
    elif physio:
        mean_x, mean_y = _mean_gaze(ms, lasts, physio)
        gaze, placed = {"x_px": ("mean gaze x", mean_x), "y_px": ("mean gaze y", mean_y)}, physio.placed
        notes += [*physio.notes, "fixations have no coordinates; they are the mean gaze of the recording"]
    else:
        raise sheet.error("fixations have no coordinates, and there is no *_physio.tsv.gz beside them")
    trials = _trials(recording, physio)
    columns = {"onset_ms": (onset, ms), "duration_ms": (duration, lasts)} | gaze
    channels = channels_of(recording, cells, [*numbers, *ids.values()], keep)
    return _table(cells, ids, columns, keep, placed, channels, notes, recording.screen.header, trials)


def _onset_column(recording: Recording) -> tuple[str, str]:
    """The column of onsets, and the column of the recording that they refer to ("": they are times)."""
    sheet, spec = recording.sheet, recording.sheet.file.spec
    index = vendor_bids.index_column(recording.sidecar, sheet.file.source)
    if "onset_ms" in spec.columns:
        return sheet.column("onset_ms"), "" if "onset_ms" in spec.units else index
    onset = sheet.find("onset") or (sheet.find(index) if index else sheet.find(ROW))
    if onset is None:
        onset = sheet.need("onset_ms", "onset")
    return onset, index or (ROW if onset.lower() == ROW else "")


def _onsets_ms(onset: np.ndarray, unit: str, index: str, physio: Samples | None) -> tuple[np.ndarray, float]:
    """Onsets (N,) as ms on the clock of the events of the run, and the ms in a unit of the column they refer to."""
    if not index or physio is None:
        factor = TIME_UNITS_MS[unit or "s"]
        return onset * factor, 1e3
    clock = physio.clock(_source_of_onsets(physio.cells.sheet, index))
    tick = vendor_bids.on_clock(clock[0][:1], clock)[1]
    scaled = onset * TIME_UNITS_MS[unit] / tick if unit and index != ROW else onset
    return vendor_bids.on_clock(scaled, clock)


def _source_of_onsets(samples: Sheet, index: str) -> str:
    """The column of the recording that onsets refer to, as the recording spells it. Raises ReadError: it has none."""
    return ROW if index == ROW else samples.need("OnsetSource of the events", index)


def _physio(recording: Recording, index: str) -> Samples | None:
    """The samples beside events; None when there are none. Raises ReadError when the events refer to them, and they are
    not there or have no such column."""
    file = recording.sheet.file
    path = bids_files.table_beside(file, "physio")
    if path is None:
        if index:
            raise recording.sheet.error("onsets refer to the recording, and there is no *_physio.tsv.gz beside it")
        return None
    samples = recording_of(_other(file, path))
    further = [_source_of_onsets(samples.sheet, index)] if index not in ("", ROW) else []
    return read_samples(samples, further)


def _other(file: GazeFile, path: str) -> GazeFile:
    """The other table of a recording, as if it were declared: just what holds for both is."""
    units = {name: unit for name, unit in file.spec.units.items() if name in COORDINATES}
    spec = file.spec.model_copy(update={"columns": {}, "units": units, "channels": {}})
    return replace(file, data=file.beside[path], source=path, spec=spec)


def _ids(sheet: Sheet) -> dict[str, str]:
    """The columns of the ids in the table itself."""
    ids = {}
    if "participant" not in sheet.file.fixed:
        ids["participant"] = sheet.column("participant", "participant_id")
    if "trial" not in sheet.file.fixed and len(sheet.file.spec.trial_columns) == 1:
        ids["trial"] = sheet.column("trial")
    return ids


def _trials(recording: Recording, samples: Samples | None) -> Trials | None:
    """The trials that messages or *_events.tsv bracket; None where the path or a column gives them."""
    file = recording.sheet.file
    if file.spec.messages:
        spans = spans_by_messages(_messages(recording, samples), file.spec.messages, file.source)
        return Trials(spans, [], "messages")
    return None if "trial" in file.fixed or file.spec.trial_columns else trials_of_events(file, recording.named)


def _messages(recording: Recording, samples: Samples | None) -> list[tuple[float, str]]:
    """The messages of *_physioevents, (ms, text) in order of time. Raises ReadError when there are none."""
    file, events = recording.sheet.file, recording
    if file.spec.kind == "samples":
        path = bids_files.table_beside(file, "physioevents")
        if path is None:
            reason = "messages bracket the trials, but there is no *_physioevents.tsv.gz beside it"
            raise recording.sheet.error(reason)
        events = recording_of(_other(file, path))
    onset, index = _onset_column(events)
    text = events.sheet.need("messages", "message")
    cells = events.sheet.read([text], [onset])
    unit = vendor_bids.unit_of_events(events.sidecar, {"onset_ms": onset}, events.sheet.file.spec.units, file.source)
    ms, _ = _onsets_ms(cells.values(onset), unit["onset_ms"], index, samples)
    pairs = [(float(time), message) for time, message in zip(ms, cells.text[text].to_pylist(), strict=True)]
    return sorted((time, message) for time, message in pairs if time == time and message not in (None, "", "n/a"))


def _mean_gaze(onset_ms: np.ndarray, duration_ms: np.ndarray, samples: Samples) -> list[np.ndarray]:
    """The mean x and y of the samples from onset to onset + duration, (N,) each, NaN where all of them are lost."""
    order = np.flatnonzero(~np.isnan(samples.ms))
    order = order[np.argsort(samples.ms[order], kind="stable")]
    at, x, y = (values[order] for values in (samples.ms, *(samples.gaze[name][1] for name in COORDINATES)))
    there = ~np.isnan(x)
    start = np.searchsorted(at, np.nan_to_num(onset_ms, nan=np.inf), side="left")
    stop = np.maximum(np.searchsorted(at, np.nan_to_num(onset_ms + duration_ms, nan=-np.inf), side="right"), start)
    n = np.concatenate([[0], np.cumsum(there)])
    count = n[stop] - n[start]
    means = []
    for values in (x, y):
        total = np.concatenate([[0.0], np.cumsum(np.where(there, values, 0.0))])
        means.append(np.where(count > 0, (total[stop] - total[start]) / np.maximum(count, 1), np.nan))
    return means


def _table(
    cells: Cells,
    ids: Mapping[str, str],
    columns: Columns,
    keep: np.ndarray,
    placed: vendor_bids.Placed,
    channels: Channels,
    notes: Sequence[str],
    header: Mapping[str, float],
    trials: Trials | None,
) -> GazeTable:
    """The GazeTable, sorted into trials where these are not in the path or in a column."""
    kind, file = cells.sheet.file.spec.kind, cells.sheet.file
    if trials is not None:
        whole = replace(file, fixed={**file.fixed, "trial": "by events"})
        cells = replace(cells, sheet=replace(cells.sheet, file=whole))
    times = dict.fromkeys(TIMES[kind], "ms")
    table = build(cells, ids, columns, times, keep, notes, header, channels)
    units = {} if placed.unit == "px" else dict.fromkeys(COORDINATES, placed.unit)
    table = replace(table, units=table.units | units, origin=placed.origin)
    if trials is None:
        return table
    found = sorted_into(table, trials.spans, file, trials.source)
    return replace(found, rejects=[*found.rejects, *trials.rejects])
