# SPDX-License-Identifier: Apache-2.0
"""A simulated study of felt arousal and valence: people look at pictures and say how it felt, on scales of 1 to 7.

    epochs/<participant>/<seq>_<image>_<arousal>_<valence>.csv    one trial each, 17 columns, 4.9 s at 61.2 Hz
    Images/<image>.jpg                                            the pictures
    dataset.yaml                                                  how gazeray reads them

An answer is what was felt (the picture's mean plus what is this person's alone in this trial), bent by the person's
style of answering and rounded. Gaze, pupil, skin and heart follow what was felt, not the answer. It is the embedded
data of the emotion study and its test: with `effect` 0 they know nothing of it, though people still differ in style and
body, and pictures in their mean and their look.

`simulate_raw` writes the form before trials are cut: one recording a person, and a log of stimuli with its own clock.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gazeray.gaze.readers.base import SCREEN
from gazeray.storage import Folder
from gazeray.synth.emotion_body import (
    SCREEN_PX,
    WINDOW_PX,
    Felt,
    Person,
    Signals,
    make_person,
    signals,
)
from gazeray.synth.emotion_parameters import EmotionSimulation
from gazeray.synth.emotion_pictures import NEUTRAL, Content, make_contents, paint
from gazeray.synth.files import picture_bytes, refuse_existing, stream, yaml_text

Floats = NDArray[np.float64]

LEVELS = (1, 2, 3, 4, 5, 6, 7)
SLOT_S = 8.0
"""From the onset of a picture to that of the next: the picture, then the two scales."""

MIDDLE = (3.0, NEUTRAL)
"""Arousal and valence that every style of answering leaves as they are, but for the offset."""

COLUMNS = "FPOGX,FPOGY,FPOGID,FPOGV,LPMM,LPMMV,RPMM,RPMMV,GSR,GSRV,HR,HRV"
ROW = "%d,%.5f,%.5f,%.5f,%d,%d,%.5f,%d,%.5f,%d,%.0f,%d,%.0f,%d"

# The keys of `stream`: (0,) means of the pictures, (1, picture) their things, (2, picture) paint, (3, person) style and
# body, (4,) who has no body, (5, person) order of the pictures, (6, person, picture) what is felt and answered,
# (7, person, picture) signals, (8, person) clocks.


@dataclass(frozen=True)
class Trial:
    """What person `person` felt with picture `picture` (numbers from 0), and the levels that they answered."""

    person: int
    picture: int
    felt: Felt
    arousal: int
    valence: int


@dataclass(frozen=True)
class Clock:
    """The clocks of a recording.

    time_s: of each row of the tracker, from its start, (slots * rows,). start: of the tracker. log_ahead_s: when the
    log began, from the tracker's start. log_start: what it says of that. log_rate: it runs so many times as fast.
    late_s: the first row of a slot is so much later than its picture, (slots,).
    """

    time_s: Floats
    start: datetime.datetime
    log_ahead_s: float
    log_start: datetime.datetime
    log_rate: float
    late_s: Floats

    def onset_s(self, slot: int, rows: int) -> float:
        """When the picture of a slot of so many rows came, s from the tracker's start."""
        return float(self.time_s[slot * rows] - self.late_s[slot])


def answer(params: EmotionSimulation, person: int, picture: int, content: Content, who: Person) -> Trial:
    """One person's feeling and answer. `effect` plays no part in it."""
    rng = stream(params.seed, 6, person, picture)
    felt = np.array([content.arousal, content.valence]) + params.residual_sd * rng.standard_normal(2)
    said = MIDDLE + who.stretch * (felt - MIDDLE) + who.offset
    said = np.where(rng.random(2) < who.preferred_share, who.preferred, said)
    arousal, valence = np.clip(np.rint(said), LEVELS[0], LEVELS[-1]).astype(int).tolist()
    return Trial(person, picture, Felt(*felt.tolist()), arousal, valence)


def order_of(params: EmotionSimulation, person: int) -> list[int]:
    """The numbers of the pictures in the order in which a person sees them."""
    return list(stream(params.seed, 5, person).permutation(params.pictures).tolist())


def rows_of_slot(params: EmotionSimulation) -> int:
    """Rows of the tracker from one picture to the next; the first `params.samples` are the trial."""
    return round(SLOT_S * params.sampling_hz)


def make_clock(params: EmotionSimulation, person: int) -> Clock:
    """Slot 0 is practice, the others are the trials. A stranger's log is two to five hours off."""
    rng, slots = stream(params.seed, 8, person), params.pictures + 1
    rows, step = slots * rows_of_slot(params), 1 / params.sampling_hz
    jitter = np.clip(params.jitter_ms / 1000 * rng.standard_normal(rows), -step / 2, step / 2)
    time = np.arange(rows) * step + jitter
    begun = datetime.datetime(2021, 3, 1, 9) + datetime.timedelta(
        days=int(rng.integers(0, 60)), milliseconds=int(rng.integers(0, 8 * 3_600_000))
    )
    ahead, wrong = -float(rng.uniform(5, 60)), float(rng.uniform(2, 5)) * 3600
    stranger = person >= params.people - params.strangers
    log = begun + datetime.timedelta(seconds=ahead + wrong if stranger else ahead)
    rate = 1 + params.drift_ppm * 1e-6 * rng.standard_normal()
    return Clock(time, begun, ahead, log, rate, rng.uniform(0.1, 0.9, slots) * step)


@dataclass(frozen=True)
class Study:
    """What all recordings share: contents and mean luminance 0..1 of the P pictures and of the one for practice, which
    is the last, (P + 1,) each; and the files of the P."""

    params: EmotionSimulation
    contents: Sequence[Content]
    luminance: Sequence[float]
    files: Mapping[str, bytes]

    def recorded(self, number: int, clock: Clock) -> Iterator[tuple[int, Trial, Signals]]:
        """The slots of a person, practice first: which, the trial, and its signals for all rows of the slot."""
        params, who, rows = self.params, make_person(self.params, number), rows_of_slot(self.params)
        fixations = 0
        for slot, picture in enumerate([params.pictures, *order_of(params, number)]):
            trial = answer(params, number, picture, self.contents[picture], who)
            time = clock.time_s[slot * rows : (slot + 1) * rows]
            since = time - time[0] + clock.late_s[slot]
            rng = stream(params.seed, 7, number, picture)
            said, light = (trial.arousal, trial.valence), self.luminance[picture]
            found = signals(params, who, self.contents[picture], light, trial.felt, said, since, rng)
            found = replace(found, fixation=found.fixation + fixations)
            fixations = int(found.fixation[-1]) + 1
            yield slot, trial, found


def make_study(params: EmotionSimulation) -> Study:
    """Contents and files of the pictures, painted."""
    contents = make_contents(params)
    painted = [paint(params, number, content) for number, content in enumerate(contents)]
    files = {
        f"Images/{content.name}.jpg": picture_bytes(".jpg", picture, cv2.IMWRITE_JPEG_QUALITY, 92)
        for content, picture in zip(contents, painted, strict=True)
    }
    practice = Content("practice", NEUTRAL, 2.0, 0.5, np.array([[2 / 3, 0.5, 0.1]]))
    luminance = [*(float(picture.mean()) / 255 for picture in painted), practice.brightness]
    return Study(params, [*contents, practice], luminance, files)


def simulate_emotion(root: Folder, params: EmotionSimulation) -> None:
    """Write the study below `root` in the published layout, and last dataset.yaml, which marks it as complete.

    Equal parameters give equal bytes. A person's times run on through the recording, of which the first column counts
    the rows; `seq` counts the pictures that a person saw, from 0.

    Raises FileExistsError when the folder already holds a dataset.yaml: nothing is overwritten.
    """
    refuse_existing(root, "dataset.yaml")
    study = make_study(params)
    for path, data in study.files.items():
        root.write_bytes(path, data)
    for number in range(params.people):
        clock = make_clock(params, number)
        header = f",{time_column(clock)},{COLUMNS},Image,Arousal,Valence"
        for slot, trial, found in study.recorded(number, clock):
            if slot == 0:
                continue
            name = study.contents[trial.picture].name
            last = f",Images/{name}.jpg,{trial.arousal},{trial.valence}"
            lines = _epoch(params, found, clock, slot, ROW + last)
            path = f"epochs/{number + 1}/{slot - 1}_{name}_{trial.arousal}_{trial.valence}.csv"
            root.write_text(path, "\n".join([header, *lines, ""]))
    root.write_text("dataset.yaml", yaml_text(DECLARATION))


def time_column(clock: Clock) -> str:
    """As Gazepoint calls its column of seconds: with the start of the recording."""
    return f"TIME({clock.start:%Y/%m/%d %H:%M:%S}.{clock.start.microsecond // 1000:03d})"


def _epoch(params: EmotionSimulation, found: Signals, clock: Clock, slot: int, row: str) -> list[str]:
    """The rows of a trial, written as `row` says."""
    here = slice(slot * rows_of_slot(params), slot * rows_of_slot(params) + params.samples)
    columns: list[NDArray[Any]] = [np.arange(here.start, here.stop), clock.time_s[here], found.x, found.y]
    columns += [found.fixation, found.gaze_valid, found.left_mm, found.left_valid, found.right_mm, found.right_valid]
    columns += [found.gsr_ohm, found.body_valid, found.heart_bpm, found.body_valid]
    return [row % values for values in zip(*(column[: params.samples].tolist() for column in columns), strict=True)]


DECLARATION: dict[str, object] = {
    "name": "simulated emotion",
    "licence": "CC0-1.0",
    "study": {
        "population": {"who": "nobody: people, pictures and signals are simulated"},
        "task": "to look at a picture for 5 s, then to say how aroused and how pleased it made one feel",
        "outcome": "arousal: 1 calm to 7 excited; valence: 1 unpleasant to 7 pleasant",
        "labels_from": "the answer of the person who saw the picture",
        "tracker": {"make": "none, simulated after Gazepoint with biometrics", "rate_hz": 61.2, "eyes": "both"},
    },
    "screen": dict(zip(SCREEN, (*SCREEN_PX, 527.0, 296.0, 650.0), strict=True)),
    "stimulus": {"width_px": WINDOW_PX[0], "height_px": WINDOW_PX[1], "placed": "centred"},
    "pictures": {"path": "Images/{stimulus}.jpg"},
    "trials": {
        "reader": "names",
        "path": "epochs/{participant}/{seq}_{image}_{arousal}_{valence}.csv",
        "columns": {"trial": ["seq", "image"], "stimulus": "image"},
    },
    "samples": {"reader": "gazepoint", "path": "epochs/{participant}/{seq}_{image}_{arousal}_{valence}.csv"},
    "labels": {"arousal": {"levels": list(LEVELS)}, "valence": {"levels": list(LEVELS)}},
}
"""How gazeray reads the published layout."""
