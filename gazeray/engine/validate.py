# SPDX-License-Identifier: Apache-2.0
"""Is a run folder whole, and does what it says follow from what its units left? By recomputation through the study.

Every file is what was written, byte for byte, and can be opened; every unit is the one that the manifest stands for,
nothing lies about that belongs to no unit, and the study gives metrics.json and the run's tables again from the units.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from gazeray.config import RESULT_FREE, ConfigError, check_layout, digest, validate
from gazeray.engine.experiment import whole_summary
from gazeray.engine.run import is_of_variant, units_of
from gazeray.engine.run_files import RunFiles, some, table_differences, value_differences
from gazeray.engine.variants import left_unsaid, parts_of
from gazeray.storage import Folder, StorageError, masked
from gazeray.study import Finished, Row, Study, Summary
from gazeray.tables import REJECTS, DataError
from gazeray.unit import Json, Unit, UnitFolder


class _Open(BaseModel):
    """A part of a manifest: what is named must be there, more may be."""

    model_config = ConfigDict(extra="allow", strict=True)


class TableEntry(_Open):
    """A table that was written before the first unit."""

    rows: int
    columns: list[str]


class FileEntry(_Open):
    """A file that the manifest vouches for."""

    size: int
    sha256: str


class RowEntry(_Open):
    """A row of the table of scores."""

    key: str
    label: str
    kind: Literal["model", "control", "baseline", "ceiling"]


class Code(_Open):
    """The git checkout that the code lay in."""

    commit: str
    dirty: bool


class Machine(_Open):
    """What the numbers were made on."""

    cpu: str
    cores: int
    memory_gb: float
    gpus: list[str]
    device: str | None
    cluster: dict[str, Any] | None


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
    data: dict[str, Any]
    counts: dict[str, int] = {}
    folds: list[dict[str, Any]] = []
    tables: dict[str, TableEntry]
    unit_hashes: dict[str, str] = {}
    units_of: str = ""
    units: dict[str, Literal["done", "failed"]] = {}
    failures: dict[str, str] = {}
    rows: list[RowEntry] = []
    variants: list[dict[str, Any]] = []
    files: dict[str, FileEntry] = {}
    report: dict[str, FileEntry] = {}
    command: str
    git: Code | None
    machine: Machine
    earlier: list[dict[str, Any]]
    stages: dict[str, float] = {}
    seconds: dict[str, float] = {}
    seconds_total: float


def validate_run(run: Folder, study_of: Callable[[Json], Study[Any, Any]]) -> list[str]:
    """Everything that is wrong with a run folder, `file: what` each; empty when it is valid.

    study_of: the study of a manifest, with its config; raises ConfigError where there is none such.

    Raises ConfigError when there is no manifest.json that can be read, or another version has laid the folder out;
    OSError when the storage refuses to be read.
    """
    try:
        raw = run.read_json("manifest.json")
        if not isinstance(raw, dict):
            raise ValueError("not a JSON object")
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([f"{run.uri}: not a run folder: manifest.json: {error}"]) from error
    check_layout(raw, run.uri)
    files = RunFiles(run)
    try:
        manifest = validate(Manifest, raw, "manifest.json")
        files.sealed("manifest.json", ())
        files.say(*_manifest_faults(manifest))
        files.verify({path: one.model_dump() for path, one in {**manifest.files, **manifest.report}.items()})
        done = _look_at_units(files, manifest)
        _look_for_strays(files, manifest)
        whole = files.open_all()
        _look_at_tables(files, manifest)
        _look_at_maps(files, done)
        if whole:
            files.say(*_study_faults(run, raw, manifest, done, study_of(raw)))
    except ConfigError as error:
        return [*files.found, *map(masked, error.errors)]
    if "report.html" not in files.sizes:
        files.say("report.html: missing; jobs/report.py draws it")
    elif manifest.config_hash not in run.read_text("report.html"):
        files.say("report.html: drawn of another run; jobs/report.py draws it again")
    return [" ".join(line.split()) for line in dict.fromkeys(files.found)]


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
    elif manifest.units_of != units_of(manifest.config_hash, str(manifest.data.get("fingerprint")), hashes):
        yield "manifest.json: unit_hashes are not those of this config and these data"
    if manifest.status != "running":
        for name in sorted(set(manifest.units) ^ set(hashes)):
            yield f"manifest.json: {name} is not both in units and in unit_hashes"
        done = {name for name, status in manifest.units.items() if status == "done"}
        for name in sorted(set(manifest.seconds) ^ done):
            yield f"manifest.json: {name} is not both done and in seconds"
    before = [one.get("seconds_total", 0) for one in manifest.earlier]
    if [*before, manifest.seconds_total] != sorted([*before, manifest.seconds_total]):
        yield "manifest.json: seconds_total is less than after an earlier command"
    declared = manifest.data.get("declaration", {})
    if declared.get("name", manifest.data.get("dataset")) != manifest.data.get("dataset"):
        yield f"manifest.json: the declaration is of {declared['name']}, the data set is {manifest.data.get('dataset')}"


def without(values: Mapping[str, Any], excluded: Any) -> dict[str, Any]:
    """`values` without the keys that `excluded` names: a set of keys, or nested {key: True | set | mapping}."""
    kept = {}
    for key, value in values.items():
        inner = excluded.get(key) if isinstance(excluded, Mapping) else (True if key in excluded else None)
        if inner is not True:
            kept[key] = without(value, inner) if inner and isinstance(value, Mapping) else value
    return kept


# -- files


def _look_at_units(files: RunFiles, manifest: Manifest) -> dict[str, UnitFolder]:
    """Returns the folders of the units that are done."""
    done = {}
    for name, hash_ in sorted(manifest.unit_hashes.items()):
        path = f"units/{name}"
        if manifest.units.get(name) == "failed":
            reason = manifest.failures.get(name, "no reason is written down")  # all that is told of one never begun
            if name not in manifest.failures or f"{path}/failure.json" in files.sizes:
                reason = (files.json(f"{path}/failure.json", ("error",)) or {}).get("error", reason)
            files.say(f"{path}: failed: {reason}")
            continue
        result = _result(files, name)
        if result is None:
            continue
        if result["hash"] == hash_:
            done[name] = UnitFolder(files.run, Unit(name, {}, hash_))
        else:
            files.say(f"{path}/result.json: its hash is not the one in the manifest")
        if f"{path}/failure.json" in files.sizes:
            files.say(f"{path}/failure.json: left behind in a unit that is done")
        log = files.read(f"{path}/metrics.jsonl", _epochs) if "epochs" in result else None
        if log is not None and log != [*range(1, int(result["epochs"]) + 1)]:
            files.say(f"{path}/metrics.jsonl: logs {len(log)} epochs, the result says {result['epochs']}")
    return done


def _result(files: RunFiles, name: str) -> Json | None:
    """What a unit that is done says, and its files are what was written; None where its result.json is not whole."""
    path = f"units/{name}/result.json"
    found = files.sealed(path, ("unit", "hash", "status", "files"))
    if found is None:
        return None
    result, whole = found
    if result["unit"] != name or result["status"] != "done":
        files.say(f"{path}: is of unit {result['unit']}, status {result['status']}")
    if not whole:
        return None
    files.verify(result["files"])
    return result


def _epochs(data: bytes) -> list[Any]:
    return [dict(json.loads(line)).get("epoch") for line in data.splitlines() if line.strip()]


def _look_for_strays(files: RunFiles, manifest: Manifest) -> None:
    """What lies in units/ belongs to a unit of the manifest; settings of a search only where there was one.

    Units of variants may be those that an earlier command asked for: what is done of them is whole.
    """
    parts = [path.split("/") for path in files.sizes if path.startswith("units/")]
    for name in sorted({part[1] for part in parts} - set(manifest.unit_hashes)):
        if not is_of_variant(name):
            files.say(f"units/{name}: an orphan: no such unit in the manifest")
        elif f"units/{name}/result.json" in files.sizes:
            _result(files, name)
    for path in files.sizes:  # of a search; those of units are looked at already
        if path.startswith("units/") and path.count("/") > 2 and path.endswith(("/result.json", "/trial.json")):
            files.sealed(path, ())
    settings = {"/".join(part[:3]) for part in parts if len(part) > 3 and part[2].startswith("setting-")}
    searched = manifest.config.get("search") is not None
    wrong = sorted(name for name in settings if not searched or f"{name}/trial.json" not in files.sizes)
    if wrong:
        files.say(f"units: {len(wrong)} orphan settings, of no search: {some(wrong)}")
    if any(path.startswith("ray/") for path in files.sizes):
        files.say("ray: scratch of the workers, left behind by a killed run")


def _look_at_tables(files: RunFiles, manifest: Manifest) -> None:
    """The tables that were written before the first unit."""
    rejects = TableEntry(rows=manifest.counts.get("rejected", 0), columns=REJECTS.names)
    for name, entry in {"rejects": rejects, **manifest.tables}.items():
        path = f"{name}.parquet"
        table = files.table(path)
        if table is None:
            continue
        if table.column_names != entry.columns:
            files.say(f"{path}: its columns are {', '.join(table.column_names)}, not {', '.join(entry.columns)}")
        elif name == "rejects" and table.schema.types != REJECTS.types:
            wrong = [field.name for field in REJECTS if table.schema.field(field.name).type != field.type]
            files.say(f"{path}: wrong type of column {', '.join(wrong)}")
        if table.num_rows != entry.rows:
            files.say(f"{path}: {table.num_rows} rows, the manifest counts {entry.rows}")


def _look_at_maps(files: RunFiles, done: Mapping[str, UnitFolder]) -> None:
    """The index names maps that are there; others are only those of units that are done, and scored in no whole fold.

    What the index has to name follows from the units, see `_differences`.
    """
    index = "maps/index.parquet"
    there = {path for path in files.sizes if path.startswith("maps/")}
    vouched = {path for unit in done.values() for path in (unit.result() or {"files": ()})["files"]}
    table = files.table(index) if there - vouched else None
    if table is not None:
        named = set(table["path"].to_pylist() if "path" in table.column_names else []) | {index}
        files.say(*(f"{index}: {path} is not there" for path in sorted(named - there)[:20]))
        if there - named - vouched:
            orphans = sorted(there - named - vouched)
            files.say(f"maps: {len(orphans)} orphans, in no index: {some(orphans)}")


# -- what follows from the units


def _study_faults(
    run: Folder, raw: Json, manifest: Manifest, done: Mapping[str, UnitFolder], study: Study[Any, Any]
) -> list[str]:
    """What the study gives again from the units, against what is there; and what it has to say itself."""
    failed = sorted(name for name in manifest.unit_hashes if manifest.units.get(name) == "failed")
    finished = Finished(done, failed, {row.key: Row(row.label, row.kind) for row in manifest.rows})
    own, _ = parts_of(finished, manifest.variants)
    if not own.done:
        return [] if not run.exists("metrics.json") else ["metrics.json: scores although no unit is done"]
    parts: dict[str, Callable[[], Iterable[str]]] = {  # each line as it is found: the next may end it
        "metrics.json": lambda: _differences(run, whole_summary(study, raw, finished, None)),
        "manifest.json": lambda: chain(left_unsaid(study, raw), study.checked(run, raw, own)),
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


def _differences(run: Folder, again: Summary | None) -> Iterator[str]:
    if again is None:
        yield from ["metrics.json: scores although too few units are done"] if run.exists("metrics.json") else []
        return
    for name, table in again.tables.items():
        yield from table_differences(f"{name}.parquet", run.read_table(f"{name}.parquet"), table)
    for name in again.files:
        if not run.exists(name):
            yield f"{name}: missing"
    metrics = json.loads(masked(json.dumps(again.metrics)))
    yield from value_differences("metrics.json", run.read_json("metrics.json"), metrics)
