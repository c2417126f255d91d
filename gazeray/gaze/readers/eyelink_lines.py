# SPDX-License-Identifier: Apache-2.0
"""The lines of an EyeLink .asc file: which are samples, what the others say, and the samples as numbers.

The layout is that of the EyeLink user manual (SR Research, "The ASC File Format"): a sample line begins with its time,
any other line with a word. Sample lines are found and parsed in bulk; only the other lines are looked at one by one.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from gazeray.gaze.readers.base import ReadError
from gazeray.gaze.readers.cells import MISSING_CELLS, Numbers, as_numbers
from gazeray.gaze.readers.text import Eyes, as_text

MOST_FIELDS = 99
EYES = {"L": "left", "R": "right", "LEFT": "left", "RIGHT": "right"}
COLUMNS = {1: ("x0", "y0", "pupil0"), 2: ("x0", "y0", "pupil0", "x1", "y1", "pupil1")}
"""The columns behind the time, by the number of eyes; behind them velocity, resolution, input, target, flags."""

MISSING = (-32768.0, 1e8)
"""What the tracker's library (MISSING_DATA, NaN of the EDF access library) has for a coordinate that is lost."""


@dataclass(frozen=True)
class Layout:
    """What a START, SAMPLES or EVENTS line says of the lines behind it: its line, eyes (left first), other words."""

    line: int
    eyes: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def rate_hz(self) -> float | None:
        """The sampling rate behind the word RATE."""
        try:
            return number(self.words[self.words.index("RATE") + 1])
        except (ValueError, IndexError):
            return None


class Message(NamedTuple):
    """A MSG line: its line, its time (NaN: none), its text."""

    line: int
    ms: float
    text: str


@dataclass(frozen=True)
class Event:
    """An eye event line: its line, its eye, its numbers (start, end, duration, ...) as text."""

    line: int
    eye: str
    cells: tuple[str, ...]


@dataclass
class Events:
    """What the lines that are not samples say. Lines count from 0.

    blocks     the lines of START; `ends` those of END
    ms         line of a START or END -> its time, NaN where it has none
    converted  the lines with which a converted file begins: more than one where files were put behind each other
    pupils     what the pupil's size is: AREA, DIAMETER
    layouts    by START, SAMPLES, EVENTS
    eye        by SFIX, EFIX, SBLINK, EBLINK, ESACC, ...
    """

    messages: list[Message] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    ms: dict[int, float] = field(default_factory=dict)
    converted: list[int] = field(default_factory=list)
    pupils: set[str] = field(default_factory=set)
    layouts: dict[str, list[Layout]] = field(default_factory=lambda: {"START": [], "SAMPLES": [], "EVENTS": []})
    eye: dict[str, list[Event]] = field(default_factory=dict)

    def add(self, line: int, text: str) -> None:
        """Take in one line."""
        word, *rest = text.split()
        if word == "MSG":
            said = text.split(None, 2)[2].strip() if len(rest) > 1 else ""
            self.messages.append(Message(line, numbers(rest[:1])[0] if rest else np.nan, said))
        elif word in self.layouts:
            eyes = tuple(sorted({EYES[part] for part in rest if part in EYES}))
            self.layouts[word].append(Layout(line, eyes, tuple(rest)))
            if word == "START":
                self.blocks.append(line)
                self.ms[line] = numbers(rest[:1])[0] if rest else np.nan
        elif word == "END":
            self.ends.append(line)
            self.ms[line] = numbers(rest[:1])[0] if rest else np.nan
        elif word == "**" and rest[:2] == ["CONVERTED", "FROM"]:
            self.converted.append(line)
        elif word == "PUPIL" and rest[:1] in (["AREA"], ["DIAMETER"]):
            self.pupils.add(rest[0])
        elif word[1:] in ("FIX", "SACC", "BLINK") and rest and rest[0] in EYES:
            self.eye.setdefault(word, []).append(Event(line, EYES[rest[0]], tuple(rest[1:])))


def number(cell: str) -> float:
    """A cell as a number, with a decimal point or comma. Raises ValueError when it is none."""
    return float(cell.replace(",", "."))


def numbers(cells: Sequence[str]) -> list[float]:
    """Cells as numbers; NaN where there is none."""
    values = []
    for cell in cells:
        try:
            values.append(number(cell))
        except ValueError:
            values.append(np.nan)
    return values


@dataclass(frozen=True)
class Lines:
    """The lines of a file: where each begins and ends in `data` (bytes), and which (n,) are sample lines."""

    data: bytes
    starts: np.ndarray
    ends: np.ndarray
    samples: np.ndarray

    def events(self) -> Events:
        """What the lines that are not samples say."""
        found = Events()
        first = np.frombuffer(self.data, np.uint8)[np.minimum(self.starts, len(self.data) - 1)]
        for line in np.flatnonzero(np.isin(first, np.frombuffer(b"MSEP*", np.uint8))).tolist():
            found.add(line, as_text(self.data[self.starts[line] : self.ends[line]]))
        return found

    def sample_fields(self) -> np.ndarray:
        """(n,) tab-separated fields in each sample line; at most MOST_FIELDS."""
        if not len(self.samples):
            return np.empty(0, np.int64)
        tabs = (np.frombuffer(self.data, np.uint8) == ord("\t")).view(np.uint8)
        counts = np.add.reduceat(tabs, self.starts, dtype=np.uint16)[self.samples]
        return np.minimum(counts, MOST_FIELDS - 1).astype(np.int64) + 1

    def joined(self, lines: np.ndarray) -> bytes:
        """The bytes of some lines, in order."""
        breaks = np.flatnonzero(np.diff(lines) != 1)
        first, last = lines[np.r_[0, breaks + 1]], lines[np.r_[breaks, len(lines) - 1]]
        view = memoryview(self.data)
        runs = zip(self.starts[first].tolist(), (self.ends[last] + 1).tolist(), strict=True)
        return b"".join([view[start:end] for start, end in runs])


def split_lines(data: bytes) -> Lines:
    """Find the lines and the sample lines of a file whose lines end with a line feed.

    Sample fields that are set apart by blanks instead of tabs are brought to tabs.
    """
    lines = _split(data)
    if len(lines.samples) and b"\t" not in data[lines.starts[lines.samples[0]] : lines.ends[lines.samples[0]]]:
        rows = data.split(b"\n")
        data = b"\n".join(b"\t".join(row.split()) if row[:1].isdigit() else row for row in rows)
        lines = _split(data)
    return lines


def _split(data: bytes) -> Lines:
    signs = np.frombuffer(data, np.uint8)
    feeds = np.flatnonzero(signs == ord("\n"))
    ends = feeds if len(feeds) and feeds[-1] == len(data) - 1 else np.r_[feeds, len(data)]
    starts = np.r_[0, ends[:-1] + 1]
    first = signs[starts]
    return Lines(data, starts, ends, np.flatnonzero((first >= ord("0")) & (first <= ord("9"))))


@dataclass(frozen=True)
class Samples:
    """The samples of a file.

    lines     (n,) the line of each, from 0
    time_ms   (n,)
    eyes      eye -> x and y, each (n,), px, NaN where lost
    pupils    eye -> (n,) size of the pupil, NaN where lost
    recorded  eye -> (n,) bool, whether the eye was recorded then
    broken    line -> what is wrong with it
    """

    lines: np.ndarray
    time_ms: np.ndarray
    eyes: Eyes
    pupils: dict[str, np.ndarray]
    recorded: dict[str, np.ndarray]
    broken: dict[int, str]


def parse_samples(lines: Lines, events: Events, source: str) -> Samples:
    """The sample lines as numbers, each read by the START or SAMPLES line before it.

    A line is broken when it has another number of fields than most lines of its block, or when its time or a coordinate
    is not a number. Raises ReadError when the file has no sample line or does not hold gaze in px.
    """
    layouts = sorted(events.layouts["START"] + events.layouts["SAMPLES"], key=lambda layout: layout.line)
    check_gaze(events.layouts["SAMPLES"], source, "samples", "-sg")
    n, fields = len(lines.samples), lines.sample_fields()
    if not n:
        raise ReadError(source, "no sample line (converted with edf2asc -e, or not an EyeLink .asc file)")
    eyes = sorted({eye for layout in layouts for eye in layout.eyes})
    if not eyes:
        raise ReadError(source, "no START or SAMPLES line says which eyes were recorded: convert without -s or -ne")
    time = np.full(n, np.nan)
    broken: dict[int, str] = {}
    values = {eye: np.full((3, n), np.nan) for eye in eyes}
    recorded = {eye: np.zeros(n, dtype=bool) for eye in eyes}
    for (names, usual), index in _groups(lines, layouts, fields, broken).items():
        columns = _columns(lines.joined(lines.samples[index]), len(names), usual)
        bad = np.zeros(len(index), dtype=bool)
        for name, column in columns.items():
            for where in np.flatnonzero(column.bad & ~bad).tolist():
                broken[int(lines.samples[index[where]])] = column.fault(where, name)
            bad |= column.bad
        timeless = np.isnan(columns["time"].values) & ~bad
        broken |= dict.fromkeys(lines.samples[index[timeless]].tolist(), "no time")
        time[index] = columns["time"].values
        for place, eye in enumerate(names):
            for row, name in enumerate(("x", "y", "pupil")):
                values[eye][row, index] = columns[f"{name}{place}"].values
            recorded[eye][index] = True
    good = ~np.isin(lines.samples, list(broken)) if broken else slice(None)
    gaze, pupils = {}, {}
    for eye, (x, y, pupil) in values.items():
        lost = _lost(x, y, pupil)
        gaze[eye] = (np.where(lost, np.nan, x)[good], np.where(lost, np.nan, y)[good])
        pupils[eye] = np.where(pupil > 0, pupil, np.nan)[good]
    marks = {eye: mask[good] for eye, mask in recorded.items()}
    return Samples(lines.samples[good], time[good], gaze, pupils, marks, broken)


def _lost(x: np.ndarray, y: np.ndarray, pupil: np.ndarray) -> np.ndarray:
    """(n,) bool: where numbers stand for lost gaze: those of the tracker's library, and that of edf2asc -miss, which is
    in both coordinates while there is no pupil."""
    lost = np.isin(x, MISSING) | np.isin(y, MISSING)
    if (pupil > 0).any():
        lost |= (x == y) & ~(pupil > 0)
    return lost


def most_common(counts: np.ndarray) -> int:
    """The number that is there most often in (n,), the largest of several: a line is cut more often than it grows."""
    times = np.bincount(counts)
    return int(len(times) - 1 - times[::-1].argmax())


def check_gaze(layouts: list[Layout], source: str, what: str, option: str) -> None:
    """Raises ReadError when lines hold angles of the eye (HREF) or pupil positions (RAW, PUPIL), not gaze in px."""
    for layout in layouts:
        other = [word for word in layout.words if word in ("HREF", "RAW", "PUPIL")]
        if other:
            how = f"convert the .edf with edf2asc {option}" if option else "record them as gaze, or detect them anew"
            raise ReadError(source, f"the {what} are {other[0]} data, not gaze in px: {how}")


def _groups(
    lines: Lines, layouts: list[Layout], fields: np.ndarray, broken: dict[int, str]
) -> dict[tuple[tuple[str, ...], int], np.ndarray]:
    """(eyes, fields in a line) -> index of the sample lines of that layout; the others go into `broken`."""
    index: dict[tuple[tuple[str, ...], int], list[np.ndarray]] = {}
    cuts = np.searchsorted(lines.samples, [layout.line for layout in layouts])
    before = lines.samples[: cuts[0]].tolist()
    broken |= dict.fromkeys(before, "no START or SAMPLES line before it says which eyes were recorded")
    length = lines.ends[lines.samples] - lines.starts[lines.samples]
    for layout, start, end in zip(layouts, cuts, [*cuts[1:], len(lines.samples)], strict=True):
        if start == end:
            continue
        usual = most_common(fields[start:end])
        needed = 1 + 3 * len(layout.eyes)
        expected = usual if usual >= needed and layout.eyes else max(needed, 4)
        wrong = (fields[start:end] != expected) | (length[start:end] > 1000)  # bytes
        for at in (np.flatnonzero(wrong) + start).tolist():
            broken[int(lines.samples[at])] = f"{fields[at]} fields instead of {expected}"
        if layout.eyes and not wrong.all():
            index.setdefault((layout.eyes, expected), []).append(np.flatnonzero(~wrong) + start)
        elif not layout.eyes:
            unknown = lines.samples[start:end][~wrong].tolist()
            broken |= dict.fromkeys(unknown, "the line that begins its block names no eye")
    return {key: np.concatenate(parts) for key, parts in index.items()}


def _columns(data: bytes, n_eyes: int, n_fields: int) -> dict[str, Numbers]:
    """Time, coordinates and pupils of lines that all have `n_fields` fields. A pupil that is no number is lost, and so
    is gaze with the same word in both coordinates (edf2asc -miss WORD)."""
    wanted = ["time", *COLUMNS[n_eyes]]
    names = [*wanted, *(f"further{place}" for place in range(n_fields - len(wanted)))]
    try:  # twice: dots between tabs alone (edf2asc -t) share the tab
        plain = data.replace(b" .\t", b"nan\t").replace(b"\t.\t", b"\tnan\t").replace(b"\t.\t", b"\tnan\t")
        table = _parse(plain, names, wanted, pa.float64())
    except pa.ArrowInvalid:
        table = _parse(data.decode("latin-1").encode(), names, wanted, pa.string())
    found = {name: as_numbers(table[name]) for name in wanted}
    for place in range(n_eyes):
        x, y, pupil = (found[f"{name}{place}"] for name in ("x", "y", "pupil"))
        pupil.bad[:] = False
        if pa.types.is_string(x.cells.type):
            same = pc.equal(*(pc.utf8_trim_whitespace(cells) for cells in (x.cells, y.cells)))
            word = x.bad & y.bad & pc.fill_null(same, False).to_numpy()
            x.bad[word] = y.bad[word] = False
    return found


def _parse(data: bytes, names: list[str], wanted: list[str], kind: pa.DataType) -> pa.Table:
    """The wanted columns. Raises pyarrow.ArrowInvalid for a cell that is not of the kind."""
    return pa.csv.read_csv(
        io.BytesIO(data),
        read_options=pa.csv.ReadOptions(use_threads=False, column_names=names),  # parallelism is over files
        parse_options=pa.csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, kind), include_columns=wanted, null_values=list(MISSING_CELLS)
        ),
    )
