# SPDX-License-Identifier: Apache-2.0
"""The maps of a fitted model on its test examples, batch by batch, and what they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gazeray.explain.checks import (
    Method,
    content,
    curve_area,
    deletion_curve,
    map_similarity,
    random_order,
    randomisation,
)
from gazeray.explain.gradients import ROWS, class_gradients, evaluating, integrated_gradients, smoothgrad
from gazeray.explain.methods import METHODS, MethodName, check_methods
from gazeray.explain.summary import ORDERS, MapSummary

FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)

_CHECK_STREAM = 2
"""Keeps the choice of checked examples apart from their noise under the same seed and key."""


@dataclass(frozen=True)
class MapSettings:
    """How maps are drawn and checked. See `gazeray.explain.gradients` and `gazeray.explain.checks` for each.

    check_share: share of the examples that go through the checks, drawn by (seed, key): the same ones in every batch.
    fill: the value of a blank pixel, also the baseline of integrated gradients.

    Raises ValueError: an unknown method or one twice, fractions that do not rise from 0 to 1.
    """

    methods: tuple[MethodName, ...] = METHODS
    steps: int = 32
    samples: int = 16
    noise_share: float = 0.1
    fractions: tuple[float, ...] = FRACTIONS
    fill: float = 0.0
    check_share: float = 1.0
    seed: int = 0
    rows: int = ROWS

    def __post_init__(self) -> None:
        check_methods(self.methods)
        curve_area(torch.zeros(len(self.fractions)), self.fractions)

    def method(self, name: MethodName, keys: Sequence[int]) -> Method:
        """The method as a function of (model, x, targets) for the examples with these keys."""

        def draw(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
            if name == "gradient":
                return class_gradients(model, x, targets)
            if name == "integrated_gradients":
                return integrated_gradients(model, x, targets, self.steps, self.fill, self.rows)
            return smoothgrad(model, x, targets, keys, self.samples, self.noise_share, self.seed, self.rows)

        return draw

    def checked(self, keys: Sequence[int]) -> np.ndarray:
        """Which of the examples go through the checks, (B,) bool."""
        draws = [np.random.default_rng([self.seed, key, _CHECK_STREAM]).random() for key in keys]
        return np.array(draws) < self.check_share


@dataclass(frozen=True)
class ExampleBatch:
    """Test examples. x: (B, C, H, W) on the model's device. labels: (B,) int64. keys: (B,) unique whole numbers,
    such as rows of the data set. groups: (B,) whose example it is, such as the participant."""

    x: Tensor
    labels: Tensor
    keys: Sequence[int]
    groups: Sequence[str]


@dataclass(frozen=True)
class Explained:
    """A batch explained: its summary, and per method the signed maps (B, H, W) float32, summed over channels.

    predicted: maps of the predicted class's logit. true: of the true label's. targets: the predicted classes (B,).
    """

    summary: MapSummary
    targets: np.ndarray
    predicted: dict[str, np.ndarray]
    true: dict[str, np.ndarray]


def explain_batch(
    model: nn.Module, fresh: Sequence[nn.Module], batch: ExampleBatch, settings: MapSettings
) -> Explained:
    """Draw and check the maps of one batch.

    The checks run on the maps of the predicted class; the deletion order of a map stands beside a random order and the
    order of dwell. Results do not depend, beyond rounding, on how examples are batched.

    Args:
        model: pictures to logits. fresh: networks with random weights, see `randomised_copy`; none skips that check.

    Raises ValueError: labels, keys and groups that do not fit x, or a label that is none of the model's classes.
    """
    x, keys = batch.x, [int(key) for key in batch.keys]
    if not len(x) == len(batch.labels) == len(keys) == len(batch.groups) or not keys:
        raise ValueError(f"{len(x)} pictures, {len(batch.labels)} labels, {len(keys)} keys, {len(batch.groups)} groups")
    with evaluating(model), torch.inference_mode():
        logits = model(x)
    classes, targets = logits.shape[1], torch.from_numpy(logits.argmax(dim=1).cpu().numpy()).to(x.device)
    labels = batch.labels.to(x.device)
    dwell, checks = content(x, settings.fill), _Checks(settings, model, fresh, x, keys, targets)
    by_label, by_class = _Sums(classes, labels), _Sums(classes, targets)
    wrong = torch.nonzero(labels != targets)[:, 0]
    wrong_keys = [keys[index] for index in wrong.tolist()]
    predicted: dict[str, np.ndarray] = {}
    true: dict[str, np.ndarray] = {}
    for row, name in enumerate(settings.methods):
        maps = settings.method(name, keys)(model, x, targets)
        own = maps.clone()  # of the true label: drawn anew where it is not what was predicted
        if wrong_keys:
            own[wrong] = settings.method(name, wrong_keys)(model, x[wrong], labels[wrong])
        by_label.add(own)
        by_class.add(maps)
        predicted[name], true[name] = _picture(maps), _picture(own)
        checks.of_method(row, name, maps)
    checks.of_orders()
    summary = MapSummary(
        methods=np.array(settings.methods),
        fractions=np.array(settings.fractions),
        count_label=by_label.count,
        count_predicted=by_class.count,
        dwell_label=by_label.of(dwell),
        dwell_predicted=by_class.of(dwell),
        signed_label=np.stack(by_label.signed),
        absolute_label=np.stack(by_label.absolute),
        signed_predicted=np.stack(by_class.signed),
        absolute_predicted=np.stack(by_class.absolute),
        key=np.array(keys, np.int64),
        group=np.array(list(batch.groups), str),
        **checks.found,
    )
    return Explained(MapSummary.merge([summary]), targets.cpu().numpy(), predicted, true)


def _picture(maps: Tensor) -> np.ndarray:
    return maps.sum(dim=1).float().cpu().numpy()


class _Sums:
    """Sums of maps by class, float64: a map's class is what it is counted under."""

    def __init__(self, classes: int, which: Tensor) -> None:
        self.member = torch.nn.functional.one_hot(which, classes).T.double()
        self.count = self.member.sum(dim=1).long().cpu().numpy()
        self.signed: list[np.ndarray] = []
        self.absolute: list[np.ndarray] = []

    def of(self, values: Tensor) -> np.ndarray:
        """(B, H, W) to sums (K, H, W)."""
        summed = self.member @ values.detach().double().flatten(1)
        return summed.view(-1, *values.shape[1:]).cpu().numpy()

    def add(self, maps: Tensor) -> None:
        """The next method's maps (B, C, H, W)."""
        self.signed.append(self.of(maps.sum(dim=1)))
        self.absolute.append(self.of(maps.abs().sum(dim=1)))


class _Checks:
    """The checks of a batch: arrays as in `MapSummary`, filled in for the examples that are drawn for them."""

    def __init__(
        self, settings: MapSettings, model: nn.Module, fresh: Sequence[nn.Module], x: Tensor, keys: Sequence[int],
        targets: Tensor,
    ) -> None:  # fmt: skip
        methods, orders = len(settings.methods), len(settings.methods) + len(ORDERS)
        self.settings, self.model, self.fresh = settings, model, fresh
        self.checked = settings.checked(keys)
        self.part = torch.from_numpy(np.flatnonzero(self.checked)).to(targets.device)
        self.x, self.targets = x[self.part], targets[self.part]
        self.keys = [key for key, drawn in zip(keys, self.checked, strict=True) if drawn]
        self.dwell = content(self.x, settings.fill)[:, None]
        self.found = {
            "checked": self.checked,
            "deletion": np.zeros((orders, len(settings.fractions))),
            "area": np.full((orders, len(keys)), np.nan),
            "random_weights": np.full((methods, len(fresh), len(keys)), np.nan),
            "dwell_likeness": np.full((methods, len(keys)), np.nan),
        }

    def of_method(self, row: int, name: MethodName, maps: Tensor) -> None:
        """Every check of one method's maps (B, C, H, W) of the whole batch."""
        if not self.keys:
            return
        some, method = maps[self.part], self.settings.method(name, self.keys)
        alike = randomisation(some, self.fresh, self.x, self.targets, method)
        self.found["random_weights"][row][:, self.checked] = alike.cpu().numpy()
        sizes = some.abs().sum(dim=1, keepdim=True)
        likeness = map_similarity(sizes, self.dwell.to(sizes))
        self.found["dwell_likeness"][row, self.checked] = likeness.cpu().numpy()
        self._delete(row, some)

    def of_orders(self) -> None:
        """The deletion curves of random order and of dwell, most first."""
        if self.keys:
            noise = random_order(self.x, self.settings.seed, self.keys)
            for row, order in enumerate((noise, self.dwell), start=len(self.settings.methods)):
                self._delete(row, order)

    def _delete(self, row: int, order: Tensor) -> None:
        shares, fill = self.settings.fractions, self.settings.fill
        curves = deletion_curve(self.model, self.x, self.targets, order, shares, fill, self.settings.rows)
        self.found["deletion"][row] = curves.double().sum(dim=0).cpu().numpy()
        self.found["area"][row, self.checked] = curve_area(curves, shares).cpu().numpy()
