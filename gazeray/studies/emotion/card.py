# SPDX-License-Identifier: Apache-2.0
"""What the model card says of the networks that tell labels from gaze, body and picture."""

from __future__ import annotations

from collections.abc import Sequence

from gazeray.report.model_card import Card
from gazeray.report.results import HEADLINE, Results
from gazeray.report.sections.classification import against_chance, held_out
from gazeray.report.sections.flow import ends
from gazeray.report.sections.provenance import NOBODY, simulated
from gazeray.report.sections.without_gaze import best_gain
from gazeray.report.words import counted, plural
from gazeray.studies.emotion.views import SEES, label_of, model_of
from gazeray.studies.emotion.words import EXPLAINED, credited, whom

WEIGHTS = "checkpoint/model.safetensors"

CODE = """
from safetensors.torch import load_file

state = load_file("units/{unit}/checkpoint/model.safetensors")
for name, values in state.items():  # what begins with learner. was fitted beside the weights: scalers, shares of levels
    print(name, tuple(values.shape))
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
        had = f" All of it is {EXPLAINED[row][0]}." if row else ""
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
    kept = [unit for unit in (f"fold-{fold['fold']}" for fold in results.manifest.get("folds") or [])
            if f"units/{unit}/{WEIGHTS}" in (results.units.get(unit) or {}).get("files", {})]  # fmt: skip
    if not kept:
        return "No weights lie in this folder.", ""
    words = (
        f"{counted(len(kept), 'fold')} left weights. This lists those of {kept[0]}; the network is "
        "gazeray.models.emotion, made as the config says under model, scanpath and picture."
    )
    return words, CODE.format(unit=kept[0])
