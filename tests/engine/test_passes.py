# SPDX-License-Identifier: Apache-2.0
"""Passes on a cluster: each piece is done once, workers keep what they made, and every fault arrives with its cause."""

from __future__ import annotations

import io
import os
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray.data
import torch
from rich.console import Console

from gazeray.engine.passes import go_through
from gazeray.engine.progress import ProgressView
from gazeray.storage import StorageError
from gazeray.study import Pass
from gazeray.tables import DataError
from tests.processes import wait_until


@dataclass(frozen=True)
class Make:
    """Leaves a file for each time that it is called (`made-...`) and for each item that is done (`done-...`)."""

    folder: Path
    fault: Exception | None = None
    fault_when_made: Exception | None = None

    def __call__(self, device: torch.device) -> Callable[[Mapping[str, Any]], None]:
        (self.folder / f"made-{os.getpid()}-{uuid.uuid4().hex}").write_text(device.type)
        if self.fault_when_made is not None:
            raise self.fault_when_made

        def do(item: Mapping[str, Any]) -> None:
            if self.fault is not None and item["key"] == "3":
                raise self.fault
            (self.folder / f"done-{item['key']}-{os.getpid()}-{uuid.uuid4().hex}").write_text(str(item["pictures"]))

        return do

    def files(self, kind: str) -> list[list[str]]:
        """The words in the names of the files of a kind."""
        return [path.name.split("-") for path in sorted(self.folder.glob(f"{kind}-*"))]


def run(make: Make, items: int, network: bool) -> str:
    """Go through so many items; returns what was shown."""
    shown = io.StringIO()
    pieces = [{"key": str(number), "pictures": [["a", number, None]]} for number in range(items)]
    go_through(Pass("looking", pieces, make, network), ProgressView(Console(file=shown, width=120)))
    return shown.getvalue()


@pytest.mark.parametrize("network", [False, True])
def test_every_item_is_done_once_with_its_own_values(ray_cluster: None, tmp_path: Path, network: bool) -> None:
    make = Make(tmp_path)
    shown = run(make, 12, network)
    done = make.files("done")
    assert Counter(words[1] for words in done) == Counter(str(number) for number in range(12))
    for path in tmp_path.glob("done-*"):
        assert path.read_text() == f"[['a', {path.name.split('-')[1]}, None]]"
    assert "looking: 12 to do" in shown
    assert "looking: 11 of 12" in shown
    assert "looking done in" in shown


def test_workers_of_a_network_make_it_once_and_share_the_items(ray_cluster: None, tmp_path: Path) -> None:
    make = Make(tmp_path)
    run(make, 12, network=True)
    makers = [words[1] for words in make.files("made")]
    assert 1 <= len(makers) <= 2
    assert len(set(makers)) == len(makers)
    assert {words[2] for words in make.files("done")} <= set(makers)
    assert {path.read_text() for path in tmp_path.glob("made-*")} == {"cpu"}


def test_nothing_to_do_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("Ray Data was asked for something")

    monkeypatch.setattr(ray.data, "from_items", refuse)
    make = Make(tmp_path)
    assert "looking done in" in run(make, 0, network=True)
    assert make.files("made") == []


def test_storage_that_fails_in_a_worker_is_a_storage_error(ray_cluster: None, tmp_path: Path) -> None:
    make = Make(tmp_path, fault=OSError("bucket is gone: No space left on device"))
    with pytest.raises(StorageError, match=r"^bucket is gone: No space left on device$"):
        run(make, 6, network=False)


def test_a_storage_fault_without_words_is_named_by_its_kind(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^TimeoutError$"):
        run(Make(tmp_path, fault=TimeoutError()), 4, network=False)


def test_lines_about_the_data_come_back_as_they_were(ray_cluster: None, tmp_path: Path) -> None:
    lines = ["no map of scene_1", 'näht: "quoted", a, b']
    with pytest.raises(DataError) as caught:
        run(Make(tmp_path, fault=DataError(lines)), 6, network=False)
    assert caught.value.errors == lines


def test_workers_of_a_pass_that_failed_are_free_again(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="3 cannot be done: KeyError: 'nobody'"):
        run(Make(tmp_path, fault=KeyError("nobody")), 6, network=True)
    wait_until(lambda: ray.available_resources().get("CPU", 0) == 2, "both CPUs to be free", 30)


def test_a_bug_names_the_item_and_the_error(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="3 cannot be done: KeyError: 'nobody'"):
        run(Make(tmp_path, fault=KeyError("nobody")), 6, network=False)


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (OSError("weights are gone"), StorageError, "^weights are gone$"),
        (ValueError("no layer9"), Exception, "cannot be done: ValueError: no layer9"),
    ],
)
def test_what_goes_wrong_while_a_worker_sets_up_is_told(
    ray_cluster: None, tmp_path: Path, fault: Exception, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        run(Make(tmp_path, fault_when_made=fault), 3, network=True)
