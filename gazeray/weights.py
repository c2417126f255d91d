# SPDX-License-Identifier: Apache-2.0
"""Weights of networks, from torchvision or from a file: the one place that reads what others have saved.

Files are untrusted. safetensors hold nothing but tensors; .pth files are read with weights_only, which refuses to run
code. What cannot be used ends in a WeightsError of one line that says why and what else is possible.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load as load_safetensors
from torch import Tensor

from gazeray.config import ConfigError
from gazeray.storage import Folder, masked, split_uri

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, 0..1: what nearly all of torchvision's networks expect to be removed."""

SUFFIXES = (".pth", ".pt", ".safetensors")

_ALTERNATIVES = "a local or s3:// file (.pth, .pt, .safetensors), or none (untrained)"


class WeightsError(ValueError):
    """Weights cannot be had or used. The message is one line."""


def load_weights(spec: str, arch: str, sha256: str | None = None) -> tuple[dict[str, Tensor] | None, str]:
    """The state dict that `spec` names, on the CPU, and the SHA-256 of its contents (see `state_sha256`).

    spec: "none" (untrained: returns None and "none"); a torchvision weights name of the network `arch`, such as DEFAULT
    or IMAGENET1K_V2; a local path or s3:// URI of a .pth, .pt or .safetensors file with a state dict, bare or under
    "state_dict", "model_state_dict" or "model". sha256: of the file, hexadecimal; checked.

    Raises WeightsError for a name that the network does not have, a failed download, a file that is missing, damaged,
    of another SHA-256, or holds more or other things than finite real tensors.
    """
    is_file = "/" in spec or "\\" in spec or spec.endswith(SUFFIXES)
    if sha256 is not None and not is_file:
        raise WeightsError(f"a sha256 is that of a weights file, and {spec!r} is none: leave it out")
    if spec == "none":
        return None, "none"
    state = _from_file(spec, sha256) if is_file else _from_torchvision(spec, arch)
    return state, state_sha256(state)


def normalisation(spec: str, arch: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of red, green and blue, 0..1, that pictures must be freed of for these weights.

    Weights that torchvision has by name say it themselves; for all others they are ImageNet's.
    """
    known = torchvision.models.get_model_weights(arch).__members__
    if spec not in known:
        return MEAN, STD
    theirs = known[spec].transforms()
    return tuple(theirs.mean), tuple(theirs.std)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of tensors, whatever their order and device."""
    found = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _from_torchvision(name: str, arch: str) -> dict[str, Tensor]:
    if arch not in torchvision.models.list_models():
        raise WeightsError(f"torchvision has no network {arch!r}, hence no weights {name!r}")
    known = torchvision.models.get_model_weights(arch)
    if name not in known.__members__:
        names = ", ".join(known.__members__)
        raise WeightsError(f"{arch} has no weights {name!r}: use one of {names}; {_ALTERNATIVES}")
    try:
        state = known[name].get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError) as error:
        reason = f"weights {name} of {arch} could not be downloaded ({_first_line(error)})"
        raise WeightsError(
            f"{reason}: fetch {known[name].url} elsewhere and name the file, or use {_ALTERNATIVES}"
        ) from error
    return _state_dict(state, f"weights {name} of {arch}")


def _from_file(spec: str, sha256: str | None) -> dict[str, Tensor]:
    shown = masked(spec)
    if not spec.partition("?")[0].endswith(SUFFIXES):
        raise WeightsError(f"{shown}: weights must be {_ALTERNATIVES}, or a torchvision weights name")
    data = _read(spec, shown)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise WeightsError(f"{shown}: its SHA-256 is {found}, not {sha256.lower()}: it is another file, or damaged")
    read = load_safetensors if spec.partition("?")[0].endswith(".safetensors") else _load_pth
    try:
        loaded: Any = read(data)
    except Exception as error:  # a damaged archive raises almost anything
        reason = _why_unreadable(data, error, read is _load_pth)
        raise WeightsError(f"{shown}: {reason}; use {_ALTERNATIVES}, or a torchvision weights name") from error
    return _state_dict(loaded, shown)


def _load_pth(data: bytes) -> Any:
    with warnings.catch_warnings(action="ignore"):  # what torch warns of here, it then refuses, or is no concern
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _why_unreadable(data: bytes, error: Exception, pth: bool) -> str:
    """Why the contents of a file cannot be used, in our words: torch's own advise to read the file unsafely."""
    if not data:
        return "the file is empty"
    if not pth:
        return "cut off, damaged, or no safetensors file"
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):  # so torch names what it does not unpickle
        return f"it holds more than tensors ({found[1][:100]}), and such a file can run code: save a state_dict() alone"
    if not data.startswith((b"PK", b"\x80")):
        return "no file of torch.save"
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return "a TorchScript archive, which holds code: save a state_dict() alone"
    return "cut off, damaged, or no file of torch.save"


def _read(spec: str, shown: str) -> bytes:
    try:
        if "://" in spec:
            folder, name = split_uri(spec)
            return Folder(folder).read_bytes(name)
        path = Path(spec).expanduser().absolute()
        return Folder(path.parent).read_bytes(path.name)
    except (OSError, ConfigError) as error:
        known = {"FileNotFoundError": "there is no such file", "IsADirectoryError": "it is a folder"}
        reason = known.get(type(error).__name__) or _first_line(error)
        raise WeightsError(f"{shown}: {reason}; use {_ALTERNATIVES}, or a torchvision weights name") from error


def _state_dict(loaded: Any, shown: str) -> dict[str, Tensor]:
    """The tensors by name. Raises WeightsError when `loaded` is something else."""
    if isinstance(loaded, Mapping):
        wrappers = ("state_dict", "model_state_dict", "model")
        loaded = next((loaded[key] for key in wrappers if isinstance(loaded.get(key), Mapping)), loaded)
    if not isinstance(loaded, Mapping) or not loaded:
        raise WeightsError(f"{shown}: it holds no state dict (names and tensors), but a {type(loaded).__name__}")
    strange = next((key for key, value in loaded.items() if not isinstance(value, Tensor)), None)
    if strange is not None:
        raise WeightsError(f"{shown}: it holds no state dict: {strange!r} is not a tensor")
    for key, value in loaded.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_complex():
            raise WeightsError(f"{shown}: {key!r} is not a dense tensor of real numbers ({_kind(value)})")
        comparable = value.float() if value.element_size() == 1 else value  # 8 bits have no arithmetic of their own
        if value.is_floating_point() and not bool(torch.isfinite(comparable).all()):
            raise WeightsError(f"{shown}: {key!r} holds values that are not finite: it was damaged, or training failed")
    return {str(key): value for key, value in loaded.items()}


def _kind(tensor: Tensor) -> str:
    words = [tensor.layout, tensor.dtype] if tensor.layout != torch.strided else [tensor.dtype]
    return " ".join(str(word).removeprefix("torch.") for word in words) + (", without values" if tensor.is_meta else "")


def _first_line(error: Exception) -> str:
    """What went wrong, in one line of at most 200 characters."""
    lines = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", masked(str(error))).strip().splitlines()
    return (lines[0].strip() if lines else type(error).__name__)[:200]
