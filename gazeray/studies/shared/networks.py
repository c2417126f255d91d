# SPDX-License-Identifier: Apache-2.0
"""What passes with a frozen network have in common: its weights where all workers read them, pictures at its input's
size, features in half precision."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from gazeray.config import ConfigError
from gazeray.storage import Folder
from gazeray.weights import WeightsError


@contextlib.contextmanager
def as_config_errors(section: str) -> Iterator[None]:
    """Whatever is wrong with a network and its weights as a ConfigError that names the section of the config."""
    try:
        yield
    except WeightsError as error:
        raise ConfigError([f"{section}.weights: {error}"]) from error
    except ValueError as error:
        raise ConfigError([f"{section}: {error}"]) from error


def keep_weights(weights: Mapping[str, Tensor], folder: Folder, name: str) -> None:
    """Put weights where all workers can read them. A file there that is not what was written is replaced."""
    data = save_tensors({key: value.contiguous() for key, value in weights.items()})
    if not folder.exists(name) or folder.sha256(name) != hashlib.sha256(data).hexdigest():
        folder.write_bytes(name, data)


def at_size(picture: np.ndarray, size: tuple[int, int]) -> Tensor:
    """A picture (H, W, 3) uint8 as (3, h, w) uint8 at the size (h, w), shrunk as Pillow shrinks."""
    pixels = torch.from_numpy(picture).permute(2, 0, 1)
    if pixels.shape[1:] == size:
        return pixels
    return torch.nn.functional.interpolate(
        pixels[None].float(), size=size, mode="bilinear", antialias=True, align_corners=False
    )[0].round_().to(torch.uint8)  # fmt: skip


def as_halves(values: Tensor, names: Sequence[str], what: str) -> np.ndarray:
    """(N, ...) float16 of what a network says of N pictures; what float16 cannot hold is cut to its largest value.

    Raises RuntimeError naming the first picture with a value that is not finite.
    """
    finite = values.flatten(1).sum(1, dtype=torch.float64).isfinite().tolist()
    if not all(finite):
        raise RuntimeError(f"{names[finite.index(False)]}: {what} is not finite")
    halves: np.ndarray = values.clamp(-65504, 65504).half().cpu().contiguous().numpy()
    return halves
