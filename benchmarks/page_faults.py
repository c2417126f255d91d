# SPDX-License-Identifier: Apache-2.0
"""What a step of a fit loses to page faults, and what is left of that in a worker: `python benchmarks/page_faults.py`.

Steps of the heatmap study's CNN on one thread, in a fresh process and in a fresh process with the environment that
workers get (`gazeray.engine.cluster.KEEP_MEMORY`). As in a worker, the steps are done beside the main thread. The two
take turns. Prints of both the CPU time of a step, in the program and in the kernel, and the page faults; and the ratio.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch

from gazeray.engine.cluster import KEEP_MEMORY
from gazeray.models.heatmap_cnn import HeatmapCNN

SIZE, WIDTH, BATCH = 128, 16, 16
WARM_UP = 10
"""Steps until the heap has its size: it grows in the first ones, sometimes as late as the fourth."""


def steps(count: int) -> None:
    """Do so many and print their user and system ms (means) and page faults (median), of this thread alone.

    The median, so that a heap which grows once more in one of them does not look as if each of them lost pages.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = HeatmapCNN(3, (SIZE, SIZE), WIDTH, 2).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.002)
    pictures = torch.randint(0, 255, (BATCH, SIZE, SIZE, 3), dtype=torch.uint8)
    labels = torch.randint(0, 2, (BATCH,))
    used = [resource.getrusage(resource.RUSAGE_THREAD)]
    for _ in range(WARM_UP + count):
        inputs = pictures.permute(0, 3, 1, 2).float().div_(255)
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        used.append(resource.getrusage(resource.RUSAGE_THREAD))
    used = used[WARM_UP:]
    user_s, system_s = used[-1].ru_utime - used[0].ru_utime, used[-1].ru_stime - used[0].ru_stime
    faults = statistics.median(after.ru_minflt - before.ru_minflt for before, after in pairwise(used))
    print(user_s / count * 1e3, system_s / count * 1e3, faults)


def measured(count: int, environment: dict[str, str]) -> list[float]:
    """[user ms, system ms, page faults] of a step in a fresh process."""
    plain = {name: value for name, value in os.environ.items() if name not in KEEP_MEMORY}
    command = [sys.executable, __file__, "--steps", str(count), "--here"]
    told = subprocess.run(command, env=plain | environment, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in told.split()]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60, help="of a fit (default: 60)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (default: 3)")
    parser.add_argument("--here", action="store_true", help="one side, in this process")
    options = parser.parse_args(argv)
    if min(options.steps, options.repeats) < 1:
        parser.error("--steps and --repeats must be at least 1")
    if options.here:
        thread = threading.Thread(target=partial(steps, options.steps))
        thread.start()
        thread.join()
        return 0
    turns = [[measured(options.steps, {}), measured(options.steps, KEEP_MEMORY)] for _ in range(options.repeats)]
    took = []
    for name, side in zip(("as it is", "as a worker"), zip(*turns, strict=True), strict=True):
        user_ms, system_ms, faults = (statistics.median(values) for values in zip(*side, strict=True))
        took.append(user_ms + system_ms)
        print(f"{name + ':':12} {user_ms:.1f} ms + {system_ms:.1f} ms in the kernel, {faults:,.0f} page faults a step")
    print(f"ratio: {took[0] / took[1]:.2f} times the CPU time of a worker")
    return 0


if __name__ == "__main__":
    sys.exit(main())
