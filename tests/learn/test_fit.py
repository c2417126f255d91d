# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from gazeray.config import TrainConfig
from gazeray.learn.fit import DivergedError, Task, be_deterministic, fit, predict
from gazeray.models.heatmap_cnn import HeatmapCNN
from gazeray.store import ExampleIndex, SharedExamples

CPU = torch.device("cpu")


class BlobStudy:
    """Bright left half or bright right half."""

    tensors = ("picture",)

    def model(self, cfg: Any, plan: Any) -> torch.nn.Module:
        return HeatmapCNN(1, (16, 24), 4, 2, dropout=0.3)

    def inputs(self, cfg: Any, plan: Any, batch: Any, device: torch.device) -> torch.Tensor:
        return torch.from_numpy(batch["picture"]).to(device).float()

    def loss(self, cfg: Any, plan: Any, labels: np.ndarray) -> torch.nn.Module:
        return torch.nn.CrossEntropyLoss()


class Memory:
    """Checkpoints in memory; `stop_after` epochs it fails as a crash would."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.state: bytes | None = None
        self.saves = 0
        self.stop_after = stop_after

    def load(self) -> bytes | None:
        return self.state

    def save(self, state: bytes, history: list[dict[str, Any]]) -> None:
        self.state = state
        self.saves += 1
        if self.saves == self.stop_after:
            raise KeyboardInterrupt


def make_task(**train: Any) -> Task:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    picture = rng.normal(0, 1, (60, 1, 16, 24)).astype(np.float16)
    picture[labels == 0, :, :, :12] += 1.5
    picture[labels == 1, :, :, 12:] += 1.5
    ids = pa.table({"participant": [f"P{n // 6}" for n in range(60)], "label_index": labels})
    index = ExampleIndex(ids, np.arange(60) // 6, np.arange(60) % 6, ())
    settings = TrainConfig(**{"epochs": 6, "batch_size": 16, "learning_rate": 3e-3, "patience": 6} | train)
    examples = SharedExamples(index, {"picture": picture}, 1000)
    study: Any = BlobStudy()
    return Task(study, SimpleNamespace(train=settings), None, examples, np.arange(36), np.arange(36, 48), seed=3)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    be_deterministic(1)
    yield
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1])


def test_fit_learns_a_plain_difference() -> None:
    task = make_task(epochs=12)
    model, progress = fit(task, CPU, Memory())
    rows, logits = predict(task, model, np.arange(48, 60), CPU)
    assert (logits.argmax(axis=1) == task.examples.index.labels[rows]).mean() >= 0.9
    assert progress.history[-1]["train_loss"] < progress.history[0]["train_loss"]
    assert not model.training


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop_after", [1, 4])
def test_resumed_fit_equals_an_undisturbed_one_bit_by_bit(optimizer: str, stop_after: int) -> None:
    task = make_task(optimizer=optimizer, momentum=0.9)
    whole, undisturbed = fit(task, CPU, Memory())
    memory = Memory(stop_after)
    with pytest.raises(KeyboardInterrupt):
        fit(task, CPU, memory)
    torch.manual_seed(999)
    resumed, progress = fit(task, CPU, memory)
    assert memory.saves == 6, "no epoch was done twice"
    assert progress == undisturbed
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_finished_fit_resumes_to_its_best_model_without_training() -> None:
    task, memory = make_task(), Memory()
    first, _ = fit(task, CPU, memory)
    second, _ = fit(task, CPU, memory)
    assert memory.saves == 6
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_training_stops_when_the_validation_loss_no_longer_falls() -> None:
    task = make_task(epochs=200, patience=3, learning_rate=3e-2)
    _, progress = fit(task, CPU, Memory())
    assert progress.epoch < 200
    assert progress.epoch == progress.best_epoch + 3
    losses = [record["validation_loss"] for record in progress.history]
    assert progress.best_epoch == 1 + int(np.argmin(losses))


def test_best_epoch_is_returned_not_the_last() -> None:
    task = make_task(epochs=200, patience=5, learning_rate=3e-2)
    model, progress = fit(task, CPU, Memory())
    rows, logits = predict(task, model, task.validation, CPU)
    loss = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).float(), torch.from_numpy(task.examples.index.labels[rows])
    )
    assert float(loss) == pytest.approx(progress.best_loss, rel=1e-5)


def test_test_rows_do_not_touch_the_fit() -> None:
    task = make_task()
    first, _ = fit(task, CPU, Memory())
    arrays = {"picture": task.examples.arrays["picture"].copy()}  # type: ignore[attr-defined]
    arrays["picture"][48:] = 1000
    second, _ = fit(replace(task, examples=SharedExamples(task.examples.index, arrays, 1000)), CPU, Memory())
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_other_seed_gives_another_model() -> None:
    task = make_task()
    first, _ = fit(task, CPU, Memory())
    second, _ = fit(replace(task, seed=4), CPU, Memory())
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_diverging_loss_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DivergedError, match="learning_rate"):
        fit(make_task(optimizer="sgd", learning_rate=1e18, epochs=4), CPU, Memory())
