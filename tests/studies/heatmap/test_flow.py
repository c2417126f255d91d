# SPDX-License-Identifier: Apache-2.0
"""Data with faults of every kind, and EyeLink files with validations: trials add up, and the page says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gazeray.storage import Folder
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapStudy
from gazeray.tables import DataError
from tests.gaze.readers.test_eyelink import PREAMBLE, block
from tests.gaze.readers.test_eyelink_trials import validation
from tests.report.pages import change
from tests.studies.heatmap.test_study import SMALL, config, write_study
from tests.studies.here import faults, in_this_process, whole


def flow_of(declaration: Path, *words: str) -> dict[str, Any]:
    """The manifest's entry, without a unit being fitted."""
    study = HeatmapStudy(config(declaration, *words))
    source = study.open()
    store, _ = in_this_process(study.passes(source, Folder(study.cfg.run.dir)))
    found: dict[str, Any] = study.items(source, store).manifest["flow"]
    return found


def lines(told: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(stage and cause, or the step; people; trials) of every step."""
    return [
        (f"{step['stage']}: {step['cause']}" if step["step"] == "rejected" else step["step"], step["people"],
         step["trials"])
        for step in told["steps"]
    ]  # fmt: skip


def with_faults(folder: Path) -> Path:
    """`write_study` of six people and four trials, where of each stage something is wrong."""
    declaration = write_study(folder, {})
    root = Folder(folder)
    rows = root.read_text("trials.csv").splitlines()
    rows[1] = "P0,0,T0,"  # no label
    rows[2] = "P0,1,T1,neither"
    rows += [rows[3], "P0,,T9,a", ",3,T3,a", "P1,0,T0,a", "P7,0,T0,a", "P0,9,T9,b"]
    rows += ["P4,0,T0,a"]  # the same as there is
    root.write_text("trials.csv", "\n".join(rows) + "\n")
    gaze = [line.split(",") for line in root.read_text("gaze/P2.csv").splitlines()]
    for cells in gaze[1:]:
        if cells[0] == "1":
            cells[2] = "5000"  # off the screen
        if cells[0] == "2" and int(cells[1]) % 90:
            cells[2] = cells[3] = ""  # lost
        if cells[0] == "3":
            cells[1] = "word"  # no time
    root.write_text("gaze/P2.csv", "\n".join(",".join(cells) for cells in gaze) + "\n")
    root.write_text("gaze/P3.csv", "nothing of use\n")
    root.write_text("gaze/P8.csv", root.read_text("gaze/P4.csv"))  # of nobody
    rest = [line for line in root.read_text("gaze/P5.csv").splitlines() if not line.startswith("3,")]
    root.write_text("gaze/P5.csv", "\n".join([*rest, "8,0,200,200"]) + "\n")
    return declaration


def test_data_with_faults_add_up_to_what_is_used(tmp_path: Path) -> None:
    outcome = whole(HeatmapStudy(config(with_faults(tmp_path / "data"), *SMALL, "explain.maps=false")))
    manifest = outcome.run.read_json("manifest.json")
    told = manifest["flow"]
    first, *rejected, last = told["steps"]
    assert (first["people"], first["trials"], first["class_not_known"]) == (7, 26, 3), "P1 0 has two labels"
    assert last["trials"] == manifest["counts"]["examples"] == outcome.run.read_table("predictions.parquet").num_rows
    assert last["people"] == manifest["counts"]["participants"] == 5
    assert told["people_lost"] == ["P3", "P7"]
    for what in ("trials", "class_not_known"):
        assert first[what] == last[what] + sum(step[what] for step in rejected)
    for name in ("first", "second"):
        assert first["classes"][name] == last["classes"][name] + sum(step["classes"][name] for step in rejected)
    assert [(step["stage"], step["trials"], step["cause"][:50]) for step in rejected] == [
        ("trials", 1, "duplicate trial (presented again? say so: trials.r"),
        ("labels", 1, "label kind: 'neither' is not declared (declared: a"),
        ("labels", 1, "missing label kind"),
        ("gaze", 4, "trial without gaze: a header without rows"),
        ("gaze", 3, "trial without gaze: the file has no usable row of "),
        ("gaze", 1, "gaze entirely off the screen"),
        ("gaze", 1, "trial without gaze: no file matches gaze/{particip"),
        ("quality", 1, "lost_share 0.8889 > quality.max_lost_share 0.5"),
    ]
    assert faults(outcome.run) == []
    write_report(outcome.run)
    page = outcome.run.read_text("report.html")
    assert "2 participants lost all trials: P3, P7." in page
    assert "of files and rows that name no trial" in page
    change(outcome.run, "manifest.json", lambda told: told["flow"]["steps"][-1].update(trials=3))
    assert any("flow: trials: 26 declared" in line for line in faults(outcome.run))


def test_trials_with_long_names_are_counted_under_what_refused_them(tmp_path: Path) -> None:
    declaration = write_study(tmp_path / "data", {})
    table = declaration.with_name("trials.csv")
    table.write_text(f"{table.read_text()}P0,https://lab.org/{'a' * 90},T1,\nP0,{'b' * 1001},T1,a\n")
    told = flow_of(declaration)
    assert [(step["stage"], step["trials"]) for step in told["steps"][1:-1]] == [("trials", 1), ("labels", 1)]
    assert told["apart"] == []


def test_examples_that_no_fold_of_a_file_names_are_lost_at_the_folds(tmp_path: Path) -> None:
    declaration = write_study(tmp_path / "data", {})
    sides = ["fold,participant,trial,side", "0,P9,1,train", *(
        f"0,P{person},{trial},{'train' if person < 3 else 'val' if person == 3 else 'test'}"
        for person in range(6) for trial in range(4) if (person, trial) not in ((0, 0), (5, 3))
    )]  # fmt: skip
    (tmp_path / "folds.csv").write_text("\n".join(sides) + "\n")
    told = flow_of(declaration, f"folds.path={tmp_path / 'folds.csv'}")
    assert lines(told) == [("declared", 6, 24), ("folds: no fold names this example", 2, 2), ("used", 6, 22)]
    assert told["apart"] == [{"stage": "folds", "cause": "names no usable example", "rejects": 1}]


def test_screen_pictures_have_a_flow_by_their_names(tmp_path: Path) -> None:
    import cv2

    folder = tmp_path / "data"
    folder.mkdir()
    for person in range(4):
        for item in range(2):
            for kind in "CP":
                picture = np.full((40, 60, 3), 255, np.uint8)
                picture[5 + 3 * item : 20, 10 + 5 * person : 40] = 0
                cv2.imwrite(str(folder / f"{person}_{item}_{kind}_a.png"), picture)
    cv2.imwrite(str(folder / "3_7_X_a.png"), picture)
    cv2.imwrite(str(folder / "2_0_C_a.png"), np.full((40, 60, 3), 255, np.uint8))
    spec = {"name": "s", "labels": {"kind": {"C": "control", "P": "pseudoword"}}, "pictures": {"path": "*.png"}}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(spec))
    told = flow_of(folder / "dataset.yaml")
    assert [entry[1:] for entry in lines(told)] == [(4, 17), (1, 1), (1, 1), (4, 15)]
    assert [step["stage"] for step in told["steps"][1:-1]] == ["labels", "read"]
    assert told["steps"][0]["class_not_known"] == 1


ERRORS = (0.4, 0.6, 1.6, None, 0.5, 0.7)
"""Mean error (deg) of the validation before the trials of each of six people; the fourth has none."""


def eyelink_study(folder: Path, errors: tuple[float | None, ...] = ERRORS, **more: Any) -> Path:
    """Six people with four trials each in EyeLink files of 100 Hz."""
    rng = np.random.default_rng(1)
    rows = ["participant,trial,kind"]
    for person, error in enumerate(errors):
        text = PREAMBLE
        if error is not None:
            said = f"GOOD ERROR {error:.2f} avg. {2 * error:.2f} max  OFFSET 0.11 deg. 3.7,2.4 pix."
            text += validation(96, "L", "LEFT", said) + "\n"
        samples = []
        for trial in range(4):
            rows.append(f"P{person},{trial},{'ab'[(person + trial) % 2]}")
            place, start = rng.uniform(200, 800, 2), 100 + 1000 * trial
            samples.append(f"MSG\t{start} TRIALID {trial}")
            for step in range(90):
                x, y = place + rng.normal(0, 2, 2)
                samples.append(f"{start + 10 * step}\t{x:7.1f}\t{y:7.1f}\t  778.0\t...")
            samples.append(f"MSG\t{start + 900} TRIAL_RESULT 0")
        Folder(folder).write_text(f"asc/P{person}.asc", text + block(100, samples, hz=100))
    Folder(folder).write_text("trials.csv", "\n".join(rows) + "\n")
    spec = {
        "name": "eyelink",
        "screen": {"width_px": 1920, "height_px": 1080, "width_mm": 531, "height_mm": 299, "distance_mm": 650},
        "trials": {"path": "trials.csv", "columns": {"participant": "participant", "trial": "trial"}},
        "samples": {"reader": "eyelink", "path": "asc/{participant}.asc"},
        "labels": {"kind": {"a": "first", "b": "second"}},
        **more,
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(spec))
    return folder / "dataset.yaml"


def test_gate_refuses_by_name_what_was_validated_badly_or_not_at_all(tmp_path: Path) -> None:
    study = {
        "tracker": {"make": "SR <Research>", "rate_hz": 250},
        "calibration": {"points": 9, "accuracy_deg": 0.4},
        "screen": {"distance_mm": 700},
    }
    declaration = eyelink_study(tmp_path / "data", study=study)
    gate = "quality.max_validation_deg=1"
    outcome = whole(HeatmapStudy(config(declaration, *SMALL, "explain.maps=false", gate)))
    assert lines(outcome.run.read_json("manifest.json")["flow"]) == [
        ("declared", 6, 24),
        ("quality: validation_left_deg 1.6 > quality.max_validation_deg 1", 1, 4),
        ("quality: validation_left_deg and validation_right_deg are not known, quality.max_validation_deg 1", 1, 4),
        ("used", 4, 16),
    ]
    assert faults(outcome.run) == []
    write_report(outcome.run)
    html = outcome.run.read_text("report.html")
    page = " ".join(re.sub(r"<[^>]+>", " ", html[html.index("<main>") :]).split())
    assert "validation, left eye (deg) 20 0.40 0.40 0.60 1.60 1.60" in page
    assert "Without a validation before them: 4 of 24 trials." in page
    assert "4 validation_left_deg &gt; quality.max_validation_deg 1 P2" in page
    assert "4 validation_left_deg and validation_right_deg are not known, quality.max_validation_deg 1 P3" in page
    assert (
        "accuracy (deg) 0.4; in the files: median 0.60, 0.40 to 1.60 over trials (of the tracker’s last validation"
        in page
    )
    assert "none for 4 of 24 trials" in page
    assert "The declared accuracy of 0.4 deg is better than the files have it: the median of the validations" in page
    assert "The declared sampling rate of 250 Hz is not that of the files: by their timestamps 24 of 24 trials" in page
    assert "700 is reported, degrees are computed with 650" in page
    assert "eye tracker: make SR &lt;Research&gt;" in page
    unsaid = re.search(r"Not stated: ([^.]*)\.", page)
    assert unsaid is not None
    assert "eye tracker: model" in unsaid[1].split("; ")
    assert "doi:10.3758/s13428-023-02187-1" in page


def test_gate_on_files_without_any_validation_stops_and_says_why(tmp_path: Path) -> None:
    declaration = eyelink_study(tmp_path / "data", (None,) * 6)
    with pytest.raises(DataError, match=r"are not known, quality.max_validation_deg 1"):
        flow_of(declaration, "quality.max_validation_deg=1")


def test_facts_of_the_study_change_no_store_and_no_number(tmp_path: Path) -> None:
    plain = HeatmapStudy(config(eyelink_study(tmp_path / "data"))).open().data
    told = HeatmapStudy(config(eyelink_study(tmp_path / "data", study={"sampling": "students"}))).open().data
    assert told.spec.study != plain.spec.study
    assert told.meaning == plain.meaning
