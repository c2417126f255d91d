# SPDX-License-Identifier: Apache-2.0
"""What the pictures' scores add up to: the table of predictors, the pictures worth showing, the centre bias."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load

from gazeray.config import digest
from gazeray.metrics.bootstrap import entry, group_draws, mean_over, ratio_over, row
from gazeray.metrics.permutation import LEAST_UNITS
from gazeray.metrics.resampling import on_relative_grid
from gazeray.studies.pictures.baselines import BASELINES, CEILINGS, DENSITIES
from gazeray.studies.pictures.config import PictureScoring
from gazeray.studies.pictures.passes import PictureInfo, PictureShards
from gazeray.studies.pictures.scores import IDS, MAPS, SCORES, commonest
from gazeray.studies.shared.npz import npz
from gazeray.study import Finished, Headline, Row, Summary
from gazeray.unit import Json

CENTRE_GRID = (48, 64)
"""(h, w) of the relative grid on which all pictures' maps are averaged."""

CHOSEN = "chosen"

CENTRE, GOLD, GAIN = "centre_bias", "gold_standard", "information_gain"

FAILED = "a unit failed"
FEW_OBSERVERS = "too few observers have fixations on the picture"
NO_GOLD = "there is no gold standard to divide by"
LOW_GOLD = "the gold standard’s gain, to divide by, is not clearly above 0"


@dataclass(frozen=True)
class Models:
    """The models of a study: by predictor, what metrics.json says of it beside its row; and the units that made it.

    chosen: for each fold the predictor whose inner score was the best; empty where models have none.
    """

    entries: dict[str, Json]
    units: dict[str, list[str]]
    chosen: dict[int, str]
    more: dict[str, Any]


def summarise(
    cfg: PictureScoring, manifest: Json, models: Models, finished: Finished, shards: PictureShards | None
) -> Summary:
    """Everything of the run folder that is made of finished units; with the pictures also what the report draws."""
    stimuli = manifest["judged"]
    n = {**manifest["counts"], "pictures": len(stimuli), "fixations": manifest["judged_fixations"]}
    table = per_item(finished, models)
    predictors = _predictors(table, models, finished.rows)
    rows = rows_of(cfg, table, stimuli, predictors)
    shown: list[str] = list(cfg.score.metrics)
    if any("explained" in entries for entries in rows.values()):
        shown.insert(1, "explained")
    best, judged_by = _best(rows, predictors, shown)
    scored = {"metrics_shown": shown, "predictors": predictors, "rows": rows, "best": best}
    headline = _headline(rows, best, judged_by)
    summary = Summary({"n": n, **scored, **models.more}, {"per_item": table}, headline=headline)
    if shards is None:
        return summary
    first = judged_by or shown[0]
    scores = _columns(table, best, stimuli).get(first) if best else None
    centre, maps, index = _pictures(cfg, shards, models, finished, scores, best, first)
    return replace(summary, tables={**summary.tables, "maps/index": index}, files={"centre.npz": centre, **maps})


def per_item(finished: Finished, models: Models) -> pa.Table:
    """The scores of all units, sorted, with those of the model that was chosen in each fold."""
    table = pa.concat_tables(
        [unit.folder.read_table(SCORES) for unit in finished.done.values()], promote_options="default"
    )
    if models.chosen:
        parts = [table]
        for fold, predictor in models.chosen.items():
            theirs = table.filter(pc.and_(pc.equal(table["predictor"], predictor), pc.equal(table["fold"], fold)))
            place = theirs.schema.get_field_index("predictor")
            parts.append(theirs.set_column(place, "predictor", pa.array([CHOSEN] * theirs.num_rows, pa.string())))
        table = pa.concat_tables(parts)
    return table.sort_by([("predictor", "ascending"), ("stimulus", "ascending")])


def _predictors(table: pa.Table, models: Models, rows: Mapping[str, Row]) -> dict[str, Json]:
    """{predictor: kind, label, ...} of all that have scores."""
    entries = {**models.entries, **{name: {"density": name in DENSITIES} for name in (*BASELINES, *CEILINGS)}}
    if models.chosen:
        rows = {**rows, CHOSEN: Row("read-out of the layer chosen on inner folds", "model")}
        folds = {str(fold): predictor for fold, predictor in models.chosen.items()}
        entries[CHOSEN] = {"density": True, "folds": folds}
    there = set(table["predictor"].to_pylist())
    return {name: {**asdict(row), **entries[name]} for name, row in rows.items() if name in there}


# -- the rows


def rows_of(
    cfg: PictureScoring, per_item: pa.Table, stimuli: Sequence[str], predictors: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """{predictor: {metric: `bootstrap.entry`}}, from the tables alone: the same tables give the same numbers.

    per_item: the columns `scores.IDS`, then one per metric, a row per predictor and picture. stimuli: the judged
    pictures in order. predictors: {predictor: kind, ...}.
    """
    draws = group_draws(len(stimuli), cfg.score.resamples, cfg.run.seed)
    columns = {name: _columns(per_item, name, stimuli) for name in predictors}
    why = _reasons(cfg, per_item, stimuli, predictors)
    return {name: _entries(cfg, columns, why[name], name, draws) for name in predictors}


def _columns(per_item: pa.Table, predictor: str, stimuli: Sequence[str]) -> dict[str, np.ndarray]:
    """{metric: (P,) in the order of the pictures, NaN where undefined or not there}."""
    theirs = per_item.filter(pc.equal(per_item["predictor"], predictor)).to_pydict()
    place = {stimulus: number for number, stimulus in enumerate(stimuli)}
    rows = [place[stimulus] for stimulus in theirs["stimulus"]]
    found = {}
    for name in theirs:
        if name not in IDS:
            values = np.full(len(stimuli), np.nan)
            values[rows] = [np.nan if value is None else value for value in theirs[name]]
            found[name] = values
    return found


def _reasons(
    cfg: PictureScoring, per_item: pa.Table, stimuli: Sequence[str], predictors: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Mapping[str, str]]]:
    """{predictor: {metric: why it has no value} of each picture (P,)}, as it was found when the picture was scored.

    A ceiling has no row where too few observers looked: its unit's baselines still have one.
    """
    told: dict[str, dict[str, Mapping[str, str]]] = {name: {} for name in predictors}
    ids = (per_item[column].to_pylist() for column in ("predictor", "stimulus", "why"))
    for name, stimulus, why in zip(*ids, strict=True):
        if name in told:
            told[name][stimulus] = json.loads(why) if why else {}
    seen = {stimulus for name in BASELINES for stimulus in told.get(name, ())}
    failed, too_few = (dict.fromkeys(map(str, cfg.score.metrics), why) for why in (FAILED, FEW_OBSERVERS))
    found = {}
    for name, known in predictors.items():
        few = seen if known["kind"] == "ceiling" else ()
        found[name] = [told[name].get(one, too_few if one in few else failed) for one in stimuli]
    return found


def _given(why: Sequence[Mapping[str, str]], metric: str, values: np.ndarray) -> list[str]:
    """The reasons of the pictures where a metric (P,) is undefined."""
    return [one.get(metric, "") for one, value in zip(why, values, strict=True) if not np.isfinite(value)]


def _entries(
    cfg: PictureScoring, columns: Mapping[str, Mapping[str, np.ndarray]], why: Sequence[Mapping[str, str]], name: str,
    draws: np.ndarray,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """One predictor's row of the table. columns: {predictor: {metric: (P,)}}. draws: (R, P)."""
    own, over = columns[name], [CENTRE] if CENTRE in columns and name != CENTRE else []
    entries: dict[str, dict[str, Any]] = {}
    for metric in cfg.score.metrics:
        # the centre bias is made of the very fixations that are the negatives of the shuffled AUC
        gains = {key: columns[key][metric] for key in over if metric != "auc_shuffled"}
        entries[metric] = row(own[metric], draws, gains, commonest(_given(why, metric, own[metric])))
    gold = columns[GOLD].get(GAIN) if GOLD in columns else None
    if gold is not None and GAIN in own and np.isfinite(gold).any():
        entries["explained"] = _explained(own[GAIN], gold, draws, _given(why, GAIN, own[GAIN]))
    return entries


def _explained(own: np.ndarray, gold: np.ndarray, draws: np.ndarray, why: list[str]) -> dict[str, Any]:
    """The share of the gold standard's information gain (P,) that a predictor's own (P,) makes up.

    why: the reasons of the pictures where it has none.
    """
    whole, share = mean_over(gold, draws).interval, ratio_over(own, gold, draws)
    if whole is None or whole[0] <= 0:  # else a share of it is a share of nothing
        share = replace(share, value=np.nan, replicates=np.full(len(draws), np.nan))
    reasons = why + [NO_GOLD] * int((np.isfinite(own) & ~np.isfinite(gold)).sum())
    return entry(share, why=LOW_GOLD if share.n and np.isnan(share.value) else commonest(reasons))


# -- the pictures


SMALLER_IS_BETTER = ("kl", "emd")


def _best(rows: Mapping[str, Any], predictors: Mapping[str, Any], shown: list[str]) -> tuple[str | None, str | None]:
    """The model with the best mean of the first metric that the models have, and it; `chosen` is none of its own."""
    names = [name for name, entry in predictors.items() if entry["kind"] == "model" and name != CHOSEN]
    for metric in shown:
        values = {name: (rows[name].get(metric) or {}).get("value") for name in names}
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            return (min if metric in SMALLER_IS_BETTER else max)(known, key=lambda name: known[name]), metric
    return None, None


def _headline(rows: Mapping[str, Any], best: str | None, metric: str | None) -> Headline | None:
    """What the model that was chosen on inner folds scores, else the best, and its gain over the centre bias; None
    where no model was scored. Information gain is such a gain itself."""
    if best is None or metric is None:
        return None
    key = CHOSEN if (rows.get(CHOSEN, {}).get(metric) or {}).get("value") is not None else best
    entry = rows[key][metric]
    own = {"value": entry["value"], "ci95": entry["ci95"], "p": None}
    found = own if metric == GAIN else (entry.get("gain") or {}).get(CENTRE)
    if found is None or found["value"] is None:
        return Headline(metric, key, entry, None, "none", None, "the centre bias")
    low, high = found["ci95"] or (0.0, 0.0)
    side = "above" if low > 0 else "below" if high < 0 else "none"
    if metric in SMALLER_IS_BETTER:
        side = {"above": "below", "below": "above"}.get(side, side)
    side = "too_few" if entry["n"] < LEAST_UNITS else side
    gain = {"over": CENTRE, **found, "side": side}
    return Headline(metric, key, entry, None, "none", gain, "the centre bias")


def _pictures(
    cfg: PictureScoring, shards: PictureShards, models: Models, finished: Finished,
    scores: np.ndarray | None, best: str | None, first: str,
) -> tuple[bytes, dict[str, bytes], pa.Table]:  # fmt: skip
    """centre.npz, the files of maps/, and their index."""
    chosen = _worth_showing(cfg.show.pictures, shards.judged, scores, first)
    wanted = {info.stimulus for _, info, _ in chosen}
    kept: dict[str, np.ndarray] = {}
    sums: dict[str, np.ndarray] = {}  # of densities over all pictures on relative coordinates

    def add(name: str, density: np.ndarray) -> None:
        sums[name] = sums.get(name, np.zeros(CENTRE_GRID, np.float32)) + on_relative_grid(density, CENTRE_GRID)

    for name, unit in finished.done.items():
        if name.startswith("baselines-") or name in models.units.get(best or "", []):
            for key, values in sorted(load(unit.folder.read_bytes(MAPS)).items()):  # safetensors has no order
                predictor, _, stimulus = key.rpartition("/")
                add(predictor, np.exp(values.astype(np.float32)))
                if stimulus in wanted:
                    kept[key] = values
    for picture in shards:
        if picture.info.stimulus not in shards.not_judged:
            add("human", picture.target)
    shown = {"human": "human", CENTRE: CENTRE, "mean_prediction": best}
    centre = {name: sums[key] / sums[key].sum() for name, key in shown.items() if key in sums}
    rows: list[Json] = []
    files: dict[str, bytes] = {}
    for why, info, value in chosen:
        path = f"maps/{digest(info.stimulus)[:12]}.npz"
        files[path] = npz(_maps_of(shards, info, kept, best))
        rows.append({"stimulus": info.stimulus, "path": path, "why": why, "metric": first, "value": value})
    types = {name: pa.string() for name in ("stimulus", "path", "why", "metric")} | {"value": pa.float64()}
    return npz(centre), files, pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))


def _worth_showing(
    wanted: int, infos: Sequence[PictureInfo], scores: np.ndarray | None, first: str
) -> list[tuple[str, PictureInfo, float | None]]:
    """(why, picture, score) of the best, middle and worst pictures of the best model by the first metric."""
    if scores is None or not np.isfinite(scores).any():
        return [("middle", info, None) for info in infos[:wanted]]
    values = -scores if first in SMALLER_IS_BETTER else scores
    order = [int(number) for number in np.argsort(values, kind="stable") if np.isfinite(values[number])]
    count = min(wanted, len(order) // 3 or len(order))
    start = (len(order) - count) // 2
    groups = {"best": order[::-1][:count], "middle": order[start : start + count], "worst": order[:count]}
    shown: dict[int, str] = {}
    for why, numbers in groups.items():
        for number in numbers:
            shown.setdefault(number, why)
    return [(why, infos[number], float(scores[number])) for number, why in shown.items()]


def _maps_of(
    shards: PictureShards, info: PictureInfo, kept: Mapping[str, np.ndarray], best: str | None
) -> dict[str, np.ndarray]:
    """What the report draws of one picture."""
    picture = next(one for one in shards.load(info.shard) if one.info == info)
    predictors = {"prediction": best, CENTRE: CENTRE, GOLD: GOLD}
    maps = {name: f"{predictor}/{info.stimulus}" for name, predictor in predictors.items()}
    return {
        "picture": shards.thumbnail(info),
        "human": picture.target.astype(np.float16),
        "cells": picture.cells.astype(np.int16),
        **{name: kept[key] for name, key in maps.items() if key in kept},
    }
