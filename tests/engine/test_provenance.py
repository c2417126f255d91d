# SPDX-License-Identifier: Apache-2.0
"""What the manifest says of how its numbers came about, and that a second command leaves standing what it said."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gazeray
from gazeray.engine import provenance
from gazeray.engine.provenance import OF_A_COMMAND, command, cpu_model, driver, earlier_commands, total
from gazeray.engine.run import RunFolder, read_manifest
from gazeray.storage.seals import write_sealed
from tests.engine.toy import BlobStudy, Says, config, do


def code_in(package: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is said of a package that lies there."""
    monkeypatch.setattr(gazeray, "__file__", str(package / "__init__.py"))
    return provenance.code.__wrapped__()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in a git checkout without changes."""
    for name, value in {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_DIR": "/nowhere"}.items():
        monkeypatch.setenv(name, value)  # as in a hook of git: of another checkout
    package = tmp_path / "checkout" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
    return package


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", folder, *words], env={}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_of_the_checkout_and_whether_it_was_changed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(checkout.parent, "rev-parse", "HEAD")
    assert code_in(checkout, monkeypatch) == {"commit": head, "dirty": False}
    (checkout / "new.py").write_text("")
    assert code_in(checkout, monkeypatch) == {"commit": head, "dirty": True}
    (checkout / "new.py").unlink()
    (checkout / "__init__.py").write_text("1")
    assert code_in(checkout, monkeypatch) == {"commit": head, "dirty": True}


def test_installed_package_has_no_commit_even_within_a_checkout_of_something_else(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = checkout / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert code_in(installed, monkeypatch) is None
    assert code_in(tmp_path, monkeypatch) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_in(checkout, monkeypatch) is None, "no git on this machine"


def test_command_is_quoted_and_holds_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["python", "-m", "pdb", "jobs/a job.py", "run.dir=s3://key:hush-hush@lab/runs", "folds.outer=2"]
    monkeypatch.setattr(sys, "orig_argv", words)
    assert command() == "python -m pdb 'jobs/a job.py' 'run.dir=s3://***@lab/runs' folds.outer=2"


def test_machine_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = driver()
    assert found["cpu"] == cpu_model() != ""
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf 'NVIDIA H100\\nNVIDIA H100\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert provenance.gpu_models() == ["NVIDIA H100", "NVIDIA H100"]
    smi.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert provenance.gpu_models() == []


def test_machines_of_a_cluster_add_up() -> None:
    machines = [{"CPU": 16.0, "GPU": 2.0, "accelerator_type:H100": 1.0}, {"CPU": 4.0}, {"CPU": 8.0, "GPU": 1.0,
                "accelerator_type:A100": 1.0}]  # fmt: skip
    assert total(machines) == {"machines": 3, "cpus": 28.0, "gpus": 3.0, "gpu_models": ["A100", "H100"]}


# -- in the manifest of a run


def test_second_command_keeps_what_the_manifest_said_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = BlobStudy(config(tmp_path), (Says("one", fault=ValueError("no")), Says("two")), fitted=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "first.py"])
    run = do(study)[0].run
    first = run.read_json("manifest.json")
    assert (first["command"], first["earlier"], first["status"]) == ("python first.py", [], "failed")
    assert first["machine"]["device"] == "cpu"
    assert set(first["stages"]) == {"looking at the data", "drawing blobs", "units", "scoring"}
    assert set(first["seconds"]) == {"two"}
    assert first["seconds_total"] >= sum(first["stages"].values()) - 0.01
    monkeypatch.setattr(sys, "orig_argv", ["python", "second.py"])
    do(replace(study, more=(Says("one"), Says("two"))))
    second = run.read_json("manifest.json")
    assert (second["command"], second["status"]) == ("python second.py", "done")
    assert second["earlier"] == [{key: first[key] for key in OF_A_COMMAND}]
    assert set(second["seconds"]) == {"one", "two"}
    assert second["seconds_total"] > first["seconds_total"]
    do(replace(study, more=(Says("one"), Says("two"))))
    assert run.read_json("manifest.json") == second, "it did nothing"
    do(replace(study, more=(Says("one"), Says("two"), Says("three"))))
    third = run.read_json("manifest.json")
    assert [one["command"] for one in third["earlier"]] == ["python first.py", "python second.py"]


def test_commands_on_other_data_are_forgotten_with_their_results(tmp_path: Path) -> None:
    study = BlobStudy(config(tmp_path), (Says("one"),), fitted=False)
    run = do(study)[0].run
    write_sealed(run, "manifest.json", {**read_manifest(run), "seconds_total": 1e6})
    do(replace(study, content="other content"))
    manifest = run.read_json("manifest.json")
    assert manifest["earlier"] == []
    assert manifest["seconds_total"] < 1e6


def test_killed_command_is_kept_as_far_as_it_got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = BlobStudy(config(tmp_path), (Says("one"),), fitted=False)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", lambda *words: None)
        do(study)
    run = do(study)[0].run
    (first,) = run.read_json("manifest.json")["earlier"]
    assert (first["status"], first["finished"]) == ("running", None)
    assert "stages" not in first


def test_manifest_of_an_earlier_version_says_nothing_of_commands() -> None:
    assert earlier_commands(None) == []
    assert earlier_commands({"status": "done", "job": "toy"}) == [{"status": "done"}]
