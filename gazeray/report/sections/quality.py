# SPDX-License-Identifier: Apache-2.0
"""The section on data quality: figures, distributions, one row per participant, and why trials were refused.

Columns that an older run did not write, or that could not be measured (no screen geometry), are left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.figure import Figure
from gazeray.report.results import Results
from gazeray.report.words import number

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
    "n_samples": ("samples per trial", 0),
    "n_fixations": ("fixations per trial", 0),
    "duration_ms": ("duration of a trial (ms)", 0),
}
"""Column of the quality table -> its name with the unit, digits after the point; in the order of the section."""

DRAWN = ("lost_share", "off_screen_share", "longest_gap_ms", "sampling_hz", "rms_s2s_deg", "bcea_deg2", "n_fixations",
         "duration_ms")  # fmt: skip
PER_PARTICIPANT = ("lost_share", "off_screen_share", "longest_gap_ms", "sampling_hz", "rms_s2s_deg", "bcea_deg2")
IN_PIXELS = {"rms_s2s_deg": "rms_s2s_px", "bcea_deg2": "bcea_px2"}
"""What stands in for a column in deg where the geometry of the screen is unknown."""

PARTICIPANTS, REASONS, NOTES = 200, 30, 50


@dataclass(frozen=True)
class Refusals:
    """Trials that the quality gate refused for one reason: how many, of whom."""

    reason: str
    trials: int
    participants: list[str]


@dataclass(frozen=True)
class Quality:
    """What the section shows; everything is empty when the run recorded no quality."""

    precision: bool = False
    distribution: list[list[str]] = field(default_factory=list)
    participant_columns: list[str] = field(default_factory=list)
    participants: list[list[str]] = field(default_factory=list)
    more_participants: int = 0
    trials: int = 0
    gated: bool = False
    refused: int = 0
    refusals: list[Refusals] = field(default_factory=list)
    more_reasons: int = 0
    notes: list[str] = field(default_factory=list)
    more_notes: int = 0


def read_quality(results: Results) -> Quality:
    """The quality table and the manifest's notes on recordings as rows of text."""
    notes = [str(note) for note in results.manifest.get("notes_on_recordings") or []]
    table = results.quality
    if not table.num_rows:
        return Quality(notes=notes[:NOTES], more_notes=max(0, len(notes) - NOTES))
    columns = measured(table)
    chosen = _with_stand_ins(PER_PARTICIPANT, columns)
    gates = _gates(table)
    refusals = _refusals(table, gates)
    people = _participant_rows(table, columns, chosen, gates)
    return Quality(
        precision=any(name.startswith(("rms_", "bcea_")) for name in columns),
        distribution=_distribution(columns),
        participant_columns=[COLUMNS[name][0] for name in chosen],
        participants=people[:PARTICIPANTS],
        more_participants=max(0, len(people) - PARTICIPANTS),
        trials=table.num_rows,
        gated="gate" in table.column_names,
        refused=sum(bool(gate) for gate in gates),
        refusals=refusals[:REASONS],
        more_reasons=max(0, len(refusals) - REASONS),
        notes=notes[:NOTES],
        more_notes=max(0, len(notes) - NOTES),
    )


def measured(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """The columns that hold at least one number, (N,) float64 with NaN for unknown; shares in %."""
    columns = {}
    for name in COLUMNS:
        if table.num_rows and name in table.column_names:
            values = pc.cast(table[name], pa.float64()).to_numpy()
            if np.isfinite(values).any():
                columns[name] = values * 100 if name.endswith("_share") else values
    return columns


def quality_figure(results: Results) -> Figure | None:
    """Histograms of the quality table; None when it holds no number."""
    columns = measured(results.quality)
    drawn = {COLUMNS[name][0]: columns[name] for name in _with_stand_ins(DRAWN, columns)}
    if not drawn:
        return None
    alt = "Histograms over trials: " + ", ".join(drawn) + ". The table below gives the figures."
    caption = f"Quality of the {results.quality.num_rows} trials that were read. Dashed: median."
    return Figure("quality", figures.histograms(drawn), alt, caption)


def _with_stand_ins(names: tuple[str, ...], columns: dict[str, NDArray[np.float64]]) -> list[str]:
    """Those of `names` that were measured; px where deg were not."""
    chosen = [name if name in columns else IN_PIXELS.get(name, name) for name in names]
    return [name for name in chosen if name in columns]


def _distribution(columns: dict[str, NDArray[np.float64]]) -> list[list[str]]:
    """Per column: name, trials measured, minimum, 5th percentile, median, 95th percentile, maximum."""
    rows = []
    for name, values in columns.items():
        finite = values[np.isfinite(values)]
        title, digits = COLUMNS[name]
        spread = np.percentile(finite, [0, 5, 50, 95, 100])
        rows.append([title, str(finite.size), *(number(value, digits) for value in spread)])
    return rows


def _participant_rows(
    table: pa.Table, columns: dict[str, NDArray[np.float64]], chosen: list[str], gates: list[str]
) -> list[list[str]]:
    """Per participant: name, trials read, trials refused, and the medians over the trials of the chosen columns."""
    names = np.array(table["participant"].to_pylist(), dtype=object)
    refused = np.array([bool(gate) for gate in gates])
    rows = []
    for name in sorted(set(names)):
        mine = names == name
        row = [str(name), str(int(mine.sum())), str(int(refused[mine].sum()))]
        for column in chosen:
            values = columns[column][mine]
            values = values[np.isfinite(values)]
            row.append(number(float(np.median(values)), COLUMNS[column][1]) if values.size else "not measured")
        rows.append(row)
    return rows


def _gates(table: pa.Table) -> list[str]:
    """Per trial why the gate refused it, "" when it did not."""
    if "gate" not in table.column_names:
        return [""] * table.num_rows
    return [gate or "" for gate in table["gate"].to_pylist()]


def _refusals(table: pa.Table, gates: list[str]) -> list[Refusals]:
    """Refused trials by reason, most first; the reason without what was measured in the trial itself.

    A trial that was refused for several reasons (joined by "; ") counts under each.
    """
    trials: dict[str, list[str]] = defaultdict(list)
    for name, gate in zip(table["participant"].to_pylist(), gates, strict=True):
        for reason in filter(None, gate.split("; ")):
            trials[general_reason(reason)].append(str(name))
    rows = [Refusals(reason, len(names), sorted(set(names))) for reason, names in trials.items()]
    return sorted(rows, key=lambda row: (-row.trials, row.reason))


def general_reason(gate: str) -> str:
    """One reason without the trial's own figure: "lost_share 0.62 > limit 0.5" becomes "lost_share > limit 0.5"."""
    return re.sub(r"^(\w+) (?:nan|[-+]?[\d.]+(?:e[-+]?\d+)?) (?=[<>])", r"\1 ", gate)
