# SPDX-License-Identifier: Apache-2.0
"""No legend lies on what is drawn: neither on curves and bars, nor on titles, labels and ticks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gazeray.report import figures, many
from gazeray.report.sections import classification, explanations, learning, participants
from gazeray.studies.pictures import figures as pictures
from tests.report import fabricate as made

RNG = np.random.default_rng(0)


def covered(figure: Any) -> list[str]:
    """What the legends of a figure that is laid out lie on."""
    legends = [*figure.legends, *(part.legend_ for part in figure.axes if part.legend_)]
    legends += [legend for part in figure.subfigs for legend in part.legends]
    boxes = [legend.get_window_extent().padded(-1) for legend in legends]
    return [f"{kind} under {box}" for box in boxes for axis in figure.axes for kind, hit in _drawn(axis) if hit(box)]


def _drawn(axis: Any) -> Iterator[tuple[str, Callable[[Any], bool]]]:
    """What is drawn in an axis, and whether a box in display coordinates lies on it."""
    for item in [*axis.lines, *axis.collections]:
        inside = axis.bbox if item.get_clip_on() else axis.figure.bbox
        paths = [item.get_path()] if item in axis.lines else item.get_paths()
        for path in paths:
            yield type(item).__name__, functools.partial(_crosses, path.transformed(item.get_transform()), inside)
    texts = [axis.xaxis.label, axis.yaxis.label, axis.title, axis._left_title, *axis.texts]
    for side in (axis.xaxis, axis.yaxis):
        low, high = sorted(side.get_view_interval())
        texts += [tick.label1 for tick in side.get_major_ticks() if low <= tick.get_loc() <= high]
    for item in [*axis.patches, *(text for text in texts if text.get_text() and text.get_visible())]:
        yield type(item).__name__, item.get_window_extent().overlaps


def _crosses(path: Any, inside: Any, box: Any) -> bool:
    """Whether a path goes through the part of a box that lies inside the axis."""
    both = box.intersection(box, inside)
    return both is not None and len(path.vertices) > 0 and bool(path.intersects_bbox(both, filled=False))


def curve(fold: int, epochs: int) -> learning.Curve:
    epoch = np.arange(1.0, 1.0 + epochs)
    return learning.Curve(f"fold {fold}", 2, epoch, 1 / epoch, 1.2 / epoch, RNG.random(epochs))


def summary() -> Any:
    scene = made.Scene(participants=2, trials=4)
    rows = [
        {"participant": f"P{row}", "label": scene.classes[row % 2], "predicted": scene.classes[row % 2]}
        for row in range(8)
    ]
    return made.map_summary(rows, scene)


def roc(classes: int, of: Callable[[np.ndarray], np.ndarray]) -> None:
    """ROC curves of scores that are a function of the truth (N, K)."""
    labels = np.arange(90) % classes
    truth = np.eye(classes)[labels]
    names = [f"a class whose name is long {index}" for index in range(classes)]
    classification.roc(labels, {"model": of(truth), "logistic_regression": 1 - of(truth)}, names)


def distributions() -> None:
    values = RNG.random(100)
    of = many.Spread(values, "balanced accuracy", "participant", (0, 1), 0.5, [("0", values[:50]), ("1", values[50:])])
    many.spread(of)


def layers() -> None:
    values = np.array([[0.5, 0.4, 0.6], [0.9, 0.8, 1.0]])
    panel = pictures.LayerPanel("NSS", {"ridge": values, "readout": values + 0.1},
                                dict.fromkeys(pictures.REFERENCE_STYLES, 0.7))  # fmt: skip
    names = {name: f"what is called {name} in the legend" for name in ("ridge", "readout", *pictures.REFERENCE_STYLES)}
    for count in (1, 5, 9):
        pictures.layer_chart(["layer1", "layer2"], [panel] * count, names)


def bars(count: int) -> None:
    matrices = RNG.integers(0, 6, (count, 2, 2)) + 1
    people = participants.People([f"participant {row:03d} of the second session" for row in range(count)], matrices)
    participants.bars(people.names, people.balanced, people.intervals, people.trials, RNG.random(count) < 0.3, 0.5)


DRAWINGS: dict[str, Callable[[], object]] = {
    "roc_perfect": lambda: roc(2, lambda truth: truth),
    "roc_reversed": lambda: roc(2, lambda truth: 1 - truth),
    "roc_three_random": lambda: roc(3, lambda truth: RNG.random(truth.shape)),
    "roc_seven_reversed": lambda: roc(7, lambda truth: 1 - truth),
    "one_participant": lambda: bars(1),
    "many_participants": lambda: bars(60),
    "spread": distributions,
    "one_fit": lambda: learning.learning_curves([curve(0, 1)]),
    "fits": lambda: learning.learning_curves([curve(fold, 9) for fold in range(9)]),
    "many_fits": lambda: learning.learning_spread([curve(fold, 9) for fold in range(30)], learning.Logged()),
    "deletion": lambda: explanations.deletion_curves(summary()),
    "randomisation": lambda: explanations.randomisation(summary()),
    "layers": layers,
    "centre": lambda: pictures.centre({name: RNG.random((12, 16)) for name in ("one", "two", "three")}),
    "penalties": lambda: pictures.inner_curves(
        [pictures.InnerCurves("layer, ridge", [0.1, 1, 10], RNG.random((5, 3)), [0, 1, 2, 1, 0])] * 5
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_legend_lies_on_what_is_drawn(name: str, drawn: list[Any]) -> None:
    DRAWINGS[name]()
    assert drawn
    for figure in drawn:
        assert figure.legends or any(axis.legend_ for axis in figure.axes) or figure.subfigs
        assert covered(figure) == []
        outside = [axis.get_tightbbox() for axis in figure.axes]
        assert all(figure.bbox.padded(1).count_contains(box.corners()) == 4 for box in outside)


@pytest.mark.parametrize(
    ("place", "found"), [("lower right", True), ("upper left", True), ("outside", False)], ids=["line", "bar", "free"]
)
def test_a_legend_on_a_line_or_a_bar_is_found(place: str, found: bool) -> None:
    figure = figures.new_figure(4, 3)
    axis = figure.subplots()
    axis.plot([0, 1], [1, 0], label="falls to the lower right")
    axis.bar([0.1], [1.0], width=0.2)
    axis.set(xlim=(0, 1), ylim=(0, 1))
    figure.legend(loc="outside upper left") if place == "outside" else axis.legend(loc=place)
    figure.draw_without_rendering()
    assert bool(covered(figure)) == found


def test_every_interval_of_a_participant_is_drawn_around_the_score(drawn: list[Any]) -> None:
    people = participants.People(["A", "B"], np.array([[[6, 0], [0, 6]], [[3, 3], [1, 0]]]))
    participants.bars(people.names, people.balanced, people.intervals, people.trials, np.zeros(2, bool), 0.5)
    segments = drawn[0].axes[0].collections[-1].get_segments()
    assert np.array([segment[:, 1] for segment in segments]) == pytest.approx(people.intervals)
    assert people.intervals[0][1] == 1.0
    assert people.intervals[0][0] < 0.85
    assert people.intervals[1][0] < people.balanced[1] < people.intervals[1][1]
