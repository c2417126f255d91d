# SPDX-License-Identifier: Apache-2.0
"""Files are known again, or told to be others."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest

from gazeray.storage import Folder
from gazeray.storage.seals import DamagedError, Files, damages, read_sealed, write_sealed


def test_sealed_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    value = {"b": [1, 0.1, None], "a": {2: "x", 10: "y"}, "uri": "s3://me:hush@bucket/x", "word": "Blickweg ä"}
    write_sealed(folder, "a.json", value)
    assert read_sealed(folder, "a.json") == {
        "b": [1, 0.1, None], "a": {"2": "x", "10": "y"}, "uri": "s3://***@bucket/x", "word": "Blickweg ä"}  # fmt: skip
    write_sealed(folder, "again.json", read_sealed(folder, "a.json"))
    assert folder.read_bytes("again.json") == folder.read_bytes("a.json")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        pytest.param(lambda text: text[: len(text) // 2], "cut short, or no JSON", id="cut"),
        pytest.param(lambda text: "", "cut short", id="empty"),
        pytest.param(lambda text: "\0" * len(text), "cut short", id="zeros"),
        pytest.param(lambda text: "[1]", "not a JSON object", id="list"),
        pytest.param(lambda text: text.replace("0.25", "0.75"), "its digest differs", id="edited"),
        pytest.param(lambda text: text.replace("0.25", "NaN"), "its digest differs", id="nan"),
        pytest.param(lambda text: '{"score": 0.25}', "its digest differs", id="no_digest"),
    ],
)
def test_damaged_json_is_told(tmp_path: Path, harm: Any, told: str) -> None:
    folder = Folder(tmp_path)
    write_sealed(folder, "a.json", {"score": 0.25})
    folder.write_text("a.json", harm(folder.read_text("a.json")))
    with pytest.raises(DamagedError, match=told):
        read_sealed(folder, "a.json")
    with pytest.raises(FileNotFoundError):
        read_sealed(folder, "b.json")


def test_what_is_written_is_noted_and_what_is_deleted_is_not(tmp_path: Path) -> None:
    files: Files = {}
    folder = Folder(tmp_path).noting(files)
    folder.write_text("a.txt", "first")
    folder.write_text("a.txt", "last")
    folder.sub("units/one").write_text("b.txt", "b")
    folder.write_text("gone/c.txt", "c")
    folder.write_text("gone.txt", "d")
    folder.delete_folder("gone")
    folder.delete("gone.txt")
    copy.copy(folder).write_text("other.txt", "not noted")
    assert files == {
        "a.txt": {"size": 4, "sha256": hashlib.sha256(b"last").hexdigest()},
        "units/one/b.txt": {"size": 1, "sha256": hashlib.sha256(b"b").hexdigest()},
    }
    assert folder.sizes([*files, "nobody.txt", "units"]) == {"a.txt": 4, "units/one/b.txt": 1}
    assert folder.sha256("a.txt") == files["a.txt"]["sha256"]


def test_each_kind_of_damage_is_named(tmp_path: Path) -> None:
    files: Files = {}
    folder = Folder(tmp_path).noting(files)
    for name in ("whole", "short", "other", "gone", "maps/other"):
        folder.write_text(name, "what was written")
    plain = Folder(tmp_path)
    plain.write_text("short", "what")
    plain.write_text("other", "what was wRitten")
    plain.write_text("maps/other", "what was wRitten")
    plain.delete("gone")
    sizes = {stat.path: stat.size for stat in plain.list()}
    differs = "its SHA-256 differs from what was written"
    found = dict(damages(plain, files, sizes))
    assert found == {
        "short": "4 bytes, 16 were written", "other": differs, "gone": "missing", "maps/other": differs}  # fmt: skip
    assert "maps/other" not in dict(damages(plain, files, sizes, ("maps/",)))
