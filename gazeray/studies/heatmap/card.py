# SPDX-License-Identifier: Apache-2.0
"""What the model card says of the networks that tell classes from pictures of gaze."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from gazeray.config import Section
from gazeray.learn.space import with_setting
from gazeray.report.model_card import Card
from gazeray.report.results import HEADLINE, MODEL, Results
from gazeray.report.sections.classification import against_chance, held_out
from gazeray.report.sections.flow import ends
from gazeray.report.sections.provenance import NOBODY, simulated
from gazeray.report.sections.without_gaze import best_gain
from gazeray.report.words import counted, plural
from gazeray.studies.heatmap.config import ModelConfig, PictureKind, RenderConfig
from gazeray.studies.heatmap.words import NAMES, given, whom

S = TypeVar("S", bound=Section)

WEIGHTS = "checkpoint/model.safetensors"

CODE = """
import torch
from safetensors.torch import load_file

from gazeray.models.heatmap_cnn import HeatmapCNN

state = load_file("units/{unit}/checkpoint/model.safetensors")
weights = {{name: value for name, value in state.items() if not name.startswith("learner.")}}
model = HeatmapCNN(in_channels={channels}, size=({height}, {width}), width={filters}, classes={classes}).eval()
model.load_state_dict(weights)
pictures = torch.full((1, {channels}, {height}, {width}), {blank})  # {what}; this one is blank
with torch.inference_mode():
    print(model(pictures).softmax(1))  # shares of {names}
"""


def card(results: Results) -> Card:
    """The card, from what the run found."""
    label, classes = results.manifest["data"]["label"], results.classes
    hold_out = (results.config.get("folds") or {}).get("hold_out", "participants")
    unshown = _unshown(results)
    loading, code = _loading(results)
    folds = results.manifest.get("folds") or []
    others = {"participants": "other stimuli", "stimuli": "other people", "both": "other tasks"}[hold_out]
    others = "whatever else the folds did not hold out" if (results.config.get("folds") or {}).get("path") else others
    shown = f"In a study: how far “{label}” can be told from gaze in {whom(results)}, and what the model reacts to."
    return Card(
        unshown=unshown,
        model=[
            f"{counted(len(folds), 'network')}, one for each fold of a cross-validation; the scores are those of all "
            "of them together, on what each had never seen. No single one of them has earned these scores.",
            f"Two convolutions and a linear layer (HeatmapCNN) that read a picture, {_read(results)}, and give a "
            f"share for each class: {', '.join(classes)}.",
        ],
        uses=[
            *([shown] if not unshown else []),
            "Comparison with other models in the same folds of the same data.",
            "To find out why it fails where it does." if unshown else "To test how far its scores hold on new data.",
        ],
        misuses=[
            *(["What is not shown: see the first lines."] if unshown else []),
            "Decisions about single people, such as diagnosis, selection or surveillance. The scores are those of a "
            "group, and the people in it differ: see below.",
            f"Other screens, eye trackers, languages or populations than those of the data, and {others}: nothing of "
            "this kind was tested.",
        ],
        data=_data(results),
        loading=loading,
        code=code,
    )


def _read(results: Results) -> str:
    """What kind of picture the networks read."""
    kinds = {one["values"].get("render.kind") for one in results.manifest.get("searched") or []}
    return given(results).name if kinds <= {None} else "of the kind that the search of its fold chose"


def _unshown(results: Results) -> list[str]:
    """What is not shown: anything at all, or anything that takes an eye tracker."""
    label = results.manifest["data"]["label"]
    if against_chance(results).side != "above":
        return [f"Not shown: that this model predicts “{label}” above chance. Do not use it for that."]
    gain = best_gain(results, MODEL, HEADLINE, held_out(results))
    if gain is None:
        return [f"Not asked: whether the same score can be had without gaze. Nothing says that “{label}” is in it."]
    if gain.found.side != "above":
        return ["Not shown: that gaze adds anything to what can be had without it. Do not use this model as evidence "
                f"that “{label}” can be read from gaze."]  # fmt: skip
    return []


def _data(results: Results) -> list[str]:
    (_, used), data = ends(results), results.manifest["data"]
    units = [results.units.get(f"fold-{fold['fold']}") or {} for fold in results.manifest.get("folds") or []]
    fitted = [unit["n"] for unit in units if "n" in unit]
    lines = [
        *([NOBODY] if simulated(results) else []),
        f"{data['dataset']}, licence {data['licence'] or 'not stated'}: {counted(used['trials'], 'trial')} of "
        f"{counted(used['people'], 'participant')} {plural(used['trials'], 'was', 'were')} used. The label is "
        f"“{data['label']}”.",
        f"Tested on {whom(results)}.",
    ]
    if fitted:
        spans = [f"{_span([n[side] for n in fitted])} trials {words}" for side, words in
                 (("train", "to fit"), ("validation", "to stop"), ("test", "to test"))]  # fmt: skip
        lines.append(f"In each fold {', '.join(spans)}.")
    return lines


def _span(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _loading(results: Results) -> tuple[str, str]:
    """How the weights of the first fold are loaded, and that those of the others are loaded likewise."""
    kept = [
        (place, unit)
        for place, unit in enumerate(f"fold-{fold['fold']}" for fold in results.manifest.get("folds") or [])
        if f"units/{unit}/{WEIGHTS}" in (results.units.get(unit) or {}).get("files", {})
    ]
    if not kept:
        return "No weights lie in this folder.", ""
    place, unit = kept[0]
    tuned = bool(results.manifest.get("searched"))
    drawn, picture, filters = _made_with(results, place)
    what = {"heatmap": "ms of dwell", "both": "ms of dwell, then a scanpath, 0 to 1"}.get(picture.kind)
    what = what or f"{NAMES.get(picture.kind, picture.kind)}, 0 to 1"
    code = CODE.format(
        unit=unit, channels=picture.channels, height=drawn.height_px, width=drawn.width_px, filters=filters,
        classes=len(results.classes), blank=float(picture.blank), what=what,
        names=" ".join(", ".join(results.classes).replace("`", "'").split()),
    )  # fmt: skip
    words = f"With gazeray installed, run this in the run folder. {counted(len(kept), 'fold')} left weights: "
    words += "each was fitted with the setting that its search chose, and" if tuned else "all are alike, and"
    return f"{words} this loads {unit}. gazeray.gaze.render draws the pictures, as the config says under render.", code


def _made_with(results: Results, place: int) -> tuple[RenderConfig, PictureKind, int]:
    """How the pictures of a fold are drawn, what they are, and the width of its network: the config, and what a search
    chose instead."""
    searched = results.manifest.get("searched")
    chosen = searched[place]["values"] if searched else {}
    render = _section("render", RenderConfig.model_validate(results.config["render"]), chosen)
    model = _section("model", ModelConfig.model_validate(results.config["model"]), chosen)
    picture = PictureKind(**results.manifest["pictures"])
    if picture.kind != "screens":
        picture = PictureKind(render.kind, render.channels, render.blank)
    return render, picture, model.width


def _section(name: str, section: S, chosen: Mapping[str, Any]) -> S:
    """A section of the config with what was chosen in it. chosen: dotted key -> value."""
    start = f"{name}."
    values = {key.removeprefix(start): value for key, value in chosen.items() if key.startswith(start)}
    return with_setting(section, values)
