# SPDX-License-Identifier: Apache-2.0
"""What the studies on pictures share: the set, its human maps, the baselines and ceilings, and the table of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazeray.config import ConfigError, digest, parse_yaml, validate
from gazeray.gaze.declaration import read_declaration
from gazeray.stimuli.dataset import PictureSet, open_pictures
from gazeray.stimuli.declaration import PictureSetSpec
from gazeray.storage import Folder, split_uri
from gazeray.studies.pictures.config import PictureScoring, PicturesData
from gazeray.studies.pictures.passes import (
    FORMAT,
    PictureShards,
    PicturesReady,
    PreparePictures,
    open_shards,
    pictures_pass,
)
from gazeray.studies.pictures.predictors import parts_of
from gazeray.studies.pictures.summary import Models, summarise
from gazeray.study import Compared, Pass, Prepared
from gazeray.synth.saliency import simulate_saliency
from gazeray.tables import DataError, rejects_table

SIMULATED = "simulated"
SIMULATION = 1
"""Raised when the same parameters give other scenes: older ones are then not reused."""


@dataclass(frozen=True)
class PicturePlan:
    """What was found: the set, and where it lies. `fingerprint` changes with any file."""

    found: PictureSet
    fingerprint: str

    @property
    def spec(self) -> PictureSetSpec:
        """The declaration of the set."""
        return self.found.spec


def open_dataset(data: PicturesData, runs: str) -> tuple[PictureSetSpec, Folder]:
    """The declaration of the set and its folder; the embedded scenes are made first when they are not there yet.

    Raises ConfigError.
    """
    if data.dataset != SIMULATED:
        path = data.dataset
        if "://" not in path and not Path(path).is_file():
            raise ConfigError([f"data.dataset: no such file: {path} (a picture set YAML, or {SIMULATED!r})"])
        home = split_uri(path)[0] if "://" in path else str(Path(path).parent)
        spec = validate(PictureSetSpec, read_declaration(path), path)
        return spec, Folder(data.root if data.root is not None else home)
    params = data.simulate
    root = Folder(runs).sub(f"data/scenes-{digest([SIMULATION, params.model_dump(mode='json')])[:10]}")
    if not root.exists("dataset.yaml"):
        simulate_saliency(root, params)
    source = f"{root.uri}/dataset.yaml"
    return validate(PictureSetSpec, parse_yaml(root.read_text("dataset.yaml"), source), source), root


def plan_pictures(cfg: PictureScoring) -> PicturePlan:
    """Look at what there is; no picture is decoded. Raises ConfigError, DataError."""
    spec, root = open_dataset(cfg.data, cfg.run.dir)
    check_sigma(cfg, spec)
    found = open_pictures(spec, root)
    if len(found.pictures) < cfg.folds.outer:
        raise DataError([f"{len(found.pictures)} pictures, fewer than folds.outer = {cfg.folds.outer}"])
    used = {source.path for source in found.pictures} | {source.map_path for source in found.pictures}
    files = [[stat.path, stat.size, stat.mtime_ns] for stat in root.list() if stat.path in used]
    return PicturePlan(found, digest([FORMAT, root.uri, found.content, files]))


def check_sigma(cfg: PictureScoring, spec: PictureSetSpec) -> None:
    """Raises ConfigError where the human maps are asked for in degrees and the set does not say how large one is."""
    try:
        cfg.targets.sigma_of(1, spec.px_per_deg)
    except ValueError as error:
        raise ConfigError([f"targets: {error}"]) from error


def describe_pictures(cfg: PictureScoring, plan: PicturePlan) -> list[str]:
    """What was found, for --dry-run."""
    found = plan.found
    fixations = sum(len(gaze.x_px) for gaze in found.gaze.values())
    return [
        f"data set: {plan.spec.name} (licence {plan.spec.licence or 'not stated'}) at {found.root.uri}",
        f"pictures: {len(found.pictures)}; observers: {len(found.observers)}; fixations: {fixations}; "
        f"rejected before reading: {len(found.rejects)}",
        f"folds of pictures: {cfg.folds.outer}; metrics: {', '.join(cfg.score.metrics)}",
    ]


def prepare_pictures(
    cfg: PictureScoring, plan: PicturePlan, store: Folder, go_through: Callable[[Pass], None]
) -> PicturesReady:
    """Decode, measure and draw what is not ready yet. Raises DataError when too little is left."""
    targets = cfg.targets.model_dump(mode="json")
    folder = store.sub(f"pictures/{digest([FORMAT, plan.fingerprint, targets, cfg.score.longest_px])[:16]}")
    spec = plan.spec
    prepare = PreparePictures(
        plan.found.root, folder, cfg.targets, spec.px_per_deg, spec.max_pixels, cfg.score.longest_px
    )
    work, keys = pictures_pass(plan.found, prepare)
    go_through(work)
    return open_shards(folder, keys, plan.found, cfg.folds.outer, cfg.run.seed)


def prepared_run(
    cfg: PictureScoring, plan: PicturePlan, ready: PicturesReady, units: dict[str, dict[str, Any]],
    more: Mapping[str, Any], content: str, own: Any,
) -> Prepared:  # fmt: skip
    """What the engine wants to know. units: those of the models; the baselines' come first. more: for manifest.json."""
    shards = ready.shards
    rejects = sorted([*plan.found.rejects, *ready.rejects], key=lambda one: (one.source, one.row, one.reason))
    folds = range(cfg.folds.outer)
    everything = baseline_units(shards, cfg.folds.outer) | units
    manifest = {
        "data": {
            "dataset": plan.spec.name,
            "licence": plan.spec.licence,
            "notes": list(dict.fromkeys([*plan.spec.notes, *plan.found.notes, *ready.notes])),
            "root": plan.found.root.uri,
        },
        "counts": {
            "pictures": len(shards.pictures),
            "observers": ready.observers,
            "fixations": sum(info.n_fixations for info in shards.pictures),
            "rejected": len(rejects),
        },
        "folds": [{"fold": fold, "pictures": sum(info.fold == fold for info in shards.pictures)} for fold in folds],
        **more,
    }
    return Prepared(content, everything, manifest, {"rejects": rejects_table(rejects)}, (shards, own))


def baseline_units(shards: PictureShards, folds: int) -> dict[str, dict[str, Any]]:
    """The units of baselines and ceilings: one per fold, several where a fold has many pictures."""
    units = {}
    for fold in range(folds):
        parts = parts_of(shards, fold)
        for part in range(len(parts)):
            name = f"baselines-fold-{fold}" + (f"-part-{part}" if len(parts) > 1 else "")
            units[name] = {"kind": "baselines", "fold": fold, "part": part}
    return units


def score_pictures(
    cfg: PictureScoring, study: str, ready: Prepared, models: Models, done: Mapping[str, Folder], failed: Sequence[str]
) -> Compared:
    """metrics.json, per_image.parquet, the pictures to show, and what the centre bias looks like."""
    shards = ready.own[0]
    judged = shards.judged
    n = {"pictures": len(judged), "fixations": sum(info.n_fixations for info in judged)}
    head = {"study": study, "n": {**ready.manifest["counts"], **n}, "failed": list(failed)}
    return summarise(cfg, head, shards, models, done)
