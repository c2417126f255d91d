# SPDX-License-Identifier: Apache-2.0
"""A small version of the saliency job on real free viewing (OSIE, 15 observers): the known figures are met."""

from __future__ import annotations

from pathlib import Path

import pytest

from gazeray.studies.pictures.report import write_saliency_report
from tests.running import CONFIGS, HERE, findings, run_probes

KNOWN = {
    "other_observers": {"auc_uniform": 0.930, "nss": 3.63},
    "centre_quarter": {"auc_uniform": 0.728, "nss": 0.81},
    "mean_of_others": {"auc_uniform": 0.730, "nss": 0.82},
}
"""Means over the 140 pictures on a grid of 200 x 150, Gaussian of 24 px of the full size."""

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.nightly
def test_known_figures_are_met_and_a_probe_of_an_untrained_network_beats_the_centre(
    real_data: Path, tmp_path: Path
) -> None:
    words = [
        HERE,
        f"data.dataset={CONFIGS / 'datasets/osie.yaml'}",
        f"data.root={real_data / 'saliency_osie'}",
        "score.metrics=[information_gain, auc_uniform, auc_shuffled, nss]",
        *("targets.sigma_px=24", "baselines.splits=1", "score.resamples=200", f"run.dir={tmp_path}"),
        *("backbone.arch=resnet18", "backbone.layers=[layer1]", "backbone.longest_px=160", "probes.kinds=[ridge]"),
    ]
    outcome, _ = run_probes(*words)
    assert outcome.failed == {}
    assert outcome.metrics is not None
    assert outcome.metrics["n"] == {"pictures": 140, "observers": 15, "fixations": 19_852, "rejected": 560}
    rows = outcome.metrics["rows"]
    for predictor, figures in KNOWN.items():
        for metric, value in figures.items():
            assert rows[predictor][metric]["value"] == pytest.approx(value, abs=0.02), f"{predictor} {metric}"
    assert rows["model:layer1:ridge"]["nss"]["gain"]["centre_bias"]["ci95"][0] > 0
    assert rows["model:layer1:ridge"]["auc_shuffled"]["value"] > 0.6
    assert rows["gold_standard"]["information_gain"]["value"] > 2
    write_saliency_report(outcome.run)
    assert findings(outcome.run) == []
