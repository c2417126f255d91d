# SPDX-License-Identifier: Apache-2.0
"""The gallery: some correct and some wrong examples of a run, chosen without looking at any score."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.blocks import Examples, Figure, Section, Text
from gazeray.report.results import Results
from gazeray.report.sections.classification import class_indices
from gazeray.report.words import map_meaning, map_unit, method_name, number
from gazeray.storage import Folder

EXAMPLES = 8
"""Correct and wrong examples that are drawn, each: what keeps the page at a few MB however long the study."""


@dataclass(frozen=True)
class Given:
    """What the model was given, in words. stuff: what there is more of where its values are larger."""

    name: str = "gaze heatmap"
    unit: str = "ms"
    stuff: str = "gaze"


def section(run: Folder, results: Results, given: Given) -> Section:
    """Choose and draw the examples. Raises ValueError when a map's label is none of the classes."""
    if not results.maps.num_rows:
        return Section("gallery", "Examples", "Examples", [Text("The run folder holds no maps.")])
    right = pc.equal(results.maps["label"], results.maps["predicted"])
    there = {"correct": results.maps.filter(right), "wrong": results.maps.filter(pc.invert(right))}
    groups = []
    for outcome, rows in there.items():
        drawn = [
            draw_example(run, results, given, row, _scores(results, row), f"example_{outcome}_{index}")
            for index, row in enumerate(choose_examples(rows, EXAMPLES), start=1)
        ]  # fmt: skip
        groups.append(Examples(outcome.capitalize(), drawn, {"outcome": outcome}, f"No {outcome} example."))
    shown = [f"{len(group.figures)} of {there[group.marks['outcome']].num_rows}" for group in groups]
    left_out = sum(len(group.figures) for group in groups) < results.maps.num_rows
    words = (
        "Examples are drawn by a hash of participant and trial, spread over classes and participants, not picked by "
        f"eye. Shown: {shown[0]} correct and {shown[1]} wrong ones"
        f"{'; all of them lie in maps/ of the run folder' if left_out else ''}. Maps are of the logit of the class: "
        f"{map_meaning(_drawn(results), given.stuff)}, blue: the opposite. The scale is symmetric about 0, its "
        "ends are the 99.5th percentile, and it differs between examples. Lines: the picture at 25, 50 and 75 % of its "
        "peak. Axes: px of the stimulus, origin at its top left."
    )
    return Section("gallery", "Examples", "Examples", [Text(words), *groups])


def _drawn(results: Results) -> str:
    """The method of the maps that are drawn, from the config; see `map_method`."""
    methods = sorted((results.config.get("explain") or {}).get("methods") or ["gradient"])
    return "gradient" if "gradient" in methods else str(methods[0])


def _scores(results: Results, row: Mapping[str, Any]) -> Sequence[float] | None:
    """The scores of the prediction that a map belongs to; None where there is none."""
    table = results.predictions
    if not table.num_rows:
        return None
    mine = [pc.equal(table[name], row[name]) for name in ("participant", "trial")]
    found = table["scores"].filter(pc.and_(*mine)).to_pylist()
    return found[-1] if found else None


def choose_examples(table: pa.Table, count: int) -> list[Mapping[str, Any]]:
    """At most `count` rows of a table, spread over labels and then participants; ties go by a hash of the ids.

    The choice depends on participant, trial and label only: not on the order of the rows, nor on any score.
    """
    ids = zip(table["participant"].to_pylist(), table["trial"].to_pylist(), strict=True)
    hashes = [hashlib.sha256(f"{participant}\0{trial}".encode()).digest() for participant, trial in ids]
    left = np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64)
    labels, people = (
        table[name].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        for name in ("label", "participant")
    )
    chosen: list[int] = []
    while len(left) and len(chosen) < count:
        times = [np.bincount(codes[chosen], minlength=codes.max() + 1)[codes[left]] for codes in (labels, people)]
        place = int(np.argmin(times[0] * (count + 1) + times[1]))  # of equals the first, by hash
        chosen.append(int(left[place]))
        left = np.delete(left, place)
    return list(table.take(chosen).to_pylist()) if chosen else []


def draw_example(
    run: Folder, results: Results, given: Given, row: Mapping[str, Any], scores: Sequence[float] | None, name: str
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
        png = example(stored["heatmap"], maps, window, given, method)
    sure = f" with score {number(scores[predicted], 2)}" if scores is not None else ""
    who = f"Participant {row['participant']}, trial {row['trial']}, stimulus {row['stimulus']}"
    caption = f"{who}: {classes[label]}, predicted {classes[predicted]}{sure} (fold {row['fold']})."
    marks = {"outcome": "correct" if label == predicted else "wrong", "participant": row["participant"]}
    return Figure(name, png, f"Picture and {method_name(method)}. {caption}", caption, marks)


def map_method(names: Sequence[str], path: str) -> str:
    """Which of the stored maps is drawn: the gradient where it is there, else the first by name.

    Raises ValueError when there is none.
    """
    methods = sorted(name.removesuffix("_predicted") for name in names if name.endswith("_predicted"))
    if not methods:
        raise ValueError(f"{path}: holds no map of the predicted class")
    return "gradient" if "gradient" in methods else methods[0]


@dataclass(frozen=True)
class _Places:
    """Where the panels of an example go, inches: side by side, or above each other when the window is a wide strip.

    Set by hand: every example of a window has the same size, and a layout engine takes ten times as long.
    """

    stacked: bool
    count: int
    panel: tuple[float, float]

    @classmethod
    def of(cls, window_px: tuple[float, float], count: int) -> _Places:
        """The places of `count` panels of a window (width, height)."""
        width, height = window_px
        stacked = width > 2.2 * height
        page = figures.PAGE_IN if stacked or count > 2 else figures.HALF_IN
        across = page - 1.55 if stacked else min((page - 0.44 - 0.2 * count) / count, 2.5 * width / height)
        return cls(stacked, count, (across, across * height / width))

    @property
    def size(self) -> tuple[float, float]:
        """(width, height) of the figure."""
        across, tall = self.panel
        if self.stacked:
            return across + 1.55, self.count * (tall + 0.26) + 0.42
        return self.count * (across + 0.2) + 0.44, tall + 1.32

    def axis(self, index: int) -> tuple[float, float, float, float]:
        """(left, bottom, width, height) of the panel `index`."""
        across, tall = self.panel
        if self.stacked:
            return 0.52, 0.42 + (self.count - 1 - index) * (tall + 0.26), across, tall
        return 0.52 + index * (across + 0.2), 0.9, across, tall

    def bar(self, first: int, last: int) -> tuple[float, float, float, float]:
        """(left, bottom, width, height) of a colour bar beside (below) the panels `first` to `last`."""
        start, end = self.axis(first), self.axis(last)
        if self.stacked:
            return start[0] + start[2] + 0.1, end[1], 0.08, start[1] + start[3] - end[1]
        return start[0], 0.42, end[0] + end[2] - start[0], 0.08

    def add(self, figure: Any, box: tuple[float, float, float, float]) -> Any:
        """New axes in a box in inches."""
        return figure.add_axes([value / self.size[index % 2] for index, value in enumerate(box)])


@figures.drawing(figures.SMALL)
def example(
    heatmap: NDArray[np.floating[Any]],
    gradients: Mapping[str, tuple[str, NDArray[np.floating[Any]]]],
    window_px: tuple[float, float],
    given: Given | None = None,
    method: str = "gradient",
) -> Any:
    """What the model was given (H, W) beside signed maps on the stimulus' own axes: px, origin top left, y down.

    gradients: "predicted", "true" -> (class, (H, W)). They share one scale, symmetric about 0, whose end is the 99.5th
    percentile of their size; the lines are the picture at a quarter, half and three quarters of its highest value.
    window_px: (width, height). given: names and units; by default those of a gaze heatmap in ms.
    """
    given, places = given or Given(), _Places.of(window_px, 1 + len(gradients))
    width, height = window_px
    dwell = np.asarray(heatmap, dtype=np.float64)
    signed = [np.asarray(values, dtype=np.float64) for _, values in gradients.values()]
    peak = figures.scale_end(dwell, 100.0)
    limit = figures.scale_end(np.concatenate([values.ravel() for values in signed]), 99.5)
    letters = int(places.panel[0] / 0.065)
    placed = {"extent": (0, width, height, 0), "aspect": "auto", "interpolation": "nearest"}
    figure = figures.new_figure(*places.size, layout=None)
    axes = [places.add(figure, places.axis(index)) for index in range(places.count)]
    image = axes[0].imshow(dwell, cmap=figures.AMOUNT_COLOURS, vmin=0, vmax=peak, **placed)
    axes[0].set_title(figures.shorten(given.name, letters), loc="left", pad=3)
    _colour_bar(figure, image, places, (0, 0), given.unit)
    for axis, (kind, (name, _)), values in zip(axes[1:], gradients.items(), signed, strict=True):
        image = axis.imshow(values, cmap=figures.SIGNED_COLOURS, vmin=-limit, vmax=limit, **placed)
        figures.outline(axis, dwell, window_px)
        gap = " " if places.stacked else "\n"
        title = f"{method_name(method)}, {kind}:{gap}{figures.shorten(name, letters)}"
        axis.set_title(title, loc="left", pad=3)
    _colour_bar(figure, image, places, (1, len(signed)), map_unit(method, given.unit))
    for index, axis in enumerate(axes):
        leftmost, lowest = places.stacked or index == 0, not places.stacked or index == places.count - 1
        figures.map_axis(axis, *places.panel)
        axis.tick_params(labelleft=leftmost, labelbottom=lowest)
        axis.set_xlabel("x (px)" if lowest else "", labelpad=2)
        axis.set_ylabel("y (px)" if leftmost else "", labelpad=2)
    return figure


def _colour_bar(figure: Any, image: Any, places: _Places, panels: tuple[int, int], unit: str) -> None:
    """The colour bar of the panels (first, last), with its unit."""
    box = places.bar(*panels)
    bar = figure.colorbar(image, cax=places.add(figure, box), extendfrac=0.04,
                          orientation="vertical" if places.stacked else "horizontal",
                          extend="both" if image.norm.vmin < 0 else "neither")  # fmt: skip
    power = figures.scale_bar(bar, max(3, int(box[3] / 0.25 if places.stacked else box[2] / 0.4)))
    bar.set_label(", ".join(filter(None, (unit, power))), labelpad=2)
