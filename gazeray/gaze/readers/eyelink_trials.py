# SPDX-License-Identifier: Apache-2.0
"""What the messages of an EyeLink .asc file say of trials: where each begins and ends, its variables, the accuracy that
the tracker measured before it.

Source: EyeLink Data Viewer user manual (SR Research), "Protocol for EyeLink Data to Viewer Integration"; SR Research
support, "How can I take advantage of the timing offset in sending messages?".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gazeray.gaze.readers.base import GazeFile, ReadError
from gazeray.gaze.readers.eyelink_lines import Events, Message, number
from gazeray.gaze.readers.text import Spans, bracketed, spans_by_messages

TRIAL_START = re.compile(r"^TRIALID\b[:\s]*(?P<trial>\S*)")
TRIAL_END = re.compile(r"^TRIAL_RESULT\b")
OFFSET = re.compile(r"^([-+]?\d+)\s+(?=\S)")
VARIABLE = re.compile(r"^(?:!V\s+)?TRIAL_VAR(?P<kind>_LABELS|_DATA)?\s+(?P<said>.+)", re.DOTALL)
VALIDATION = re.compile(
    r"^!CAL VALIDATION\b.*\b(?P<eye>LEFT|RIGHT)\b.*\bERROR\s+"
    r"(?P<mean>\d+(?:[.,]\d+)?)\s+avg\.?\s+(?P<max>\d+(?:[.,]\d+)?)\s+max"
)

LONGEST_OFFSET_MS = 600e3
"""A message may be sent when its trial is over; a larger number before it is the message's own."""

PART_MS = 2.0**42
"""By so much a part of a file in which the clock has started again is put later: times then order the whole file."""

SAME_VALIDATION_MS = 1e3
"""The two eyes of a validation are reported within this time."""


@dataclass(frozen=True)
class Clock:
    """The tracker's clock over a whole file; `restarts` are the lines from which on it counts anew."""

    restarts: list[int]

    def order(self, lines: np.ndarray, ms: np.ndarray) -> np.ndarray:
        """(N,) times (N,) on lines (N,), those of later parts of the file later by PART_MS each."""
        return ms + PART_MS * np.searchsorted(self.restarts, lines, side="right") if self.restarts else ms


@dataclass(frozen=True)
class Trials:
    """The presentations of a file, S in all.

    spans    positions: lines where `by_line`, else times as `Clock.order` has them
    begins   (S,) before which position something was said before the presentation
    """

    clock: Clock
    spans: Spans
    by_line: bool
    begins: np.ndarray

    def positions(self, lines: np.ndarray, ms: np.ndarray) -> np.ndarray:
        """(N,) of lines (N,) and their times (N,)."""
        return lines if self.by_line else self.clock.order(lines, ms)

    def holding(self, starts: np.ndarray, ends: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The rows that lie in presentations, or last into them from position to position (N,): index of the row (M,)
        and of the presentation (M,)."""
        if ends is None or self.by_line:
            codes = self.spans.codes(starts)
            return np.flatnonzero(codes >= 0), codes[codes >= 0]
        return self.spans.overlapping(starts, ends)

    @property
    def windows(self) -> np.ndarray | None:
        """(S, 2) ms on the clock of the file; None where no times bracket trials."""
        if self.by_line:
            return None
        windows = self.spans.windows
        windows = windows - PART_MS * np.floor(windows[:, :1] / PART_MS + 0.5)
        return np.where(windows < PART_MS / 2, windows, np.inf)


def find_clock(events: Events) -> Clock:
    """Where the clock starts again: at a START that lies before the END of the block before it (or at the first message
    between them that does so too), or where a further converted file begins."""
    restarts = [line for line in events.converted if events.blocks and line > events.blocks[0]]
    last, last_ms = -1, -np.inf
    for line, block in sorted([(line, True) for line in events.blocks] + [(line, False) for line in events.ends]):
        ms = events.ms[line]
        if np.isnan(ms):
            continue
        if block and ms < last_ms - 10 and not any(last < restart <= line for restart in restarts):
            back = (said.line for said in events.messages if last < said.line < line and said.ms < last_ms)
            restarts.append(min(back, default=line))
        last, last_ms = line, ms if block else max(ms, last_ms)
    return Clock(sorted(restarts))


def find_trials(file: GazeFile, events: Events) -> Trials:
    """The presentations of trials: what `spec.messages` bracket; else the whole file where the path names the trial;
    else TRIALID ... TRIAL_RESULT; else the START ... END blocks. A trial ends at the latest where the clock restarts.

    Raises ReadError when no message begins a trial.
    """
    spec, name, clock = file.spec.messages, file.fixed.get("trial"), find_clock(events)
    if spec is not None:
        patterns = [re.compile(pattern) for pattern in (spec.start, spec.end) if pattern]
        spans = spans_by_messages(_moved(events.messages, clock, patterns), spec, file.source)
    elif name is not None:
        begins = np.array([events.blocks[0] if events.blocks else np.inf])
        return Trials(clock, Spans([name], [-np.inf], [np.inf]), True, begins)
    elif any(TRIAL_START.search(_apart(said.text)[1]) for said in events.messages):
        spans = bracketed(_moved(events.messages, clock, [TRIAL_START, TRIAL_END]), TRIAL_START, TRIAL_END)
    else:
        spans = _blocks(events)
        return Trials(clock, spans, True, np.array(spans.starts))
    ends = [
        min(end, PART_MS * (np.floor(start / PART_MS + 0.5) + 0.5))
        for start, end in zip(spans.starts, spans.ends, strict=True)
    ]
    names = spans.names if name is None else [name] * len(spans.names)
    return Trials(clock, Spans(names, spans.starts, ends), False, np.array(spans.starts))


def name_notes(file: GazeFile, events: Events) -> list[str]:
    """A note where TRIALID names the trials and says more than a name."""
    if file.spec.messages is not None or "trial" in file.fixed:
        return []
    said = (_apart(said.text)[1] for said in events.messages)
    more = next((text for text in said if TRIAL_START.search(text) and TRIAL_START.sub("", text).strip()), "")
    hint = "of several words behind TRIALID the first names the trial; for more declare messages"
    return [f"{hint}: {more[:60]}"] if more else []


def _blocks(events: Events) -> Spans:
    """The START ... END blocks, in lines."""
    ends, blocks = np.array([*events.ends, np.inf]), events.blocks or [0]
    own = [float(ends[np.searchsorted(ends, start)]) for start in blocks]
    stops = [min(end, then) for end, then in zip(own, [*blocks[1:], np.inf], strict=True)]
    return Spans([str(place + 1) for place in range(len(blocks))], [float(start) for start in blocks], stops)


def _apart(text: str) -> tuple[float, str]:
    """The offset in ms with which a message begins (0: none), and what stands behind it."""
    found = OFFSET.match(text)
    if found is None:
        return 0.0, text
    offset = float(found[1])
    return offset if abs(offset) <= LONGEST_OFFSET_MS else 0.0, text[found.end() :]


def _moved(messages: Sequence[Message], clock: Clock, patterns: Sequence[re.Pattern[str]]) -> list[tuple[float, str]]:
    """When what messages tell of happened, as `Clock.order` has it, and their text, in order of time.

    "1234 -13 SYNCTIME" was sent at 1234 and means 1234 - (-13). A number that a pattern asks for itself, or takes for
    the trial's name, is no offset. Messages without a time are left out.
    """
    moved = []
    for said in messages:
        if np.isnan(said.ms):
            continue
        offset, text = _apart(said.text)
        if text != said.text and not any(pattern.search(text) for pattern in patterns):
            found = [match for pattern in patterns if (match := pattern.search(said.text))]
            named = any("trial" in match.re.groupindex and match.start("trial") == 0 for match in found)
            whatever = any(match.re.search(f"{offset + 1:.0f} {text}") for match in found)
            offset, text = offset if whatever and not named else 0.0, said.text
        moved.append((said.line, said.ms - offset, text))
    lines, ms = (np.array([row[at] for row in moved], dtype=np.float64) for at in (0, 1))
    order = clock.order(lines, ms)
    return [(float(order[at]), moved[at][2]) for at in np.argsort(order, kind="stable")]


def accuracy(trials: Trials, messages: Sequence[Message]) -> list[dict[str, float]]:
    """What the last validation before each presentation found, deg, `tables.ACCURACY`: the mean and the largest error
    of each eye. A validation that was aborted does not count. Empty without any validation."""
    found: list[tuple[float, dict[str, float]]] = []
    last = np.nan
    for said in messages:
        match = VALIDATION.search(said.text)
        if match is None or np.isnan(said.ms):
            continue
        eye = match["eye"].lower()
        own = {f"validation_{eye}_deg": number(match["mean"]), f"validation_{eye}_max_deg": number(match["max"])}
        position = float(trials.positions(np.array([said.line]), np.array([said.ms]))[0])
        if found and abs(said.ms - last) <= SAME_VALIDATION_MS and not found[-1][1].keys() & own.keys():
            found[-1][1].update(own)
        else:
            found.append((position, own))
        last = said.ms
    if not found:
        return []
    found.sort(key=lambda one: one[0])
    before = [bisect_right(found, begin, key=lambda one: one[0]) for begin in trials.begins.tolist()]
    return [dict(found[count - 1][1]) if count else {} for count in before]


def tell_trials(file: GazeFile, events: Events) -> tuple[list[str], list[list[str]]]:
    """What a file says of its trials: trial and the names of variables, and a row for each presentation.

    Variables (`!V TRIAL_VAR name value`, or TRIAL_VAR_LABELS and `!V TRIAL_VAR_DATA values`) belong to the TRIALID
    before them, and so to the presentations that begin between it and the next; without TRIALID to the presentation
    that has begun. The last value counts. One called trial or participant gets the name var_trial, var_participant.
    Raises ReadError where another file tells the trials, and for messages that never match.
    """
    if file.spec.windows or (file.spec.messages is not None and file.spec.messages.file is not None):
        raise ReadError(file.source, "its trials are told by another file: give a table of trials")
    trials = find_trials(file, events)
    marks, owner = _owners(trials, events)
    values: list[dict[str, str]] = [{} for _ in range(max([*marks, *owner], default=-1) + 1)]
    labels: list[str] = []
    for said, mark in zip(events.messages, owner, strict=True):
        found = VARIABLE.match(_apart(said.text)[1])
        if found is not None and found["kind"] == "_LABELS":
            labels = found["said"].split()
        elif found is not None and mark >= 0 and not np.isnan(said.ms):
            values[mark].update(_variables(found, labels))
    names = list(dict.fromkeys(name for own in values for name in own))
    rows = [
        [trial, *(values[mark].get(name, "") if mark >= 0 else "" for name in names)]
        for trial, mark in zip(trials.spans.names, marks, strict=True)
    ]
    taken = ("trial", "participant")
    return ["trial", *(f"var_{name}" if name in taken else name for name in names)], rows


def _variables(found: re.Match[str], labels: Sequence[str]) -> dict[str, str]:
    """The variables of one message. Values stand between tabs where these make as many as there are labels, so that one
    may hold blanks, else between blanks. Of values that have no label the last label gets what is left, or VAR1, VAR2,
    ... are their names."""
    if found["kind"] is None:
        name, *value = found["said"].split(None, 1)
        return {name: value[0].strip() if value else ""}
    values = found["said"].split("\t")
    if len(values) != len(labels):
        values = found["said"].split(None, len(labels) - 1) if labels else found["said"].split()
    names = labels or [f"VAR{place + 1}" for place in range(len(values))]
    return dict(zip(names, (value.strip() for value in values), strict=False))


def _owners(trials: Trials, events: Events) -> tuple[list[int], list[int]]:
    """Which set of variables belongs to each presentation, and which to each message; -1: none."""
    heads = [said for said in events.messages if TRIAL_START.search(_apart(said.text)[1]) and said.ms == said.ms]
    lines = np.array([said.line for said in events.messages], dtype=np.float64)
    ms = np.array([said.ms for said in events.messages], dtype=np.float64)
    if np.isneginf(trials.spans.starts[:1]).all() or not heads:
        starts = np.array(trials.spans.starts)
        owner = np.searchsorted(starts, trials.positions(lines, ms), side="right") - 1
        return list(range(len(starts))), owner.tolist()
    at = np.array([said.line for said in heads], dtype=np.float64)
    begun = trials.positions(at, np.array([said.ms - _apart(said.text)[0] for said in heads]))
    order = np.argsort(begun, kind="stable")
    mine = np.searchsorted(begun[order], np.array(trials.spans.starts), side="right") - 1
    marks = [int(order[place]) if place >= 0 else -1 for place in mine]
    return marks, (np.searchsorted(at, lines, side="right") - 1).tolist()
