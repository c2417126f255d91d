# SPDX-License-Identifier: Apache-2.0
"""A study of EyeLink files from its declaration to examples, events and notes, as a job reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazeray.config import load_config
from gazeray.storage import Folder
from gazeray.store import Log, Store
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.tables import DataError
from tests.studies.here import in_this_process

PEOPLE, TRIALS = 4, 4
PLACES = ((200.0, 300.0), (500.0, 310.0), (800.0, 290.0))


def asc(seed: int, header_hz: int, eye_lost: bool) -> str:
    """A binocular recording at 500 Hz: in each trial 200 ms at each of three places, with a 20 ms saccade between."""
    rng = np.random.default_rng(seed)
    lines = ["** CONVERTED FROM made.edf using edfapi", "MSG\t1 DISPLAY_COORDS 0 0 1023 767"]
    clock = 1000
    for trial in range(TRIALS):
        lines.append(f"MSG\t{clock} TRIALID {trial}")
        lines.append(f"START\t{clock} \tLEFT\tRIGHT\tSAMPLES\tEVENTS")
        lines.append(f"SAMPLES\tGAZE\tLEFT\tRIGHT\tRATE\t{header_hz:.2f}\tTRACKING\tCR\tFILTER\t2")
        path = []
        for number, place in enumerate(PLACES):
            path += [place] * 100
            if number < 2:
                path += [tuple(np.array(place) + (np.array(PLACES[number + 1]) - place) * k / 11) for k in range(1, 11)]
        for x, y in path:
            x, y = rng.normal((x, y), 0.5)
            left = "   .\t   .\t    0.0" if eye_lost and rng.random() < 0.8 else f"{x:.1f}\t{y:.1f}\t 900.0"
            lines.append(f"{clock}\t{left}\t{x:.1f}\t{y:.1f}\t 950.0\t.....")
            clock += 2
        lines.append(f"END\t{clock} \tSAMPLES\tEVENTS\tRES\t  30.00\t  30.00")
        clock += 500
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def declaration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("eyelink")
    folder = Folder(root)
    rows = ["participant,trial,text,kind"]
    for person in range(PEOPLE):
        rows += [f"P{person},{trial},T{trial},{(person + trial) % 2}" for trial in range(TRIALS)]
        text = asc(person, 1000 if person == 1 else 500, eye_lost=person == 2)
        folder.write_bytes(f"asc/P{person}.asc", text.encode())
    folder.write_bytes("asc/._P0.asc", b"\0\5\26\7")
    folder.write_text("trials.csv", "\n".join(rows) + "\n")
    folder.write_text(
        "dataset.yaml",
        "name: vendor\nlabels: {kind: {0: one, 1: other}}\n"
        "screen: {width_px: 1024, height_px: 768, width_mm: 400, height_mm: 300, distance_mm: 600}\n"
        "trials: {path: trials.csv, columns: {participant: participant, trial: trial, stimulus: text}}\n"
        "samples: {reader: eyelink, path: 'asc/{participant}.asc'}\n",
    )
    return root / "dataset.yaml"


def config(declaration: Path, *words: str) -> HeatmapConfig:
    base = [f"data.dataset={declaration}", "render.sigma_px=40", "folds.outer=2"]
    return load_config(HeatmapConfig, None, [*base, *words])


def read(cfg: HeatmapConfig, folder: Path) -> tuple[Store, Log]:
    """The examples of a config's recordings, and what was noted on the way."""
    study = HeatmapStudy(cfg)
    store, _ = in_this_process(study.passes(study.open(), Folder(folder)))
    assert store.log is not None
    return store, store.log


@pytest.mark.parametrize("detector", ["ivt", "idt", "adaptive"])
def test_vendor_files_become_examples_fixations_and_saccades(declaration: Path, tmp_path: Path, detector: str) -> None:
    cfg = config(declaration, f"events.detector={detector}", "render.kind=both", "render.source=fixations")
    store, log = read(cfg, tmp_path)
    assert len(store) == PEOPLE * TRIALS
    assert log.rejects == []
    fixations, saccades = (store.table_of(name).to_pandas() for name in ("fixations", "saccades"))
    assert (fixations.groupby(["participant", "trial"]).size() == len(PLACES)).all()
    assert (saccades.groupby(["participant", "trial"]).size() == len(PLACES) - 1).all()
    for number, place in enumerate(PLACES):
        found = fixations.groupby(["participant", "trial"]).nth(number)
        np.testing.assert_allclose(found[["x_px", "y_px"]], np.tile(place, (PEOPLE * TRIALS, 1)), atol=8)
    quality = store.table_of("quality").to_pandas()
    np.testing.assert_allclose(quality["sampling_hz"], 500)
    assert quality["rms_s2s_deg"].between(0.005, 0.2).all()


def test_clock_is_believed_and_the_eye_is_told(declaration: Path, tmp_path: Path) -> None:
    store, log = read(config(declaration), tmp_path)
    rate = [note for note in log.notes if "1000 Hz" in note]
    assert len(rate) == 1
    assert rate[0].startswith("asc/P1.asc: ")
    assert "500 Hz" in rate[0]
    eyes = {note.split(":")[0]: note for note in log.notes if "eye" in note}
    assert "right" in eyes["asc/P2.asc"]
    assert store.table_of("quality").to_pandas()["lost_share"].max() < 0.05


def test_gate_sends_bad_trials_to_the_rejects_and_keeps_their_quality(declaration: Path, tmp_path: Path) -> None:
    spec = declaration.read_text().replace("reader: eyelink,", "reader: eyelink, eye: left,")
    left = declaration.with_name("left.yaml")
    left.write_text(spec)
    store, log = read(config(left), tmp_path)
    refused = [reject for reject in log.rejects if reject.stage == "quality"]
    assert {reject.participant for reject in refused} == {"P2"}
    assert len(refused) == TRIALS
    assert all("quality.max_lost_share 0.5" in reject.reason for reject in refused)
    quality = store.table_of("quality").to_pandas()
    assert len(quality) == PEOPLE * TRIALS
    assert (quality["gate"] != "").sum() == TRIALS


def test_degrees_without_the_screen_are_refused_before_anything_is_read(declaration: Path) -> None:
    blind = declaration.with_name("blind.yaml")
    blind.write_text(declaration.read_text().replace(", width_mm: 400, height_mm: 300, distance_mm: 600", ""))
    with pytest.raises(DataError) as caught:
        HeatmapStudy(config(blind, "events.detector=ivt", "quality.max_bcea_deg2=2")).open()
    assert [line.split(":")[0] for line in caught.value.errors] == ["events.detector", "quality.max_bcea_deg2"]


def test_header_that_contradicts_the_declared_screen_is_told(declaration: Path, tmp_path: Path) -> None:
    wide = declaration.with_name("wide.yaml")
    wide.write_text(declaration.read_text().replace("width_px: 1024", "width_px: 1920"))
    _, log = read(config(wide), tmp_path)
    told = [note for note in log.notes if "the declaration 1920" in note]
    assert len(told) == PEOPLE
    assert all("screen_width_px 1024" in note for note in told)
