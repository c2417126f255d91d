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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from gazeray.gaze.files import Listing
from gazeray.gaze.readers import vendor_bids
from gazeray.gaze.readers.base import IDS, TIME_UNITS_MS, GazeFile, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.text import clock_hz, clock_notes, spans_by_messages
from gazeray.gaze.readers.vendor_tables import Cells, Columns, Sheet, build, chosen_gaze, decoded, in_spans

X, Y = ("x_coordinate", "x", "gaze_x"), ("y_coordinate", "y", "gaze_y")
TIME = ("timestamp", "time")


def bids_companions(source: str, files: Listing) -> list[str]:
    """The files that may belong to a recording: sidecars, the recording of events and the events of a recording, and
    the events of the run; each with and without the entity recording-<label>, in the same folder."""
    path = PurePosixPath(source)
    ends = ("physio.json", "physioevents.json", "physioevents.tsv.gz", "physio.tsv.gz", "events.tsv", "events.json")
    names = [f"{base}_{end}" for base in dict.fromkeys(vendor_bids.bases(path)) for end in ends]
    names = [name for name in names if name.removesuffix(".gz") != path.name.removesuffix(".gz")]
    return [own for name in names if (own := str(path.with_name(name))) in files.files]


@dataclass(frozen=True)
class _Recording:
    """One table with what its sidecars say."""

    sheet: Sheet
    sidecar: Mapping[str, Any]
    screen: vendor_bids.Screen


@dataclass(frozen=True)
class _Samples:
    """The samples of a recording: its cells, which column is the clock (None: the rate is), ms (N,), x_px and y_px as
    `build` takes them, and notes."""

    cells: Cells
    time: str | None
    ms: np.ndarray
    gaze: Columns
    notes: list[str]

    def clock(self) -> vendor_bids.Clock | None:
        """The clock of the recording; None without a usable time."""
        raw = self.cells.values(self.time) if self.time else self.cells.rows - 1.0
        order = self.in_order()
        return (raw[order], self.ms[order]) if len(order) else None

    def in_order(self) -> np.ndarray:
        """The index of the samples with a time, sorted by it."""
        order = np.flatnonzero(~np.isnan(self.ms))
        return order[np.argsort(self.ms[order], kind="stable")]


KEYS = ("columns", "units", "missing", "eye", "messages", "channels")


@register_reader("bids", supplies=("trial",), described=True, companions=bids_companions, keys=KEYS)
def read_bids(file: GazeFile) -> GazeTable:
    """Read one table; see `Reader`. Coordinates come out in px, times in ms on the clock of the events.

    Without a timestamp column samples are SamplingFrequency apart. Fixations are the events of trial_type fixation;
    where they have no coordinates, the mean gaze of the recording beside them. Trials: messages of *_physioevents where
    `messages` brackets them, else the rows of *_events.tsv that have a duration, numbered 1, 2, ... or named by its
    column columns.trial. What lies outside every trial is left out, with a note.
    Raises ReadError: no sidecar or no Columns, a column is missing, another coordinate system than gaze-on-screen,
    mm or degrees without the geometry of the screen, no trials.
    """
    suffix = "physio" if file.spec.kind == "samples" else "physioevents"
    if not re.search(rf"_{suffix}\.tsv(\.gz)?$", file.source):
        raise ReadError(file.source, f"{file.spec.kind} of BIDS are in files called *_{suffix}.tsv.gz")
    recording = _recording(file, suffix)
    return (_samples if file.spec.kind == "samples" else _fixations)(recording)


def _recording(file: GazeFile, suffix: str) -> _Recording:
    """A table and its sidecars. Raises ReadError without a usable sidecar, or for gaze that is not on a screen."""
    source, sidecar = file.source, vendor_bids.sidecar_of(file, suffix)
    names = sidecar.get("Columns")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ReadError(source, f"no sidecar *_{suffix}.json that names the Columns")
    system = str(sidecar.get("SampleCoordinateSystem", "gaze-on-screen"))
    if system != "gaze-on-screen":
        raise ReadError(source, f"SampleCoordinateSystem is {system!r}: only gaze-on-screen has a place on a screen")
    eye = str(sidecar.get("RecordedEye", "")).lower()
    if file.spec.eye in ("left", "right") and eye in ("left", "right") and eye != file.spec.eye:
        raise ReadError(source, f"no {file.spec.eye} eye in the file (RecordedEye: {eye})")
    text, notes = decoded(file)
    notes += [f"RecordedEye is {eye}"] if eye else []
    return _Recording(Sheet(file, text, "\t", names, 0, notes), sidecar, vendor_bids.screen_of(sidecar, file))


def _beside(recording: _Recording, suffix: str, **changes: Any) -> tuple[str, _Recording | None]:
    """The other table of a recording: where it must be, and what it is, None when there is none."""
    path, data = vendor_bids.reachable(recording.sheet.file, f"{suffix}.tsv.gz")
    if data is None:
        return path, None
    return path, _recording(replace(recording.sheet.file, data=data, source=path, fixed={}, **changes), suffix)


def _read_samples(recording: _Recording, ids: Iterable[str] = ()) -> _Samples:
    """The samples of a recording, and the text of the columns `ids`."""
    sheet, sidecar = recording.sheet, recording.sidecar
    spec = recording.sheet.file.spec
    time = sheet.column("timestamp_ms") if "timestamp_ms" in spec.columns else sheet.find(*TIME)
    pair = (sheet.column("x_px", *X), sheet.column("y_px", *Y))
    cells = sheet.read(ids, [time, *pair])
    gaze, notes = _in_px(recording, cells, pair)
    stamps = cells.values(time) if time else None
    ms = vendor_bids.times_ms(stamps, cells.rows, sidecar, time, spec.units.get("timestamp_ms"), sheet.file.source)
    if time and "timestamp_ms" not in spec.units and vendor_bids.unit_of(sidecar, time) not in TIME_UNITS_MS:
        notes.append(f"the sidecar gives no Units for {time}; its unit is seen from SamplingFrequency")
    return _Samples(cells, time, ms, gaze, notes)


def _in_px(recording: _Recording, cells: Cells, pair: tuple[str, str]) -> tuple[Columns, list[str]]:
    """x_px and y_px of the columns `pair`, for `build`, and notes."""
    gaze, _ = chosen_gaze(cells, {"gaze": pair})
    (x_name, x), (y_name, y) = gaze.values()
    x, y, notes = vendor_bids.to_px(x, y, pair, recording.sidecar, recording.screen, recording.sheet.file.source)
    return {"x_px": (x_name, x), "y_px": (y_name, y)}, notes


def _samples(recording: _Recording) -> GazeTable:
    ids, events_trial = _ids(recording.sheet)
    read = _read_samples(recording, ids.values())
    inside, trial, more = _trials(recording, read.ms, ids, events_trial)
    columns = {"timestamp_ms": (read.time or "SamplingFrequency", read.ms)} | read.gaze | trial
    header = recording.screen.header
    rate = recording.sidecar.get("SamplingFrequency")
    if isinstance(rate, int | float) and rate > 0:
        header["sampling_hz"] = float(rate)
    notes = [*read.notes, *more, *clock_notes(header, clock_hz(read.ms[~np.isnan(read.ms)]))]
    return build(read.cells, ids, columns, {"timestamp_ms": "ms"}, inside, notes, header)


def _fixations(recording: _Recording) -> GazeTable:
    sheet, spec = recording.sheet, recording.sheet.file.spec
    ids, events_trial = _ids(sheet)
    onset, duration = sheet.column("onset_ms", "onset"), sheet.column("duration_ms", "duration")
    kind = sheet.need("the type of event", "trial_type")
    x, y = (
        sheet.find(*([spec.columns[ours]] if ours in spec.columns else names))
        for ours, names in (("x_px", X), ("y_px", Y))
    )
    own = (x, y) if x and y else None
    cells = sheet.read([*ids.values(), kind], [onset, duration, *(own or ())])
    keep = cells.words(kind) == "fixation"
    if not keep.any():
        raise sheet.error("no event of trial_type fixation")
    physio = _physio(recording)
    pair, clock = (cells.values(onset), cells.values(duration)), physio.clock() if physio else None
    ms, lasts = vendor_bids.onsets_ms(*pair, recording.sidecar, (onset, duration), clock, spec.units, sheet.file.source)
    if own:
        gaze, notes = _in_px(recording, cells, own)
    elif physio:
        mean_x, mean_y = _mean_gaze(ms, lasts, physio)
        gaze = {"x_px": ("mean gaze x", mean_x), "y_px": ("mean gaze y", mean_y)}
        notes = ["fixations have no coordinates; they are the mean gaze of the recording"]
    else:
        raise sheet.error("fixations have no coordinates, and there is no *_physio.tsv.gz beside them")
    inside, trial, more = _trials(recording, ms, ids, events_trial)
    columns = {"onset_ms": (onset, ms), "duration_ms": (duration, lasts)} | gaze | trial
    units = {"onset_ms": "ms", "duration_ms": "ms"}
    return build(cells, ids, columns, units, keep & inside, [*notes, *more], recording.screen.header)


def _ids(sheet: Sheet) -> tuple[dict[str, str], str | None]:
    """The columns of the ids in the table itself, and the column of *_events.tsv that names trials."""
    fixed, columns = sheet.file.fixed, sheet.file.spec.columns
    ids = {name: columns[name] for name in IDS if name not in fixed and name in columns}
    events_trial = None
    if "trial" in ids and sheet.find(ids["trial"]) is None:
        events_trial = ids.pop("trial")
    if "participant" not in fixed:
        ids["participant"] = sheet.need("participant", ids.get("participant", "participant_id"))
    return ids, events_trial


def _physio(recording: _Recording) -> _Samples | None:
    """The samples beside events; None when there are none. Raises ReadError when none of them has a time."""
    spec = recording.sheet.file.spec
    path, samples = _beside(recording, "physio", spec=spec.model_copy(update={"columns": {}, "units": {}}))
    if samples is None:
        return None
    read = _read_samples(samples)
    if read.clock() is None:
        raise recording.sheet.error(f"{path} has no usable time")
    return read


def _mean_gaze(onset_ms: np.ndarray, duration_ms: np.ndarray, samples: _Samples) -> list[np.ndarray]:
    """The mean x and y px of the samples from onset to onset + duration, (N,) each, NaN where all of them are lost."""
    order = samples.in_order()
    at, x, y = (values[order] for values in (samples.ms, *(samples.gaze[name][1] for name in ("x_px", "y_px"))))
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


def _trials(
    recording: _Recording, ms: np.ndarray, ids: Mapping[str, str], events_trial: str | None
) -> tuple[np.ndarray, Columns, list[str]]:
    """Which times (N,) in ms lie in a trial, the column of its names, and notes; all and no column where the path or a
    column gives the trials."""
    file = recording.sheet.file
    if "trial" in file.fixed or "trial" in ids:
        return np.ones(len(ms), dtype=bool), {}, []
    if file.spec.messages:
        spans = spans_by_messages(_messages(recording), file.spec.messages, file.source)
    else:
        spans = vendor_bids.events_spans(file, events_trial)
    timeless = np.isnan(ms)
    inside, trial = in_spans(spans, np.nan_to_num(ms, nan=-np.inf), events_trial or "trial")
    outside = int((~inside).sum() - timeless.sum())
    notes = [f"{outside} of {len(ms)} {file.spec.kind} lie outside every trial"] if outside else []
    return inside | timeless, trial, spans.notes() + notes


def _messages(recording: _Recording) -> list[tuple[float, str]]:
    """The messages of *_physioevents, (ms, text) in order of time. Raises ReadError when there are none."""
    if recording.sheet.file.spec.kind == "fixations":
        events, samples = recording, _physio(recording)
    else:
        found, samples = _beside(recording, "physioevents")[1], _read_samples(recording)
        if found is None:
            reason = "messages bracket the trials, but there is no *_physioevents.tsv.gz beside it"
            raise recording.sheet.error(reason)
        events = found
    onset, text = events.sheet.need("onset_ms", "onset"), events.sheet.need("messages", "message")
    cells = events.sheet.read([text], [onset])
    values, clock, path = cells.values(onset), samples.clock() if samples else None, events.sheet.file.source
    ms, _ = vendor_bids.onsets_ms(values, np.zeros(len(values)), events.sidecar, (onset, "duration"), clock, {}, path)
    pairs = [(float(time), message) for time, message in zip(ms, cells.text[text].to_pylist(), strict=True)]
    return sorted((time, message) for time, message in pairs if time == time and message not in ("", "n/a"))
