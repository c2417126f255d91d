# SPDX-License-Identifier: Apache-2.0
"""Pictures at the size of a network's input, features in half precision, weights for all workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from gazeray.config import ConfigError
from gazeray.storage import Folder
from gazeray.studies.shared.networks import as_config_errors, as_halves, at_size, keep_weights
from gazeray.weights import WeightsError


@pytest.mark.parametrize("size", [(30, 30), (90, 40), (200, 300)])
def test_pictures_are_resized_as_pillow_resizes_them(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    found = at_size(picture, size)
    theirs = np.array(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert found.dtype == torch.uint8
    assert found.shape == (3, *size)
    assert int((found.int() - torch.from_numpy(theirs).int()).abs().max()) <= 2


def test_a_picture_of_the_size_is_left_as_it_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(at_size(picture, (7, 9)), picture.transpose(2, 0, 1))


def test_halves_are_cut_to_what_they_can_hold_and_name_what_is_no_number() -> None:
    values = torch.tensor([[1.5, 1e9], [-1e9, 0.25]])
    np.testing.assert_array_equal(as_halves(values, ["a", "b"], "it"), np.array([[1.5, 65504], [-65504, 0.25]]))
    values[1, 1] = torch.nan
    with pytest.raises(RuntimeError, match="b: it is not finite"):
        as_halves(values, ["a", "b"], "it")


def test_weights_that_lie_there_are_kept_and_others_replaced(tmp_path: Path) -> None:
    weights, folder, path = {"w": torch.arange(6.0).view(2, 3).T}, Folder(tmp_path), tmp_path / "w.safetensors"
    keep_weights(weights, folder, path.name)
    torch.testing.assert_close(load(path.read_bytes()), weights)
    before = path.stat().st_mtime_ns
    keep_weights(weights, folder, path.name)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(path.read_bytes()[:-3])
    keep_weights(weights, folder, path.name)
    torch.testing.assert_close(load(path.read_bytes()), weights)


def test_faults_name_the_section() -> None:
    with pytest.raises(ConfigError, match=r"net\.weights: none there"), as_config_errors("net"):
        raise WeightsError("none there")
    with pytest.raises(ConfigError, match="net: no such"), as_config_errors("net"):
        raise ValueError("no such")
