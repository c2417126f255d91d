# SPDX-License-Identifier: Apache-2.0
"""The sections on what was measured: quality of the channels, their mean courses by level, how pictures were moved."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gazeray.report import many
from gazeray.report.blocks import NAME, ROW, TEXT, Block, Column, Figure, Heading, Section, Table, Text, more
from gazeray.report.results import Results
from gazeray.report.sections.quality import medians, refusals
from gazeray.report.words import counted, number, plural
from gazeray.storage import Folder
from gazeray.studies.emotion import figures
from gazeray.studies.emotion.views import label_of

CHANNELS, COURSES, AUGMENTATION = "channels.parquet", "courses.npz", "augmentation.npz"
"""Files of the run folder: a row per trial and channel; mean courses; pictures before and after they were moved."""

SCALES = {
    "training_people": "Signals are scaled by mean and spread over the people that the model is fitted to, of each "
    "channel; what is particular to a new person stays in.",
    "participant": "Signals are scaled within each person, by mean and spread of all trials of that person: labels are "
    "not looked at, but a person must have been recorded for a while before anything can be told of them.",
    "published": "Signals are scaled by the constants of the published system; skin conductance within each trial, so "
    "that its level is lost.",
}
"""How signals are scaled, by `signals.scale`."""

PANELS = 9
"""Channels whose courses are drawn for a label, at most."""


def section(run: Folder, results: Results, views: Sequence[Results]) -> Section | None:
    """What the signals are like; None for a run that wrote nothing of them."""
    table = run.read_table(CHANNELS) if run.exists(CHANNELS) else pa.table({})
    blocks: list[Block] = []
    if words := SCALES.get(str((results.config.get("signals") or {}).get("scale"))):
        blocks.append(Text(words))
    blocks += _quality(table) if table.num_rows else []
    blocks += _courses(run, results, views)
    return Section("signals", "The signals", "Signals", blocks) if blocks else None


# -- quality


def _quality(table: pa.Table) -> list[Block]:
    names = list(dict.fromkeys(table["channel"].to_pylist()))
    words = (
        "Lost: samples that the recorder calls invalid, that are implausible, or that were never there. Of losses up "
        "to a limit the values are interpolated, longer ones are masked, and the model is told where. Flat: the same "
        "value throughout a trial. At an end: samples that have the least or the greatest value of their trial; many "
        "of them point at a sensor that is saturated, or at one of few steps, such as a heart rate in whole beats."
    )
    columns = [Column("channel", ROW), Column("unit", TEXT), Column("trials"), Column("lost, median (%)")]
    columns += [Column("lost, 95th percentile (%)"), Column("nothing left (trials)"), Column("implausible (%)")]
    columns += [Column("longest gap, median (ms)"), Column("longest gap (ms)"), Column("lowest"), Column("highest")]
    columns += [Column("flat (trials)"), Column("at an end (%)"), Column("refused (trials)")]
    own = {name: table.filter(pc.equal(table["channel"], name)) for name in names}
    rows = [_channel(name, one) for name, one in own.items()]
    quality = Table("Quality of the channels", columns, rows, style="compact")
    blocks: list[Block] = [Heading("Quality of every channel"), Text(words, small=True), quality]
    gates = pa.concat_tables(own.values())
    if refused := refusals(gates):
        heads = [Column("trials and channels"), Column("reason", TEXT), Column("people")]
        cells = [[count, reason, len(people)] for reason, count, people in refused]
        blocks.append(Table("Channels refused", heads, cells))
    return [*blocks, *_people(table, names)]


def _numbers(table: pa.Table, column: str) -> NDArray[np.float64]:
    return np.asarray(pc.cast(table[column], pa.float64()).to_numpy(), np.float64)


def _channel(name: str, table: pa.Table) -> list[object]:
    """A row of the table of channels."""
    lost, implausible, gap, low, high, saturated = (
        _numbers(table, column)
        for column in ("lost_share", "implausible_share", "longest_gap_ms", "low", "high", "saturated_share")
    )
    gates = [bool(gate) for gate in pc.fill_null(table["gate"], "").to_pylist()]
    flat = int(np.sum([bool(one) for one in table["flat"].to_pylist()]))

    def told(values: NDArray[np.float64], of: Any, digits: int = 1) -> str:
        finite = values[np.isfinite(values)]
        return number(float(of(finite)), digits) if finite.size else "–"

    digits = _digits(low, high)
    return [
        name, table["unit"][0].as_py() or "", table.num_rows, told(100 * lost, np.median),
        told(100 * lost, lambda values: np.percentile(values, 95)), int(np.sum(lost >= 1)),
        told(100 * implausible, np.mean), told(gap, np.median, 0), told(gap, np.max, 0),
        told(low, np.min, digits), told(high, np.max, digits), flat, told(100 * saturated, np.mean), sum(gates),
    ]  # fmt: skip


def _digits(low: NDArray[np.float64], high: NDArray[np.float64]) -> int:
    """Digits after the point with which a range is told: about three that count."""
    ends = np.concatenate([low, high])
    ends = ends[np.isfinite(ends)]
    span = float(ends.max() - ends.min()) if ends.size else 0.0
    return int(np.clip(2 - np.floor(np.log10(span)), 0, 4)) if span > 0 else 2


def _people(table: pa.Table, names: Sequence[str]) -> list[Block]:
    """The median share that each person lost of every channel; of many people, those who lost most and least."""
    coded = table["participant"].combine_chunks().dictionary_encode()
    people = [str(name) for name in coded.dictionary.to_pylist()]
    whose, lost = coded.indices.to_numpy(), 100 * _numbers(table, "lost_share")
    channel = np.array(table["channel"].to_pylist(), dtype=np.str_)
    grid = np.stack(
        [medians(whose[channel == name].astype(np.int64), lost[channel == name], len(people)) for name in names], axis=1
    )
    mean = np.where(np.isfinite(grid), grid, 100.0).mean(axis=1)
    order = sorted(range(len(people)), key=lambda place: (-mean[place], people[place]))
    shown = [place for _, place in many.ends(order)] if len(people) > many.MANY else order
    rows = [
        [people[place], *("–" if np.isnan(share) else number(share, 1) for share in grid[place])] for place in shown
    ]
    gone = int(np.sum((grid >= 100).any(axis=1)))
    words = "Median share of lost samples over the trials of each person (%), who lost most first."
    if gone:
        words += f" {gone} {plural(gone, 'person has', 'people have')} nothing of at least one channel in most trials."
    heads = [Column("participant", NAME), *(Column(f"{name} (%)") for name in names)]
    lost_table = Table("Lost by person", heads, rows, tall=len(rows) > 15)
    rest = more(len(people) - len(shown), "participants", f"{CHANNELS} in the run folder")
    return [Heading("Lost by person"), Text(words, small=True), lost_table, *rest]


# -- courses


def _stored(run: Folder, name: str) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz of the run folder; none where the run did not write it."""
    if not run.exists(name):
        return {}
    with np.load(io.BytesIO(run.read_bytes(name)), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _courses(run: Folder, results: Results, views: Sequence[Results]) -> list[Block]:
    """The mean course of every channel for each level of a label, a figure per label."""
    stored = _stored(run, COURSES)
    if "times_ms" not in stored:
        return []
    units = {str(one["name"]): str(one.get("unit") or "") for one in results.manifest.get("channels") or []}
    drawn: list[Block] = []
    for place, view in enumerate(views, start=1):
        found = _panels(stored, label_of(view), units)
        if not found:
            continue
        caption = (
            f"Mean course of each channel by the level of {label_of(view)}, over all trials, before scaling: how far "
            "each trial is from the mean of its person, plus the mean over the people, who differ more than levels do. "
            "Bands: one standard deviation over trials, of the first and the last level. This is a picture of the "
            "data, no test."
        )
        if len(found) > PANELS:
            caption += f" The first {PANELS} of {len(found)} channels."
        ends = "; ".join(_ends(panel, view.classes) for panel in found[:PANELS])
        png = figures.courses(found[:PANELS], stored["times_ms"], view.classes)
        drawn.append(Figure(f"courses-{place}", png, f"Mean courses by {label_of(view)}. {ends}.", caption))
    return [Heading("Mean course by level"), *drawn] if drawn else []


def _panels(stored: Mapping[str, NDArray[Any]], label: str, units: Mapping[str, str]) -> list[figures.Course]:
    found = []
    for key, mean in stored.items():
        name = key.removeprefix(f"{label}:")
        if key.startswith(f"{label}:") and not key.endswith(":sd"):
            unit = f" ({units[name]})" if units.get(name) else ""
            found.append(figures.Course(f"{name}{unit}", mean, stored.get(f"{key}:sd")))
    return found


def _ends(panel: figures.Course, levels: Sequence[str]) -> str:
    """The means over time of the first and the last level that have trials."""
    there = np.flatnonzero(np.isfinite(panel.mean).any(axis=1))
    if not there.size:
        return f"{panel.title}: nothing"
    low, high = there[0], there[-1]
    means = [number(float(np.nanmean(panel.mean[place])), 2) for place in (low, high)]
    return f"{panel.title}: {means[0]} at {levels[low]}, {means[1]} at {levels[high]}"


# -- augmentation


def augmentation(run: Folder, results: Results) -> Section | None:
    """Pictures and the gaze on them before and after they were moved together; None where nothing was moved.

    Raises ValueError where the file lacks one of its arrays.
    """
    stored = _stored(run, AUGMENTATION)
    if not stored:
        return None
    wanted = ("before", "after", "gaze_before", "gaze_after")
    if gone := [name for name in wanted if name not in stored]:
        raise ValueError(f"{AUGMENTATION}: holds no {', '.join(gone)}")
    before, after = stored["before"], stored["after"]
    png = figures.pairs(before, after, (stored["gaze_before"], stored["gaze_after"]))
    views = (results.config.get("augment") or {}).get("views")
    words = (
        "In training one random affine moves the picture, the gaze on it, the scanpath and any area of interest. "
        + (f"{counted(views, 'random view')} of each picture beside the plain one; which is drawn changes from epoch "
           "to epoch. Nothing is moved in tests." if views else "Nothing is moved in tests.")
    )  # fmt: skip
    caption = (
        f"{counted(len(before), 'pair')}: a picture with the gaze of a trial before, and the same moved, below. Each "
        "is squeezed to a square, as the network sees it. The gaze stays on what it was on."
    )
    figure = Figure("augmentation", png, caption, caption)
    return Section("augmentation", "How pictures and gaze are moved", "Augmentation", [Text(words), figure])
