# SPDX-License-Identifier: Apache-2.0
"""Damaged EyeLink and SMI files: always a table or a ReadError, and never more rows than lines."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gazeray.gaze.readers import GazeTable, ReadError
from tests.gaze.readers import test_eyelink, test_smi

VARIANTS = 300
LINES = 150
"""Real files are cut to so many lines, so that 300 variants are quick."""

ODD = [
    b"\x00",
    b"\xff",
    b"\t",
    b" ",
    b".",
    b'"',
    b"\n",
    b"\r",
    b"1e999",
    b"-",
    b"\xc3",
    b"nan",
    b"9" * 30,
    b"START\t5\n",
]
BINOCULAR = test_eyelink.PREAMBLE + test_eyelink.block(
    100,
    ["SFIX L   100", *(test_eyelink.row(100 + step, step, 2, 3, 4, tail="\t.....") for step in range(20)),
     "SBLINK R 105", "EBLINK R 105\t109\t5", "EFIX L   100\t110\t11\t 4.0\t 5.0\t 700", "MSG\t111 TRIALID 2",
     "EFIX R   103\t110\t8\t 4.0\t 5.0\t 700", test_eyelink.row(120, 1, 1, 1, 1, tail="\t.....")],
    test_eyelink.BOTH,
)  # fmt: skip
MADE = {
    "eyelink_monocular": ("eyelink", test_eyelink.random_file(1, 1).encode()),
    "eyelink_binocular": ("eyelink", BINOCULAR.encode()),
    "smi_iview": ("smi", test_smi.IVIEW.encode()),
    "smi_begaze": ("smi", test_smi.BEGAZE.encode()),
    "smi_events": ("smi", test_smi.EVENTS.encode()),
    "smi_statistics": ("smi", test_smi.STATISTICS.encode()),
}
REAL = {
    "eyelink": [
        "pymovements_mit/eyelink_binocular_example.asc",
        "pymovements_mit/eyelink_monocular_example.asc",
        "pymovements_mit/eyelink_monocular_no_dummy_example.asc",
        "sp_tool_gpl3/eyelink_data_example.asc",
    ],
    "smi": ["pymovements_mit/didec_example.txt", "sp_tool_gpl3/smi_data_example_recording1_Samples.txt"],
}


def cases() -> dict[str, tuple[str, bytes]]:
    """The files made here, and the beginnings of the real ones where there are some."""
    found = dict(MADE)
    if folder := os.environ.get("GAZERAY_REAL_DATA"):
        for reader, names in REAL.items():
            for name in names:
                lines = (Path(folder) / "vendor_exports" / name).read_bytes().split(b"\n")
                first = next((at for at, line in enumerate(lines) if line.startswith((b"START", b"Time\t"))), 0)
                kept = lines[first : first + LINES]
                found[Path(name).stem] = (reader, b"\n".join(lines[:10] + kept + lines[-3:]))
    return found


CASES = cases()


def damaged(data: bytes, variant: int, rng: np.random.Generator) -> bytes:
    """Flip, insert, delete, cut or shuffle; every third variant suffers twice."""
    kind = variant % 5
    where = int(rng.integers(0, max(len(data), 1)))
    if kind == 0:
        values = bytearray(data)
        for at in rng.integers(0, len(values), rng.integers(1, 8)) if values else []:
            values[at] = rng.integers(0, 256)
        data = bytes(values)
    elif kind == 1:
        data = data[:where] + ODD[rng.integers(len(ODD))] + data[where:]
    elif kind == 2:
        data = data[:where] + data[where + int(rng.integers(1, 40)) :]
    elif kind == 3:
        data = data[:where] if rng.random() < 0.5 else data[where:]
    else:
        lines = data.split(b"\n")
        data = b"\n".join(lines[index] for index in rng.permutation(len(lines)))
    return damaged(data, int(rng.integers(0, 5)), rng) if variant % 3 == 2 and rng.random() < 0.7 else data


def attempt(reader: str, data: bytes, variant: int) -> GazeTable | None:
    read = test_eyelink.read if reader == "eyelink" else test_smi.read
    kind = "samples" if variant % 4 else "fixations"
    more: dict[str, object] = {"eye": ("best", "left", "right", "mean")[variant % 7 % 4]}
    if variant % 5 == 1:
        more["messages"] = {"start": "(TRIALID|start|Scene) *(?P<trial>\\w*)", "end": "RESULT|End"}
    try:
        return read(data, kind, **more)
    except ReadError:
        return None


@pytest.mark.parametrize("name", CASES)
def test_damaged_file_gives_a_table_or_a_read_error(name: str) -> None:
    reader, data = CASES[name]
    rng = np.random.default_rng(11)
    tables = 0
    for variant in range(VARIANTS):
        text = damaged(data, variant, rng)
        table = attempt(reader, text, variant)
        if table is None:
            continue
        tables += 1
        lines = text.replace(b"\r", b"\n").count(b"\n") + 1
        assert len(np.unique(table.rows)) <= table.n_rows <= lines
        assert (
            len(table.rows) == len(table.codes) == len(set(zip(table.rows.tolist(), table.codes.tolist(), strict=True)))
        )
        assert table.rows.max(initial=1) <= lines
        assert all(values.shape == table.rows.shape for values in table.columns.values())
        assert all(np.isfinite(values).all() for key, values in table.columns.items() if key.endswith("_ms"))
        assert all(0 <= code < len(table.ids) for code in table.codes)
        assert all(reject.reason and reject.row <= lines for reject in table.rejects)
    assert tables > VARIANTS // 20
