# SPDX-License-Identifier: Apache-2.0
"""A network that was trained on photographs knows more of where people look (OSIE) than the same one untrained."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from gazeray.report.validate import validate_run

from tests.running import HERE, run_probes

WEIGHTS = "mobilenet_v2-b0353104.pth"
SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
LAYER = "features.13"
PICTURES = 30
WORDS = [
    *("backbone.arch=mobilenet_v2", f"backbone.layers=[{LAYER}]", "backbone.longest_px=224", "probes.kinds=[ridge]"),
    *("folds.outer=3", "baselines.splits=1", "score.longest_px=80", "score.resamples=200", "show.pictures=1", HERE),
]

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def some_pictures(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The declaration of the first pictures of OSIE, with their fixations."""
    folder, source = tmp_path_factory.mktemp("osie"), real_data / "saliency_osie"
    (folder / "stimuli").mkdir()
    paths = sorted((source / "stimuli").glob("*.jpg"))[:PICTURES]
    for path in paths:
        (folder / "stimuli" / path.name).write_bytes(path.read_bytes())
    fixations = pd.read_csv(source / "fixations.csv.gz")
    fixations[fixations["image"].isin([path.name for path in paths])].to_csv(folder / "fixations.csv", index=False)
    columns = {"stimulus": "image", "observer": "observer", "x_px": "x_px", "y_px": "y_px"}
    declared = {
        "name": "some_of_osie",
        "pictures": {"path": "stimuli/{stimulus}.jpg"},
        "fixations": {"reader": "table", "path": "fixations.csv", "columns": columns},
        "px_per_deg": 24,
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(declared))
    return folder / "dataset.yaml"


def test_trained_network_is_better_than_the_centre_and_than_itself_untrained(
    some_pictures: Path, real_weights: Path, tmp_path: Path
) -> None:
    rows = {}
    trained = [f"backbone.weights={real_weights / WEIGHTS}", f"backbone.sha256={SHA256}"]
    for name, words in {"trained": trained, "untrained": []}.items():
        outcome, _ = run_probes(*WORDS, f"data.dataset={some_pictures}", f"run.dir={tmp_path}", *words)
        assert outcome.failed == {}
        assert outcome.metrics is not None
        assert outcome.metrics["n"]["pictures"] == PICTURES
        assert validate_run(outcome.run) == []
        rows[name] = outcome.metrics["rows"]
    probe = rows["trained"][f"model:{LAYER}:ridge"]
    assert probe["nss"]["gain"]["ci95"][0] > 0
    for metric in ("nss", "auc_uniform", "auc_shuffled"):
        untrained = rows["untrained"][f"model:{LAYER}:ridge"][metric]["value"]
        print(metric, probe[metric], untrained, rows["trained"]["gold_standard"][metric]["value"])
        assert untrained < probe[metric]["value"] < rows["trained"]["gold_standard"][metric]["value"]
