# SPDX-License-Identifier: Apache-2.0
"""Saliency metrics for batches of maps, on the CPU and on the GPU. docs/saliency_metrics.md has them in one table.

Shapes, in every function:

    maps        (B, H, W) floating point, finite; half precision is computed in float32
    fixations   (N, 3) integers: rows (image in the batch, y, x), in pixels of the maps; a repeated row counts each time
    targets     (B, H, W) floating point, finite: human maps
    log_density (B, H, W) natural logarithm of a density that sums to 1 over the pixels; -inf is allowed
    result      (B,) float64 on the device of the maps; NaN where the metric is undefined for that image

Images are independent: each scores the same in any batch. Every function raises ValueError for shapes, types or rows
of fixations that do not fit, and, naming the image, for a map with NaN or infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from gazeray.metrics.resampling import grid_size
from gazeray.metrics.saliency_ranks import (
    Points,
    at_least_float32,
    checked_points,
    distinct,
    refuse_not_finite,
    sum_credits,
    values_at,
)

MIT_EPS = 2.2204e-16
"""The eps of the MIT saliency benchmark's code for KL: MATLAB's eps, to five digits, as pysaliency has it."""
GPU_PIXELS = 2**25
"""Pixels worked on at once on a GPU: 256 MB for each temporary array in float64. On a CPU: one image."""
FLAT = 1e-6
"""Below this ratio of variance to mean square a map is centred before its squares are summed."""
MOST_LOG_MASS = 0.01
"""A log density's total mass may be this far from 1 (relative): half precision loses about so much."""


# -- metrics of a map at the fixations


def nss(maps: Tensor, fixations: Tensor) -> Tensor:
    """Normalised scanpath saliency, (B,): the mean over the fixations of (value - mean) / standard deviation.

    The standard deviation is that of the population (divided by H * W), as in pysaliency; others take the sample's.
    Peters, Iyer, Itti & Koch, Vision Research 45, 2005. NaN: no fixation; a constant map.
    """
    points = _checked(maps, fixations)
    means, variances = _moments([maps], ["maps"])
    return _ratio(points.mean(values_at(maps, points)) - means[0], variances[0, 0].sqrt())


def information_gain(log_density: Tensor, fixations: Tensor, baseline_log_density: Tensor) -> Tensor:
    """Information gain over a baseline, (B,), in bits per fixation: mean log2 density minus that of the baseline.

    The baseline is the caller's: the centre bias of the other images, in the usual definition. Kuemmerer, Wallis &
    Bethge, PNAS 112, 2015. NaN: no fixation. -inf: a fixation where the density is 0. `baseline_log_density` has the
    shape of `log_density`. Raises ValueError, naming the image, where a density's sum over the pixels is not 1 (within
    1 %).
    """
    _check_same_shape(log_density, baseline_log_density, "log_density", "baseline_log_density")
    _check_density(log_density, "log_density")
    _check_density(baseline_log_density, "baseline_log_density")
    points = checked_points(fixations, log_density, "fixations")
    gain = values_at(log_density, points).double() - values_at(baseline_log_density, points).double()
    return points.mean(gain) / math.log(2)


# -- areas under the ROC curve


def auc_uniform(maps: Tensor, fixations: Tensor) -> Tensor:
    """Area under the ROC curve, (B,), of fixated values against all pixels of the same map, fixated ones included.

    Exact: the chance that a fixation outscores a pixel, a tie counting half. "AUC" of pysaliency and of the
    MIT/Tuebingen benchmark. NaN: no fixation. A constant map scores 0.5.
    """
    points = _checked(maps, fixations)
    credits = sum_credits(maps, points)
    return credits / (points.counts * _n_pixels(maps))


def auc_judd(maps: Tensor, fixations: Tensor, fixated: Tensor | None = None, share: Tensor | float = 1.0) -> Tensor:
    """AUC-Judd, (B,): thresholds at the fixated values alone, all pixels without a fixation as negatives.

    A map that is coarser than its picture has few pixels left where fixations are many, and scores higher for that
    alone. `fixated` (M, 3), rows as in `fixations`, says in which pixel of the map each pixel of the picture lies that
    is fixated, once each; it takes away `share`, (B,) or one number, of that pixel: the picture's pixels in a map's
    pixel, inverted. None: the fixated pixels of the map, as a whole.

    The ROC curve runs straight from (0, 0) over the rates of hits and false alarms at each fixated value (values that
    reach it count) to (1, 1); the area is exact. Judd, Ehinger, Durand & Torralba, ICCV 2009, as in the MIT benchmark's
    code and in Riche et al., ICCV 2013, but: no random jitter (ties share one vertex of the curve), and a repeated
    fixation counts each time as a hit. NaN: no fixation; no pixel without one. A constant map scores 0.5.
    """
    points = _checked(maps, fixations)
    taken = distinct(points, _n_pixels(maps)) if fixated is None else checked_points(fixated, maps, "fixated")
    everywhere = sum_credits(maps, points, coarse=True)
    there = sum_credits(maps, points, lambda image: taken.pixel[taken.of(image)], coarse=True)
    return (everywhere - share * there) / (points.counts * (_n_pixels(maps) - share * taken.counts))


def auc_borji(maps: Tensor, fixations: Tensor, seed: int, splits: int = 100) -> Tensor:
    """AUC-Borji, (B,): the mean over random splits of the AUC against as many random pixels as there are fixations.

    The pixels are drawn uniformly, with replacement, fixated ones included; each split's AUC is exact with half credit
    for ties, where the published code has thresholds in steps of 0.1. Borji, Sihite & Itti, IEEE TIP 22, 2013. Every
    image draws from the same seed: its score depends on its map, its fixations and `seed`, not on the batch. NaN: no
    fixation. Raises ValueError for splits < 1 and for a negative seed.
    """
    if splits < 1 or seed < 0:
        raise ValueError(f"splits must be at least 1 and seed at least 0, not {splits} and {seed}")
    points = _checked(maps, fixations)
    n_drawn = np.diff(points.ends) * splits
    drawn = np.random.default_rng(seed).random(n_drawn.max(initial=0)) * _n_pixels(maps)
    pixels = torch.from_numpy(drawn.astype(np.int64)).to(maps.device)
    credits = sum_credits(maps, points, lambda image: pixels[: n_drawn[image]])
    return credits / (points.counts * (points.counts * splits))


def auc_shuffled(maps: Tensor, fixations: Tensor, negatives: Tensor | None = None) -> Tensor:
    """Shuffled AUC, (B,): fixated values against values of the same map where other images were fixated.

    `negatives` (M, 3): rows as in `fixations`; repeats count each time. None: for each image all fixations of the other
    images of this batch, at the same y and x, each as often as it is there. Exact, a tie counting half. Tatler,
    Baddeley & Gilchrist, Vision Research 45, 2005; Zhang et al., Journal of Vision 8(7), 2008. This is the definition
    without a subsample of the negatives and without removing those that hit a fixated pixel. NaN: no fixation; no
    negative. A constant map scores 0.5.
    """
    points = _checked(maps, fixations)
    if negatives is not None:
        others = checked_points(negatives, maps, "negatives")
        credits = sum_credits(maps, points, lambda image: others.pixel[others.of(image)])
        return credits / (points.counts * others.counts)
    pool = points.pixel.sort().values
    own = points.counts**2 / 2  # what the fixations of an image score against themselves, whatever the map
    credits = sum_credits(maps, points, lambda image: pool) - own
    return credits / (points.counts * (len(pool) - points.counts))


# -- metrics of a map against a human map


def cc(maps: Tensor, targets: Tensor) -> Tensor:
    """Pearson's correlation of the pixels of two maps, (B,), in -1..1. NaN: either map is constant."""
    _check_same_shape(maps, targets, "maps", "targets")
    _, covariances = _moments([maps, targets], ["maps", "targets"])
    deviations = covariances[0, 0].sqrt() * covariances[1, 1].sqrt()
    return _ratio(covariances[1, 0], deviations).clamp(-1, 1)


def sim(maps: Tensor, targets: Tensor) -> Tensor:
    """Similarity, (B,), in 0..1: the sum over the pixels of the lesser of two densities (histogram intersection).

    A map becomes a density by division by its sum; from one with negative values its minimum is subtracted first, as in
    pysaliency (the MIT code always subtracts it). Judd, Durand & Torralba, MIT-CSAIL-TR-2012-001. NaN: either map is
    all 0 (after that). A constant positive map is the uniform density.
    """
    return _of_masses(maps, targets, lambda p, q, total: torch.minimum(p, q, out=p))


def kl(maps: Tensor, targets: Tensor, eps: float = MIT_EPS) -> Tensor:
    """Kullback-Leibler divergence, (B,), in nats, of the map's density p from the target's density q; 0 is best.

    The sum over the pixels of q log(eps + q / (eps + p)), as in the MIT benchmark's code: `eps` bounds what a pixel
    with p = 0 costs. Densities and NaN as in `sim`. Raises ValueError for an eps that is not positive and finite.
    """
    if not (math.isfinite(eps) and eps > 0):
        raise ValueError(f"eps must be positive and finite, not {eps}")

    def terms(p: Tensor, q: Tensor, total: Tensor) -> Tensor:
        return torch.addcdiv(p.new_tensor(eps), q, p.add_(eps * total), out=p).log_().mul_(q)

    return _of_masses(maps, targets, terms)


def emd(maps: Tensor, targets: Tensor, longest_px: int = 32) -> Tensor:
    """Earth mover's distance, (B,), between two densities: the mean way of the mass, in pixels of the maps; 0 is best.

    Exact on a coarser grid: the mass is summed over cells (a pixel that two cells share is split by area) so that the
    longest side has `longest_px` cells, or left alone where it has no more pixels; the ground distance is Euclidean
    between cell centres. Rubner, Tomasi & Guibas, IJCV 40, 2000, solved as in Bonneel et al., ACM TOG 30, 2011 (POT).
    Computed on the CPU: about the square of the number of cells. Densities and NaN as in `sim`. Raises ValueError for
    longest_px < 1.
    """
    if longest_px < 1:
        raise ValueError(f"longest_px must be at least 1, not {longest_px}")
    _check_same_shape(maps, targets, "maps", "targets")
    _check_finite(maps, "maps")
    _check_finite(targets, "targets")
    scores = []
    for chunk in _in_chunks(maps.cpu(), targets.cpu()):
        masses, totals = zip(*(_mass(pixels.double()) for pixels in chunk), strict=True)
        source, sink = (mass.reshape(maps.shape[1:]) / total for mass, total in zip(masses, totals, strict=True))
        scores.append(_transport_px(source.numpy(), sink.numpy(), longest_px))
    return torch.tensor(scores, dtype=torch.float64, device=maps.device)


def _transport_px(source: np.ndarray, sink: np.ndarray, longest_px: int) -> float:
    """The least mean distance, px, that takes one density (H, W) to another; NaN if either has NaN. See `emd`."""
    import ot  # takes a second to import, and only this metric needs it

    if np.isnan(source).any() or np.isnan(sink).any():
        return math.nan
    sides = list(zip(source.shape, grid_size(source.shape, longest_px), strict=True))
    rows, columns = (_overlaps(*side) for side in sides)
    masses = [(rows @ density @ columns.T).ravel() for density in (source, sink)]
    places = [(np.arange(n_cells) + 0.5) * n_pixels / n_cells for n_pixels, n_cells in sides]
    centres = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 2)
    occupied = [mass > 0 for mass in masses]
    distances = np.linalg.norm(centres[occupied[0]][:, None] - centres[occupied[1]], axis=2)
    left, right = (mass[kept] / mass[kept].sum() for mass, kept in zip(masses, occupied, strict=True))
    return float(ot.emd2(left, right, distances, numItermax=10_000_000))


def _overlaps(n_pixels: int, n_cells: int) -> np.ndarray:
    """How much of each pixel lies in each cell, (n_cells, n_pixels), each column summing to 1."""
    edges = np.arange(n_cells + 1)[:, None] * n_pixels / n_cells
    return np.diff(np.clip(edges - np.arange(n_pixels), 0.0, 1.0), axis=0)


# -- from maps to densities


def as_log_density(maps: Tensor, uniform_share: float = 0.05) -> Tensor:
    """Maps (B, H, W) as natural log densities, float32 or float64: minimum subtracted, divided by the sum, mixed.

    density = (1 - uniform_share) * map + uniform_share / (H * W), so that no fixation costs infinity. A constant map is
    the uniform density. Raises ValueError for a uniform_share outside 0..1.
    """
    if not 0 <= uniform_share <= 1:
        raise ValueError(f"uniform_share must be in 0..1, not {uniform_share}")
    _check_shape(maps, "maps")
    _check_finite(maps, "maps")
    values = at_least_float32(maps)
    values = values - values.amin((1, 2), keepdim=True)
    totals = values.sum((1, 2), keepdim=True)
    uniform = 1.0 / _n_pixels(maps)
    density = torch.where(totals > 0, values / totals, uniform)
    return ((1.0 - uniform_share) * density + uniform_share * uniform).log()


# -- sums over pixels


def _in_chunks(*batches: Tensor) -> Iterator[list[Tensor]]:
    """The images of each batch (B, H, W) a few at a time, as (b, H * W) float32 or float64."""
    first, step = batches[0], _chunk_size(batches[0])
    for start in range(0, len(first), step):
        yield [at_least_float32(batch[start : start + step].flatten(1)) for batch in batches]


def _chunk_size(maps: Tensor) -> int:
    return max(1, GPU_PIXELS // _n_pixels(maps)) if maps.is_cuda else 1


def _work_space(maps: Tensor, dtype: torch.dtype) -> Tensor:
    """Room (b, H * W) for one chunk, to be used again and again: fresh memory costs more than the arithmetic."""
    return maps.new_empty((min(_chunk_size(maps), len(maps)), _n_pixels(maps)), dtype=dtype)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """The inner products (b,) of the rows of x and y (b, n)."""
    return torch.bmm(x.unsqueeze(1), y.unsqueeze(2)).view(-1)


def _moments(batches: list[Tensor], names: list[str]) -> tuple[Tensor, Tensor]:
    """Means (k, B) and population covariances (k, k, B) of k batches (B, H, W).

    One pass over the pixels in float64; images that hardly vary about a great mean are centred and summed once more.
    The variance of a constant image is exactly 0.
    """
    means, products = _sums(batches)
    covariances = products - means[:, None] * means
    variances = covariances.diagonal().T
    for name, mean_squares in zip(names, products.diagonal().T, strict=True):
        refuse_not_finite(mean_squares, name)
    for image in (variances <= FLAT * means**2).any(0).nonzero()[:, 0].tolist():
        shifted = [batch[image : image + 1].double() - batch[image, 0, 0] for batch in batches]
        covariances[:, :, image] = _sums([pixels - pixels.mean() for pixels in shifted])[1][:, :, 0]
    return means, covariances


def _sums(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean values (k, B) and mean products (k, k, B) of k batches (B, H, W)."""
    k, n = len(batches), _n_pixels(batches[0])
    pairs = [(i, j) for i in range(k) for j in range(i + 1)]
    spaces = [_work_space(batch, torch.float64) for batch in batches]
    sums = [batches[0].new_zeros((k + len(pairs), 0), dtype=torch.float64)]
    for chunk in _in_chunks(*batches):
        both = zip(chunk, spaces, strict=True)
        rows = [row if row.dtype == torch.float64 else space[: len(row)].copy_(row) for row, space in both]
        sums.append(torch.stack([*(row.sum(1) for row in rows), *(_dot(rows[i], rows[j]) for i, j in pairs)]))
    means = torch.cat(sums, dim=1) / n
    order = [k + pairs.index((max(i, j), min(i, j))) for i in range(k) for j in range(k)]
    return means[:k], means[order].view(k, k, -1)


def _mass(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (b, n) from which a negative minimum is subtracted, and their totals (b,)."""
    if float(pixels.amin()) < 0:
        pixels = pixels - pixels.amin(1, keepdim=True).clamp(max=0)
    return pixels, pixels.sum(1)


def _of_masses(maps: Tensor, targets: Tensor, terms: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """The sum over the pixels of terms(p, q, total) / total, (B,), of masses p and q (b, n) that both sum to `total`.

    `terms` may overwrite p.
    """
    _check_same_shape(maps, targets, "maps", "targets")
    common = torch.promote_types(maps.dtype, targets.dtype)
    space = _work_space(maps, torch.float64 if common == torch.float64 else torch.float32)
    found: list[list[Tensor]] = [[maps.new_zeros(0, dtype=space.dtype)] for _ in range(3)]
    for left, right in _in_chunks(maps.to(common), targets.to(common)):
        left, total_left = _mass(left)
        right, total = _mass(right)
        scaled = torch.mul(left, (total / total_left)[:, None], out=space[: len(left)])
        of_chunk = total_left, total, terms(scaled, right, total[:, None]).sum(1)
        for values, more in zip(found, of_chunk, strict=True):
            values.append(more)
    totals_left, totals, sums = (torch.cat(values).double() for values in found)
    refuse_not_finite(totals_left, "maps")
    refuse_not_finite(totals, "targets")
    return sums / totals


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, NaN where the denominator is not positive."""
    return torch.where(denominator > 0, numerator / denominator, torch.nan)


def _n_pixels(maps: Tensor) -> int:
    return maps.shape[1] * maps.shape[2]


# -- checks


def _checked(maps: Tensor, fixations: Tensor) -> Points:
    _check_shape(maps, "maps")
    return checked_points(fixations, maps, "fixations")


def _check_shape(maps: Tensor, name: str) -> None:
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"{name} must have shape (B, H, W) with pixels, not {tuple(maps.shape)}")
    if not maps.dtype.is_floating_point:
        raise ValueError(f"{name} must be floating point, not {maps.dtype}")


def _check_same_shape(left: Tensor, right: Tensor, left_name: str, right_name: str) -> None:
    _check_shape(left, left_name)
    _check_shape(right, right_name)
    if left.shape != right.shape:
        raise ValueError(f"{left_name} {tuple(left.shape)} and {right_name} {tuple(right.shape)} differ in shape")


def _check_finite(maps: Tensor, name: str) -> None:
    sums = [pixels.sum(1) for (pixels,) in _in_chunks(maps)]
    refuse_not_finite(torch.cat([maps.new_zeros(0), *sums]), name)


def _check_density(log_density: Tensor, name: str) -> None:
    space = _work_space(log_density, at_least_float32(log_density[:0]).dtype)
    sums = [torch.exp(pixels, out=space[: len(pixels)]).sum(1) for (pixels,) in _in_chunks(log_density)]
    totals = torch.cat([space.new_zeros(0), *sums])
    wrong = ~((totals - 1).abs() <= MOST_LOG_MASS)
    if bool(wrong.any()):
        image = int(wrong.nonzero()[0])
        raise ValueError(f"{name}: the density of image {image} sums to {float(totals[image]):.6g}, not to 1")
