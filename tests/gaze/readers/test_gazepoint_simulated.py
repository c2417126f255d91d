# SPDX-License-Identifier: Apache-2.0
"""Gazepoint with biometrics: the simulated exports that come with the package gpbiometricspy 0.1.9 (MIT), since every
public export of a device has skin conductance and heart rate at 0."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.config import validate
from gazeray.gaze.declaration import DatasetSpec
from gazeray.storage import Folder
from tests.gaze.tiny_dataset import read_all

UNITS = {
    "pupil_left": ("LPMM", "LPMMV", "mm"),
    "pupil_right": ("RPMM", "RPMMV", "mm"),
    "gsr": ("GSR_US", "GSRV", "uS"),
    "gsr_tonic": ("GSR_US_TONIC", "GSRV", "uS"),
    "gsr_phasic": ("GSR_US_PHASIC", "GSRV", "uS"),
    "heart_rate": ("HR", "HRV", "bpm"),
    "heart_beat_interval": ("IBI", "HRV", "s"),
}
"""Channel -> its column, the column of its validity, its unit."""

DECLARED: dict[str, Any] = {
    "name": "kiosk",
    "labels": {"interface_complexity": {"dense": "dense", "simple": "simple"}},
    "screen": {"width_px": 1920, "height_px": 1080},
    "trials": {
        "path": "synthetic_kiosk_trial_design.csv",
        "columns": {"participant": "participant_id", "trial": "MEDIA_NAME"},
    },
    "samples": {"reader": "gazepoint", "path": "{participant}_all_gaze.csv"},
}


def kiosk_folder() -> Path:
    """The folder of the exports; the test is skipped where they are not installed."""
    package = find_spec("gpbiometricspy")
    if package is None or package.origin is None:
        pytest.skip("gpbiometricspy is not installed (pip install gpbiometricspy==0.1.9)")
    return Path(package.origin).parent / "data/gazepoint_biometrics_kiosk_demo_exports"


def test_every_file_is_read_with_all_its_signals_and_nothing_is_rejected() -> None:
    folder = kiosk_folder()
    data, found = read_all(Folder(folder), validate(DatasetSpec, DECLARED))
    assert (len(data.recordings), len(data.trials)) == (36, 144)
    assert data.rejects + [reject for part in found for reject in part.rejects] == []
    assert {part.n_rows for part in found} == {1920}
    assert {len(one.samples["x_px"]) for part in found for one in part.trials if one.samples} == {480}
    for part in found[::6]:  # Python's csv takes its time
        assert {name: part.trials[0].units[name] for name in UNITS} == {name: own[2] for name, own in UNITS.items()}
        with (folder / f"{part.key}_all_gaze.csv").open(newline="") as text:
            rows = list(csv.DictReader(text))
        order = {name: at for at, name in enumerate(dict.fromkeys(row["MEDIA_NAME"] for row in rows))}
        trials = sorted(part.trials, key=lambda one: order[one.trial])
        for name, (column, flag, _) in UNITS.items():
            expected = [float(row[column]) if row[flag] == "1" else np.nan for row in rows]
            values = np.concatenate([one.samples[name] for one in trials if one.samples])
            np.testing.assert_allclose(values, expected, rtol=1e-6, err_msg=f"{part.key} {name}")
            assert np.isfinite(values).mean() > 0.95
