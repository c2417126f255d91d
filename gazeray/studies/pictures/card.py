# SPDX-License-Identifier: Apache-2.0
"""What the model card says of probes of a frozen network that were fitted to where people look."""

from __future__ import annotations

from gazeray.report.model_card import Card
from gazeray.report.results import Results
from gazeray.report.sections.provenance import NOBODY, simulated
from gazeray.report.words import counted
from gazeray.studies.pictures.words import CHOSEN, beats_centre, headline

WEIGHTS = "checkpoint/model.safetensors"

CODE = """
import torch
from safetensors.torch import load_file

from gazeray.metrics.resampling import pool_to
from gazeray.models.backbone import Backbone
from gazeray.models.probes.{probe} import {classes}
from gazeray.weights import load_weights

fold = 0  # a picture that was not in the data is new to the models of all folds
state = load_file("units/{unit}/checkpoint/model.safetensors")
own = {{name.split(".")[1]: value for name, value in state.items() if name.startswith(f"fold-{{fold}}.")}}
network = Backbone("{arch}", ["{layer}"], load_weights("{weights}", "{arch}")[0], seed={seed})
picture = torch.rand(1, 3, {side}, {side})  # RGB, 0 to 1, the longest side at most {side} px; this one is noise
features = pool_to(network(picture)["{layer}"].float(), {cells})[0].half()
{predict}
"""

PREDICT = {
    "readout": """
model = ReadoutModel(own["weights"], own["centre_weight"].item(), own["log_prior"], own["blur_share"].item())
print(model.log_density(features, (60, 60)))  # rows, columns: as the picture is shaped; natural log, exp sums to 1
""",
    "ridge": """
probe = RidgeProbe({}, {}, {fold: LinearMap(own["weights"], own["intercept"].item())})
print(probe.predict(features.numpy(), (60, 60), fold))  # rows, columns: as the picture is shaped
""",
}
"""How a map is predicted, by the kind of probe whose weights are kept."""

CLASSES = {"readout": "ReadoutModel", "ridge": "LinearMap, RidgeProbe"}


def card(results: Results) -> Card:
    """The card, from what the run found."""
    backbone, unshown = results.manifest["backbone"], _unshown(results)
    probes = [key for key in results.of_kind("model") if key != CHOSEN]
    folds = len(results.manifest.get("folds") or [])
    data, counts = results.manifest["data"], results.counts
    loading, code = _loading(results)
    return Card(
        unshown=unshown,
        model=[
            f"{counted(len(probes), 'probe')}: linear models that predict from one layer of {backbone['arch']} where "
            f"people look, each fitted {folds} times, once for each fold of the pictures.",
            f"The network is frozen (weights: {backbone['weights']}); its layers are {', '.join(backbone['layers'])}.",
        ],
        uses=[
            *([] if unshown else ["To say how much a layer knows of where these people look on pictures like these."]),
            "Comparison of layers, networks and other people’s maps on the same pictures and folds.",
        ],
        misuses=[
            *(["What is not shown: see the first lines."] if unshown else []),
            "To say where one person looks, or ought to look: maps are of a crowd, and people differ.",
            "Pictures, tasks or viewing times of another kind than those of the data: nothing of this kind was tested.",
            "As evidence that people use what the layer computes: a probe tells what can be read from it.",
        ],
        data=[
            *([NOBODY] if simulated(results) else []),
            f"{data['dataset']}, licence {data['licence'] or 'not stated'}: {counted(counts['pictures'], 'picture')}, "
            f"{counted(counts['observers'], 'observer')}, {counted(counts['fixations'], 'fixation')}.",
            f"The pictures were dealt to {folds} folds; each was predicted by models that had never seen it. Observers "
            "were not held out: the scores speak for new pictures seen by these people.",
        ],
        loading=loading,
        code=code,
    )


def _unshown(results: Results) -> list[str]:
    """What is not shown of the model that was picked fairly: that it knows more than where people look anyway."""
    key, fair = headline(results), results.best
    if key is not None and results.entry(CHOSEN, key).get("value") is not None:
        fair = CHOSEN
    if key is not None and fair is not None and beats_centre(results, fair, key):
        return []
    picked = "a layer that was chosen without the test pictures" if fair == CHOSEN else "any of these models"
    return [f"Not shown: that {picked} tells more of where people look than the centre bias of other pictures does. Do "
            "not use it as evidence of that."]  # fmt: skip


def _loading(results: Results) -> tuple[str, str]:
    """How the weights of the best model that keeps some are loaded."""
    kept = {}
    for key in results.of_kind("model"):
        own = results.predictors[key]
        unit = "" if key == CHOSEN else f"{own['probe']}-{own['layer']}"
        if f"units/{unit}/{WEIGHTS}" in (results.units.get(unit) or {}).get("files", {}):
            kept[key] = {**own, "unit": unit}
    best = results.predictors[CHOSEN]["folds"]["0"] if results.best == CHOSEN else results.best
    if best not in kept:
        best = next(iter(kept), None)
    if best is None:
        return "No weights lie in this folder. A pooled probe has none: it adds up the maps that it was fitted to.", ""
    one, config = kept[best], results.config["backbone"]
    code = CODE.format(
        unit=one["unit"], probe=one["probe"], layer=one["layer"], arch=config["arch"], weights=config["weights"],
        seed=results.manifest["seed"], side=config["longest_px"], cells=config["longest_cells"],
        classes=CLASSES[one["probe"]], predict=PREDICT[one["probe"]].strip(),
    )  # fmt: skip
    return f"With gazeray installed, run this in the run folder; it loads {results.label(best)}.", code
