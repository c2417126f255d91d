# SPDX-License-Identifier: Apache-2.0
"""A small convolutional network that reads heatmaps: two convolutions and one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

SMALLEST_SIDE = 16
"""The smallest height and width of a picture that leaves one value for the linear layer."""


class HeatmapCNN(nn.Module):
    """Pictures (B, in_channels, H, W) to class logits (B, classes).

    The layers are those of the network published with the word-familiarity heatmaps of Ryzhova et al. (ETRA 2023,
    doi 10.1145/3588015.3590118); width and picture size are free. Batch normalisation has no affine parameters.
    With 3 channels, 128 x 128 pixels, width 128 and 2 classes it has 938,242 parameters.

    size: (H, W) of the picture. width: channels after the first convolution; the second has twice as many. dropout:
    share of the activations dropped after each pooling, in [0, 1).

    Raises ValueError: a picture below (16, 16).
    """

    def __init__(self, in_channels: int, size: tuple[int, int], width: int, classes: int, dropout: float = 0.4) -> None:
        super().__init__()
        if min(size) < SMALLEST_SIDE:
            raise ValueError(f"size (H, W) must be at least ({SMALLEST_SIDE}, {SMALLEST_SIDE}), not {tuple(size)}")
        self.shape = (in_channels, *size)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(in_channels, affine=False),
            nn.Conv2d(in_channels, width, kernel_size=3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(width, affine=False),
            nn.Dropout(dropout),
            nn.Conv2d(width, 2 * width, kernel_size=5, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(2 * width, affine=False),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(2 * width * _side_out(size[0]) * _side_out(size[1]), classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of the pictures (B, in_channels, H, W). Raises ValueError for another shape."""
        if x.shape[1:] != self.shape:
            raise ValueError(f"pictures must be (B, {', '.join(map(str, self.shape))}), not {x.shape}")
        logits: Tensor = self.layers(x)
        return logits


def _side_out(side: int) -> int:
    """Pixels that are left of a side of the picture after the second pooling."""
    side = (side - 2) // 2  # convolution 3, pooling 2
    side = (side - 5) // 2 + 1  # convolution 5 with stride 2
    return side // 2
