# SPDX-License-Identifier: Apache-2.0
"""Networks that read signals over time, the picture of a scanpath and the features of a stimulus, and their fusion.

Each branch is a network of its own to (B, features). Two sizes: `published` are the layers of the published network,
`small` is the same idea in layers that take a second per epoch on a processor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gazeray.models.heads import ClassHead, OrdinalHead

Size = Literal["small", "published"]
Recurrence = Literal["lstm", "gru", "transformer", "lstm_over_channels"]

SMALLEST_SCANPATH: Mapping[Size, int] = {"small": 16, "published": 76}
"""The smallest side in px that leaves something for the last layer of `ScanpathNet`."""


class SeriesNet(nn.Module):
    """Signals (B, channels, samples) to (B, features): two convolutions over time, then a recurrence over what is left.

    recurrence: an LSTM, a GRU or a transformer encoder over time; `lstm_over_channels` runs over the filters of the
    convolution as if they were steps, each a vector of all times, as published. The published network has 69,500
    parameters with 5 channels and 301 samples.

    Raises ValueError where nothing of so few samples is left.
    """

    def __init__(self, channels: int, samples: int, recurrence: Recurrence = "lstm", size: Size = "small") -> None:
        super().__init__()
        if size == "published":
            filters, self.features = 64, 20
            self.stem = nn.Sequential(
                nn.Conv1d(channels, filters, 3), nn.ReLU(), nn.Conv1d(filters, filters, 3), nn.ReLU(),
                nn.Dropout(0.1), nn.MaxPool1d(2),
            )  # fmt: skip
            steps = (samples - 4) // 2
        else:
            filters, self.features = 32, 16
            self.stem = nn.Sequential(
                nn.Conv1d(channels, filters, 7, 2, 3), nn.ReLU(), nn.Conv1d(filters, filters, 5, 2, 2), nn.ReLU(),
                nn.Dropout(0.1), nn.MaxPool1d(2, ceil_mode=True),
            )  # fmt: skip
            steps = math.ceil(samples / 8)
        if steps < 1:
            raise ValueError(f"{samples} samples are too few for the {size} network of signals")
        self.over_time = recurrence != "lstm_over_channels"
        self.recurrence = recurrent(recurrence, filters if self.over_time else steps, filters)
        last: list[nn.Module] = [nn.Dropout(0.1), nn.Linear(filters, self.features), nn.ReLU()]
        self.out = nn.Sequential(*last, *([nn.BatchNorm1d(self.features)] if size == "published" else []))

    def forward(self, x: Tensor) -> Tensor:
        """(B, features) of signals (B, channels, samples)."""
        x = self.stem(x)
        found: Tensor = self.out(self.recurrence(x.transpose(1, 2) if self.over_time else x))
        return found


def recurrent(kind: Recurrence, width: int, hidden: int) -> nn.Module:
    """A network from steps (B, T, width) to (B, hidden)."""
    if kind == "transformer":
        return Transformer(width)
    return LastStep(
        nn.GRU(width, hidden, batch_first=True) if kind == "gru" else nn.LSTM(width, hidden, batch_first=True)
    )


class LastStep(nn.Module):
    """What a recurrent layer says after the last step."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) to (B, hidden)."""
        found: Tensor = self.layer(x)[0][:, -1]
        return found


class Transformer(nn.Module):
    """Two encoder layers with sines for the place of a step; the mean over the steps."""

    def __init__(self, width: int, layers: int = 2) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) to (B, width)."""
        place = torch.arange(x.shape[1], device=x.device)[:, None]
        rate = torch.exp(torch.arange(0, self.width, 2, device=x.device) * (-math.log(10_000.0) / self.width))
        sines = torch.stack([torch.sin(place * rate), torch.cos(place * rate)], dim=2).flatten(1)
        found: Tensor = self.encoder(x + sines.to(x.dtype)).mean(dim=1)
        return found


class ScanpathNet(nn.Module):
    """Pictures (B, channels, side, side) uint8, or 0..255, to (B, features). The published one, of 180 px and one
    channel, has 2,682,752 parameters.

    Raises ValueError for a side below `SMALLEST_SCANPATH`.
    """

    def __init__(self, side: int, size: Size = "small", channels: int = 1) -> None:
        super().__init__()
        if side < SMALLEST_SCANPATH[size]:
            raise ValueError(f"the {size} network takes scanpaths of {SMALLEST_SCANPATH[size]} px or more, not {side}")
        if size == "published":
            self.features, left = 128, side
            for kernel in (5, 5, 5, 5):
                left = (left - kernel + 1) // 2
            self.layers = nn.Sequential(
                nn.Conv2d(channels, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1),
                nn.Conv2d(64, 128, 5), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(128), nn.Dropout(0.1),
                nn.Conv2d(128, 256, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1),
                nn.Flatten(), nn.Linear(256 * left**2, 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Dropout(0.1),
            )  # fmt: skip
        else:
            self.features, left = 32, side
            for _ in range(4):
                left = math.ceil(left / 2)
            self.layers = nn.Sequential(
                nn.Conv2d(channels, 8, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
                nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True), nn.Dropout(0.1),
                nn.Flatten(), nn.Linear(16 * left**2, 32), nn.ReLU(),
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, features) of pictures (B, channels, side, side)."""
        found: Tensor = self.layers(x.float() / 127.5 - 1)
        return found


class PictureNet(nn.Module):
    """What a network says of a stimulus, (B, ...), to (B, features).

    tail: the part of that network that is trained, to (B, width). The published layers behind it have 295,616
    parameters with a width of 512 (VGG16), and no activation between them.
    """

    def __init__(self, tail: nn.Module, width: int, size: Size = "small") -> None:
        super().__init__()
        self.tail = tail
        if size == "published":
            self.features = 64
            self.out = nn.Sequential(
                nn.Dropout(0.5), nn.Linear(width, 512), nn.Dropout(0.5), nn.Linear(512, 64), nn.BatchNorm1d(64)
            )
        else:
            self.features = 16
            self.out = nn.Sequential(nn.LayerNorm(width), nn.Dropout(0.5), nn.Linear(width, self.features))

    def forward(self, x: Tensor) -> Tensor:
        """(B, features) of what the tail takes."""
        found: Tensor = self.out(self.tail(x.float()))
        return found


@dataclass(frozen=True)
class Head:
    """What a label asks of a network: how many levels, and are they told by thresholds on one scale?"""

    levels: int
    ordinal: bool = False


Branch = SeriesNet | ScanpathNet | PictureNet


class Fusion(nn.Module):
    """Branches, joined to one head per label; behind the three published branches 14,910 parameters for two labels of
    seven levels.

    heads: label -> what it asks. One branch alone goes to the heads as it is, as in the published separate networks.
    dropout: before the heads.
    """

    def __init__(self, branches: Mapping[str, Branch], heads: Mapping[str, Head], dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(dict(branches))
        self.labels = tuple(heads)
        width = sum(branch.features for branch in branches.values())
        self.trunk: nn.Module = nn.Dropout(dropout)
        if len(branches) > 1:
            self.trunk = nn.Sequential(
                nn.Linear(width, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 16), nn.ReLU()
            )
            width = 16
        made = [
            OrdinalHead(width, own.levels) if own.ordinal else ClassHead(width, own.levels) for own in heads.values()
        ]
        self.heads = nn.ModuleList(made)  # a label may have any name

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log-probabilities (B, K) float32 by label, of one input (B, ...) per branch."""
        return self.fused({name: branch(inputs[name]) for name, branch in self.branches.items()})

    def fused(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of what each branch made of its input, (B, features)."""
        x = self.trunk(torch.cat([found[name] for name in self.branches], dim=1))
        return {label: head(x) for label, head in zip(self.labels, self.heads, strict=True)}
