# SPDX-License-Identifier: Apache-2.0
"""Mean courses of the channels by level, from the whole store."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from gazeray.gaze.signals_config import SignalsConfig
from gazeray.storage import Folder
from gazeray.studies.emotion import courses as drawn
from gazeray.studies.emotion.courses import courses
from tests.studies.emotion.tiny_trials import CHANNELS, LABELS, PICTURES, ROWS, SAMPLES, trials


def test_courses_are_means_over_trials_without_what_people_differ_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against plain loops; one person has no pupil, and nobody a y."""
    monkeypatch.setattr(drawn, "ROWS", 50)  # several parts
    series = np.random.default_rng(0).normal(0, 1, (len(ROWS), len(CHANNELS), SAMPLES)).astype(np.float32)
    series += 10 * (ROWS // PICTURES)[:, None, None]
    series[::7, 0, 3:9] = np.nan
    series[:PICTURES, 2] = series[:, 1] = np.nan
    store = trials(Folder(tmp_path), series=series)
    cfg = SignalsConfig(start_ms=100.0, duration_ms=390.0, samples=SAMPLES)
    with np.load(io.BytesIO(courses(store, CHANNELS, LABELS, cfg))) as found:
        np.testing.assert_allclose(found["times_ms"], 100 + 10 * np.arange(SAMPLES))
        assert np.isnan(found["arousal:y"]).all()
        for channel in (0, 2):
            own = series[:, channel].astype(np.float64).reshape(-1, PICTURES, SAMPLES)
            people = [np.nan if np.isnan(one).all() else np.nanmean(one) for one in own]
            own = (own - (np.array(people) - np.nanmean(people))[:, None, None]).reshape(len(ROWS), SAMPLES)
            for label in LABELS:
                index = store.plain(f"{label.name}_index")
                name = f"{label.name}:{CHANNELS[channel]}"
                for level in range(len(label.classes)):
                    np.testing.assert_allclose(found[name][level], np.nanmean(own[index == level], axis=0), atol=1e-4)
                    spread = np.nanstd(own[index == level], axis=0)
                    np.testing.assert_allclose(found[f"{name}:sd"][level], spread, atol=1e-4)
