# SPDX-License-Identifier: Apache-2.0
"""Weights from torchvision and from files: what fits is read, what is damaged, strange or dangerous is refused."""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import ResNet18_Weights

from gazeray.weights import WeightsError, load_weights, state_sha256


@pytest.fixture
def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.randn(3, 4, generator=generator), "a.n": torch.tensor(7), "b.bias": torch.zeros(2)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Bomb:
    """Unpickled without care it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_none_is_untrained() -> None:
    assert load_weights("none", "resnet18") == (None, "none")


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
def test_files_give_the_state_and_the_same_identity(tmp_path: Path, state: dict[str, Tensor], name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    found, identity = load_weights(str(path), "resnet18", hashlib.sha256(path.read_bytes()).hexdigest().upper())
    assert found is not None
    assert same(found, state)
    assert identity == state_sha256(state)


def test_a_uri_is_opened_like_a_path(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "w.safetensors")
    found, _ = load_weights(f"file://{tmp_path}/w.safetensors", "resnet18")
    assert found is not None
    assert same(found, state)
    with pytest.raises(WeightsError, match="no such file"):
        load_weights(f"file://{tmp_path}/other.safetensors", "resnet18")


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_that_wraps_the_state_is_opened(tmp_path: Path, state: dict[str, Tensor], wrapper: str) -> None:
    torch.save({wrapper: state, "epoch": 3}, tmp_path / "w.pth")
    found, _ = load_weights(str(tmp_path / "w.pth"), "resnet18")
    assert found is not None
    assert same(found, state)


def test_identity_changes_with_names_values_types_and_shapes_alone(state: dict[str, Tensor]) -> None:
    first = state_sha256(state)
    assert state_sha256(dict(reversed(state.items()))) == first
    weight = state["a.weight"]
    changed = weight.clone()
    changed[0, 0] += 1e-6
    for other in (changed, weight.double(), weight.reshape(4, 3)):
        assert state_sha256({**state, "a.weight": other}) != first
    assert state_sha256({"a.n": state["a.n"], "b.bias": state["b.bias"], "a.Weight": weight}) != first


def test_a_file_with_code_is_refused_and_the_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Bomb(tmp_path / "exploded")}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"more than tensors \(posix\.mkdir\)") as caught:
        load_weights(str(tmp_path / "w.pth"), "resnet18")
    assert not (tmp_path / "exploded").exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 40, -20])
def test_a_truncated_file_is_refused(tmp_path: Path, state: dict[str, Tensor], name: str, kept: int) -> None:
    whole = tmp_path / f"whole-{name}"
    save_file(state, whole) if whole.suffix == ".safetensors" else torch.save(state, whole)
    (tmp_path / name).write_bytes(whole.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=name):
        load_weights(str(tmp_path / name), "resnet18")


def test_another_zip_archive_is_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("notes.txt", "not weights")
    (tmp_path / "w.pth").write_bytes(data.getvalue())
    with pytest.raises(WeightsError, match=r"no file of torch\.save"):
        load_weights(str(tmp_path / "w.pth"), "resnet18")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param([1, 2], "but a list", id="list_is_no_state"),
        pytest.param({}, "no state dict", id="empty_is_no_state"),
        pytest.param({"a": torch.zeros(1), "b": 3}, "'b' is not a tensor", id="number_is_no_tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        load_weights(str(tmp_path / "w.pth"), "resnet18")


def scripted() -> bytes:
    """An archive with the one file that tells TorchScript from a state dict."""
    data = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, data)
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    return data.getvalue()


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file")
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("w.pth", torch.nn.Linear(2, 3), r"more than tensors \(torch.nn.modules.linear.Linear\).*state_dict\(\) alone"),
        ("w.pth", {"state_dict": {"a": torch.zeros(1)}, "made": Path("x")}, r"more than tensors \(pathlib"),
        ("w.pth", scripted(), "TorchScript"),
        ("w.pth", b"", "empty"),
        ("w.safetensors", b"", "empty"),
        ("w.pth", b"hello world, no weights " * 40, "no file of torch.save"),
        ("w.pth", b"\x80\x04junk" * 40, "no file of torch.save"),
        ("w.pth", b"PK\x03\x04junk" * 40, "cut off, damaged"),
        ("w.safetensors", b"hello world, no weights " * 40, "cut off, damaged, or no safetensors"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_our_words(
    tmp_path: Path, name: str, content: Any, reason: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        torch.save(content, tmp_path / name)
    with pytest.raises(WeightsError, match=f"{name}: .*{reason}.*; use a local or s3:// file.*weights name$") as caught:
        load_weights(str(tmp_path / name), "resnet18")
    said = str(caught.value)
    assert said.isprintable()
    assert "weights_only" not in said
    assert "trust" not in said


def test_a_cut_file_is_called_so(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:-20])
    with pytest.raises(WeightsError, match="cut off, damaged"):
        load_weights(str(tmp_path / "w.pth"), "resnet18")


def test_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "w.pth").mkdir()
    began = time.monotonic()
    with pytest.raises(WeightsError, match="it is a folder; use a local"):
        load_weights(str(tmp_path / "w.pth"), "resnet18")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, state: dict[str, Tensor], dtype: torch.dtype, value: float
) -> None:
    torch.save({**state, "c.weight": torch.tensor([[1.0, value]]).to(dtype)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"'c\.weight' holds values that are not finite"):
        load_weights(str(tmp_path / "w.pth"), "resnet18")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool])
def test_the_largest_values_of_a_type_are_finite(tmp_path: Path, dtype: torch.dtype) -> None:
    largest = True if dtype == torch.bool else (torch.finfo if dtype.is_floating_point else torch.iinfo)(dtype).max
    torch.save({"a": torch.tensor([largest], dtype=dtype)}, tmp_path / "w.pth")
    assert load_weights(str(tmp_path / "w.pth"), "resnet18")[0] is not None


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.zeros(2, dtype=torch.complex64), r"\(complex64\)"),
        (torch.zeros(4, device="meta"), "without values"),
        (torch.zeros(4).to_sparse(), "sparse_coo float32"),
    ],
)
def test_tensors_that_are_no_weights_are_refused_by_name(tmp_path: Path, tensor: Tensor, kind: str) -> None:
    torch.save({"a": torch.zeros(1), "b": tensor}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=f"'b' is not a dense tensor of real numbers .*{kind}"):
        load_weights(str(tmp_path / "w.pth"), "resnet18")


def test_another_sha256_is_refused_with_both(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "w.safetensors")
    actual = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=f"{actual}, not {'0' * 64}"):
        load_weights(str(tmp_path / "w.safetensors"), "resnet18", "0" * 64)


def test_a_sha256_without_a_file_is_refused() -> None:
    with pytest.raises(WeightsError, match="leave it out"):
        load_weights("none", "resnet18", "0" * 64)


def test_a_missing_file_names_the_alternatives(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such file; use a local or s3:// file .* none"):
        load_weights(str(tmp_path / "w.pth"), "resnet18")


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="weights must be a local or s3"):
        load_weights(str(tmp_path / "w.onnx"), "resnet18")


def test_credentials_of_a_uri_are_not_shown() -> None:
    with pytest.raises(WeightsError) as caught:
        load_weights("s3://key:hushhush@bucket/w.onnx", "resnet18")
    assert "hushhush" not in str(caught.value)


def test_an_unknown_weights_name_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError, match=r"IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT; a local or s3"):
        load_weights("IMAGENET21K", "resnet50")


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(WeightsError, match="no network 'resnet7'"):
        load_weights("DEFAULT", "resnet7")


def test_a_failed_download_names_the_address_and_the_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_internet(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", no_internet)
    with pytest.raises(
        WeightsError, match=r"no route to host.*https://.*\.pth elsewhere.* s3:// file .* or none"
    ) as caught:
        load_weights("DEFAULT", "resnet18")
    assert "\n" not in str(caught.value)


def test_a_download_is_read_with_weights_only_and_its_hash_checked(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]
) -> None:
    asked: dict[str, Any] = {}

    def download(self: Any, **settings: Any) -> dict[str, Tensor]:
        asked.update(settings)
        return state

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", download)
    found, identity = load_weights("IMAGENET1K_V1", "resnet18")
    assert found is not None
    assert same(found, state)
    assert identity == state_sha256(state)
    assert asked["weights_only"] is True
    assert asked["check_hash"] is True
