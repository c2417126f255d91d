# SPDX-License-Identifier: Apache-2.0
"""A believable run folder of the saliency study by simulation, for the tests of its report: no model is fitted.

Scores per picture are drawn around a level per predictor with a difficulty that all predictors share; the rows of
metrics.json are their means with normal intervals, and gains over the centre bias are paired.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gazeray.storage import Folder
from gazeray.tables import Reject, rejects_table
from tests.report.fabricate import MADE_BY

METRICS = ("information_gain", "explained", "auc_uniform", "auc_shuffled", "nss", "cc", "sim", "kl")
PENALTIES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]

SPANS = {
    "information_gain": (0.0, 1.6), "auc_uniform": (0.5, 0.93), "auc_shuffled": (0.5, 0.8), "nss": (0.0, 3.6),
    "cc": (0.0, 0.9), "sim": (0.25, 0.8), "kl": (1.6, 0.2),
}  # fmt: skip
"""The score of a predictor that knows nothing, and of one that knows as much as the other observers."""

BASELINES = {
    "uniform": ("uniform", 0.0, True),
    "centre": ("centre Gaussian, fitted", 0.42, True),
    "centre_quarter": ("centre Gaussian, a quarter of width and height", 0.4, True),
    "mean_of_others": ("mean map of the other pictures", 0.44, False),
    "centre_bias": ("centre bias (kernel density of the other pictures)", 0.45, True),
}
CEILINGS = {
    "other_observers": ("other observers' map, leave one out", 0.98, False),
    "gold_standard": ("gold standard, leave one observer out", 1.0, True),
    "split_half": ("half of the observers predict the other half", 0.93, False),
}
UNDEFINED = {"uniform": ("cc",), "other_observers": ("cc", "sim", "kl"), "gold_standard": ("cc", "sim", "kl")}
FLAT, LEFT_OUT = "undefined for a map that is the same everywhere", "one left-out person’s fixations make no human map"
NO_GOLD = "there is no gold standard to divide by"


@dataclass(frozen=True)
class Scene:
    """What to simulate. skill: what the best layer knows, from 0 (nothing) over 0.45 (centre) to 1 (observers)."""

    pictures: int = 60
    observers: int = 15
    folds: int = 5
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    probes: tuple[str, ...] = ("readout", "ridge", "pooled")
    models: tuple[str, ...] = ()
    """Names of scored folders of maps: makes it a run of score_maps, without layers and probes."""
    skill: float = 0.8
    weights: str = "IMAGENET1K_V2"
    maps: int = 2
    """Drawn pictures of each kind: best, middle, worst."""
    size_px: tuple[int, int] = (100, 75)
    first_stimulus: str = "1001"
    gold_standard: bool = True
    failed: tuple[str, ...] = ()
    """Units that failed: models by their key ("model:layer4:ridge"), baselines by name ("baselines-fold-1")."""
    rejects: int = 3
    notes: tuple[str, ...] = ()
    seed: int = 0

    @property
    def stimuli(self) -> list[str]:
        """Names of the pictures."""
        return [self.first_stimulus, *(f"{1002 + index}" for index in range(self.pictures - 1))]

    @property
    def baselines(self) -> NDArray[np.bool_]:
        """(P,) the pictures whose unit of baselines finished."""
        return np.array([f"baselines-fold-{index % self.folds}" not in self.failed for index in range(self.pictures)])

    @property
    def ceilings(self) -> list[str]:
        """The ceilings that so many observers allow."""
        return [key for key in CEILINGS if self.observers > 2 or (self.observers == 2 and key != "gold_standard")]


SMALL = Scene(pictures=12, observers=12, folds=3, layers=("layer3", "layer4"), probes=("readout", "ridge"), maps=1,
              size_px=(40, 30), notes=("Labels were guessed.",))  # fmt: skip
"""A run that is quickly drawn and lacks nothing."""


def fabricate(run: Folder, scene: Scene) -> None:
    """Write the run folder of `scene`."""
    rng = np.random.default_rng(scene.seed)
    predictors, skills = _predictors(scene)
    scores = _scores(rng, scene, predictors, skills)
    best = _best(predictors, scores)
    run.write_json("metrics.json", _metrics(scene, predictors, scores, best))
    run.write_json("manifest.json", _manifest(scene))
    run.write_table("per_item.parquet", _per_item(scene, scores))
    if scene.maps:
        _maps(rng, run, scene, None if best is None else scores[best]["information_gain"])
    _centre(run, best is not None, bool(scene.baselines.any()))
    run.write_table("rejects.parquet", rejects_table(
        Reject(f"stimuli/{2000 + index}.jpg", -1, "read", "the file ends too early") for index in range(scene.rejects)
    ))  # fmt: skip


def _predictors(scene: Scene) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Key -> what it is, and key -> what it knows. Layers rise to the last but one, probes fall off in their order."""
    entries: dict[str, dict[str, Any]] = {}
    skills: dict[str, float] = {}
    for index, name in enumerate(scene.models):
        entries[f"model:{name}"] = {"kind": "model", "label": name, "density": True}
        skills[f"model:{name}"] = scene.skill - 0.1 * index
    for depth, layer in enumerate(scene.layers):
        for place, probe in enumerate(scene.probes):
            key, inner = f"model:{layer}:{probe}", _inner(scene, depth, place)
            if key in scene.failed:
                continue
            entries[key] = {"kind": "model", "label": f"{layer}, {probe}", "layer": layer, "probe": probe,
                            "density": probe == "readout", "inner": inner,
                            "penalty": [max(curve, key=lambda pair: pair[1])[0] for curve in inner]}  # fmt: skip
            skills[key] = scene.skill - 0.12 * abs(depth - (len(scene.layers) - 2)) - 0.07 * place
    layer = scene.layers[max(0, len(scene.layers) - 2)] if scene.layers else None
    if f"model:{layer}:readout" in entries:
        entries["chosen"] = {"kind": "model", "label": "layer chosen by inner folds", "density": True,
                             "folds": {str(fold): f"model:{layer}:readout" for fold in range(scene.folds)}}  # fmt: skip
        skills["chosen"] = scene.skill - 0.01
    for kind, group in (("baseline", BASELINES), ("ceiling", CEILINGS)):
        for key, (label, skill, density) in group.items():
            drawn = kind == "baseline" or (key in scene.ceilings and (key != "gold_standard" or scene.gold_standard))
            if drawn and scene.baselines.any():
                entries[key], skills[key] = {"kind": kind, "label": label, "density": density}, skill
    return entries, skills


def _inner(scene: Scene, depth: int, place: int) -> list[list[list[float]]]:
    """Per fold, each penalty with its inner score: a hill whose top moves with the layer."""
    top = -4.0 + 0.7 * depth
    steps = np.log10(PENALTIES).tolist()
    return [[[penalty, -9.0 - 0.1 * place - 0.02 * (step - top - 0.1 * fold) ** 2]
             for penalty, step in zip(PENALTIES, steps, strict=True)] for fold in range(scene.folds)]  # fmt: skip


def _scores(
    rng: np.random.Generator, scene: Scene, predictors: Mapping[str, Any], skills: Mapping[str, float]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Predictor -> metric -> one value per picture, NaN where it is undefined."""
    easy = rng.normal(0, 0.12, scene.pictures)
    scores: dict[str, dict[str, NDArray[np.float64]]] = {}
    for key in predictors:
        knows = skills[key] * (1 + easy) + rng.normal(0, 0.05, scene.pictures)
        scores[key] = {name: low + knows * (high - low) for name, (low, high) in SPANS.items()}
        scores[key]["information_gain"] = 2.9 * (knows - BASELINES["centre_bias"][1])
        if key == "centre_bias":
            scores[key]["information_gain"] = np.zeros(scene.pictures)
        if predictors[key]["kind"] != "model":
            scores[key] = {name: np.where(scene.baselines, values, math.nan) for name, values in scores[key].items()}
        for name in UNDEFINED.get(key, ()):
            scores[key][name] = np.full(scene.pictures, math.nan)
    return scores


def _best(predictors: Mapping[str, Any], scores: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> str | None:
    models = [key for key, entry in predictors.items() if entry["kind"] == "model" and key != "chosen"]
    return max(models, key=lambda key: float(scores[key]["information_gain"].mean()), default=None)


def _entry(values: NDArray[np.float64], over: NDArray[np.float64] | None) -> dict[str, Any]:
    """Mean with interval, and the paired gain over the centre bias."""
    entry = _mean(values)
    if over is not None and np.isfinite(values - over).any():
        gain = _mean(values - over)
        entry["gain"] = {"centre_bias": {"value": gain["value"], "ci95": gain["ci95"], "p": None}}
    return entry


def _mean(values: NDArray[np.float64]) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {"value": None, "ci95": None, "n": 0}
    value, half = float(finite.mean()), 1.96 * float(finite.std()) / math.sqrt(finite.size)
    return {"value": value, "ci95": [value - half, value + half] if finite.size > 1 else None, "n": finite.size}


def _metrics(
    scene: Scene,
    predictors: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, NDArray[np.float64]]],
    best: str | None,
) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {}
    for key, values in scores.items():
        centre = None if key == "centre_bias" else scores.get("centre_bias")
        rows[key] = {name: _entry(values[name], None if centre is None else centre[name]) for name in SPANS}
        share: dict[str, Any] = {"value": None, "ci95": None, "n": int(scene.baselines.sum())}
        if "gold_standard" in scores:
            whole = float(np.nanmean(scores["gold_standard"]["information_gain"]))
            gain = rows[key]["information_gain"]
            bounds = gain["ci95"] and [bound / whole for bound in gain["ci95"]]
            share |= {"value": gain["value"] / whole, "ci95": bounds}
        rows[key]["explained"] = share
        for name, entry in rows[key].items():
            if entry["value"] is None:
                entry["why"] = NO_GOLD if name == "explained" else FLAT if key == "uniform" else LEFT_OUT
            elif entry["n"] < scene.pictures:
                entry["why"] = "undefined on the others or in a unit that failed"
    return {
        "study": "score_maps" if scene.models else "probe_saliency",
        "n": _counts(scene),
        "failed": _failed(scene),
        "metrics_shown": list(METRICS),
        "predictors": predictors,
        "rows": rows,
        "best": best,
        "layers": list(scene.layers),
        "probes": list(scene.probes),
    }


def _failed(scene: Scene) -> list[str]:
    """The units of the models that failed."""
    return sorted(name.removeprefix("model:").replace(":", "-") for name in scene.failed)


def _counts(scene: Scene) -> dict[str, int]:
    return {"pictures": scene.pictures, "observers": scene.observers,
            "fixations": 10 * scene.observers * scene.pictures, "rejected": scene.rejects}  # fmt: skip


def _manifest(scene: Scene) -> dict[str, Any]:
    study = "score_maps" if scene.models else "probe_saliency"
    units = [f"baselines-fold-{fold}" for fold in range(scene.folds)]
    units += [f"{layer}-{probe}" for layer in scene.layers for probe in scene.probes] or ["maps-fold-0"]
    failed = _failed(scene)
    manifest: dict[str, Any] = {
        "job": "score_maps" if scene.models else "probe_saliency", "study": study,
        "status": "failed" if scene.failed else "done", "seed": scene.seed, "config_hash": "0123456789",
        "config": _config(scene),
        "started": "2025-01-01T10:00:00+00:00", "finished": "2025-01-01T10:02:05+00:00", **MADE_BY,
        "versions": {"gazeray": "0.1.0", "ray": "2.60.0", "torch": "2.8.0"},
        "data": {"dataset": "simulated scenes", "licence": "Apache-2.0", "fingerprint": "ab" * 32,
                 "root": "scenes", "notes": list(scene.notes)},
        "counts": _counts(scene),
        "flow": {"steps": [{"step": "declared", "pictures": scene.pictures + 2},
                           {"step": "rejected", "stage": "pictures", "cause": "is no picture", "pictures": 2},
                           {"step": "used", "pictures": scene.pictures}], "apart": [], "further": 0},
        "folds": [{"fold": fold, "pictures": len(range(fold, scene.pictures, scene.folds))}
                  for fold in range(scene.folds)],
        "units": {name: "failed" if name in failed else "done" for name in units},
        "failures": dict.fromkeys(failed, "RuntimeError: loss is <nan> in epoch 2"),
    }  # fmt: skip
    if scene.models:
        manifest["maps"] = {"label": scene.models[0], "root": "maps", "kind": "saliency", "used": scene.pictures}
    else:
        manifest["backbone"] = {"arch": "resnet50", "weights": scene.weights, "sha256": "cd" * 32,
                                "layers": list(scene.layers), "longest_px": 512, "precision": "bfloat16"}  # fmt: skip
    return manifest


def _config(scene: Scene) -> dict[str, Any]:
    config: dict[str, Any] = {
        "data": {"dataset": "simulated"}, "targets": {"recipe": "gaussian", "sigma_px": 24.0, "sigma_deg": None},
        "folds": {"outer": scene.folds}, "baselines": {"observers": True, "splits": 10},
        "score": {"longest_px": 200, "resamples": 2000}, "run": {"seed": scene.seed, "dir": "runs"},
    }  # fmt: skip
    if not scene.models:
        config["probes"] = {"kinds": list(scene.probes)}
    return config


def _per_item(scene: Scene, scores: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in ("stimulus", "fold", "predictor", "n_fixations", *SPANS)}
    for key, values in scores.items():
        model = key.startswith("model:") or key == "chosen"
        there = [index for index in range(scene.pictures) if model or scene.baselines[index]]
        columns["stimulus"] += [scene.stimuli[index] for index in there]
        columns["fold"] += [index % scene.folds for index in there]
        columns["predictor"] += [key] * len(there)
        columns["n_fixations"] += [10 * scene.observers] * len(there)
        for name in SPANS:
            columns[name] += [None if math.isnan(values[name][index]) else float(values[name][index])
                              for index in there]  # fmt: skip
    types = {"fold": pa.int32(), "n_fixations": pa.int32(), **dict.fromkeys(SPANS, pa.float64())}
    return pa.table({name: pa.array(column, types.get(name, pa.string())) for name, column in columns.items()})


def _maps(rng: np.random.Generator, run: Folder, scene: Scene, values: NDArray[np.float64] | None) -> None:
    """values: (P,) the best model's scores; without one the first pictures are shown, with the centre bias."""
    order = np.arange(scene.pictures) if values is None else np.argsort(-values)
    middle = max(0, len(order) // 2 - scene.maps // 2)
    groups = {"middle": order[: scene.maps]}
    if values is not None:
        groups = {"best": order[: scene.maps], "middle": order[middle : middle + scene.maps],
                  "worst": order[::-1][: scene.maps]}  # fmt: skip
    index: list[dict[str, Any]] = []
    for why, chosen in groups.items():
        for number in chosen:
            path = f"maps/{len(index):04d}.npz"
            there = bool(scene.baselines[number])
            gold = there and scene.gold_standard and "gold_standard" in scene.ceilings
            run.write_bytes(path, scene_npz(rng, scene.size_px, values is not None, gold, there))
            index.append({"stimulus": scene.stimuli[number], "path": path, "why": why, "metric": "information_gain",
                          "value": None if values is None else float(values[number])})  # fmt: skip
    run.write_table("maps/index.parquet", pa.Table.from_pylist(index))


def scene_npz(
    rng: np.random.Generator, size_px: tuple[int, int], predicted: bool, gold_standard: bool, centre_bias: bool
) -> bytes:
    """A made picture (w, h) with three discs, fixations on them, and the log-densities of model, centre, observers."""
    width, height = size_px
    y, x = np.mgrid[0:height, 0:width] + 0.5
    discs = [(rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.8) * height) for _ in range(3)]
    picture = np.stack([90 + 60 * y / height, 110 + 40 * x / width, 140 - 30 * y / height], axis=-1)
    for place, (cx, cy) in enumerate(discs):
        picture[np.hypot(x - cx, y - cy) < 0.07 * width] = np.eye(3)[place] * 200 + 30
    cells = [rng.normal((cy, cx), 0.04 * width, (30, 2)) for cx, cy in discs]
    spots = np.clip(np.concatenate(cells), 0, [height - 1, width - 1]).astype(np.int16)
    human = blobs(x, y, discs, 0.06 * width)
    centre = blobs(x, y, [(width / 2, height / 2)], 0.25 * width)
    maps = {"centre_bias": centre} if centre_bias else {}
    if predicted:
        maps["prediction"] = 0.6 * blobs(x, y, discs[:2], 0.08 * width) + 0.4 * centre
    if gold_standard:
        maps["gold_standard"] = human + 0.1 * centre
    logs = {name: np.log(values / values.sum() + 1e-9).astype(np.float16) for name, values in maps.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, picture=picture.astype(np.uint8), human=human.astype(np.float16), cells=spots, **logs)
    return buffer.getvalue()


def blobs(
    x: NDArray[np.float64], y: NDArray[np.float64], centres: Sequence[tuple[float, float]], sigma: float
) -> NDArray[np.float64]:
    """A sum of Gaussians at `centres`, highest value 1. All in px."""
    total = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) for cx, cy in centres)
    return np.asarray(total / np.max(total))


def _centre(run: Folder, predicted: bool, baselines: bool) -> None:
    y, x = np.mgrid[0:48, 0:64] + 0.5
    maps = {"human": blobs(x, y, [(32, 22), (40, 28)], 9.0)}
    if baselines:
        maps["centre_bias"] = blobs(x, y, [(33, 24)], 12.0)
    if predicted:
        maps["mean_prediction"] = blobs(x, y, [(32, 23)], 10.0)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: (values / values.sum()).astype(np.float32) for name, values in maps.items()})
    run.write_bytes("centre.npz", buffer.getvalue())
