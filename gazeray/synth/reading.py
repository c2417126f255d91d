# SPDX-License-Identifier: Apache-2.0
"""A simulated reading study: readers, sentences, and in some sentences a word that nobody knows.

Every reader reads every sentence once, on one line, in the control version or with one word replaced by a pseudoword.
The study is written in raw form, as an eye tracker would leave it: noisy samples with an offset, drift, blinks and
lost samples. It is the embedded data of the heatmap study and, since the effects are known, its test: with `effect` 0
the gaze carries no trace of the label.

The sizes of the effects, and where they come from, are in `reading_parameters.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazeray.gaze.readers.base import SCREEN
from gazeray.storage import Folder
from gazeray.synth.files import csv_text, refuse_existing, stream, yaml_text
from gazeray.synth.reading_parameters import ReadingSimulation

SCREEN_PX = (1600, 1000)
SCREEN_MM = (518.4, 324.0)
DISTANCE_MM = 650.0
WINDOW_PX = (1400, 200)
LETTER_PX = 20.0
"""Width of a letter: 0.57 deg, large print."""

PX_PER_DEG = 2 * DISTANCE_MM * math.tan(math.radians(0.5)) * SCREEN_PX[0] / SCREEN_MM[0]
LINE_LEFT_PX = (SCREEN_PX[0] - WINDOW_PX[0]) / 2 + 60.0  # a margin, of which at least as much is free on the right
LINE_Y_PX = SCREEN_PX[1] / 2
LINE_LETTERS = (50, 62)
"""Shortest and longest sentence, in letters and spaces."""

Floats = NDArray[np.float64]

# The keys of `stream`: (0,) sentences, (1,) labels, (2, reader) style, (3, reader, sentence) trial, (4, reader) order
# of the sentences.


@dataclass(frozen=True)
class Sentence:
    """One line of words.

    letters: the words' lengths, shape (W,). left_px: their left edges on the screen, shape (W,). target: index of the
    word that is a pseudoword in the pseudoword version.
    """

    letters: NDArray[np.int64]
    left_px: Floats
    target: int

    @property
    def target_px(self) -> tuple[float, float]:
        """Left and right edge of the target word on the screen, px."""
        left = float(self.left_px[self.target])
        return left, left + float(self.letters[self.target]) * LETTER_PX


@dataclass(frozen=True)
class Reader:
    """One reader: mean fixation duration, landing noise, and the offset (x, y) that the tracker has on this reader."""

    fixation_ms: float
    landing_sd_px: float
    offset_px: Floats


@dataclass(frozen=True)
class Scanpath:
    """The true fixations of one trial, each array of shape (F,): word index, place in px, duration in ms."""

    word: NDArray[np.int64]
    x_px: Floats
    y_px: Floats
    duration_ms: Floats

    @property
    def onset_ms(self) -> Floats:
        """(F,), from 0: a saccade takes 2.2 ms per deg plus 21 ms (Carpenter 1988, Movements of the Eyes)."""
        amplitude_deg = np.hypot(np.diff(self.x_px), np.diff(self.y_px)) / PX_PER_DEG
        return np.concatenate([[0.0], np.cumsum(self.duration_ms[:-1] + 21 + 2.2 * amplitude_deg)])


def design(params: ReadingSimulation) -> NDArray[np.bool_]:
    """Who reads which sentence with a pseudoword: shape (readers, sentences), True = pseudoword.

    A cyclic Latin-square design: every reader has exactly `pseudoword_trials`, and the numbers of readers who see two
    sentences with a pseudoword differ by one at most. Readers and sentences are shuffled; nothing else decides, and
    no other random draw of the study looks at the result.
    """
    table = np.zeros((params.readers, params.sentences), dtype=bool)
    slots = np.arange(params.readers * params.pseudoword_trials)
    table[slots // params.pseudoword_trials, slots % params.sentences] = True
    rng = stream(params.seed, 1)
    return table[rng.permutation(params.readers)][:, rng.permutation(params.sentences)]


def make_sentences(params: ReadingSimulation) -> list[Sentence]:
    """The sentences, the same for all readers: 9-13 words of 2-12 letters on one line that fits the window.

    The target has 6-10 letters; two words at least stand before and after it.
    """
    rng = stream(params.seed, 0)
    return [_sentence(rng) for _ in range(params.sentences)]


def _sentence(rng: np.random.Generator) -> Sentence:
    while True:
        words = int(rng.integers(8, 11))
        short, long = rng.integers(2, 5, words), 4 + rng.binomial(8, 0.3, words)
        letters = np.where(rng.random(words) < 0.4, short, long)
        target = int(rng.integers(2, words - 2))
        letters[target] = rng.integers(6, 11)
        if LINE_LETTERS[0] <= letters.sum() + words - 1 <= LINE_LETTERS[1]:
            first = np.concatenate([[0], np.cumsum(letters + 1)[:-1]])
            return Sentence(letters, LINE_LEFT_PX + first * LETTER_PX, target)


def make_reader(params: ReadingSimulation, index: int) -> Reader:
    """Reader number `index` (from 0) with a style of their own."""
    rng = stream(params.seed, 2, index)
    style = np.exp(params.reader_cv * rng.standard_normal(2))
    offset = params.offset_deg * PX_PER_DEG * rng.standard_normal(2)
    return Reader(params.fixation_ms * style[0], params.landing_sd_letters * LETTER_PX * style[1], offset)


def _skip_probability(params: ReadingSimulation, letters: int) -> float:
    """Logistic in word length: `skipping` at 3 letters, falling as from 2/3 at 3 letters to 1/5 at 7.5."""
    return 1 / (1 + math.exp(0.467 * (letters - 3)) * (1 - params.skipping) / params.skipping)


def scanpath(
    params: ReadingSimulation, sentence: Sentence, reader: Reader, pseudoword: bool, rng: np.random.Generator
) -> Scanpath:
    """One reading of one sentence.

    The eyes go from word to word: they fixate a word, perhaps refixate it, then go back with some probability, else
    forward over the words that are skipped, until they leave the sentence. A pseudoword is fixated longer, refixated
    more, skipped less, and draws regressions and starts them, each in proportion to `effect` (probabilities up to
    their bounds). With `effect` 0 the same random numbers give the same scanpath whether `pseudoword` is True or not.
    """
    boost = params.effect if pseudoword else 0.0
    need = np.exp(params.word_cv * rng.standard_normal(len(sentence.letters)))
    words: list[int] = []
    at, furthest, end = 0, 0, len(sentence.letters)
    while at < end:
        more = rng.poisson(params.refixations * float(sentence.letters[at]) / 7)
        luck = rng.random()
        if at == sentence.target and at not in words:
            more += math.floor(params.pseudoword_refixations * boost + luck)
        words += [at] * (1 + int(more))
        furthest = max(furthest, at)
        at = _next_word(params, sentence, at, furthest, boost, rng)
    return _placed(params, sentence, reader, np.array(words), need, boost, rng)


def _next_word(
    params: ReadingSimulation, sentence: Sentence, at: int, furthest: int, boost: float, rng: np.random.Generator
) -> int:
    """Where the eyes go after word `at`: a word's index, or the number of words when the sentence has been read."""
    returns, regresses, resumes = rng.random(3)
    if at > sentence.target and returns < min(params.pseudoword_returns * boost, 0.5):
        return sentence.target
    rereading = params.pseudoword_rereading * boost if at == sentence.target else 0.0
    if at > 0 and regresses < params.regressions + rereading:
        return max(0, at - int(rng.geometric(0.6)))
    goal = furthest + 1 if at < furthest and resumes < 0.8 else at + 1
    while goal < len(sentence.letters):
        skip = _skip_probability(params, int(sentence.letters[goal]))
        if goal == sentence.target:
            skip *= max(0.0, 1 - params.pseudoword_skipping * boost)
        if rng.random() >= skip:
            break
        goal += 1
    return goal


def _placed(
    params: ReadingSimulation,
    sentence: Sentence,
    reader: Reader,
    words: NDArray[np.int64],
    need: Floats,
    boost: float,
    rng: np.random.Generator,
) -> Scanpath:
    """Places and durations for the sequence of fixated words."""
    count, width = words.size, sentence.letters[words] * LETTER_PX
    again = np.append(False, np.diff(words) == 0)
    share = np.where(again, rng.uniform(0.15, 0.9, count), 0.45)
    x = sentence.left_px[words] + share * width + reader.landing_sd_px * rng.standard_normal(count)
    y = LINE_Y_PX + 0.1 * PX_PER_DEG * rng.standard_normal(count)
    shape = params.fixation_cv**-2
    duration = reader.fixation_ms * need[words] * rng.gamma(shape, 1 / shape, count)
    duration *= np.where(words == sentence.target, 1 + params.pseudoword_slowing * boost, 1.0)
    return Scanpath(words, x, y, np.maximum(duration, 50.0))


def record(
    params: ReadingSimulation, path: Scanpath, reader: Reader, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """What the tracker makes of a scanpath: t_ms from 0, x_px, y_px, each of shape (N,); NaN = lost.

    Saccades move at constant speed.
    """
    knots = np.stack([path.onset_ms, path.onset_ms + path.duration_ms], axis=1).ravel()
    step_ms = 1000 / params.sampling_hz
    time = np.arange(math.ceil(knots[-1] / step_ms)) * step_ms
    wander = params.drift_deg * PX_PER_DEG * rng.standard_normal((2, 2))
    noise = params.noise_deg * PX_PER_DEG * rng.standard_normal((2, time.size))
    lost = rng.random(time.size) < params.lost_share
    for start in rng.uniform(0, knots[-1], rng.poisson(params.blinks_per_min * knots[-1] / 60_000)):
        lost |= (time >= start) & (time < start + rng.uniform(*params.blink_ms))
    gaze = [
        np.where(
            lost, np.nan, np.interp(time, knots, np.repeat(place, 2)) + bias + first + slope * time / knots[-1] + jitter
        )
        for place, bias, (first, slope), jitter in zip(
            (path.x_px, path.y_px), reader.offset_px, wander, noise, strict=True
        )
    ]
    return time, gaze[0], gaze[1]


def simulate(folder: Folder, params: ReadingSimulation) -> None:
    """Write the study into `folder`: gaze/R01.csv ..., trials.csv, and last dataset.yaml, which marks it as complete.

    Equal parameters give equal bytes. In gaze/*.csv `t_ms` runs on through the reader's recording, `trial` counts the
    sentences in the order in which they were read (random for each reader), and a lost sample has empty cells. In
    trials.csv `target_left_px` and `target_right_px` are the target word's edges on the screen, in both conditions.

    Raises FileExistsError when the folder already holds a dataset.yaml: nothing is overwritten.
    """
    refuse_existing(folder, "dataset.yaml")
    sentences, labels = make_sentences(params), design(params)
    digits = len(str(max(params.readers, params.sentences, 10)))
    trials: list[list[object]] = []
    for number in range(params.readers):
        participant = f"R{number + 1:0{digits}d}"
        order = stream(params.seed, 4, number).permutation(params.sentences)
        folder.write_text(f"gaze/{participant}.csv", _recording(params, sentences, labels[number], number, order))
        for trial, index in enumerate(order, start=1):
            sentence = sentences[index]
            condition = "P" if labels[number, index] else "C"
            edges = (f"{edge:.1f}" for edge in sentence.target_px)
            name = f"S{index + 1:0{digits}d}"
            trials.append([participant, trial, name, condition, sentence.target + 1, *edges])
    header = ["participant", "trial", "sentence", "condition", "target_word", "target_left_px", "target_right_px"]
    folder.write_text("trials.csv", csv_text(header, trials))
    folder.write_text("dataset.yaml", yaml_text(DECLARATION))


def _recording(
    params: ReadingSimulation,
    sentences: list[Sentence],
    pseudowords: NDArray[np.bool_],
    number: int,
    order: NDArray[np.int64],
) -> str:
    """One reader's gaze as CSV text, sentence after sentence in `order`."""
    reader, step_ms = make_reader(params, number), 1000 / params.sampling_hz
    pause, clock = math.ceil(1000 / step_ms), 0  # one second between two trials
    lines = ["trial,t_ms,x_px,y_px"]
    for trial, index in enumerate(order, start=1):
        rng = stream(params.seed, 3, number, int(index))
        path = scanpath(params, sentences[index], reader, bool(pseudowords[index]), rng)
        time, x, y = record(params, path, reader, rng)
        for t_ms, x_px, y_px in zip((time + clock * step_ms).tolist(), x.tolist(), y.tolist(), strict=True):
            place = "," if math.isnan(x_px) else f"{x_px:.1f},{y_px:.1f}"
            lines.append(f"{trial},{t_ms:.3f},{place}")
        clock += time.size + pause
    return "\n".join(lines) + "\n"


DECLARATION: dict[str, object] = {
    "name": "simulated reading",
    "licence": "CC0-1.0",
    "screen": dict(zip(SCREEN, (*SCREEN_PX, *SCREEN_MM, DISTANCE_MM), strict=True)),
    "stimulus": {"width_px": WINDOW_PX[0], "height_px": WINDOW_PX[1], "placed": "centred"},
    "trials": {
        "path": "trials.csv",
        "columns": {"participant": "participant", "trial": "trial", "stimulus": "sentence"},
    },
    "samples": {
        "reader": "delimited",
        "path": "gaze/{participant}.csv",
        "columns": {"trial": "trial", "timestamp_ms": "t_ms", "x_px": "x_px", "y_px": "y_px"},
        "units": {"timestamp_ms": "ms", "x_px": "px", "y_px": "px"},
    },
    "labels": {"condition": {"C": "control", "P": "pseudoword"}},
}
