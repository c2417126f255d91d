# SPDX-License-Identifier: Apache-2.0
"""What each format hands over of the body beside gaze: under which names, in which units, and what of it is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gazeray.gaze.readers import GazeTable
from gazeray.gaze.readers.base import READERS, GazeFile
from gazeray.gaze.readers.spec import SamplesSpec
from tests.gaze.readers import (
    test_bids,
    test_delimited,
    test_eyelink,
    test_gazepoint,
    test_pupil,
    test_smi,
    test_tobii,
    test_tobii_parts,
)

NAN = float("nan")
Expected = dict[str, tuple[str, list[float]]]


def eyelink() -> GazeTable:
    rows = [f"{100 + at}\t 1.0\t 1.0\t {left}\t 2.0\t 2.0\t {right}\t....." for at, (left, right) in
            enumerate([("700.0", "800.0"), ("0.0", "801.0"), ("702.0", ".")])]  # fmt: skip
    return test_eyelink.read(test_eyelink.PREAMBLE + test_eyelink.block(100, rows, test_eyelink.BOTH))


def tobii() -> GazeTable:
    sizes = [(3.1, 3.2, 1.5), ("", 3.3, 1.6), (-1, 3.4, 1.7)]
    rows = [
        test_tobii_parts.gaze(10.0 * at, "a") | {"Pupil diameter left [mm]": left, "Pupil diameter right [mm]": right,
                                                 "Galvanic skin response (GSR)": gsr}
        for at, (left, right, gsr) in enumerate(sizes)
    ]  # fmt: skip
    return test_tobii.read(test_tobii_parts.export(rows))


def smi() -> GazeTable:
    cells = iter(["3.5\t3.6", "0.00\t3.7", "3.8\t0.00", "3.9\t-"])
    lines = test_smi.IVIEW.splitlines()
    lines = [f"{line}\tL Pupil Diameter [mm]\tR Pupil Diameter [mm]" if line.startswith("Time\t") else line
             for line in lines]  # fmt: skip
    return test_smi.read("\n".join(f"{line}\t{next(cells)}" if "\tSMP\t" in line else line for line in lines) + "\n")


def gazepoint() -> GazeTable:
    names = "MEDIA_NAME,TIME,BPOGX,BPOGY,BPOGV,LPMM,LPMMV,RPMM,RPMMV,GSR,GSRV,HR,HRV,HRP,IBI"
    rows = ["a,0,.5,.5,1,3.1,1,3.2,1,262256,1,85,1,1800,.7", "a,.0163,.5,.5,1,1.67,0,3.3,1,262300,0,0,1,1801,.71",
            "a,.0327,.5,.5,1,0,1,3.4,1,0,1,86,0,1802,0"]  # fmt: skip
    return test_gazepoint.read("\n".join([names, *rows]) + "\n")


def pupil() -> GazeTable:
    spec = SamplesSpec(reader="pupil", path="{participant}/{trial}/gaze.csv")
    beside = {"P1/1/pupil_positions.csv": test_pupil.PUPILS.encode()}
    file = GazeFile(test_pupil.GAZE.encode(), "P1/1/gaze.csv", spec, test_pupil.FIXED, beside)
    return READERS["pupil"].read(file)


def pupil_cloud() -> GazeTable:
    head, *rows = test_pupil.CLOUD.splitlines()
    joined = [f"{head},pupil diameter left [mm],pupil diameter right [mm]", f"{rows[0]},3.5,3.6", f"{rows[1]},0,3.7"]
    return test_pupil.read("\n".join(joined) + "\n", reader="pupil_cloud")


def bids() -> GazeTable:
    names = ["timestamp", "x_coordinate", "y_coordinate", "pupil_size", "gsr", "heart_rate"]
    units = {"pupil_size": {"Units": "mm"}, "gsr": {"Units": "uS"}, "heart_rate": {"Units": "bpm"}}
    rows = "0\t1\t1\t3.5\t1.5\t70\n4\t1\t1\t0\tn/a\t71\n8\t1\t1\t3.4\t1.6\tn/a\n"
    beside = test_bids.files(samples=rows, sidecar={"Columns": names, **units})
    return test_bids.read(fixed=test_bids.ONE, beside=beside)


def delimited() -> GazeTable:
    channels = {"pupil_left": {"column": "p", "unit": "mm", "validity": "v"}, "gsr": {"column": "g", "unit": "uS"}}
    return test_delimited.read("trial,t,x,y,p,v,g\n1,0,1,1,3.5,1,2\n1,9,1,1,3.6,0,\n", channels=channels)


FORMATS: dict[Callable[[], GazeTable], Expected] = {
    eyelink: {
        "pupil_left": ("a.u. (area)", [700, NAN, 702]),
        "pupil_right": ("a.u. (area)", [800, 801, NAN]),
    },
    tobii: {
        "pupil_left": ("mm", [3.1, NAN, NAN]),
        "pupil_right": ("mm", [3.2, 3.3, 3.4]),
        "gsr": ("uS", [1.5, 1.6, 1.7]),
    },
    smi: {"pupil_left": ("mm", [3.5, NAN, 3.8, 3.9]), "pupil_right": ("mm", [3.6, 3.7, NAN, NAN])},
    gazepoint: {
        "pupil_left": ("mm", [3.1, NAN, NAN]),
        "pupil_right": ("mm", [3.2, 3.3, 3.4]),
        "gsr": ("ohm", [262256, NAN, NAN]),
        "heart_rate": ("bpm", [85, NAN, NAN]),
        "pulse": ("a.u.", [1800, 1801, 1802]),
        "heart_beat_interval": ("s", [0.7, 0.71, NAN]),
    },
    pupil: {"pupil_left": ("mm", [4.2, 4.2, 4.2]), "pupil_right": ("mm", [3.1, 3.1, NAN])},
    pupil_cloud: {"pupil_left": ("mm", [3.5, NAN]), "pupil_right": ("mm", [3.6, 3.7])},
    bids: {
        "pupil_left": ("mm", [3.5, NAN, 3.4]),
        "gsr": ("uS", [1.5, NAN, 1.6]),
        "heart_rate": ("bpm", [70, 71, NAN]),
    },
    delimited: {"pupil_left": ("mm", [3.5, NAN]), "gsr": ("uS", [2, NAN])},
}


@pytest.mark.parametrize("read", FORMATS, ids=lambda read: read.__name__)
def test_signals_of_the_body_have_their_names_and_units(read: Callable[[], GazeTable]) -> None:
    table, expected = read(), FORMATS[read]
    assert table.rejects == []
    assert table.units.keys() >= expected.keys()
    for name, (unit, values) in expected.items():
        assert table.units[name] == unit, name
        np.testing.assert_allclose(table.columns[name], values, err_msg=name)


BOTH_AREAS = {"pupil_left": "a.u. (area)", "pupil_right": "a.u. (area)"}


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("sp_tool_gpl3/eyelink_data_example.asc", BOTH_AREAS),
        ("pymovements_mit/eyelink_binocular_example.asc", BOTH_AREAS),
        ("pymovements_mit/eyelink_monocular_example.asc", {"pupil_left": "a.u. (area)"}),
        ("pymovements_mit/eyelink_monocular_no_dummy_example.asc", {"pupil_left": "a.u. (area)"}),
        ("sp_tool_gpl3/smi_data_example_recording1_Samples.txt", {"pupil_left": "px"}),
    ],
)
def test_pupils_of_real_exports_come_along(real_data: Path, name: str, units: dict[str, str]) -> None:
    data = (real_data / "vendor_exports" / name).read_bytes()
    table = test_smi.read(data) if name.endswith(".txt") else test_eyelink.read(data)
    assert table.units == units
    for channel in units:
        values = table.columns[channel]
        assert np.isfinite(values).mean() > 0.7
        assert np.nanmin(values) > 0
