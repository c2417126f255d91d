# SPDX-License-Identifier: Apache-2.0
"""What a person waits for: `--help`, a typo in a key, and the plan of each job's demo.

Each command runs in a process of its own, by turns, so that the load of the machine falls on all alike. Beside them
stands what they did without: a process that imports PyTorch and Ray and does nothing else. A plan is made twice, in a
folder without data and in one that another plan has been made in.

Prints, for each, the median of the seconds and of the CPU seconds (user and system) over the turns, and the share of
PyTorch's and Ray's. Returns 1 when the median CPU time of an answer is 1.5 s or more: these processes have one thread,
so on a machine that does nothing else a person waits as long as that.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

JOBS = Path(__file__).resolve().parents[1] / "jobs"
STUDIES = ("cv_heatmap", "probe_saliency", "score_maps")
TOOLS = ("report", "validate_run")

MOST_S = 1.5
IMPORTS = "import of torch and ray"


def commands(place: str) -> Iterator[tuple[str, list[str], int]]:
    """(what it is, the words after `python`, its exit code) of every answer. place: an empty folder for the runs."""
    for job in (*STUDIES, *TOOLS):
        script = str(JOBS / f"{job}.py")
        yield f"{job} --help", [script, "--help"], 0
        if job in STUDIES:
            yield f"{job} run.sed=1", [script, "run.sed=1"], 2
            for which in ("no data yet", "again"):
                yield f"{job} --dry-run, {which}", [script, "--dry-run", f"run.dir={place}/{job}"], 0
    yield IMPORTS, ["-c", "import ray, torch"], 0


def measured(words: list[str], code: int) -> tuple[float, float]:
    """Seconds and CPU seconds of a process. Raises RuntimeError when it ends with another exit code."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}, not {code}: {done.stderr[-500:]}")
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="Seconds to --help, to the answer to a typo, and to a plan.")
    parser.add_argument("--repeats", type=int, default=3, help="turns; medians are printed (default: 3)")
    arguments = parser.parse_args()
    taken: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as place:
            for what, words, code in commands(place):
                taken[what].append(measured(words, code))
    median = {what: [statistics.median(values) for values in zip(*turns, strict=True)] for what, turns in taken.items()}
    whole_cpu_s = median[IMPORTS][1]
    for what, (seconds, cpu_s) in median.items():
        print(f"{what:38} {seconds:6.2f} s {cpu_s:6.2f} s of CPU, {cpu_s / whole_cpu_s:5.2f} of torch and ray")
    slow = [what for what, (_, cpu_s) in median.items() if cpu_s >= MOST_S and what != IMPORTS]
    for what in slow:
        print(f"over the aim of {MOST_S} s of CPU: {what}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
