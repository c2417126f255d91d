# SPDX-License-Identifier: Apache-2.0
"""Whether a map is worth reading: does it change with the weights, and does it find what the model uses?

Both checks are cheap to fail. A map that looks the same on a network with random weights shows the picture, not the
model; a map whose best pixels can be blanked without harm to the prediction does not show what the prediction rests on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gazeray.explain.gradients import ROWS, evaluating
from gazeray.models.norms import measured_norms

Method = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, x (B, C, H, W), targets (B,)) to signed maps (B, C, H, W)."""

_ORDER_STREAM = 1
"""Keeps the random orders apart from the noise of SmoothGrad under the same seed and key."""


def map_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Spearman rank correlation of |a| and |b|, (B,) float64 in -1..1: over all C x H x W values of each example.

    The similarity of Adebayo et al. (2018), arXiv:1810.03292, section 3. Tied values share their mean rank. NaN where
    one of the two maps (B, C, H, W) is constant. Raises ValueError: two shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"two maps to compare must have one shape, not {tuple(a.shape)} and {tuple(b.shape)}")
    ranks = [_ranks(values.detach().double().abs().flatten(1)) for values in (a, b)]
    one, two = (values - values.mean(dim=1, keepdim=True) for values in ranks)
    found = (one * two).sum(dim=1) / (one.norm(dim=1) * two.norm(dim=1))
    flat = [values.amax(dim=1) == values.amin(dim=1) for values in ranks]
    return found.clamp(-1, 1).masked_fill(flat[0] | flat[1], torch.nan)


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1 within each row of (B, P), tied values sharing their mean rank."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values.contiguous(), side="left")
    upto = torch.searchsorted(ordered, values.contiguous(), side="right")
    return (below + upto + 1).double() / 2


def randomisation(maps: Tensor, fresh: Sequence[nn.Module], x: Tensor, targets: Tensor, method: Method) -> Tensor:
    """Model randomisation check: `map_similarity` of the maps and each fresh model's, (F, B) float64.

    Adebayo et al. (2018), arXiv:1810.03292, section 3, all layers at once. A value near 1 means that the map does not
    depend on what the model learned.

    Args:
        maps: the model's own, (B, C, H, W), as `method` draws them.
        fresh: F networks of the same kind with random weights, see `randomised_copy`.
        x, targets: as for `gazeray.explain.gradients.class_gradients`.
    """
    rows = [map_similarity(maps, method(other, x, targets)) for other in fresh]
    return torch.stack(rows) if rows else torch.empty(0, len(x), dtype=torch.float64, device=x.device)


def randomised_copy(model: nn.Module, batches: Iterable[Tensor], seed: int) -> nn.Module:
    """A copy of the model with newly drawn weights, in eval mode; the caller's random state is left as it was.

    Running statistics of batch normalisation are measured afresh on `batches` (pictures (B, C, H, W)), in eval mode
    otherwise: left at the defaults, they would make the copy differ by its scale and not only by its weights.

    Raises ValueError: parameters in a module that cannot draw them anew (no `reset_parameters`).
    """
    other = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in other.cpu().named_modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            elif list(module.parameters(recurse=False)):
                raise ValueError(f"{name or 'the model'}: {type(module).__name__} cannot draw its parameters anew")
    other = other.to(next(iter(model.parameters())).device)
    with measured_norms(other):
        for x in batches:
            other(x)
    return other


def content(x: Tensor, fill: float = 0.0) -> Tensor:
    """How far each pixel is from blank, (B, H, W): |x - fill| summed over channels. For a heatmap this is the dwell."""
    return (x - fill).abs().sum(dim=1)


def random_order(x: Tensor, seed: int, keys: Sequence[int]) -> Tensor:
    """Maps of uniform noise (B, 1, H, W) to delete by; an example's noise depends on (seed, its key) alone."""
    noise = [np.random.default_rng([seed, key, _ORDER_STREAM]).random((1, *x.shape[2:])) for key in keys]
    return torch.from_numpy(np.stack(noise)).to(x.device)


def deletion_curve(
    model: nn.Module,
    x: Tensor,
    targets: Tensor,
    maps: Tensor,
    fractions: Sequence[float],
    fill: float = 0.0,
    rows: int = ROWS,
) -> Tensor:
    """Probability of the target class once the share f of the pixels that the map ranks highest is blank, (B, F).

    Most relevant first, Samek et al. (2017), doi 10.1109/TNNLS.2016.2599820, section III; "deletion" of Petsiuk, Das &
    Saenko (2018), arXiv:1806.07421, section 3.2. A good map makes the curve fall early. All channels of a pixel go
    together; the number of blank pixels is f x H x W, rounded. Equal values go from the top left, row by row.

    Args:
        model, x, targets: as for `gazeray.explain.gradients.class_gradients`.
        maps: (B, C', H, W), any number of channels. Pixels are ranked by the sum over channels, so that what speaks for
            the class goes first and what speaks against it last.
        fractions: F shares in 0..1. fill: what a blank pixel holds; 0 for no dwell.
        rows: pictures in one forward pass, at least 1.

    Raises ValueError: shapes that do not fit.
    """
    if maps.shape[:1] + maps.shape[2:] != x.shape[:1] + x.shape[2:] or targets.shape != x.shape[:1]:
        raise ValueError(f"maps {tuple(maps.shape)} or targets {tuple(targets.shape)} do not fit x {tuple(x.shape)}")
    values = maps.sum(dim=1).flatten(1)
    place = torch.argsort(torch.argsort(values, dim=1, descending=True, stable=True), dim=1)
    place = place.view(len(x), 1, *x.shape[2:])
    counts = torch.tensor([round(share * values.shape[1]) for share in fractions], device=x.device)
    curves = []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            some = counts.split(max(1, rows // len(x[part])))
            parts = [_blanked(model, x[part], fill, place[part], blank, targets[part]) for blank in some]
            curves.append(torch.cat(parts, dim=1))
    return torch.cat(curves).clone()


def _blanked(model: nn.Module, x: Tensor, fill: float, place: Tensor, counts: Tensor, targets: Tensor) -> Tensor:
    """Probability (B, K) of the targets with the first counts[k] pixels of each example blank."""
    pictures = torch.where(place[:, None] < counts.view(1, -1, 1, 1, 1), fill, x[:, None])
    scores = model(pictures.flatten(0, 1)).softmax(dim=1)
    chosen: Tensor = scores.gather(1, targets.repeat_interleave(len(counts))[:, None])
    return chosen.view(len(x), len(counts))


def curve_area(curves: Tensor, fractions: Sequence[float]) -> Tensor:
    """Area under deletion curves (..., F) to (...), trapezoids: the mean probability when shares run from 0 to 1.

    Raises ValueError: shares that do not rise from 0 to 1.
    """
    shares = torch.tensor(list(fractions), dtype=torch.float64, device=curves.device)
    if len(shares) < 2 or shares[0] != 0 or shares[-1] != 1 or bool((shares.diff() <= 0).any()):
        raise ValueError(f"fractions must rise from 0 to 1, not {list(fractions)}")
    return torch.trapezoid(curves.double(), shares, dim=-1)
