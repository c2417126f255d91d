# SPDX-License-Identifier: Apache-2.0
"""What the model card says of the networks that tell labels from gaze, body and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from gazeray.config import Section
from gazeray.gaze.signals_config import SignalsConfig
from gazeray.learn.space import with_setting
from gazeray.report.model_card import Card
from gazeray.report.results import HEADLINE, Results
from gazeray.report.sections.classification import against_chance, held_out
from gazeray.report.sections.flow import ends
from gazeray.report.sections.provenance import NOBODY, simulated
from gazeray.report.sections.without_gaze import best_gain
from gazeray.report.words import counted, plural
from gazeray.studies.emotion.config import ModelConfig, ScanpathConfig
from gazeray.studies.emotion.views import SEES, label_of, model_of
from gazeray.studies.emotion.words import EXPLAINED, credited, whom

S = TypeVar("S", bound=Section)

WEIGHTS = "checkpoint/model.safetensors"

CODE = """
import torch
from safetensors.torch import load_file

from gazeray.models.emotion import Fusion, Head, PictureNet, ScanpathNet, SeriesNet

state = load_file("units/{unit}/checkpoint/model.safetensors")
weights = {{name: value for name, value in state.items() if not name.startswith("learner.")}}
branches, inputs = {{}}, {{}}
{branches}
model = Fusion(branches, {{{heads}}}, {dropout}).eval()
model.load_state_dict(weights)
with torch.inference_mode():
    for label, log_p in model(inputs).items():  # of levels as frequent as the loss saw them
        often = (state[f"learner.prior.{{label}}"] / state[f"learner.trained_prior.{{label}}"]).nan_to_num()
        print(label, log_p.exp() * often / (log_p.exp() * often).sum())
"""

SERIES = """
branches["series"] = SeriesNet({inputs}, {samples}, "{recurrence}", "{size}")
inputs["series"] = torch.zeros(1, {inputs}, {samples})  # {channels}: less learner.channel_mean, by
# learner.channel_spread, 0 where it is lost; then the same channels again, 1 where they are there; this one is lost
"""

SCANPATH = """
branches["scanpath"] = ScanpathNet({side}, "{size}")
inputs["scanpath"] = torch.zeros(1, 1, {side}, {side})  # grey levels, 0 to 255; this one is empty
"""

PICTURE = """
width = next(values for name, values in weights.items() if name.startswith("branches.picture.out")
             and name.endswith("weight")).shape[-1]
branches["picture"] = PictureNet(torch.nn.Identity(), width, "{size}")
inputs["picture"] = torch.zeros(1, width)  # what the frozen {arch} says of a picture; this one is nothing
"""


def card(results: Results, views: Sequence[Results]) -> Card:
    """The card, from what the run found. views: of the labels that were scored."""
    unshown = [words for view in views if (words := _unshown(view))] or ["Nothing was scored."] * (not views)
    names, used = [label_of(view) for view in views], (results.manifest.get("branches") or {}).get("used") or []
    shown = [name for view, name in zip(views, names, strict=True) if not _unshown(view)]
    loading, code = _loading(results)
    folds = len(results.manifest.get("folds") or [])
    return Card(
        unshown=unshown,
        model=[
            f"{counted(folds, 'network')}, one for each fold of a cross-validation; the scores are those of all of "
            "them together. No single one of them has earned these scores.",
            f"It sees: {', '.join(f'{SEES[name]} ({name})' for name in used if name in SEES)}.",
            f"It gives probabilities of the levels of {', '.join(names) or 'no label'}.",
        ],
        uses=[
            *([f"In a study: how far {', '.join(shown)} can be told in {whom(results)}."] * bool(shown)),
            "Comparison with other models in the same folds of the same data.",
            "To find out which signals it relies on, and whether that holds on new data.",
        ],
        misuses=[
            *(["What is not shown: see the first lines."] if unshown else []),
            "To tell what a person feels. The labels are ratings that people gave; the scores are those of a group, "
            "and say little about one person.",
            "Decisions about single people, in work, education, security, health or advertising. In the European Union "
            "systems that infer emotions at work and in education are prohibited, with exceptions (Regulation (EU) "
            "2024/1689, article 5).",
            "Other trackers, sensors, pictures or populations than those of the data: nothing of this kind was tested.",
        ],
        data=_data(results),
        loading=loading,
        code=code,
    )


def _unshown(view: Results) -> str:
    """What is not shown of a label: that anything is told, or that it takes gaze and body."""
    name = label_of(view)
    if leaks := view.metrics.get("leaks"):
        return f"The split leaks ({str(leaks).rstrip('.')}): nothing is shown of {name} beyond that."
    if against_chance(view).side != "above":
        return f"Not shown: that this model tells {name} above chance. Do not use it for that."
    gain = best_gain(view, model_of(view), HEADLINE, held_out(view))
    if gain is None:
        return f"Not asked: whether {name} can be told as well without gaze and body."
    if gain.found.side != "above":
        row = credited(view)
        had = f" All of it may be {EXPLAINED[row][0]}." if row else ""
        return f"Not shown: that gaze and body add anything to {name} beyond what can be had without them.{had}"
    return ""


def _data(results: Results) -> list[str]:
    (_, used), data = ends(results), results.manifest["data"]
    labels = ", ".join(f"{one['name']} ({', '.join(map(str, one['levels']))})" for one in data["labels"])
    return [
        *([NOBODY] if simulated(results) else []),
        f"{data['dataset']}, licence {data['licence'] or 'not stated'}: {counted(used['trials'], 'trial')} of "
        f"{counted(used['people'], 'participant')} {plural(used['trials'], 'was', 'were')} used, on "
        f"{counted(results.counts['stimuli'], 'picture')}. Labels: {labels}.",
        f"Tested on {whom(results)}.",
    ]


def _loading(results: Results) -> tuple[str, str]:
    """How the weights of the first fold that kept some are loaded."""
    units = [f"fold-{fold['fold']}" for fold in results.manifest.get("folds") or []]
    kept = [(place, unit) for place, unit in enumerate(units)
            if f"units/{unit}/{WEIGHTS}" in (results.units.get(unit) or {}).get("files", {})]  # fmt: skip
    if not kept:
        return "No weights lie in this folder.", ""
    place, unit = kept[0]
    if (results.config.get("picture") or {}).get("unfreeze"):
        words = f"{counted(len(kept), 'fold')} left weights, in units/, with those of the blocks that were trained of "
        return words + "the network that sees the picture, which gazeray.studies.emotion.network makes.", ""
    searched = results.manifest.get("searched")
    chosen = dict(searched[place]["values"]) if searched else {}
    words = (
        f"With gazeray installed, run this in the run folder. {counted(len(kept), 'fold')} left weights: this loads "
    )
    words += f"{unit}, which was fitted with the setting that its search chose." if searched else f"{unit}."
    return words, _code(results, unit, chosen)


def _code(results: Results, unit: str, chosen: Mapping[str, Any]) -> str:
    """Python that makes the network of a unit and loads its weights. chosen: by a search, dotted key -> value."""
    model = _section(results, "model", ModelConfig, chosen)
    signals = _section(results, "signals", SignalsConfig, chosen)
    scanpath = _section(results, "scanpath", ScanpathConfig, chosen)
    names = [str(one["name"]) for one in results.manifest.get("channels") or []]
    used = [name for name in (results.manifest.get("branches") or {}).get("used") or [] if name in model.branches]
    parts = {
        "series": SERIES.format(inputs=2 * len(names), samples=signals.samples, recurrence=model.recurrence,
                                size=model.size, channels=" ".join(", ".join(names).split())),
        "scanpath": SCANPATH.format(side=scanpath.side_px, size=model.size),
        "picture": PICTURE.format(size=model.size, arch=(results.manifest.get("network") or {}).get("arch", "network")),
    }  # fmt: skip
    heads = ", ".join(
        f"{one['name']!r}: Head({len(one['levels'])}, {model.head == 'ordinal' and bool(one['ordered'])})"
        for one in results.manifest["data"]["labels"]
    )
    built = "\n".join(parts[name].strip() for name in used)
    return CODE.format(unit=unit, branches=built, heads=heads, dropout=model.dropout)


def _section(results: Results, name: str, kind: type[S], chosen: Mapping[str, Any]) -> S:
    """A section of the config with what was chosen in it."""
    start = f"{name}."
    values = {key.removeprefix(start): value for key, value in chosen.items() if key.startswith(start)}
    return with_setting(kind.model_validate(results.config.get(name) or {}), values)
