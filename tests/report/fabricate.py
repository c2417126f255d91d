# SPDX-License-Identifier: Apache-2.0
"""A believable run folder by simulation, for the tests of the report: no model is fitted.

Scores are drawn so that each participant has an own strength of effect; the metrics are computed from them. Intervals
are normal approximations from the spread between participants: good enough to be drawn.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn import metrics as scores

from gazeray.config import digest
from gazeray.explain.summary import MapSummary
from gazeray.metrics.classification import score_all
from gazeray.storage import Folder
from gazeray.tables import REJECTS, Reject, rejects_table

REJECT_COLUMNS = tuple(REJECTS.names)
PREDICTORS = {"cnn": ("model", "CNN"), "logistic_regression": ("baseline", "logistic regression"),
              "majority": ("baseline", "majority class"), "stimulus_only": ("baseline", "stimulus alone"),
              "participant_only": ("baseline", "participant alone")}  # fmt: skip
BLIND = {"majority": 0.0, "stimulus_only": 0.04}
"""How much better than chance what never sees gaze is."""
CHANCE = {"auroc": 0.5, "mcc": 0.0}


@dataclass(frozen=True)
class Scene:
    """What to simulate. effect: distance of the classes in the model's latent score, in standard deviations."""

    participants: int = 24
    trials: int = 12
    folds: int = 8
    classes: tuple[str, ...] = ("control", "pseudoword")
    effect: float = 2.2
    epochs: int = 18
    maps_per_participant: int = 2
    window_px: tuple[int, int] = (1280, 720)
    rejects: int = 3
    seed: int = 0
    notes: tuple[str, ...] = ()
    failed: tuple[int, ...] = ()
    first_participant: str = "P01"
    gate: bool = False
    geometry: bool = True
    searched: bool = False
    explained: bool = False


def fabricate(run: Folder, scene: Scene) -> None:
    """Write the run folder of `scene`."""
    rng = np.random.default_rng(scene.seed)
    names = [scene.first_participant, *(f"P{index + 1:02d}" for index in range(1, scene.participants))]
    folds = _folds(names, scene)
    rows = _predictions(rng, names, scene, folds)
    _maps(rng, run, rows, scene)
    metrics, manifest = _metrics(rng, rows, scene, folds), _manifest(scene, folds)
    run.write_table("predictions.parquet", _table(rows))
    run.write_json("metrics.json", metrics)
    run.write_json("manifest.json", manifest)
    if scene.explained:
        run.write_bytes("explain.npz", map_summary(rows, scene).to_npz())
    scored = {fold["fold"]: fold["metrics"] for fold in metrics["folds"]}
    for fold in folds:
        mine = [row for row in rows if row["fold"] == fold["fold"]]
        mark = digest([manifest["config_hash"], manifest["data"]["fingerprint"], {"fold": fold, "chosen": None}, {}])
        _unit(rng, run, fold, scene, mark, mine, scored.get(fold["fold"], {}))
    run.write_table("rejects.parquet", rejects_table(_reject(index, names) for index in range(scene.rejects)))
    run.write_table("quality.parquet", _quality(rng, names, scene))


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: [row.get(name) for row in rows] for name in columns})


def _folds(names: list[str], scene: Scene) -> list[dict[str, Any]]:
    folds = []
    for fold in range(scene.folds):
        test = names[fold :: scene.folds]
        rest = [name for name in names if name not in test]
        validation = rest[:: max(2, len(rest) // max(1, len(rest) // 5))]
        train = [name for name in rest if name not in validation]
        folds.append({"fold": fold, "train": train, "validation": validation, "test": test, "stimuli": None})
    return folds


def _predictions(
    rng: np.random.Generator, names: list[str], scene: Scene, folds: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    count = len(scene.classes)
    prior = np.r_[0.75, np.full(count - 1, 0.25 / (count - 1))] if count == 2 else np.full(count, 1 / count)
    fold_of = {name: fold["fold"] for fold in folds for name in fold["test"]}
    rows = []
    for name in names:
        strength = max(0.0, scene.effect * rng.normal(1.0, 0.35))
        labels = rng.permutation(np.resize(np.repeat(np.arange(count), np.round(prior * 12).astype(int)), scene.trials))
        for trial, label in enumerate(labels):
            if fold_of[name] in scene.failed:
                continue
            model = _softmax(strength * (np.arange(count) == label) + rng.normal(0, 0.8, count))
            simple = _softmax(0.7 * strength * (np.arange(count) == label) + rng.normal(0, 0.8, count))
            rows.append({
                "participant": name, "trial": f"{trial + 1}", "stimulus": f"sentence_{trial + 1:02d}",
                "fold": fold_of[name], "label": scene.classes[label], "predicted": scene.classes[int(model.argmax())],
                "window_width_px": float(scene.window_px[0]), "window_height_px": float(scene.window_px[1]),
                "scores": model.tolist(), "logistic_regression": simple.tolist(), "majority": prior.tolist(),
            })  # fmt: skip
    return rows


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def _score(labels: NDArray[np.int64], values: NDArray[np.float64], classes: tuple[str, ...]) -> dict[str, float]:
    guess, every = values.argmax(axis=1), list(range(len(classes)))
    truth = np.eye(len(classes), dtype=int)[labels]
    brier = float(score_all(labels, values, classes, ranked=False)["brier"][0])
    if len(classes) == 2:
        truth, values = truth[:, 1], values[:, 1]
    recall = scores.recall_score(labels, guess, labels=every, average=None, zero_division=0.0)
    return {
        "accuracy": float(np.mean(labels == guess)),
        "balanced_accuracy": float(np.mean(recall)),
        "weighted_f1": float(scores.f1_score(labels, guess, labels=every, average="weighted", zero_division=0.0)),
        "macro_f1": float(scores.f1_score(labels, guess, labels=every, average="macro", zero_division=0.0)),
        "mcc": float(scores.matthews_corrcoef(labels, guess)),
        "brier": brier,
        "auroc": float(scores.roc_auc_score(truth, values)),
        "average_precision": float(scores.average_precision_score(truth, values)),
    } | {f"recall_{name}": float(value) for name, value in zip(classes, recall, strict=True)}


def _metrics(
    rng: np.random.Generator, rows: list[dict[str, Any]], scene: Scene, folds: list[dict[str, Any]]
) -> dict[str, Any]:
    index = {name: number for number, name in enumerate(scene.classes)}
    labels = np.array([index[row["label"]] for row in rows])
    guess = np.array([index[row["predicted"]] for row in rows])
    people = np.array([row["participant"] for row in rows])
    columns = {key: np.array([row[key] for row in rows]) for key in ("scores", "logistic_regression", "majority")}
    score = {key: _score(labels, values, scene.classes) for key, values in columns.items()}
    hits = {key: _people_accuracy(labels, values, people) for key, values in columns.items()}
    half = {key: 1.96 * float(np.std(values)) / np.sqrt(len(values)) for key, values in hits.items()}
    paired = 1.96 * float(np.std(hits["scores"] - hits["logistic_regression"])) / np.sqrt(len(hits["scores"]))
    entries = {}
    for name, value in score["scores"].items():
        simple = score["logistic_regression"][name]
        entries[name] = {
            "value": value,
            "ci95": [value - half["scores"], min(1.0, value + half["scores"])],
            "chance": (CHANCE | {"brier": 1 - 1 / len(scene.classes)}).get(name, 1 / len(scene.classes)),
            "baselines": {"majority": score["majority"][name], "logistic_regression": simple},
            "baselines_ci95": {
                "majority": None,
                "logistic_regression": [simple - half["logistic_regression"], simple + half["logistic_regression"]],
            },
            "gain_ci95": {"logistic_regression": [value - simple - paired, value - simple + paired]},
            "ceiling": None,
        }
    matrices = {
        name: {"confusion": scores.confusion_matrix(labels[people == name], guess[people == name],
                                                    labels=range(len(scene.classes))).tolist()}
        for name in sorted(set(people))
    }  # fmt: skip
    kept = [fold for fold in folds if fold["fold"] not in scene.failed]
    scores_of = [_fold_metrics(fold, labels, columns["scores"], people, scene) for fold in kept]
    return {
        "study": "heatmap",
        "n": {"participants": len(matrices), "trials": len(rows), "rejected": scene.rejects},
        "metrics": entries,
        "rows": _rows(entries, len(rows)),
        "predictors": {key: {"kind": kind, "label": label} for key, (kind, label) in PREDICTORS.items()},
        "metrics_shown": sorted(entries),
        "permutation": _permutation(rng, labels, guess, people),
        "without_gaze": {"best": "stimulus_only", "rows": ["majority", "stimulus_only", "participant_only"]},
        "held_out": {"participants": len(matrices)},
        "folds": scores_of,
        "participants": matrices,
        **({"search": _search(rng, kept, scores_of)} if scene.searched else {}),
        **({"explanations": map_summary(rows, scene).figures()} if scene.explained else {}),
    }


def _rows(entries: dict[str, dict[str, Any]], count: int) -> dict[str, dict[str, Any]]:
    """The scores of model and baselines, by predictor and metric; the gain of the model over logistic regression."""
    rows: dict[str, dict[str, Any]] = {key: {} for key in PREDICTORS}
    for name, entry in entries.items():
        simple, gain = entry["baselines"]["logistic_regression"], entry["gain_ci95"]["logistic_regression"]
        over = {"logistic_regression": {"value": entry["value"] - simple, "ci95": gain, "p": None}}
        rows["cnn"][name] = {"value": entry["value"], "ci95": entry["ci95"], "n": count, "gain": over}
        for key, value in entry["baselines"].items():
            rows[key][name] = {"value": value, "ci95": entry["baselines_ci95"][key], "n": count}
        for key, above in BLIND.items():
            blind = entry["chance"] + above
            rows[key][name] = {"value": blind, "ci95": [blind - 0.02, blind + 0.02], "n": count}
            gained = entry["value"] - blind
            over[key] = {"value": gained, "ci95": [gained - 0.05, gained + 0.05], "p": 0.001}
        why = "participants are held out"
        rows["participant_only"][name] = {"value": None, "ci95": None, "n": 0, "why": why}
    return rows


def _search(rng: np.random.Generator, folds: list[dict[str, Any]], scored: list[dict[str, Any]]) -> dict[str, Any]:
    """A search over two keys, as the engine writes it down."""
    space = {"model": {"width": [8, 16]}, "train": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}
    entries = []
    for fold, outer in zip(folds, scored, strict=True):
        trials = [
            {"setting": {"model.width": width, "train.learning_rate": rate}, "score": float(rng.uniform(0.6, 0.8)),
             "loss": float(rng.uniform(0.4, 0.6)), "inner_folds": 3, "epochs": epochs, "status": status}
            for width, rate, epochs, status in ((8, 0.001, 5, "stopped early"), (16, 0.001, 18, "done"),
                                                (16, 0.00734, 18, "done"))
        ]  # fmt: skip
        trials.append({"setting": {"model.width": 8, "train.learning_rate": 0.009}, "score": None, "loss": None,
                       "inner_folds": 3, "epochs": 0, "status": "failed"})  # fmt: skip
        entries.append({"fold": fold["fold"], "chosen": {"model.width": 16, "train.epochs": 12},
                        "inner_score": 0.85, "outer_score": outer["metrics"]["balanced_accuracy"],
                        "trials": trials})  # fmt: skip
    return {"metric": "balanced_accuracy", "chosen_by": "loss", "scheduler": "halving", "space": space,
            "folds": entries}  # fmt: skip


def map_summary(rows: list[dict[str, Any]], scene: Scene) -> MapSummary:
    """Maps of 12 x 24 px: the first method follows the dwell and ignores the weights, the second does neither."""
    rng = np.random.default_rng(scene.seed)
    count, classes, shape = len(rows), len(scene.classes), (12, 24)
    labels = [np.array([scene.classes.index(row[name]) for row in rows]) for name in ("label", "predicted")]
    dwell = rng.gamma(1.0, 40.0, (classes, *shape))
    signed = rng.normal(0, 0.01, (2, classes, *shape))
    fractions = np.array([0.0, 0.1, 0.25, 0.5, 1.0])
    falls = np.array([0.8, 2.0, 0.4, 1.0])[:, None] * rng.uniform(0.8, 1.2, count)
    curves = 0.5 + 0.45 * np.exp(-falls[..., None] * 4 * fractions)
    sums = {"count_label": np.bincount(labels[0], minlength=classes),
            "count_predicted": np.bincount(labels[1], minlength=classes)}  # fmt: skip
    weight = {name: sums[f"count_{name}"][:, None, None].astype(float) for name in ("label", "predicted")}
    for name in ("label", "predicted"):
        sums |= {f"dwell_{name}": dwell * weight[name], f"signed_{name}": signed * weight[name],
                 f"absolute_{name}": np.abs(signed) * weight[name]}  # fmt: skip
    return MapSummary(
        methods=np.array(["gradient", "integrated_gradients"]), fractions=fractions, **sums,
        key=np.arange(count), group=np.array([row["participant"] for row in rows]), checked=np.ones(count, bool),
        deletion=curves.sum(axis=1), area=np.trapezoid(curves, fractions, axis=-1),
        random_weights=np.clip(rng.normal([[[0.9]], [[0.1]]], 0.04, (2, 2, count)), -1, 1),
        dwell_likeness=np.clip(rng.normal([[0.7], [0.2]], 0.05, (2, count)), -1, 1),
    )  # fmt: skip


def _people_accuracy(
    labels: NDArray[np.int64], values: NDArray[np.float64], people: NDArray[Any]
) -> NDArray[np.float64]:
    right = labels == values.argmax(axis=1)
    return np.array([right[people == name].mean() for name in sorted(set(people))])


def _permutation(
    rng: np.random.Generator, labels: NDArray[np.int64], guess: NDArray[np.int64], people: NDArray[Any]
) -> dict[str, Any]:
    def balanced(truth: NDArray[np.int64]) -> float:
        return float(np.mean([(guess[truth == label] == label).mean() for label in np.unique(labels)]))

    null, value = [], balanced(labels)
    for _ in range(199):
        shuffled = labels.copy()
        for name in set(people):
            shuffled[people == name] = rng.permutation(labels[people == name])
        null.append(balanced(shuffled))
    above = sum(item >= value for item in null)
    below = sum(item <= value for item in null)
    test = {"metric": "balanced_accuracy", "value": value, "design": "within participants", "units": len(labels),
            "p": (1 + above) / 200, "p_below": (1 + below) / 200, "n": 199, "gain": _gains(0.005),
            "null_mean": float(np.mean(null)), "null_p95": float(np.percentile(null, 95))}  # fmt: skip
    return {**test, "auroc": {**test, "metric": "auroc", "gain": _gains(0.015)}}


def _gains(p: float) -> dict[str, dict[str, float]]:
    return {key: {"value": 0.1, "p": p, "p_below": 1.0} for key in ("logistic_regression", "majority", "stimulus_only")}


def _fold_metrics(
    fold: dict[str, Any], labels: NDArray[np.int64], values: NDArray[np.float64], people: NDArray[Any], scene: Scene
) -> dict[str, Any]:
    mask = np.isin(people, fold["test"])
    return {"fold": fold["fold"], "test": fold["test"], "metrics": _score(labels[mask], values[mask], scene.classes)}


MADE_BY = {
    "command": "python jobs/cv_heatmap.py 'run.dir=s3://***@lab/runs'",
    "git": {"commit": "c0ffee" * 6 + "abcd", "dirty": True},
    "machine": {"cpu": "AMD EPYC", "cores": 2, "memory_gb": 16.5, "gpus": ["NVIDIA H100"], "device": "cuda",
                "cluster": {"machines": 3, "cpus": 48.0, "gpus": 3.0, "gpu_models": ["H100"]}},
    "earlier": [{"seconds_total": 20.0}], "stages": {"units": 60.0}, "seconds_total": 125.25,
}  # fmt: skip
"""How a run was made, as its manifest says it."""


def _manifest(scene: Scene, folds: list[dict[str, Any]]) -> dict[str, Any]:
    config = {
        "data": {"dataset": "simulated", "label": None}, "folds": {"outer": scene.folds, "validation": 0.2},
        "train": {"epochs": scene.epochs, "patience": 8, "class_weights": True, "learning_rate": 0.001},
        "search": {"metric": "loss"} if scene.searched else None, "run": {"seed": scene.seed},
    }  # fmt: skip
    name = digest(config)[:10]
    config["run"]["dir"] = "runs"  # type: ignore[index]
    return {
        "job": "cv_heatmap", "study": "heatmap", "status": "failed" if scene.failed else "done",
        "config": config, "config_hash": name, "seed": scene.seed,
        "started": "2025-01-01T10:00:00+00:00", "finished": "2025-01-01T10:02:05+00:00", **MADE_BY,
        "data": {"dataset": "simulated reading", "licence": "Apache-2.0", "fingerprint": "ab" * 32,
                 "label": "sentence_type", "notes": list(scene.notes)},
        "versions": {"gazeray": "0.1.0", "ray": "2.60.0", "torch": "2.8.0", "numpy": "2.1.0"},
        "classes": list(scene.classes), "folds": folds, "flow": _flow(scene),
        "counts": {"recordings": scene.participants, "participants": scene.participants,
                   "trials": scene.participants * scene.trials, "examples": scene.participants * scene.trials,
                   "rejected": scene.rejects},
        "units": {f"fold-{fold['fold']}": "failed" if fold["fold"] in scene.failed else "done" for fold in folds},
    }  # fmt: skip


def _flow(scene: Scene) -> dict[str, Any]:
    """Of each participant one trial of the last class was lost."""
    trials, last = scene.participants * scene.trials, scene.classes[-1]
    own = {name: trials // len(scene.classes) for name in scene.classes[:-1]}
    counts = {"used": {**own, last: trials - sum(own.values())},
              "rejected": {**dict.fromkeys(own, 0), last: scene.participants}}  # fmt: skip
    counts["declared"] = {name: counts["used"][name] + counts["rejected"][name] for name in scene.classes}
    why = {"rejected": {"stage": "quality", "cause": "lost_share … > quality.max_lost_share 0.5"}}
    steps = [{"step": step, "people": scene.participants, "trials": sum(counts[step].values()), "classes": counts[step],
              "class_not_known": 0, **why.get(step, {})} for step in ("declared", "rejected", "used")]  # fmt: skip
    return {"steps": steps, "apart": [], "further": scene.rejects, "people_lost": [],
            "by_class": {"test": "Fisher’s exact test", "p": 1e-5}}  # fmt: skip


def _unit(
    rng: np.random.Generator,
    run: Folder,
    fold: dict[str, Any],
    scene: Scene,
    mark: str,
    rows: list[dict[str, Any]],
    scored: dict[str, float],
) -> None:
    name = f"fold-{fold['fold']}"
    if fold["fold"] in scene.failed:
        error = "RuntimeError: loss is <nan> in epoch 2"
        trace = f'Traceback (most recent call last):\n  File "fit.py", line 7, in fit\n{error}'
        failure = {"unit": name, "hash": mark, "status": "failed", "error": error, "traceback": trace}
        run.write_json(f"units/{name}/failure.json", failure)
        return
    epoch = np.arange(1, scene.epochs + 1)
    train = 0.12 + 0.6 * np.exp(-epoch / 5) + rng.normal(0, 0.01, epoch.size)
    validation = 0.3 + 0.4 * np.exp(-epoch / 4) + 0.012 * np.maximum(0, epoch - 9) + rng.normal(0, 0.02, epoch.size)
    balanced = np.clip(0.86 - 0.36 * np.exp(-epoch / 4) + rng.normal(0, 0.02, epoch.size), 0, 1)
    lines = [
        {"epoch": int(e), "train_loss": float(t), "validation_loss": float(v), "validation_balanced_accuracy": float(b)}
        for e, t, v, b in zip(epoch, train, validation, balanced, strict=True)
    ]
    run.write_text(f"units/{name}/metrics.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    run.write_table(f"units/{name}/predictions.parquet", _table(rows))
    run.write_bytes(f"units/{name}/checkpoint/model.safetensors", b"weights")
    counts = {key: len(fold[key]) * scene.trials for key in ("train", "validation", "test")}
    best = int(validation.argmin()) + 1
    result = {"unit": name, "hash": mark, "status": "done", "best_epoch": best, "epochs": scene.epochs, "n": counts}
    run.write_json(f"units/{name}/result.json", result | {"metrics": scored})


def _maps(rng: np.random.Generator, run: Folder, rows: list[dict[str, Any]], scene: Scene) -> None:
    seen: dict[str, int] = {}
    index: list[dict[str, Any]] = []
    for row in rows:
        wrong = row["label"] != row["predicted"]
        seen[row["participant"]] = seen.get(row["participant"], 0) + (not wrong)
        if not wrong and seen[row["participant"]] > scene.maps_per_participant:
            continue
        path = f"maps/{len(index):04d}.npz"
        row["map"] = path
        run.write_bytes(path, _map(rng, wrong))
        index.append({key: row[key] for key in ("participant", "trial", "stimulus", "fold", "label", "predicted")} | {
            "path": path, "window_width_px": scene.window_px[0], "window_height_px": scene.window_px[1]})  # fmt: skip
    run.write_table("maps/index.parquet", _table(index))


def _map(rng: np.random.Generator, wrong: bool) -> bytes:
    size = 96
    y, x = np.mgrid[0:size, 0:size] + 0.5
    words = [(8 + 80 * word / 7 + rng.normal(0, 1.5), size / 2 + rng.normal(0, 5)) for word in range(8)]
    dwell = rng.gamma(4, 55, len(words))
    blobs = [np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 4.0**2)) for cx, cy in words]
    heatmap = sum(duration * blob for duration, blob in zip(dwell, blobs, strict=True))
    gradient = 0.01 * (blobs[4] - 0.6 * blobs[2]) + rng.normal(0, 0.0012, (size, size)) * (0.3 + sum(blobs))
    other = -0.8 * gradient + rng.normal(0, 0.0005, (size, size)) if wrong else gradient
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        heatmap=np.asarray(heatmap, dtype=np.float16),
        gradient_true=np.asarray(other, dtype=np.float32),
        gradient_predicted=np.asarray(gradient, dtype=np.float32),
    )
    return buffer.getvalue()


def _reject(index: int, names: list[str]) -> Reject:
    reasons = ("all samples lost", "time runs backwards", "trial without gaze")
    name = names[index % len(names)]
    return Reject(f"gaze/{name}.csv", index * 100 + 1, "gaze", reasons[index % 3], name, str(index % 12 + 1))


def _quality(rng: np.random.Generator, names: list[str], scene: Scene) -> pa.Table:
    """A row for every trial; with a gate, the worse participants have one more, which was refused for lost samples.

    Without geometry the columns in deg are NaN; without a gate the table is that of a run that knew no gate.
    """
    rows = []
    for name in names:
        worse = float(rng.uniform(0.5, 2.0))
        refused = int(scene.gate and worse > 1.2)
        for trial in range(scene.trials + refused):
            gone = trial >= scene.trials
            ms, lost = float(rng.normal(4200, 700)), min(0.45, float(rng.beta(2, 30)) * worse) + 0.5 * gone
            rms_px = float(rng.gamma(20, 0.1)) * worse
            deg = 0.025 if scene.geometry else float("nan")
            row = {"participant": name, "trial": f"{trial + 1}", "n_samples": int(0.12 * ms),
                   "n_fixations": int(ms / 260), "duration_ms": ms, "sampling_hz": float(rng.normal(120, 0.4)),
                   "lost_share": lost, "outside_share": lost / 3}  # fmt: skip
            if scene.gate:
                gate = f"lost_share {lost:.2f} > quality.max_lost_share 0.5" if gone else ""
                row |= {"off_screen_share": lost / 5, "rms_s2s_px": rms_px, "rms_s2s_deg": rms_px * deg,
                        "bcea_px2": 40 * rms_px**2, "bcea_deg2": 40 * (rms_px * deg) ** 2,
                        "longest_gap_ms": 900 * lost, "gate": gate}  # fmt: skip
            rows.append(row)
    return _table(rows)
