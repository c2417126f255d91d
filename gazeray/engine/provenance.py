# SPDX-License-Identifier: Apache-2.0
"""What manifest.json says of how its numbers came about: the command, the code, the machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import gazeray
from gazeray.config import ResourcesConfig, masked
from gazeray.unit import Json

OF_A_COMMAND = (*("command", "git", "machine", "versions", "status", "started", "finished", "stages", "seconds_total"),)
"""What the manifest says of the command that wrote it last."""


def command() -> str:
    """The command line of this process, quoted as a shell needs it, without credentials."""
    return shlex.join(map(masked, sys.orig_argv))


def earlier_commands(manifest: object) -> list[Json]:
    """What a manifest says of the commands up to now, the first one first; its run is going to be continued."""
    if not isinstance(manifest, Mapping):
        return []
    return [*manifest.get("earlier", []), {key: manifest[key] for key in OF_A_COMMAND if key in manifest}]


@cache
def code() -> Json | None:
    """{commit, dirty} of the git checkout that this package lies in: has its tree files that are not as committed?

    None where it lies in none (installed, or sent to a cluster), or where there is no git that would read it.
    """
    try:
        _git("ls-files", "--error-unmatch", "__init__.py")  # a checkout of something else may lie around it
        head, *rest = _git("status", "--porcelain=v2", "--branch")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": head.rpartition(" ")[2], "dirty": any(not line.startswith("#") for line in rest)}


def _git(*words: str) -> list[str]:
    """The lines that git says in the folder of the package. Raises OSError, SubprocessError."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(Path(gazeray.__file__).parent), *words], capture_output=True, text=True, check=True,
        timeout=30, env={**clean, "GIT_OPTIONAL_LOCKS": "0"},
    )  # fmt: skip
    return done.stdout.splitlines()


def machine(resources: ResourcesConfig) -> Json:
    """The machine of this process, and the device of the units; of a cluster also what all its machines have."""
    import torch

    there = torch.cuda.is_available()
    own: Json = {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count() if there else 0)],
    }
    if resources.workers == 0:
        return {**own, "device": "cuda" if there and resources.per_unit.gpu != 0 else "cpu", "cluster": None}
    from gazeray.engine.cluster import machines, per_worker

    return {
        **own,
        "device": "cuda" if per_worker(resources.per_unit).get("GPU") else "cpu",
        "cluster": total(machines()),
    }


def total(machines: list[Mapping[str, float]]) -> Json:
    """What Ray's machines have together. gpus: their models, as Ray calls them."""
    mark = "accelerator_type:"
    return {
        "machines": len(machines),
        "cpus": sum(one.get("CPU", 0) for one in machines),
        "gpus": sum(one.get("GPU", 0) for one in machines),
        "gpu_models": sorted({name.removeprefix(mark) for one in machines for name in one if name.startswith(mark)}),
    }


def cpu_model() -> str:
    """The name of the processor, as far as the system knows it."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
