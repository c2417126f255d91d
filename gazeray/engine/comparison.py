# SPDX-License-Identifier: Apache-2.0
"""The flow of studies that compare predictors: plan, passes over the data, units, scores, in one run folder."""

from __future__ import annotations

from typing import Any

from gazeray.config import digest
from gazeray.engine.cluster import cluster, workers_that_fit
from gazeray.engine.outcome import Outcome
from gazeray.engine.passes import go_through
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import Unit
from gazeray.engine.run import RunFolder
from gazeray.engine.units import UnitFolder, run_units
from gazeray.study import Comparison, Pass, Prepared


def plan_lines(study: Comparison, cfg: Any) -> list[str]:
    """What a run would do, for --dry-run. Raises DataError, ConfigError."""
    return study.describe(cfg, study.plan(cfg))


def compare(study: Comparison, cfg: Any, job: str, view: ProgressView) -> Outcome:
    """Run the whole study, or what is missing of it.

    Raises DataError or ConfigError when config or data make it impossible, before any unit is begun.
    """
    with view.stage("looking at the data"):
        plan = study.plan(cfg)
    run = RunFolder(cfg, job, study.name)
    view.line(f"run folder: {run.folder.uri}")

    def through(work: Pass) -> None:
        go_through(work, view)

    with view.live(), cluster():
        workers_that_fit(cfg.resources, view.line)
        prepared = study.prepare(cfg, plan, run.store, through)
        units = [
            Unit(name, spec, digest([run.manifest["config_hash"], prepared.content, name, spec]))
            for name, spec in prepared.units.items()
        ]
        _note_start(run, prepared, units)
        work = study.work(cfg, prepared, run.folder)
        status = run_units(units, work, run.folder, cfg.resources, view)
    failed = {name: state for name, state in status.items() if state != "done"}
    run.note(units={name: "failed" if name in failed else "done" for name in status}, failures=failed)
    metrics = None
    with view.stage("scoring"):
        done = {unit.name: UnitFolder(run.folder, unit).folder for unit in units if unit.name not in failed}
        if done:
            compared = study.score(cfg, prepared, done, sorted(failed))
            _write(run, {**compared.tables}, compared.files)
            metrics = compared.metrics
            run.folder.write_json("metrics.json", metrics)
        else:
            run.forget_scores()
    run.finish("failed" if failed else "done")
    return Outcome(run.folder, metrics, failed)


def _note_start(run: RunFolder, prepared: Prepared, units: list[Unit]) -> None:
    run.forget_other_data(prepared.content)
    data = {**prepared.manifest.get("data", {}), "fingerprint": prepared.content}
    hashes = {unit.name: unit.hash for unit in units}
    run.note(**{**prepared.manifest, "data": data}, unit_hashes=hashes)
    _write(run, prepared.tables, {})


def _write(run: RunFolder, tables: dict[str, Any], files: dict[str, bytes]) -> None:
    """Tables as `<name>.parquet` and files into the run folder; maps that are no longer among them go."""
    for name, table in tables.items():
        run.folder.write_table(f"{name}.parquet", table)
    for name, data in files.items():
        run.folder.write_bytes(name, data)
    if files:
        for old in run.folder.list("maps"):
            if old.path.endswith(".npz") and old.path not in files:
                run.folder.delete(old.path)
