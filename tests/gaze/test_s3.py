# SPDX-License-Identifier: Apache-2.0
"""A data set in an object store reads exactly as from a local folder. The store is moto's, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from gazeray.gaze.dataset import DataError, load_dataset, open_dataset
from gazeray.storage import Folder
from gazeray.tables import Reject
from tests.gaze.tiny_dataset import FILES, GAZE, declared, read_all, write, zipped

BUCKET = "studies"
DECLARATION = """
name: tiny
labels: {condition: {C: control, P: pseudoword}}
screen: {width_px: 1000, height_px: 500}
trials: {path: trials.csv, columns: {participant: participant, trial: trial}}
samples: {reader: delimited, path: 'gaze/{participant}.csv',
  columns: {trial: trial, timestamp_ms: t, x_px: x, y_px: y}}
"""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an empty bucket, with the environment set so that every S3 client in this process finds it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    server.stop()


def test_object_store_reads_as_a_local_folder(tmp_path: Path, bucket: Any) -> None:
    files = {
        **FILES,
        "gaze/P2.csv": zipped(GAZE),
        "gaze/P9.csv": GAZE,
        "gaze/._P1.csv": "x",
        "dataset.yaml": DECLARATION,
    }
    local = write(tmp_path, files)
    for stat in local.list():
        bucket.put_object(Bucket=BUCKET, Key=f"reading/one/{stat.path}", Body=local.read_bytes(stat.path))
    remote = Folder(f"s3://{BUCKET}/reading/one")
    spec = load_dataset(f"s3://{BUCKET}/reading/one/dataset.yaml")
    assert spec == load_dataset(tmp_path / "dataset.yaml")
    (there, far), (here, near) = read_all(remote, spec), read_all(local, spec)
    assert there.trials.equals(here.trials)
    assert (
        there.rejects
        == here.rejects
        == [Reject("gaze/P9.csv", -1, "read", "participant 'P9' is not in the trials table", "P9")]
    )
    assert [recording.key for recording in there.recordings] == ["P1", "P2"]
    assert [recording.size for recording in there.recordings] == [recording.size for recording in here.recordings]
    assert [found.sha256 for found in far] == [found.sha256 for found in near]
    for one, other in zip(far, near, strict=True):
        assert one.rejects == other.rejects == []
        assert one.quality == other.quality
        assert len(one.trials) == len(other.trials) == 2
        for trial, same in zip(one.trials, other.trials, strict=True):
            assert trial.samples is not None
            assert same.samples is not None
            for name, values in same.samples.items():
                np.testing.assert_array_equal(trial.samples[name], values)


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/nothing/here", "s3://no-such-bucket/x"])
def test_missing_prefix_is_a_clear_error(bucket: Any, uri: str) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(declared(), Folder(uri))
    assert caught.value.errors == [f"{uri}: there is no such folder"]
