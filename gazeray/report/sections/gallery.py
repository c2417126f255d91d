# SPDX-License-Identifier: Apache-2.0
"""The gallery: some correct and some wrong examples of a run, chosen without looking at any score."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeray.report import example_figure
from gazeray.report.figure import Figure
from gazeray.report.results import Results
from gazeray.report.words import method_name, number
from gazeray.storage import Folder

EXAMPLES = 8
"""Correct and wrong examples that are drawn, each: what keeps the page at a few MB however long the study."""


@dataclass(frozen=True)
class Example:
    """One drawn example: its picture, whose it is, and whether it was predicted right."""

    picture: Figure
    participant: str
    outcome: str


@dataclass(frozen=True)
class Gallery:
    """The drawn examples, and how many of either kind have maps in the run folder: {"correct": n, "wrong": n}."""

    examples: list[Example]
    there: dict[str, int]

    def of(self, outcome: str) -> list[Example]:
        """The examples that were predicted "correct" or "wrong"."""
        return [example for example in self.examples if example.outcome == outcome]

    @property
    def participants(self) -> list[str]:
        """The participants of the drawn examples, sorted."""
        return sorted({example.participant for example in self.examples})

    @property
    def left_out(self) -> bool:
        """Are there maps that are not drawn?"""
        return len(self.examples) < sum(self.there.values())


def read_gallery(run: Folder, results: Results) -> Gallery:
    """Choose and draw the examples. Raises ValueError when a map's label is none of the classes."""
    score = {}
    if results.predictions.num_rows:
        keys = zip(*(results.predictions[name].to_pylist() for name in ("participant", "trial", "scores")), strict=True)
        score = {(participant, trial): scores for participant, trial, scores in keys}
    examples: list[Example] = []
    there = {}
    for outcome in ("correct", "wrong"):
        rows = [row for row in results.maps if (row["label"] == row["predicted"]) == (outcome == "correct")]
        there[outcome] = len(rows)
        for index, row in enumerate(choose_examples(rows, EXAMPLES), start=1):
            scores = score.get((row["participant"], row["trial"]))
            picture = draw_example(run, results, f"example_{outcome}_{index}", row, scores)
            examples.append(Example(picture, row["participant"], outcome))
    return Gallery(examples, there)


def choose_examples(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """At most `count` of `rows`, spread over labels and then participants; ties go by a hash of the ids.

    The choice depends on participant, trial and label only: not on the order of the rows, nor on any score.
    """
    left = sorted(rows, key=lambda row: hashlib.sha256(f"{row['participant']}\0{row['trial']}".encode()).hexdigest())
    labels: Counter[Any] = Counter()
    people: Counter[Any] = Counter()
    chosen: list[Mapping[str, Any]] = []
    while left and len(chosen) < count:
        row = min(left, key=lambda item: (labels[item["label"]], people[item["participant"]]))
        left.remove(row)
        labels[row["label"]] += 1
        people[row["participant"]] += 1
        chosen.append(row)
    return chosen


def draw_example(
    run: Folder, results: Results, name: str, row: Mapping[str, Any], scores: Sequence[float] | None
) -> Figure:
    """One example: its picture beside the map of the predicted class, and of the true class where they differ.

    Raises ValueError when the file holds no map.
    """
    classes = results.classes
    label, predicted = class_indices([row["label"], row["predicted"]], classes)
    with np.load(io.BytesIO(run.read_bytes(row["path"])), allow_pickle=False) as stored:
        method = map_method(stored.files, row["path"])
        maps = {"predicted": (classes[predicted], stored[f"{method}_predicted"])}
        if label != predicted:
            maps["true"] = (classes[label], stored[f"{method}_true"])
        window = (row["window_width_px"], row["window_height_px"])
        png = example_figure.example(stored["heatmap"], maps, window, picture_words(results, method))
    sure = f" with score {number(scores[predicted], 2)}" if scores is not None else ""
    who = f"Participant {row['participant']}, trial {row['trial']}, stimulus {row['stimulus']}"
    caption = f"{who}: {classes[label]}, predicted {classes[predicted]}{sure} (fold {row['fold']})."
    return Figure(name, png, f"Figure and {method_name(method)}. {caption}", caption)


def map_method(names: Sequence[str], path: str) -> str:
    """Which of the stored maps is drawn: the gradient where it is there, else the first by name.

    Raises ValueError when there is none.
    """
    methods = sorted(name.removesuffix("_predicted") for name in names if name.endswith("_predicted"))
    if not methods:
        raise ValueError(f"{path}: holds no map of the predicted class")
    return "gradient" if "gradient" in methods else methods[0]


def picture_words(results: Results, method: str = "gradient") -> example_figure.Words:
    """What the pictures of this run and their maps are called, with units."""
    unit = picture_unit(results)
    title = {"heatmap": "gaze heatmap", "both": "heatmap and scanpath", "screens": "ink on the screen"}
    kind = picture_kind(results)
    name = method_name(method)
    map_unit = "logit" if method == "integrated_gradients" else f"logit per {unit}"
    return example_figure.Words(title.get(kind, kind), unit, name, map_unit)


def picture_kind(results: Results) -> str:
    """What the model was given: heatmap, scanpath, both, or screens."""
    return str((results.manifest.get("pictures") or {}).get("kind", "heatmap"))


def picture_unit(results: Results) -> str:
    """The unit of the pictures that the model was given: ms of dwell, else intensity from 0 to 1."""
    return "ms" if picture_kind(results) == "heatmap" else "intensity"


def class_indices(values: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Class names as indices (N,). Raises ValueError naming those that are no class."""
    lookup = {name: index for index, name in enumerate(classes)}
    unknown = sorted({str(value) for value in values if value not in lookup})
    if unknown:
        raise ValueError(f"predictions.parquet: label {', '.join(unknown)} is none of the classes {', '.join(classes)}")
    return np.array([lookup[value] for value in values], dtype=np.int64)
