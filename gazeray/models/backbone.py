# SPDX-License-Identifier: Apache-2.0
"""Pretrained networks as frozen feature extractors: any torchvision classification network, any of its layers."""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torchvision
from torch import Tensor, nn

from gazeray.models.norms import measured_norms
from gazeray.weights import MEAN, STD, state_sha256

_HEADS = ("fc", "classifier", "heads", "head", "AuxLogits", "aux1", "aux2")
"""What networks call the parts behind their features."""

_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
"""Names in torchvision's published files that its networks no longer use."""

Layout = Literal["channels_first", "channels_last", "tokens"]


@dataclass(frozen=True)
class Layer:
    """A module whose output has places: its layout, its height for a picture of 224 px, its place in the order of last
    calls, and how often it is called in a forward pass (a shared ReLU is called several times)."""

    layout: Layout
    height: int
    order: int
    calls: int


class _Done(Exception):
    """The last wanted layer has been computed: nothing more is needed of the network."""


def _close_first(wanted: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(wanted, known, n=5)
    meant = f"did you mean {', '.join(close)}? " if close else ""
    return f"{meant}valid: {', '.join(known)}"


def _network(arch: str, **settings: Any) -> nn.Module:
    if arch in ("googlenet", "inception_v3"):  # their weights were made for another scaling, which this converts to
        settings |= {"init_weights": True, "transform_input": True}
    network: nn.Module = torchvision.models.get_model(arch, weights=None, **settings).eval()
    return network


@functools.lru_cache(maxsize=8)
def _layers(arch: str) -> dict[str, Layer]:
    """Every module with a spatial output, in the order of the network, from dry runs without values.

    A picture that is twice as wide changes one axis of such an output: the last (channels first) or the one before it.
    """
    check_known(arch)
    network = empty_network(arch)
    square = _shapes(network, 224, 224)
    if isinstance(network, torchvision.models.VisionTransformer):
        wide = {name: (0, *shape[1:]) for name, (shape, _, _) in square.items()}
        n_tokens = (224 // network.patch_size) ** 2 + 1
    else:
        wide, n_tokens = {name: shape for name, (shape, _, _) in _shapes(network, 224, 448).items()}, 0
    found = {}
    for name, (shape, order, calls) in square.items():
        changed = [axis for axis, side in enumerate(shape) if side != wide[name][axis]]
        if n_tokens and len(shape) == 3 and shape[1] == n_tokens:
            found[name] = Layer("tokens", 224 // int(network.patch_size), order, calls)  # type: ignore[arg-type]
        elif len(shape) == 4 and (changed == [3] or (n_tokens and shape[2] == shape[3] > 1)):
            found[name] = Layer("channels_first", shape[2], order, calls)
        elif len(shape) == 4 and changed == [2]:
            found[name] = Layer("channels_last", shape[1], order, calls)
    return {name: found[name] for name, _ in network.named_modules() if name in found}


def _shapes(network: nn.Module, height_px: int, width_px: int) -> dict[str, tuple[tuple[int, ...], int, int]]:
    """Each module's output shape, place in the order of last calls and number of calls; `network` is on meta."""
    found: dict[str, tuple[tuple[int, ...], int, int]] = {}
    total = 0

    def note(name: str, output: Any) -> None:
        nonlocal total
        total += 1
        if isinstance(output, Tensor):
            found[name] = (tuple(output.shape), total, found.get(name, ((), 0, 0))[2] + 1)

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in network.named_modules()
        if name
    ]
    with torch.no_grad():
        network(torch.empty(1, 3, height_px, width_px, device="meta"))
    for hook in hooks:
        hook.remove()
    return found


def check_known(arch: str) -> None:
    """Raises ValueError for a network that torchvision does not have, with those that can be used."""
    known = [name for name in torchvision.models.list_models(module=torchvision.models) if name != "maxvit_t"]
    if arch not in known:  # maxvit_t takes pictures of one size only
        raise ValueError(f"unknown network {arch!r}: {_close_first(arch, known)}")


def empty_network(arch: str) -> nn.Module:
    """A network without values, on the device meta: for dry runs."""
    try:
        with torch.device("meta"):
            return _network(arch)
    except NotImplementedError:  # networks that compute their widths with tensors
        return _network(arch).to("meta")


def loaded_network(arch: str, state: Mapping[str, Tensor] | None, seed: int) -> nn.Module:
    """A network in evaluation mode with a state, or untrained; see `Backbone`. Raises ValueError: it does not fit."""
    if state is not None:
        state = _renamed(state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(arch, **_input_side(arch, state))
        if state is None:
            with measured_norms(network) as any_norms:
                if any_norms:
                    network(nn.functional.interpolate(torch.randn(4, 3, 16, 16), (128, 128), mode="bicubic"))
    if state is not None:
        _load(network, arch, state)
    return network


def default_layers(arch: str) -> list[str]:
    """The last four stages of a network; of a vision transformer four evenly spaced blocks.

    A stage ends where the resolution changes: layer1 to layer4 of resnet50, the last ReLUs of three stages and the
    last pooling of vgg16. Raises ValueError for an unknown network, with the valid ones.
    """
    layers = _layers(arch)
    blocks = [name for name in layers if re.fullmatch(r"encoder\.layers\.encoder_layer_\d+", name)]
    if blocks:
        return [blocks[(quarter + 1) * len(blocks) // 4 - 1] for quarter in range(4)]
    for trunk in ("features.", "layers.", "trunk_output.", ""):
        children = [name for name in layers if re.fullmatch(re.escape(trunk) + r"[^.]+", name)]
        if len(children) >= 4:
            break
    last = {layers[name].height: name for name in children}
    return list(last.values())[-4:]


class Backbone(nn.Module):
    """A frozen network: pictures (B, 3, h, w), float 0..1, RGB, to {layer: activations (B, C, h', w')}.

    It stays in evaluation mode and no parameter takes gradients. ImageNet's mean and standard deviation are removed
    inside, and the forward pass ends with the last wanted layer. A vision transformer takes pictures of one size: they
    are scaled to it along the longest side, the other side rounded to whole patches, the rest filled with the mean
    colour; the class token and the patches of the filling are dropped from its activations.

    Args:
        arch: a torchvision classification network by name.
        layers: names of modules whose output has places, such as `default_layers`.
        state: a state dict of the network; "module." before all names is removed, a classifier may be missing or of
            another size. None: untrained, initialised from `seed`, the statistics of its batch normalisations taken
            from smooth noise (else activations would grow from block to block).

    Raises ValueError for an unknown network or layer, with the valid ones, the close ones first; for a state that does
    not fit, with its first key that does not.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, arch: str, layers: Sequence[str], state: Mapping[str, Tensor] | None, seed: int) -> None:
        super().__init__()
        known = _layers(arch)
        for layer in layers:
            if layer not in known:
                raise ValueError(f"{arch} has no layer {layer!r} with places: {_close_first(layer, list(known))}")
        if not layers or len(set(layers)) < len(layers):
            raise ValueError(f"name at least one layer, and each once: {list(layers)}")
        self.arch, self.layers = arch, tuple(layers)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        self.network = loaded_network(arch, state, seed)
        self.requires_grad_(False)
        self.eval()
        self._found: dict[str, Tensor] = {}
        self._last = max(layers, key=lambda layer: known[layer].order)
        self._calls = 0
        for layer in layers:
            self.network.get_submodule(layer).register_forward_hook(self._keeper(layer, known[layer]))

    def train(self, mode: bool = True) -> Backbone:
        """Does nothing: a frozen network stays in evaluation mode."""
        super().train(False)
        return self

    def _keeper(self, name: str, layer: Layer) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            kept = output.movedim(-1, 1) if layer.layout == "channels_last" else output
            self._found[name] = kept.detach().clone()  # a ReLU that works in place would overwrite it
            if name == self._last:
                self._calls += 1
                if self._calls == layer.calls:
                    raise _Done

        return keep

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Activations by layer, in the order of `layers`, in the precision of the network (or of autocast).

        Raises ValueError for another shape than (B, 3, h, w).
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3:
            raise ValueError(f"pictures must be (B, 3, h, w), not {tuple(pictures.shape)}")
        patches: tuple[int, int] | None = None
        network, side = self.network, 0
        if isinstance(network, torchvision.models.VisionTransformer):
            side = network.image_size
            pictures, patches = _fitted(pictures, side, network.patch_size)
        pictures = (pictures - self.mean) / self.std
        if patches:
            pictures = nn.functional.pad(pictures, (0, side - pictures.shape[3], 0, side - pictures.shape[2]))
        self._found, self._calls = {}, 0
        with contextlib.suppress(_Done):
            network(pictures)
        found = {layer: self._found[layer] for layer in self.layers}
        self._found = {}
        return found if patches is None else {layer: _cropped(kept, patches) for layer, kept in found.items()}


def _fitted(pictures: Tensor, side: int, patch: int) -> tuple[Tensor, tuple[int, int]]:
    """Pictures scaled to a longest side of `side` px, both sides whole patches; and the patches (rows, columns)."""
    height, width = pictures.shape[2:]
    rows, columns = (max(1, round(length / max(height, width) * side / patch)) for length in (height, width))
    size = (rows * patch, columns * patch)
    return nn.functional.interpolate(pictures, size, mode="bilinear", antialias=True), (rows, columns)


def _cropped(kept: Tensor, patches: tuple[int, int]) -> Tensor:
    """Activations (B, C, rows, columns) of a vision transformer, without class token and filling."""
    if kept.ndim == 3:
        side = round((kept.shape[1] - 1) ** 0.5)
        kept = kept[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    return kept[:, :, : patches[0], : patches[1]]


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state under the names that networks use now, without the prefix that DataParallel adds."""
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    names = {name: name.removeprefix(prefix) for name in state}
    for pattern, new in _RENAMED:
        names = {old: pattern.sub(new, name) for old, name in names.items()}
    return {names[old]: value for old, value in state.items()}


def _input_side(arch: str, state: Mapping[str, Tensor] | None) -> dict[str, int]:
    """The picture size of a vision transformer whose weights were trained at another size than 224 px."""
    positions = state.get("encoder.pos_embedding") if state is not None and arch.startswith("vit_") else None
    if positions is None or positions.ndim != 3:
        return {}
    return {"image_size": round((positions.shape[1] - 1) ** 0.5) * int(arch.rpartition("_")[2])}


def without_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without the parts behind the features, which may be most of it."""
    return {name: value for name, value in _renamed(state).items() if name.split(".")[0] not in _HEADS}


def _load(network: nn.Module, arch: str, state: Mapping[str, Tensor]) -> None:
    """Load a state. Raises ValueError that names the first key that does not fit; the classifier does not matter."""
    wanted = network.state_dict()
    used = {}
    for name, value in wanted.items():
        if name not in state:
            if name.split(".")[0] in _HEADS or name.endswith("num_batches_tracked"):
                continue
            raise ValueError(f"the weights do not fit {arch}: they lack {name} {tuple(value.shape)}")
        if state[name].shape != value.shape:
            if name.split(".")[0] in _HEADS:
                continue
            theirs = tuple(state[name].shape)
            raise ValueError(f"the weights do not fit {arch}: {name} is {theirs}, not {tuple(value.shape)}")
        used[name] = state[name]
    extra = next((name for name in state if name not in wanted and name.split(".")[0] not in _HEADS), None)
    if extra is not None:
        raise ValueError(f"the weights do not fit {arch}: it has no {extra}")
    network.load_state_dict(used, strict=False)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over all parameters and buffers of a model: equal before and after, it has not changed."""
    return state_sha256({**dict(model.named_parameters()), **dict(model.named_buffers())})
