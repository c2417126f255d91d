# SPDX-License-Identifier: Apache-2.0
"""The maps of a run as a whole: class averages, deletion curves and the check against random weights, each as PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gazeray.explain.summary import MapSummary
from gazeray.explain.verdict import PARTLY, SAME
from gazeray.report import figures
from gazeray.report.example_figure import GRADIENT_COLOURS, HEATMAP_COLOURS

ACROSS = 4
"""Classes beside each other, at most; more go on below."""

METHOD_STYLES = {
    "gradient": (figures.BLUE, "-", "gradient"),
    "integrated_gradients": (figures.VERMILION, "--", "integrated gradients"),
    "smoothgrad": (figures.GREEN, "-.", "SmoothGrad"),
    "random": (figures.GREY, ":", "random order"),
    "dwell": (figures.DARK, (0, (5, 1, 1, 1, 1, 1)), "order of dwell"),
}
"""Colour, line and name of each method and order of deletion."""


@dataclass(frozen=True)
class _Row:
    """Panels that share a scale: maps (P, H, W) with their titles. signed: symmetric about 0."""

    name: str
    unit: str
    maps: NDArray[np.float64]
    signed: bool


def class_maps(
    summary: MapSummary,
    classes: Sequence[str],
    window_px: tuple[float, float],
    unit: str = "ms",
    by: Literal["label", "predicted"] = "label",
) -> bytes:
    """Per class (a column) the mean picture and, per method (a row), the mean signed map on the stimulus' axes, px.

    A row shares one scale; for maps it is symmetric about 0 and ends at the 99.5th percentile of their size. The lines
    are the mean picture of the class at a quarter, half and three quarters of its highest value.

    Args:
        classes: K names. window_px: (width, height) of the stimulus window. unit: of the pictures.
        by: "label" averages maps of the true label's logit over the examples of that label, "predicted" those of the
            predicted class's logit over the examples so predicted.

    Raises ValueError: as many names as there are classes were not given.
    """
    _check(summary, classes)
    dwell, counts = summary.mean(f"dwell_{by}"), getattr(summary, f"count_{by}")
    rows = [_Row("mean picture", unit, dwell, signed=False)]
    rows += [
        _Row(f"mean {METHOD_STYLES[name][2]}", _unit(name, unit), maps, signed=True)
        for name, maps in zip(summary.methods.tolist(), summary.mean(f"signed_{by}"), strict=True)
    ]
    kind = "" if by == "label" else "predicted "
    titles = [f"{kind}{figures.shorten(name)} (n = {count})" for name, count in zip(classes, counts, strict=True)]
    return _panels(rows, titles, window_px, dwell)


def class_differences(
    summary: MapSummary,
    classes: Sequence[str],
    window_px: tuple[float, float],
    unit: str = "ms",
    by: Literal["label", "predicted"] = "label",
) -> bytes:
    """Differences between the class means of `class_maps`: of two classes the last minus the first in one column; of
    more, each minus the mean of the others. Every row is signed, with its own scale; a class without examples makes
    the differences that need it blank. Arguments and errors as there.
    """
    _check(summary, classes)
    if len(classes) < 2:
        raise ValueError("a difference between classes needs two classes")
    rows = [_Row("mean picture", unit, _against_others(summary.mean(f"dwell_{by}")), signed=True)]
    rows += [
        _Row(f"mean {METHOD_STYLES[name][2]}", _unit(name, unit), _against_others(maps), signed=True)
        for name, maps in zip(summary.methods.tolist(), summary.mean(f"signed_{by}"), strict=True)
    ]
    minus = "\N{MINUS SIGN}"
    titles = [f"{figures.shorten(name)} {minus} mean of the others" for name in classes]
    if len(classes) == 2:
        titles = [f"{figures.shorten(classes[1])} {minus} {figures.shorten(classes[0])}"]
    return _panels(rows, titles, window_px, None)


def deletion_curves(summary: MapSummary) -> bytes:
    """Mean probability of the predicted class against the share of pixels made blank, most relevant first.

    One curve per method, one for a random order, one for the order of dwell; the legend gives the area, 0..1.
    """
    entries = summary.figures()
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.new_figure(figures.PAGE_IN * 0.75, 3.4)
        axis = figure.subplots()
        for row, name in enumerate([*summary.methods.tolist(), "random", "dwell"]):
            colour, line, title = METHOD_STYLES[name]
            first = summary.methods.tolist()[0]
            area = entries[name]["deletion_auc"] if name in entries else entries[first][f"deletion_auc_{name}"]
            label = f"{title}, area {area:.3f}" if area is not None else f"{title}: not checked"
            marks = {"marker": ".", "markersize": 4, "linewidth": 1.4}
            axis.plot(100 * summary.fractions, summary.curve(row), color=colour, linestyle=line, label=label, **marks)
        axis.set(xlim=(-1, 101), ylim=(-0.01, 1.01), xlabel="pixels made blank (%)")
        axis.set_ylabel("mean probability of the predicted class")
        axis.set_title(f"{int(summary.checked.sum())} examples", loc="left")
        figure.legend(loc="outside right upper")
        return figures.to_png(figure)


def randomisation(summary: MapSummary) -> bytes:
    """Rank correlations of |map|, one row per method: with maps of random weights, and with the picture itself.

    Box: quartiles and median; whiskers: 5th and 95th percentile over examples and networks. The dashed lines are the
    limits of the verdict. A method without finite values says so.
    """
    methods, low = summary.methods.tolist(), -0.1
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.new_figure(figures.PAGE_IN * 0.75, 1.2 + 0.55 * len(methods))
        axis = figure.subplots()
        for row, _ in enumerate(methods):
            kinds = (
                (summary.random_weights[row], -0.18, figures.BLUE),
                (summary.dwell_likeness[row], 0.18, figures.PALE),
            )
            for values, shift, colour in kinds:
                finite = values[np.isfinite(values)]
                if not finite.size:
                    axis.annotate("not measured", (0.0, row + shift), va="center", color=figures.GREY)
                    continue
                low = min(low, float(np.percentile(finite, 5)) - 0.05)
                axis.boxplot(finite, positions=[row + shift], widths=0.28, orientation="horizontal", whis=(5, 95),
                             showfliers=False, patch_artist=True, boxprops={"facecolor": colour, "linewidth": 0.6},
                             medianprops={"color": figures.DARK, "linewidth": 1.4})  # fmt: skip
        for limit in (PARTLY, SAME):
            axis.axvline(limit, color=figures.VERMILION, linestyle="--", linewidth=1)
        axis.set_yticks(range(len(methods)), [METHOD_STYLES[name][2] for name in methods])
        axis.set(xlim=(low, 1.02), ylim=(len(methods) - 0.5, -0.5), xlabel="rank correlation of |map|")
        keys = [
            Patch(color=figures.BLUE, label="with maps of random weights"),
            Patch(color=figures.PALE, label="with the picture"),
            Line2D([], [], color=figures.VERMILION, linestyle="--", label=f"limits {PARTLY}, {SAME}"),
        ]
        figure.legend(handles=keys, loc="outside upper left", ncols=3)
        return figures.to_png(figure)


def _check(summary: MapSummary, classes: Sequence[str]) -> None:
    if len(classes) != len(summary.count_label):
        raise ValueError(f"the map summary has {len(summary.count_label)} classes, not {len(classes)}")


def _unit(method: str, unit: str) -> str:
    return "logit" if method == "integrated_gradients" else f"logit per {unit}"


def _against_others(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, H, W): each minus the mean of the others; of two classes (1, H, W), the last minus the first."""
    if len(maps) == 2:
        return maps[1:] - maps[:1]
    return (maps - maps.mean(axis=0)) * len(maps) / (len(maps) - 1)


def _panels(
    rows: Sequence[_Row],
    titles: Sequence[str],
    window_px: tuple[float, float],
    outlines: NDArray[np.float64] | None,
) -> bytes:
    """A grid of maps: a row of panels and a colour bar per row; panels beyond `ACROSS` go on in further rows."""
    across = min(ACROSS, len(titles))
    blocks = math.ceil(len(titles) / across)
    width_in = figures.PAGE_IN if across > 1 else figures.PAGE_IN * 0.6
    panel_in = min((width_in - 1.3) / across, 3.0 * window_px[0] / window_px[1])
    tall_in = panel_in * window_px[1] / window_px[0]
    with matplotlib.rc_context({**figures.STYLE, "axes.titlesize": 7.5, "axes.labelsize": 7.5, "xtick.labelsize": 7}):
        figure = figures.new_figure(panel_in * across + 1.3, blocks * (len(rows) * (tall_in + 0.3) + 0.3))
        axes = figure.subplots(blocks * len(rows), across, squeeze=False, sharex=True, sharey=True)
        for index, axis in np.ndenumerate(axes):
            block, row = divmod(index[0], len(rows))
            panel = block * across + index[1]
            if panel >= len(titles):
                axis.set_axis_off()
                continue
            image = _panel(axis, rows[row], panel, window_px, outlines)
            below = index[0] + 1 < len(axes) and (row + 1 < len(rows))
            title = f"{rows[row].name}: {titles[panel]}"
            axis.set_title(figures.shorten(title, max(18, int(panel_in / 0.062))), loc="left", pad=3)
            axis.set(xlabel="" if below else "x (px)", ylabel="" if index[1] else "y (px)")
            axis.xaxis.set_major_locator(MaxNLocator(max(2, int(panel_in / 0.45))))
            axis.yaxis.set_major_locator(MaxNLocator(max(2, int(tall_in / 0.3))))
            if index[1] == 0:
                _colour_bar(figure, image, axes[index[0]].tolist(), rows[row], tall_in)
        return figures.to_png(figure)


def _panel(
    axis: Any, row: _Row, panel: int, window_px: tuple[float, float], outlines: NDArray[np.float64] | None
) -> Any:
    width, height = window_px
    sizes = np.abs(row.maps[np.isfinite(row.maps)])
    end = float(np.percentile(sizes, 99.5 if row.signed else 100) or sizes.max()) if sizes.size else 0.0
    end = end or 1.0
    colours = GRADIENT_COLOURS if row.signed else HEATMAP_COLOURS
    image = axis.imshow(row.maps[panel], cmap=colours, vmin=-end if row.signed else 0, vmax=end, aspect="auto",
                        extent=(0, width, height, 0), interpolation="nearest")  # fmt: skip
    axis.spines[:].set_visible(True)
    axis.tick_params(length=2.5)
    if not np.isfinite(row.maps[panel]).any():
        axis.annotate("no example", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")
    elif row.signed and outlines is not None:
        _outline(axis, outlines[panel], width, height)
    return image


def _outline(axis: Any, picture: NDArray[np.float64], width: float, height: float) -> None:
    """Contours of the mean picture, drawn at the centres of its pixels."""
    tall, wide = picture.shape
    top = picture.max()
    if min(tall, wide) < 2 or not np.isfinite(top) or not picture.min() < 0.75 * top:
        return
    x, y = (np.arange(wide) + 0.5) * width / wide, (np.arange(tall) + 0.5) * height / tall
    axis.contour(
        x, y, picture, levels=[share * top for share in (0.25, 0.5, 0.75)], colors=figures.DARK, linewidths=0.5
    )


def _colour_bar(figure: Any, image: Any, panels: list[Any], row: _Row, tall_in: float) -> None:
    """The colour bar of a row, with its unit; a power of ten that the ticks share goes to the label."""
    high = image.norm.vmax
    power = math.floor(math.log10(high))
    power = power if not -2 <= power <= 3 else 0
    bar = figure.colorbar(image, ax=panels, extend="both" if row.signed else "neither", aspect=max(6.0, 12 * tall_in),
                          fraction=0.04, pad=0.01)  # fmt: skip
    ticks = MaxNLocator(max(2, int(tall_in / 0.28)), symmetric=row.signed).tick_values(image.norm.vmin, high)
    shown = [float(tick) for tick in ticks if image.norm.vmin <= tick <= high]
    bar.set_ticks(shown, labels=[f"{tick / 10.0**power:.3g}".replace("-", "\N{MINUS SIGN}") for tick in shown])
    parts = [row.unit, f"1e{power}"] if power else [row.unit]
    if tall_in < 1:  # too low for words that run upwards
        bar.set_label("\n".join(parts).replace(" per ", "\nper "), rotation=0, ha="left", va="center", labelpad=4)
    else:
        bar.set_label(", ".join(parts), labelpad=2)
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(length=2.5)
