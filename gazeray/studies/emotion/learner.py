# SPDX-License-Identifier: Apache-2.0
"""What the emotion study learns: the levels of several labels from any of the branches series, scanpath and picture."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gazeray.config import TrainConfig
from gazeray.gaze.augment import move_pictures, move_points, random_affines
from gazeray.gaze.labels import Label
from gazeray.gaze.signal_scaling import Scaler
from gazeray.learn.balance import Levels, balanced_weights, drawn, expected, level_counts, pools
from gazeray.learn.fit import predict
from gazeray.learn.losses import LOSSES
from gazeray.metrics.ordinal import score_ordinal
from gazeray.models.emotion import Fusion, Head, PictureNet, ScanpathNet, SeriesNet
from gazeray.models.norms import settled_norms
from gazeray.store import Column, Store
from gazeray.studies.emotion.config import WATCHED, Branch, EmotionConfig
from gazeray.studies.emotion.importance import IMPORTANCE, SWAPPED, importance, swapped
from gazeray.studies.emotion.network import PictureNetwork
from gazeray.studies.shared.classification import PREDICTIONS, with_regimes, with_scores
from gazeray.study import Fold, Learner
from gazeray.unit import Json, UnitFolder


@dataclass(frozen=True)
class Found:
    """What the training rows say.

    scaler: of the signals. weights: (K,) of the levels of each label; None: as they are. prior: (K,) the shares of the
    levels among the training rows, trained: those that the loss sees, after drawing and weighing. No training row knows
    a label: zeros.
    """

    scaler: Scaler | None
    weights: tuple[np.ndarray, ...] | None
    prior: tuple[np.ndarray, ...]
    trained: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class EmotionLearner(Learner):
    """See `gazeray.study.Learner`. Inputs are columns of the store by branch:

    series    (C, T) float32, the channels in order, x and y -1..1 over the stimulus window, NaN = masked
    scanpath  (1, S, S) uint8
    picture   (1 + views, ...), what `network` says of each view, and `affine` (1 + views, 2, 3), by which it is moved

    Targets are `<label>_index`, -1 = not known. series: the name of that column. seen_ms: what the window holds later
    than that is not seen; None: all of it is. key: of its row in the table of scores; default: the branches. found:
    what `prepare` found.
    """

    train: TrainConfig
    cfg: EmotionConfig
    labels: tuple[Label, ...]
    channels: tuple[str, ...]
    branches: tuple[Branch, ...]
    network: PictureNetwork | None = None
    series: str = "series"
    seen_ms: float | None = None
    key: str = ""
    found: Found | None = None

    watched: Mapping[str, bool] = field(default_factory=lambda: WATCHED)
    headline: str = "balanced_accuracy"

    def __post_init__(self) -> None:
        """Raises ValueError for a picture branch without a network."""
        if not self.branches or ("picture" in self.branches and self.network is None):
            raise ValueError(f"branches {list(self.branches)}: at least one, and picture only with a network")

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """What it is fed with."""
        within = self.cfg.signals.scale == "participant" and "series" in self.branches
        named = {"series": (self.series,), "scanpath": ("scanpath",), "picture": ("picture", "affine")}
        return (
            *(column for branch in self.branches for column in named[branch]),
            *(("participant",) if within else ()),
        )

    @property
    def targets(self) -> tuple[str, ...]:  # type: ignore[override]
        """What it learns."""
        return tuple(f"{label.name}_index" for label in self.labels)

    @property
    def own_key(self) -> str:
        """Of its row in the table of scores."""
        return self.key or "-".join(self.branches)

    # -- what the training rows say

    def _levels(self, rows: np.ndarray, store: Store) -> list[Levels]:
        return [
            Levels(store.plain(target)[rows], len(label.classes), label.ordered)
            for label, target in zip(self.labels, self.targets, strict=True)
        ]

    def prepare(self, rows: np.ndarray, store: Store) -> EmotionLearner:
        """Fit the scaler, count the levels as they are and as they are drawn."""
        labels = self._levels(rows, store)
        often = expected(pools(labels, self.cfg.loss.balance), len(rows))
        natural = [level_counts(label, np.ones(len(rows))) for label in labels]
        seen = [level_counts(label, often) for label in labels]
        weights = tuple(balanced_weights(counts) for counts in seen) if self.train.class_weights else None
        trained = seen if weights is None else [own * counts for own, counts in zip(weights, seen, strict=True)]
        found = Found(self._scaler(rows, store), weights, shares(natural), shares(trained))
        return replace(self, found=found)

    def _scaler(self, rows: np.ndarray, store: Store) -> Scaler | None:
        """Fitted to the training rows; within participants to all rows of the store, whose labels it never sees."""
        if "series" not in self.branches:
            return None
        own = np.arange(len(store)) if self.cfg.signals.scale == "participant" else rows
        values = np.asarray(store.take(own, [self.series])[self.series])
        return Scaler.fit(values, store.plain("participant")[own].tolist(), self.channels, self.cfg.signals)

    def drawn(self, rows: np.ndarray, store: Store, seed: int) -> np.ndarray:
        """As `loss.balance` says, among the training rows."""
        if self.cfg.loss.balance == "none":
            return rows
        return rows[drawn(pools(self._levels(rows, store), self.cfg.loss.balance), seed)]

    def fitted(self) -> Mapping[str, np.ndarray]:
        """The scaler; for each label its natural and trained shares, and weights."""
        found = self._found
        own: dict[str, np.ndarray] = {}
        if found.scaler is not None:
            own |= {f"channel_{name}": getattr(found.scaler, name) for name in ("mean", "spread", "own")}
        kinds = {"prior": found.prior, "trained_prior": found.trained, "class_weights": found.weights or ()}
        for kind, arrays in kinds.items():
            own |= {f"{kind}.{label.name}": array for label, array in zip(self.labels, arrays, strict=False)}
        return own

    @property
    def _found(self) -> Found:
        assert self.found is not None, "prepare comes first"
        return self.found

    # -- the network and what it is fed with

    def model(self) -> Fusion:
        """The branches, joined."""
        model = self.cfg.model
        built: dict[str, SeriesNet | ScanpathNet | PictureNet] = {}
        if "series" in self.branches:
            built["series"] = SeriesNet(2 * len(self.channels), self.cfg.signals.samples, model.recurrence, model.size)
        if "scanpath" in self.branches:
            built["scanpath"] = ScanpathNet(self.cfg.scanpath.side_px, model.size)
        if self.network is not None and "picture" in self.branches:
            built["picture"] = PictureNet(self.network.tail(), self.network.features, model.size)
        heads = {
            label.name: Head(len(label.classes), model.head == "ordinal" and label.ordered) for label in self.labels
        }
        return Fusion(built, heads, model.dropout)

    def inputs(self, batch: Mapping[str, Any], moved: bool) -> dict[str, Tensor]:
        """What each branch is fed with, (B, ...). moved: one random view per example, the same for all branches."""
        affine, view = self._view(batch) if moved and self.cfg.augment.views else (None, 0)
        found: dict[str, Tensor] = {}
        if "series" in self.branches:
            values: Tensor = batch[self.series].float()
            if self.seen_ms is not None:
                values = values.clone()
                values[:, :, self._points(self.seen_ms) :] = torch.nan
            if affine is not None and {"x", "y"} <= set(self.channels):
                at, values = [self.channels.index(name) for name in ("x", "y")], values.clone()
                values[:, at] = move_points(values[:, at], affine, self.cfg.augment.outside)
            scaler, whose = self._found.scaler, batch.get("participant")
            assert scaler is not None
            found["series"] = scaler.apply(values, () if whose is None else whose.tolist())
        if "scanpath" in self.branches:
            paths = batch["scanpath"]
            found["scanpath"] = paths if affine is None else move_pictures(paths, affine)
        if "picture" in self.branches:
            pictures = batch["picture"]
            found["picture"] = pictures[torch.arange(len(pictures), device=pictures.device), view]
        return found

    def _points(self, until_ms: float) -> int:
        """How many points of the grid lie within so many ms of its beginning."""
        signals = self.cfg.signals
        return int(np.searchsorted(np.linspace(0.0, signals.duration_ms, signals.samples), until_ms, side="right"))

    def _view(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """An affine (B, 2, 3) and the number of the view (B,) for each example, the plain one as often as any other.

        The views of a picture are fixed, since its features are; without a picture every affine is a new one.
        """
        first = batch[self.columns[0]]
        view = torch.randint(1 + self.cfg.augment.views, (len(first),))
        if "picture" in self.branches:
            view = view.to(first.device)
            return batch["affine"][torch.arange(len(view), device=view.device), view], view
        seed = int(torch.randint(2**31, ()))
        affine = torch.from_numpy(random_affines(len(view), self.cfg.augment, seed))
        affine[view == 0] = torch.eye(2, 3)
        return affine.to(first.device), view

    # -- learning and predicting

    def loss(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor], epoch: int) -> Tensor:
        """The sum over the labels of the loss that the config names."""
        settings, weights = self.cfg.loss, self._found.weights
        inputs = self.inputs(batch, moved=True)
        alone = len(batch[self.targets[0]]) == 1
        with settled_norms(model) if alone else contextlib.nullcontext():
            log_p = model(inputs)
        total = torch.zeros((), device=batch[self.targets[0]].device)
        for place, (label, target) in enumerate(zip(self.labels, self.targets, strict=True)):
            own = None if weights is None else torch.as_tensor(weights[place])
            form = LOSSES[settings.form]
            total = total + form(log_p[label.name], batch[target], settings.gamma, own, settings.label_smoothing)
        return total

    def predict(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, Tensor]:
        """Probabilities (B, K) by label, in the natural prior: see `natural`."""
        return self.natural(model(self.inputs(batch, moved=False)))

    def natural(self, log_p: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Probabilities (B, K) by label where levels are as frequent as among the training rows, of log-probabilities
        (B, K) where they are as frequent as the loss saw them.

        A level that no training row has gets 0; NaN where none knows the label.
        """
        found, natural = self._found, {}
        for label, prior, trained in zip(self.labels, found.prior, found.trained, strict=True):
            with np.errstate(divide="ignore", invalid="ignore"):
                shift = np.where(prior > 0, np.log(prior) - np.log(trained), -np.inf)
            own = log_p[label.name].double()
            natural[label.name] = torch.softmax(own + torch.from_numpy(shift).to(own.device), dim=1)
        return natural

    def metrics(self, predicted: Mapping[str, np.ndarray], targets: Mapping[str, Column]) -> dict[str, float]:
        """Means over the labels: log loss, by which fits to any loss can be compared; balanced accuracy;
        quadratic-weighted kappa of labels with three ordered levels or more. NaN where there is none."""
        values: dict[str, list[float]] = {"loss": [], "balanced_accuracy": [], "qwk": []}
        for label, target, prior in zip(self.labels, self.targets, self._found.prior, strict=True):
            index = np.asarray(targets[target])
            known = (index >= 0) & np.isfinite(predicted[label.name][:, 0])
            if known.any():
                scores = predicted[label.name][known]
                found = score_ordinal(index[known], scores, prior, label.classes, label.ordered, ranked=False)
                values["loss"].append(float(found["log_loss"][0]))
                for name in {"balanced_accuracy", "qwk"} & set(found):
                    values[name].append(float(found[name][0]))
        return {
            name: float(np.nanmean(own)) if np.isfinite(own).any() else float("nan") for name, own in values.items()
        }

    def tested(self, model: torch.nn.Module, fold: Fold, store: Store, device: torch.device, out: UnitFolder) -> Json:
        """Predictions of the tested rows; of the model that the controls ask, also those without each channel and with
        each channel of other rows."""
        assert isinstance(model, Fusion)
        rows, found = predict(self, model, store, fold.test, device)
        table = with_regimes(store.table.select(["participant", "trial"]).take(rows), fold, rows)
        named = {f"{label.name}:{self.own_key}": found[label.name] for label in self.labels}
        controls = self.cfg.controls
        if self.own_key == controls.of and controls.swap_signals and "series" in self.branches:
            others = swapped(self, model, rows, store, fold, device)
            named |= {f"{name}:{SWAPPED}": values for name, values in others.items()}
        out.folder.write_table(PREDICTIONS, with_scores(table, named))
        channels = controls.knock_out and "series" in self.branches
        if self.own_key == controls.of and (channels or controls.permute):
            out.folder.write_table(IMPORTANCE, importance(self, model, table, rows, store, fold, device))
        metrics = self.metrics(found, store.take(rows, self.targets))
        return {"metrics": {name: None if np.isnan(value) else value for name, value in metrics.items()}}


def shares(counts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Each of the counts (K,), brought to a sum of 1; zeros stay."""
    return tuple(own / (own.sum() or 1.0) for own in counts)
