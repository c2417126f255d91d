# SPDX-License-Identifier: Apache-2.0
"""A believable run folder of the emotion study by simulation, for the tests of its report: no model is fitted.

Ratings come from people's and pictures' means and a response of the moment; rows know a part of these. Metrics are
computed from what the rows say; intervals are normal approximations over people.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from gazeray.config import digest
from gazeray.storage import Folder
from gazeray.tables import Reject, rejects_table
from tests.report.fabricate import MADE_BY

Floats = NDArray[np.float64]
LABELS = {"arousal": (1.0, 0.9), "valence": (0.9, 0.0)}
"""Label -> how much of it is picture, and how much of the moment signals tell."""

SUBSETS = ("series", "scanpath", "picture", "series-scanpath", "series-picture", "scanpath-picture",
           "series-scanpath-picture")  # fmt: skip
ALL = SUBSETS[-1]
BLIND = ("majority", "participant_mean", "picture_mean", "additive", "nuisance", "without_gaze")
NAMES = {"majority": "majority level", "participant_mean": "participant mean", "picture_mean": "picture mean",
         "additive": "participant + picture", "nuisance": "order, duration, rate, loss",
         "without_gaze": "all without gaze together", "ridge": "ridge on simple features",
         "other_people": "other people, same picture", "shift+500": "window 500 ms later",
         "cut-1000": "without the last 1000 ms", "shuffled_labels": "labels shuffled within participants",
         "swapped_signals": "signals of somebody else, same picture"}  # fmt: skip
CONTROLS = ("shift+500", "cut-1000", "shuffled_labels", "swapped_signals")
UNITS = {"x": "", "y": "", "pupil_mm": "mm", "gsr": "ohm", "heart_rate": "bpm"}


@dataclass(frozen=True)
class EmotionScene:
    """What to simulate. signal: how much signals tell of the response of the moment; two_classes: one label "mos" of
    two classes and the series alone."""

    people: int = 12
    pictures: int = 16
    folds: int = 3
    signal: float = 1.0
    hold_out: str = "participants"
    leaks: str | None = None
    two_classes: bool = False
    controls: bool = True
    searched: bool = False
    epochs: int = 4
    failed: tuple[int, ...] = ()
    seed: int = 0
    first_participant: str = "P01"

    @property
    def levels(self) -> list[str]:
        return ["mos < 4", "mos >= 4"] if self.two_classes else [str(level) for level in range(1, 8)]

    @property
    def labels(self) -> list[str]:
        return ["mos"] if self.two_classes else list(LABELS)

    @property
    def model(self) -> str:
        return "series" if self.two_classes else ALL

    @property
    def models(self) -> tuple[str, ...]:
        return ("series",) if self.two_classes else SUBSETS


def fabricate(run: Folder, scene: EmotionScene) -> None:
    """Write the run folder of `scene`."""
    rng = np.random.default_rng(scene.seed)
    names = [scene.first_participant, *(f"P{index + 1:02d}" for index in range(1, scene.people))]
    who, what = (
        grid.ravel() for grid in np.meshgrid(np.arange(scene.people), np.arange(scene.pictures), indexing="ij")
    )
    fold = what % scene.folds if scene.hold_out == "stimuli" else who % scene.folds
    if scene.hold_out == "neither":
        fold = rng.integers(0, scene.folds, who.size)
    columns: dict[str, Any] = {
        "participant": [names[one] for one in who], "trial": [f"{one + 1}" for one in what],
        "stimulus": [f"image {one + 1:02d}" for one in what], "fold": fold.astype(np.int32),
        "regime": ["test"] * who.size,
    }  # fmt: skip
    found = {}
    kept = ~np.isin(fold, scene.failed)
    for label in scene.labels:
        truth, said = _ratings(rng, scene, label, who, what)
        known = kept.copy()
        known[::37] = False  # a rating that nobody gave
        columns[label] = [scene.levels[one] if there else None for one, there in zip(truth, known, strict=True)]
        for row, values in said.items():
            columns[f"{label}:{row}"] = [None if np.isnan(value[0]) else value.tolist() for value in values]
        found[label] = _label(scene, truth[known], {row: values[known] for row, values in said.items()}, who[known],
                              fold[known])  # fmt: skip
    run.write_table("predictions.parquet", pa.table(columns).filter(pa.array(kept)))
    run.write_json("metrics.json", _metrics(rng, scene, found))
    run.write_json("manifest.json", _manifest(scene, names))
    for name in _units(scene):
        _unit(rng, run, name, scene)
    run.write_table("channels.parquet", _channels(rng, scene, names))
    rejects = [Reject(f"{names[0]}/{place}.csv", -1, "gaze", "no sample of pupil_mm is left", names[0], f"{place}")
               for place in range(3)]  # fmt: skip
    run.write_table("rejects.parquet", rejects_table(rejects))
    _courses(rng, run, scene)
    if not scene.two_classes:
        _pairs(rng, run)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _around(mean: Floats, levels: int, sharp: float = 1.6) -> Floats:
    """Probabilities (N, K) around a mean level (N,)."""
    return _softmax(-sharp * (np.arange(levels) - mean[:, None]) ** 2 / 2)


def _ratings(
    rng: np.random.Generator, scene: EmotionScene, label: str, who: NDArray[Any], what: NDArray[Any]
) -> tuple[NDArray[np.int64], dict[str, Floats]]:
    levels = len(scene.levels)
    of_picture, told = LABELS.get(label, (0.8, 0.0))
    wide = levels / 7
    person, picture = rng.normal(0, 1.3 * wide, scene.people), rng.normal(0, 1.5 * of_picture * wide, scene.pictures)
    moment = rng.normal(0, 1.1 * wide, who.size)
    middle = (levels - 1) / 2
    truth = np.clip(np.round(middle + person[who] + picture[what] + moment), 0, levels - 1).astype(np.int64)
    signal = scene.signal * told * moment
    knows_people, knows_pictures = (
        scene.hold_out in ("stimuli", "neither"),
        scene.hold_out in ("participants", "neither"),
    )
    nothing = np.full((who.size, levels), np.nan)
    means = {"participant_mean": person[who] * knows_people, "picture_mean": picture[what] * knows_pictures}
    means["additive"] = means["participant_mean"] + means["picture_mean"]
    means |= {"nuisance": np.zeros(who.size), "without_gaze": means["additive"], "ridge": 0.4 * signal}
    means |= {"other_people": picture[what], "shift+500": 0.8 * signal, "cut-1000": 0.8 * signal}
    means |= {"shuffled_labels": np.zeros(who.size), "swapped_signals": 0 * signal}
    for row in scene.models:
        means[row] = signal * ("series" in row) + 0.2 * signal * ("scanpath" in row)
        means[row] = means[row] + (0.8 * means["picture_mean"] if "picture" in row else 0)
    prior = np.bincount(truth, minlength=levels) / truth.size
    noise = {row: rng.normal(0, 0.5 * wide, who.size) for row in means}
    said = {row: _around(middle + mean + noise[row], levels) for row, mean in means.items()}
    said |= {"majority": np.tile(np.eye(levels)[prior.argmax()], (who.size, 1)), "prior": np.tile(prior, (who.size, 1))}
    said |= {"participant_mean": nothing} if not knows_people else {}
    said |= {"picture_mean": nothing} if not knows_pictures else {}
    if not scene.controls:
        said = {row: values for row, values in said.items() if row not in CONTROLS}
    return truth, said


def _score(truth: NDArray[np.int64], said: Floats, prior: Floats, scene: EmotionScene) -> dict[str, float]:
    even = (said / np.maximum(prior, 1e-9)).argmax(axis=1)
    recalls = [float((even[truth == level] == level).mean()) for level in range(len(scene.levels))]
    sure, probable = said.max(axis=1), said.argmax(axis=1)
    found = {"balanced_accuracy": float(np.mean(recalls)), "accuracy": float((probable == truth).mean())}
    if scene.two_classes:
        found["auroc"] = float(roc_auc_score(truth, said[:, 1]))
    else:
        expected = said @ np.arange(len(scene.levels))
        rounded = np.round(expected).astype(int)
        rank = spearmanr(truth, expected).statistic if np.ptp(expected) > 0 else 0.0
        kappa = cohen_kappa_score(truth, rounded, weights="quadratic", labels=range(len(scene.levels)))
        found |= {"qwk": float(kappa), "mae": float(np.abs(rounded - truth).mean()),
                  "within_one": float((np.abs(rounded - truth) <= 1).mean()), "spearman": float(rank),
                  "ccc": 0.9 * float(rank)}  # fmt: skip
    right = np.clip(said[np.arange(truth.size), truth], 1e-9, 1)
    found |= {"log_loss": float(-np.log(right).mean()), "ece": abs(float(sure.mean() - (probable == truth).mean()))}
    return found | {f"recall_{name}": value for name, value in zip(scene.levels, recalls, strict=True)}


def _label(
    scene: EmotionScene, truth: NDArray[np.int64], said: dict[str, Floats], who: NDArray[Any], fold: NDArray[Any]
) -> dict[str, Any]:
    prior, levels = said["prior"], len(scene.levels)
    rows = {row: values for row, values in said.items() if row != "prior"}
    scored = {row: _score(truth, values, prior, scene) if np.isfinite(values).all() else None
              for row, values in rows.items()}  # fmt: skip
    shown = list(scored[scene.model] or {})
    entries: dict[str, dict[str, Any]] = {}
    for row, own in scored.items():
        entries[row] = {}
        for metric in shown:
            if own is None:
                held = {"participants": "participants", "stimuli": "pictures"}.get(scene.hold_out, "both")
                entries[row][metric] = {"value": None, "ci95": None, "n": 0, "why": f"{held} are held out"}
            else:
                entries[row][metric] = {"value": own[metric], "ci95": [own[metric] - 0.04, own[metric] + 0.04],
                                        "n": truth.size}  # fmt: skip
    model = scored[scene.model] or {}
    gains = {}
    for metric in shown:
        over = {
            row: model[metric] - own[metric] for row, own in scored.items() if row != scene.model and own is not None
        }
        entries[scene.model][metric]["gain"] = {
            row: {"value": gain, "ci95": [gain - 0.03, gain + 0.03], "p": 0.01} for row, gain in over.items()
        }
        if metric == "balanced_accuracy":
            gains = {row: {"value": gain, "p": 0.001 if gain > 0.03 else 0.4, "p_below": 0.001 if gain < -0.03 else 0.6}
                     for row, gain in over.items()}  # fmt: skip
    even = (said[scene.model] / prior).argmax(axis=1)
    confusion = np.zeros((levels, levels), int)
    np.add.at(confusion, (truth, even), 1)
    value = model["balanced_accuracy"]
    blind = [row for row in (*BLIND, *(["picture"] if "picture" in scene.models else [])) if row in scored]
    best = max(
        [row for row in blind if scored[row] is not None], key=lambda row: (scored[row] or {})["balanced_accuracy"]
    )
    above = value - 0.04 > 1 / levels
    return {
        "levels": scene.levels, "ordered": not scene.two_classes, "n": int(truth.size),
        "counts": np.bincount(truth, minlength=levels).tolist(), "rows": entries, "metrics_shown": shown,
        "metrics": {metric: {"value": model[metric], "ci95": [model[metric] - 0.04, model[metric] + 0.04],
                             "chance": 1 / levels if metric == "balanced_accuracy" else None} for metric in shown},
        "held_out": {"participants": scene.people, "stimuli": scene.pictures},
        "without_gaze": {"best": best, "rows": blind},
        "permutation": {"metric": "balanced_accuracy", "value": value, "design": "within participants", "n": 199,
                        "units": int(truth.size), "p": 0.005 if above else 0.4, "p_below": 0.995,
                        "null_mean": 1 / levels, "null_p95": 1 / levels + 0.03, "gain": gains},
        "confusion": confusion.tolist(),
        "per_class": {}, "per_fold": [
            {"fold": int(one), "n": int((fold == one).sum()),
             "metrics": _score_of_fold(truth, said[scene.model], prior, fold == one, scene)}
            for one in np.unique(fold)],
    }  # fmt: skip


def _score_of_fold(
    truth: NDArray[np.int64], said: Floats, prior: Floats, mine: NDArray[np.bool_], scene: EmotionScene
) -> dict[str, float | None]:
    present = set(truth[mine].tolist())
    own = _score(truth[mine], said[mine], prior[mine], scene) if len(present) == len(scene.levels) else {}
    return {"accuracy": float((said[mine].argmax(axis=1) == truth[mine]).mean()),
            "balanced_accuracy": own.get("balanced_accuracy")}  # fmt: skip


def _metrics(rng: np.random.Generator, scene: EmotionScene, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    kinds = dict.fromkeys(scene.models, "model") | dict.fromkeys((*BLIND, "ridge"), "baseline")
    kinds |= {"other_people": "ceiling"} | (dict.fromkeys(CONTROLS, "control") if scene.controls else {})
    shown = "auroc" if scene.two_classes else "qwk"
    rows: dict[str, Any] = {row: {} for row in kinds}
    for label, own in found.items():
        for row, metrics in own["rows"].items():
            rows[row] |= {f"{label}.{metric}": entry for metric, entry in metrics.items()}
    importance = {
        label: {
            f"{start}{name}": {"balanced_accuracy": {"value": drop, "ci95": [drop - 0.02, drop + 0.02], "n": 100}}
            for start in ("without_", "permuted_")
            for name, drop in zip(UNITS, rng.uniform(-0.01, 0.08, len(UNITS)), strict=True)
        }
        for label in scene.labels
    }
    return {
        "study": "emotion", "failed": [f"fold-{fold}" for fold in scene.failed],
        "predictors": {key: {"kind": kind, "label": NAMES.get(key, key.replace("-", " + "))}
                       for key, kind in kinds.items()},
        "model": scene.model, "hold_out": scene.hold_out, "leaks": scene.leaks,
        "n": {"participants": scene.people, "stimuli": scene.pictures, "trials": scene.people * scene.pictures,
              "rejected": 3},
        "labels": found, "importance": importance if scene.controls else {}, "rows": rows,
        "metrics_shown": [f"{label}.{metric}" for label in scene.labels for metric in ("balanced_accuracy", shown)],
        "folds": [],
        **({"search": _search(rng, scene)} if scene.searched else {}),
    }  # fmt: skip


def _search(rng: np.random.Generator, scene: EmotionScene) -> dict[str, Any]:
    """A search over a logarithmic, a linear, a categorical and a list-valued key."""
    space = {"loss": {"gamma": {"low": 0.0, "high": 3.0}}, "model": {"dropout": [0.1, 0.3, 0.5],
             "branches": [["series"], ["series", "picture"]]},
             "train": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}  # fmt: skip
    folds = []
    for fold in range(scene.folds):
        trials: list[dict[str, Any]] = [
            {"setting": {"loss.gamma": float(rng.uniform(0, 3)), "model.dropout": float(rng.choice([0.1, 0.3, 0.5])),
                         "model.branches": [["series"], ["series", "picture"]][place % 2],
                         "train.learning_rate": float(10 ** rng.uniform(-4, -2))},
             "score": float(rng.uniform(0.15, 0.3)), "loss": float(rng.uniform(1.2, 2)), "inner_folds": 2, "epochs": 6,
             "status": "done"} for place in range(8)
        ]  # fmt: skip
        trials.append({**trials[0], "setting": {**trials[0]["setting"], "loss.gamma": 2.5}, "score": None, "loss": None,
                       "status": "failed", "epochs": 0})  # fmt: skip
        best = max(trials[:-1], key=lambda trial: float(trial["score"]))
        folds.append({"fold": fold, "chosen": {**best["setting"], "train.epochs": 6}, "inner_score": best["score"],
                      "outer_score": 0.21, "trials": trials})  # fmt: skip
    return {"metric": "balanced_accuracy", "chosen_by": "balanced_accuracy", "scheduler": "halving", "space": space,
            "folds": folds}  # fmt: skip


def _units(scene: EmotionScene) -> list[str]:
    keys = ["fold", *(key for key in scene.models if key != scene.model), "baselines"]
    return [f"{key}-{fold}" for key in keys for fold in range(scene.folds)]


def _folds(scene: EmotionScene, names: list[str]) -> list[dict[str, Any]]:
    folds = []
    for fold in range(scene.folds):
        test = names[fold :: scene.folds] if scene.hold_out in ("participants", "both") else []
        rest = [name for name in names if name not in test] if test else []
        pictures = None
        if scene.hold_out in ("stimuli", "both"):
            every = [f"image {one + 1:02d}" for one in range(scene.pictures)]
            pictures = {"test": every[fold :: scene.folds], "validation": [], "train": every[fold + 1 :: scene.folds]}
        trials = {"trials": {"train": 90, "validation": 30, "test": 70}} if scene.hold_out == "neither" else {}
        folds.append(
            {**trials, "fold": fold, "train": rest[1:], "validation": rest[:1], "test": test, "stimuli": pictures}
        )
    return folds


def _manifest(scene: EmotionScene, names: list[str]) -> dict[str, Any]:
    trials = scene.people * scene.pictures
    used, left = (["series"], {"scanpath": "the data set has no coordinates", "picture": "no pictures are declared"}) \
        if scene.two_classes else (["series", "scanpath", "picture"], {})  # fmt: skip
    config = {
        "data": {"dataset": "simulated", "labels": None}, "folds": {"outer": scene.folds, "hold_out": scene.hold_out},
        "signals": {"scale": "participant" if scene.two_classes else "training_people", "samples": 301,
                    "duration_ms": 4900.0, "max_gap_ms": 500.0},
        "model": {"recurrence": "lstm", "head": "classes"}, "loss": {"gamma": 2.0, "form": "focal", "balance": "none"},
        "picture": {"weights": "none", "arch": "mobilenet_v2"}, "augment": {"views": 0 if scene.two_classes else 4},
        "controls": {"of": "series"}, "train": {"epochs": scene.epochs, "class_weights": True},
        "search": {"metric": "balanced_accuracy"} if scene.searched else None,
        "run": {"seed": scene.seed, "dir": "runs"},
    }  # fmt: skip
    classes = {level: trials // len(scene.levels) for level in scene.levels}
    steps = [{"trials": trials + 3, "people": scene.people, "classes": classes,
              "class_not_known": trials + 3 - sum(classes.values())},
             {"stage": "gaze", "cause": "no sample of pupil_mm is left", "trials": 3, "people": 1,
              "classes": dict.fromkeys(scene.levels, 0), "class_not_known": 3},
             {"trials": trials, "people": scene.people, "classes": classes,
              "class_not_known": trials - sum(classes.values())}]  # fmt: skip
    return {
        "job": "cv_emotion", "study": "emotion", "status": "failed" if scene.failed else "done", "config": config,
        "config_hash": digest(config)[:10], "seed": scene.seed, "started": "2025-01-01T10:00:00+00:00",
        "finished": "2025-01-01T10:02:05+00:00", **MADE_BY,
        "data": {"dataset": "simulated emotion", "licence": "Apache-2.0", "fingerprint": "ab" * 32, "root": "data",
                 "labels": [{"name": name, "levels": scene.levels, "ordered": not scene.two_classes}
                            for name in scene.labels], "notes": [], "declaration": {}},
        "versions": {"gazeray": "0.1.0", "torch": "2.8.0"}, "folds": _folds(scene, names),
        "channels": [{"name": name, "unit": unit} for name, unit in UNITS.items()],
        "branches": {"used": used, "left_out": left},
        "flow": {"steps": steps, "further": 0, "apart": [], "people_lost": [], "by_class": {}},
        "network": None if scene.two_classes else {"arch": "mobilenet_v2", "weights": "none"},
        "counts": {"recordings": scene.people, "participants": scene.people, "stimuli": scene.pictures,
                   "trials": trials, "examples": trials, "rejected": 3, "rows_read": 10_000,
                   "missing_pictures": 0, "unused_pictures": 1},
        "units": dict.fromkeys(_units(scene), "done") | {f"fold-{one}": "failed" for one in scene.failed},
    }  # fmt: skip


def _unit(rng: np.random.Generator, run: Folder, name: str, scene: EmotionScene) -> None:
    out = f"units/{name}"
    if name in [f"fold-{fold}" for fold in scene.failed]:
        run.write_json(f"{out}/failure.json", {"error": "ValueError: no trial is left", "traceback": "Traceback: ..."})
        return
    epochs = [
        {"epoch": epoch, "train_loss": 2 / epoch, "validation_loss": 2.1 / epoch,
         "validation_balanced_accuracy": float(rng.uniform(0.1, 0.3))} for epoch in range(1, scene.epochs + 1)
    ]  # fmt: skip
    own = {"n": {"train": 100, "validation": 20, "test": 60}, "best_epoch": 2, "epochs": scene.epochs,
           "files": {f"{out}/checkpoint/model.safetensors": "ab"} if name.startswith("fold-") else {}}  # fmt: skip
    run.write_json(f"{out}/result.json", own)
    if not name.startswith("baselines"):
        run.write_text(f"{out}/metrics.jsonl", "\n".join(json.dumps(epoch) for epoch in epochs) + "\n")


def _channels(rng: np.random.Generator, scene: EmotionScene, names: list[str]) -> pa.Table:
    rows = []
    lows = {"x": -1.1, "y": -1.0, "pupil_mm": 2.1, "gsr": 2.4e5, "heart_rate": 62.0}
    for name in names:
        for trial in range(scene.pictures):
            for channel, unit in UNITS.items():
                lost = 1.0 if name == names[1] and channel == "gsr" else float(rng.beta(1, 9))
                low = np.nan if lost == 1 else lows[channel] + abs(rng.normal(0, 0.05 * abs(lows[channel])))
                high = low + 0.2 * abs(lows[channel])
                rows.append({"participant": name, "trial": f"{trial + 1}", "channel": channel, "unit": unit,
                             "lost_share": lost, "implausible_share": 0.01 * lost, "longest_gap_ms": 900 * lost,
                             "low": low, "high": high, "flat": channel == "heart_rate" and trial == 0,
                             "saturated_share": 0.0,
                             "gate": "lost_share 1 > limit 0.9" if lost == 1 else ""})  # fmt: skip
    return pa.Table.from_pylist(rows)


def _npz(run: Folder, name: str, arrays: dict[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    run.write_bytes(name, buffer.getvalue())


def _courses(rng: np.random.Generator, run: Folder, scene: EmotionScene) -> None:
    times = np.linspace(0, 4900, 99)
    arrays: dict[str, NDArray[Any]] = {"times_ms": times}
    for label in scene.labels:
        for place, channel in enumerate(UNITS):
            rise = np.linspace(-1, 1, len(scene.levels))[:, None] * (1 - np.exp(-times / 1500))
            arrays[f"{label}:{channel}"] = place + 0.3 * rise + rng.normal(0, 0.02, rise.shape)
            arrays[f"{label}:{channel}:sd"] = np.full(rise.shape, 0.3)
    _npz(run, "courses.npz", arrays)


def _pairs(rng: np.random.Generator, run: Folder) -> None:
    y, x = np.mgrid[-1:1:48j, -1:1:64j]
    before = np.stack([np.stack([(128 + 120 * x), (128 + 120 * y), np.full(x.shape, 20.0 * place)], -1)
                       for place in range(10)]).astype(np.uint8)  # fmt: skip
    gaze = np.cumsum(rng.normal(0, 0.12, (10, 2, 60)), axis=2)
    gaze[:, :, 20:24] = np.nan
    _npz(run, "augmentation.npz", {"before": before, "after": before[:, :, ::-1], "gaze_before": gaze,
                                   "gaze_after": gaze * [[-1], [1]]})  # fmt: skip
