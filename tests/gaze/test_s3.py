# SPDX-License-Identifier: Apache-2.0
"""Folders in an object store: found and read as local ones, whole after faults, silent about credentials.

The store is moto's, on this machine, behind a proxy that can break it.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.config import ConfigError, StorageConfig
from gazeray.gaze.dataset import DataError, load_dataset, open_dataset
from gazeray.storage import Folder, StorageError
from gazeray.tables import Reject
from tests.chaos.faulty_s3 import FAULTS, KEY, SECRET, FaultyS3, faulty_s3
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


AWS_NAMES = (
    *(
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with faulty_s3(BUCKET) as store:
        yield store


@pytest.fixture
def store(server: FaultyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultyS3:
    """The empty store, and an environment that says nothing about it."""
    for name in AWS_NAMES:
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in server.files():
        server.direct.delete_object(Bucket=BUCKET, Key=key)
    server.share, server.denied = 0.0, []
    return server


@pytest.fixture
def bucket(store: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the empty bucket, with the environment set so that every S3 client in this process finds it."""
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    return store.direct


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gazeray.storage.patience.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("gazeray.storage.patience.PATIENCE_S", 0.5)


@pytest.fixture(params=["pyarrow", "s3fs"])
def storage(request: pytest.FixtureRequest) -> StorageConfig:
    """Each of the clients."""
    return StorageConfig(filesystem=request.param)


def test_object_store_reads_as_a_local_folder(tmp_path: Path, bucket: Any, storage: StorageConfig) -> None:
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
    remote = Folder(f"s3://{BUCKET}/reading/one", storage)
    spec = load_dataset(f"s3://{BUCKET}/reading/one/dataset.yaml", storage)
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
        assert len(one.trials) == len(other.trials) == 2
        for trial, same in zip(one.trials, other.trials, strict=True):
            assert trial.samples is not None
            assert same.samples is not None
            for name, values in same.samples.items():
                np.testing.assert_array_equal(trial.samples[name], values)


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/nothing/here", "s3://no-such-bucket/x"])
def test_missing_prefix_is_a_clear_error(bucket: Any, uri: str, storage: StorageConfig) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(declared(), Folder(uri, storage))
    assert caught.value.errors == [f"{uri}: there is no such folder"]


def works(folder: Folder) -> bool:
    folder.write_text("deep/x.txt", "there")
    return folder.read_text("deep/x.txt") == "there" and [stat.path for stat in folder.list()] == ["deep/x.txt"]


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_endpoint_and_credentials_of_the_environment_are_used(
    store: FaultyS3, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, store.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert works(Folder(f"s3://{BUCKET}/a"))
    assert list(store.files()) == ["a/deep/x.txt"]


def test_endpoint_of_s3_alone_goes_before_the_one_of_all_services(
    store: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"{store.endpoint}/")
    assert works(Folder(f"s3://{BUCKET}/a"))


def test_endpoint_region_and_credentials_of_a_profile_are_used(
    store: FaultyS3, monkeypatch: pytest.MonkeyPatch, storage: StorageConfig
) -> None:
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(
        f"[profile lab]\nregion = eu-north-1\nendpoint_url = {store.endpoint}\n"
        f"aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    folder = Folder(f"s3://{BUCKET}/a", storage)
    assert works(folder)
    assert folder._source["region"] == "eu-north-1"


@pytest.mark.parametrize(
    "query",
    [
        "{key}:{secret}@{bucket}/a?endpoint_override={endpoint}",
        "{bucket}/a?access_key={key}&secret_key={secret}&endpoint_override=127.0.0.1:{port}&scheme=http",
    ],
)
def test_credentials_in_the_uri_are_used_and_never_shown(store: FaultyS3, query: str, storage: StorageConfig) -> None:
    uri = "s3://" + query.format(key=KEY, secret=SECRET, bucket=BUCKET, endpoint=store.endpoint, port=store.port)
    folder = Folder(uri, storage)
    assert works(folder)
    assert works(Folder(uri, storage).sub("below"))
    again = pickle.loads(pickle.dumps(folder.sub("deep")))
    assert again.read_text("x.txt") == "there"
    store.denied = [f"/{BUCKET}/a/"]
    with pytest.raises(StorageError, match="access denied") as caught:
        again.write_text("x.txt", "no")
    shown = [folder.uri, repr(folder), str(folder), repr(again), again.uri, str(caught.value), repr(caught.value)]
    assert folder.uri == f"s3://{BUCKET}/a"
    assert not [text for text in shown if KEY in text or SECRET in text]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"s3://{KEY}:{SECRET}@/x", "must look like"),
        (f"s3://{KEY}:{SECRET}/with/slash@{BUCKET}/x", "%2F"),
        (f"s3://{KEY}@{BUCKET}/x", "belong together"),
        (f"s3://{KEY}:{SECRET}@{BUCKET}/x?secret={SECRET}", "unknown options secret "),
        (f"s3://{BUCKET}/x?secret_key={SECRET}", "belong together"),
        (f"s3://{KEY}:{SECRET}@{BUCKET}/x?anonymous=maybe", "true or false"),
        (f"s3://{KEY}:{SECRET}@{BUCKET}/x?scheme=gopher&endpoint_override=h:1", "scheme"),
        (f"gs://{KEY}:{SECRET}@{BUCKET}/x?what=1", "gs"),
    ],
)
def test_uri_that_cannot_be_used_is_a_config_error_without_the_secret(store: FaultyS3, uri: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Folder(uri)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_bucket_is_named_on_writing(bucket: Any, storage: StorageConfig) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such bucket: 's3://no-such-bucket/a/x\.txt'"):
        Folder("s3://no-such-bucket/a", storage).write_text("x.txt", "no")


def test_missing_credentials_are_said(store: FaultyS3, monkeypatch: pytest.MonkeyPatch, storage: StorageConfig) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    store.denied = ["/"]
    with pytest.raises(StorageError, match=r"access denied.*no credentials: set AWS_ACCESS_KEY_ID"):
        Folder(f"s3://{BUCKET}/a", storage).write_text("x.txt", "no")


def test_dead_server_is_raised_when_patience_ends(
    store: FaultyS3, hasty: None, bucket: Any, storage: StorageConfig
) -> None:
    folder = Folder(f"s3://{BUCKET}/a?endpoint_override=http://127.0.0.1:9", storage)
    with pytest.raises(StorageError, match=r"s3://studies/a/x: tried for \d+ s: .*[Cc]onnect"):
        folder.write_text("x", "no")


def test_faulty_answers_lose_and_double_nothing(
    store: FaultyS3, bucket: Any, monkeypatch: pytest.MonkeyPatch, storage: StorageConfig
) -> None:
    monkeypatch.setattr("gazeray.storage.patience.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("tests.chaos.faulty_s3.SLOW_S", 0.05)
    folder = Folder(f"s3://{BUCKET}/a", storage)
    store.share = 0.3
    for number in range(20):
        folder.write_text(f"n/{number:02d}", str(number))
    folder.delete("n/00")
    folder.delete_folder("none")
    assert [stat.path for stat in folder.list()] == [f"n/{number:02d}" for number in range(1, 20)]
    assert [folder.read_text(f"n/{number:02d}") for number in range(1, 20)] == [str(number) for number in range(1, 20)]
    folder.delete_folder("n")
    assert folder.list() == []
    assert sum(store.seen.values()) > store.seen["none"]


def test_upload_that_breaks_in_the_middle_leaves_the_old_object(
    store: FaultyS3, bucket: Any, hasty: None, storage: StorageConfig
) -> None:
    folder = Folder(f"s3://{BUCKET}/a", storage)
    folder.write_bytes("big", b"old")
    store.share = 1.0
    store.faults = ("503",)
    store.spared = "?uploads"
    try:
        with pytest.raises(StorageError, match="s3://studies/a/big"):
            folder.write_bytes("big", bytes(12_000_000))
    finally:
        store.share, store.faults, store.spared = 0.0, FAULTS, ""
    assert store.files() == {"a/big": b"old"}
    folder.write_bytes("big", bytes(12_000_000))
    assert len(folder.read_bytes("big")) == 12_000_000


def test_fault_of_the_store_is_never_taken_for_a_file_that_is_not_there(
    store: FaultyS3, bucket: Any, hasty: None, storage: StorageConfig
) -> None:
    folder = Folder(f"s3://{BUCKET}/a", storage)
    folder.write_text("x", "there")
    store.share, store.faults = 1.0, ("503",)
    try:
        for action in (folder.list, folder.exists, lambda: folder.read_bytes("x")):
            with pytest.raises(StorageError, match="tried for"):
                action()
    finally:
        store.share, store.faults = 0.0, FAULTS
    with pytest.raises(FileNotFoundError):
        folder.read_bytes("y")


def test_options_of_s3fs_are_used_and_travel(store: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    options = {"endpoint_url": store.endpoint, "s3_additional_kwargs": {"StorageClass": "STANDARD_IA"},
               "config_kwargs": {"connect_timeout": 3}}  # fmt: skip
    folder = Folder(f"s3://{BUCKET}/a", StorageConfig(filesystem="s3fs", options=options))
    assert works(pickle.loads(pickle.dumps(folder.sub("b"))))
    classes = {one["Key"]: one["StorageClass"] for one in store.direct.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert classes["a/b/deep/x.txt"] == "STANDARD_IA"
    assert folder._fs.handler.fs.config_kwargs["connect_timeout"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"colour": 1}, r"unknown: colour \(allowed: .*client_kwargs"), ({"client_kwargs": 3}, "not a mapping")],
)
def test_option_that_s3fs_does_not_take_is_a_config_error(bucket: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Folder(f"s3://{BUCKET}/a", StorageConfig(filesystem="s3fs", options=options))


def test_unknown_profile_is_no_fault_to_wait_out(store: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StorageError, match=r"validation: .*nobody"):
        Folder(f"s3://{BUCKET}/a", StorageConfig(filesystem="s3fs")).exists("x")


def test_file_that_s3fs_leaves_undeleted_is_an_error(bucket: Any, monkeypatch: pytest.MonkeyPatch, hasty: None) -> None:
    folder = Folder(f"s3://{BUCKET}/a", StorageConfig(filesystem="s3fs"))
    folder.write_text("n/x", "there")
    monkeypatch.setattr(folder._fs.handler.fs, "rm", lambda path, recursive: None)
    with pytest.raises(StorageError, match="access denied: 1 files"):
        folder.delete_folder("n")


def test_file_system_for_other_libraries_keeps_its_patience_when_pickled(
    store: FaultyS3, bucket: Any, storage: StorageConfig
) -> None:
    system, root = Folder(f"s3://{BUCKET}/a", storage).arrow()
    system = pickle.loads(pickle.dumps(system))
    store.share, store.faults = 0.6, ("503",)
    try:
        with system.open_output_stream(f"{root}/x") as stream:
            stream.write(b"there")
    finally:
        store.share, store.faults = 0.0, FAULTS
    assert store.files() == {"a/x": b"there"}
