# SPDX-License-Identifier: Apache-2.0
"""The detectors against two human coders on real 500 Hz gaze over videos (`benchmarks/events.py` prints the table)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.events import Recording, coded_by_both, codings, pair_kappa, read
from gazeray.gaze.quality import TrialGaze, trial_quality

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def recordings(real_data: Path) -> list[Recording]:
    if not (real_data / "video_lund2013" / "gaze").is_dir():
        pytest.skip("no video_lund2013 in GAZERAY_REAL_DATA")
    return [one for one in read(real_data) if one.name.startswith("BergoDalbana")]


@pytest.mark.parametrize(
    ("kind", "detector", "floor"),
    [
        ("fixation or pursuit", "idt", 0.53),
        ("fixation or pursuit", "ivt", 0.62),
        ("fixation or pursuit", "adaptive", 0.82),
        ("saccade", "idt", 0.70),
        ("saccade", "ivt", 0.70),
        ("saccade", "adaptive", 0.73),
    ],
)
def test_detector_agrees_with_both_coders(recordings: list[Recording], kind: str, detector: str, floor: float) -> None:
    found, both = codings(recordings), coded_by_both(recordings)
    coders = pair_kappa(found, "MN", "RA", kind, both)
    assert coders > 0.85
    for coder in ("MN", "RA"):
        assert floor < pair_kappa(found, detector, coder, kind, both) < coders


def test_clock_is_trusted_where_the_header_is_wrong(recordings: list[Recording]) -> None:
    """The header of UH47 says 500 Hz."""
    rates = {}
    for one in recordings:
        trial = TrialGaze("P", one.name, {name: np.asarray(values) for name, values in one.samples.items()}, None)
        rates[one.name] = round(float(trial_quality(trial, (0, 0, 1024, 768))["sampling_hz"]))
    assert rates.pop("BergoDalbana__UH47") == 200
    assert set(rates.values()) == {500}
