# SPDX-License-Identifier: Apache-2.0
"""Saliency metrics by gazeray against pysaliency, image by image, one thread each.

`python benchmarks/saliency_metrics.py`: random smooth maps with a centre bias, fixations drawn from them. The negatives
of the shuffled AUC are, on both sides, all fixations of all other images. The two sides take turns over all images and
the median of `--repeats` turns counts; times are CPU times of the process, so that other processes disturb them little.
Freed memory is kept by the allocator from the start: without that, it depends on what the process did before whether
pysaliency's large temporary arrays cost fresh pages in each call (its SIM then takes five times as long).
pysaliency's AUCs are `SaliencyMapModel.AUC_per_image`, which its `AUC` and `sAUC` call; its other metrics are those of
`pysaliency.metrics`, one call per image, which its models call.
Prints both sides in ms per image, the ratio and the greatest difference of a score; exit code 1 when a score differs by
more than 1e-6 (5e-6 for float32 maps) or a ratio is under its aim. Last, what bounds gazeray: reading maps that are not
in the cache, the logarithm of each pixel, gathering and sorting the negatives, each alone. Needs pysaliency.

`--device cuda` times gazeray alone, with the maps on the GPU: images per second of each metric, by the clock.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from gazeray.metrics import saliency

sys.path.append(str(Path(__file__).parents[1] / "tests" / "metrics"))
from pysaliency_oracle import (  # type: ignore[import-not-found]
    import_pysaliency,
    model_of,
    stimuli_and_fixations,
)

MOST_DIFFERENCE = {"float32": 5e-6, "float64": 1e-6}  # pysaliency computes KL in the precision of the maps
LEAST_RATIOS = {
    "AUC": 4.0,
    "shuffled AUC": 10.0,
    "NSS": 2.0,
    "CC": 5.0,
    "SIM": 3.0,
    "KL": 3.0,
}


@dataclass(frozen=True)
class Work:
    """What both sides score: maps and targets (B, H, W), fixations (N, 3), sorted by image."""

    maps: np.ndarray
    targets: np.ndarray
    fixations: np.ndarray


def simulated(n_maps: int, height: int, width: int, n_fixations: int, dtype: str, seed: int) -> Work:
    """Smooth maps with a centre bias, 0..1; fixations drawn from each map; the next map is the target."""
    rng = np.random.default_rng(seed)
    y, x = np.linspace(-2, 2, height)[:, None], np.linspace(-2, 2, width)
    centre = np.exp(-0.5 * (x**2 + y**2))
    maps = np.empty((n_maps, height, width), dtype=dtype)
    fixations = []
    for index in range(n_maps):
        smooth = gaussian_filter(rng.standard_normal((height, width), dtype=np.float32), height / 32, truncate=3)
        density = centre * np.exp(2 * smooth / smooth.std())
        maps[index] = density / density.max()
        pixels = np.searchsorted(density.cumsum(), rng.random(n_fixations) * density.sum())
        fixations.append(np.stack([np.full(n_fixations, index), *np.unravel_index(pixels, density.shape)], axis=1))
    return Work(maps, np.roll(maps, -1, axis=0), np.concatenate(fixations).astype(np.int64))


def by_gazeray(work: Work, device: str = "cpu") -> dict[str, Callable[[], np.ndarray]]:
    """Every metric's call, for all images at once: scores (B,)."""
    maps, targets, fixations = (
        torch.from_numpy(array).to(device) for array in (work.maps, work.targets, work.fixations)
    )
    return {
        "AUC": lambda: saliency.auc_uniform(maps, fixations).cpu().numpy(),
        "shuffled AUC": lambda: saliency.auc_shuffled(maps, fixations).cpu().numpy(),
        "NSS": lambda: saliency.nss(maps, fixations).cpu().numpy(),
        "CC": lambda: saliency.cc(maps, targets).cpu().numpy(),
        "SIM": lambda: saliency.sim(maps, targets).cpu().numpy(),
        "KL": lambda: saliency.kl(maps, targets).cpu().numpy(),
    }


def by_pysaliency(work: Work) -> dict[str, Callable[[], np.ndarray]]:
    """The same calls to pysaliency, image by image."""
    metrics = import_pysaliency().metrics
    model = model_of(work.maps)
    stimuli, fixations = stimuli_and_fixations(work.maps.shape, work.fixations)
    ends = np.searchsorted(work.fixations[:, 0], np.arange(len(work.maps) + 1))
    x, y = work.fixations[:, 2], work.fixations[:, 1]

    def nss(index: int) -> Any:
        own = slice(ends[index], ends[index + 1])
        return metrics.NSS(work.maps[index], x[own], y[own]).mean()

    def per_image(score: Callable[[int], Any]) -> Callable[[], np.ndarray]:
        return lambda: np.array([score(index) for index in range(len(work.maps))])

    return {
        "AUC": lambda: np.array(model.AUC_per_image(stimuli, fixations)),
        "shuffled AUC": lambda: np.array(model.AUC_per_image(stimuli, fixations, nonfixations="shuffled")),
        "NSS": per_image(nss),
        "CC": per_image(lambda index: metrics.CC(work.maps[index], work.targets[index])),
        "SIM": per_image(lambda index: metrics.SIM(work.maps[index], work.targets[index])),
        "KL": per_image(lambda index: metrics.MIT_KLDiv(work.maps[index], work.targets[index])),
    }


def timed(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """CPU seconds of a call, and its scores."""
    start = time.process_time()
    scores = call()
    return time.process_time() - start, scores


def keep_freed_memory() -> None:
    """glibc takes fresh pages for arrays over a threshold; freeing an array just under 32 MB raises it to that."""
    np.ones(31 * 2**20, dtype=np.uint8)


def print_bounds(work: Work, repeats: int) -> None:
    """CPU time per image of what no metric can do without, in calls of torch and NumPy that do nothing else."""
    maps = torch.from_numpy(work.maps).flatten(1)
    space, negatives = torch.empty_like(maps[0]), torch.from_numpy(work.fixations @ (0, *work.maps.strides[1:]))
    pool = (negatives // work.maps.itemsize).sort().values
    values = [torch.index_select(pixels, 0, pool).numpy() for pixels in maps[:8]]

    def lesser(index: int) -> None:
        torch.minimum(torch.mul(maps[0], 0.5, out=space), maps[1], out=space)

    def milliseconds(of_image: Callable[[int], object]) -> float:
        turns = [
            timed(lambda: np.array([of_image(index) is None for index in range(len(maps))])) for _ in range(repeats)
        ]
        return statistics.median(seconds for seconds, _ in turns) * 1000 / len(maps)

    read = milliseconds(lambda index: maps[index].sum())
    print(f"read a map      {read:.3f} ms, {maps[0].nbytes / read / 1e6:.1f} GB/s")
    print(f"  of the cache  {milliseconds(lambda index: maps[0].sum()):.3f} ms")
    print(f"scale, lesser   {milliseconds(lesser):.3f} ms, of the cache")
    print(f"log of a map    {milliseconds(lambda index: torch.log(maps[0], out=space)):.3f} ms")
    print(
        f"{len(pool):,} negatives: gather {milliseconds(lambda index: torch.index_select(maps[0], 0, pool)):.3f} ms, ",
        end="",
    )
    print(f"sort {milliseconds(lambda index: np.sort(values[index % 8])):.3f} ms")


def print_images_per_second(work: Work, device: str, repeats: int) -> None:
    """Images per second of each metric by gazeray alone, the median of the repeats after one untimed call."""
    print("metric          gazeray")
    for name, call in by_gazeray(work, device).items():
        call()
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            call()  # ends when the scores are on the CPU
            seconds.append(time.perf_counter() - start)
        print(f"{name:13s} {len(work.maps) / statistics.median(seconds):9.0f} images/s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--maps", type=int, default=512, help="images (default: 512)")
    parser.add_argument("--height", type=int, default=480, help="px (default: 480)")
    parser.add_argument("--width", type=int, default=640, help="px (default: 640)")
    parser.add_argument("--fixations", type=int, default=50, help="fixations per image (default: 50)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="of the maps")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (default: 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="cuda: gazeray alone, images per second"
    )
    options = parser.parse_args()
    if min(options.maps - 1, options.height, options.width, options.fixations, options.repeats) < 1:
        parser.error("--maps must be at least 2, the other numbers at least 1")
    torch.set_num_threads(1)

    work = simulated(options.maps, options.height, options.width, options.fixations, options.dtype, options.seed)
    size = f"{options.height} x {options.width}"
    print(f"{options.maps} maps of {size}, {options.dtype}, {options.fixations} fixations each, on {options.device}")
    if options.device == "cuda":
        print_images_per_second(work, options.device, options.repeats)
        return 0
    keep_freed_memory()
    ours, theirs = by_gazeray(work), by_pysaliency(work)
    print("metric          pysaliency     gazeray   ratio   (aim)   greatest difference")
    met = True
    with np.errstate(divide="ignore"):  # pysaliency's KL takes the log of 0
        for name, least in LEAST_RATIOS.items():
            turns = [(timed(theirs[name]), timed(ours[name])) for _ in range(options.repeats)]
            medians = [statistics.median(turn[side][0] for turn in turns) for side in range(2)]
            theirs_ms, ours_ms = (seconds * 1000 / options.maps for seconds in medians)
            difference = float(np.abs(turns[0][0][1] - turns[0][1][1]).max())
            ratio = theirs_ms / ours_ms
            met = met and ratio >= least and difference <= MOST_DIFFERENCE[options.dtype]
            figures = f"{theirs_ms:9.3f} ms {ours_ms:8.3f} ms {ratio:7.1f}   ({least:4.1f})   {difference:.1e}"
            print(f"{name:13s} {figures}", flush=True)
    print_bounds(work, options.repeats)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
