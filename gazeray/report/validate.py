# SPDX-License-Identifier: Apache-2.0
"""Is a run folder whole and consistent? Manifest, folds and units here; tables and scores in `validate_results`.

A run is valid when it says it is done, everybody was tested exactly once and on one side only, every unit is the one
that the manifest stands for, nothing lies about that belongs to no unit, and the scores follow from the predictions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from gazeray.config import RESULT_FREE, ConfigError, digest, validate
from gazeray.report.validate_results import check_results
from gazeray.report.validate_saliency import COMPARISONS, ComparisonManifest, check_comparison
from gazeray.report.validate_tools import Check, Finding, Open, RunManifest, some
from gazeray.storage import Folder

SIDES = ("train", "validation", "test")


class NotARunError(ValueError):
    """There is no run folder here, or its manifest cannot be read."""


class FoldEntry(Open):
    """A planned fold: participants per side, and stimuli per side where stimuli are held out."""

    fold: int
    train: list[str]
    validation: list[str]
    test: list[str]
    stimuli: dict[str, list[str]] | None = None


class DataEntry(Open):
    """What the run was fed with."""

    dataset: str
    label: str
    fingerprint: str


class Counts(Open):
    """How much was read, used and rejected."""

    recordings: int
    participants: int
    trials: int
    examples: int
    rejected: int


class Manifest(RunManifest):
    """manifest.json of a run that has got as far as having folds."""

    data: DataEntry
    classes: list[str]
    folds: list[FoldEntry]
    counts: Counts

    @property
    def hold_out(self) -> str:
        """What test examples share with no training example: participants, stimuli or both."""
        return str((self.config.get("folds") or {}).get("hold_out", "participants"))


def validate_run(run: Folder) -> list[Finding]:
    """Everything that is wrong with a run folder; empty when it is valid.

    Raises NotARunError when there is no manifest.json or it is no JSON object; OSError when the storage refuses to be
    read.
    """
    if not run.exists("manifest.json"):
        raise NotARunError(f"{run.uri}: not a run folder: no manifest.json")
    try:
        raw = run.read_json("manifest.json")
    except ValueError as error:
        raise NotARunError(f"{run.uri}/manifest.json: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise NotARunError(f"{run.uri}/manifest.json: not a JSON object")
    check = Check(run, {stat.path: stat.size for stat in run.list()})
    try:
        manifest: Manifest | ComparisonManifest
        if raw.get("study") in COMPARISONS:
            manifest = validate(ComparisonManifest, raw, "manifest.json")
            _check_manifest(check, manifest)
            check_comparison(check, manifest)
            _check_orphans(check, manifest.units, searched=False)
        else:
            manifest = validate(Manifest, raw, "manifest.json")
            _check_manifest(check, manifest)
            _check_classes(check, manifest)
            _check_folds(check, manifest)
            check_results(check, raw, _check_units(check, manifest, raw))
    except ConfigError as error:
        return [Finding(*line.split(": ", 1)) for line in error.errors]
    if "report.html" not in check.files:
        check.found("report.html", "missing; jobs/report.py draws it")
    elif manifest.config_hash not in run.read_text("report.html"):
        check.found("report.html", "drawn of another run; jobs/report.py draws it again")
    return check.findings


def _check_manifest(check: Check, manifest: Manifest | ComparisonManifest) -> None:
    if manifest.status != "done":
        reason = "the run has not ended, or was killed" if manifest.status == "running" else "some units failed"
        check.found("manifest.json", f"status is {manifest.status}: {reason}")
    elif "failed" in manifest.units.values():
        check.found("manifest.json", "status is done although units failed")
    if (manifest.finished is None) == (manifest.status != "running"):
        check.found("manifest.json", f"status is {manifest.status} and finished is {manifest.finished}")
    expected = digest(without(manifest.config, RESULT_FREE))[:10]
    if manifest.config_hash != expected:
        check.found("manifest.json", f"config_hash is {manifest.config_hash}, that of the config is {expected}")
    if manifest.seed != (manifest.config.get("run") or {}).get("seed"):
        check.found("manifest.json", f"seed is {manifest.seed}, the config says otherwise")


def _check_classes(check: Check, manifest: Manifest) -> None:
    if len(set(manifest.classes)) != len(manifest.classes) or len(manifest.classes) < 2:
        check.found("manifest.json", f"classes are {', '.join(manifest.classes)}: at least two different ones needed")


def without(values: Mapping[str, Any], excluded: Any) -> dict[str, Any]:
    """`values` without the keys that `excluded` names: a set of keys, or nested {key: True | set | mapping}."""
    kept = {}
    for key, value in values.items():
        inner = excluded.get(key) if isinstance(excluded, Mapping) else (True if key in excluded else None)
        if inner is not True:
            kept[key] = without(value, inner) if inner and isinstance(value, Mapping) else value
    return kept


# -- folds


def _check_folds(check: Check, manifest: Manifest) -> None:
    numbers = [fold.fold for fold in manifest.folds]
    if not numbers or len(set(numbers)) != len(numbers):
        check.found("manifest.json", f"folds are numbered {', '.join(map(str, numbers)) or 'not at all'}")
    people = {fold.fold: {side: getattr(fold, side) for side in SIDES} for fold in manifest.folds}
    stimuli = {fold.fold: fold.stimuli for fold in manifest.folds if fold.stimuli is not None}
    if manifest.hold_out != "stimuli":
        _check_sides(check, "participant", people, once=manifest.hold_out == "participants")
        everybody = {name for sides in people.values() for names in sides.values() for name in names}
        if len(everybody) != manifest.counts.participants:
            check.found(
                "manifest.json", f"{manifest.counts.participants} participants counted, {len(everybody)} in folds"
            )
    if manifest.hold_out != "participants":
        for fold in numbers:
            if fold not in stimuli:
                check.found("manifest.json", f"fold {fold}: no stimuli, although {manifest.hold_out} are held out")
        # with both, train and validation share their stimuli on purpose
        known = {fold: {"train": sides["train"], "test": sides["test"]} for fold, sides in stimuli.items()}
        _check_sides(check, "stimulus", stimuli if manifest.hold_out == "stimuli" else known,
                     once=manifest.hold_out == "stimuli")  # fmt: skip


def _check_sides(check: Check, kind: str, folds: Mapping[int, Mapping[str, list[str]]], once: bool) -> None:
    """Nobody on two sides, nobody missing, everybody tested (once: in exactly one fold)."""
    everybody = sorted({name for sides in folds.values() for names in sides.values() for name in names})
    tested: dict[str, list[int]] = defaultdict(list)
    for fold, sides in folds.items():
        where: dict[str, list[str]] = defaultdict(list)
        for side, names in sides.items():
            for name in names:
                where[name].append(side)
        for name in everybody:
            if not where[name]:
                check.found("manifest.json", f"fold {fold}: {kind} {name} is on no side")
            elif len(where[name]) > 1:
                check.found("manifest.json", f"fold {fold}: {kind} {name} is on two sides: {', '.join(where[name])}")
            if "test" in where[name]:
                tested[name].append(fold)
    for name in everybody:
        if not tested[name]:
            check.found("manifest.json", f"{kind} {name} is never tested")
        elif once and len(tested[name]) > 1:
            check.found("manifest.json", f"{kind} {name} is tested in folds {', '.join(map(str, tested[name]))}")


# -- units


def unit_hash(manifest: Mapping[str, Any], fold: Mapping[str, Any]) -> str:
    """The hash that the result of a fold must carry when nothing was searched: of config, data and fold."""
    spec = {"fold": {"stimuli": None, **fold}, "chosen": None}
    return digest([manifest["config_hash"], manifest["data"]["fingerprint"], spec, {}])


def _check_units(check: Check, manifest: Manifest, raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Check every unit; returns the results of those that are done."""
    folds = {f"fold-{fold['fold']}": fold for fold in raw["folds"]}
    for name in sorted(set(folds) ^ set(manifest.units)):
        check.found("manifest.json", f"{name}: {'a unit without a fold' if name in manifest.units else 'no unit'}")
    searched = manifest.config.get("search") is not None
    recorded = raw.get("unit_hashes") or {}
    results = {}
    for name, status in sorted(manifest.units.items()):
        path = f"units/{name}"
        if status == "failed":
            failure = check.json(f"{path}/failure.json", ("unit", "hash", "status", "error")) or {}
            check.found(path, f"failed: {failure.get('error', 'no reason is written down')}")
            continue
        result = check.json(f"{path}/result.json", ("unit", "hash", "status", "epochs", "n", "metrics"))
        if result is None:
            continue
        results[name] = result
        if result["unit"] != name or result["status"] != "done":
            check.found(f"{path}/result.json", f"is of unit {result['unit']}, status {result['status']}")
        expected = recorded.get(name)
        if expected is None and name in folds and not searched:
            expected = unit_hash(raw, folds[name])
        if expected is not None and result["hash"] != expected:
            check.found(f"{path}/result.json", "its hash is not the one of config, data and fold in the manifest")
        _check_unit_files(check, path, result)
    _check_orphans(check, manifest.units, searched)
    return results


def _check_unit_files(check: Check, path: str, result: Mapping[str, Any]) -> None:
    log = check.lines(f"{path}/metrics.jsonl")
    if log is not None:
        epochs = {line.get("epoch") for line in log}
        if epochs != set(range(1, int(result["epochs"]) + 1)):
            check.found(f"{path}/metrics.jsonl", f"logs {len(epochs)} epochs, the result says {result['epochs']}")
    weights = f"{path}/checkpoint/model.safetensors"
    if not check.files.get(weights):
        check.found(weights, "missing" if weights not in check.files else "empty")
    if f"{path}/failure.json" in check.files:
        check.found(f"{path}/failure.json", "left behind in a unit that is done")
    for name in result.get("files") or []:
        if not check.files.get(f"{path}/{name}"):
            check.found(f"{path}/{name}", "missing or empty, although the result names it")
        if name == "explain.npz" and name not in check.files:
            check.found(name, f"missing, although {path} has its part of it")
    predictions = check.table(f"{path}/predictions.parquet", ("participant", "trial", "fold"))
    tested = (result["n"] or {}).get("test")
    if predictions is not None and predictions.num_rows != tested:
        check.found(f"{path}/predictions.parquet", f"{predictions.num_rows} rows, {tested} examples were tested")


def _check_orphans(check: Check, units: Iterable[str], searched: bool) -> None:
    """What lies in units/ belongs to a unit of the manifest; settings of a search only where there was one."""
    known = set(units)
    strangers = {path.split("/")[1] for path in check.files if path.startswith("units/")} - known
    for name in sorted(strangers):
        check.found(f"units/{name}", "an orphan: no such unit in the manifest")
    parts = [path.split("/") for path in check.files if path.startswith("units/")]
    settings = {"/".join(part[:3]) for part in parts if len(part) > 3 and part[2].startswith("setting-")}
    wrong = sorted(name for name in settings if not searched or f"{name}/trial.json" not in check.files)
    if wrong:
        check.found("units", f"{len(wrong)} orphan settings, of no search: {some(wrong)}")
    if any(path.startswith("ray/") for path in check.files):
        check.found("ray", "scratch of the workers, left behind by a killed run")
