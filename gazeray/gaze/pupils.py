# SPDX-License-Identifier: Apache-2.0
"""The pupil of a trial from the pupils of its eyes.

They are cleaned an eye at a time and then joined: margins around losses, for eyelids cover a pupil before and after
they are seen to, and half the usual difference of the eyes where one of them is lost, so that it is no step (Kret &
Sjak-Shie 2019, "Preprocessing pupil size data: guidelines and code", Behavior Research Methods 51, 1336-1342).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gazeray.gaze.clock import PAUSE
from gazeray.gaze.signal_grid import Floats

PUPILS = ("pupil_mm", "pupil")
"""What the pupil of a trial is called: its unit is mm, or another."""

EYES = (("pupil_left", "pupil_right"), ("pupil",), ("pupil_mm",))
"""What it is taken from: the first of these of which a data set has any."""


def eyes_of(found: Sequence[str]) -> list[str]:
    """The channels among those found that the pupil is made of."""
    return next((there for names in EYES if (there := [name for name in names if name in found])), [])


def pupil_name(eyes: Sequence[str], units: Mapping[str, str]) -> str:
    """The name of the pupil that is made of these channels."""
    return "pupil_mm" if all(units.get(name) == "mm" or name == "pupil_mm" for name in eyes) else "pupil"


def without_margins(eyes: Floats, time_ms: Floats, margin_ms: float, usual_ms: float) -> Floats:
    """The pupils (E, N) without what is at most the margin from a lost sample, or from where samples are missing.

    time_ms: (N,), rising. usual_ms: from sample to sample; NaN = not known.
    """
    if not margin_ms:
        return eyes
    lost = np.isnan(eyes)
    pause = time_ms[1:] - time_ms[:-1] > PAUSE * usual_ms
    lost[:, :-1] |= pause
    lost[:, 1:] |= pause
    before = np.maximum.accumulate(np.where(lost, time_ms, -np.inf), axis=1)
    after = np.minimum.accumulate(np.where(lost, time_ms, np.inf)[:, ::-1], axis=1)[:, ::-1]
    return np.where((time_ms - before <= margin_ms) | (after - time_ms <= margin_ms), np.nan, eyes)


def joined(eyes: Floats) -> Floats:
    """The mean of the eyes (1 or 2, N); where one is lost, the other and half of their mean difference, (N,)."""
    if len(eyes) == 1:
        return eyes[0]
    difference = eyes[0] - eyes[1]
    lost = np.isnan(difference)
    half = difference[~lost].mean() / 2 if not lost.all() else 0.0
    one = np.where(np.isnan(eyes[0]), eyes[1] + half, eyes[0] - half)
    return np.where(lost, one, (eyes[0] + eyes[1]) / 2)
