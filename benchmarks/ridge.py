# SPDX-License-Identifier: Apache-2.0
"""The ridge probe against scikit-learn on the stacked matrix, in time and memory: `python benchmarks/ridge.py`.

Both sides get the same float16 feature files of several layers, one .npz file per picture and layer, and do the same
work: for every layer, every test fold and every penalty the mean squared error over the inner folds, then the fit with
the best penalty. The usual way reads a layer into one float64 matrix of all cells, standardises the training rows and
fits `sklearn.linear_model.Ridge` for each split and penalty; ours is `gazeray.models.probes.ridge.fit_ridge`, one pass.
Each side runs in a process of its own, one thread each, so that its peak memory can be told.

Prints both sides in seconds and MiB, the ratios, and how far the inner errors and the weights are apart; exit code 1
when ours is not faster, takes more memory, or an error or a weight differs by more than 1e-6 of the greatest one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
LARGEST_DIFFERENCE = 1e-6


def write_features(folder: Path, options: argparse.Namespace) -> None:
    """Random features (ReLU of mixed noise, so channels correlate) and targets that depend on a few channels."""
    rng = np.random.default_rng(options.seed)
    for layer in range(options.layers):
        channels, height, width = options.channels, options.height, options.width
        mixing = rng.normal(size=(channels, 32))
        weights = rng.normal(size=channels) * (rng.random(channels) < 0.05)
        for picture in range(options.pictures):
            features = mixing @ rng.normal(size=(32, height * width)) + rng.normal(size=(channels, height * width))
            features = np.maximum(features, 0).astype(np.float16)
            target = weights @ features.astype(np.float64)
            target = ((target - target.min()) / max(float(np.ptp(target)), 1e-9)).astype(np.float32)
            shape = (height, width)
            np.savez(
                folder / f"{layer}-{picture:04d}.npz",
                features=features.reshape(channels, *shape),
                target=target.reshape(shape),
            )


def files_of(folder: Path, layer: int) -> list[Path]:
    return sorted(folder.glob(f"{layer}-*.npz"))


def by_gazeray(folder: Path, layer: int, folds: int) -> tuple[list[list[float]], list[np.ndarray]]:
    """Inner errors (fold, penalty), and the raw weights of each test fold."""
    from gazeray.models.probes import ProbePicture
    from gazeray.models.probes.ridge import fit_ridge

    def pictures(seed: int | None) -> Iterator[ProbePicture]:
        for index, path in enumerate(files_of(folder, layer)):
            with np.load(path) as stored:
                yield ProbePicture(stored["features"], index % folds, np.zeros((0, 2), np.int64), stored["target"])

    probe = fit_ridge(pictures, folds, PENALTIES)
    inner = [[probe.inner[fold][penalty] for penalty in PENALTIES] for fold in range(folds)]
    return inner, [probe.models[fold].weights.numpy() for fold in range(folds)]


def by_sklearn(folder: Path, layer: int, folds: int) -> tuple[list[list[float]], list[np.ndarray]]:
    """The same from one matrix of all cells. An inner model that two test folds share is fitted once here too."""
    from sklearn.linear_model import Ridge

    rows, targets, fold_of = [], [], []
    for index, path in enumerate(files_of(folder, layer)):
        with np.load(path) as stored:
            rows.append(stored["features"].reshape(len(stored["features"]), -1).T.astype(np.float64))
            targets.append(stored["target"].ravel().astype(np.float64))
            fold_of.append(np.full(len(targets[-1]), index % folds))
    x, y, fold_at = np.concatenate(rows), np.concatenate(targets), np.concatenate(fold_of)
    rows.clear()

    def fitted(training: np.ndarray, penalties: tuple[float, ...]) -> list[tuple[np.ndarray, float]]:
        mean, std = x[training].mean(0), x[training].std(0)
        std[std == 0] = 1
        standard, found = (x[training] - mean) / std, []
        for penalty in penalties:
            model = Ridge(alpha=penalty * len(standard), solver="cholesky").fit(standard, y[training])
            found.append((model.coef_ / std, float(model.intercept_ - model.coef_ @ (mean / std))))
        return found

    errors = np.zeros((folds, len(PENALTIES)))
    for one in range(folds):
        for other in range(one):
            for index, (weights, intercept) in enumerate(fitted((fold_at != one) & (fold_at != other), PENALTIES)):
                for tested, judged in ((one, other), (other, one)):
                    at = fold_at == judged
                    errors[tested, index] += ((x[at] @ weights + intercept - y[at]) ** 2).sum()
    inner = [list(errors[fold] / (fold_at != fold).sum()) for fold in range(folds)]
    chosen = [PENALTIES[int(np.argmin(row))] for row in inner]
    return inner, [fitted(fold_at != fold, (chosen[fold],))[0][0] for fold in range(folds)]


def run_side(side: str, folder: Path, layers: int, folds: int) -> None:
    """What the process of one side does; prints its seconds, its peak memory and what it found as JSON."""
    import sklearn.linear_model  # noqa: F401 - both processes load the same libraries
    import torch

    import gazeray.models.probes.ridge  # noqa: F401

    torch.set_num_threads(1)
    before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    found = [(by_gazeray if side == "gazeray" else by_sklearn)(folder, layer, folds) for layer in range(layers)]
    seconds = time.perf_counter() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mib
    inner, weights = [one for one, _ in found], [[each.tolist() for each in other] for _, other in found]
    print(json.dumps({"seconds": seconds, "mib": peak_mib, "inner": inner, "weights": weights}))


def started(side: str, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Run one side in a process of its own."""
    words = [sys.executable, str(Path(__file__).resolve()), "--side", side, "--folder", str(folder)]
    words += ["--layers", str(options.layers), "--folds", str(options.folds)]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(words, env={**os.environ, **one_thread}, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=5, help="layers (default: 5)")
    parser.add_argument("--pictures", type=int, default=60, help="pictures (default: 60)")
    parser.add_argument("--channels", type=int, default=256, help="channels of a layer (default: 256)")
    parser.add_argument("--height", type=int, default=24, help="rows of the feature grid (default: 24)")
    parser.add_argument("--width", type=int, default=32, help="columns of the feature grid (default: 32)")
    parser.add_argument("--folds", type=int, default=5, help="folds (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the features (default: 0)")
    parser.add_argument("--side", choices=("gazeray", "sklearn"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folds < 3 or options.pictures < options.folds:
        parser.error("--folds must be at least 3, --pictures at least --folds")
    if options.side:
        run_side(options.side, options.folder, options.layers, options.folds)
        return 0
    with tempfile.TemporaryDirectory() as name:
        write_features(Path(name), options)
        ours, theirs = (started(side, Path(name), options) for side in ("gazeray", "sklearn"))
    apart = max(relative(ours[key], theirs[key]) for key in ("inner", "weights"))
    cells = options.pictures * options.height * options.width
    print(
        f"{options.layers} layers x {len(PENALTIES)} penalties, {options.folds} folds with inner folds, one thread each"
    )
    print(f"each layer: {options.pictures} pictures, {cells} cells x {options.channels} channels, float16 files")
    for label, side in (("scikit-learn, stacked", theirs), ("gazeray, streamed", ours)):
        print(f"{label:22} {side['seconds']:8.2f} s   {side['mib']:8.0f} MiB at the peak")
    faster, leaner = (float(str(theirs[key])) / max(float(str(ours[key])), 1e-9) for key in ("seconds", "mib"))
    print(f"ratio: {faster:.1f} times faster, {leaner:.1f} times less memory")
    print(f"greatest difference: {apart:.1e} of the greatest value (at most {LARGEST_DIFFERENCE:.0e})")
    return 0 if faster > 1 and leaner > 1 and apart <= LARGEST_DIFFERENCE else 1


def relative(ours: object, theirs: object) -> float:
    """The greatest difference of two tables, as a share of the greatest value."""
    one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(one - other).max() / np.abs(other).max())


if __name__ == "__main__":
    sys.exit(main())
