# SPDX-License-Identifier: Apache-2.0
"""Gradient maps: how much each pixel, if it changed a little, would change the logit of a class."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def class_gradients(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Signed gradient of the target class logit with respect to the input, (B, C, H, W), in logits per input unit.

    Image-specific class saliency of Simonyan, Vedaldi & Zisserman (2014), arXiv:1312.6034, section 3, but neither
    rectified, nor reduced over channels, nor normalised: a positive value means that more of the input there raises
    the logit. One backward pass serves the whole batch, since in eval mode no example depends on another.

    The model runs in eval mode and every module's mode is restored afterwards; no parameter's `.grad` is touched.

    Args:
        model: pictures (B, C, H, W) to logits (B, classes).
        x: the inputs, (B, C, H, W), floating point, on the model's device.
        targets: the class whose logit is explained, int64 (B,).

    Raises ValueError: shapes or types that do not fit, a target that is not one of the classes.
    """
    if targets.shape != x.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(
            f"targets must be int64 of shape ({x.shape[0]},), not {targets.dtype} of shape {tuple(targets.shape)}"
        )
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.enable_grad():
            pictures = x.detach().requires_grad_()
            logits: Tensor = model(pictures)
            _check_logits(logits, targets)
            chosen = logits.gather(1, targets[:, None])
            (gradients,) = torch.autograd.grad(chosen.sum(), pictures)
    finally:
        for module, training in modes:
            module.training = training
    return gradients


def _check_logits(logits: Tensor, targets: Tensor) -> None:
    if logits.ndim != 2 or len(logits) != len(targets):
        raise ValueError(f"the model must give logits ({len(targets)}, classes), not {tuple(logits.shape)}")
    if bool(((targets < 0) | (targets >= logits.shape[1])).any()):
        raise ValueError(f"targets must be classes 0 .. {logits.shape[1] - 1}, not {sorted(set(targets.tolist()))}")
