# SPDX-License-Identifier: Apache-2.0
"""A trained network sees in photographs (OSIE) what is on them: weights, normalisation and input are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from gazeray.gaze.augment_config import AugmentConfig
from gazeray.storage import Folder
from gazeray.studies.emotion.config import PictureConfig
from gazeray.studies.emotion.pictures import PictureNetwork, open_network, picture_pass
from tests.studies.here import in_this_process

SHOWN = {"1126": "pool table", "1111": "football helmet", "1031": "Saint Bernard", "1131": "racket"}

pytestmark = pytest.mark.real


def test_a_trained_network_names_what_is_on_the_picture(real_data: Path, real_weights: Path, tmp_path: Path) -> None:
    root, paths = Folder(real_data / "saliency_osie" / "stimuli"), {name: f"{name}.jpg" for name in SHOWN}
    found = {}
    for weights in (str(real_weights / "mobilenet_v2-b0353104.pth"), "none"):
        cfg = PictureConfig(weights=weights, size_px=224)
        opened = open_network(cfg, 0)
        network = PictureNetwork.of(cfg, opened, Folder(tmp_path), 0)
        passes = picture_pass(network, root, paths, AugmentConfig(), Folder(tmp_path), 0, opened.weights)
        store, _ = in_this_process(passes)
        values = store.take(np.arange(len(SHOWN)), ["picture"])["picture"][:, 0]
        found[opened.state] = torch.from_numpy(values).float()
        if opened.weights is not None:
            scores = found[opened.state] @ opened.weights["classifier.1.weight"].T + opened.weights["classifier.1.bias"]
    names = torchvision.models.MobileNet_V2_Weights.DEFAULT.meta["categories"]
    told = dict(zip(store.plain("stimulus").tolist(), (names[best] for best in scores.argmax(1).tolist()), strict=True))
    assert told == SHOWN
    assert float(scores.softmax(1).amax(1).min()) > 0.8
    trained, untrained = found.values()
    assert trained.shape == untrained.shape == (len(SHOWN), 1280)
    assert float((trained - untrained).abs().max()) > 1
