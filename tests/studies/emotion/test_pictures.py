# SPDX-License-Identifier: Apache-2.0
"""Cached features and the trained tail together are the network itself; nothing that is frozen changes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from gazeray.config import ConfigError, load_config
from gazeray.gaze.augment_config import AugmentConfig
from gazeray.models.backbone import fingerprint, loaded_network
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.emotion.config import EmotionConfig, PictureConfig
from gazeray.studies.emotion.network import BLOCKS, IMAGENET
from gazeray.studies.emotion.pictures import (
    PictureNetwork,
    augmentation_pairs,
    open_network,
    picture_pass,
    view_affines,
)
from gazeray.studies.shared.networks import at_size
from gazeray.tables import DataError
from gazeray.weights import MEAN, STD, normalisation
from tests.studies.here import in_this_process

SIDE = 64
PLAIN = AugmentConfig()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three smooth pictures of other proportions than a square."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in ("a", "b", "c d_e"):
        rough = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        rough.resize((120, 90), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


def paths_of(folder: Path) -> dict[str, str]:
    return {path.stem: path.name for path in sorted(folder.glob("*.png"))}


def seen(
    network: PictureNetwork, pictures: Path, store: Path, augment: AugmentConfig = PLAIN, **more: Any
) -> tuple[Store, int]:
    """The store of a pass that was done in this process, and how many shards were done."""
    passes = picture_pass(network, Folder(pictures), paths_of(pictures), augment, Folder(store), 5, **more)
    found, (work,) = in_this_process(passes)
    return found, len(work.pieces)


def network(arch: str, unfreeze: int, store: Path, **settings: Any) -> tuple[PictureNetwork, Mapping[str, Tensor]]:
    """A network whose weights came from elsewhere than its seed."""
    state = loaded_network(arch, None, seed=11).state_dict()
    cfg = PictureConfig(arch=arch, unfreeze=unfreeze, size_px=SIDE, **settings)
    opened = replace(open_network(cfg, 0), weights=state, state="5a")
    return PictureNetwork.of(cfg, opened, Folder(store), seed=0), state


def inputs(pictures: Path, mean: Any = MEAN, std: Any = STD) -> Tensor:
    """(3, 3, S, S): what a network is shown."""
    every = [np.asarray(Image.open(pictures / path).convert("RGB")) for path in paths_of(pictures).values()]
    small = np.stack([at_size(one, (SIDE, SIDE)).numpy() for one in every])
    values = (small / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    return torch.from_numpy(values.astype(np.float32))


def whole_pooled(arch: str, state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The pooled output of the whole network by its own forward pass, up to the pooling."""
    whole = torchvision.models.get_model(arch, weights=None).eval()
    whole.load_state_dict(state)
    last = {"resnet18": "layer4"}.get(arch, "features")
    kept = []
    whole.get_submodule(last).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    with torch.no_grad():
        whole(x)
    return kept[0].mean((2, 3))


@pytest.mark.parametrize("arch", ["vgg16", "mobilenet_v2", "resnet18"])
def test_stored_features_and_the_tail_are_the_whole_network(arch: str, pictures: Path, tmp_path: Path) -> None:
    wanted = None
    for unfreeze in (0, 1, 2):
        own, state = network(arch, unfreeze, tmp_path)
        found, _ = seen(own, pictures, tmp_path, weights=state)
        stored = found.take(np.arange(3), ["picture"])["picture"]
        assert stored.dtype == np.float16
        assert stored.shape[:2] == (3, 1)
        with torch.no_grad():
            pooled = own.tail().eval()(torch.from_numpy(stored[:, 0]))
        if wanted is None:
            wanted = whole_pooled(arch, state, inputs(pictures))
        assert pooled.shape == (3, own.features)
        torch.testing.assert_close(pooled, wanted, rtol=0, atol=1e-3 * float(wanted.abs().max()))
