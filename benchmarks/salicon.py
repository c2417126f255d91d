# SPDX-License-Identifier: Apache-2.0
"""SALICON's annotations, read as a stream against `json.load`: peak memory and seconds, each in a process of its own.

    python benchmarks/salicon.py                   # a tenth of the training set, both sides
    python benchmarks/salicon.py --pictures 10000 --skip-plain     # all of it (0.9 GB of JSON): ours alone

The file is made up: pictures of 640 x 480 px, 60 workers each, 120 points per worker, as in the published example.
Exit code 1 when ours takes more than 2 GB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WORKERS, POINTS, LIMIT_GB = 60, 120, 2.0

OURS = """
import sys
from gazeray.stimuli.dataset import open_pictures
from gazeray.stimuli.declaration import PictureSetSpec
from gazeray.storage import Folder
spec = PictureSetSpec.model_validate({"name": "made", "pictures": {"path": "pictures/{stimulus}.jpg"},
                                      "fixations": {"reader": "salicon", "path": "fixations.json"}})
found = open_pictures(spec, Folder(sys.argv[1]))
points = sum(len(gaze.x_px) for gaze in found.gaze.values())
"""
PLAIN = """
import json, sys
with open(sys.argv[1] + "/fixations.json") as file:
    found = json.load(file)
points = sum(len(annotation["fixations"]) for annotation in found["annotations"])
"""
TOLD = """
import re, time
status = open("/proc/self/status").read()
print(points, int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1e6, time.process_time())
"""


def write_annotations(folder: Path, pictures: int, seed: int = 0) -> float:
    """fixations.json and empty pictures; returns the size of the JSON in MB."""
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir()
    names = [f"COCO_train2014_{number:012d}.jpg" for number in range(pictures)]
    images = [{"id": number, "file_name": name, "height": 480, "width": 640} for number, name in enumerate(names)]
    with (folder / "fixations.json").open("w") as file:
        file.write(f'{{"info": {{}}, "images": {json.dumps(images)}, "type": "fixations", "annotations": [')
        for number, name in enumerate(names):
            (folder / "pictures" / name).touch()
            for worker in range(WORKERS):
                places = np.stack([rng.integers(1, 481, POINTS), rng.integers(1, 641, POINTS)], axis=1).tolist()
                one = {"id": number * WORKERS + worker, "image_id": number, "worker_id": worker, "fixations": places}
                file.write(("" if number + worker == 0 else ", ") + json.dumps(one))
        file.write("]}")
    return (folder / "fixations.json").stat().st_size / 1e6


def measured(script: str, folder: Path) -> tuple[int, float, float]:
    """(points, peak GB, CPU seconds) of a script in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script + TOLD, str(folder)], capture_output=True, text=True, check=True
    )
    points, peak_gb, seconds = done.stdout.split()
    return int(points), float(peak_gb), float(seconds)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=1000, help="pictures (default: 1000; SALICON has 10000)")
    parser.add_argument("--skip-plain", action="store_true", help="do not run json.load")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        size_mb = write_annotations(Path(name), options.pictures)
        print(f"{options.pictures} pictures, {options.pictures * WORKERS * POINTS} points, {size_mb:.1f} MB of JSON")
        points, ours_gb, ours_s = measured(OURS, Path(name))
        print(f"gazeray    {points} points, peak {ours_gb:.2f} GB, {ours_s:.1f} s of CPU")
        if not options.skip_plain:
            theirs, plain_gb, plain_s = measured(PLAIN, Path(name))
            print(f"json.load  {theirs} points, peak {plain_gb:.2f} GB, {plain_s:.1f} s of CPU")
            print(f"ratio      memory {plain_gb / ours_gb:.2f}, time {plain_s / ours_s:.2f}")
            if theirs != points:
                print(f"the sides read {points} and {theirs} points")
                return 1
    return 0 if ours_gb <= LIMIT_GB else 1


if __name__ == "__main__":
    sys.exit(main())
