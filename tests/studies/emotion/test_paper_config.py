# SPDX-License-Identifier: Apache-2.0
"""The published protocol, configs/cv_emotion.paper.yaml."""

from __future__ import annotations

from gazeray.config import load_config
from gazeray.gaze.declaration import load_dataset
from gazeray.models.emotion import ScanpathNet
from gazeray.studies.emotion.config import EmotionConfig
from tests.running import CONFIGS


def test_paper_config_is_the_published_protocol() -> None:
    cfg = load_config(EmotionConfig, CONFIGS / "cv_emotion.paper.yaml")
    scanpath = ScanpathNet(cfg.scanpath.side_px, cfg.model.size)
    assert sum(parameter.numel() for parameter in scanpath.parameters()) == 2_682_752
    assert (cfg.signals.samples, cfg.signals.duration_ms, cfg.signals.scale) == (301, 4900.0, "published")
    assert (cfg.picture.arch, cfg.picture.weights, cfg.picture.size_px, cfg.picture.unfreeze) == (
        "vgg16",
        "DEFAULT",
        256,
        0,
    )
    assert (cfg.loss.gamma, cfg.loss.form, cfg.loss.balance) == (3.0, "published", "published_over")
    assert (cfg.train.optimizer, cfg.train.learning_rate, cfg.train.weight_decay) == ("adamw", 1e-4, 1e-3)
    assert (cfg.train.batch_size, cfg.train.epochs, cfg.train.patience) == (8, 10, 10)
    assert cfg.folds.hold_out == "stimuli"
    assert cfg.subsets == [("series",), ("scanpath",), ("picture",), ("series", "scanpath", "picture")]
    assert cfg.data.dataset == "configs/datasets/emoeye.yaml"
    assert set(load_dataset(CONFIGS / "datasets/emoeye.yaml").labels) == {"arousal", "valence"}
