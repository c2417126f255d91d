# SPDX-License-Identifier: Apache-2.0
"""The one training loop. It knows nothing of clusters: a `Checkpoints` object says where to save and who is told.

Every epoch draws its randomness from (seed, epoch), so that a fit resumed from an epoch's checkpoint ends with the same
numbers as one that was never interrupted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load, save

from gazeray.config import TrainConfig
from gazeray.learn.folds import derive_seed
from gazeray.store import Examples
from gazeray.study import Study


class Checkpoints(Protocol):
    """Where a fit keeps its state between epochs."""

    def load(self) -> bytes | None:
        """The last saved state, if any."""

    def save(self, state: bytes, history: list[dict[str, Any]]) -> None:
        """Keep the state after an epoch; `history` holds one record per epoch so far."""


class DivergedError(ArithmeticError):
    """The loss is no longer a finite number."""


@dataclass
class Progress:
    """How far a fit has come: one record per epoch, and the best epoch by validation loss (counted from 1)."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf

    @property
    def epoch(self) -> int:
        return len(self.history)

    def finished(self, train: TrainConfig) -> bool:
        return self.epoch >= train.epochs or self.epoch - self.best_epoch >= train.patience


@dataclass(frozen=True)
class Task:
    """What to fit: the study with its config and plan, and the row numbers of the examples to train and validate on."""

    study: Study
    cfg: Any
    plan: Any
    examples: Examples
    train: np.ndarray
    validation: np.ndarray
    seed: int


def be_deterministic(threads: int) -> None:
    """Same numbers in every process: fixed thread count, deterministic kernels."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.backends.cudnn.benchmark = False


class Fit:
    """One model in training, an epoch at a time; goes on from its checkpoint when there is one.

    Without validation rows nothing stops it early, and its best epoch is the last.
    """

    def __init__(self, task: Task, device: torch.device, checkpoints: Checkpoints) -> None:
        cfg: TrainConfig = task.cfg.train
        torch.manual_seed(derive_seed(task.seed, "model"))
        self.task, self.device, self.checkpoints = task, device, checkpoints
        self.model = task.study.model(task.cfg, task.plan).to(device).to(memory_format=torch.channels_last)
        self.optimizer = _optimizer(self.model, cfg)
        self.loss = task.study.loss(task.cfg, task.plan, task.examples.index.labels[task.train]).to(device)
        self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.progress = _restore(checkpoints.load(), self.model, self.optimizer, self.best)

    @property
    def finished(self) -> bool:
        """All epochs done, or the validation loss has not fallen for `train.patience` of them."""
        return self.progress.finished(self.task.cfg.train)

    def epoch(self) -> None:
        """One more epoch. Raises DivergedError when the training or the validation loss is not finite."""
        progress, task = self.progress, self.task
        epoch = progress.epoch + 1
        torch.manual_seed(derive_seed(task.seed, "epoch", epoch))
        record: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": _train_epoch(task, self.model, self.optimizer, self.loss, self.device, epoch),
        }
        if len(task.validation):
            record |= _validate(task, self.model, self.loss, self.device)
            if not math.isfinite(record["validation_loss"]):
                raise DivergedError(f"the validation loss of epoch {epoch} is not finite; lower train.learning_rate")
        progress.history.append(record)
        if not len(task.validation) or record["validation_loss"] < progress.best_loss:
            progress.best_loss, progress.best_epoch = record.get("validation_loss", math.inf), epoch
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.checkpoints.save(_state(self.model, self.optimizer, self.best, progress), progress.history)

    def best_model(self) -> torch.nn.Module:
        """The model of the best epoch, in eval mode."""
        self.model.load_state_dict(self.best)
        return self.model.eval()


def fit(task: Task, device: torch.device, checkpoints: Checkpoints) -> tuple[torch.nn.Module, Progress]:
    """Train until the validation loss no longer falls (without validation rows: all epochs); the best epoch's model.

    Raises DivergedError when the training or the validation loss is not finite.
    """
    run = Fit(task, device, checkpoints)
    while not run.finished:
        run.epoch()
    return run.best_model(), run.progress


def predict(
    task: Task, model: torch.nn.Module, rows: np.ndarray, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, logits) of some examples in eval mode: (N,) int64 in visiting order, (N, classes) float64."""
    model.eval()
    seen, logits = [], []
    with torch.inference_mode():
        for batch_rows, batch in task.examples.batches(rows, task.cfg.train.batch_size, task.study.tensors):
            with _autocast(task.cfg.train, device):
                output = model(task.study.inputs(task.cfg, task.plan, batch, device))
            seen.append(batch_rows)
            logits.append(output.double().cpu().numpy())
    return np.concatenate(seen), np.concatenate(logits)


def _train_epoch(
    task: Task,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: torch.nn.Module,
    device: torch.device,
    epoch: int,
) -> float:
    """One pass over the training rows; returns the mean loss per example."""
    model.train()
    total = torch.zeros((), dtype=torch.float64, device=device)
    order = derive_seed(task.seed, "order", epoch)
    labels = task.examples.index.labels
    for rows, batch in task.examples.batches(task.train, task.cfg.train.batch_size, task.study.tensors, order):
        target = torch.from_numpy(labels[rows]).to(device)
        with _autocast(task.cfg.train, device):
            value = loss(model(task.study.inputs(task.cfg, task.plan, batch, device)).float(), target)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        total += value.detach().double() * len(rows)
    mean = float(total) / len(task.train)
    if not math.isfinite(mean):
        raise DivergedError(f"the training loss of epoch {epoch} is {mean}; lower train.learning_rate")
    return mean


def _validate(task: Task, model: torch.nn.Module, loss: torch.nn.Module, device: torch.device) -> dict[str, float]:
    """Loss and balanced accuracy on the validation rows."""
    rows, logits = predict(task, model, task.validation, device)
    labels = task.examples.index.labels[rows]
    value = loss(torch.from_numpy(logits).float().to(device), torch.from_numpy(labels).to(device))
    hits = logits.argmax(axis=1) == labels
    recalls = [float(hits[labels == c].mean()) for c in np.unique(labels)]
    return {"validation_loss": float(value), "validation_balanced_accuracy": float(np.mean(recalls))}


def _autocast(cfg: TrainConfig, device: torch.device) -> torch.autocast:
    wanted = cfg.precision == "bfloat16" or (cfg.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def _optimizer(model: torch.nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    if cfg.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), cfg.learning_rate, cfg.momentum, weight_decay=cfg.weight_decay)
    return torch.optim.AdamW(model.parameters(), cfg.learning_rate, weight_decay=cfg.weight_decay)


def _state(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, best: Mapping[str, torch.Tensor], progress: Progress
) -> bytes:
    """Everything that a resumed fit needs, as one safetensors file (tensors, and the history as its metadata)."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items() if value is not None}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    best_loss = progress.best_loss if math.isfinite(progress.best_loss) else None  # JSON has no infinity
    scalars = {"history": progress.history, "best_epoch": progress.best_epoch, "best_loss": best_loss}
    return save(tensors, metadata={"progress": json.dumps(scalars)})


def _restore(
    state: bytes | None, model: torch.nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, torch.Tensor]
) -> Progress:
    """Put a saved state back into model, optimizer and `best`; without one, start from nothing."""
    if state is None:
        return Progress()
    tensors = load(state)
    header = json.loads(state[8 : 8 + int.from_bytes(state[:8], "little")])
    scalars = json.loads(header["__metadata__"]["progress"])
    best_loss = math.inf if scalars["best_loss"] is None else scalars["best_loss"]
    progress = Progress(scalars["history"], scalars["best_epoch"], best_loss)
    model.load_state_dict(_under(tensors, "model"))
    for name, value in _under(tensors, "best").items():
        best[name].copy_(value)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _under(tensors, "optimizer").items():
        number, name = key.split(".", 1)
        moments.setdefault(int(number), {})[name] = value
    saved = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": saved["param_groups"]})
    return progress


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    start = len(prefix) + 1
    return {name[start:]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
