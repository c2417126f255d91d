# SPDX-License-Identifier: Apache-2.0
"""What the pictures' scores add up to: the table of predictors, the pictures worth showing, the centre bias."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load

from gazeray.config import digest
from gazeray.storage import Folder
from gazeray.studies.pictures.baselines import BASELINES, CEILINGS, DENSITIES
from gazeray.studies.pictures.config import PictureScoring
from gazeray.studies.pictures.passes import PictureInfo, PictureShards
from gazeray.studies.pictures.predictors import IDS, MAPS, SCORES
from gazeray.studies.pictures.scores import mean_and_interval, picture_draws, ratio_and_interval, row
from gazeray.study import Compared

CENTRE_GRID = (48, 64)
"""(h, w) of the relative grid on which all pictures' maps are averaged."""

CHOSEN = "chosen"

NO_GAIN = ("auc_shuffled",)
"""The centre bias is made of the very fixations that are the negatives of the shuffled AUC."""


@dataclass(frozen=True)
class Models:
    """The models of a study: by predictor, what metrics.json says of it; and the units that made it.

    chosen: for each fold the predictor whose inner score was the best; empty where models have none.
    """

    entries: dict[str, dict[str, Any]]
    units: dict[str, list[str]]
    chosen: dict[int, str]
    more: dict[str, Any]


def summarise(
    cfg: PictureScoring, head: Mapping[str, Any], shards: PictureShards, models: Models, done: Mapping[str, Folder]
) -> Compared:
    """Everything of the run folder that is made of finished units. done: {name of the unit: its folder}."""
    table = _per_image(done, models)
    predictors = _predictors(table, models)
    columns = {name: _columns(table, name, shards) for name in predictors}
    draws = picture_draws(len(shards.judged), cfg.score.resamples, cfg.run.seed)
    rows = {name: predictor_rows(cfg, columns, name, draws) for name in predictors}
    shown: list[str] = list(cfg.score.metrics)
    if any("explained" in entries for entries in rows.values()):
        shown.insert(1, "explained")
    best, judged_by = _best(rows, predictors, shown)
    metrics = {
        **head,
        "metrics_shown": shown,
        "predictors": predictors,
        "rows": rows,
        "best": best,
        **models.more,
    }
    files, index = _pictures(cfg, shards, models, done, columns, best, judged_by or shown[0])
    return Compared(metrics, {"per_image": table, "maps/index": index}, files)


def _per_image(done: Mapping[str, Folder], models: Models) -> pa.Table:
    """The scores of all units, sorted, with those of the model that was chosen in each fold."""
    table = pa.concat_tables([folder.read_table(SCORES) for folder in done.values()], promote_options="default")
    if models.chosen:
        parts = [table]
        for fold, predictor in models.chosen.items():
            theirs = table.filter(pc.and_(pc.equal(table["predictor"], predictor), pc.equal(table["fold"], fold)))
            place = theirs.schema.get_field_index("predictor")
            parts.append(theirs.set_column(place, "predictor", pa.array([CHOSEN] * theirs.num_rows, pa.string())))
        table = pa.concat_tables(parts)
    return table.sort_by([("predictor", "ascending"), ("stimulus", "ascending")])


def _predictors(table: pa.Table, models: Models) -> dict[str, dict[str, Any]]:
    """{predictor: kind, label, ...} of all that have scores, in the order in which they are listed."""
    known: dict[str, dict[str, Any]] = {**models.entries}
    if models.chosen:
        label = "read-out of the layer chosen on inner folds"
        known[CHOSEN] = {"kind": "model", "label": label, "density": True, "folds": _strings(models.chosen)}
    for kind, labels in (("baseline", BASELINES), ("ceiling", CEILINGS)):
        for name, label in labels.items():
            known[name] = {"kind": kind, "label": label, "density": name in DENSITIES}
    there = set(table["predictor"].to_pylist())
    return {name: entry for name, entry in known.items() if name in there}


def _strings(chosen: Mapping[int, str]) -> dict[str, str]:
    return {str(fold): predictor for fold, predictor in chosen.items()}


def _columns(table: pa.Table, predictor: str, shards: PictureShards) -> dict[str, np.ndarray]:
    """{metric: (P,) in the order of the pictures, NaN where undefined or not there}."""
    theirs = table.filter(pc.equal(table["predictor"], predictor)).to_pydict()
    place = {info.stimulus: number for number, info in enumerate(shards.judged)}
    rows = [place[stimulus] for stimulus in theirs["stimulus"]]
    found = {}
    for name in theirs:
        if name not in IDS:
            values = np.full(len(shards.judged), np.nan)
            values[rows] = [np.nan if value is None else value for value in theirs[name]]
            found[name] = values
    return found


def predictor_rows(
    cfg: PictureScoring, columns: Mapping[str, dict[str, np.ndarray]], predictor: str, draws: np.ndarray
) -> dict[str, Any]:
    """One predictor's row of the table: {metric: value, ci95, n, gain}. columns: {predictor: {metric: (P,)}}."""
    over = "centre_bias" if "centre_bias" in columns and predictor != "centre_bias" else None
    own, theirs = columns[predictor], columns[over] if over else {}
    entries: dict[str, Any] = {
        name: row(own[name], None if name in NO_GAIN else theirs.get(name), over, draws) for name in cfg.score.metrics
    }
    gold = columns.get("gold_standard")
    if gold is not None and "information_gain" in own and np.isfinite(gold["information_gain"]).any():
        _, whole = mean_and_interval(gold["information_gain"], draws)
        value, interval = None, None
        if whole is not None and whole[0] > 0:  # else a share of it is a share of nothing
            value, interval = ratio_and_interval(own["information_gain"], gold["information_gain"], draws)
        both = np.isfinite(own["information_gain"]) & np.isfinite(gold["information_gain"])
        entries["explained"] = {"value": value, "ci95": interval, "n": int(both.sum())}
    return entries


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


def _pictures(
    cfg: PictureScoring, shards: PictureShards, models: Models, done: Mapping[str, Folder],
    columns: Mapping[str, dict[str, np.ndarray]], best: str | None, first: str,
) -> tuple[dict[str, bytes], pa.Table]:  # fmt: skip
    """The files of maps/ and centre.npz, and the index of maps/."""
    chosen = _worth_showing(cfg, shards, columns.get(best or ""), first)
    wanted = {info.stimulus for _, info, _ in chosen}
    kept: dict[str, np.ndarray] = {}
    centre = _Centre()
    for name, folder in done.items():
        if name.startswith("baselines-") or name in models.units.get(best or "", []):
            for key, values in load(folder.read_bytes(MAPS)).items():
                predictor, _, stimulus = key.rpartition("/")
                centre.add(predictor, np.exp(values.astype(np.float32)))
                if stimulus in wanted:
                    kept[key] = values
    for picture in shards:
        if picture.info.stimulus not in shards.not_judged:
            centre.add("human", picture.target)
    rows, files = [], {"centre.npz": _npz(centre.means({"mean_prediction": best}))}
    for why, info, value in chosen:
        path = f"maps/{digest(info.stimulus)[:12]}.npz"
        files[path] = _npz(_maps_of(shards, info, kept, best))
        rows.append({"stimulus": info.stimulus, "path": path, "why": why, "metric": first, "value": value})
    types = {name: pa.string() for name in ("stimulus", "path", "why", "metric")} | {"value": pa.float64()}
    return files, pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))


def _worth_showing(
    cfg: PictureScoring, shards: PictureShards, scores: Mapping[str, np.ndarray] | None, first: str
) -> list[tuple[str, PictureInfo, float | None]]:
    """(why, picture, score) of the best, middle and worst pictures of the best model by the first metric."""
    wanted, infos = cfg.show.pictures, shards.judged
    if scores is None or not np.isfinite(scores[first]).any():
        return [("middle", info, None) for info in infos[:wanted]]
    values = -scores[first] if first in SMALLER_IS_BETTER else scores[first]
    order = [int(number) for number in np.argsort(values, kind="stable") if np.isfinite(values[number])]
    count = min(wanted, len(order) // 3 or len(order))
    start = (len(order) - count) // 2
    groups = {"best": order[::-1][:count], "middle": order[start : start + count], "worst": order[:count]}
    taken: set[int] = set()
    found: list[tuple[str, PictureInfo, float | None]] = []
    for why, numbers in groups.items():
        for number in numbers:
            if number not in taken:
                taken.add(number)
                found.append((why, infos[number], float(scores[first][number])))
    return found


def _maps_of(
    shards: PictureShards, info: PictureInfo, kept: Mapping[str, np.ndarray], best: str | None
) -> dict[str, np.ndarray]:
    """What the report draws of one picture."""
    picture = next(one for one in shards.load(info.shard) if one.info == info)
    maps = {"prediction": f"{best}/{info.stimulus}", "centre_bias": f"centre_bias/{info.stimulus}"}
    maps["gold_standard"] = f"gold_standard/{info.stimulus}"
    return {
        "picture": shards.thumbnail(info),
        "human": picture.target.astype(np.float16),
        "cells": picture.cells.astype(np.int16),
        **{name: kept[key] for name, key in maps.items() if key in kept},
    }


class _Centre:
    """Mean densities over all pictures on relative coordinates, (48, 64)."""

    def __init__(self) -> None:
        self.sums: dict[str, np.ndarray] = {}

    def add(self, name: str, density: np.ndarray) -> None:
        height, width = CENTRE_GRID
        small = cv2.resize(density.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        self.sums[name] = self.sums.get(name, np.zeros(CENTRE_GRID, np.float32)) + small / small.sum()

    def means(self, called: Mapping[str, str | None]) -> dict[str, np.ndarray]:
        """People, the centre bias and whatever is `called` {name: predictor}."""
        names = {"human": "human", "centre_bias": "centre_bias", **called}
        found = {name: self.sums[key] for name, key in names.items() if key in self.sums}
        return {name: total / total.sum() for name, total in found.items()}


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
