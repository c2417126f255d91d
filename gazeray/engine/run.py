# SPDX-License-Identifier: Apache-2.0
"""The run folder: everything a run learned, in one place."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gazeray.config import JobConfig, config_hash
from gazeray.storage import Folder

PACKAGES = ("gazeray", "ray", "torch", "numpy", "scikit-learn", "pyarrow")


class RunFolder:
    """`<run.dir>/<job>-<config hash>/` and its manifest."""

    def __init__(self, cfg: JobConfig, job: str, study: str) -> None:
        self.store = Folder(cfg.run.dir)
        self.name = f"{job}-{config_hash(cfg)}"
        self.folder = self.store.sub(self.name)
        self.manifest: dict[str, Any] = {
            "job": job,
            "study": study,
            "status": "running",
            "config": cfg.model_dump(mode="json"),
            "config_hash": config_hash(cfg),
            "seed": cfg.run.seed,
            "started": _now(),
            "finished": None,
            "versions": versions(),
        }

    def note(self, **entries: Any) -> None:
        """Add to the manifest and write it."""
        self.manifest |= entries
        self.folder.write_json("manifest.json", self.manifest)

    def finish(self, status: str, **entries: Any) -> None:
        """The run has ended, with `done` or `failed`."""
        self.note(status=status, finished=_now(), **entries)

    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        return dict(json.loads(self.folder.read_bytes("metrics.json")))


def versions() -> dict[str, str]:
    """The versions that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = "not installed"
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
