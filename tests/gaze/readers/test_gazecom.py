# SPDX-License-Identifier: Apache-2.0
"""The GazeCom reader on small .arff and .coord files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gazeray.gaze.readers.gazecom  # noqa: F401
from gazeray.config import ConfigError
from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.tiny_dataset import declared, zipped

ARFF = (
    "%@METADATA distance_mm 450.0\n%@METADATA height_mm 225.0\n%@METADATA width_mm 400.0\n%@METADATA width_px 1280.0\n"
    "%@METADATA height_px 720.0\n@RELATION gaze_recording\n\n@ATTRIBUTE time INTEGER\n@ATTRIBUTE x NUMERIC\n"
    "@ATTRIBUTE y NUMERIC\n@ATTRIBUTE confidence NUMERIC\n\n@DATA\n"
    "1000,416.9,188.0,1.0\n5000,417.0,188.1,0.0\n% a comment\n9000,417.5,189.2,1.0\n% \n"
)
COORD = (
    "# Gaze file\n#\ngaze 1280 720\ngeometry distance 0.45 width 0.4 height 0.225\n"
    "1000 416.9 188 1\n5000  417 188.1 0\n9000\t417.5 189.2 1\n"
)
HEADER = {
    "screen_width_px": 1280.0,
    "screen_height_px": 720.0,
    "screen_width_mm": 400.0,
    "screen_height_mm": 225.0,
    "distance_mm": 450.0,
}


def read(data: str | bytes, **changes: Any) -> GazeTable:
    spec = declared(samples={"reader": "gazecom", "path": "{participant}_{trial}.arff", **changes}).samples
    assert spec is not None
    raw = data.encode() if isinstance(data, str) else data
    return READERS["gazecom"].read(GazeFile(raw, "P1_beach.arff", spec, {"participant": "P1", "trial": "beach"}))


@pytest.mark.parametrize("data", [ARFF, COORD], ids=["arff", "coord"])
def test_both_formats_read_the_same(data: str) -> None:
    table = read(data)
    assert table.columns["timestamp_ms"].tolist() == [1, 5, 9]
    np.testing.assert_array_equal(table.columns["x_px"], [416.9, np.nan, 417.5])
    np.testing.assert_array_equal(table.columns["y_px"], [188.0, np.nan, 189.2])
    assert table.rows.tolist() == [1, 2, 3]
    assert table.ids == [("P1", "beach")]
    assert table.rejects == []
    assert table.header == pytest.approx(HEADER)


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(lambda text: text.replace("\n", "\r\n").encode(), id="crlf"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text.encode(), id="byte_order_mark"),
        pytest.param(lambda text: text.encode("utf-16"), id="utf_16"),
        pytest.param(zipped, id="gzip"),
        pytest.param(
            lambda text: text.replace("a comment", "é").replace("Gaze file", "é").encode("latin-1"), id="latin_1"
        ),
    ],
)
@pytest.mark.parametrize("data", [ARFF, COORD], ids=["arff", "coord"])
def test_variants_of_the_same_file_read_the_same(data: str, encode: Any) -> None:
    table = read(encode(data))
    assert table.columns["timestamp_ms"].tolist() == [1, 5, 9]
    assert table.header == pytest.approx(HEADER)


def labelled() -> str:
    """ARFF with labels in four attributes and a speed that is none."""
    head, rows = ARFF.split("@DATA\n")
    further = (
        "@ATTRIBUTE 'handlabeller1' INTEGER\n@ATTRIBUTE handlabeller_final {UNKNOWN, FIX,SP}\n"
        "@attribute EYE_MOVEMENT_TYPE {0,1,2}\n@ATTRIBUTE coder string\n@ATTRIBUTE speed_1 NUMERIC\n"
    )
    labels = {"1000": "1,FIX,1,anna,3", "5000": "?,?,?,?,?", "9000": "2,'SP',2,ben,1"}
    lines = [f"{line},{labels[line.split(',')[0]]}" if line[:1].isdigit() else line for line in rows.splitlines()]
    return head + further + "@DATA\n" + "\n".join(lines) + "\n"


def test_hand_labels_and_confidence_are_channels() -> None:
    table = read(labelled())
    assert table.rejects == []
    assert set(table.units) == {
        *("label_handlabeller1", "label_handlabeller_final", "label_eye_movement_type", "label_coder"),
        "confidence",
    }
    np.testing.assert_array_equal(table.columns["label_handlabeller1"], [1, np.nan, 2])
    np.testing.assert_array_equal(table.columns["label_eye_movement_type"], [1, np.nan, 2])
    assert table.columns["label_handlabeller_final"].tolist() == ["FIX", "", "SP"]
    assert table.columns["label_coder"].tolist() == ["anna", "", "ben"]
    assert table.columns["confidence"].tolist() == [1, 0, 1]
    assert set(read(COORD).units) == {"confidence"}


def test_value_that_is_not_known_is_lost() -> None:
    table = read(ARFF.replace("417.5,", "?,"))
    assert table.rejects == []
    np.testing.assert_array_equal(table.columns["x_px"], [416.9, np.nan, np.nan])


def test_declared_channel_comes_along() -> None:
    table = read(labelled(), channels={"speed": {"column": "speed_1", "unit": "deg/s", "missing": [1]}})
    np.testing.assert_array_equal(table.columns["speed"], [3, np.nan, np.nan])
    assert table.units["speed"] == "deg/s"


def test_key_without_a_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="no use for this key"):
        read(ARFF, eye="left")


def test_attributes_are_found_by_name_in_any_order() -> None:
    swapped = ARFF.replace("ATTRIBUTE x ", "ATTRIBUTE z ").replace("ATTRIBUTE y ", "ATTRIBUTE x ")
    table = read(swapped.replace("ATTRIBUTE z ", "ATTRIBUTE 'y' "))
    np.testing.assert_array_equal(table.columns["x_px"], [188.0, np.nan, 189.2])


def test_declared_columns_and_units_win() -> None:
    table = read(ARFF, columns={"x_px": "y", "y_px": "x"}, units={"timestamp_ms": "ms"})
    assert table.columns["timestamp_ms"].tolist() == [1000, 5000, 9000]
    assert table.columns["x_px"][0] == 188.0


def test_bad_cell_and_short_row_are_rejected_with_their_row() -> None:
    table = read(ARFF.replace("417.5,", "here,").replace("417.0,188.1,0.0", "417.0"))
    assert table.rows.tolist() == [1]
    assert sorted((reject.row, reject.participant) for reject in table.rejects) == [(2, "P1"), (3, "P1")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "empty"),
        (ARFF.split("1000", 1)[0], "without rows"),
        ("a b c\n1 2 3\n", "neither ARFF"),
        ("0 1 778 21\n1 1 812 25\n", "neither ARFF"),
        (ARFF.replace("ATTRIBUTE x", "ATTRIBUTE z"), "no column for x_px"),
    ],
)
def test_unusable_file_raises_read_error(data: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(data)
