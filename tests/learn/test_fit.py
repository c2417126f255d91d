# SPDX-License-Identifier: Apache-2.0
"""The training loop: what it fits to, when it stops, and that a cut changes no bit."""

from __future__ import annotations

import platform
import resource
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from gazeray.config import TrainConfig
from gazeray.learn.fit import DivergedError, Fit, Task, keep_freed_memory, predict
from gazeray.learn.trained import Trained
from gazeray.storage import Folder
from gazeray.store import Column, Store
from gazeray.study import Chosen, Fold, Row, Side, Tried
from gazeray.unit import Unit, UnitFolder, Worker
from tests.learn.blobs import EXAMPLES, BlobLearner, blobs

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


class Memory:
    """Checkpoints in memory; after `stop_after` epochs it fails as a crash would."""

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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return blobs(Folder(tmp_path_factory.mktemp("blobs")))


def task_of(store: Store, learner: BlobLearner | None = None, **train: Any) -> Task:
    settings = TrainConfig(**{"epochs": 6, "batch_size": 16, "learning_rate": 3e-3, "patience": 6} | train)
    return Task((learner or BlobLearner()).with_train(settings), store, np.arange(36), np.arange(36, 48), seed=3)


def fit(task: Task, memory: Memory | None = None) -> Fit:
    run = Fit(task, CPU, memory or Memory())
    run.run()
    return run


def same_weights(one: Fit, other: Fit) -> bool:
    pairs = zip(one.model.state_dict().items(), other.model.state_dict().items(), strict=True)
    return all(a == b and torch.equal(first, second) for (a, first), (b, second) in pairs)


def test_both_targets_are_learned_from_all_inputs(store: Store) -> None:
    run = fit(task_of(store, epochs=60, patience=60, learning_rate=1e-2))
    rows, found = predict(run.learner, run.model, store, np.arange(48, 60), CPU)
    assert (found["logits"].argmax(axis=1) == store.plain("kind")[rows]).mean() >= 0.8
    assert np.corrcoef(found["value"], store.plain("value")[rows])[0, 1] > 0.8
    assert found["logits"].dtype == np.float64
    history = run.progress.history
    assert history[-1]["train_loss"] < history[1]["train_loss"]
    assert set(history[0]) == {"epoch", "train_loss", "validation_loss", "validation_accuracy", "validation_error"}
    assert not run.model.training


def test_every_input_reaches_the_model(store: Store) -> None:
    run = fit(task_of(store, epochs=1))
    base = predict(run.learner, run.model, store, np.arange(3), CPU)[1]["value"]
    for name in ("picture", "series", "age"):
        changed = store.take(np.arange(3), ["picture", "series", "age"])
        values = changed[name]
        changed[name] = [one + 1 for one in values] if isinstance(values, list) else values + 1

        @dataclass
        class Other:
            """The store with one input changed."""

            batch: dict[str, Column]

            def batches(self, rows: np.ndarray, size: int, columns: Any, seed: Any = None) -> Any:
                yield rows, self.batch

        found = predict(run.learner, run.model, Other(changed), np.arange(3), CPU)[1]["value"]  # type: ignore[arg-type]
        assert not np.allclose(found, base), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop_after", [1, 4])
def test_resumed_fit_equals_an_undisturbed_one_bit_by_bit(store: Store, optimizer: str, stop_after: int) -> None:
    task = task_of(store, optimizer=optimizer, momentum=0.9)
    undisturbed = fit(task)
    memory = Memory(stop_after)
    with pytest.raises(KeyboardInterrupt):
        fit(task, memory)
    torch.manual_seed(999)
    resumed = fit(task, memory)
    assert memory.saves == 6, "no epoch was done twice"
    assert resumed.progress == undisturbed.progress
    assert same_weights(resumed, undisturbed)


def test_finished_fit_resumes_to_its_best_model_without_training(store: Store) -> None:
    task, memory = task_of(store), Memory()
    first = fit(task, memory)
    second = fit(task, memory)
    assert memory.saves == 6
    assert same_weights(first, second)


@dataclass(frozen=True)
class Scripted(BlobLearner):
    """Its metrics are what was written down, one after the other."""

    curve: tuple[float, ...] = ()

    def metrics(self, predicted: Any, targets: Any) -> dict[str, float]:
        said.append(1)
        value = self.curve[len(said) - 1]
        return {"loss": 1.0, "accuracy": value, "error": value}


said: list[int] = []


@pytest.mark.parametrize(
    ("stop_on", "curve", "best"),
    [
        pytest.param("error", (5, 3, 4, 3, 3.5, 2), 2, id="falling_metric_stops_when_it_no_longer_falls"),
        pytest.param("accuracy", (0.1, 0.5, 0.5, 0.2, 0.4, 0.9), 2, id="rising_metric_stops_when_it_no_longer_rises"),
        pytest.param("accuracy", (0.0, -1.0, -2.0, -3.0, 5.0), 1, id="rising_metric_may_be_negative"),
        pytest.param("loss", (0.0,) * 6, 1, id="equal_is_no_better"),
    ],
)
def test_any_watched_metric_stops_a_fit(store: Store, stop_on: str, curve: tuple[float, ...], best: int) -> None:
    said.clear()
    run = fit(task_of(store, Scripted(curve=curve), epochs=200, patience=3, stop_on=stop_on))
    assert (run.progress.epoch, run.progress.best_epoch) == (best + 3, best)
    assert run.progress.best == (1.0 if stop_on == "loss" else curve[best - 1])


@pytest.mark.parametrize("stop_on", ["loss", "accuracy", "error"])
def test_best_epoch_is_returned_not_the_last(store: Store, stop_on: str) -> None:
    run = fit(task_of(store, epochs=30, patience=4, learning_rate=3e-2, stop_on=stop_on))
    values = [record[f"validation_{stop_on}"] for record in run.progress.history]
    assert run.progress.best_epoch == 1 + int(np.argmax(values) if stop_on == "accuracy" else np.argmin(values))
    task = run.task
    rows, found = predict(run.learner, run.model, store, task.validation, CPU)
    again = run.learner.metrics(found, store.take(rows, run.learner.targets))[stop_on]
    assert run.progress.best == values[run.progress.best_epoch - 1]
    assert again == pytest.approx(run.progress.best, rel=1e-5)


def test_resumed_fit_still_knows_that_more_is_better(store: Store) -> None:
    said.clear()
    task = task_of(store, Scripted(curve=(0.1, 0.5, 0.2, 0.7, 0.1, 0.1)), epochs=200, patience=2, stop_on="accuracy")
    memory = Memory(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        fit(task, memory)
    run = fit(task, memory)
    assert (run.progress.epoch, run.progress.best_epoch, run.progress.best) == (6, 4, 0.7)


def test_without_validation_rows_all_epochs_are_done_and_the_last_is_kept(store: Store) -> None:
    run = fit(replace(task_of(store, patience=1), validation=np.empty(0, np.int64)))
    assert (run.progress.epoch, run.progress.best_epoch, run.progress.best) == (6, 6, None)
    assert set(run.progress.history[0]) == {"epoch", "train_loss"}


def test_neither_tested_nor_validated_rows_touch_the_weights(store: Store, tmp_path: Path) -> None:
    """Absurd inputs and targets of all rows that are not trained on leave the training curve as it is."""
    spoilt = blobs(Folder(tmp_path), spoil=range(36, EXAMPLES))
    first = fit(task_of(store, patience=100))
    second = fit(task_of(spoilt, patience=100))
    curves = [[record["train_loss"] for record in one.progress.history] for one in (first, second)]
    assert curves[0] == curves[1]
    tested = blobs(Folder(tmp_path / "tested"), spoil=range(48, EXAMPLES))
    assert same_weights(first, fit(task_of(tested, patience=100)))


def test_other_seed_gives_another_model(store: Store) -> None:
    task = task_of(store)
    assert not same_weights(fit(task), fit(replace(task, seed=4)))


def test_learner_is_prepared_by_training_rows_alone(store: Store) -> None:
    run = fit(task_of(store, epochs=1))
    age = store.plain("age")[:36]
    assert run.learner.fitted()["age"].tolist() == [age.mean(), age.std()]


def test_epoch_reaches_the_loss(store: Store) -> None:
    """The blobs' loss counts the second target from the second epoch on."""
    history = fit(task_of(store, learning_rate=1e-9, epochs=2)).progress.history
    assert history[1]["train_loss"] > history[0]["train_loss"] + 0.5


@dataclass(frozen=True)
class Picky(BlobLearner):
    """Draws ten of its rows for an epoch, each twice, and says what its batches are."""

    def drawn(self, rows: np.ndarray, store: Store, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).choice(rows, 10, replace=False).repeat(2)

    def loss(self, model: torch.nn.Module, batch: Any, epoch: int) -> torch.Tensor:
        visited.append((epoch, batch["age"].tolist()))
        return super().loss(model, batch, epoch)


visited: list[tuple[int, list[float]]] = []


def test_learner_draws_the_rows_of_each_epoch_anew(store: Store) -> None:
    visited.clear()
    task = task_of(store, Picky(), epochs=3)
    first = fit(task)
    ages = {epoch: sorted(age for number, some in visited if number == epoch for age in some) for epoch in (1, 2, 3)}
    for own in ages.values():
        assert (len(own), len(set(own))) == (20, 10)
        assert set(own) <= set(store.plain("age")[task.train].tolist())
    assert ages[1] != ages[2]
    memory = Memory(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        fit(task, memory)
    assert same_weights(first, fit(task, memory))


@dataclass(frozen=True)
class Endless(BlobLearner):
    """Its metric is no number."""

    def metrics(self, predicted: Any, targets: Any) -> dict[str, float]:
        return {"loss": 1.0, "accuracy": float("nan"), "error": 1.0}


def test_diverging_loss_is_an_error_that_says_what_to_do(store: Store) -> None:
    with pytest.raises(DivergedError, match=r"training loss of epoch \d.*learning_rate"):
        fit(task_of(store, optimizer="sgd", learning_rate=1e18, epochs=4))


def test_watched_metric_that_is_no_number_is_an_error_and_another_is_not(store: Store) -> None:
    with pytest.raises(DivergedError, match="validation accuracy of epoch 1 is not finite"):
        fit(task_of(store, Endless(), stop_on="accuracy"))
    assert fit(task_of(store, Endless(), stop_on="error")).progress.epoch == 6


# -- a learner as a predictor


def folds_of() -> list[Fold]:
    rows = np.arange(EXAMPLES)
    sides = [Side("validation", rows[36:48], ("participant",)), Side("test", rows[48:], ("participant",))]
    return [Fold(4, rows[:36], sides[0], (sides[1],))]


def done(trained: Trained, run: Folder) -> tuple[UnitFolder, dict[str, Any]]:
    """The only unit, done."""
    (spec,) = trained.units()
    unit = Unit(spec.name, spec.spec, "0" * 64)
    out = UnitFolder(run, unit)
    return out, trained.run(unit, Worker(CPU, run), out)


def test_unit_of_a_fold_keeps_weights_history_and_what_the_learner_found(store: Store, tmp_path: Path) -> None:
    learner = task_of(store).learner
    trained = Trained({"model": Row("blobs", "model")}, [Tried({}, learner, store, "content")], folds_of(), seed=5)
    out, result = done(trained, Folder(tmp_path))
    assert out.unit.name == "fold-4"
    assert result["n"] == {"train": 36, "validation": 12, "test": 12}
    assert (result["epochs"], len(out.folder.read_text("metrics.jsonl").splitlines())) == (6, 6)
    tensors = load(out.folder.read_bytes("checkpoint/model.safetensors"))
    age = store.plain("age")[:36]
    assert tensors["learner.age"].tolist() == [age.mean(), age.std()]
    model = BlobLearner().model()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items() if "learner" not in name})
    rows, found = predict(replace(learner, spread=(age.mean(), age.std())), model, store, np.arange(36, 48), CPU)
    again = learner.metrics(found, store.take(rows, learner.targets))
    assert again["loss"] == pytest.approx(result["validation_loss"], rel=1e-5)


def test_chosen_setting_is_refitted_on_everybody_who_is_not_tested(store: Store, tmp_path: Path) -> None:
    tried = [Tried({"number": number}, task_of(store, patience=1).learner, store, "content") for number in (0, 1)]
    chosen = [Chosen(1, {"number": 1}, 3, 0.5, [])]
    trained = Trained({"model": Row("blobs", "model")}, tried, folds_of(), 5, chosen)
    out, result = done(trained, Folder(tmp_path))
    assert result["n"] == {"train": 48, "validation": 0, "test": 12}
    assert (result["epochs"], result["best_epoch"], result["validation_loss"]) == (3, 3, None)
    age = store.plain("age")[:48]
    kept = load(out.folder.read_bytes("checkpoint/model.safetensors"))["learner.age"]
    assert kept.tolist() == [age.mean(), age.std()]


def test_units_change_their_hash_with_all_that_they_depend_on(store: Store) -> None:
    learner, (fold,) = task_of(store).learner, folds_of()
    rows = {"model": Row("blobs", "model")}

    def hashed(folds: list[Fold], *tried: Tried) -> Any:
        (spec,) = Trained(rows, tried, folds, 5).units()
        return spec.hashed

    base = hashed([fold], Tried({}, learner, store, "content"))
    moved = replace(fold, train=fold.train[:-1], validation=replace(fold.validation, rows=np.arange(35, 48)))
    renamed = replace(fold, tests=(replace(fold.tests[0], name="unseen_reader"),))
    others = [
        hashed([moved], Tried({}, learner, store, "content")),
        hashed([renamed], Tried({}, learner, store, "content")),
        hashed([fold], Tried({"a": 1}, learner, store, "content")),
        hashed([fold], Tried({}, learner, store, "other content")),
    ]
    assert all(other != base for other in others)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_steps_use_the_same_memory_again() -> None:
    def step() -> int:
        """Page faults of tensors that are made and freed together, as the activations of a step are."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kept = [torch.ones(2**20) for _ in range(12)]
        del kept
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    step()
    pages = 12 * 2**20 * 4 // resource.getpagesize()
    assert sum(step() for _ in range(5)) < pages / 2
