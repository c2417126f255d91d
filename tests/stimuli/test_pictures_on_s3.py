# SPDX-License-Identifier: Apache-2.0
"""A set of pictures in an object store."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from gazeray.config import StorageConfig
from gazeray.stimuli.dataset import open_pictures
from gazeray.stimuli.decode import read_picture
from gazeray.storage import Folder
from tests.chaos.faulty_s3 import faulty_s3
from tests.stimuli.tiny_pictures import CSV, declared, jpegs, write

BUCKET = "pictures"


@pytest.mark.parametrize("client", ["pyarrow", "s3fs"])
def test_object_store_reads_as_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    local = write(tmp_path, {**jpegs("a.jpg", "b.jpg"), "fixations.csv.gz": gzip.compress(CSV.encode())})
    with faulty_s3(BUCKET) as store:
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        for stat in local.list():
            store.direct.put_object(Bucket=BUCKET, Key=f"one/{stat.path}", Body=local.read_bytes(stat.path))
        remote = Folder(f"s3://{BUCKET}/one", StorageConfig(filesystem=client))
        far, near = (open_pictures(declared(), root) for root in (remote, local))
        assert far.pictures == near.pictures
        assert far.content == near.content
        assert [gaze.x_px.tolist() for gaze in far.gaze.values()] == [gaze.x_px.tolist() for gaze in near.gaze.values()]
        pictures = [read_picture(found.root, found.pictures[0].path, 1000) for found in (far, near)]
        assert (pictures[0] == pictures[1]).all()
