# SPDX-License-Identifier: Apache-2.0
"""Passes on a cluster and here: each piece is done once, workers keep what they made, and every fault has its cause."""

from __future__ import annotations

import io
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
import torch
from rich.console import Console

from gazeray.config import ResourcesConfig
from gazeray.engine.executor import Executor
from gazeray.engine.passes import raise_fault
from gazeray.engine.prepare import go_through
from gazeray.engine.progress import ProgressView
from gazeray.storage import Folder, StorageError
from gazeray.store import Shard, Store, write_shard
from gazeray.study import Pass
from gazeray.tables import DataError
from tests.processes import wait_until


@dataclass(frozen=True)
class Make:
    """Leaves a file for each time that it is called (`made-...`) and for each piece that is done (`done-...`), and an
    empty shard. faults: key of a piece -> what is raised there."""

    folder: Path
    faults: Mapping[str, Exception] = field(default_factory=dict)
    fault_when_made: Exception | None = None

    def __call__(self, device: torch.device) -> Callable[[Mapping[str, Any]], None]:
        (self.folder / f"made-{os.getpid()}-{uuid.uuid4().hex}").write_text(device.type)
        if self.fault_when_made is not None:
            raise self.fault_when_made

        def do(piece: Mapping[str, Any]) -> None:
            if piece["key"] in self.faults:
                raise self.faults[piece["key"]]
            write_shard(Folder(self.folder), piece["key"], Shard(pa.table({"key": [piece["key"]]}), {}))
            (self.folder / f"done-{piece['key']}-{os.getpid()}-{uuid.uuid4().hex}").write_text(str(piece["pictures"]))

        return do

    def files(self, kind: str) -> list[list[str]]:
        """The words in the names of the files of a kind."""
        return [path.name.split("-") for path in sorted(self.folder.glob(f"{kind}-*"))]


def pass_of(make: Make, pieces: int, network: bool = False) -> Pass:
    """A pass of so many pieces."""
    todo = [{"key": str(number), "pictures": [["a", number, None]]} for number in range(pieces)]
    return Pass("looking", todo, make, Folder(make.folder), [piece["key"] for piece in todo], network=network)


def executor(on_ray: bool, shown: io.StringIO) -> Executor:
    """Two workers on Ray, or this process."""
    return Executor(ResourcesConfig(workers=2 if on_ray else 0), 1.0, ProgressView(Console(file=shown, width=120)))


def run(work: Pass, on_ray: bool) -> tuple[Store, str]:
    """Do a pass; its store and what was shown."""
    shown = io.StringIO()
    with executor(on_ray, shown) as workers:
        return go_through(work, workers), shown.getvalue()


@pytest.fixture(params=["here", "on_ray"])
def on_ray(request: pytest.FixtureRequest) -> bool:
    """Where a pass is done."""
    if request.param == "on_ray":
        request.getfixturevalue("ray_cluster")
    return bool(request.param == "on_ray")


def test_every_piece_is_done_once_with_its_own_values(on_ray: bool, tmp_path: Path) -> None:
    make = Make(tmp_path)
    store, shown = run(pass_of(make, 12), on_ray)
    assert Counter(words[1] for words in make.files("done")) == Counter(str(number) for number in range(12))
    for path in tmp_path.glob("done-*"):
        assert path.read_text() == f"[['a', {path.name.split('-')[1]}, None]]"
    assert store.plain("key").tolist() == [str(number) for number in range(12)]
    assert "looking: 12 to do" in shown
    assert "looking: 11 of 12" in shown
    assert "looking done in" in shown
    assert "12 examples, 0 rejected, 0 of 12 packs kept" in shown


def test_workers_of_a_network_make_it_once_and_share_the_pieces(on_ray: bool, tmp_path: Path) -> None:
    make = Make(tmp_path)
    run(pass_of(make, 12, network=True), on_ray)
    assert len(make.files("done")) == 12
    makers = [words[1] for words in make.files("made")]
    assert 1 <= len(makers) <= (2 if on_ray else 1)
    assert len(set(makers)) == len(makers)
    assert {words[2] for words in make.files("done")} <= set(makers)
    if not torch.cuda.is_available():
        assert {path.read_text() for path in tmp_path.glob("made-*")} == {"cpu"}


def test_nothing_to_do_starts_nothing_and_opens_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(pass_of(Make(tmp_path), 3), on_ray=False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setattr(ray, "remote", lambda *_, **__: pytest.fail("a worker was started"))
    done = pass_of(Make(tmp_path), 3)
    store, shown = run(Pass("looking", [], done.make, done.folder, done.keys, network=True), on_ray=True)
    assert len(store) == 3
    assert "looking done in" in shown
    assert "3 of 3 packs kept" in shown
    assert len(list(tmp_path.glob("made-*"))) == 1


def test_every_kind_of_fault_comes_back_with_its_cause_and_the_other_pieces_are_done(
    on_ray: bool, tmp_path: Path
) -> None:
    lines = ["no map of scene_1", 'näht: "quoted", a, b']
    faults = {
        "1": OSError("bucket is gone: No space left on device"),
        "2": TimeoutError(),
        "3": DataError(lines),
        "4": KeyError("nobody"),
    }
    make = Make(tmp_path, faults)
    told: list[tuple[str, str, Any]] = []
    with executor(on_ray, io.StringIO()) as workers:
        workers.pieces(pass_of(make, 6), lambda *event: told.append(event))
    assert sorted(words[1] for words in make.files("done")) == ["0", "5"]
    raised: list[Exception] = []
    for event in told:
        try:
            raise_fault(*event)
        except (StorageError, DataError, RuntimeError) as error:
            raised.append(error)
    assert Counter(kind for _, kind, _ in told) == {"started": 6, "done": 2, "storage": 2, "data": 1, "bug": 1}
    assert sorted((type(error).__name__, str(error).splitlines()[0]) for error in raised) == [
        ("DataError", lines[0]),
        ("RuntimeError", "4 cannot be done: KeyError: 'nobody'"),
        ("StorageError", "TimeoutError"),
        ("StorageError", "bucket is gone: No space left on device"),
    ]
    (data,) = (error for error in raised if isinstance(error, DataError))
    assert data.errors == lines
    (bug,) = (error for error in raised if isinstance(error, RuntimeError))
    assert "in do" in str(bug), "with the traceback of the worker"


def test_piece_that_kills_its_worker_is_named(ray_cluster: None, tmp_path: Path) -> None:
    """Defined in here, so that it travels by value."""

    class Kills(Make):
        def __call__(self, device: torch.device) -> Callable[[Mapping[str, Any]], None]:
            def do(piece: Mapping[str, Any]) -> None:
                if piece["key"] == "1":
                    os.kill(os.getpid(), signal.SIGKILL)

            return do

    with pytest.raises(RuntimeError, match="1 cannot be done: the worker process died 3 times at it; was there memory"):
        run(pass_of(Kills(tmp_path), 3), on_ray=True)


@pytest.mark.nightly
def test_workers_of_a_pass_that_failed_are_free_again(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="3 cannot be done: KeyError: 'nobody'"):
        run(pass_of(Make(tmp_path, {"3": KeyError("nobody")}), 6, network=True), on_ray=True)
    wait_until(lambda: ray.available_resources().get("CPU", 0) == 2, "both CPUs to be free")


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (OSError("weights are gone"), StorageError, "^weights are gone$"),
        (ValueError("no layer9"), RuntimeError, "cannot be done: ValueError: no layer9"),
    ],
)
def test_what_goes_wrong_while_a_worker_sets_up_is_told(
    tmp_path: Path, fault: Exception, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        run(pass_of(Make(tmp_path, fault_when_made=fault), 3, network=True), on_ray=False)


@pytest.mark.nightly
def test_what_goes_wrong_while_a_worker_on_ray_sets_up_is_told(ray_cluster: None, tmp_path: Path) -> None:
    make = Make(tmp_path, fault_when_made=ValueError("no layer9"))
    with pytest.raises(RuntimeError, match="cannot be done: ValueError: no layer9"):
        run(pass_of(make, 3, network=True), on_ray=True)
