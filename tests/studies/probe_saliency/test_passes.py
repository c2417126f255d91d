# SPDX-License-Identifier: Apache-2.0
"""Cached features are those of the network itself, each is computed once, and nothing changes the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from gazeray.config import load_config
from gazeray.models.backbone import Backbone, fingerprint
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.pictures.passes import PictureShards
from gazeray.studies.probe_saliency.config import BackboneConfig
from gazeray.studies.probe_saliency.passes import Extract, features_folder, features_pass
from gazeray.studies.probe_saliency.study import ProbeSaliencyConfig, ProbeSaliencyStudy
from gazeray.tables import DataError
from tests.studies.here import in_this_process
from tests.studies.pictures.picture_set import plain_set, prepared

WIDTH, HEIGHT = 128, 96
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> PictureShards:
    """Four pictures; `.store.folder` is that of the shards, the pictures lie beside it."""
    folder = tmp_path_factory.mktemp("set")
    return prepared(plain_set(folder / "set", 4, WIDTH, HEIGHT), folder / "ready")[0].shards


def extracting(shards: PictureShards, out: Path, layers: tuple[str, ...], **settings: Any) -> Extract:
    cfg = BackboneConfig(arch="resnet18", **{"longest_px": WIDTH, **settings})
    root = Folder(Path(shards.store.folder.uri).parent / "set")
    return Extract(root, Folder(out), cfg, layers, 100_000, 3, None)


def computed(shards: PictureShards, extract: Extract) -> dict[str, dict[str, np.ndarray]]:
    """{layer: {stimulus: features}}, after the pass was done in this process."""
    return looked_up(in_this_process(features_pass(shards, extract))[0], extract.layers)


def looked_up(features: Store, layers: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """{layer: {stimulus: features}} of all pictures."""
    found = features.take(np.arange(len(features)), layers)
    names = features.plain("stimulus").tolist()
    return {layer: dict(zip(names, found[layer], strict=True)) for layer in layers}


def by_torchvision(state: dict[str, torch.Tensor], picture: np.ndarray) -> dict[str, np.ndarray]:
    """The stages of a resnet18 for one picture (H, W, 3) uint8, by its own parts."""
    network = torchvision.models.resnet18(weights=None).eval()
    network.load_state_dict(state)
    x = torch.from_numpy(((picture / 255 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32))
    found = {}
    with torch.no_grad():
        x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = getattr(network, name)(x)
            found[name] = x[0].numpy()
    return found


def untrained(seed: int = 3) -> dict[str, torch.Tensor]:
    return dict(Backbone("resnet18", ["layer1"], None, seed).network.state_dict())


def opened(shards: PictureShards, stimulus: str) -> Image.Image:
    return Image.open(Path(shards.store.folder.uri).parent / "set" / "pictures" / f"{stimulus}.jpg")


def relative_difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(np.float32) - other).max() / np.abs(other).max())


def test_cached_features_are_those_of_the_network_on_the_picture(shards: PictureShards, tmp_path: Path) -> None:
    found = computed(shards, extracting(shards, tmp_path, ("layer1", "layer4"), batch_size=3))
    assert sorted(found["layer1"]) == [info.stimulus for info in shards.pictures]
    for stimulus, values in found["layer1"].items():
        assert values.dtype == np.float16
        direct = by_torchvision(untrained(), np.asarray(opened(shards, stimulus).convert("RGB")))
        assert relative_difference(values, direct["layer1"]) < 2e-3
        assert relative_difference(found["layer4"][stimulus], direct["layer4"]) < 2e-3


def test_larger_pictures_are_shrunk_as_pillow_shrinks_them(shards: PictureShards, tmp_path: Path) -> None:
    found = computed(shards, extracting(shards, tmp_path, ("layer2",), longest_px=64))["layer2"]
    for stimulus, values in found.items():
        assert values.shape == (128, 6, 8)
        small = opened(shards, stimulus).convert("RGB").resize((64, 48), Image.Resampling.BILINEAR)
        assert relative_difference(values, by_torchvision(untrained(), np.asarray(small))["layer2"]) < 0.06


def test_features_are_averaged_down_to_the_limit_of_cells(shards: PictureShards, tmp_path: Path) -> None:
    whole = computed(shards, extracting(shards, tmp_path / "whole", ("layer1", "layer3")))
    small = computed(shards, extracting(shards, tmp_path / "small", ("layer1", "layer3"), longest_cells=8))
    for stimulus, values in whole["layer1"].items():
        assert values.shape == (64, 24, 32)
        averaged = values.astype(np.float32).reshape(64, 6, 4, 8, 4).mean(axis=(2, 4))
        assert relative_difference(small["layer1"][stimulus], averaged) < 2e-3
        assert small["layer3"][stimulus].shape == (256, 6, 8)
        np.testing.assert_array_equal(small["layer3"][stimulus], whole["layer3"][stimulus])


def test_a_second_layer_computes_only_itself(shards: PictureShards, tmp_path: Path) -> None:
    together = computed(shards, extracting(shards, tmp_path / "together", ("layer2", "layer3")))
    first = extracting(shards, tmp_path / "apart", ("layer2",))
    computed(shards, first)
    file = tmp_path / "apart" / "columns" / "layer2" / "00000.safetensors"
    before = file.stat()
    both = replace(first, layers=("layer2", "layer3"))
    features, (work,) = in_this_process(features_pass(shards, both))
    assert [piece["layers"] for piece in work.pieces] == [["layer3"]]
    assert isinstance(work.make, Extract)
    assert work.make.layers == ("layer3",)
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    for layer, pictures in looked_up(features, both.layers).items():
        for stimulus, values in pictures.items():
            np.testing.assert_array_equal(values, together[layer][stimulus])


def test_a_rerun_computes_nothing(shards: PictureShards, tmp_path: Path) -> None:
    extract = extracting(shards, tmp_path, ("layer1",))
    computed(shards, extract)
    assert next(features_pass(shards, extract)).pieces == []


def test_pass_that_was_cut_before_the_note_goes_on(shards: PictureShards, tmp_path: Path) -> None:
    extract = extracting(shards, tmp_path, ("layer1", "layer2"))
    whole = computed(shards, extract)
    (tmp_path / "00000.json").unlink()
    for layer in ("layer1", "layer2"):
        again = computed(shards, extract)
        for stimulus, values in again[layer].items():
            np.testing.assert_array_equal(values, whole[layer][stimulus])
        (tmp_path / "00000.json").unlink()
        (tmp_path / "columns" / layer / "00000.safetensors").unlink()


def test_whatever_changes_features_changes_their_folder(tmp_path: Path) -> None:
    store, cfg = Folder(tmp_path), BackboneConfig()

    def name(changed: BackboneConfig = cfg, state: str = "5a", content: str = "1", seed: int = 0) -> str:
        return features_folder(store, changed, state, content, seed).uri

    others = [
        name(state="5b"),
        name(content="2"),
        name(state="none"),
        name(state="none", seed=1),
        *(
            name(cfg.model_copy(update=change))
            for change in (
                {"arch": "resnet18"},
                {"longest_px": 256},
                {"longest_cells": 32},
                {"precision": "bfloat16"},
            )
        ),
    ]
    assert len({name(), *others}) == len(others) + 1
    same = [name(seed=1), name(cfg.model_copy(update={"layers": ("layer1",), "batch_size": 1, "weights": "x.pth"}))]
    assert set(same) == {name()}


def test_a_network_that_changes_on_the_way_is_an_error(
    shards: PictureShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(self: Extract, network: Backbone, device: torch.device, infos: Any, bfloat16: bool) -> dict[str, Any]:
        network.network.get_submodule("bn1").get_buffer("running_mean").add_(1e-6)
        return {}

    monkeypatch.setattr(Extract, "run", spoil)
    with pytest.raises(RuntimeError, match="the network changed"):
        computed(shards, extracting(shards, tmp_path, ("layer1",)))
    assert not (tmp_path / "columns").exists()


def test_pictures_leave_the_network_as_it_was(shards: PictureShards, tmp_path: Path) -> None:
    extract = extracting(shards, tmp_path, ("layer1", "layer4"))
    network = Backbone("resnet18", extract.layers, None, 3)
    before = fingerprint(network)
    kept = extract.run(network, torch.device("cpu"), shards.pictures, bfloat16=False)
    assert fingerprint(network) == before
    assert sorted(kept) == [info.stimulus for info in shards.pictures]


def test_precision_is_decided_once_for_a_folder(shards: PictureShards, tmp_path: Path) -> None:
    """A run that was begun on a GPU goes on in bfloat16, wherever; one that was begun here in float32."""
    here = extracting(shards, tmp_path / "here", ("layer1",))
    plain = computed(shards, here)
    assert here.folder.read_text("precision.txt") == "float32"
    begun = extracting(shards, tmp_path / "begun", ("layer1",))
    begun.folder.write_text("precision.txt", "bfloat16")
    coarse = computed(shards, begun)
    for name, values in plain["layer1"].items():
        difference = np.abs(values.astype(np.float32) - coarse["layer1"][name]).max()
        assert 0 < difference < 0.1 * np.abs(values).max()


def test_pictures_that_changed_since_they_were_made_ready_end_the_job_by_name(tmp_path: Path) -> None:
    shards = prepared(plain_set(tmp_path / "set", 3, WIDTH, HEIGHT), tmp_path / "ready")[0].shards
    extract = extracting(shards, tmp_path / "out", ("layer1",))
    path = tmp_path / "set" / "pictures" / "a01.jpg"
    Image.open(path).resize((HEIGHT, WIDTH)).save(path)
    with pytest.raises(DataError, match=r"pictures/a01\.jpg: its size has changed"):
        computed(shards, extract)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"pictures/a01\.jpg: empty file"):
        computed(shards, extract)


def weighted(extract: Extract, folder: Path, state: dict[str, torch.Tensor]) -> Extract:
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "w.safetensors")
    return replace(extract, weights=(Folder(folder), "w.safetensors"))


def test_what_float16_cannot_hold_is_cut_to_its_largest_value(shards: PictureShards, tmp_path: Path) -> None:
    state = untrained()
    state["layer1.1.bn2.weight"] = state["layer1.1.bn2.weight"] * 1e9
    found = computed(shards, weighted(extracting(shards, tmp_path, ("layer1",)), tmp_path, state))["layer1"]
    for values in found.values():
        assert float(values.max()) == 65504
        assert np.isfinite(values).all()


def test_features_that_are_no_numbers_name_picture_and_layer(shards: PictureShards, tmp_path: Path) -> None:
    state = untrained()
    state["layer1.1.bn2.bias"] = torch.full_like(state["layer1.1.bn2.bias"], torch.nan)
    with pytest.raises(RuntimeError, match="a00: layer layer1 is not finite"):
        computed(shards, weighted(extracting(shards, tmp_path, ("layer1",)), tmp_path, state))


def test_weights_of_a_file_reach_the_features(tmp_path: Path) -> None:
    theirs = untrained(seed=11)
    torch.save({"state_dict": {f"module.{name}": value for name, value in theirs.items()}}, tmp_path / "theirs.pth")
    scenes = ["data.simulate.pictures=3", "data.simulate.width_px=128", "data.simulate.height_px=96", "folds.outer=3"]
    network = ["backbone.arch=resnet18", "backbone.layers=[layer2]"]
    kept = {}
    for weights in (f"{tmp_path}/theirs.pth", "none"):
        words = [f"run.dir={tmp_path}/runs", *scenes, *network, f"backbone.weights={weights}"]
        cfg = load_config(ProbeSaliencyConfig, None, words)
        study = ProbeSaliencyStudy(cfg)
        source = study.open()
        stores, _ = in_this_process(study.passes(source, Folder(tmp_path / "store")))
        assert study.items(source, stores).manifest["backbone"]["sha256"] == source.data.state
        kept[weights] = looked_up(stores.features, ["layer2"])["layer2"]
        root = Path(source.data.pictures.root.uri)
    loaded, control = kept.values()
    (copy,) = (tmp_path / "store" / "weights").iterdir()
    whole = copy.read_bytes()
    copy.write_bytes(whole[:1000])
    words = [f"run.dir={tmp_path}/runs", *scenes, *network, f"backbone.weights={tmp_path}/theirs.pth"]
    study = ProbeSaliencyStudy(load_config(ProbeSaliencyConfig, None, [*words, "backbone.layers=[layer1]"]))
    in_this_process(study.passes(study.open(), Folder(tmp_path / "store")))
    assert copy.read_bytes() == whole, "a copy that was cut off is written again"
    for stimulus, values in loaded.items():
        picture = np.asarray(Image.open(root / "stimuli" / f"{stimulus}.jpg").convert("RGB"))
        assert relative_difference(values, by_torchvision(theirs, picture)["layer2"]) < 2e-3
        assert relative_difference(control[stimulus], values) > 0.1
