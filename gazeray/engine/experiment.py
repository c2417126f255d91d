# SPDX-License-Identifier: Apache-2.0
"""The one flow of every study: look, pass over the data, deal folds, search, do the units, put them together.

`run` reads from top to bottom. Everything it learns lands in one run folder; called again it does what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeVar

from gazeray.config import JobConfig, SearchConfig, check_watched, config_hash, digest
from gazeray.engine.executor import Executor
from gazeray.engine.plan import check_settings
from gazeray.engine.prepare import Filled, prepare
from gazeray.engine.progress import ProgressView
from gazeray.engine.provenance import machine
from gazeray.engine.run import RunFolder, prefix_of, units_of
from gazeray.engine.search import search
from gazeray.engine.tracking import Followers, followers
from gazeray.engine.units import Work
from gazeray.engine.variants import Variant, entries, overview, parts_of, prepared, scored, table_of
from gazeray.learn.inner_search import InnerSearch
from gazeray.learn.space import settings_to_try, with_setting
from gazeray.storage import Folder, StorageError
from gazeray.study import Finished, Learning, Predictor, Ready, Searched, Study, Summary, Tried
from gazeray.tables import DataError, Fault, rejects_table
from gazeray.unit import Json, Unit, UnitFolder

D = TypeVar("D")
S = TypeVar("S")

FIRST_BYTES = 8e6
"""A recording of more is not opened before the workers start: reading it twice would take longer than they do."""
VERIFIED_AT_ONCE = 16
"""Units of an earlier run whose files are read at the same time."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its folder, its metrics (None when no unit finished), the failed units with reasons."""

    run: Folder
    metrics: Json | None
    failed: dict[str, str]


def run(study: Study[D, S], job: str, view: ProgressView) -> Outcome:
    """Run the whole study, or what is missing of it.

    Raises DataError or ConfigError when config or data make it impossible, before any unit is begun; SearchError;
    StorageError.
    """
    with view.stage("looking at the data"):
        check_settings(study.cfg)
        source = study.open()
        for line in source.first(FIRST_BYTES):
            if isinstance(line, Fault):  # others may be good: those that are not are rejected by name
                view.line(f"warning: {line}")
    folder = RunFolder(study.cfg, job, study.name)
    view.line(f"run folder: {folder.folder.uri}")
    with (
        followers(study.cfg, folder, view.line) as heard,
        view.live(),
        Executor(study.cfg.resources, study.cfg.data.cache_gb, view) as workers,
    ):
        filled: Filled = {}
        ready = prepare(study, source, folder.store, workers, filled)
        variants = prepared(study, folder.store, workers, filled)
        folder.manifest["machine"] = machine(workers)
        _note_start(folder, ready, variants, view)
        learning = study.learning(ready)
        if learning is not None and isinstance(study.cfg, JobConfig):
            check_watched(study.cfg, learning.learner.watched)
        if learning is not None and learning.search is not None:
            searched = _search(study, ready, learning, learning.search, folder, workers)
            ready = replace(ready, searched=searched)
            folder.note(searched=[asdict(one) for one in searched.chosen])
        predictors = study.predictors(ready)
        rows = {key: row for predictor in predictors for key, row in predictor.rows.items()}
        if variants:
            folder.note(variants=entries(variants, ready, rows))
        with view.timed("units"):
            units, status = _do_rounds(_parts(predictors, ready, variants, folder), ready, folder, workers, heard)
        workers.pool.close()  # others may want what they hold
        failed = {name: state for name, state in status.items() if state != "done"}
        if workers.has_begun:
            folder.manifest["machine"] = machine(workers)
        folder.note(units={name: "failed" if name in failed else "done" for name in status}, failures=failed)
        folder.note(rows=[{"key": key, **asdict(row)} for key, row in rows.items()])
        if folder.kept is not None and "metrics.json" in folder.kept["files"]:
            view.line("nothing has changed: the scores are kept")
            return Outcome(folder.folder, folder.folder.read_json("metrics.json"), {})
        with view.stage("scoring", len(variants) + 1 if variants else None) as stage:
            done = {name: out for name, out in units.items() if name not in failed}
            metrics = _score(study, ready, folder, Finished(done, sorted(failed), rows), stage.step)
            folder.clear(units)
    folder.finish("failed" if failed else "done", view.took)
    return Outcome(folder.folder, metrics, failed)


def _score(
    study: Study[D, S], ready: Ready[D, S], folder: RunFolder, finished: Finished, step: Callable[[], object]
) -> Json | None:
    """Put the units together and write what they add up to; the metrics, None where no unit of the run itself is done,
    or too few are.

    step: as in `whole_summary`.
    """
    manifest = folder.manifest
    own, _ = parts_of(finished, manifest.get("variants") or [])
    summary = whole_summary(study, manifest, finished, ready, step) if own.done else None
    if summary is None:
        folder.forget_scores()
        return None
    _write_summary(folder.out, summary)
    folder.note(seconds={name: (one.result() or {}).get("seconds") for name, one in finished.done.items()})
    return summary.metrics


def whole_summary(
    study: Study[D, S], manifest: Json, finished: Finished, ready: Ready[D, S] | None,
    step: Callable[[], object] = lambda: None,
) -> Summary | None:  # fmt: skip
    """What the study makes of its units, with what metrics.json of every study says, and the scores of its variants;
    None where too few units are done.

    manifest, ready: as in `Study.summary`. There is a finished unit of the run itself. step: called for each of them.
    """
    variants = manifest.get("variants") or []
    own, theirs = parts_of(finished, variants)
    summary = study.summary(manifest, own, ready)
    if summary is None:
        return None
    labels = {key: asdict(row) for key, row in own.rows.items()}
    metrics = {"study": study.name, "failed": list(own.failed), "predictors": labels, **summary.metrics}
    if variants:
        points = []
        for point in scored(study, manifest, metrics, summary.headline, theirs):
            points.append(point)
            step()
        metrics["variants"] = overview(points)
    return replace(summary, metrics=metrics)


def _search(
    study: Study[D, S], ready: Ready[D, S], learning: Learning, how: SearchConfig, folder: RunFolder, workers: Executor
) -> Searched:
    """Choose a setting in every outer fold. Every setting is the study with another config.

    Settings that draw the data in the same way share their stores. Raises DataError when a setting leaves other items
    than the config does: settings can be compared on the same items only.
    """
    assert isinstance(study.cfg, JobConfig)
    tried: list[Tried] = []
    drawn: dict[str, Ready[D, S]] = {}
    for setting in settings_to_try(study.cfg):
        other = replace(study, cfg=with_setting(study.cfg, setting))
        look = digest({key: value for key, value in setting.items() if not key.startswith(("model.", "train."))})
        if look not in drawn:
            theirs = prepare(other, other.open(), folder.store, workers) if look != digest({}) else ready
            ids = list(ready.items.ids)
            if not theirs.items.table.select(ids).equals(ready.items.table.select(ids)):
                counts = f"{len(theirs.items)} usable items, not the {len(ready.items)} of the config"
                raise DataError([f"search.space: {setting} leaves {counts}; settings are compared on the same items"])
            drawn[look] = theirs
        own = other.learning(drawn[look])
        assert own is not None
        tried.append(Tried(setting, own.learner, own.store, drawn[look].items.content))
    work = InnerSearch(
        tried, ready.items.folds, ready.items.table, learning.labels, learning.folds, how,
        learning.learner.train, study.cfg.run.seed, folder.manifest["config_hash"], folder.folder,
    )  # fmt: skip
    return Searched(tried, search(work, workers.points, workers.view))


@dataclass(frozen=True)
class _Part:
    """The run itself or a variant: its predictors, what begins the names of its units, and what its units hang on."""

    predictors: Sequence[Predictor]
    prefix: str
    config_hash: str
    content: str


def _parts(
    predictors: Sequence[Predictor], ready: Ready[D, S], variants: Sequence[Variant[D, S]], folder: RunFolder
) -> list[_Part]:
    """The run itself, then its variants."""
    own = _Part(predictors, "", folder.manifest["config_hash"], ready.items.content)
    return [own, *(
        _Part(one.predictors, prefix_of(one.name), config_hash(one.study.cfg), one.ready.items.content)
        for one in variants if one.ready is not None
    )]  # fmt: skip


@dataclass(frozen=True)
class _Planned:
    """A unit, who does it, in which round, the names of those that it reads, and its folder."""

    unit: Unit
    predictor: Predictor
    after: Sequence[str]
    out: UnitFolder


def _plan(parts: Sequence[_Part], folder: RunFolder) -> dict[str, _Planned]:
    """The units of all rounds by name, in the order of the rounds. A unit is hashed as in a run of its part alone."""
    planned: dict[str, _Planned] = {}
    for number in _rounds(parts):
        earlier = dict(planned)
        for part, predictor in ((each, one) for each in parts for one in each.predictors if one.round == number):
            for spec in predictor.units():
                after = [f"{part.prefix}{name}" for name in spec.after]
                for own, name in zip(spec.after, after, strict=True):
                    if name not in earlier:
                        raise ValueError(f"{spec.name} reads {own}, which is no unit of an earlier round")
                name = f"{part.prefix}{spec.name}"
                if name in planned:
                    raise ValueError(f"two units are named {name}")
                before = [earlier[one].unit.hash for one in after]
                hashed = [part.config_hash, part.content, spec.name, spec.spec, spec.hashed, before]
                unit = Unit(name, spec.spec, digest(hashed))
                planned[name] = _Planned(unit, predictor, after, UnitFolder(folder.folder, unit))
    return planned


def _rounds(parts: Sequence[_Part]) -> list[int]:
    return sorted({predictor.round for part in parts for predictor in part.predictors})


def _do_rounds(
    parts: Sequence[_Part], ready: Ready[D, S], folder: RunFolder, workers: Executor, heard: Followers
) -> tuple[dict[str, UnitFolder], dict[str, str]]:
    """Do the units of all parts, round after round; returns their folders and {name: "done" or the error}."""
    content = ready.items.content
    planned = _plan(parts, folder)
    hashes = {name: one.unit.hash for name, one in planned.items()}
    folder.note(unit_hashes=hashes, units_of=units_of(folder.manifest["config_hash"], content, hashes))
    units = {name: one.out for name, one in planned.items()}
    status: dict[str, str] = {}
    redone: set[str] = set()
    for number in _rounds(parts):
        work: dict[str, tuple[Unit, Predictor]] = {}
        for name, one in planned.items():
            if one.predictor.round == number:
                absent = [before for before in one.after if status[before] != "done"]
                if absent:
                    status[name] = f"{absent[0]}, which it reads, is not done"
                else:
                    work[name] = one.unit, one.predictor
        stale = {name for name in work if redone.intersection(planned[name].after)}
        states, fresh = _run_units(work, units, stale, folder, workers, heard)
        status |= states
        redone |= fresh
    return units, status


def _run_units(
    work: Work, outs: Mapping[str, UnitFolder], stale: set[str], folder: RunFolder, workers: Executor, heard: Followers
) -> tuple[dict[str, str], set[str]]:
    """Do all units that are not done yet; returns {name: "done" or the error}, and those that were not done before.

    outs: their folders. stale: those that read a unit that was done again, so that they must be too.

    Raises StorageError when a worker could not read or write: no unit can be relied on until the storage works again.
    """
    done = _done_before({name: outs[name] for name in work if name not in stale}, folder, workers.view)
    for name in stale:
        outs[name].forget()
    missing = {name: one for name, one in work.items() if name not in done}
    workers.view.units(total=len(work), done=len(work) - len(missing))
    heard.units(total=len(work), done=len(work) - len(missing))
    faults: list[str] = []

    def listen(name: str, kind: str, payload: Json) -> None:
        if kind == "storage":
            kind = "failed"
            faults.append(payload["error"])
        if kind == "died":
            try:
                outs[name].fail(payload["error"], "")
            except OSError as error:
                faults.append(str(error))
        workers.view.unit_event(name, kind, payload)
        heard.unit_event(outs[name], kind, payload)

    if missing:
        folder.note(status="running")  # whatever was finished here is no longer
        workers.units(missing, folder.folder, listen)
    if faults:
        raise StorageError(faults[0])
    return {name: _status(outs[name]) for name in work}, set(missing)


def _done_before(outs: Mapping[str, UnitFolder], folder: RunFolder, view: ProgressView) -> set[str]:
    """The units that an earlier run has done, and left whole. What is damaged is told of and forgotten."""
    there = {name: out for name, out in outs.items() if f"units/{name}/result.json" in folder.sizes}
    with ThreadPoolExecutor(VERIFIED_AT_ONCE) as pool:  # a store of objects answers late
        faults = pool.map(lambda out: out.damage(folder.sizes), there.values())
        for out, fault in zip(there.values(), faults, strict=True):
            if fault is not None:
                view.line(f"{out.unit.name}: {fault}; done again")
                out.forget()
    return {name for name, out in there.items() if out.result() is not None}


def _status(out: UnitFolder) -> str:
    if out.result() is not None:
        return "done"
    return out.failure() or "not finished: the workers stopped before it"


# -- the run folder


def _note_start(folder: RunFolder, ready: Ready[D, S], variants: Sequence[Variant[D, S]], view: ProgressView) -> None:
    """What is known before the first unit: manifest, rejects, tables of the recordings.

    A finished run that is whole is kept as it is.
    """
    items = ready.items
    if folder.fault is not None:
        view.line(f"{folder.fault}; written again, units are kept by their own hashes")
    folder.forget_other_data(items.content)
    for line in folder.damage():
        view.line(f"{line}; written again")
    rejects = sorted(items.rejects, key=lambda one: (one.source, one.row, one.reason))
    data = {**items.manifest.get("data", {}), "fingerprint": items.content}
    folder.note(**{**items.manifest, "data": {**data, "rejects": digest([asdict(one) for one in rejects])}})
    makers = dict(items.tables)
    if variants:
        makers["variants"] = partial(table_of, variants, items)
    else:
        folder.folder.delete("variants.parquet")  # of an earlier command, which asked for some
    if folder.kept is not None and folder.kept["tables"].keys() == makers.keys():
        folder.keep_tables()
        return
    folder.out.write_table("rejects.parquet", rejects_table(rejects))
    tables: Json = {}
    for name, make in makers.items():
        rows, columns = folder.out.write_tables(f"{name}.parquet", make())
        tables[name] = {"rows": rows, "columns": columns}
    folder.note(tables=tables)


def _write_summary(run: Folder, summary: Summary) -> None:
    """metrics.json last."""
    for name, table in summary.tables.items():
        run.write_table(f"{name}.parquet", table)
    for name, data in summary.files.items():
        run.write_bytes(name, data)
    run.write_json("metrics.json", summary.metrics)
