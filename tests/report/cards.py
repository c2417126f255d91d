# SPDX-License-Identifier: Apache-2.0
"""The code that stands in a model card, run as a reader would run it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from gazeray.storage import Folder


def run_code(run: Folder, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the Python of model_card.md in its run folder; what it defined, by name."""
    (code,) = re.findall(r"```python\n(.*?)```", run.read_text("model_card.md"), re.DOTALL)
    names: dict[str, Any] = {}
    with patch.context() as here:
        here.chdir(run.uri)
        exec(compile(code, "model_card.md", "exec"), names)
    return names


def check_heatmap_model(run: Folder, patch: pytest.MonkeyPatch) -> None:
    """The model that the card loads says of its test pictures what the run said."""
    model = run_code(run, patch)["model"]
    rows = [row for row in run.read_table("predictions.parquet").to_pylist() if row["fold"] == 0]
    assert rows
    for row in rows:
        with np.load(f"{run.uri}/{row['map']}") as maps:
            picture = torch.from_numpy(maps["heatmap"]).float()
        with torch.inference_mode():
            scores = model(picture.reshape(1, *model.shape)).softmax(1)[0]
        assert scores.tolist() == pytest.approx(row["scores"], abs=1e-5)
