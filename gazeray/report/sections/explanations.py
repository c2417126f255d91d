# SPDX-License-Identifier: Apache-2.0
"""The section on explanations: do the maps say anything about the model, and class averages of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from gazeray.explain.verdict import PARTLY, SAME
from gazeray.metrics.permutation import claim
from gazeray.report import figures
from gazeray.report.blocks import ROW, WIDE, Block, Cell, Column, Figure, FigureRow, Heading, Section, Table, Text
from gazeray.report.figures import BLUE, DARK, GREEN, GREY, PALE, VERMILION, drawing, shorten
from gazeray.report.results import HEADLINE, Results
from gazeray.report.sections.classification import held_out
from gazeray.report.sections.gallery import Given
from gazeray.report.words import counted, interval, map_meaning, map_unit, method_name, number
from gazeray.storage import Folder

if TYPE_CHECKING:
    from gazeray.explain.summary import MapSummary

ACROSS = 4
"""Classes beside each other, at most; more go on below."""

METHOD_STYLES = {
    "gradient": (BLUE, "-"),
    "integrated_gradients": (VERMILION, "--"),
    "smoothgrad": (GREEN, "-."),
    "random": (GREY, ":"),
    "dwell": (DARK, (0, (5, 1, 1, 1, 1, 1))),
}
"""Colour and line of each method and order of deletion."""

ORDERS = {"random": "random order", "dwell": "order of dwell"}

INTRO = (
    "Two checks before a map is read. Deletion: pixels are made blank in the order of the map, and the probability of "
    "the predicted class is followed; a smaller area under that curve is a better map. It has to beat a random order, "
    "and the order of the dwell itself, to say more than “the gaze was there” (Petsiuk et al., 2018; Samek et al., "
    "2017). Randomisation: the maps are made again with networks of the same shape and random weights; a rank "
    "correlation near 1 means that the map does not depend on what was learned (Adebayo et al., 2018)."
)


UNSHOWN = (
    "It is not shown that the model predicts above chance. Its maps tell what it reacts to, right or wrong, and "
    "nothing of how the classes differ."
)


def section(run: Folder, results: Results, given: Given) -> Section | None:
    """The checks of metrics.json and the figures of explain.npz; None when the run has neither.

    Raises ValueError when explain.npz is no map summary, or one of other classes than the manifest's.
    """
    rows, groups = check_rows(results), map_figures(run, results, given)
    if not rows and not groups:
        return None
    blocks: list[Block] = [Text(INTRO)] if _predicts(results) else [Text(UNSHOWN), Text(INTRO)]
    if rows:
        words = (
            "Gains are areas of the other order minus the map’s, with the 95 % bootstrap interval over participants; "
            "correlations are medians with their quartiles."
        )
        heads = ("deletion area: map", "random order", "order of dwell", "gain over random order",
                 "gain over order of dwell", "correlation with random weights")  # fmt: skip
        columns = [Column("method", ROW), Column("verdict", WIDE), *map(Column, heads)]
        blocks += [Text(words, small=True), Table("Checks of the maps", columns, rows, style="compact")]
    for title, drawn in groups.items():
        blocks += [Heading(title), FigureRow(drawn)]
    return Section("explanations", "What the maps say", "Maps", blocks)


def _predicts(results: Results) -> bool:
    """May it be claimed that the model is above chance?"""
    entry = (results.metrics.get("metrics") or {}).get(HEADLINE) or {}
    test = results.metrics.get("permutation") or {}
    return claim(entry.get("ci95"), entry.get("chance"), test, held_out(results)).side == "above"


def check_rows(results: Results) -> list[list[Cell | str]]:
    """Per method: name, verdict, areas under the deletion curves (map, random order, order of dwell), how much smaller
    the map's is than the other two, median correlation with random weights."""
    rows = []
    for method, entry in (results.metrics.get("explanations") or {}).items():
        areas = [number(entry[name]) for name in ("deletion_auc", "deletion_auc_random", "deletion_auc_dwell")]
        gained = [entry[f"gain_over_{order}"] or {} for order in ORDERS]
        gains = [Cell(number(gain.get("value"), signed=True), interval(gain.get("ci95"), signed=True))
                 for gain in gained]  # fmt: skip
        check = entry["randomisation_correlation"]
        correlation = Cell(number(check["median"], 2), interval(check["iqr"], 2))
        rows.append([method_name(method), entry["verdict"], *areas, *gains, correlation])
    return rows


def map_figures(run: Folder, results: Results, given: Given) -> dict[str, list[Figure]]:
    """The figures of explain.npz by heading; empty when the run has none. Raises ValueError, see `section`."""
    if not run.exists("explain.npz"):
        return {}
    # Here, since most runs of older versions have no map summary, and this imports PyTorch.
    from gazeray.explain.summary import MapSummary

    summary, classes, window = MapSummary.from_npz(run.read_bytes("explain.npz")), results.classes, window_px(results)
    if len(classes) != len(summary.count_label):
        raise ValueError(f"the map summary has {len(summary.count_label)} classes, not {len(classes)}")
    counts = ", ".join(f"{name}: {count}" for name, count in zip(classes, summary.count_label, strict=True))
    meanings = [_capital(map_meaning(method, given.stuff)) for method in summary.methods.tolist()]
    averages = [
        Figure(
            "class_maps",
            class_maps(summary, classes, window, given.unit),
            f"Mean picture and mean map per class and method. Examples: {counts}.",
            f"Means over the test examples of each true class ({counts}). Maps are of the logit of that class. "
            f"{'. '.join(meanings)}. Blue: the opposite. Lines: the mean picture at 25, 50 and 75 % of its peak.",
        )
    ]
    if len(classes) > 1:
        other = f"{classes[1]} minus {classes[0]}" if len(classes) == 2 else "each class minus the mean of the others"
        words = f"Difference of the class means: {other}."
        png = class_differences(summary, classes, window, given.unit)
        averages.append(Figure("class_differences", png, words, words))
    examples = counted(int(summary.checked.sum()), "test example")
    areas = "; ".join(f"{row[0]} {row[2]}" for row in check_rows(results))
    checks = [
        Figure(
            "deletion_curves",
            deletion_curves(summary),
            f"Deletion curves of {examples}. Areas: {areas or 'see the legend'}.",
            f"Deletion over {examples}: the faster a curve falls, the more the model relies on what the map puts "
            "first.",
        ),
        Figure(
            "randomisation",
            randomisation(summary),
            f"Rank correlations of the maps of {examples} with maps of random weights and with the picture.",
            "Rank correlation of the size of a map with maps of networks with random weights, and with the picture "
            "itself; box: quartiles, whiskers: 5th and 95th percentile.",
        ),
    ]
    return {"Checks": checks, "Averages over classes": averages}


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def window_px(results: Results) -> tuple[float, float]:
    """(width, height) of the commonest stimulus window, px."""
    names = ["window_width_px", "window_height_px"]
    sizes = results.predictions.select(names).group_by(names).aggregate([([], "count_all")]).to_pylist()
    width, height = min((-size["count_all"], *(size[name] for name in names)) for size in sizes)[1:]
    return float(width), float(height)


# -- averages over classes


class _Maps(NamedTuple):
    """Panels that share a scale: maps (P, H, W). signed: symmetric about 0."""

    name: str
    unit: str
    maps: NDArray[np.float64]
    signed: bool


@drawing(figures.SMALL)
def class_maps(summary: MapSummary, classes: Sequence[str], window_px: tuple[float, float], unit: str = "ms") -> Any:
    """Per true class (a column) the mean picture and, per method (a row), the mean signed map of that class's logit, on
    the stimulus' axes, px.

    A row shares one scale; for maps it is symmetric about 0 and ends at the 99.5th percentile of their size. The lines
    are the mean picture of the class at a quarter, half and three quarters of its highest value. classes: K names.
    window_px: (width, height) of the stimulus window. unit: of the pictures.
    """
    rows, counts = _means(summary, unit), summary.count_label
    titles = [f"{shorten(name)} (n = {count})" for name, count in zip(classes, counts, strict=True)]
    return _panels(rows, titles, window_px, rows[0].maps)


@drawing(figures.SMALL)
def class_differences(
    summary: MapSummary, classes: Sequence[str], window_px: tuple[float, float], unit: str = "ms"
) -> Any:
    """Differences between the class means of `class_maps`: of two classes the last minus the first in one column; of
    more, each minus the mean of the others. Every row is signed, with its own scale; a class without examples makes
    the differences that need it blank. Arguments as there.
    """
    rows = [_Maps(row.name, row.unit, _against_others(row.maps), signed=True) for row in _means(summary, unit)]
    minus = "\N{MINUS SIGN}"
    titles = [f"{shorten(name)} {minus} mean of others" for name in classes]
    if len(classes) == 2:
        titles = [f"{shorten(classes[1])} {minus} {shorten(classes[0])}"]
    return _panels(rows, titles, window_px, None)


def _means(summary: MapSummary, unit: str) -> list[_Maps]:
    """The mean picture of every class, and the mean map of every method."""
    maps = zip(summary.methods.tolist(), summary.mean("signed_label"), strict=True)
    return [
        _Maps("mean picture", unit, summary.mean("dwell_label"), signed=False),
        *(_Maps(f"mean {method_name(name)}", map_unit(name, unit), mean, signed=True) for name, mean in maps),
    ]


def _against_others(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, H, W): each minus the mean of the others; of two classes (1, H, W), the last minus the first."""
    if len(maps) == 2:
        return maps[1:] - maps[:1]
    return (maps - maps.mean(axis=0)) * len(maps) / (len(maps) - 1)


def _panels(
    rows: Sequence[_Maps], titles: Sequence[str], window: tuple[float, float], outlines: NDArray[np.float64] | None
) -> Any:
    """A grid of maps: a row of panels and a colour bar per row; panels beyond `ACROSS` go on in further rows."""
    blocks, across = figures.grid(len(titles), ACROSS)
    width_in = figures.PAGE_IN if across > 1 else figures.PAGE_IN * 0.6
    panel_in = min((width_in - 1.3) / across, 3.0 * window[0] / window[1])
    tall_in = panel_in * window[1] / window[0]
    figure = figures.new_figure(panel_in * across + 1.3, blocks * (len(rows) * (tall_in + 0.4) + 0.3))
    axes = figure.subplots(blocks * len(rows), across, squeeze=False, sharex=True, sharey=True)
    for index, axis in np.ndenumerate(axes):
        block, row = divmod(index[0], len(rows))
        panel = block * across + index[1]
        if panel >= len(titles):
            axis.set_axis_off()
            continue
        image = _panel(axis, rows[row], panel, window, outlines)
        below = index[0] + 1 < len(axes) and (row + 1 < len(rows))
        axis.set_title(_title(rows[row].name, titles[panel], max(18, int(panel_in / 0.062))), loc="left", pad=3)
        axis.set(xlabel="" if below else "x (px)", ylabel="" if index[1] else "y (px)")
        figures.map_axis(axis, panel_in, tall_in)
        if index[1] == 0:
            _colour_bar(figure, image, axes[index[0]].tolist(), rows[row], tall_in)
    return figure


def _title(name: str, title: str, limit: int) -> str:
    """What is shown, and of which class: on two lines where one is too short, cut where these are."""
    whole = f"{name}: {title}"
    return whole if len(whole) <= limit else f"{shorten(name, limit)}:\n{shorten(title, limit)}"


def _panel(axis: Any, row: _Maps, panel: int, window: tuple[float, float], outlines: Any) -> Any:
    end, (width, height) = figures.scale_end(row.maps, 99.5 if row.signed else 100), window
    colours = figures.SIGNED_COLOURS if row.signed else figures.AMOUNT_COLOURS
    image = axis.imshow(row.maps[panel], cmap=colours, vmin=-end if row.signed else 0, vmax=end, aspect="auto",
                        extent=(0, width, height, 0), interpolation="nearest")  # fmt: skip
    if not np.isfinite(row.maps[panel]).any():
        axis.annotate("no example", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")
    elif row.signed and outlines is not None:
        figures.outline(axis, outlines[panel], window)
    return image


def _colour_bar(figure: Any, image: Any, axes: list[Any], row: _Maps, tall_in: float) -> None:
    """The colour bar of a row, with its unit."""
    bar = figure.colorbar(image, ax=axes, extend="both" if row.signed else "neither", aspect=max(6.0, 12 * tall_in),
                          fraction=0.04, pad=0.01)  # fmt: skip
    parts = [row.unit, *filter(None, [figures.scale_bar(bar, max(2, int(tall_in / 0.28)))])]
    if tall_in < 1:  # too low for words that run upwards
        bar.set_label("\n".join(parts).replace(" per ", "\nper "), rotation=0, ha="left", va="center", labelpad=4)
    else:
        bar.set_label(", ".join(parts), labelpad=2)


# -- checks


@drawing()
def deletion_curves(summary: MapSummary) -> Any:
    """Mean probability of the predicted class against the share of pixels made blank, most relevant first.

    One curve per method, one for a random order, one for the order of dwell; the legend gives the area, 0..1.
    """
    entries, first = summary.figures(), summary.methods.tolist()[0]
    figure = figures.new_figure(figures.PAGE_IN * 0.75, 3.4)
    axis = figure.subplots()
    for row, name in enumerate([*summary.methods.tolist(), *ORDERS]):
        colour, line = METHOD_STYLES[name]
        area = entries[name]["deletion_auc"] if name in entries else entries[first][f"deletion_auc_{name}"]
        title = ORDERS.get(name, method_name(name))
        label = f"{title}, area {area:.3f}" if area is not None else f"{title}: not checked"
        axis.plot(100 * summary.fractions, summary.curve(row), color=colour, linestyle=line, label=label, marker=".",
                  markersize=4, linewidth=1.4)  # fmt: skip
    axis.set(xlim=(-1, 101), ylim=(-0.01, 1.01), xlabel="pixels made blank (%)")
    axis.set_ylabel("mean probability of the predicted class")
    axis.set_title(counted(int(summary.checked.sum()), "example"), loc="left")
    figure.legend(loc="outside right upper")
    return figure


@drawing()
def randomisation(summary: MapSummary) -> Any:
    """Rank correlations of |map|, one row per method: with maps of random weights, and with the picture itself.

    Box: quartiles and median; whiskers: 5th and 95th percentile over examples and networks. The dashed lines are the
    limits of the verdict. A method without finite values says so.
    """
    methods, low = summary.methods.tolist(), -0.1
    figure = figures.new_figure(figures.PAGE_IN * 0.75, 1.2 + 0.55 * len(methods))
    axis = figure.subplots()
    for row, _ in enumerate(methods):
        kinds = ((summary.random_weights[row], -0.18, BLUE), (summary.dwell_likeness[row], 0.18, PALE))
        for values, shift, colour in kinds:
            finite = values[np.isfinite(values)]
            if not finite.size:
                axis.annotate("not measured", (0.0, row + shift), va="center", color=GREY)
                continue
            low = min(low, float(np.percentile(finite, 5)) - 0.05)
            axis.boxplot(finite, positions=[row + shift], widths=0.28, orientation="horizontal", whis=(5, 95),
                         showfliers=False, patch_artist=True, boxprops={"facecolor": colour, "linewidth": 0.6},
                         medianprops={"color": DARK, "linewidth": 1.4})  # fmt: skip
    for limit in (PARTLY, SAME):
        axis.axvline(limit, color=VERMILION, linestyle="--", linewidth=1)
    axis.set_yticks(range(len(methods)), list(map(method_name, methods)))
    axis.set(xlim=(low, 1.02), ylim=(len(methods) - 0.5, -0.5), xlabel="rank correlation of |map|")
    keys = [
        Patch(color=BLUE, label="with maps of random weights"),
        Patch(color=PALE, label="with the picture"),
        Line2D([], [], color=VERMILION, linestyle="--", label=f"limits {PARTLY}, {SAME}"),
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=3)
    return figure
