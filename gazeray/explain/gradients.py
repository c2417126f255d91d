# SPDX-License-Identifier: Apache-2.0
"""Maps of a class logit: plain gradient and SmoothGrad, both sensitivities, and integrated gradients, attributions.

A sensitivity says what a little more at a pixel would do to the logit, in logits per input unit; an attribution what
the pixel adds to it, in logits. All three are signed; none is rectified, normalised or reduced over channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

ROWS = 256
"""Pictures in one backward pass, at most: it bounds the memory and changes results by rounding only."""


def class_gradients(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Signed gradient of the target class logit with respect to the input, (B, C, H, W), in logits per input unit.

    Image-specific class saliency of Simonyan, Vedaldi & Zisserman (2014), arXiv:1312.6034, section 3, but neither
    rectified, nor reduced over channels, nor normalised: a positive value means that more of the input there raises
    the logit. One backward pass serves the whole batch, since in eval mode no example depends on another.

    The model runs in eval mode and every module's mode is restored afterwards; no parameter's `.grad` is touched.

    Args:
        model: pictures (B, C, H, W) to logits (B, classes).
        x: the inputs, (B, C, H, W), floating point, on the model's device. The maps have their type.
        targets: the class whose logit is explained, int64 (B,).

    Raises ValueError: shapes or types that do not fit, a target that is not one of the classes.
    """
    if targets.shape != x.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(
            f"targets must be int64 of shape ({x.shape[0]},), not {targets.dtype} of shape {tuple(targets.shape)}"
        )
    with evaluating(model), torch.enable_grad():
        pictures = x.detach().requires_grad_()
        logits: Tensor = model(pictures)
        _check_logits(logits, targets)
        chosen = logits.gather(1, targets[:, None])
        (gradients,) = torch.autograd.grad(chosen.sum(), pictures)
    return gradients


def integrated_gradients(
    model: nn.Module, x: Tensor, targets: Tensor, steps: int = 32, baseline: float = 0.0, rows: int = ROWS
) -> Tensor:
    """What each pixel adds to the target class logit on the way from the baseline to the input, (B, C, H, W), logits.

    Sundararajan, Taly & Yan (2017), arXiv:1703.01365, equation 1: the input minus the baseline, times the gradient
    averaged over the straight line between them. The average is taken at the midpoints (k + 1/2) / steps, so that the
    sum of a map comes to logit(input) - logit(baseline) as the steps grow. A pixel that equals the baseline gets 0.

    Args:
        model, x, targets: as for `class_gradients`, whose side effects (none) and errors it shares.
        steps: points on the line, at least 1.
        baseline: the value of a blank picture, where nobody looked.
        rows: pictures in one backward pass, at least 1.
    """
    shares = (torch.arange(steps, dtype=x.dtype, device=x.device) + 0.5) / steps

    def points(part: slice) -> Iterator[Tensor]:
        path = x[part] - baseline
        for share in shares.split(max(1, rows // len(path))):
            yield baseline + share.view(-1, 1, 1, 1, 1) * path

    return (x - baseline).detach() * _mean_gradients(model, points, x, targets, rows)


def smoothgrad(
    model: nn.Module,
    x: Tensor,
    targets: Tensor,
    keys: Sequence[int],
    samples: int = 16,
    noise_share: float = 0.1,
    seed: int = 0,
    rows: int = ROWS,
) -> Tensor:
    """The gradient averaged over noisy copies of the input, (B, C, H, W), in logits per input unit.

    Smilkov et al. (2017), arXiv:1706.03825, section 3. The noise is Gaussian; its standard deviation is `noise_share`
    times the range (maximum minus minimum) of that example. Copies are not clipped, so that a blank pixel may fall
    below 0. An example's noise depends on (seed, its key) alone, not on the batch it comes in nor on the device.

    Args:
        model, x, targets: as for `class_gradients`, whose side effects (none) and errors it shares.
        keys: one whole number of at least 0 per example, such as its row in the data set.
        samples: noisy copies of each example, at least 1.
        noise_share: at least 0; with 0 this is the plain gradient.
        rows: pictures in one backward pass, at least 1.
    """
    spread = noise_share * (x.amax(dim=(1, 2, 3), keepdim=True) - x.amin(dim=(1, 2, 3), keepdim=True))

    def points(part: slice) -> Iterator[Tensor]:
        generators = [np.random.default_rng([seed, key]) for key in keys[part]]
        together, left = max(1, rows // len(generators)), samples
        while left:
            shape = (min(together, left), *x.shape[1:])
            noise = np.stack([generator.standard_normal(shape, np.float32) for generator in generators], axis=1)
            yield x[part] + spread[part] * torch.from_numpy(noise).to(x)
            left -= shape[0]

    return _mean_gradients(model, points, x, targets, rows)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; every module's own mode is restored afterwards, also after an error."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _mean_gradients(
    model: nn.Module, points: Callable[[slice], Iterator[Tensor]], x: Tensor, targets: Tensor, rows: int
) -> Tensor:
    """The gradients (B, C, H, W) averaged over variants of the inputs: points(part of the examples) gives the blocks
    (K, B of the part, C, H, W)."""
    means = [x.new_empty(0, *x.shape[1:])]
    for start in range(0, len(x), rows):
        part, total, count = slice(start, start + rows), torch.zeros(()).to(x), 0
        for block in points(part):
            gradients = class_gradients(model, block.flatten(0, 1), targets[part].repeat(len(block)))
            total = total + gradients.reshape(block.shape).sum(dim=0)
            count += len(block)
        means.append(total / count)
    return torch.cat(means)


def _check_logits(logits: Tensor, targets: Tensor) -> None:
    if logits.ndim != 2 or len(logits) != len(targets):
        raise ValueError(f"the model must give logits ({len(targets)}, classes), not {tuple(logits.shape)}")
    if bool(((targets < 0) | (targets >= logits.shape[1])).any()):
        raise ValueError(f"targets must be classes 0 .. {logits.shape[1] - 1}, not {sorted(set(targets.tolist()))}")
