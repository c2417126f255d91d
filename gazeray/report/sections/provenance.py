# SPDX-License-Identifier: Apache-2.0
"""Where the data come from: what the declaration says of people, tracker and screen, and what the files themselves say.
What neither says is named.

The facts are those of the declaration's section `study`, after Dunn et al. (2024). What is missing is not stated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gazeray.report.blocks import Block, Section, Terms, Text
from gazeray.report.results import Results
from gazeray.report.words import counted, number

SIMULATED = "simulated"
"""What `data.dataset` is called of data that no one was recorded for."""

FACTS = {
    "population.who": "who took part",
    "population.asked": "people who were asked",
    "population.took_part": "people who took part",
    "population.age": "age",
    "population.vision": "vision",
    "sampling": "how they were found",
    "exclusions": "who and what was left out before",
    "task": "task",
    "outcome": "outcome",
    "labels_from": "where the labels come from",
    "preregistration": "preregistration",
    "ethics": "ethics approval",
    "consent": "consent",
    "data.doi": "data: DOI",
    "data.url": "data: address",
    "data.version": "data: version",
    "data.paper": "paper: DOI",
    "licence": "licence",
    "tracker.make": "eye tracker: make",
    "tracker.model": "eye tracker: model",
    "tracker.technology": "eye tracker: technology",
    "tracker.software": "eye tracker: software and firmware",
    "tracker.filter": "eye tracker: filter",
    "tracker.rate_hz": "sampling rate (Hz)",
    "tracker.latency_ms": "latency (ms)",
    "tracker.eyes": "eyes recorded",
    "tracker.head_support": "head support",
    "calibration.procedure": "calibration",
    "calibration.points": "calibration: targets",
    "calibration.accuracy_deg": "accuracy (deg)",
    "calibration.precision_deg": "precision (deg)",
    "calibration.precision_measure": "measure of precision",
    "screen.make": "screen: make and model",
    "screen.width_mm": "screen: width (mm)",
    "screen.height_mm": "screen: height (mm)",
    "screen.distance_mm": "distance to the screen (mm)",
    "screen.refresh_hz": "screen: refresh rate (Hz)",
    "environment.place": "place",
    "environment.lighting": "lighting",
}
"""Fact of the section `study` (and the licence, which stands beside it) -> its name; in the order of the page."""

NOBODY = (
    "These data are simulated: nobody was recorded, and no eye tracker was used. What is found here says nothing about "
    "people."
)

RATE, OFTEN = 0.05, 0.05
"""How far a rate may be from the one declared, and in which share of the trials it may be farther."""

SIZE = 0.01
"""How far sizes of the screen that are declared twice may be from each other."""


def simulated(results: Results) -> bool:
    """Are the data the embedded ones?"""
    return (results.config.get("data") or {}).get("dataset") == SIMULATED


def references(results: Results) -> list[str]:
    """The keys of what the section rests on, for the section on methods."""
    return [] if simulated(results) else ["dunn"]


def section(results: Results) -> Section:
    """The section on where the data come from."""
    title, link = "Where the data come from", "Provenance"
    if simulated(results):
        return Section("provenance", title, link, [Text(NOBODY)])
    declared, measured = stated(results), from_files(results)
    said = sum(value is not None for value in declared.values())
    words = (
        f"{said} of {len(FACTS)} facts are stated in the declaration of the data set, which follow a guideline of "
        "what is to be reported of research with eye trackers (Dunn et al., 2024); nothing is computed from them. "
        "In the files: what the data themselves, and the geometry that they are read with, say of the same."
    )
    told = {fact: _told(declared[fact], measured.get(fact)) for fact in FACTS}
    pairs = [(FACTS[fact], said) for fact, said in told.items() if said]
    gone = [FACTS[fact] for fact, said in told.items() if not said]
    blocks: list[Block] = [*map(Text, contradictions(results)), Text(words, small=True)]
    blocks += [Terms(pairs)] if pairs else []
    blocks += [Text(f"{'; '.join(gone)}.", lead="Not stated:", small=True)] if gone else []
    return Section("provenance", title, link, blocks)


def _told(declared: Any, measured: str | None) -> str:
    """What is said of a fact, and by whom; empty where nobody says anything."""
    if declared is None:
        return f"not stated; in the files: {measured}" if measured else ""
    return _plain(declared) + (f"; in the files: {measured}" if measured else "")


def stated(results: Results) -> dict[str, Any]:
    """Fact -> what the declaration says; None: nothing."""
    data = results.manifest["data"]
    study = {**((data.get("declaration") or {}).get("study") or {}), "licence": data.get("licence")}
    found: dict[str, Any] = {}
    for fact in FACTS:
        value: Any = study
        for part in fact.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        found[fact] = value
    return found


def from_files(results: Results) -> dict[str, str]:
    """Fact -> what the files, or the geometry that gaze is read with, say of it; without those that say nothing."""
    rate, accuracy = numbers(results.quality, "sampling_hz"), validation(results.quality)
    precision, trials = numbers(results.quality, "rms_s2s_deg"), results.quality.num_rows
    found = {
        "population.took_part": _people(results),
        "tracker.rate_hz": _spread(rate, 1, trials, "by the timestamps"),
        "tracker.eyes": _eyes(results),
        "calibration.accuracy_deg": _spread(accuracy, 2, trials, "of the tracker’s last validation before the trial"),
        "calibration.precision_deg": _spread(precision, 3, trials, "RMS-S2S"),
    }
    screen = (results.manifest["data"].get("declaration") or {}).get("screen") or {}
    for name in ("width_mm", "height_mm", "distance_mm"):
        value = screen.get(name)
        column = f"the column {value} of the tables" if isinstance(value, str) else ""
        found[f"screen.{name}"] = column if value is None or column else f"{value:g} is what degrees are computed with"
    px_per_deg = (results.manifest["data"].get("declaration") or {}).get("px_per_deg")
    if px_per_deg:
        found["screen.distance_mm"] = f"{px_per_deg:g} px of a picture are a degree"
    return {fact: words for fact, words in found.items() if words}


def contradictions(results: Results) -> list[str]:
    """What is declared and the files contradict, a sentence each."""
    declared, sentences = stated(results), _people_contradict(results)
    rate, accuracy = numbers(results.quality, "sampling_hz"), validation(results.quality)
    nominal, promised = declared["tracker.rate_hz"], declared["calibration.accuracy_deg"]
    if nominal and rate.size:
        off = int(np.sum(np.abs(rate - nominal) > RATE * nominal))
        if off > OFTEN * rate.size:
            sentences.append(
                f"The declared sampling rate of {nominal:g} Hz is not that of the files: by their timestamps {off} of "
                f"{rate.size} trials are more than {100 * RATE:g} % off, the median is {number(np.median(rate), 1)} Hz."
            )
    if promised is not None and accuracy.size and np.median(accuracy) > promised:
        sentences.append(
            f"The declared accuracy of {promised:g} deg is better than the files have it: the median of the "
            f"validations before {counted(accuracy.size, 'trial')} is {number(np.median(accuracy), 2)} deg."
        )
    screen = (results.manifest["data"].get("declaration") or {}).get("screen") or {}
    for name in ("width_mm", "height_mm", "distance_mm"):
        used, reported = screen.get(name), declared[f"screen.{name}"]
        if reported and isinstance(used, int | float) and not math.isclose(used, reported, rel_tol=SIZE):
            sentences.append(
                f"{FACTS[f'screen.{name}']}: {reported:g} is reported, degrees are computed with {used:g}."
            )
    return [f"Contradiction: {sentence}" for sentence in sentences]


def _people_contradict(results: Results) -> list[str]:
    """Sentences on people who took part and were not asked, or are in the tables and did not take part."""
    asked, took = (stated(results)[f"population.{name}"] for name in ("asked", "took_part"))
    steps = (results.manifest.get("flow") or {}).get("steps") or [{}]
    there, sentences = steps[0].get("people"), []
    if asked is not None and took is not None and took > asked:
        sentences.append(f"{counted(took, 'participant')} took part, {asked} were asked.")
    if took is not None and there is not None and there > took:
        sentences.append(f"{counted(took, 'participant')} took part as declared, the tables name {there}.")
    return sentences


def validation(quality: pa.Table) -> NDArray[np.float64]:
    """The mean error of the tracker's last validation before each trial that had one, over its eyes, deg, (N,)."""
    columns = [_column(quality, f"validation_{eye}_deg") for eye in ("left", "right")]
    both = np.stack(columns)
    there = np.isfinite(both)
    some = there.any(axis=0)
    return np.where(there, both, 0.0).sum(axis=0)[some] / there.sum(axis=0)[some]


def numbers(quality: pa.Table, name: str) -> NDArray[np.float64]:
    """What is known of a column of the quality table, (N,)."""
    values = _column(quality, name)
    return values[np.isfinite(values)]


def _column(quality: pa.Table, name: str) -> NDArray[np.float64]:
    if name not in quality.column_names:
        return np.full(quality.num_rows, np.nan)
    return np.asarray(pc.cast(quality[name], pa.float64()).to_numpy(), np.float64)


def _spread(values: NDArray[np.float64], digits: int, trials: int, what: str) -> str:
    """Median and range over trials, and how many have none."""
    if not values.size:
        return ""
    low, middle, high = (number(value, digits) for value in np.percentile(values, [0, 50, 100]))
    none = f"; none for {trials - values.size} of {trials} trials" if values.size < trials else ""
    return f"median {middle}, {low} to {high} over trials ({what}){none}"


def _people(results: Results) -> str:
    steps = (results.manifest.get("flow") or {}).get("steps")
    if not steps or "people" not in steps[0]:
        observers = results.counts.get("observers")
        return f"{counted(observers, 'observer')}" if observers else ""
    return f"{steps[0]['people']} in the tables, {steps[-1]['people']} used"


def _eyes(results: Results) -> str:
    """What the notes on files say of eyes."""
    notes = [str(note) for note in results.manifest.get("notes_on_recordings") or []]
    return "; ".join(note for note in notes if " eye" in note)[:500]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
