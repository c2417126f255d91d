# SPDX-License-Identifier: Apache-2.0
"""What must hold in the run folder of a study with folds of people or stimuli: the folds, and who each of them tested.

Lines name the file first, as validation prints them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from gazeray.config import FoldsConfig
from gazeray.learn.folds import HELD_OUT
from gazeray.storage import Folder
from gazeray.studies.shared.baselines import KEYS, whole_folds
from gazeray.studies.shared.classification import PREDICTIONS, fold_scores_of
from gazeray.study import Finished
from gazeray.unit import Json


def fold_faults(manifest: Json, cfg: FoldsConfig) -> Iterator[str]:
    """Nobody on two sides of a fold; of folds that were dealt here: nobody on none, and everybody tested."""
    folds, classes, dealt, held = manifest["folds"], manifest["classes"], cfg.path is None, HELD_OUT[cfg.hold_out]
    once = dealt and len(held) == 1
    numbers = [fold["fold"] for fold in folds]
    if not numbers or len(set(numbers)) != len(numbers):
        yield f"manifest.json: folds are numbered {', '.join(map(str, numbers)) or 'not at all'}"
    if len(set(classes)) != len(classes) or len(classes) < 2:
        yield f"manifest.json: classes are {', '.join(classes)}: at least two different ones needed"
    for column in held:
        sides = [_sides(fold, column) for fold in folds]
        everybody = {name for theirs in sides for names in theirs.values() for name in names}
        for fold, theirs in zip(folds, sides, strict=True):
            where = f"manifest.json: fold {fold['fold']}"
            if not any(theirs.values()):
                yield f"{where}: no {column} on any side, although they are held out"
            pairs = [("train", "test"), ("validation", "test")]
            if dealt and column == held[0]:
                pairs.append(("train", "validation"))
            claims = (fold.get("regimes") or {}).values()
            for one, other in pairs if all(column in claim["unseen"] for claim in claims) else []:
                for name in sorted(set(theirs[one]) & set(theirs[other])):
                    yield f"{where}: {column} {name} is on two sides: {one}, {other}"
            for name in sorted(everybody.difference(*theirs.values())) if once else []:
                yield f"{where}: {column} {name} is on no side"
        tested = Counter(name for theirs in sides for name in theirs["test"])
        for name in sorted(everybody) if dealt else []:
            if not tested[name]:
                yield f"manifest.json: {column} {name} is never tested"
            elif once and tested[name] > 1:
                yield f"manifest.json: {column} {name} is tested in {tested[name]} folds"
        counted = manifest["counts"]["participants"]
        if dealt and column == "participant" and len(everybody) != counted:
            yield f"manifest.json: {counted} participants counted, {len(everybody)} in folds"


def _sides(fold: Json, column: str) -> dict[str, list[str]]:
    """Who is on which side of a fold of the manifest."""
    theirs = fold if column == "participant" else fold["stimuli"] or {}
    return {side: theirs.get(side) or [] for side in ("train", "validation", "test")}


def prediction_faults(run: Folder, manifest: Json, finished: Finished, cfg: FoldsConfig) -> Iterator[str]:
    """`tested_faults` of predictions of one label; and predicted is the highest score, which units agree to."""
    table = run.read_table(PREDICTIONS)
    yield from tested_faults(table, manifest, finished, cfg)
    yield from _score_faults(table, manifest["classes"])
    yield from _result_faults(manifest, finished, table)
    yield from gate_faults(run, table)


def tested_faults(table: pa.Table, manifest: Json, finished: Finished, cfg: FoldsConfig) -> Iterator[str]:
    """Every example that was to be tested, once, by the fold that was to test it. table: predictions.parquet."""
    rows = table.select(["participant", "trial", "stimulus", "fold"]).to_pylist()
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
        if row["fold"] not in planned:
            strays.add(f"fold {row['fold']} is not in the manifest")
            continue
        for column in HELD_OUT[cfg.hold_out]:
            if row[column] not in _sides(planned[row["fold"]], column)["test"]:
                strays.add(f"{column} {row[column]} was not to be tested in fold {row['fold']}")
    yield from (f"{PREDICTIONS}: {line}" for line in sorted(strays)[:20])


def _score_faults(table: pa.Table, classes: list[str]) -> Iterator[str]:
    strange = sorted(
        {str(name) for column in ("label", "predicted") for name in table[column].to_pylist()} - set(classes)
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
    for fold in whole_folds(finished.done, [fold["fold"] for fold in manifest["folds"]]):
        for name in (f"{key}-{fold}" for key in KEYS):
            result = finished.done[name].result() or {}
            if "metrics" in result and result["metrics"] != scores.get(fold):
                yield f"units/{name}/result.json: its metrics are not those of its predictions"
            if result["n"]["test"] != tested[fold]:
                yield f"units/{name}/result.json: {result['n']['test']} examples tested, {tested[fold]} predictions"


def gate_faults(run: Folder, table: pa.Table) -> Iterator[str]:
    """Whoever was tested is among the recordings, and was not refused by a gate. table: predictions.parquet."""
    if not run.exists("quality.parquet"):
        return
    quality, ids = run.read_table("quality.parquet"), ("participant", "trial")
    tested = {tuple(row[name] for name in ids) for row in table.select(list(ids)).to_pylist()}
    gates = {tuple(row[name] for name in ids): row["gate"] for row in quality.select([*ids, "gate"]).to_pylist()}
    if quality.num_rows != len(gates):
        yield f"quality.parquet: {quality.num_rows - len(gates)} trials stand there more than once"
    missing = tested - set(gates) if gates else set()
    refused = {key for key in tested if gates.get(key)}
    for what, keys in {"are missing": missing, "were refused and tested all the same": refused}.items():
        if keys:
            some = ", ".join(" ".join(key) for key in sorted(keys)[:5])
            yield f"quality.parquet: {len(keys)} tested trials {what}: {some}"
