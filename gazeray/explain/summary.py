# SPDX-License-Identifier: Apache-2.0
"""What the maps of many test examples add up to: class averages and checks. Folds merge without going back to maps."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gazeray.explain import verdict
from gazeray.explain.checks import curve_area

FORMAT = 1
ORDERS = ("random", "dwell")
"""The orders of deletion that stand beside those of the methods, after them in every array."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MapSummary:
    """Sums over examples, and the outcome of the checks per example.

    M methods, K classes, pictures of H x W, F shares, N examples, R networks with random weights. Maps are summed over
    channels: the signed ones by value, the absolute ones by size. Examples are in the order of their keys.

    Attributes:
        methods: names, (M,) str.
        fractions: the shares of the deletion curves, (F,).
        count_label, count_predicted: examples of each true label, and predicted as each class, (K,) int64.
        dwell_label, dwell_predicted: sums of the pictures, (K, H, W), in the picture's unit (ms for a heatmap).
        signed_label, absolute_label: sums of the maps of the true label's logit over the examples of each label,
            (M, K, H, W); in logits per input unit, for integrated gradients in logits.
        signed_predicted, absolute_predicted: the same of the predicted class's logit over the examples so predicted.
        key: what names an example, (N,) int64, unique. group: who it is from, (N,) str; intervals resample groups.
        checked: whether the example went through the checks, (N,) bool. The arrays below hold NaN where it did not.
        deletion: sums of the deletion curves over the checked examples, (M + 2, F): methods, random order, dwell order.
        area: area under each example's curves, (M + 2, N).
        random_weights: rank correlation of |map| with those of networks with random weights, (M, R, N).
        dwell_likeness: rank correlation of |map| with the picture itself, (M, N).
    """

    methods: NDArray[np.str_]
    fractions: Floats
    count_label: NDArray[np.int64]
    count_predicted: NDArray[np.int64]
    dwell_label: Floats
    dwell_predicted: Floats
    signed_label: Floats
    absolute_label: Floats
    signed_predicted: Floats
    absolute_predicted: Floats
    key: NDArray[np.int64]
    group: NDArray[np.str_]
    checked: NDArray[np.bool_]
    deletion: Floats
    area: Floats
    random_weights: Floats
    dwell_likeness: Floats

    @classmethod
    def merge(cls, parts: Sequence[MapSummary]) -> MapSummary:
        """One summary of all examples of the parts; their order changes sums by rounding only.

        Raises ValueError: no part; parts with other methods, classes, shares or sizes; an example in two parts.
        """
        if not parts:
            raise ValueError("there is no map summary to merge")
        merged: dict[str, Any] = {}
        for name in ("methods", "fractions"):
            merged[name] = getattr(parts[0], name)
            if any(not np.array_equal(merged[name], getattr(part, name)) for part in parts):
                raise ValueError(f"map summaries differ in their {name}")
        for name in _SUMS:
            shapes = {getattr(part, name).shape for part in parts}
            if len(shapes) > 1:
                raise ValueError(f"map summaries differ in the shape of {name}: {sorted(shapes)}")
            merged[name] = np.sum([getattr(part, name) for part in parts], axis=0)
        networks = {part.random_weights.shape[:2] for part in parts}
        if len(networks) > 1:
            raise ValueError(f"map summaries differ in the number of networks with random weights: {sorted(networks)}")
        order = np.argsort(np.concatenate([part.key for part in parts]), kind="stable")
        for name in _PER_EXAMPLE:
            merged[name] = np.concatenate([getattr(part, name) for part in parts], axis=-1)[..., order]
        twice = merged["key"][1:][np.diff(merged["key"]) == 0]
        if len(twice):
            raise ValueError(f"examples in more than one map summary: {np.unique(twice).tolist()[:10]}")
        return cls(**merged)

    def to_npz(self) -> bytes:
        """The summary as a compressed .npz of plain arrays; the same bytes for the same summary."""
        buffer = io.BytesIO()
        arrays = {item.name: getattr(self, item.name) for item in fields(self)}
        np.savez_compressed(buffer, format=np.int64(FORMAT), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_npz(cls, content: bytes) -> MapSummary:
        """What `to_npz` wrote. Raises ValueError for other content, named by what is missing or does not fit."""
        try:
            archive = np.load(io.BytesIO(content), allow_pickle=False)
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise ValueError(f"not a map summary: {error}") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("not a map summary: a single array")
        with archive as stored:
            missing = sorted({"format", *(item.name for item in fields(cls))} - set(stored.files))
            if missing:
                raise ValueError(f"not a map summary: no {', '.join(missing)}")
            if int(stored["format"]) != FORMAT:
                raise ValueError(f"map summary of format {int(stored['format'])}, this version reads {FORMAT}")
            return cls(**{item.name: stored[item.name] for item in fields(cls)})

    def mean(self, name: str) -> Floats:
        """Class means of a sum: "dwell_label" to (K, H, W), "signed_predicted" to (M, K, H, W). NaN: no example."""
        count = self.count_label if name.endswith("label") else self.count_predicted
        shares = np.where(count > 0, 1 / np.maximum(count, 1), np.nan)
        return np.asarray(getattr(self, name) * shares[:, None, None])

    def curve(self, row: int) -> Floats:
        """The mean deletion curve (F,) of a method (row below M), of random order (M) or dwell order (M + 1)."""
        checked = int(self.checked.sum())
        return self.deletion[row] / checked if checked else np.full(len(self.fractions), np.nan)

    def figures(self, seed: int = 0) -> dict[str, dict[str, Any]]:
        """The checks in numbers and words: method -> entries for metrics.json, None where nothing was measured.

        deletion_auc, deletion_auc_random, deletion_auc_dwell: area under the mean curve, 0..1, smaller is better.
        gain_over_random, gain_over_dwell: that area minus the method's, {"value", "ci95", "groups"}: mean over
        examples, interval from a bootstrap over groups. randomisation_correlation: {"median", "iqr", "n"} over examples
        and networks.
        dwell_correlation: the same of map and picture. n: examples checked. verdict: see `gazeray.explain.verdict`.
        seed: of the bootstrap.
        """
        found = {}
        for row, method in enumerate(self.methods.tolist()):
            areas = [self._area(index) for index in (row, len(self.methods), len(self.methods) + 1)]
            names = ("deletion_auc", "deletion_auc_random", "deletion_auc_dwell")
            entry: dict[str, Any] = dict(zip(names, areas, strict=True))
            for index, name in enumerate(ORDERS, start=len(self.methods)):
                gain = (self.area[index] - self.area[row])[self.checked]
                entry[f"gain_over_{name}"] = verdict.mean_interval(gain, self.group[self.checked], seed)
            entry["randomisation_correlation"] = verdict.spread(self.random_weights[row])
            entry["dwell_correlation"] = verdict.spread(self.dwell_likeness[row])
            found[method] = entry | {"n": int(self.checked.sum()), "verdict": verdict.words(entry)}
        return found

    def _area(self, row: int) -> float | None:
        if not self.checked.any():
            return None
        return float(curve_area(torch.from_numpy(self.curve(row)), self.fractions.tolist()))


_SUMS = (
    "count_label", "count_predicted", "dwell_label", "dwell_predicted", "signed_label", "absolute_label",
    "signed_predicted", "absolute_predicted", "deletion",
)  # fmt: skip
_PER_EXAMPLE = ("key", "group", "checked", "area", "random_weights", "dwell_likeness")
