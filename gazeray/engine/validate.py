# SPDX-License-Identifier: Apache-2.0
"""Is a run folder whole, and does what it says follow from what its units left? By recomputation through the study.

Every file can be opened, every unit is the one that the manifest stands for, nothing lies about that belongs to no
unit, and the study gives metrics.json and the run's tables again from the units.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from gazeray.config import RESULT_FREE, ConfigError, check_layout, digest, validate
from gazeray.engine.experiment import completed
from gazeray.engine.run import units_of
from gazeray.engine.run_files import RunFiles, some, table_differences, value_differences
from gazeray.storage import Folder, StorageError, masked
from gazeray.study import Finished, Row, Study, Summary
from gazeray.tables import REJECTS, DataError
from gazeray.unit import Json, Unit, UnitFolder

StudyOf = Callable[[Json], Study[Any, Any]]
"""The study of a manifest, with its config. Raises ConfigError where there is none such."""


class NotARunError(ValueError):
    """There is no run folder here, or its manifest cannot be read."""


class _Open(BaseModel):
    """A part of a manifest: what is named must be there, more may be."""

    model_config = ConfigDict(extra="allow", strict=True)


class DataEntry(_Open):
    """What the run was fed with."""

    dataset: str
    fingerprint: str


class TableEntry(_Open):
    """A table that was written before the first unit."""

    rows: int
    columns: list[str]


class RowEntry(_Open):
    """A row of the table of scores."""

    key: str
    label: str
    kind: Literal["model", "baseline", "ceiling"]


class FoldEntry(_Open):
    """One fold."""

    fold: int


class Manifest(_Open):
    """What manifest.json says of a run of any study that has got as far as having units."""

    job: str
    study: str
    status: Literal["running", "done", "failed"]
    config: dict[str, Any]
    config_hash: str
    seed: int
    started: str
    finished: str | None
    versions: dict[str, str]
    data: DataEntry
    counts: dict[str, int]
    folds: list[FoldEntry]
    tables: dict[str, TableEntry]
    unit_hashes: dict[str, str] = {}
    units_of: str = ""
    units: dict[str, Literal["done", "failed"]] = {}
    failures: dict[str, str] = {}
    rows: list[RowEntry] = []


def validate_run(run: Folder, study_of: StudyOf) -> list[str]:
    """Everything that is wrong with a run folder, `file: what` each; empty when it is valid.

    Raises NotARunError when there is no manifest.json or it is no JSON object, ConfigError for a folder that another
    version has laid out; OSError when the storage refuses to be read.
    """
    raw = _read_manifest(run)
    check_layout(raw, run.uri)
    files = RunFiles(run)
    try:
        manifest = validate(Manifest, raw, "manifest.json")
        found = [*_manifest_faults(manifest), *_unit_faults(files, manifest), *_stray_faults(files, manifest)]
        unreadable = files.unreadable()
        found += [*unreadable, *_table_faults(files, manifest), *_map_faults(files)]
        if not unreadable:
            found += _study_faults(files, raw, manifest, study_of(raw))
    except ConfigError as error:
        return [masked(line) for line in error.errors]
    if "report.html" not in files.sizes:
        found.append("report.html: missing; jobs/report.py draws it")
    elif manifest.config_hash not in run.read_text("report.html"):
        found.append("report.html: drawn of another run; jobs/report.py draws it again")
    return [" ".join(line.split()) for line in dict.fromkeys(found)]


def _read_manifest(run: Folder) -> Json:
    if not run.exists("manifest.json"):
        raise NotARunError(f"{run.uri}: not a run folder: no manifest.json")
    try:
        raw = run.read_json("manifest.json")
    except ValueError as error:
        raise NotARunError(f"{run.uri}/manifest.json: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise NotARunError(f"{run.uri}/manifest.json: not a JSON object")
    return raw


def _manifest_faults(manifest: Manifest) -> Iterator[str]:
    """Status, hash and seed; what it says of units."""
    if manifest.status != "done":
        reason = "the run has not ended, or was killed" if manifest.status == "running" else "some units failed"
        yield f"manifest.json: status is {manifest.status}: {reason}"
    elif "failed" in manifest.units.values():
        yield "manifest.json: status is done although units failed"
    if (manifest.finished is None) == (manifest.status != "running"):
        yield f"manifest.json: status is {manifest.status} and finished is {manifest.finished}"
    expected = digest(without(manifest.config, RESULT_FREE))[:10]
    if manifest.config_hash != expected:
        yield f"manifest.json: config_hash is {manifest.config_hash}, that of the config is {expected}"
    if manifest.seed != (manifest.config.get("run") or {}).get("seed"):
        yield f"manifest.json: seed is {manifest.seed}, the config says otherwise"
    hashes = manifest.unit_hashes
    if not hashes:
        yield "manifest.json: it names no units"
    elif manifest.units_of != units_of(manifest.config_hash, manifest.data.fingerprint, hashes):
        yield "manifest.json: unit_hashes are not those of this config and these data"
    if manifest.status != "running":
        for name in sorted(set(manifest.units) ^ set(hashes)):
            yield f"manifest.json: {name} is not both in units and in unit_hashes"


def without(values: Mapping[str, Any], excluded: Any) -> dict[str, Any]:
    """`values` without the keys that `excluded` names: a set of keys, or nested {key: True | set | mapping}."""
    kept = {}
    for key, value in values.items():
        inner = excluded.get(key) if isinstance(excluded, Mapping) else (True if key in excluded else None)
        if inner is not True:
            kept[key] = without(value, inner) if inner and isinstance(value, Mapping) else value
    return kept


# -- units


def _unit_faults(files: RunFiles, manifest: Manifest) -> Iterator[str]:
    for name, hash_ in sorted(manifest.unit_hashes.items()):
        path = f"units/{name}"
        if manifest.units.get(name) == "failed":
            reason = manifest.failures.get(name, "no reason is written down")  # all that is told of one never begun
            if name not in manifest.failures or f"{path}/failure.json" in files.sizes:
                reason = (files.json(f"{path}/failure.json", ("error",)) or {}).get("error", reason)
            yield from files.told()
            yield f"{path}: failed: {reason}"
            continue
        result = files.json(f"{path}/result.json", ("unit", "hash", "status"))
        yield from files.told()
        if result is None:
            continue
        if result["unit"] != name or result["status"] != "done":
            yield f"{path}/result.json: is of unit {result['unit']}, status {result['status']}"
        if result["hash"] != hash_:
            yield f"{path}/result.json: its hash is not the one in the manifest"
        if f"{path}/failure.json" in files.sizes:
            yield f"{path}/failure.json: left behind in a unit that is done"
        weights = ["checkpoint/model.safetensors"] if "epochs" in result else []
        for file in [*weights, *(result.get("files") or [])]:
            if not files.sizes.get(f"{path}/{file}"):
                yield f"{path}/{file}: missing or empty"
        if "epochs" in result:
            log = files.lines(f"{path}/metrics.jsonl")
            yield from files.told()
            if log is not None and [line.get("epoch") for line in log] != [*range(1, int(result["epochs"]) + 1)]:
                yield f"{path}/metrics.jsonl: logs {len(log)} epochs, the result says {result['epochs']}"


def _stray_faults(files: RunFiles, manifest: Manifest) -> Iterator[str]:
    """What lies in units/ belongs to a unit of the manifest; settings of a search only where there was one."""
    parts = [path.split("/") for path in files.sizes if path.startswith("units/")]
    for name in sorted({part[1] for part in parts} - set(manifest.unit_hashes)):
        yield f"units/{name}: an orphan: no such unit in the manifest"
    settings = {"/".join(part[:3]) for part in parts if len(part) > 3 and part[2].startswith("setting-")}
    searched = manifest.config.get("search") is not None
    wrong = sorted(name for name in settings if not searched or f"{name}/trial.json" not in files.sizes)
    if wrong:
        yield f"units: {len(wrong)} orphan settings, of no search: {some(wrong)}"
    if any(path.startswith("ray/") for path in files.sizes):
        yield "ray: scratch of the workers, left behind by a killed run"


# -- tables and maps


def _table_faults(files: RunFiles, manifest: Manifest) -> Iterator[str]:
    """The tables that were written before the first unit."""
    rejects = TableEntry(rows=manifest.counts.get("rejected", 0), columns=REJECTS.names)
    for name, entry in {"rejects": rejects, **manifest.tables}.items():
        path = f"{name}.parquet"
        table = files.table(path)
        yield from files.told()
        if table is None:
            continue
        if table.column_names != entry.columns:
            yield f"{path}: its columns are {', '.join(table.column_names)}, not {', '.join(entry.columns)}"
        if table.num_rows != entry.rows:
            yield f"{path}: {table.num_rows} rows, the manifest counts {entry.rows}"
        if name == "rejects":
            types = {field.name: field.type for field in table.schema}
            wrong = [field.name for field in REJECTS if types.get(field.name, field.type) != field.type]
            if wrong:
                yield f"{path}: wrong type of column {', '.join(wrong)}"


def _map_faults(files: RunFiles) -> Iterator[str]:
    """The index names exactly the maps that are there."""
    index = "maps/index.parquet"
    there = {path for path in files.sizes if path.startswith("maps/") and path != index}
    if not there and index not in files.sizes:
        return
    table = files.table(index)
    yield from files.told()
    if table is None:
        return
    if "path" not in table.column_names:
        yield f"{index}: no column path"
        return
    named = set(table["path"].to_pylist())
    yield from (f"{index}: {path} is not there" for path in sorted(named - there)[:20])
    if there - named:
        yield f"maps: {len(there - named)} orphans, in no index: {some(sorted(there - named))}"


# -- what follows from the units


def _study_faults(files: RunFiles, raw: Json, manifest: Manifest, study: Study[Any, Any]) -> list[str]:
    """What the study gives again from the units, against what is there; and what it has to say itself."""
    run, hashes = files.run, manifest.unit_hashes
    failed = sorted(name for name in hashes if manifest.units.get(name) == "failed")
    results = {name: files.json(f"units/{name}/result.json", ("hash",)) for name in hashes if name not in failed}
    files.told()
    done = {
        name: UnitFolder(run, Unit(name, {}, hashes[name]))
        for name, result in results.items()
        if result is not None and result["hash"] == hashes[name]
    }
    if not done:
        return [] if not run.exists("metrics.json") else ["metrics.json: scores although no unit is done"]
    finished = Finished(done, failed, {row.key: Row(row.label, row.kind) for row in manifest.rows})
    parts: dict[str, Callable[[], Iterable[str]]] = {
        "metrics.json": lambda: _differences(run, completed(study, study.summary(raw, finished, None), finished)),
        "manifest.json": lambda: study.checked(run, raw, finished),
    }
    found: list[str] = []
    for path, part in parts.items():
        try:
            found += part()
        except StorageError:
            raise
        except FileNotFoundError as error:
            found.append(f"{str(error.filename or error).removeprefix(run.uri + '/')}: missing")
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, pa.ArrowException) as error:
            told = "; ".join(error.errors) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            found.append(f"{path}: cannot be computed again from the run folder: {told[:300]}")
    return found


def _differences(run: Folder, again: Summary) -> Iterator[str]:
    for name, table in again.tables.items():
        yield from table_differences(f"{name}.parquet", run.read_table(f"{name}.parquet"), table)
    for name in again.files:
        if not run.exists(name):
            yield f"{name}: missing"
    metrics = json.loads(masked(json.dumps(again.metrics)))
    yield from value_differences("metrics.json", run.read_json("metrics.json"), metrics)
