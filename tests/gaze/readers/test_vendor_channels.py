# SPDX-License-Identifier: Apache-2.0
"""Channels that a declaration names, read from the export of a vendor."""

from __future__ import annotations

import numpy as np
import pytest

from gazeray.gaze.readers.base import GazeFile, ReadError
from gazeray.gaze.readers.spec import SamplesSpec
from gazeray.gaze.readers.vendor_tables import Channels, channel_columns, declared_channels, open_sheet

DATA = b"time,Pupil,Ok\n0,3.5,1\n2,-1,1.0\n4,4,0\n6,x,1\n8,5,\n"


def channels(**own: object) -> Channels:
    spec = SamplesSpec(path="{participant}/{trial}.csv", reader="gazepoint", channels={"pupil": own})
    sheet = open_sheet(GazeFile(DATA, "p1/1.csv", spec, {"participant": "p1", "trial": "1"}))
    words, numbers = channel_columns(sheet)
    return declared_channels(sheet.read(words, [], numbers))


def test_values_that_are_lost_are_nan() -> None:
    values, unit = channels(column="pupil", unit="mm", validity="OK", valid=["1"], missing=[-1])["pupil"]
    np.testing.assert_array_equal(values, [3.5, np.nan, np.nan, np.nan, np.nan])
    assert unit == "mm"


def test_without_validity_every_number_counts() -> None:
    values, _ = channels(column="Pupil")["pupil"]
    np.testing.assert_array_equal(values, [3.5, -1, 4, np.nan, 5])


@pytest.mark.parametrize("own", [{"column": "Size"}, {"column": "Pupil", "validity": "Good"}])
def test_column_that_is_not_there_is_told(own: dict[str, str]) -> None:
    with pytest.raises(ReadError, match=r"(Size|Good).* \(present: time, Pupil, Ok\)"):
        channels(**own)
