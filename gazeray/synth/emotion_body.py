# SPDX-License-Identifier: Apache-2.0
"""What gaze and body do while a simulated person looks at a picture and then answers: the signals of one trial.

Times are seconds from the onset of the picture. `Felt` is what this person felt in this trial; with `effect` 0 no
signal depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazeray.synth.emotion_parameters import EmotionSimulation
from gazeray.synth.emotion_pictures import NEUTRAL, Content
from gazeray.synth.files import stream

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

VIEWING_S = 5.0
"""How long a picture is seen; then the scales are shown."""

SCREEN_PX, WINDOW_PX = (1920, 1080), (1440, 1080)
DEG = 0.0215
"""A degree in widths of the screen: 1 deg at 650 mm is 11.3 mm of 527."""

AROUSED = 3.0
"""The level of arousal at which gaze and body do as without any."""


@dataclass(frozen=True)
class Felt:
    """Arousal and valence, levels, not rounded and not cut at the ends of the scales."""

    arousal: float
    valence: float


@dataclass(frozen=True)
class Person:
    """How a person answers and what their body does anyway.

    offset, stretch, preferred: of arousal and valence, (2,) each: added to what is felt, times its distance from the
    middle, and the level that `preferred_share` of their answers are. answers: how strongly the body answers, (3,):
    pupil, skin, heart. shift: the tracker's error in x and y, widths and heights of the screen.
    """

    offset: Floats
    stretch: Floats
    preferred: NDArray[np.int64]
    preferred_share: float
    answers: Floats
    pupil_mm: float
    conductance_us: float
    heart_bpm: float
    fixation_ms: float
    shift: Floats
    bodiless: bool


@dataclass(frozen=True)
class Signals:
    """The signals of one trial, (N,) each, and which of them are valid. Gaze in fractions of the screen, y down."""

    x: Floats
    y: Floats
    fixation: NDArray[np.int64]
    gaze_valid: Bools
    left_mm: Floats
    left_valid: Bools
    right_mm: Floats
    right_valid: Bools
    gsr_ohm: Floats
    heart_bpm: Floats
    body_valid: Bools


def make_person(params: EmotionSimulation, number: int) -> Person:
    """Person number `number` (from 0)."""
    rng = stream(params.seed, 3, number)
    style, body = rng.standard_normal(4), rng.standard_normal(9)
    return Person(
        offset=params.offset_sd * style[:2],
        stretch=np.exp(params.range_cv * style[2:]),
        preferred=rng.integers([1, 3], [5, 6]),
        preferred_share=float(params.preferred_share * rng.random()),
        answers=np.exp(params.body_cv * body[:3]),
        pupil_mm=float(np.clip(3.6 + 0.3 * body[3], 2.7, 4.6)),
        conductance_us=float(4.0 * np.exp(0.25 * body[4])),
        heart_bpm=float(np.clip(74 + 5 * body[5], 55, 100)),
        fixation_ms=float(params.fixation_ms * np.exp(0.12 * body[6])),
        shift=params.offset_deg * DEG * body[7:] * (1, SCREEN_PX[0] / SCREEN_PX[1]),
        bodiless=bool(number in _bodiless(params)),
    )


def _bodiless(params: EmotionSimulation) -> NDArray[np.int64]:
    """The numbers of the people whose sensor lost contact: as many as asked for, rounded."""
    return stream(params.seed, 4).permutation(params.people)[: round(params.bodiless_people * params.people)]


def signals(
    params: EmotionSimulation,
    person: Person,
    content: Content,
    luminance: float,
    felt: Felt,
    answers: tuple[int, int],
    time_s: Floats,
    rng: np.random.Generator,
) -> Signals:
    """One trial at `time_s` (N,). luminance: mean of the picture, 0..1. answers: the levels that are given on the
    scales, which draw the gaze from VIEWING_S on."""
    draws = rng.spawn(4)
    x, y, fixation, moving = _gaze(params, person, content, felt, answers, time_s, draws[0])
    pupil = _pupil(params, person, luminance, felt, time_s, draws[1])
    gsr, heart = _body(params, person, felt, time_s, draws[2])
    chance = draws[3]
    closed = np.zeros(len(time_s), dtype=bool)
    for start in chance.uniform(time_s[0], time_s[-1], chance.poisson(params.blinks_per_min * np.ptp(time_s) / 60)):
        closed |= (time_s >= start) & (time_s < start + chance.uniform(0.1, 0.3))
    missed = chance.integers(2) if chance.random() < params.one_eye_share else None
    contact = not (chance.random() < params.bodiless_trials and person.bodiless)
    (left, left_valid), (right, right_valid) = (
        _eye(pupil + apart, closed | (missed == side), chance) for side, apart in enumerate((0.05, -0.05))
    )
    valid = np.full(len(time_s), contact)
    return Signals(
        *(x, y, fixation, ~(closed | moving)),
        *(left, left_valid, right, right_valid),
        *(np.where(valid, gsr, 0), np.where(valid, heart, 0), valid),
    )


def _eye(mm: Floats, lost: Bools, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """What the tracker makes of one pupil, (N,), and whether it is valid: where it is lost the size is wrong."""
    seen = mm + 0.015 * rng.standard_normal(len(mm))
    return np.where(lost, 0.5 * seen, seen), ~lost


def _gaze(
    params: EmotionSimulation,
    person: Person,
    content: Content,
    felt: Felt,
    answers: tuple[int, int],
    time_s: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, NDArray[np.int64], Bools]:
    """Gaze at each time, which fixation it belongs to (from 0), and whether it is on its way, (N,) each.

    The first fixation is in the middle, the others on things or anywhere around the middle; then on the two scales, at
    the levels that are answered.
    """
    scanning = np.exp(params.effect * params.scanning * (felt.arousal - AROUSED))
    count = int(40 * max(1.0, time_s[-1] / 5))
    shape = 6.0
    duration = np.maximum(person.fixation_ms / scanning * rng.gamma(shape, 1 / shape, count), 80) / 1000
    on_things = np.clip(0.7 + params.effect * params.avoidance * (felt.valence - NEUTRAL), 0.1, 0.95)
    thing = content.things[rng.integers(0, len(content.things), count)]
    wide = (0.17 * scanning * rng.standard_normal((count, 2)) + 0.5) * (4 / 3, 1)
    near = thing[:, :2] + 0.4 * thing[:, 2:] * rng.standard_normal((count, 2))
    place = np.where(rng.random((count, 1)) < on_things, near, wide) * 1080
    place[0] = WINDOW_PX[0] / 2, WINDOW_PX[1] / 2
    left = np.array([(SCREEN_PX[0] - WINDOW_PX[0]) / 2, 0])
    place = (place + left) / SCREEN_PX
    begins = np.concatenate([[0.0], np.cumsum(duration[:-1])])
    rating = begins >= VIEWING_S
    level = np.array(answers)[(begins >= VIEWING_S + 1.5).astype(int)]
    scale = np.stack([0.2 + 0.6 * (level - 1) / 6, np.where(begins >= VIEWING_S + 1.5, 0.7, 0.4)], axis=1)
    place = np.clip(np.where(rating[:, None], scale, place) + 0.003 * rng.standard_normal((count, 2)), -0.2, 1.2)
    at = np.searchsorted(begins, time_s, side="right") - 1
    moving = (time_s - begins[at] < 0.02) & (at > 0)
    xy = place[at] + person.shift + 0.002 * rng.standard_normal((len(time_s), 2))
    return xy[:, 0], xy[:, 1], at, moving


def _pupil(
    params: EmotionSimulation, person: Person, luminance: float, felt: Felt, time_s: Floats, rng: np.random.Generator
) -> Floats:
    """Its diameter, mm (N,): light reflex from 0.25 s on, dilation by arousal from 1 s on, and slow unrest."""
    since = np.maximum(time_s - 0.25, 0)
    reflex = (1 - np.exp(-since / 0.25)) * (0.6 + 0.4 * np.exp(-since / 1.5))
    dilation = 1 - np.exp(-np.maximum(time_s - 1.0, 0) / 0.6)
    strength = params.effect * params.pupil_mm * person.answers[0] * (felt.arousal - AROUSED)
    hertz, phase = rng.uniform(0.08, 0.8, 3), rng.uniform(0, 2 * np.pi, 3)
    unrest = np.sin(2 * np.pi * hertz * time_s[:, None] + phase).sum(1) * np.sqrt(2 / 3)
    before = 0.05 * rng.standard_normal()
    mm = person.pupil_mm + before - params.light_mm * luminance * reflex + strength * dilation
    return np.maximum(mm + params.hippus_mm * unrest, 1.6)


def _body(
    params: EmotionSimulation, person: Person, felt: Felt, time_s: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Skin resistance in ohm and heart rate in bpm, (N,) each; the heart rate is told anew with each beat."""
    level = person.conductance_us * np.exp(0.05 * rng.standard_normal() + 0.004 * rng.standard_normal() * time_s)
    asked = params.scr_share * person.answers[1] * (0.5 + params.effect * max(felt.arousal - 1, 0))
    rise = asked * np.exp(0.2 * rng.standard_normal()) * _response(time_s - rng.uniform(1.0, 2.0))
    for start in rng.uniform(-3, time_s[-1], rng.poisson(params.spontaneous_per_min * (time_s[-1] + 3) / 60)):
        rise = rise + 0.3 * params.scr_share * rng.gamma(2, 0.5) * _response(time_s - start)
    gsr = 1e6 / (level * (1 + rise) * (1 + 0.0005 * rng.standard_normal(len(time_s))))
    slower = 2.0 + params.effect * params.heart_bpm * person.answers[2] * (NEUTRAL - felt.valence)
    beat = np.floor((time_s - time_s[0]) * person.heart_bpm / 60) * 60 / person.heart_bpm
    noise = 0.6 * rng.standard_normal(len(time_s))[np.unique(beat, return_inverse=True)[1]]
    dip = np.exp(-((beat - 3.0) ** 2) / (2 * 1.3**2))
    return gsr, np.maximum(person.heart_bpm + rng.standard_normal() - slower * dip + noise, 35)


def _response(since_s: Floats) -> Floats:
    """A skin conductance response that begins at 0 and is 1 at its highest, about 1.6 s later."""
    since = np.maximum(since_s, 0)
    fast, slow = 0.75, 4.0
    peak = np.log(slow / fast) * slow * fast / (slow - fast)
    return (np.exp(-since / slow) - np.exp(-since / fast)) / (np.exp(-peak / slow) - np.exp(-peak / fast))
