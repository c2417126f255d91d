# SPDX-License-Identifier: Apache-2.0
"""The run folder: everything a run learned, in one place."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gazeray.config import LAYOUT, check_layout, config_hash, digest
from gazeray.engine.provenance import code, command, earlier_commands
from gazeray.storage import Folder
from gazeray.study import StudyConfig
from gazeray.unit import Json

PACKAGES = (
    *("gazeray", "ray", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pyarrow"),
    *("opencv-python", "pillow"),
)


def units_of(config: str, data: str, hashes: Mapping[str, str]) -> str:
    """What says in a manifest that units with these hashes are of this config and these data."""
    return digest([config, data, dict(hashes)])


class RunFolder:
    """`<run.dir>/<job>-<config hash>/` and its manifest. cfg: a config with a section `run`."""

    def __init__(self, cfg: StudyConfig, job: str, study: str) -> None:
        """Raises ConfigError where the folder was laid out by another version."""
        self.store = Folder(cfg.run.dir, cfg.storage)
        self.name = f"{job}-{config_hash(cfg)}"
        self.folder = self.store.sub(self.name)
        there = self.folder.read_json("manifest.json") if self.folder.exists("manifest.json") else None
        check_layout(there, self.folder.uri)
        earlier = earlier_commands(there)
        self._began, self._before = time.monotonic(), earlier[-1].get("seconds_total", 0.0) if earlier else 0.0
        self.manifest: Json = {
            "layout": LAYOUT,
            "job": job,
            "study": study,
            "status": "running",
            "config": cfg.model_dump(mode="json"),
            "config_hash": config_hash(cfg),
            "seed": cfg.run.seed,
            "started": _now(),
            "finished": None,
            "versions": versions(),
            "command": command(),
            "git": code(),
            "earlier": earlier,
        }

    def forget_other_data(self, fingerprint: str) -> None:
        """Delete results of an earlier state of the recordings: this folder speaks of one state only."""
        there = self.folder.read_json("manifest.json") if self.folder.exists("manifest.json") else None
        if there is not None and there.get("data", {}).get("fingerprint") != fingerprint:
            for name in ("units", "maps", "figures"):
                self.folder.delete_folder(name)
            self.forget_scores()
            self.manifest["earlier"], self._before = [], 0.0

    def forget_scores(self) -> None:
        """Delete what is made of the units' results."""
        names = ("metrics.json", "predictions.parquet", "per_item.parquet", "centre.npz", "explain.npz", "report.html")
        for name in names:
            self.folder.delete(name)

    def note(self, **entries: Any) -> None:
        """Add to the manifest and write it, with the seconds of all commands on this folder so far."""
        self.manifest |= {**entries, "seconds_total": round(self._before + time.monotonic() - self._began, 3)}
        self.folder.write_json("manifest.json", self.manifest)

    def finish(self, status: str, stages: Mapping[str, float]) -> None:
        """The run has ended, with `done` or `failed`. stages: what of it took how many seconds."""
        self.note(status=status, finished=_now(), stages={name: round(value, 3) for name, value in stages.items()})


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
