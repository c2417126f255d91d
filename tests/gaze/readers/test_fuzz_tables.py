# SPDX-License-Identifier: Apache-2.0
"""Damaged exports: every tabular vendor reader gives a table or a ReadError, and never more rows than lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.readers import test_bids, test_gazecom, test_gazepoint, test_pupil, test_tobii
from tests.gaze.tiny_dataset import declared

VARIANTS = 200
ODD = [b"\x00", b"\xff", b"\t", b",", b'"', b"\n", b"\r", b"1e999", b"-", b"\xc3", b"\xff\xfe", b"nan", b"9" * 30, b"%"]

CASES: dict[str, tuple[str, str, str, bytes]] = {
    "tobii_lab": ("tobii", "samples", "a.tsv", test_tobii.text(test_tobii.LAB).replace("P2", "P1").encode()),
    "tobii_lab_fixations": (
        "tobii",
        "fixations",
        "a.tsv",
        test_tobii.text(test_tobii.LAB).replace("P2", "P1").encode(),
    ),
    "tobii_studio_utf_16": ("tobii", "samples", "a.tsv", test_tobii.text(test_tobii.STUDIO).encode("utf-16")),
    "gazepoint": ("gazepoint", "samples", "a.csv", test_gazepoint.ALL.encode()),
    "gazepoint_fixations": ("gazepoint", "fixations", "a.csv", test_gazepoint.ALL.encode()),
    "gazepoint_twice": ("gazepoint", "samples", "a.csv", test_gazepoint.SHOWN_TWICE.encode()),
    "pupil": ("pupil", "samples", "a.csv", test_pupil.GAZE.encode()),
    "pupil_on_surface": ("pupil", "fixations", "a.csv", test_pupil.ON_SURFACE.encode()),
    "pupil_cloud": ("pupil_cloud", "samples", "a.csv", test_pupil.CLOUD.encode()),
    "pupil_cloud_mapped": ("pupil_cloud", "fixations", "a.csv", test_pupil.MAPPED_FIXATIONS.encode()),
    "gazecom_labels": ("gazecom", "samples", "a.arff", test_gazecom.labelled().encode()),
    "gazecom_arff": ("gazecom", "samples", "a.arff", test_gazecom.ARFF.encode()),
    "gazecom_coord": ("gazecom", "samples", "a.coord", test_gazecom.COORD.encode()),
    "bids": ("bids", "samples", test_bids.PHYSIO, test_bids.SAMPLES.encode()),
    "bids_fixations": ("bids", "fixations", test_bids.EVENTS, test_bids.EVENT_ROWS.encode()),
}


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    values = bytearray(data)
    for where in rng.integers(0, len(values), rng.integers(1, 6)):
        values[where] = rng.integers(0, 256)
    return bytes(values)


def insert(data: bytes, rng: np.random.Generator) -> bytes:
    where = int(rng.integers(0, len(data)))
    return data[:where] + ODD[rng.integers(len(ODD))] + data[where:]


def delete(data: bytes, rng: np.random.Generator) -> bytes:
    where, length = int(rng.integers(0, len(data))), int(rng.integers(1, 12))
    return data[:where] + data[where + length :]


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(0, len(data)))]


def shuffle(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    return b"\n".join(lines[index] for index in rng.permutation(len(lines)))


DAMAGES: list[Callable[[bytes, np.random.Generator], bytes]] = [flip, insert, delete, cut, shuffle]


def read(name: str, data: bytes, beside: dict[str, bytes] | None = None, **more: Any) -> GazeTable | ReadError:
    reader, kind, source, _ = CASES[name]
    section = {"reader": reader, "path": "{participant}/{trial}.x", **more}
    spec = declared(**{"samples": None, kind: section}).gaze()["samples" if kind == "samples" else "fixations"]
    near = test_bids.files() if beside is None else beside
    try:
        return READERS[reader].read(GazeFile(data, source, spec, {"participant": "P1", "trial": "1"}, near))
    except ReadError as error:
        return error


@pytest.mark.parametrize("name", CASES)
def test_undamaged_case_reads(name: str) -> None:
    assert isinstance(read(name, CASES[name][3]), GazeTable)


@pytest.mark.parametrize("name", CASES)
def test_damaged_file_gives_a_table_or_a_read_error(name: str) -> None:
    rng = np.random.default_rng(7)
    data = CASES[name][3]
    tables = 0
    for variant in range(VARIANTS):
        damaged = DAMAGES[variant % len(DAMAGES)](data, rng)
        if variant % 3 == 2:
            damaged = DAMAGES[rng.integers(len(DAMAGES))](damaged or b"x", rng)
        found = read(name, damaged)
        if isinstance(found, ReadError):
            continue
        tables += 1
        lines = damaged.replace(b"\r", b"\n").count(b"\n") + 1
        assert len(found.rows) == len(found.codes) <= found.n_rows <= lines
        assert all(len(values) == len(found.rows) for values in found.columns.values())
        assert set(found.rows).isdisjoint(reject.row for reject in found.rejects)
    assert tables > VARIANTS // 10


@pytest.mark.parametrize("kind", ["bids", "bids_fixations"])
def test_damaged_companions_give_a_table_or_a_read_error(kind: str) -> None:
    rng = np.random.default_rng(8)
    plain = test_bids.files() | {
        test_bids.PHYSIO: test_bids.SAMPLES.encode(),
        test_bids.EVENTS: test_bids.EVENT_ROWS.encode(),
    }
    for variant in range(VARIANTS):
        name = sorted(plain)[variant % len(plain)]
        damaged = DAMAGES[rng.integers(len(DAMAGES))](plain[name], rng)
        messages = {"start": "trial (?P<trial>.)"} if variant % 2 else None
        found = read(kind, CASES[kind][3], plain | {name: damaged}, messages=messages)
        assert isinstance(found, GazeTable | ReadError)


@pytest.mark.parametrize("kind", ["bids", "bids_fixations"])
def test_sidecars_with_values_of_any_type_give_a_table_or_a_read_error(kind: str) -> None:
    rng = np.random.default_rng(9)
    odd = [
        None,
        True,
        -1,
        1e308,
        "",
        "n/a",
        "center",
        [],
        [1],
        ["a", "a"],
        [[]],
        {},
        {"Units": ["px"]},
        {"Units": None},
    ]
    keys = ["Columns", "SamplingFrequency", "StartTime", "RecordedEye", "SampleCoordinateSystem", "OnsetSource"]
    keys += ["ForeignIndexColumn", "x_coordinate", "timestamp", "onset", "duration", "AverageCalibrationError"]
    nested = ["ScreenOrigin", "ScreenSize", "ScreenResolution", "ScreenDistance"]
    for _ in range(VARIANTS):
        said = {keys[rng.integers(len(keys))]: odd[rng.integers(len(odd))] for _ in range(2)}
        screen = {nested[rng.integers(4)]: odd[rng.integers(len(odd))]}
        changes = {"sidecar": said | {"StimulusPresentation": screen}, "events_sidecar": said, "screen": said}
        beside = test_bids.files(**changes)
        found = read(kind, beside[test_bids.PHYSIO if kind == "bids" else test_bids.EVENTS], beside)
        assert isinstance(found, GazeTable | ReadError)
