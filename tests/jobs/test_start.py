# SPDX-License-Identifier: Apache-2.0
"""What people wait for: --help, a typo and a plan import nothing that takes seconds and is not needed for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gazeray.config import ConfigError, load_config
from gazeray.models.backbone import default_layers
from gazeray.models.heatmap_cnn import SMALLEST_SIDE
from gazeray.studies import KNOWN, Known
from gazeray.studies.heatmap.config import SMALLEST_SIDE_PX
from gazeray.studies.probe_saliency.source import RESNETS, STAGES
from gazeray.tables import DataError
from tests.running import CONFIGS, ROOT

DEAR = ("matplotlib", "ray", "scipy", "sklearn", "torch", "torchvision")
SCENES = ["data.simulate.pictures=6", "data.simulate.width_px=96", "data.simulate.height_px=64", "folds.outer=3"]
COMMANDS = {
    "cv_heatmap": (["--help"], ["train.epoch=3"], ["--dry-run", "data.simulate.readers=8"]),
    "cv_emotion": (["--help"], ["train.epoch=3"], ["--dry-run", "data.simulate.people=4", "data.simulate.pictures=4"]),
    "tune_emotion": (
        ["--help"],
        ["train.epoch=3"],
        ["--dry-run", "data.simulate.people=8", "data.simulate.pictures=4"],
    ),
    "probe_saliency": (["--help"], ["score.metric=[nss]"], ["--dry-run"]),
    "score_maps": (["--help"], ["score.metric=[nss]"], ["--dry-run"]),
    "report": (["--help"], ["nowhere"]),
    "validate_run": (["--help"],),
}
CODES = [0, 2, 0]
SIMULATED = ("cv_heatmap", "cv_emotion", "tune_emotion")
"""Their plans read the simulated study, so that it must be there."""

RUN = """
import json, runpy, sys
job, dear, *lines = map(json.loads, sys.argv[1:])
found = []
for words in lines:
    sys.argv = [job, *words]
    try:
        runpy.run_path(job, run_name="__main__")
    except SystemExit as end:
        found.append([end.code, [name for name in dear if name in sys.modules]])
print(json.dumps(found))
"""


def python(code: str, *words: object) -> Any:
    """What a fresh interpreter prints last, as JSON."""
    argv = [sys.executable, "-c", code, *map(json.dumps, words)]
    done = subprocess.run(argv, cwd=ROOT, text=True, capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("job", COMMANDS)
def test_answers_that_need_no_network_import_none(job: str, tmp_path: Path) -> None:
    place = [] if job in ("report", "validate_run") else [f"run.dir={tmp_path}"]
    lines = [[*words, *place] for words in COMMANDS[job]]
    found = python(RUN, str(ROOT / "jobs" / f"{job}.py"), DEAR, *lines)
    assert found == [[code, []] for code in CODES[: len(lines)]]
    assert [path.name for path in tmp_path.iterdir()] == (["data"] if job in SIMULATED else [])


@pytest.mark.parametrize("study", KNOWN)
def test_configs_import_nothing_dear(study: str) -> None:
    module = f"gazeray.studies.{KNOWN[study].settings.place.partition(':')[0]}"
    code = f"import json, sys, {module}; print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))"
    argv = [sys.executable, "-c", code, "cv2", *DEAR]
    done = subprocess.run(argv, cwd=ROOT, text=True, capture_output=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", KNOWN)
def test_parts_of_a_study_are_where_they_are_said_to_be(name: str) -> None:
    known = KNOWN[name]
    assert known.study.get().name == name
    assert known.study(known.settings.get()()).cfg == known.settings.get()()
    assert callable(known.plan.get())
    assert callable(known.report.get())


# -- what stands in for something dear says the same


def scenes(known: Known, folder: Path, *words: str) -> Any:
    """A config of a study on small embedded scenes."""
    job = next(name for name, other in KNOWN.items() if other is known)
    return load_config(known.settings.get(), CONFIGS / f"{job}.yaml", [f"run.dir={folder}", *SCENES, *words])


@pytest.mark.parametrize("name", ["probe_saliency", "score_maps"])
def test_the_plan_of_scenes_that_are_not_there_is_that_of_scenes_that_are(name: str, tmp_path: Path) -> None:
    known = KNOWN[name]
    cfg = scenes(known, tmp_path)
    planned = list(known.plan(cfg))
    assert not list(tmp_path.iterdir())
    found = list(known.study(cfg).open().lines)
    by_the_run = [line.replace(", painted by the run", "").replace(", drawn by the run", "") for line in planned]
    assert by_the_run[:1] + by_the_run[2:] == found[:1] + found[2:]
    about, real = (lines[1].split("; ") for lines in (by_the_run, found))
    assert about[:2] == real[:2] == ["pictures: 6", "observers: 10"]
    assert int(about[2].split()[-1]) == pytest.approx(int(real[2].split()[-1]), rel=0.1)


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        (["folds.outer=7"], DataError, "6 pictures, fewer than folds.outer = 7"),
        (["targets.sigma_deg=1"], ConfigError, "px_per_deg"),
        (["folds.path=nowhere.csv"], DataError, "nowhere.csv"),
    ],
)
def test_scenes_that_do_not_suffice_are_refused_without_painting_them(
    words: list[str], error: type[Exception], told: str, tmp_path: Path
) -> None:
    for name in ("probe_saliency", "score_maps"):
        cfg = scenes(KNOWN[name], tmp_path, *words)
        with pytest.raises(error, match=told):
            KNOWN[name].plan(cfg)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arch", RESNETS)
def test_stages_are_the_default_layers(arch: str) -> None:
    assert default_layers(arch) == list(STAGES)


def test_the_smallest_picture_is_that_of_the_network() -> None:
    assert SMALLEST_SIDE_PX == SMALLEST_SIDE
