# SPDX-License-Identifier: Apache-2.0
"""From picture files to cached features, against a plain torch loop: `python benchmarks/probe_features.py`.

Both sides do the same work on the same pictures: decode the JPEG, resize it, run a frozen network (channels_last, the
faster layout on both sides), average the activations of its layers down, and write them as float16 safetensors, 16
pictures to a file. The plain loop is a DataLoader before torchvision's network in one process with as many threads as
there are cores, without and with `--workers` loading processes; the better of the two counts. Ours is the pass of the
saliency study as the engine runs it. Starting Ray is not counted; the start of the workers (their code, the network)
is, and is also shown apart, as the time of the same pass over no picture.

Prints pictures per second of both sides and the ratio of their times, how far the features are apart, and how fast a
second probe reads the cached features of a layer. Exit code 1 when ours takes more than 1.2 times as long, or a feature
differs by more than 1 % of the greatest value of its layer and picture.

Without arguments the pictures are simulated scenes. `--real` takes the photographs of `saliency_osie` below the folder
that the environment variable GAZERAY_REAL_DATA names.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torchvision
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors
from torch.utils.data import DataLoader, Dataset
from torchvision.models.feature_extraction import create_feature_extractor

from gazeray.config import ResourcesConfig
from gazeray.engine.executor import Executor
from gazeray.engine.passes import raise_fault
from gazeray.engine.progress import ProgressView
from gazeray.metrics.resampling import input_size
from gazeray.models.backbone import MEAN, STD, Backbone, default_layers
from gazeray.storage import Folder
from gazeray.store import Store, write_column
from gazeray.studies.pictures.passes import PICTURES_PER_SHARD, PictureInfo, PictureShards
from gazeray.studies.probe_saliency.config import BackboneConfig
from gazeray.studies.probe_saliency.passes import Extract, features_pass
from gazeray.synth.saliency import simulate_saliency
from gazeray.synth.saliency_parameters import SaliencySimulation

MOST_RATIO = 1.2
MOST_DIFFERENCE = 0.01
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class Job:
    """What both sides are to do. weights: a safetensors file with the state of the network."""

    root: Path
    pictures: tuple[PictureInfo, ...]
    weights: Path
    cfg: BackboneConfig
    layers: tuple[str, ...]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(h, w) of each picture as the network's input."""
        return [input_size(info.height_px, info.width_px, self.cfg.longest_px) for info in self.pictures]


def found(root: Path, count: int) -> tuple[PictureInfo, ...]:
    """The first `count` JPEGs below `root`, a shard after the other."""
    infos = []
    for number, path in enumerate(sorted(root.glob("stimuli/*.jpg"))[:count]):
        with Image.open(path) as image:
            width, height = image.size
        shard = f"{number // PICTURES_PER_SHARD:05d}"
        infos.append(PictureInfo(path.stem, f"stimuli/{path.name}", shard, width, height, 1, 0))
    return tuple(infos)


def untrained(path: Path, cfg: BackboneConfig, layers: tuple[str, ...]) -> None:
    """Write the state of a network, so that both sides load the same one."""
    state = Backbone(cfg.arch, layers, None, seed=0).network.state_dict()
    save_tensors({name: value.contiguous() for name, value in state.items()}, path)


class Pictures(Dataset[torch.Tensor]):
    """Decoded and resized pictures, (3, h, w) uint8."""

    def __init__(self, job: Job) -> None:
        self.job, self.sizes = job, job.sizes

    def __len__(self) -> int:
        return len(self.job.pictures)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(io.BytesIO((self.job.root / self.job.pictures[index].path).read_bytes())) as image:
            picture = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        if picture.shape[1:] == self.sizes[index]:
            return picture
        small = torch.nn.functional.interpolate(
            picture[None].float(), self.sizes[index], mode="bilinear", antialias=True
        )
        return small[0].round_().to(torch.uint8)


def plain_loop(job: Job, workers: int, out: Path) -> None:
    """The usual way: one process runs the network, a DataLoader feeds it. Pictures must have one size."""
    network = torchvision.models.get_model(job.cfg.arch, weights=None)
    network.load_state_dict(load_tensors(job.weights))
    network = create_feature_extractor(network.eval(), list(job.layers)).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    loader = DataLoader(Pictures(job), job.cfg.batch_size, num_workers=workers)
    kept: dict[str, list[np.ndarray]] = {layer: [] for layer in job.layers}
    done = 0
    for batch in loader:
        with torch.inference_mode():
            x = (batch.float().div_(255) - mean) / std
            answer = network(x.contiguous(memory_format=torch.channels_last))
            for layer, values in answer.items():
                scale = job.cfg.longest_cells / max(values.shape[2:])
                if scale < 1:
                    size = [max(1, round(side * scale)) for side in values.shape[2:]]
                    values = torch.nn.functional.interpolate(values, size, mode="area")
                kept[layer].extend(values.half().contiguous().numpy())
        done += len(batch)
        if done % PICTURES_PER_SHARD == 0 or done == len(job.pictures):
            for layer, arrays in kept.items():
                write_column(Folder(out), layer, job.pictures[done - 1].shard, arrays)
                arrays.clear()


def our_pass(job: Job, workers: Executor, out: Path, pictures: bool = True) -> None:
    """The pass of the saliency study, by processes that start for it; without pictures only what it costs to begin."""
    workers.pool.close()
    weights = Folder(job.weights.parent), job.weights.name
    extract = Extract(Folder(job.root), Folder(out), job.cfg, job.layers, MAX_PIXELS, 0, weights)
    nothing_known = Store(Folder(out), [], pa.table({}), np.empty(0, np.int64), [])
    work = next(features_pass(PictureShards(nothing_known, job.pictures, None, MAX_PIXELS), extract))
    if not pictures:
        work = replace(work, pieces=[{**piece, "layers": [], "pictures": []} for piece in work.pieces])
    workers.pieces(work, raise_fault)


def seconds(work: Callable[[Path], None], out: Path) -> float:
    """The time of one turn, which begins with an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    start = time.perf_counter()
    work(out)
    return time.perf_counter() - start


def greatest_difference(job: Job, ours: Path, theirs: Path) -> float:
    """Of all features, as a share of the greatest of their layer and picture.

    Raises RuntimeError where the sides wrote other files, pictures or shapes.
    """
    greatest = 0.0
    names = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")) for folder in (ours, theirs)
    ]
    if names[0] != names[1] or len(names[0]) != len(job.layers) * len({info.shard for info in job.pictures}):
        raise RuntimeError(f"the sides wrote different files: {names}")
    for name in names[0]:
        one, other = load_file(ours / name), load_file(theirs / name)
        if {key: value.shape for key, value in one.items()} != {key: value.shape for key, value in other.items()}:
            raise RuntimeError(f"the sides differ in pictures or shapes of {name}")
        for key, value in one.items():
            apart = np.abs(value.astype(np.float32) - other[key]).max() / max(float(np.abs(value).max()), 1e-9)
            greatest = max(greatest, float(apart))
    return greatest


def read_again(job: Job, out: Path) -> float:
    """Pictures per second of a second probe: it reads the features of the last layer, and decodes nothing."""
    shards, start = sorted({info.shard for info in job.pictures}), time.perf_counter()
    store = Store.open(Folder(out), shards)
    count = len(store.take(np.arange(len(store)), [job.layers[-1]])[job.layers[-1]])
    return count / (time.perf_counter() - start)


def compare(job: Job, workers: int, repeats: int, folder: Path) -> bool:
    """Let the sides take turns, and print both and their ratio; returns whether ours is fast enough and the same."""
    turns: dict[str, list[float]] = {}
    sides: dict[str, Callable[[Path], None]] = {
        f"plain loop, {number} loading processes": partial(plain_loop, job, number) for number in (0, workers)
    }
    ours = "gazeray on Ray"
    with Executor(ResourcesConfig(), 4.0, ProgressView(Console(quiet=True))) as processes:
        processes.begin()
        for _ in range(repeats):
            for name, side in sides.items():
                turns.setdefault(name, []).append(seconds(side, folder / "theirs"))
            turns.setdefault("begin", []).append(
                seconds(partial(our_pass, job, processes, pictures=False), folder / "nothing")
            )
            turns.setdefault(ours, []).append(seconds(partial(our_pass, job, processes), folder / "ours"))
    took = {name: statistics.median(values) for name, values in turns.items()}
    count, best_s = len(job.pictures), min(took[name] for name in sides)
    for name in (*sides, ours):
        print(f"{name:36}{count / took[name]:8.2f} pictures per second   {took[name]:7.1f} s")
    print(f"of that to begin: {took['begin']:.1f} s")
    ratio = took[ours] / best_s
    print(f"ratio: {ratio:.2f} times the time of the better plain loop (at most {MOST_RATIO})")
    print(f"the same without beginning: {(took[ours] - took['begin']) / best_s:.2f}")
    apart = greatest_difference(job, folder / "ours", folder / "theirs")
    print(f"greatest difference: {apart:.1e} of a picture's greatest feature (at most {MOST_DIFFERENCE})")
    again = read_again(job, folder / "ours")
    print(f"a second probe of {job.layers[-1]} reads {again:,.0f} pictures per second: nothing is decoded again")
    return ratio <= MOST_RATIO and apart <= MOST_DIFFERENCE


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=128, help="pictures (default: 128)")
    parser.add_argument("--width", type=int, default=640, help="width of the simulated pictures, px (default: 640)")
    parser.add_argument("--height", type=int, default=480, help="their height, px (default: 480)")
    parser.add_argument("--arch", default="resnet50", help="a torchvision network (default: resnet50)")
    parser.add_argument("--longest-px", type=int, default=512, help="longest side of its input (default: 512)")
    parser.add_argument("--longest-cells", type=int, default=64, help="of the features (default: 64)")
    parser.add_argument("--workers", type=int, default=2, help="loading processes of the plain loop (default: 2)")
    parser.add_argument("--repeats", type=int, default=1, help="turns of each side, the median counts (default: 1)")
    parser.add_argument("--real", action="store_true", help="use the photographs below $GAZERAY_REAL_DATA")
    options = parser.parse_args(argv)
    given = os.environ.get("GAZERAY_REAL_DATA")
    if options.real and not given:
        parser.error("--real needs the environment variable GAZERAY_REAL_DATA")
    if min(options.pictures, options.workers, options.repeats) < 1:
        parser.error("--pictures, --workers and --repeats must be at least 1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would give way to whatever else runs; a loop does not
    torch.set_num_threads(os.cpu_count() or 1)
    cfg = BackboneConfig(
        arch=options.arch,
        longest_px=options.longest_px,
        longest_cells=options.longest_cells,
        batch_size=4,
        precision="float32",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = Path(given) / "saliency_osie" if options.real and given else folder / "scenes"
        if not options.real:
            scenes = {"pictures": max(options.pictures, 3), "width_px": options.width, "height_px": options.height}
            simulate_saliency(Folder(root), SaliencySimulation(observers=1, **scenes))
        layers = tuple(default_layers(cfg.arch))
        untrained(folder / "state.safetensors", cfg, layers)
        job = Job(root, found(root, options.pictures), folder / "state.safetensors", cfg, layers)
        if len(set(job.sizes)) > 1:
            parser.error("the plain loop needs pictures of one size")
        height, width = job.sizes[0]
        load = os.getloadavg()[0]
        kind = "photographs" if options.real else "simulated scenes"
        print(f"{len(job.pictures)} {kind} through {cfg.arch} at {width} x {height} px; load average {load:.1f}")
        return 0 if compare(job, options.workers, options.repeats, folder) else 1


if __name__ == "__main__":
    sys.exit(main())
