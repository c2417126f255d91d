# SPDX-License-Identifier: Apache-2.0
"""Cached features and the trained tail together are the network itself; nothing that is frozen changes."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor

from gazeray.config import ConfigError, load_config
from gazeray.gaze.augment import move_pictures
from gazeray.gaze.augment_config import AugmentConfig
from gazeray.models.backbone import fingerprint, loaded_network
from gazeray.models.trunk import block_names
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.emotion import pictures as emotion_pictures
from gazeray.studies.emotion.config import EmotionConfig, PictureConfig
from gazeray.studies.emotion.network import BLOCKS, IMAGENET
from gazeray.studies.emotion.pictures import (
    PictureNetwork,
    augmentation_pairs,
    open_network,
    picture_pass,
    view_affines,
)
from gazeray.studies.shared.networks import at_size
from gazeray.tables import DataError
from gazeray.weights import MEAN, STD, normalisation
from tests.studies.here import in_this_process

SIDE = 64
PLAIN = AugmentConfig()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three smooth pictures of other proportions than a square."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in ("a", "b", "c d_e"):
        rough = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        rough.resize((120, 90), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


def paths_of(folder: Path) -> dict[str, str]:
    return {path.stem: path.name for path in sorted(folder.glob("*.png"))}


def seen(
    network: PictureNetwork, pictures: Path, store: Path, augment: AugmentConfig = PLAIN, **more: Any
) -> tuple[Store, int]:
    """The store of a pass that was done in this process, and how many shards were done."""
    passes = picture_pass(network, Folder(pictures), paths_of(pictures), augment, Folder(store), 5, **more)
    found, (work,) = in_this_process(passes)
    return found, len(work.pieces)


@functools.lru_cache
def state_of(arch: str) -> Mapping[str, Tensor]:
    """Weights that no network here begins with."""
    return loaded_network(arch, None, seed=11).state_dict()


def network(arch: str, unfreeze: int, store: Path, **settings: Any) -> tuple[PictureNetwork, Mapping[str, Tensor]]:
    """A network whose weights came from elsewhere than its seed."""
    state = state_of(arch)
    cfg = PictureConfig(arch=arch, unfreeze=unfreeze, size_px=SIDE, **settings)
    opened = replace(open_network(cfg, 0), weights=state, state="5a")
    return PictureNetwork.of(cfg, opened, Folder(store), seed=0), state


def inputs(pictures: Path, mean: Any = MEAN, std: Any = STD) -> Tensor:
    """(3, 3, S, S): what a network is shown."""
    every = [np.array(Image.open(pictures / path).convert("RGB")) for path in paths_of(pictures).values()]
    small = np.stack([at_size(one, (SIDE, SIDE)).numpy() for one in every])
    values = (small / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    return torch.from_numpy(values.astype(np.float32))


def whole_pooled(arch: str, state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The pooled output of the whole network by its own forward pass, up to the pooling."""
    with torch.device("meta"):
        whole = torchvision.models.get_model(arch, weights=None).eval()
    whole.load_state_dict(state, assign=True)
    last = {"resnet18": "layer4"}.get(arch, "features")
    kept = []
    whole.get_submodule(last).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    with torch.no_grad():
        whole(x)
    return kept[0].mean((2, 3))


@pytest.mark.parametrize("arch", ["vgg16", "mobilenet_v2", "resnet18"])
def test_stored_features_and_the_tail_are_the_whole_network(arch: str, pictures: Path, tmp_path: Path) -> None:
    wanted = None
    for unfreeze in (0, 1, 2):
        own, state = network(arch, unfreeze, tmp_path)
        found, _ = seen(own, pictures, tmp_path, weights=state)
        stored = found.take(np.arange(3), ["picture"])["picture"]
        assert stored.dtype == np.float16
        assert stored.shape[:2] == (3, 1)
        with torch.no_grad():
            pooled = own.tail().eval()(torch.from_numpy(stored[:, 0]))
        if wanted is None:
            wanted = whole_pooled(arch, state, inputs(pictures))
        assert pooled.shape == (3, own.features)
        torch.testing.assert_close(pooled, wanted, rtol=0, atol=1e-3 * float(wanted.abs().max()))


def test_pictures_are_normalised_as_declared(pictures: Path, tmp_path: Path) -> None:
    """All blocks are trained, so what is stored is what the network is shown."""
    half = (0.5, 0.5, 0.5)
    for settings, (mean, std) in (({}, (MEAN, STD)), ({"mean": half, "std": half}, (half, half))):
        own, _ = network("resnet18", 5, tmp_path, **settings)
        found, _ = seen(replace(own, state="none"), pictures, tmp_path)
        stored = found.take(np.arange(3), ["picture"])["picture"][:, 0]
        np.testing.assert_allclose(stored, inputs(pictures, mean, std), rtol=0, atol=2e-3)


def test_weights_by_name_bring_their_own_normalisation() -> None:
    assert normalisation("DEFAULT", "efficientnet_v2_l") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert normalisation("IMAGENET1K_V1", "mobilenet_v2") == (MEAN, STD)
    assert normalisation("somewhere/theirs.pth", "efficientnet_v2_l") == (MEAN, STD) == IMAGENET


def test_what_is_frozen_stays_and_what_is_trained_begins_with_the_same_weights(pictures: Path, tmp_path: Path) -> None:
    own, state = network("mobilenet_v2", 2, tmp_path)
    found, _ = seen(own, pictures, tmp_path, weights=state)
    frozen, tail = own.frozen(), own.tail()
    assert not any(module.training for module in frozen.modules())
    assert not any(weight.requires_grad for weight in frozen.parameters())
    assert all(module.training for module in tail.modules())
    assert all(weight.requires_grad for weight in tail.parameters())
    theirs = {name: value for name, value in state.items() if name.startswith(("features.17.", "features.18."))}
    for mine, value in zip(tail.state_dict().values(), theirs.values(), strict=True):
        torch.testing.assert_close(mine, value, rtol=0, atol=0)
    before, began = fingerprint(frozen), [weight.detach().clone() for weight in tail.parameters()]
    optimizer = torch.optim.SGD(tail.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        tail(torch.from_numpy(found.take(np.arange(3), ["picture"])["picture"][:, 0])).square().mean().backward()
        optimizer.step()
    assert fingerprint(frozen) == before == fingerprint(own.frozen())
    assert all(not torch.equal(was, now) for was, now in zip(began, tail.parameters(), strict=True))


def test_untrained_networks_follow_the_seed(tmp_path: Path) -> None:
    cfg = PictureConfig(arch="resnet18", unfreeze=1, size_px=SIDE)
    nets = [PictureNetwork.of(cfg, open_network(cfg, seed), Folder(tmp_path), seed).tail() for seed in (3, 3, 4)]
    assert fingerprint(nets[0]) == fingerprint(nets[1]) != fingerprint(nets[2])


def test_views_are_the_network_on_moved_pictures(pictures: Path, tmp_path: Path) -> None:
    own, state = network("resnet18", 1, tmp_path)
    augment = AugmentConfig(views=3, crop=0.2)
    plain, _ = seen(own, pictures, tmp_path, weights=state)
    found, _ = seen(own, pictures, tmp_path, augment, batch_size=2)
    values = found.take(np.arange(3), ["picture", "affine"])
    once = plain.take(np.arange(3), ["picture", "affine"])
    assert values["picture"].shape == (3, 4, *once["picture"].shape[2:])
    np.testing.assert_array_equal(once["affine"], np.broadcast_to(np.eye(2, 3), (3, 1, 2, 3)))
    top = float(np.abs(once["picture"]).max())
    np.testing.assert_allclose(values["picture"][:, 0], once["picture"][:, 0], rtol=0, atol=2e-3 * top)
    frozen = own.frozen()
    for row, stimulus in enumerate(paths_of(pictures)):
        np.testing.assert_array_equal(values["affine"][row], view_affines(stimulus, augment, 5))
        for view in (1, 2, 3):
            affine = torch.from_numpy(values["affine"][row, view : view + 1])
            with torch.no_grad():
                direct = frozen(move_pictures(inputs(pictures)[row : row + 1], affine))[0].numpy()
            np.testing.assert_allclose(values["picture"][row, view], direct, rtol=0, atol=2e-3 * top)
            assert np.abs(values["picture"][row, view] - values["picture"][row, 0]).max() > 0.1
    assert len(np.unique(values["affine"][:, 1:].reshape(9, 6), axis=0)) == 9, "every view of every picture its own"


def test_a_rerun_does_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emotion_pictures, "PICTURES_PER_SHARD", 2)
    folder = tmp_path / "set"
    folder.mkdir()
    for name in "abc":
        Image.new("RGB", (SIDE, SIDE), (ord(name), 20, 200)).save(folder / f"{name}.png")
    cfg = PictureConfig(arch="resnet18", size_px=SIDE)
    own = PictureNetwork.of(cfg, open_network(cfg, 0), Folder(tmp_path), 0)
    first, done = seen(own, folder, tmp_path)
    again, redone = seen(own, folder, tmp_path)
    assert (done, redone) == (2, 0)
    assert first.content == again.content
    Image.new("RGB", (SIDE, SIDE), (255, 0, 0)).save(folder / "c.png")
    changed, redone = seen(own, folder, tmp_path)
    assert redone == 1
    assert changed.content != first.content
    one, other = (store.take(np.arange(3), ["picture"])["picture"] for store in (first, changed))
    np.testing.assert_array_equal(one[:2], other[:2])
    assert not np.array_equal(one[2], other[2])


def test_pictures_that_cannot_be_decoded_are_rejected_by_name(pictures: Path, tmp_path: Path) -> None:
    cfg = PictureConfig(arch="resnet18", size_px=SIDE)
    own = PictureNetwork.of(cfg, open_network(cfg, 0), Folder(tmp_path), 0)
    root = tmp_path / "set"
    root.mkdir()
    whole = (pictures / "a.png").read_bytes()
    for name, data in {"a": whole, "cut": whole[:300], "empty": b"", "text": b"no picture at all"}.items():
        (root / f"{name}.png").write_bytes(data)
    paths = {**paths_of(root), "gone": "gone.png"}
    found, _ = in_this_process(picture_pass(own, Folder(root), paths, PLAIN, Folder(tmp_path), 0))
    assert found.table.to_pylist() == [{"stimulus": "a"}]
    told = {one.trial: (one.source, one.stage, one.reason) for one in found.rejects}
    assert sorted(told) == ["cut", "empty", "gone", "text"]
    assert told["cut"][:2] == ("cut.png", "pictures")
    assert told["cut"][2].startswith("cut off or damaged")
    assert told["empty"][2] == "empty file"
    assert told["gone"][2].startswith("cannot be read")
    assert told["text"][2].startswith("not a picture")
    nothing = {name: path for name, path in paths.items() if name != "a"}
    none, _ = in_this_process(picture_pass(own, Folder(root), nothing, PLAIN, Folder(tmp_path), 0))
    assert len(none) == 0
    assert len(none.rejects) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unfreeze": 20}, r"picture\.unfreeze: mobilenet_v2 has no 20 blocks \(allowed: 0 to 19\)"),
        ({"arch": "vgg16", "unfreeze": 14}, r"picture\.unfreeze: vgg16 has no 14 blocks \(allowed: 0 to 13\)"),
        ({"arch": "resnet5"}, r"picture: unknown network 'resnet5': did you mean resnet50"),
        ({"arch": "vit_b_16"}, r"picture: vit_b_16 is no chain .*allowed: all networks of torchvision but"),
        ({"arch": "alexnet", "size_px": 32}, r"picture: pictures of 32 px are too small for alexnet"),
        ({"weights": "nowhere.pth"}, r"picture\.weights: nowhere\.pth: there is no such file"),
        ({"weights": "IMAGENET9K"}, r"picture\.weights: mobilenet_v2 has no weights 'IMAGENET9K': use one of"),
        ({"sha256": "0" * 64}, r"picture\.weights: a sha256 is that of a weights file"),
    ],
)
def test_networks_that_cannot_be_used_are_config_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_network(PictureConfig(**settings), 0)


def test_weights_of_another_network_are_a_config_error(tmp_path: Path) -> None:
    torch.save(loaded_network("resnet18", None, 0).state_dict(), tmp_path / "theirs.pth")
    with pytest.raises(ConfigError, match=r"picture: the weights do not fit mobilenet_v2: they lack features\.0\.0"):
        open_network(PictureConfig(weights=str(tmp_path / "theirs.pth")), 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["picture.mean=[0.5,0.5,0.5]"], "picture: .*give both of mean and std"),
        (["picture.mean=[0.5,0.5,0.5]", "picture.std=[0.5,0,0.5]"], "picture: .*std must be above 0"),
        (["augment.scale=[1.5,1]"], "augment.scale: .*smallest scale"),
        (["augment.scale=[0,1]"], "augment.scale: .*above 0"),
    ],
)
def test_settings_that_cannot_be_are_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(EmotionConfig, None, words)


@pytest.mark.parametrize("arch", BLOCKS)
def test_what_a_plan_knows_of_networks_is_so(arch: str) -> None:
    assert BLOCKS[arch] == len(block_names(arch))


def test_facts_name_what_is_trained(tmp_path: Path) -> None:
    own, _ = network("vgg16", 2, tmp_path)
    facts = own.facts
    assert (facts["blocks"], facts["trained"], facts["sha256"]) == (13, ["features.26", "features.28"], "5a")


def test_pairs_show_gaze_on_the_moved_picture(tmp_path: Path) -> None:
    """A red spot on each picture, and gaze on it: it is red under the gaze afterwards too."""
    trials, rng = [], np.random.default_rng(2)
    for number in range(12):
        row, column = rng.integers(22, 42, 2)
        picture = np.full((SIDE, SIDE, 3), 60, np.uint8)
        picture[row - 2 : row + 3, column - 2 : column + 3] = 255, 0, 0
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        gaze = (np.array([[column + 0.5, np.nan], [row + 0.5, np.nan]]) / SIDE * 2 - 1).astype(np.float32)
        trials.append((f"s{number}", f"{number}.png", gaze))
    (tmp_path / "3.png").write_bytes(b"")
    augment = AugmentConfig(views=2)
    data = np.load(io.BytesIO(augmentation_pairs(Folder(tmp_path), trials, augment, 5, SIDE)))
    assert data["stimulus"].tolist() == [f"s{number}" for number in (0, 1, 2, 4, 5, 6, 7, 8, 9, 10)]
    assert data["before"].dtype == data["after"].dtype == np.uint8
    np.testing.assert_array_equal(data["affine"][1], view_affines("s1", augment, 5)[2])
    for when in ("before", "after"):
        assert data[when].shape == (10, SIDE, SIDE, 3)
        for picture, gaze in zip(data[when], data[f"gaze_{when}"], strict=True):
            column, row = np.floor((gaze[:, 0] + 1) / 2 * SIDE).astype(int)
            assert picture[row, column, 0] > 230
            assert picture[row, column, 1] < 30
            assert np.isnan(gaze[:, 1]).all()
    with pytest.raises(ValueError, match="nothing is moved"):
        augmentation_pairs(Folder(tmp_path), trials, PLAIN, 5, SIDE)
    with pytest.raises(DataError, match="none of the pictures can be decoded"):
        augmentation_pairs(Folder(tmp_path), trials[3:4], augment, 5, SIDE)
