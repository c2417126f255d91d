# SPDX-License-Identifier: Apache-2.0
"""The run folder: everything a run learned, in one place."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gazeray.config import LAYOUT, check_layout, config_hash, digest
from gazeray.engine.provenance import code, command, earlier_commands, sources
from gazeray.report.crate import CRATE, crate
from gazeray.storage import Folder
from gazeray.storage.seals import DamagedError, Files, damages, plain, unsealed, write_sealed
from gazeray.study import StudyConfig
from gazeray.unit import ONLY_LOOKED_AT, Json, UnitFolder

PACKAGES = (
    *("gazeray", "ray", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pyarrow"),
    *("opencv-python", "pillow"),
)


BASIS = ("layout", "job", "study", "config_hash", "seed", "versions", "git", "sources")
"""What a manifest says of code and config: where it differs, everything is scored anew from the units."""


def _basis(manifest: Json) -> Json:
    """`BASIS`, and what of the config changes none of the run's own numbers, but what is made beside them."""
    config = manifest["config"]
    return {**{key: manifest.get(key) for key in BASIS}, **{key: config.get(key) for key in ("show", "variants")}}


def prefix_of(variant: str) -> str:
    """What begins the names of the units of a variant, `v-` and ten hex digits of its setting."""
    return f"{variant}-"


def is_of_variant(unit: str) -> bool:
    """Is a unit of this name one of a variant?"""
    return re.match(r"v-[0-9a-f]{10}-.", unit) is not None


def units_of(config: str, data: str, hashes: Mapping[str, str]) -> str:
    """What says in a manifest that units with these hashes are of this config and these data."""
    return digest([config, data, dict(hashes)])


class RunFolder:
    """`<run.dir>/<job>-<config hash>/` and its manifest. cfg: a config with a section `run`.

    before: the manifest that an earlier run left here. fault: why that cannot be read. kept: `before`, as long as it is
    that of a finished run and nothing has turned up that differs from it; until then nothing is written.
    """

    def __init__(self, cfg: StudyConfig, job: str, study: str) -> None:
        """Raises ConfigError where the folder was laid out by another version."""
        self.store = Folder(cfg.run.dir, cfg.storage)
        self.name = f"{job}-{config_hash(cfg)}"
        self.folder = self.store.sub(self.name)
        self.before, self.fault = self._left_before()
        earlier = earlier_commands(self.before)
        self._began, self._before_s = time.monotonic(), earlier[-1].get("seconds_total", 0.0) if earlier else 0.0
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
            "sources": sources(),
            "earlier": earlier,
        }
        before = self.before if self.before and self.before["status"] == "done" else None
        self.kept = before if before and _basis(before) == _basis(plain(self.manifest)) else None
        self._written: Files = {}
        self.out = self.folder.noting(self._written)
        """The folder, for what is written of the run as a whole: its manifest vouches for that."""

    def _left_before(self) -> tuple[Json | None, str | None]:
        """See `before` and `fault`."""
        if not self.folder.exists("manifest.json"):
            return None, None
        try:
            return read_manifest(self.folder), None
        except DamagedError as error:
            return None, f"manifest.json: {error}"

    @cached_property
    def sizes(self) -> dict[str, int]:
        """What lies in the folder when the run begins, path -> bytes."""
        return {stat.path: stat.size for stat in self.folder.list()}

    def forget_other_data(self, fingerprint: str) -> None:
        """Delete results of an earlier state of the recordings: this folder speaks of one state only.

        Where the manifest cannot be read, the units' hashes tell their states, and `clear` deletes the rest; units of
        variants stay until their setting is asked for, and are done again where their hash is another.
        """
        if self.before is not None and self.before["data"]["fingerprint"] != fingerprint:
            self.kept = None
            for name in ("units", "maps", "figures"):
                self.folder.delete_folder(name)
            self.forget_scores()
            self.manifest["earlier"], self._before_s = [], 0.0

    def damage(self) -> list[str]:
        """What of a finished run's own files is damaged, `file: what` each; if any is, all of them are made again."""
        if self.kept is None:
            return []
        found = damages(self.folder, self.kept["files"], self.sizes, ONLY_LOOKED_AT)
        lines = [f"{path}: {what}" for path, what in found]
        if lines:
            self.kept = None
        return lines

    def keep_tables(self) -> None:
        """Vouch for the tables that a finished run wrote before its first unit, without writing them again."""
        assert self.kept is not None
        names = [f"{name}.parquet" for name in ("rejects", *self.kept["tables"])]
        self._written |= {name: self.kept["files"][name] for name in names}
        self.note(tables=self.kept["tables"])

    def forget_scores(self) -> None:
        """Delete what is made of the units' results."""
        tables = ("metrics.json", "predictions.parquet", "per_item.parquet", "centre.npz", "explain.npz")
        for name in (*tables, "report.html", "model_card.md", CRATE):
            self.folder.delete(name)

    def clear(self, units: Mapping[str, UnitFolder]) -> None:
        """Delete what lay in units/ and maps/ and belongs to none of the run's units, nor to the run as a whole.

        Units of variants that are not asked for now stay: variants are no part of what the run is, and whoever asks for
        them again finds them done.
        """
        for name in sorted({path.split("/")[1] for path in self.sizes if path.startswith("units/")} - set(units)):
            if not is_of_variant(name):
                self.folder.delete_folder(f"units/{name}")
        results = [one.result() or {"files": {}} for one in units.values()]
        known = {*self._written, *(path for result in results for path in result["files"])}
        for path in self.sizes:
            if path.startswith("maps/") and path not in known:
                self.folder.delete(path)

    def note(self, **entries: Any) -> None:
        """Add to the manifest and write it, where it does not say so already; with the seconds of all commands on this
        folder so far."""
        self.manifest |= entries
        if self.kept is None or not plain(entries).items() <= self.kept.items():
            self.kept = None
            self.manifest["seconds_total"] = round(self._before_s + time.monotonic() - self._began, 3)
            write_sealed(self.folder, "manifest.json", self.manifest)

    def finish(self, status: str, stages: Mapping[str, float]) -> None:
        """The run has ended, with `done` or `failed`. stages: what of it took how many seconds."""
        took = {name: round(value, 3) for name, value in stages.items()}
        ended = {"status": status, "finished": _now(), "stages": took}
        self.out.write_json(CRATE, crate({**self.manifest, **ended}, self._written))
        self.note(**ended, files=self._written)


def read_manifest(run: Folder) -> Json:
    """The manifest of a run folder.

    Raises FileNotFoundError, DamagedError; ConfigError where another version has laid the folder out.
    """
    try:
        found = run.read_json("manifest.json")
    except ValueError as error:
        raise DamagedError("cut short, or no JSON") from error
    check_layout(found, run.uri)
    return unsealed(found)


def report_damage(run: Folder) -> list[str] | None:
    """What is wrong with the report of a run folder, `file: what` each; None where none was drawn of these scores."""
    drawn = read_manifest(run).get("report")
    if drawn is None:
        return None
    return [f"{path}: {what}" for path, what in damages(run, drawn, run.sizes(drawn), ONLY_LOOKED_AT)]


def draw(run: Folder, write_report: Callable[[Folder], None]) -> None:
    """Draw the report of a run folder; the manifest of a run that has ended vouches for what was written.

    Then its metadata name the report too, and stand or fall with it. Raises as `read_manifest` and what draws it.
    """
    read_manifest(run)
    files: Files = {}
    out = run.noting(files)
    write_report(out)
    manifest = read_manifest(run)  # again: it took a while
    if manifest["status"] != "running":
        others = {path: noted for path, noted in manifest.get("files", {}).items() if path != CRATE}
        out.write_json(CRATE, crate(manifest, {**others, **files}))
        write_sealed(run, "manifest.json", {**manifest, "files": others, "report": files})


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
