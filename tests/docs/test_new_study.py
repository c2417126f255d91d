# SPDX-License-Identifier: Apache-2.0
"""docs/new_study.md shows a whole study: its code runs as it stands there, is killed in the middle and run again."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import wait_until

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "new_study.md"
MOST_LINES = 150
SMALL = ["resources.workers=0", "folds.outer=3"]
LONG = [*SMALL, "train.epochs=80", "train.patience=80"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The blocks of the page in one file."""
    blocks = re.findall(r"```python\n(.*?)```", DOC.read_text(), flags=re.DOTALL)
    assert sum(len(block.splitlines()) for block in blocks) <= MOST_LINES
    path = tmp_path_factory.mktemp("toy") / "toy.py"
    path.write_text("\n\n".join(blocks))
    return path


def here(toy: Path, *words: str) -> int:
    """The script in this process; its exit code."""
    before, sys.argv = sys.argv, [str(toy), *words]
    try:
        runpy.run_path(str(toy), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    raise AssertionError("the script did not say how it ended")


def start(toy: Path, *words: str) -> subprocess.Popen[str]:
    """The script in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(toy), *words], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def run_of(folder: Path) -> Path:
    (run,) = folder.glob("toy-*")
    return run


def test_it_is_formatted_and_without_lint(toy: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(ROOT / "pyproject.toml"), "--config", f"src=['{ROOT}']", str(toy)]
    subprocess.run([*ruff, "check", *config], check=True)
    subprocess.run([*ruff, "format", "--check", *config], check=True)


def test_dry_run_prints_the_plan_and_fits_nothing(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here(toy, "--dry-run", f"run.dir={tmp_path}", *SMALL) == 0
    assert capsys.readouterr().out.splitlines() == [
        "people: 24, pairs: 24",
        "units: 3 x 3 folds",
        "resources: 1 CPU per unit; units at the same time: one, in this process",
    ]
    assert not list(tmp_path.glob("toy-*"))


def test_a_wrong_key_is_named_with_the_allowed_ones(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here(toy, f"run.dir={tmp_path}", "data.poeple=3") == 2
    assert "data.poeple: unknown key; did you mean people?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_an_effect_nothing_is_found_in_the_gaze(toy: Path, tmp_path: Path) -> None:
    assert here(toy, f"run.dir={tmp_path}", *SMALL, "data.effect=0") == 0
    rows = json.loads((run_of(tmp_path) / "metrics.json").read_text())["rows"]
    for key in ("network", "dwell"):
        low, high = rows[key]["balanced_accuracy"]["ci95"]
        assert low < 0.5 < high, key
    assert rows["others"]["balanced_accuracy"]["ci95"][0] > 0.5  # people like the same pictures: that needs no gaze


def checked(run: Path) -> bytes:
    """metrics.json of a run that says what it should."""
    text = (run / "metrics.json").read_bytes()
    metrics = json.loads(text)
    assert metrics["study"] == "toy"
    assert metrics["failed"] == []
    assert {key: one["kind"] for key, one in metrics["predictors"].items()} == {
        "network": "model",
        "dwell": "baseline",
        "others": "baseline",
    }
    scores = {key: row["balanced_accuracy"] for key, row in metrics["rows"].items()}
    assert scores["network"]["gain"]["others"]["ci95"][0] > 0
    assert scores["network"]["n"] > 500
    assert (run / "report.html").is_file()
    assert (run / "per_item.parquet").is_file()
    return text


@pytest.mark.slow
@pytest.mark.nightly
def test_a_kill_in_the_middle_changes_no_byte(toy: Path, tmp_path: Path) -> None:
    killed = start(toy, f"run.dir={tmp_path / 'killed'}", *LONG)

    def begun() -> list[Path]:
        return list((tmp_path / "killed").glob("toy-*/units/fold-1/checkpoint/*.state"))

    try:
        wait_until(lambda: bool(begun()) or killed.poll() is not None, "a checkpoint of the second fold")
        killed.send_signal(signal.SIGKILL)
    finally:
        said, _ = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said
    run = run_of(tmp_path / "killed")
    assert (run / "units" / "fold-0" / "result.json").is_file()
    assert not (run / "units" / "fold-1" / "result.json").exists()
    assert not (run / "metrics.json").exists()
    done = (run / "units" / "fold-0" / "result.json").stat().st_mtime_ns

    again = start(toy, f"run.dir={tmp_path / 'killed'}", *LONG)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert "24 of 24 packs kept" in said
    assert (run / "units" / "fold-0" / "result.json").stat().st_mtime_ns == done
    assert here(toy, f"run.dir={tmp_path / 'undisturbed'}", *LONG) == 0
    assert checked(run) == checked(run_of(tmp_path / "undisturbed"))


@pytest.mark.slow
@pytest.mark.nightly
def test_on_ray_it_gives_the_same_bytes(toy: Path, tmp_path: Path) -> None:
    on_ray = start(toy, f"run.dir={tmp_path / 'ray'}", "resources.workers=2", "folds.outer=3")
    said, _ = on_ray.communicate(timeout=300)
    assert on_ray.returncode == 0, said
    assert here(toy, f"run.dir={tmp_path / 'here'}", *SMALL) == 0
    assert checked(run_of(tmp_path / "ray")) == checked(run_of(tmp_path / "here"))
