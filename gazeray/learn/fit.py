# SPDX-License-Identifier: Apache-2.0
"""The one training loop. It knows nothing of clusters: its unit's folder says where to save and who is told.

What is learned, and from what, is the learner's (`gazeray.study.Learner`). Every epoch draws its randomness from (seed,
epoch), so that a fit resumed from an epoch's checkpoint ends with the same numbers as one that was never interrupted.
"""

from __future__ import annotations

import ctypes
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from gazeray.config import TrainConfig
from gazeray.learn.folds import derive_seed
from gazeray.store import Column, Store
from gazeray.study import Learner
from gazeray.unit import Json, UnitFolder


class DivergedError(ArithmeticError):
    """The loss is no longer a finite number."""


@dataclass
class Progress:
    """How far a fit has come: one record per epoch, and the best epoch (from 1) with its value of `train.stop_on`.

    best is None until an epoch has one.
    """

    history: list[Json] = field(default_factory=list)
    best_epoch: int = 0
    best: float | None = None

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)


@dataclass(frozen=True)
class Task:
    """What to fit: a learner, the store, and the row numbers of the examples to train and validate on."""

    learner: Learner
    store: Store
    train: np.ndarray
    validation: np.ndarray
    seed: int


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's mallopt."""


def be_deterministic(threads: int) -> None:
    """Same numbers in every process: fixed thread count, deterministic kernels. Freed memory is kept, see below."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    # as torch.use_deterministic_algorithms does, which also imports the compiler: seconds for each worker of a pass
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for its next step; without glibc nothing is done.

    By default glibc hands the activations back to the system after every step, and each page of the next step's is a
    page fault: a third of the CPU time of small fits, more where several processes do it at the same time. A thread
    beside the main one has memory of its own, which follows the environment alone (`gazeray.engine.cluster.KEEP_MEMORY`
    sets it for workers).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)
        if not libc.mallopt(M_MMAP_THRESHOLD, 2**30):  # the most that an older glibc takes
            libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)


class Fit:
    """One model in training, an epoch at a time; goes on from its checkpoint when there is one.

    learner: as it was prepared by the training rows. Without validation rows nothing stops it early, and its best epoch
    is the last.
    """

    def __init__(self, task: Task, device: torch.device, checkpoints: UnitFolder) -> None:
        learner = task.learner.prepare(task.train, task.store)
        self.task, self.learner, self.device, self.checkpoints = task, learner, device, checkpoints
        torch.manual_seed(derive_seed(task.seed, "model"))
        self.model = learner.model().to(device)
        self.optimizer = learner.optimizer(self.model)
        self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.progress = _restore(checkpoints.load(), self.model, self.optimizer, self.best)

    @property
    def finished(self) -> bool:
        """All epochs done, or no better validation for `train.patience` of them."""
        progress, train = self.progress, self.learner.train
        return progress.epoch >= train.epochs or progress.epoch - progress.best_epoch >= train.patience

    def epoch(self) -> None:
        """One more epoch. Raises DivergedError when the training loss or a watched metric is not finite."""
        progress, task, learner, train = self.progress, self.task, self.learner, self.learner.train
        epoch = progress.epoch + 1
        torch.manual_seed(derive_seed(task.seed, "epoch", epoch))
        record: Json = {"epoch": epoch, "train_loss": self._train_epoch(epoch)}
        if len(task.validation):
            rows, predicted = predict(learner, self.model, task.store, task.validation, self.device)
            values = learner.metrics(predicted, task.store.take(rows, learner.targets))
            record |= {f"validation_{name}": value for name, value in values.items()}
            for name in {"loss", train.stop_on} & set(learner.watched):
                if not math.isfinite(record[f"validation_{name}"]):
                    words = f"the validation {name.replace('_', ' ')} of epoch {epoch} is not finite"
                    raise DivergedError(f"{words}; lower train.learning_rate")
        progress.history.append(record)
        watched, best = record.get(f"validation_{train.stop_on}"), progress.best
        if watched is None or best is None or (watched > best if learner.watched[train.stop_on] else watched < best):
            progress.best, progress.best_epoch = watched, epoch
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.checkpoints.save(_state(self.model, self.optimizer, self.best, progress), progress.history)

    def _train_epoch(self, epoch: int) -> float:
        """One pass over the training rows, as the learner draws them; returns the mean loss per example."""
        self.model.train()
        task, learner = self.task, self.learner
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        order = derive_seed(task.seed, "order", epoch)
        visited = learner.drawn(task.train, task.store, derive_seed(task.seed, "drawn", epoch))
        columns = (*learner.columns, *learner.targets)
        for rows, batch in task.store.batches(visited, learner.train.batch_size, columns, order):
            with autocast(learner.train, self.device):
                value = learner.loss(self.model, on_device(batch, self.device), epoch)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            self.optimizer.step()
            total += value.detach().double() * len(rows)
        mean = float(total) / len(visited)
        if not math.isfinite(mean):
            raise DivergedError(f"the training loss of epoch {epoch} is {mean}; lower train.learning_rate")
        return mean

    def run(self) -> torch.nn.Module:
        """Train until nothing improves any longer (without validation rows: all epochs).

        Returns the best epoch's model in eval mode.
        """
        while not self.finished:
            self.epoch()
        self.model.load_state_dict(self.best)
        return self.model.eval()


def predict(
    learner: Learner, model: torch.nn.Module, store: Store, rows: np.ndarray, device: torch.device
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(rows, predictions) of some examples in eval mode: (N,) int64 in visiting order, {name: (N, ...) float64}."""
    model.eval()
    seen: list[np.ndarray] = []
    found: dict[str, list[np.ndarray]] = {}
    with torch.inference_mode():
        for batch_rows, batch in store.batches(rows, learner.train.batch_size, learner.columns):
            with autocast(learner.train, device):
                predicted = learner.predict(model, on_device(batch, device))
            seen.append(batch_rows)
            for name, values in predicted.items():
                found.setdefault(name, []).append(values.double().cpu().numpy())
    return np.concatenate(seen), {name: np.concatenate(values) for name, values in found.items()}


def on_device(batch: Mapping[str, Column], device: torch.device) -> dict[str, Any]:
    """A batch of a store as tensors on the device; ragged columns become lists of tensors, text stays as it is."""
    return {
        name: [torch.tensor(one, device=device) for one in values]
        if isinstance(values, list)
        else values
        if values.dtype.kind == "U"
        else torch.from_numpy(values).to(device, non_blocking=True)
        for name, values in batch.items()
    }


def autocast(train: TrainConfig, device: torch.device) -> torch.autocast:
    """bfloat16 where the config asks for it; `auto`: on a GPU."""
    wanted = train.precision == "bfloat16" or (train.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def _state(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, best: Mapping[str, torch.Tensor], progress: Progress
) -> bytes:
    """Everything that a resumed fit needs, as one safetensors file (tensors, and the history as its metadata)."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items() if value is not None}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    scalars = {"history": progress.history, "best_epoch": progress.best_epoch, "best": progress.best}
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
    model.load_state_dict(_under(tensors, "model"))
    for name, value in _under(tensors, "best").items():
        best[name].copy_(value)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _under(tensors, "optimizer").items():
        number, name = key.split(".", 1)
        moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return Progress(**scalars)


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    start = len(prefix) + 1
    return {name[start:]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
