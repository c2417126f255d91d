# SPDX-License-Identifier: Apache-2.0
"""A dry run opens the first file of each kind: what is wrong with it shows before the job, beside the whole plan."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from gazeray.config import load_config
from gazeray.engine.cli import main
from gazeray.engine.plan import plan_lines
from gazeray.storage import Folder
from gazeray.studies import KNOWN
from gazeray.synth.reading import simulate
from gazeray.synth.reading_parameters import ReadingSimulation
from gazeray.tables import Fault
from tests.jobs.test_start import DEAR, RUN, python
from tests.running import CONFIGS, ROOT, no_report
from tests.stimuli.tiny_pictures import CSV, TABLE, encoded, jpegs, photo, write

LINES = ("data set: ", "people: ", "trials: ", "units: ")


def dry(study: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], list[str]]:
    """Exit code, what is printed, and the errors."""
    words = ["--dry-run", f"data.dataset={study / 'dataset.yaml'}", f"run.dir={study.parent / 'runs'}", "folds.outer=2"]
    known = KNOWN["heatmap"]
    code = main(known.study, known.settings.get(), "cv_heatmap", None, no_report, words, plan=known.plan)
    shown = capsys.readouterr()
    assert not (study.parent / "runs").exists()
    return code, shown.out.splitlines(), shown.err.splitlines()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    simulate(Folder(folder), ReadingSimulation(readers=4, sentences=4))
    return folder


def test_first_file_of_a_good_set_is_told_last_but_one(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, errors = dry(study, capsys)
    assert (code, errors) == (0, [])
    assert [line.startswith(start) for line, start in zip(lines, LINES, strict=False)] == [True] * 4
    assert lines[4].startswith("first samples file gaze/R01.csv: 4 trials, ")
    assert " 120 Hz, columns trial from trial, timestamp_ms from t_ms" in lines[4]
    assert lines[5].startswith("resources: ")


def damage(study: Path) -> None:
    path = study / "gaze" / "R01.csv"
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])


def rename_column(study: Path) -> None:
    for path in (study / "gaze").iterdir():
        path.write_text(path.read_text().replace("t_ms", "time"))


def other_trials(study: Path) -> None:
    path = study / "gaze" / "R01.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(f"X{row}" for row in rows)]) + "\n")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(damage, "truncated or damaged gzip", id="damaged"),
        pytest.param(rename_column, "no column 't_ms'", id="column"),
        pytest.param(other_trials, "belongs to a trial of the trials table", id="trials"),
    ],
)
def test_first_file_of_no_use_exits_2_with_the_plan_and_the_reason(
    study: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], told: str
) -> None:
    spoil(study)
    code, lines, errors = dry(study, capsys)
    assert code == 2
    assert len(errors) == 1
    assert errors[0].startswith("error: first samples file gaze/R01.csv: ")
    assert told in errors[0]
    assert [line.startswith(start) for line, start in zip(lines, (*LINES, "resources: "), strict=True)] == [True] * 5


def test_first_screen_picture_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures: dict[str, str | bytes] = {
        f"{person}r_{item}_{kind}_b.png": encoded(photo(30, 40))
        for person in (1, 2, 3, 4)
        for item, kind in ("1C", "2P")
    }
    spec = {"name": "screens", "labels": {"kind": {"C": "control", "P": "pseudoword"}}, "pictures": {"path": "*.png"}}
    write(tmp_path / "set", {**pictures, "dataset.yaml": yaml.safe_dump(spec)})
    code, lines, _ = dry(tmp_path / "set", capsys)
    assert code == 0
    assert "first picture 1r_1_C_b.png: 40 x 30 px of it are used" in lines
    (tmp_path / "set" / "1r_1_C_b.png").write_bytes(encoded(photo())[:-40])
    code, _, errors = dry(tmp_path / "set", capsys)
    assert code == 2
    assert errors[0].startswith("error: first picture 1r_1_C_b.png: cut off or damaged")


# -- pictures


def pictures_plan(folder: Path, job: str, files: dict[str, str | bytes], *words: str) -> list[str]:
    spec: dict[str, Any] = {"name": "tiny", "px_per_deg": 10, "pictures": {"path": "pictures/{stimulus}.jpg"}}
    spec |= {"fixations": TABLE, "maps": {"path": "fixmaps/{stimulus}.png"}}
    maps = {f"fixmaps/{name}.png": encoded(photo()) for name in "ac"}
    files = {**jpegs("a.jpg", "b.jpg", "c.jpg"), "fixations.csv": CSV, **maps, **files}
    write(folder, {**files, "dataset.yaml": yaml.safe_dump(spec)})
    place = [f"data.dataset={folder / 'dataset.yaml'}", f"run.dir={folder.parent / 'runs'}", "folds.outer=3"]
    known = KNOWN[job]
    cfg = load_config(known.settings.get(), CONFIGS / f"{job}.yaml", [*place, *words])
    return plan_lines(cfg, known.plan)


def test_first_picture_and_fixation_map_are_opened(tmp_path: Path) -> None:
    lines = pictures_plan(tmp_path / "good", "probe_saliency", {})
    assert lines[-3:-1] == ["first picture pictures/a.jpg: 20 x 12 px", "first fixation map fixmaps/a.png: 20 x 12 px"]
    assert not any(isinstance(line, Fault) for line in lines)
    black = encoded(Image.new("L", (20, 12)))
    lines = pictures_plan(tmp_path / "bad", "probe_saliency", {"pictures/a.jpg": "no", "fixmaps/a.png": black})
    assert [line for line in lines if isinstance(line, Fault)] == [
        "first picture pictures/a.jpg: not a picture (JPEG, PNG, BMP, GIF, TIFF, WEBP, PPM)",
        "first fixation map fixmaps/a.png: nothing is drawn: all pixels of the map are 0",
    ]


@pytest.mark.parametrize("job", ["probe_saliency", "score_maps"])
def test_opening_pictures_and_maps_imports_nothing_dear(tmp_path: Path, job: str) -> None:
    maps: dict[str, str | bytes] = {f"maps/{name}.png": encoded(photo(6, 10)) for name in "abc"}
    words = [f"maps.path={tmp_path / 'set' / 'maps'}"] if job == "score_maps" else []
    pictures_plan(tmp_path / "set", job, maps, *words)
    place = [f"data.dataset={tmp_path / 'set' / 'dataset.yaml'}", f"run.dir={tmp_path}", "folds.outer=3"]
    assert python(RUN, str(ROOT / "jobs" / f"{job}.py"), DEAR, ["--dry-run", *place, *words]) == [[0, []]]


def test_first_map_to_be_scored_is_opened(tmp_path: Path) -> None:
    maps = tmp_path / "good" / "maps"
    good: dict[str, str | bytes] = {f"maps/{name}.png": encoded(photo(6, 10)) for name in "ab"}
    lines = pictures_plan(tmp_path / "good", "score_maps", good, f"maps.path={maps}")
    assert lines[-2] == "first map a.png: 10 x 6 px"
    bad: dict[str, str | bytes] = {"maps/a.npy": "nothing", "maps/b.npy": ""}
    lines = pictures_plan(tmp_path / "bad", "score_maps", bad, f"maps.path={tmp_path / 'bad' / 'maps'}")
    fault = next(line for line in lines if isinstance(line, Fault))
    assert fault.startswith("first map a.npy: cannot be read: ")
