# SPDX-License-Identifier: Apache-2.0
"""Variants: the same study in other settings and with other seeds, every one of which is reported.

A variant is the study with another config. Its units are done in the queue of the run, and lie beside those of the run
under a prefix; they are hashed, seeded and scored as those of a run of its own. What the scores of a variant need
beside its units stands in manifest.json, so that anybody can compute them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from gazeray.config import ConfigError, config_hash, digest
from gazeray.engine.executor import Executor
from gazeray.engine.prepare import Filled, prepare
from gazeray.engine.run import prefix_of
from gazeray.engine.run_files import some
from gazeray.engine.units import OfVariant
from gazeray.learn.space import Setting, variant_of, variant_settings
from gazeray.storage import Folder, masked
from gazeray.storage.seals import plain
from gazeray.study import Finished, Headline, Items, Predictor, Ready, Row, Study
from gazeray.tables import DataError, Reject, reject_kinds, rejects_table
from gazeray.unit import Json, UnitFolder

D = TypeVar("D")
S = TypeVar("S")

UNKNOWN = Reject("", -1, "", "no reason was written down")
"""Of a trial that only one of two settings used, where the other does not say why it did not."""


@dataclass(frozen=True)
class Variant(Generic[D, S]):
    """A setting of the grid with its study and its data. why: what makes it impossible, where it has no data.

    name: begins the names of its units. setting: as it is shown, without credentials.
    """

    name: str
    setting: Setting
    study: Study[D, S]
    ready: Ready[D, S] | None
    why: str = ""

    @cached_property
    def predictors(self) -> list[Predictor]:
        """Those of its study, whose units are named as the variant is."""
        if self.ready is None:
            return []
        return [OfVariant(one, prefix_of(self.name)) for one in self.study.predictors(self.ready)]


def study_in(study: Study[D, S], setting: Setting) -> Study[D, S]:
    """The study in another setting, only for its scores. Raises ConfigError."""
    return replace(study, cfg=variant_of(study.cfg, setting).only_scores())


def prepared(study: Study[D, S], store: Folder, workers: Executor, filled: Filled) -> list[Variant[D, S]]:
    """All settings but the config's own, made ready. Raises StorageError.

    What the data do not allow is a variant without data: that a setting is impossible is a result.
    """
    found: list[Variant[D, S]] = []
    for setting in variant_settings(study.cfg)[1:]:
        other, shown = study_in(study, setting), plain(setting)
        name = f"v-{digest(shown)[:10]}"
        try:
            found.append(Variant(name, shown, other, prepare(other, other.open(), store, workers, filled)))
        except (DataError, ConfigError) as error:
            found.append(Variant(name, shown, other, None, masked("; ".join(error.errors))))
            workers.view.line(f"variant {json.dumps(shown)}: impossible: {found[-1].why}")
    return found


def left_unsaid(study: Study[D, S], manifest: Json) -> Iterator[str]:
    """What is wrong with the variants of a manifest, a line: every setting that the config asks for stands there, once.

    Their order is that in which the grid was written, which a manifest does not keep.
    """
    wanted = [json.dumps(plain(setting), sort_keys=True) for setting in variant_settings(study.cfg)[1:]]
    there = [json.dumps(one["setting"], sort_keys=True) for one in manifest.get("variants") or []]
    if sorted(there) != sorted(wanted):
        missing = [setting for setting in wanted if setting not in there]
        told = f"without {some(missing)}" if missing else "there are more of them"
        yield f"manifest.json: variants are not the {len(wanted)} that the config asks for: {told}"


# -- what manifest.json and variants.parquet say of them


def entries(variants: Sequence[Variant[D, S]], ready: Ready[D, S], rows: Mapping[str, Row]) -> list[Json]:
    """What manifest.json says of each: its setting, and where it has data what its scores need beside its units.

    manifest, rows: only the entries that are not those of the run itself. left_out, added: how many items only the run
    or only the variant uses, by the reason.
    """
    found: list[Json] = []
    for one in variants:
        entry: Json = {"name": one.name, "setting": one.setting}
        if one.ready is None:
            found.append({**entry, "why": one.why})
            continue
        theirs, own = one.ready.items.manifest, ready.items.manifest
        other = {key: row for predictor in one.predictors for key, row in predictor.rows.items()}
        entry |= {
            "config_hash": config_hash(one.study.cfg),
            "items": len(one.ready.items),
            **{side: _counted(table) for side, table in _differences(one.ready.items, ready.items)},
            "manifest": {key: value for key, value in theirs.items() if key not in own or own[key] != value},
        }
        if list(other.items()) != list(rows.items()):
            entry["rows"] = [{"key": key, **asdict(row)} for key, row in other.items()]
        found.append(entry)
    return found


def table_of(variants: Sequence[Variant[D, S]], items: Items) -> Iterator[pa.Table]:
    """variants.parquet: a row for each variant and item that only the variant (`added`) or only the run (`left_out`)
    uses, with the reason of the other."""
    columns = ("variant", "setting", "side", *items.ids, "stage", "reason")
    nothing = pa.schema([(name, pa.string()) for name in columns])
    yield nothing.empty_table()
    for one in variants:
        if one.ready is None:
            continue
        for side, (which, rejects) in _differences(one.ready.items, items):
            about = {"variant": one.name, "setting": json.dumps(one.setting, sort_keys=True), "side": side}
            found: dict[str, list[str]] = {key: [value] * len(rejects) for key, value in about.items()}
            found |= {name: which[name].to_pylist() for name in items.ids}
            found |= {name: [getattr(reject, name) for reject in rejects] for name in ("stage", "reason")}
            yield pa.table(found, schema=nothing)


def _differences(theirs: Items, own: Items) -> Iterator[tuple[str, tuple[pa.Table, list[Reject]]]]:
    """The items that only the run uses (`left_out`), and those that only the variant does (`added`): their ids, and
    why the other does not."""
    for side, having, lacking in (("left_out", own, theirs), ("added", theirs, own)):
        there = set(_keys(lacking.table, lacking.ids))
        keys = _keys(having.table, having.ids)
        rows = [row for row, key in enumerate(keys) if key not in there]
        reasons = _reasons(lacking) if rows else {}
        which = having.table.select(list(having.ids)).take(np.array(rows, np.int64))
        yield side, (which, [reasons.get(keys[row], UNKNOWN) for row in rows])


def _keys(table: pa.Table, ids: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(map(str, table.column(name).to_pylist()) for name in ids), strict=True))


def _reasons(items: Items) -> dict[tuple[str, ...], Reject]:
    """Why whole items were rejected, by their ids; rejects name a picture as their trial."""
    names = ["trial" if name == "stimulus" and "trial" not in items.ids else name for name in items.ids]
    whole = [reject for reject in items.rejects if reject.row == -1]
    return {tuple(str(getattr(reject, name)) for name in names): reject for reject in whole}


def _counted(found: tuple[pa.Table, list[Reject]]) -> dict[str, int]:
    """Reason -> how many; reasons that differ in numbers only are one."""
    table = rejects_table(found[1])
    return {kind.reason: len(kind.places) for kind in reject_kinds(table)} if table.num_rows else {}


# -- scores


def parts_of(finished: Finished, variants: Sequence[Json]) -> tuple[Finished, dict[str, Finished]]:
    """What of the finished units is of the run itself, and what of each variant, under the names that they have in a
    run of their own."""
    done, failed = dict(finished.done), list(finished.failed)
    theirs: dict[str, Finished] = {}
    for one in variants:
        prefix = prefix_of(one["name"])
        rows = {row["key"]: Row(row["label"], row["kind"]) for row in one["rows"]} if "rows" in one else finished.rows
        own: dict[str, UnitFolder] = {
            name.removeprefix(prefix): done.pop(name) for name in list(done) if name.startswith(prefix)
        }
        broken = [name for name in failed if name.startswith(prefix)]
        failed = [name for name in failed if name not in broken]
        theirs[one["name"]] = Finished(own, [name.removeprefix(prefix) for name in broken], rows)
    return Finished(done, failed, finished.rows), theirs


def scored(
    study: Study[D, S], manifest: Json, metrics: Json, headline: Headline | None, theirs: Mapping[str, Finished]
) -> Iterator[Json]:
    """A point of the specification curve after the other, the config's own setting first. metrics, headline: its own.

    Raises ConfigError where a setting of the manifest is none.
    """
    yield {"name": "", "setting": {}, "n": metrics.get("n") or {}, **_point(headline, headline)}
    for one in manifest["variants"]:
        point: Json = {"name": one["name"], "setting": one["setting"]}
        if "why" in one:
            yield {**point, "why": one["why"]}
            continue
        point |= {key: one[key] for key in ("items", "left_out", "added")}
        finished, other = theirs[one["name"]], study_in(study, one["setting"])
        own = {**manifest, **one["manifest"], "config": other.cfg.model_dump(mode="json")}
        own |= {"config_hash": one["config_hash"], "seed": other.cfg.run.seed}
        summary = other.summary(own, finished, None) if finished.done and not finished.failed else None
        if summary is None:
            count = len(finished.failed)
            told = f"{count} of its units failed" if count else "none of its units is done"
            yield {**point, "failed": list(finished.failed), "why": told}
            continue
        yield {**point, "n": summary.metrics.get("n") or {}, **_point(summary.headline, headline)}


def _point(headline: Headline | None, own: Headline | None) -> Json:
    """What a point says of its scores. own: the headline of the config's own setting."""
    if headline is None or own is None:
        return {"why": "no headline was scored"}
    if headline.metric != own.metric:
        return {"why": f"its headline is another metric, {headline.metric}"}
    score = {key: headline.entry.get(key) for key in ("value", "ci95")}
    found: Json = {"metric": headline.metric, "row": headline.row, "chance": headline.chance, **score}
    found |= {"against_chance": headline.against, "gain": headline.gain, "gain_over": headline.beside}
    return found | ({"why": headline.entry.get("why") or "undefined"} if score["value"] is None else {})


def overview(points: Sequence[Json]) -> Json:
    """What all points add up to: range, shares, and how the seeds of the config's own setting differ.

    A point without a score is counted, and belongs to no share. distinct: how many of the scored ones differ in any
    number; no_effect: the settings that changed none, wherever nothing else differs. What does not reach the headline
    makes a curve longer and tells nothing.
    """
    known = [point for point in points if point.get("value") is not None]
    gained = [point for point in known if (point.get("gain") or {}).get("value") is not None]
    seeds = [point["value"] for point in known if set(point["setting"]) <= {"run.seed"}]
    return {
        "settings": list(points),
        "count": len(points),
        "scored": len(known),
        "distinct": len({_numbers(point) for point in known}),
        "no_effect": [
            key for key in sorted({key for point in known for key in point["setting"]}) if _changes_none(key, points)
        ],
        "range": _range([point["value"] for point in known]),
        "gain_range": _range([point["gain"]["value"] for point in gained]),
        "gain_holds": _share([point["gain"]["side"] == "above" for point in gained]),
        "above_chance": _share([point["against_chance"] == "above" for point in known if point["chance"] is not None]),
        "seeds": {
            "n": len(seeds),
            "mean": float(np.mean(seeds)) if seeds else None,
            "sd": float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None,
            "range": _range(seeds),
        },
    }


def _numbers(point: Json) -> str:
    """What a point says of its scores, to be compared."""
    return json.dumps([point["value"], point["ci95"], point["gain"]])


def _changes_none(key: str, points: Sequence[Json]) -> bool:
    """Whatever else is set, do points that differ in this setting alone agree in their numbers?

    False where nothing differs in it alone: it may matter there, as the number of folds of stimuli does once these are
    held out.
    """
    found: dict[str, list[Json]] = {}
    for point in points:
        others = {name: value for name, value in point["setting"].items() if name != key}
        found.setdefault(json.dumps(others, sort_keys=True), []).append(point)
    scored = [[_numbers(one) for one in group if one.get("value") is not None] for group in found.values()]
    compared = [numbers for numbers in scored if len(numbers) > 1]
    alone = any(len(group) == 1 for group in found.values())
    return bool(compared) and not alone and all(len(set(numbers)) == 1 for numbers in compared)


def _range(values: Sequence[float]) -> list[float] | None:
    return [min(values), max(values)] if values else None


def _share(holds: Sequence[bool]) -> Json:
    """In how many of how many."""
    return {"n": sum(holds), "of": len(holds), "share": sum(holds) / len(holds) if holds else None}
