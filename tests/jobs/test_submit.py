# SPDX-License-Identifier: Apache-2.0
"""`ray job submit` as cluster/README.md shows it, to a cluster that the test starts and stops."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import descendants

ROOT = Path(__file__).parents[2]
DEADLINE_S = 480
WORDS = [
    *("data.simulate.readers=6", "data.simulate.sentences=4", "folds.outer=2", "train.epochs=2", "model.width=2"),
    *("scores.resamples=100", "scores.permutations=99"),
]

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@dataclass(frozen=True)
class Head:
    """A cluster of one machine: the address for jobs, and the environment of whoever talks to it."""

    address: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """`ray start --head` with free ports and a folder and a token of its own."""
    port, gcs, client, agent = free_ports(4)
    scratch = tempfile.mkdtemp(prefix="gr-", dir="/tmp")  # sockets lie below it, and their paths may have 107 bytes
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TMPDIR": scratch,
    }
    environment.pop("PYTHONPATH", None)
    command = ["ray", "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={scratch}", f"--port={gcs}"]
    command += [f"--dashboard-port={port}", f"--ray-client-server-port={client}"]
    command += [f"--dashboard-agent-listen-port={agent}", "--object-store-memory=200000000"]
    with (Path(scratch) / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=scratch, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(port, process, Path(scratch) / "log")
        yield Head(f"http://127.0.0.1:{port}", environment)
    finally:
        stop(process)
        shutil.rmtree(scratch, ignore_errors=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and all below it, and nothing else: asked first, killed where that does not do."""
    below = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    for pid in [process.pid, *below]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(timeout=10)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + DEADLINE_S
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"no head at port {port}:\n{log.read_text()}")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, since nothing may write below the working directory while it is sent."""
    folder = tmp_path_factory.mktemp("checkout") / "gazeray"
    folder.mkdir()
    for name in ("gazeray", "jobs", "configs", "cluster", "tests/jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".rayignore", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    with (folder / "gazeray" / "__init__.py").open("a") as init:
        init.write('\nprint("this is the gazeray that was sent")\n')
    return folder


def submit(head: Head, checkout: Path, run_dir: Path, *words: str) -> tuple[int, str]:
    """The README's command with this address and run.dir, and more words; returns its exit code and what it showed."""
    readme = (checkout / "cluster" / "README.md").read_text()
    line = re.findall(r"^ray job submit .*$", readme, re.MULTILINE)[0]
    command = shlex.split(line.replace("http://127.0.0.1:8265", head.address))
    assert command[-1] == "run.dir=s3://your-bucket/runs"
    command[-1] = f"run.dir={run_dir}"
    done = subprocess.run(
        [*command, *WORDS, *words],
        env=head.environment,
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, done.stdout


def test_submitted_job_shows_its_table_writes_its_report_and_exits_0(
    head: Head, checkout: Path, tmp_path: Path
) -> None:
    code, shown = submit(head, checkout, tmp_path / "runs")
    assert code == 0, shown
    assert "this is the gazeray that was sent" in shown
    assert re.search(r"^balanced accuracy +\d\.\d{3} ", shown, re.MULTILINE), shown
    assert "4 of 4, none left" in shown
    (report,) = (tmp_path / "runs").glob("cv_heatmap-*/report.html")
    assert f"report: {report}" in shown
    assert "succeeded" in shown


def test_submitted_job_with_a_bad_config_exits_1_and_its_log_names_the_key(
    head: Head, checkout: Path, tmp_path: Path
) -> None:
    code, shown = submit(head, checkout, tmp_path / "runs", "folds.uter=3")
    assert code == 1, shown
    assert "error: folds.uter: unknown key; did you mean outer?" in shown
    assert "exit code 2" in shown
    assert not (tmp_path / "runs").exists()


def test_submission_without_the_token_is_refused(head: Head, checkout: Path, tmp_path: Path) -> None:
    stranger = Head(head.address, {**head.environment, "RAY_AUTH_MODE": "disabled"})
    code, shown = submit(stranger, checkout, tmp_path / "runs")
    assert code == 1
    assert "Unauthorized" in shown or "authentication" in shown.lower()
    assert not (tmp_path / "runs").exists()
