# SPDX-License-Identifier: Apache-2.0
"""What manifest.json says of how its numbers came about: the command, the code, the machine."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import gazeray
from gazeray.config import masked
from gazeray.unit import Json

if TYPE_CHECKING:
    from gazeray.engine.executor import Executor

OF_A_COMMAND = (
    *("command", "git", "sources", "machine", "versions", "status", "started", "finished", "stages", "seconds_total"),
)
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


@cache
def sources() -> str:
    """SHA-256 over all files of this package: git tells neither one change of a tree from the next, nor any change of a
    copy that was sent to a cluster."""
    found, root = hashlib.sha256(), Path(gazeray.__file__).parent
    for path in sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        data = path.read_bytes()
        found.update(f"{path.relative_to(root).as_posix()} {len(data)}\n".encode())
        found.update(data)
    return found.hexdigest()


def _git(*words: str) -> list[str]:
    """The lines that git says in the folder of the package. Raises OSError, SubprocessError."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(Path(gazeray.__file__).parent), *words], capture_output=True, text=True, check=True,
        timeout=30, env={**clean, "GIT_OPTIONAL_LOCKS": "0"},
    )  # fmt: skip
    return done.stdout.splitlines()


def machine(workers: Executor) -> Json:
    """The machine of this process; device: of the units and passes; cluster: what all machines of Ray have together.

    Where this command had nothing to do, it has no device and no cluster.
    """
    found = {**driver(), "device": None, "cluster": None}
    if workers.here and workers.has_begun:
        found["device"] = workers.device
    elif workers.has_begun:
        from gazeray.engine.cluster import machines, per_worker  # here, since it needs Ray

        found["device"] = "cuda" if per_worker(workers.resources.per_unit).get("GPU") else "cpu"
        found["cluster"] = total(machines())
    return found


@cache
def driver() -> Json:
    """The machine of this process. gpus: by the name that the driver of the cards gives them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "memory_gb": round(memory / 1e9, 1), "gpus": gpu_models()}


def gpu_models() -> list[str]:
    """A name for each GPU that nvidia-smi sees: asked without PyTorch, which a driver may do without."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):  # it hangs, or there is no card that can be used
        return []


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
