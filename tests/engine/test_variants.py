# SPDX-License-Identifier: Apache-2.0
"""Variants of a study: what they share, what of them fails or is impossible, and what is told of every one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.config import config_hash, validate
from gazeray.engine.cli import main
from gazeray.engine.plan import plan_lines
from gazeray.engine.prepare import Filled
from gazeray.engine.units import OfVariant
from gazeray.engine.variants import entries, left_unsaid, overview, parts_of, prepared, scored, table_of
from gazeray.learn.space import variant_settings
from gazeray.storage import Folder
from gazeray.study import Finished, Headline, Items, Row
from gazeray.tables import DataError, Reject
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker
from tests.engine.toy import SMALL, Adds, BlobConfig, BlobStudy, Says, config, do

GRID = "variants.grid={blobs: {scale: [1, 0.1], examples: [60, 48]}}"


def point(value: float | None, side: str = "none", **setting: Any) -> Json:
    """As metrics.json has it."""
    gain = {"over": "blind", "value": 0.1, "ci95": None, "p": None, "side": side}
    return {"setting": setting, "value": value, "ci95": None, "chance": 0.5, "against_chance": side, "gain": gain}


def test_variants_are_done_in_one_queue_and_the_run_itself_first(tmp_path: Path) -> None:
    outcome, shown = do(BlobStudy(config(tmp_path, "variants.seeds=2", "train.epochs=1", GRID)))
    assert outcome.failed == {}
    assert outcome.metrics is not None
    assert "units: 16 in all" in shown
    found = outcome.metrics["variants"]
    assert [one["setting"] for one in found["settings"]] == [
        {**setting, **seed}
        for setting in ({}, {"blobs.examples": 48}, {"blobs.scale": 0.1}, {"blobs.scale": 0.1, "blobs.examples": 48})
        for seed in ({}, {"run.seed": 1})
    ]
    manifest = outcome.run.read_json("manifest.json")
    names = list(manifest["unit_hashes"])
    assert names[:2] == ["fold-0", "fold-1"]
    assert {name.rpartition("-fold-")[0] for name in names[2:]} == {one["name"] for one in manifest["variants"]}
    assert list(outcome.metrics["units"]) == ["fold-0", "fold-1"], "units of variants are none of the run itself"
    assert shown.count("drawing blobs: 10 to do") == 2, "the seeds and the settings that draw the same share a store"


def test_a_variant_gives_the_numbers_and_hashes_of_a_run_of_its_own(tmp_path: Path) -> None:
    outcome, _ = do(BlobStudy(config(tmp_path / "all", "train.epochs=2", "variants.seeds=2")))
    alone, _ = do(BlobStudy(config(tmp_path / "alone", "train.epochs=2", "run.seed=1")))
    assert outcome.metrics is not None
    assert alone.metrics is not None
    (name,) = [one["name"] for one in outcome.run.read_json("manifest.json")["variants"]]
    for fold in ("fold-0", "fold-1"):
        theirs, own = (run.read_json(f"units/{unit}/result.json") for run, unit in (
            (outcome.run, f"{name}-{fold}"), (alone.run, fold)))  # fmt: skip
        assert theirs["metrics"] == own["metrics"]
        assert theirs["hash"] == own["hash"]
    accuracies = [unit["metrics"]["accuracy"] for unit in alone.metrics["units"].values()]
    assert outcome.metrics["variants"]["settings"][1]["value"] == pytest.approx(np.mean(accuracies))
    own = [unit["metrics"]["accuracy"] for unit in outcome.metrics["units"].values()]
    assert outcome.metrics["variants"]["seeds"]["mean"] == pytest.approx(np.mean([accuracies, own]))


def test_items_that_only_one_of_two_settings_uses_are_listed(tmp_path: Path) -> None:
    outcome, _ = do(BlobStudy(config(tmp_path, "train.epochs=1", "variants.grid={blobs: {examples: [48]}}")))
    table = outcome.run.read_table("variants.parquet")
    assert table.num_rows == 12
    assert set(table["side"].to_pylist()) == {"left_out"}
    assert json.loads(table["setting"][0].as_py()) == {"blobs.examples": 48}
    assert outcome.metrics is not None
    told = outcome.metrics["variants"]["settings"][1]
    assert told["left_out"] == {"no reason was written down": 12}
    assert (told["items"], told["added"]) == (48, {})
    plain, _ = do(BlobStudy(config(tmp_path, "train.epochs=1")))
    assert not plain.run.exists("variants.parquet"), "the folder holds what the last command asked for"


def test_the_reason_is_that_of_the_setting_that_rejects_the_item() -> None:
    ids = ("participant", "trial")
    rows = pa.table({"participant": ["P1", "P1", "P2"], "trial": ["1", "2", "1"]})
    rejects = [
        Reject("a.csv", 7, "samples", "no number", "P1", "2"),
        Reject("a.csv", -1, "quality", "gate 3", "P1", "2"),
    ]
    own = Items(rows, ids, (), "", rejects=[Reject("b.csv", -1, "events", "too slow", "P3", "1")])
    theirs = Items(
        pa.table({"participant": ["P1", "P2", "P3"], "trial": ["1", "1", "1"]}), ids, (), "", rejects=rejects
    )
    ready: Any = type("Ready", (), {"items": theirs})()
    variant: Any = type("Variant", (), {"ready": ready, "name": "v-1", "setting": {"a": 1}})()
    found = pa.concat_tables(table_of([variant], own)).to_pylist()
    assert [(row["side"], row["participant"], row["trial"], row["stage"], row["reason"]) for row in found] == [
        ("left_out", "P1", "2", "quality", "gate 3"),
        ("added", "P3", "1", "events", "too slow"),
    ]


def test_setting_that_the_data_do_not_allow_is_reported_and_stops_nothing(tmp_path: Path) -> None:
    class Picky(BlobStudy):
        def items(self, source: Any, stores: Any) -> Items:
            if self.cfg.blobs.examples < 50:
                raise DataError(["too few blobs"])
            return super().items(source, stores)

    outcome, shown = do(Picky(config(tmp_path, "train.epochs=1", "variants.grid={blobs: {examples: [48, 60]}}")))
    assert outcome.failed == {}
    assert outcome.metrics is not None
    found = outcome.metrics["variants"]
    assert found["settings"][1]["why"] == "too few blobs"
    assert (found["count"], found["scored"]) == (2, 1)
    assert 'variant {"blobs.examples": 48}: impossible: too few blobs' in shown


class Stubborn(Says):
    """Fails for another seed."""

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        if worker.prefix:
            raise RuntimeError("not in a variant")
        return super().run(unit, worker, out)


def test_failed_unit_of_a_variant_leaves_it_without_a_score_and_the_run_with_its_own(tmp_path: Path) -> None:
    cfg = config(tmp_path, "train.epochs=1", "variants.seeds=2")
    outcome, _ = do(BlobStudy(cfg, (Stubborn("one"),)))
    assert list(outcome.failed.values()) == ["RuntimeError: not in a variant"]
    assert outcome.metrics is not None
    assert outcome.metrics["failed"] == []
    told = outcome.metrics["variants"]["settings"][1]
    assert (told["why"], told["failed"]) == ("1 of its units failed", ["one"])
    assert "value" not in told
    mended, shown = do(BlobStudy(cfg, (Says("one"),)))
    assert mended.failed == {}
    assert "units: 6 in all, 5 done before" in shown


def test_later_rounds_of_a_variant_read_its_own_units(tmp_path: Path) -> None:
    class Louder(BlobStudy):
        def predictors(self, ready: Any) -> Any:
            return [Says("one", 10.0**self.cfg.run.seed), Adds("sum", ("one",))]

    outcome, _ = do(Louder(config(tmp_path, "variants.seeds=2"), fitted=False))
    (name,) = [one["name"] for one in outcome.run.read_json("manifest.json")["variants"]]
    values = [outcome.run.read_json(f"units/{unit}/value.json")["value"] for unit in ("sum", f"{name}-sum")]
    assert values == [1, 10]


def test_a_worker_keeps_the_memory_of_one_variant(tmp_path: Path) -> None:
    class Remembers(Says):
        def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
            return {"value": worker.once("key", lambda: len(worker.prefix)), "names": [unit.name]}

    worker = Worker(None, Folder(tmp_path))  # type: ignore[arg-type]
    told = []
    for prefix in ("v-1-", "v-1-", "v-two-", "v-1-"):
        unit = Unit(f"{prefix}one", {}, "")
        told.append(OfVariant(Remembers("one"), prefix).run(unit, worker, UnitFolder(worker.run, unit)))
    assert [one["value"] for one in told] == [4, 4, 6, 4]
    assert [one["names"] for one in told] == [["one"]] * 4
    assert len(worker.memory) == 1


def units_in(run: Folder) -> set[str]:
    """The names of all units that are done, whoever asked for them."""
    return {stat.path.split("/")[1] for stat in run.list("units") if stat.path.endswith("/result.json")}


def test_units_of_variants_stay_as_long_as_the_data_do(tmp_path: Path) -> None:
    asked = config(tmp_path, "variants.grid={train: {epochs: [1, 2]}}", "train.epochs=1")
    whole, _ = do(BlobStudy(asked))
    plain, _ = do(BlobStudy(config(tmp_path, "train.epochs=1")))
    again, shown = do(BlobStudy(asked))
    assert again.metrics == whole.metrics
    assert "units: 4 in all, 4 done before" in shown
    fewer, _ = do(BlobStudy(config(tmp_path, "train.epochs=1", "variants.grid={train: {epochs: [1, 3]}}")))
    assert len(units_in(fewer.run)) == 6
    other, _ = do(BlobStudy(config(tmp_path, "train.epochs=1"), content="other"))
    assert plain.run.uri == other.run.uri
    assert units_in(other.run) == {"fold-0", "fold-1"}


def test_variants_are_no_part_of_what_the_run_is(tmp_path: Path) -> None:
    plain, varied = (config(tmp_path, *words) for words in ((), ("variants.seeds=5", GRID)))
    assert config_hash(plain) == config_hash(varied)


def test_grid_in_any_order_is_found_whole_in_the_manifest(tmp_path: Path) -> None:
    """Keys of a manifest are sorted, and those of a grid are not."""
    grid = "variants.grid={train: {epochs: [1, 2]}, blobs: {scale: [1, 0.1], examples: [60, 48]}}"
    study = BlobStudy(config(tmp_path, "train.epochs=1", grid))
    manifest = do(study)[0].run.read_json("manifest.json")
    again = BlobStudy(validate(BlobConfig, manifest["config"]))
    assert variant_settings(again.cfg) != variant_settings(study.cfg)
    assert list(left_unsaid(again, manifest)) == []
    manifest["variants"].append(manifest["variants"][0])
    assert "there are more of them" in " ".join(left_unsaid(again, manifest))
    del manifest["variants"][-2:]
    assert 'without {"' in " ".join(left_unsaid(again, manifest))


# -- what they add up to


def test_shares_are_of_the_settings_that_have_a_score() -> None:
    points = [point(0.7, "above"), point(0.6, "none", **{"run.seed": 1}), point(None, a=1), point(0.8, "above", a=2)]
    found = overview(points)
    assert (found["count"], found["scored"], found["range"]) == (4, 3, [0.6, 0.8])
    assert found["gain_holds"] == found["above_chance"] == {"n": 2, "of": 3, "share": pytest.approx(2 / 3)}
    assert found["seeds"]["n"] == 2
    assert found["seeds"]["mean"] == pytest.approx(0.65)
    assert found["seeds"]["sd"] == pytest.approx(np.std([0.7, 0.6], ddof=1))


def test_settings_that_change_no_number_are_named() -> None:
    points = [
        point(0.7), point(0.7, detector="ivt"), point(0.6, sigma=20), point(0.6, sigma=20, detector="ivt"),
        point(None, gate=1), point(None, gate=1, detector="ivt"),
    ]  # fmt: skip
    found = overview(points)
    assert (found["scored"], found["distinct"], found["no_effect"]) == (4, 2, ["detector"])
    points[-3]["gain"] = {**points[-3]["gain"], "value": 0.11}
    found = overview(points)
    assert (found["distinct"], found["no_effect"]) == (3, [])
    partner = [*points[:2], point(0.6, sigma=20)]
    assert overview(partner)["no_effect"] == [], "it may matter with the other sigma"
    alone = overview([point(0.7), point(0.7, gate=1, sigma=20)])
    assert alone["no_effect"] == [], "there is nothing that differs in one of them alone"


def test_nothing_scored_gives_no_range() -> None:
    found = overview([point(None)])
    assert found["range"] is None
    assert found["gain_holds"] == {"n": 0, "of": 0, "share": None}
    assert found["seeds"] == {"n": 0, "mean": None, "sd": None, "range": None}


def test_scores_of_other_metrics_are_not_compared(tmp_path: Path) -> None:
    study = BlobStudy(config(tmp_path, "train.epochs=1", "variants.seeds=2"))
    outcome, _ = do(study)
    manifest = outcome.run.read_json("manifest.json")
    done = {name: UnitFolder(outcome.run, Unit(name, {}, hash_)) for name, hash_ in manifest["unit_hashes"].items()}
    _, theirs = parts_of(Finished(done, [], {"network": Row("network", "model")}), manifest["variants"])
    other = Headline("error", "network", {"value": 0.5, "ci95": None}, None, "none", None, "nothing")
    assert [one.get("why") for one in scored(study, manifest, {}, other, theirs)] == [
        None, "its headline is another metric, accuracy"
    ]  # fmt: skip


def test_stores_and_manifests_of_variants_hold_only_what_differs(tmp_path: Path) -> None:
    from gazeray.engine.executor import Executor
    from gazeray.engine.prepare import prepare
    from gazeray.engine.progress import ProgressView

    study, filled = BlobStudy(config(tmp_path, "variants.seeds=3")), Filled()
    with Executor(study.cfg.resources, 1.0, ProgressView()) as workers:
        ready = prepare(study, study.open(), Folder(tmp_path), workers, filled)
        variants = prepared(study, Folder(tmp_path), workers, filled)
        assert len(filled) == 1
        assert len({id(one.ready.stores) for one in variants if one.ready} | {id(ready.stores)}) == 3
    told = entries(variants, ready, {"network": Row("network of blobs", "model")})
    assert [one["manifest"] for one in told] == [{}, {}]
    assert not any("rows" in one for one in told)


# -- before any work


def test_plan_says_how_many_settings_and_units(tmp_path: Path) -> None:
    cfg = config(tmp_path, "variants.seeds=5", "variants.grid={folds: {outer: [2, 4]}}")
    assert "variants: 10 settings, the config's own among them; 30 folds together" in plan_lines(cfg, lambda cfg: [])
    assert not [line for line in plan_lines(config(tmp_path), lambda cfg: []) if "variants" in line]


def test_wrong_grid_ends_the_job_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, f"run.dir={tmp_path / 'runs'}", "variants.grid={blobs: {size: [1], scale: []}, run: {seed: [1]}}"]
    assert main(BlobStudy, BlobConfig, "toy", None, lambda run: None, words) == 2
    told = capsys.readouterr().err
    for line in ("variants.grid.blobs.size: unknown key", "variants.grid.blobs.scale: an empty list",
                 "variants.grid.run.seed: no setting of the analysis (allowed: folds, train, blobs)"):  # fmt: skip
        assert line in told
    assert not (tmp_path / "runs").exists()


def test_units_have_the_names_of_the_predictor() -> None:
    assert OfVariant(Says("one"), "v-1-").units() == [UnitSpec("one", {"unit": "one"})]
