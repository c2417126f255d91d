# SPDX-License-Identifier: Apache-2.0
"""What must hold in the run folder of a study with folds of people or stimuli: the folds, and who each of them tested.

Lines name the file first, as validation prints them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from gazeray.config import FoldsConfig
from gazeray.learn.folds import HELD_OUT
from gazeray.storage import Folder
from gazeray.studies.shared.classification import PREDICTIONS, fold_scores_of
from gazeray.study import Finished
from gazeray.unit import Json

SIDES = ("train", "validation", "test")
GATE = ("participant", "trial", "gate")


def fold_faults(manifest: Json, cfg: FoldsConfig) -> Iterator[str]:
    """Nobody on two sides of a fold; of folds that were dealt here: nobody on none, and everybody tested."""
    folds, dealt = manifest["folds"], cfg.path is None
    numbers = [fold["fold"] for fold in folds]
    if not numbers or len(set(numbers)) != len(numbers):
        yield f"manifest.json: folds are numbered {', '.join(map(str, numbers)) or 'not at all'}"
    if len(set(manifest["classes"])) != len(manifest["classes"]) or len(manifest["classes"]) < 2:
        yield f"manifest.json: classes are {', '.join(manifest['classes'])}: at least two different ones needed"
    for column in HELD_OUT[cfg.hold_out]:
        sides = {fold["fold"]: fold if column == "participant" else fold["stimuli"] or {} for fold in folds}
        sides = {number: {side: theirs.get(side) or [] for side in SIDES} for number, theirs in sides.items()}
        everybody = sorted({name for theirs in sides.values() for names in theirs.values() for name in names})
        tested = Counter(name for theirs in sides.values() for name in theirs["test"])
        for fold in folds:
            theirs, claims = sides[fold["fold"]], (fold.get("regimes") or {}).values()
            if not any(theirs.values()):
                yield f"manifest.json: fold {fold['fold']}: no {column} on any side, although they are held out"
            if all(column in claim["unseen"] for claim in claims):
                alone = dealt and column == HELD_OUT[cfg.hold_out][0]
                yield from _on_two_sides(f"fold {fold['fold']}: {column}", theirs, alone)
            if dealt and cfg.hold_out != "both":
                absent = sorted(set(everybody) - {name for names in theirs.values() for name in names})
                yield from (f"manifest.json: fold {fold['fold']}: {column} {name} is on no side" for name in absent)
        if dealt:
            yield from (f"manifest.json: {column} {name} is never tested" for name in everybody if not tested[name])
        if dealt and cfg.hold_out != "both":
            often = [name for name in everybody if tested[name] > 1]
            yield from (f"manifest.json: {column} {name} is tested in {tested[name]} folds" for name in often)
        if dealt and column == "participant" and len(everybody) != manifest["counts"]["participants"]:
            counted = manifest["counts"]["participants"]
            yield f"manifest.json: {counted} participants counted, {len(everybody)} in folds"


def _on_two_sides(where: str, sides: Mapping[str, list[str]], alone: bool) -> Iterator[str]:
    """alone: those who are validated on share nobody with training either."""
    pairs = [("train", "test"), ("validation", "test"), *([("train", "validation")] if alone else [])]
    for one, other in pairs:
        for name in sorted(set(sides[one]) & set(sides[other])):
            yield f"manifest.json: {where} {name} is on two sides: {one}, {other}"


def prediction_faults(run: Folder, manifest: Json, finished: Finished, cfg: FoldsConfig) -> Iterator[str]:
    """Every example that was to be tested, once, by the fold that was to test it; predicted is the highest score."""
    table = run.read_table(PREDICTIONS)
    rows = table.select([name for name in table.column_names if name != "scores"]).to_pylist()
    ids = ["participant", "trial", *([] if cfg.path is None else ["fold"])]
    counted = Counter(tuple(row[name] for name in ids) for row in rows)
    twice = [" ".join(map(str, key)) for key, count in counted.items() if count > 1]
    if twice:
        yield f"{PREDICTIONS}: {len(twice)} examples stand there more than once: {', '.join(twice[:5])}"
    expected = manifest["counts"]["examples"]
    if cfg.path is None and not finished.failed and table.num_rows != expected:
        yield f"{PREDICTIONS}: {table.num_rows} rows for {expected} examples"
    planned = {fold["fold"]: fold for fold in manifest["folds"]}
    strays = set()
    for row in rows:
        fold = planned.get(row["fold"])
        stimuli = (fold or {}).get("stimuli") or {}
        if fold is None:
            strays.add(f"fold {row['fold']} is not in the manifest")
        elif fold["test"] and row["participant"] not in fold["test"]:
            strays.add(f"participant {row['participant']} was not to be tested in fold {row['fold']}")
        elif stimuli and row["stimulus"] not in stimuli["test"]:
            strays.add(f"stimulus {row['stimulus']} was not to be tested in fold {row['fold']}")
    yield from (f"{PREDICTIONS}: {line}" for line in sorted(strays)[:20])
    yield from _score_faults(table, manifest["classes"])
    yield from _result_faults(manifest, finished, table)
    if run.exists("quality.parquet"):
        yield from _gate_faults(run.read_table("quality.parquet"), rows)


def _score_faults(table: pa.Table, classes: list[str]) -> Iterator[str]:
    known = set(classes)
    strange = sorted(
        {str(name) for column in ("label", "predicted") for name in table[column].to_pylist() if name not in known}
    )
    if strange:
        yield f"{PREDICTIONS}: {', '.join(strange[:5])}: none of the classes {', '.join(classes)}"
    scores = table["scores"].to_pylist()
    if any(row is None or len(row) != len(classes) or not np.isfinite(np.array(row, float)).all() for row in scores):
        yield f"{PREDICTIONS}: scores must be {len(classes)} finite numbers in every row"
    elif scores:
        best = np.array(classes)[np.array(scores).argmax(axis=1)]
        wrong = int(np.sum(best != np.array(table["predicted"].to_pylist(), dtype=object)))
        if wrong:
            yield f"{PREDICTIONS}: predicted is not the class with the highest score in {wrong} rows"


def _result_faults(manifest: Json, finished: Finished, table: pa.Table) -> Iterator[str]:
    """What the units say of their own tests is what their predictions give."""
    scores = fold_scores_of(table, manifest["classes"])
    tested = Counter(table["fold"].to_pylist())
    for name, unit in finished.done.items():
        result, fold = unit.result() or {}, int(name.rpartition("-")[2])
        if result["metrics"] != scores.get(fold):
            yield f"units/{name}/result.json: its metrics are not those of its predictions"
        if result["n"]["test"] != tested[fold]:
            yield f"units/{name}/result.json: {result['n']['test']} examples tested, {tested[fold]} predictions"


def _gate_faults(quality: pa.Table, rows: list[Json]) -> Iterator[str]:
    """Whoever was tested is among the recordings, and was not refused by a gate."""
    tested = {(row["participant"], row["trial"]) for row in rows}
    there = {(row["participant"], row["trial"]): row["gate"] for row in quality.select(list(GATE)).to_pylist()}
    if quality.num_rows != len(there):
        yield f"quality.parquet: {quality.num_rows - len(there)} trials stand there more than once"
    groups = {"are missing": tested - set(there) if there else set()}
    groups["were refused and tested all the same"] = {key for key in tested if there.get(key)}
    for what, keys in groups.items():
        if keys:
            some = ", ".join(" ".join(key) for key in sorted(keys)[:5])
            yield f"quality.parquet: {len(keys)} tested trials {what}: {some}"
