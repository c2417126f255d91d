# SPDX-License-Identifier: Apache-2.0
"""The section on data quality: figures, distributions, one row per participant, and why trials were refused.

Columns that an older run did not write, or that could not be measured (no screen geometry), are left out.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gazeray.report import figures, many
from gazeray.report.blocks import NAME, ROW, WIDE, Block, Column, Figure, Heading, Listing, Section, Table, Text, more
from gazeray.report.results import Results
from gazeray.report.sections.provenance import simulated
from gazeray.report.words import counted, number, plural

COLUMNS = {
    "lost_share": ("lost samples (%)", 1),
    "off_screen_share": ("gaze off the screen (%)", 1),
    "outside_share": ("gaze outside the window (%)", 1),
    "longest_gap_ms": ("longest gap (ms)", 0),
    "sampling_hz": ("sampling rate (Hz)", 1),
    "rms_s2s_deg": ("RMS-S2S (deg)", 3),
    "rms_s2s_px": ("RMS-S2S (px)", 2),
    "bcea_deg2": ("BCEA, 68 % (deg²)", 3),
    "bcea_px2": ("BCEA, 68 % (px²)", 0),
    "validation_left_deg": ("validation, left eye (deg)", 2),
    "validation_right_deg": ("validation, right eye (deg)", 2),
    "validation_left_max_deg": ("validation, left eye, worst point (deg)", 2),
    "validation_right_max_deg": ("validation, right eye, worst point (deg)", 2),
    "n_samples": ("samples per trial", 0),
    "n_fixations": ("fixations per trial", 0),
    "duration_ms": ("duration of a trial (ms)", 0),
}
"""Column of the quality table -> its name with the unit, digits after the point; in the order of the section."""

DRAWN = ("lost_share", "off_screen_share", "longest_gap_ms", "sampling_hz", "rms_s2s_deg", "bcea_deg2", "n_fixations",
         "duration_ms")  # fmt: skip
PER_PARTICIPANT = ("lost_share", "off_screen_share", "longest_gap_ms", "sampling_hz", "rms_s2s_deg", "bcea_deg2",
                   "validation_left_deg", "validation_right_deg")  # fmt: skip
IN_PIXELS = {"rms_s2s_deg": "rms_s2s_px", "bcea_deg2": "bcea_px2"}
"""What stands in for a column in deg where the geometry of the screen is unknown."""

PRECISION = (
    "RMS-S2S: root mean square of the distances between successive samples, the precision of the eye tracker. BCEA: "
    "area of the ellipse that holds 68 % of the gaze of a fixation. Both are smaller for better recordings."
)
ACCURACY = (
    " Validation: mean distance of the gaze from its targets in the last validation before the trial, as the eye "
    "tracker itself reported it: its accuracy."
)

REASONS, NOTES = 30, 50


def section(results: Results) -> Section:
    """The section on quality: figures, distributions, participants, refused trials, notes on recordings."""
    notes = [str(note) for note in results.manifest.get("notes_on_recordings") or []]
    blocks = [*(_measured(results) if results.quality.num_rows else [Text("No quality was recorded.")])]
    if notes:
        blocks += [Heading("Notes on recordings"), Listing(notes[:NOTES])]
        blocks += more(len(notes) - NOTES, "notes", "manifest.json in the run folder")
    return Section("quality", "Data quality", "Data quality", blocks)


def _measured(results: Results) -> list[Block]:
    table, columns = results.quality, measured(results.quality)
    blocks: list[Block] = []
    read = f"{counted(table.num_rows, 'trial')} {plural(table.num_rows, 'was', 'were')} read"
    if not columns:
        blocks.append(Text(f"{read}; none of their quality could be measured."))
    else:
        words = PRECISION if any(name.startswith(("rms_", "bcea_")) for name in columns) else ""
        words += ACCURACY if any(name.startswith("validation_") for name in columns) else ""
        drawn = {COLUMNS[name][0]: columns[name] for name in _with_stand_ins(DRAWN, columns)}
        alt = "Histograms over trials: " + ", ".join(drawn) + ". The table below gives the figures."
        caption = f"Quality of what was read: {counted(table.num_rows, 'trial')}. Dashed: median."
        blocks += [Text(words.strip(), small=True)] if words else []
        blocks += [Figure("quality", histograms(drawn), alt, caption)] if drawn else []
        shown, nothing = without_zeros(columns)
        blocks += [distribution(shown)] if shown else []
        blocks += [Text(f"0 in every trial: {nothing}.", small=True)] if nothing else []
        blocks += _unvalidated(table, columns) if not simulated(results) else []
    where = "quality.parquet in the run folder"
    people = Medians.of(table)
    medians, nothing = without_zeros(people.columns)
    words = "Medians over the participant’s trials." + (f" 0 for everybody: {nothing}." if nothing else "")
    blocks += [Heading("Per participant"), Text(words, small=True)]
    blocks += _people(people._replace(columns=medians), where)
    return blocks + (_refused(table, where) if "gate" in table.column_names else [])


def _unvalidated(table: pa.Table, columns: Mapping[str, NDArray[np.float64]]) -> list[Block]:
    """How many trials have no validation before them."""
    eyes = [np.isfinite(columns[name]) for name in ("validation_left_deg", "validation_right_deg") if name in columns]
    if not eyes:
        return [Text("No file tells of a validation of the tracker: how accurate it was in these trials is not known.")]
    none = int(np.sum(~np.any(eyes, axis=0)))
    return [Text(f"Without a validation before them: {none} of {counted(table.num_rows, 'trial')}.")] if none else []


def without_zeros(columns: Mapping[str, NDArray[np.float64]]) -> tuple[dict[str, NDArray[np.float64]], str]:
    """The columns that are not 0 wherever they were measured, and the names of the others in words."""
    kept = {name: values for name, values in columns.items() if np.nanmax(np.abs(values)) > 0}
    return kept, ", ".join(COLUMNS[name][0] for name in columns if name not in kept)


def _people(people: Medians, where: str) -> list[Block]:
    """A row per participant; of many, how their medians are spread, and the extremes of the first of them."""
    order = list(range(len(people.names)))
    if len(order) <= many.MANY:
        return [participants(people, order)._replace(tall=len(order) > 15)]
    blocks: list[Block] = []
    if people.columns:
        by, values = next(iter(people.columns.items()))
        blocks.append(distribution(people.columns, "Data quality over participants", "participant"))
        blocks.append(Text(f"By {COLUMNS[by][0]}: the {many.EXTREMES} lowest, then the {many.EXTREMES} highest."))
        order = [row for row in np.argsort(values, kind="stable").tolist() if np.isfinite(values[row])]
    shown = [row for _, row in many.ends(order)]
    return [*blocks, participants(people, shown), *more(len(people.names) - len(shown), "participants", where)]


def _refused(table: pa.Table, where: str) -> list[Block]:
    """How many trials the gate refused, and why."""
    head, gone = Heading("Trials refused for their quality"), sum(map(bool, _gates(table)))
    if not gone:
        return [head, Text(f"Of {counted(table.num_rows, 'trial')} none was refused.")]
    words = (
        f"{gone} of {counted(table.num_rows, 'trial')} {plural(gone, 'was', 'were')} refused for the study; one that "
        "was refused for several reasons counts under each."
    )
    rows = [
        [trials, reason, ", ".join(people[:20]) + (f" and {len(people) - 20} more" if len(people) > 20 else "")]
        for reason, trials, people in refusals(table)
    ]
    columns = [Column("trials"), Column("reason", WIDE), Column("participants", WIDE)]
    shown = Table("Refused trials by reason", columns, rows[:REASONS])
    return [head, Text(words), shown, *more(len(rows) - REASONS, "reasons", where)]


def measured(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """The columns that hold at least one number, (N,) float64 with NaN for unknown; shares in %."""
    columns = {}
    for name in COLUMNS:
        if name in table.column_names:
            values = pc.cast(table[name], pa.float64()).to_numpy()
            if np.isfinite(values).any():
                columns[name] = values * 100 if name.endswith("_share") else values
    return columns


def _with_stand_ins(names: tuple[str, ...], columns: dict[str, NDArray[np.float64]]) -> list[str]:
    """Those of `names` that were measured; px where deg were not."""
    chosen = [name if name in columns else IN_PIXELS.get(name, name) for name in names]
    return [name for name in chosen if name in columns]


def distribution(
    columns: Mapping[str, NDArray[np.float64]], label: str = "Data quality over trials", noun: str = "trial"
) -> Table:
    """Per column: name, trials measured, minimum, 5th percentile, median, 95th percentile, maximum."""
    rows = []
    for name, values in columns.items():
        finite = values[np.isfinite(values)]
        title, digits = COLUMNS[name]
        spread = np.percentile(finite, [0, 5, 50, 95, 100])
        rows.append([title, finite.size, *(number(value, digits) for value in spread)])
    heads = (f"{noun}s", "minimum", "5th percentile", "median", "95th percentile", "maximum")
    return Table(label, [Column(f"per {noun}", ROW), *map(Column, heads)], rows)


class Medians(NamedTuple):
    """Per participant, by name: trials read and refused, (P,), and medians of what was measured, NaN for unknown."""

    names: list[str]
    trials: NDArray[np.int64]
    refused: NDArray[np.int64]
    columns: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, table: pa.Table) -> Medians:
        """Those of a table with a row per trial."""
        coded = table["participant"].combine_chunks().dictionary_encode()
        found = [str(name) for name in coded.dictionary.to_pylist()]
        names = sorted(found)
        places = {name: place for place, name in enumerate(names)}
        people = np.array([places[name] for name in found], dtype=np.int64)[coded.indices.to_numpy()]
        refused = np.array([bool(gate) for gate in _gates(table)])
        columns, count = measured(table), len(names)
        chosen = _with_stand_ins(PER_PARTICIPANT, columns)
        return cls(
            names,
            np.bincount(people, minlength=count),
            np.bincount(people[refused], minlength=count),
            {name: medians(people, columns[name], count) for name in chosen},
        )


def medians(groups: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The medians (count,) of the finite values (N,) of groups (N,), 0 to count - 1; NaN for one without values."""
    finite = np.isfinite(values)
    groups, values = groups[finite], values[finite]
    values = values[np.lexsort((values, groups))]
    sizes = np.bincount(groups, minlength=count)
    starts, there = np.cumsum(sizes) - sizes, sizes > 0
    found = np.full(count, np.nan)
    low, high = (starts + (sizes - 1) // 2)[there], (starts + sizes // 2)[there]
    found[there] = (values[low] + values[high]) / 2
    return found


def participants(people: Medians, shown: Sequence[int]) -> Table:
    """A row per participant that is shown: name, trials read, trials refused where there are any, medians."""
    gate = bool(people.refused.any())
    rows = [
        [
            people.names[row],
            int(people.trials[row]),
            *([int(people.refused[row])] if gate else []),
            *(number(values[row], COLUMNS[name][1]) if np.isfinite(values[row]) else "not measured"
              for name, values in people.columns.items()),
        ]
        for row in shown
    ]  # fmt: skip
    heads = ["trials read", *(["trials refused"] if gate else []), *(COLUMNS[name][0] for name in people.columns)]
    return Table("Data quality per participant", [Column("participant", NAME), *map(Column, heads)], rows)


def _gates(table: pa.Table) -> list[str]:
    """Per trial why the gate refused it, "" when it did not."""
    if "gate" not in table.column_names:
        return [""] * table.num_rows
    return list(pc.fill_null(table["gate"], "").to_pylist())


def refusals(table: pa.Table) -> list[tuple[str, int, list[str]]]:
    """(reason, refused trials, participants), most trials first; without what was measured in the trial itself.

    A trial that was refused for several reasons (joined by "; ") counts under each.
    """
    trials: dict[str, list[str]] = defaultdict(list)
    refused = table.filter(pc.not_equal(pc.fill_null(table["gate"], ""), ""))
    for name, gate in zip(refused["participant"].to_pylist(), refused["gate"].to_pylist(), strict=True):
        for reason in filter(None, gate.split("; ")):
            trials[general_reason(reason)].append(str(name))
    rows = [(reason, len(names), sorted(set(names))) for reason, names in trials.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def general_reason(gate: str) -> str:
    """One reason without the trial's own figure: "lost_share 0.62 > limit 0.5" becomes "lost_share > limit 0.5"."""
    return re.sub(r"^(\w+) (?:nan|[-+]?[\d.]+(?:e[-+]?\d+)?) (?=[<>])", r"\1 ", gate)


@figures.drawing()
def histograms(columns: Mapping[str, NDArray[np.float64]]) -> Any:
    """One histogram of trials per column: axis label with its unit -> (N,) values, NaN left out. Dashed: the median.

    A column whose values are all the same (to four digits, as written) is a sentence instead: bars would show rounding.
    """
    rows, across = figures.grid(len(columns), 4)
    width_in = figures.PAGE_IN if across > 2 else 2.4 * across + 0.5
    figure, axes = figures.panels(len(columns), across, width_in, 2.1 * rows)
    for index, (axis, (label, values)) in enumerate(zip(axes, columns.items(), strict=True)):
        finite = values[np.isfinite(values)]
        if finite.size and _all_equal(finite):
            same = f"{finite[0]:.4g} in all\n{counted(finite.size, 'trial')}"
            axis.text(0.5, 0.5, same, ha="center", va="center", transform=axis.transAxes)
            axis.set(xticks=[], yticks=[])
        elif finite.size:
            axis.hist(finite, bins=bins(finite), color=figures.BLUE)
            axis.axvline(np.median(finite), color=figures.VERMILION, linestyle="--", linewidth=1.2)
        else:
            axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes)
        axis.set(xlabel=label, ylabel="trials" if index % across == 0 else "")
        if not finite.size or not _all_equal(finite):
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    return figure


def _all_equal(values: NDArray[np.float64]) -> bool:
    low, high = float(values.min()), float(values.max())
    return high - low <= 1e-5 * max(abs(low), abs(high))


def bins(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of at most 24 bins; bins of whole numbers hold equally many of them, so that no false gaps appear."""
    low, high = float(values.min()), float(values.max())
    if np.array_equal(values, np.round(values)):
        step = math.ceil((high - low + 1) / 24)
        return np.arange(low - 0.5, high + step, step)
    return np.linspace(low, high, min(24, max(8, int(math.sqrt(values.size)))) + 1)
