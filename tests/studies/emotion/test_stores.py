# SPDX-License-Identifier: Apache-2.0
"""What the pictures are decides what the units are: other pixels, other results."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from gazeray.config import load_config
from gazeray.storage import Folder
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.emotion.study import EmotionStudy
from gazeray.study import Items
from tests.studies.here import in_this_process


def test_a_picture_that_changes_changes_the_units(tmp_path: Path) -> None:
    words = [
        *(f"run.dir={tmp_path}", "data.simulate.people=4", "data.simulate.pictures=5", "folds.outer=2"),
        *("signals.samples=61", "picture.arch=resnet18", "picture.size_px=32", "scanpath.side_px=32"),
    ]
    study = EmotionStudy(load_config(EmotionConfig, None, words))

    def items() -> Items:
        source = study.open()
        stores, _ = in_this_process(study.passes(source, Folder(tmp_path / "stores")))
        return study.items(source, stores)

    first, again = items(), items()
    assert first.content == again.content
    path = sorted(tmp_path.rglob("*.jpg"))[0]
    Image.open(path).rotate(180).save(path)
    changed = items()
    assert changed.content != first.content
    assert len(changed) == len(first)
    path.write_bytes(b"")
    fewer = items()
    assert fewer.content not in (first.content, changed.content)
    assert 0 < len(fewer) < len(first)
    assert sum(one.stage == "pictures" for one in fewer.rejects) == len(first) - len(fewer)
