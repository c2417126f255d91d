# SPDX-License-Identifier: Apache-2.0
"""The linear read-out: one weight per channel, softmax over the pixels of the picture, a density of fixations.

The log-density of a picture is

    log_softmax( blur( upsample( w . features ) ) + beta * log centre_bias ),

the form of the read-outs of Kümmerer, Theis and Bethge (Deep Gaze I, ICLR workshop 2015) with a single linear layer.
Resampling and blur are linear and separable, so both are one matrix per side, and the blur is applied to the one map
w . features instead of to all channels. A constant added to a feature changes nothing (softmax), so standardised
features are features divided by their standard deviation.

The models of all columns and penalties are rows of one weight matrix and are trained together, in one pass per epoch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gazeray.metrics.resampling import gaussian_matrix, grid_size, resize, spread_matrix
from gazeray.models.probes import (
    Pictures,
    Probe,
    ProbePicture,
    check_penalties,
    choose,
    columns,
    inverse_scale,
)

PRIOR_GRID = (48, 64)
"""Rows and columns of the relative grid on which the centre bias is estimated."""

PRIOR_SIGMA, PRIOR_UNIFORM = 0.05, 0.01
"""The centre bias is smoothed by a Gaussian of this share of each side, and mixed with so much uniform density."""

TRAINED = ("weights", "centre_weight", "log_blur")
"""What is fitted: (M, C), (M,), (M,) for M models."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Of Adam (Kingma & Ba, ICLR 2015)."""


@dataclass(frozen=True)
class ReadoutSettings:
    """How read-outs are fitted.

    epochs: passes over the pictures. batch_size: pictures per step. learning_rate: of Adam at the start, falling to 0
    along a cosine. penalties: factors of the sum of squared weights (of standardised features), each tried on the inner
    folds. blur_px: standard deviation of the blur, px of a grid whose longest side is longest_px (fixed, or where
    learning begins). learn_blur: fit one blur per model. centre_bias: add the log of the training pictures' centre
    bias, with a fitted factor that begins at 1. train_on: the fixations, or the target maps divided by their sum.
    longest_px: longest side of the training grid, the score grid shrunk.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    penalties: tuple[float, ...]
    blur_px: float
    learn_blur: bool
    centre_bias: bool
    train_on: Literal["fixations", "maps"]
    longest_px: int


OnEpoch = Callable[[int, dict[str, Tensor], float], None]
"""on_epoch(epochs that are done, state, training loss in nats per fixation, mean over all models)."""


@dataclass(frozen=True)
class ReadoutModel:
    """A fitted read-out: raw weights (C,), factor of the log centre bias (48, 64), blur per longest side."""

    weights: Tensor
    centre_weight: float
    log_prior: Tensor
    blur_share: float

    def log_density(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Log-density (H, W) float64, natural log, exp sums to 1, of features (C, h, w)."""
        values = torch.tensordot(self.weights.to(torch.float64), features.to(torch.float64), 1)
        blur = torch.tensor([self.blur_share * max(size)], dtype=torch.float64, device=values.device)
        rows, cells = (spread_matrix(length, out, blur)[0] for length, out in zip(values.shape, size, strict=True))
        logits = rows @ values @ cells.T + self.centre_weight * resize(self.log_prior.to(values), size)
        return logits.flatten().log_softmax(0).reshape(size)


@dataclass(frozen=True)
class ReadoutProbe(Probe):
    """Fitted read-outs; see `fit_readout`.

    inner: mean log-likelihood over the uniform density, bits per fixation, larger is better. models: by test fold.
    """

    models: dict[int, ReadoutModel]

    def predict(self, features: np.ndarray, size: tuple[int, int], fold: int) -> np.ndarray:
        """The log-density (H, W) float32, natural log, exp sums to 1 over the pixels; see `Probe.predict`."""
        model = self.models[fold]
        map_: np.ndarray = model.log_density(torch.tensor(features), size).to(torch.float32).numpy()
        return map_


def fit_readout(
    pictures: Pictures,
    folds: int,
    settings: ReadoutSettings,
    seed: int,
    device: torch.device | None = None,
    state: Mapping[str, Tensor] | None = None,
    on_epoch: OnEpoch | None = None,
) -> ReadoutProbe:
    """Fit every column and penalty; each test fold's penalty is the one with the best inner log-likelihood.

    The loss of a model is the mean over its training pictures of the cross-entropy between the picture's fixations (or
    target map), per fixation, and its density, + penalty * |w|^2. A picture without fixations (or with a black map) is
    left out. The inner score of test fold k is the mean over the pictures of the other folds, each under the model that
    has seen neither its fold nor fold k, on the full grid of its target.

    state: where to go on: what on_epoch was given, of the same pictures, settings and seed; the result is bit-identical
    to that of a fit in one go. Passes: one for the statistics, one per epoch (in an order drawn from seed and epoch),
    one for the inner scores.

    Raises ValueError for fewer than 3 folds, a fold without pictures, features that are not finite or change their
    channels, a state that does not fit, a loss that is no longer finite.
    """
    check_penalties(settings.penalties)
    fit = ReadoutFit(pictures, folds, settings, seed, device, state)
    while fit.epoch < settings.epochs:
        loss = fit.train_epoch()
        if on_epoch is not None:
            on_epoch(fit.epoch, fit.state(), loss)
    return fit.select()


@dataclass
class _Sums:
    """What the statistics pass adds up per fold, float64 on the CPU; see `_sum_up`."""

    cells: Tensor
    features: Tensor
    squares: Tensor
    relative: Tensor
    pictures: Tensor


@dataclass
class ReadoutFit:
    """A fit in progress. Models are rows: model (column c, penalty p) is row c * len(penalties) + p."""

    pictures: Pictures
    folds: int
    settings: ReadoutSettings
    seed: int
    device: torch.device | None
    resume: Mapping[str, Tensor] | None
    epoch: int = 0
    values: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = columns(self.folds)
        n_penalties = len(self.settings.penalties)
        models = [column for column in self.columns for _ in range(n_penalties)]
        self.active = [self._rows([fold not in column for column in models]) for fold in range(self.folds)]
        self.judged = [self._rows([fold in c and len(c) == 2 for c in models]) for fold in range(self.folds)]
        self.penalty = torch.tensor(self.settings.penalties, device=self.device).repeat(len(self.columns))
        if self.resume is None:
            self.values = self._begin(_sum_up(self.pictures, self.folds, self.settings.train_on))
        else:
            self._go_on(dict(self.resume))

    def _rows(self, wanted: Sequence[bool]) -> Tensor:
        return torch.tensor(wanted, device=self.device).nonzero()[:, 0]

    def _begin(self, sums: _Sums) -> dict[str, Tensor]:
        """The state before the first epoch: weights 0, the centre bias as it is."""
        kept = [[fold for fold in range(self.folds) if fold not in column] for column in self.columns]
        n, features, squares = (
            torch.stack([part[folds].sum(0) for folds in kept]) for part in (sums.cells, sums.features, sums.squares)
        )
        variance = (squares / n[:, None] - (features / n[:, None]).square()).clamp_min(0)
        relative = torch.stack([sums.relative[folds].sum(0) for folds in kept])
        n_models = len(self.columns) * len(self.settings.penalties)
        values = {
            "scale": inverse_scale(variance).to(torch.float32),
            "log_prior": _log_prior(relative).to(torch.float32),
            "n_pictures": sums.pictures.sum(),
            "weights": torch.zeros(n_models, features.shape[1]),
            "centre_weight": torch.full([n_models], float(self.settings.centre_bias)),
            "log_blur": torch.full([n_models], math.log(self.settings.blur_px)),
        }
        for name in TRAINED:
            values |= {f"{name}.mean": torch.zeros_like(values[name]), f"{name}.square": torch.zeros_like(values[name])}
        return {name: value.to(self.device) for name, value in values.items()}

    def _go_on(self, state: dict[str, Tensor]) -> None:
        n_models = len(self.columns) * len(self.settings.penalties)
        found = state.get("weights")
        if found is None or found.ndim != 2 or len(found) != n_models or "epoch" not in state:
            raise ValueError(f"the state is not one of {n_models} read-outs: its settings or folds are others")
        self.epoch = int(state.pop("epoch"))
        self.values = {name: value.clone().to(self.device) for name, value in state.items()}

    def state(self) -> dict[str, Tensor]:
        """Everything that is needed to go on, on the CPU: one flat table of tensors, as safetensors files hold."""
        copied = {name: value.detach().cpu().clone() for name, value in self.values.items()}
        return copied | {"epoch": torch.tensor(self.epoch)}

    def train_epoch(self) -> float:
        """One pass over the pictures; the mean training loss, nats per fixation, of all models. Raises ValueError."""
        order = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
        usable = (item for item in map(self._prepared, self.pictures(order)) if item is not None)
        steps = math.ceil(int(self.values["n_pictures"]) / self.settings.batch_size)
        losses = []
        for step in range(steps):
            batch = list(itertools.islice(usable, self.settings.batch_size))
            losses.append(
                self._step(batch, (self.epoch + step / steps) / self.settings.epochs, self.epoch * steps + step)
            )
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise ValueError(f"the loss is no longer finite; learning_rate {self.settings.learning_rate} is too large")
        self.epoch += 1
        return loss

    def _prepared(self, picture: ProbePicture) -> tuple[int, Tensor, Tensor] | None:
        """(fold, features (C, h, w), what is looked at (H, W) on the training grid); None: nothing is looked at."""
        looked = _looked_at(picture, self.settings.train_on, grid_size(picture.target.shape, self.settings.longest_px))
        if looked is None:
            return None
        return picture.fold, self._on_device(picture), looked.to(self.device, torch.float32)

    def _on_device(self, picture: ProbePicture) -> Tensor:
        return torch.tensor(picture.features, dtype=torch.float32).to(self.device)

    def _step(self, batch: list[tuple[int, Tensor, Tensor]], progress: float, step: int) -> Tensor:
        """One step of Adam on a batch; the mean loss of the models, (), before it. progress: 0..1, of the whole fit."""
        parameters = {name: self.values[name].detach().requires_grad_() for name in TRAINED}
        n_training = torch.zeros(len(self.penalty), device=self.device)
        for fold, _, _ in batch:
            n_training[self.active[fold]] += 1
        losses = torch.zeros(len(self.penalty), device=self.device)
        for fold, features, looked in batch:
            rows = self.active[fold]
            shares = self.cross_entropy(parameters, rows, features, looked) / n_training[rows]
            shares.sum().backward()
            losses[rows] += shares.detach()
        rate = self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
        trained = [True, self.settings.centre_bias, self.settings.learn_blur]
        for name in itertools.compress(TRAINED, trained):
            gradient = parameters[name].grad
            if gradient is None:
                continue
            if name == "weights":
                gradient = gradient + 2 * self.penalty[:, None] * self.values[name]
            self._adam(name, gradient, rate, step)
        return losses[n_training > 0].mean()

    def cross_entropy(self, parameters: Mapping[str, Tensor], rows: Tensor, features: Tensor, looked: Tensor) -> Tensor:
        """Cross-entropy (R,), nats per fixation, of R models (rows) for one picture; differentiable in `parameters`.

        features: (C, h, w). looked: (H, W), sums to 1, on a grid of any size: the blur scales with it.
        """
        size, column = (looked.shape[0], looked.shape[1]), rows // len(self.settings.penalties)
        raw = parameters["weights"][rows] * self.values["scale"][column]
        values = (raw @ features.flatten(1)).reshape(len(rows), *features.shape[1:])
        blur = parameters["log_blur"][rows].exp() * (max(size) / self.settings.longest_px)
        if not self.settings.learn_blur:
            blur = blur[:1]  # the same for all: one matrix
        down, across = (spread_matrix(length, out, blur) for length, out in zip(features.shape[1:], size, strict=True))
        logits = down @ values @ across.transpose(1, 2)
        if self.settings.centre_bias:
            logits = (
                logits + parameters["centre_weight"][rows, None, None] * resize(self.values["log_prior"], size)[column]
            )
        return logits.flatten(1).logsumexp(1) - (logits * looked).sum((1, 2))

    def _adam(self, name: str, gradient: Tensor, rate: float, step: int) -> None:
        mean, square = self.values[f"{name}.mean"], self.values[f"{name}.square"]
        mean.lerp_(gradient, 1 - BETA_1)
        square.lerp_(gradient.square(), 1 - BETA_2)
        spread = (square / (1 - BETA_2 ** (step + 1))).sqrt_().add_(EPSILON)
        self.values[name] = self.values[name] - rate / (1 - BETA_1 ** (step + 1)) * mean / spread

    @torch.no_grad()
    def select(self) -> ReadoutProbe:
        """The inner scores, and the model of each test fold with the penalty that is best by them."""
        penalties = self.settings.penalties
        gains = torch.zeros(self.folds, len(penalties), dtype=torch.float64)
        n_judged = torch.zeros(self.folds, dtype=torch.float64)
        for picture in self.pictures(None):
            looked = _looked_at(picture, self.settings.train_on, picture.target.shape)
            if looked is None:
                continue
            rows = self.judged[picture.fold]
            features = self._on_device(picture)
            entropy = self.cross_entropy(self.values, rows, features, looked.to(self.device, torch.float32))
            gain = ((math.log(looked.numel()) - entropy.double().cpu()) / math.log(2)).reshape(-1, len(penalties))
            others = [fold for fold in range(self.folds) if fold != picture.fold]
            gains[others] += gain
            n_judged[others] += 1
        scores = (gains / n_judged[:, None]).tolist()
        inner = {fold: dict(zip(penalties, row, strict=True)) for fold, row in enumerate(scores)}
        chosen = choose(inner, largest=True)
        models = {fold: self._model(fold, penalties.index(penalty)) for fold, penalty in chosen.items()}
        return ReadoutProbe(chosen, inner, models)

    def _model(self, fold: int, penalty: int) -> ReadoutModel:
        """The model that is tested on `fold`; column {fold} is number `fold`."""
        row, values = fold * len(self.settings.penalties) + penalty, self.values
        raw = (values["weights"][row] * values["scale"][fold]).cpu()
        share = math.exp(float(values["log_blur"][row])) / self.settings.longest_px
        return ReadoutModel(raw, float(values["centre_weight"][row]), values["log_prior"][fold].cpu(), share)


def _looked_at(picture: ProbePicture, train_on: str, size: Sequence[int]) -> Tensor | None:
    """Where people look, (H, W) float64 with sum 1 on a grid of `size`; None where nothing is known."""
    height, width = picture.target.shape
    if train_on == "maps":
        looked = resize(torch.tensor(picture.target, dtype=torch.float64), (size[0], size[1]))
    else:
        row, column = (torch.tensor(picture.cells[:, axis]) for axis in (0, 1))
        cell = row * size[0] // height * size[1] + column * size[1] // width
        looked = torch.bincount(cell, minlength=size[0] * size[1]).to(torch.float64).reshape(size[0], size[1])
    total = looked.sum()
    return looked / total if total > 0 else None


def _sum_up(pictures: Pictures, folds: int, train_on: str) -> _Sums:
    """Per fold: cells (folds,); sums and squares of each feature (folds, C); relative densities (folds, 48, 64) and the
    number of pictures (folds,) of those where something is looked at. Raises ValueError; see `fit_readout`."""
    sums: _Sums | None = None
    for picture in pictures(None):
        values = torch.tensor(picture.features, dtype=torch.float64).flatten(1)
        if sums is None:
            shapes = ((folds,), (folds, len(values)), (folds, len(values)), (folds, *PRIOR_GRID), (folds,))
            sums = _Sums(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))
        if len(values) != sums.features.shape[1] or not 0 <= picture.fold < folds:
            raise ValueError(
                f"a picture has {len(values)} channels and fold {picture.fold}: it does not fit the others"
            )
        if not bool(torch.isfinite(values).all()):
            raise ValueError("features hold values that are not finite")
        sums.cells[picture.fold] += values.shape[1]
        sums.features[picture.fold] += values.sum(1)
        sums.squares[picture.fold] += values.square().sum(1)
        looked = _looked_at(picture, train_on, picture.target.shape)
        if looked is not None:
            relative = resize(looked, PRIOR_GRID)
            sums.relative[picture.fold] += relative / relative.sum()
            sums.pictures[picture.fold] += 1
    if sums is None or not bool((sums.pictures > 0).all()):
        raise ValueError(f"every one of {folds} folds needs a picture with {train_on}")
    return sums


def _log_prior(relative: Tensor) -> Tensor:
    """The log centre bias (columns, 48, 64), up to a constant, of summed relative densities of that shape."""
    down, across = (
        gaussian_matrix(length, torch.tensor([PRIOR_SIGMA * length], dtype=torch.float64)) for length in PRIOR_GRID
    )
    smooth = down @ (relative / relative.sum((1, 2), keepdim=True)) @ across.transpose(1, 2)
    smooth = smooth / smooth.sum((1, 2), keepdim=True)
    return torch.log((1 - PRIOR_UNIFORM) * smooth + PRIOR_UNIFORM / (PRIOR_GRID[0] * PRIOR_GRID[1]))
