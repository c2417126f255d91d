# SPDX-License-Identifier: Apache-2.0
"""What the studies on pictures share: the set, its human maps, its folds, and what the units add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gazeray.config import ConfigError, digest, validate
from gazeray.learn.folds import numbered_folds
from gazeray.stimuli.dataset import PictureSet, open_pictures
from gazeray.stimuli.declaration import PictureSetSpec
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.pictures.config import PictureScoring
from gazeray.studies.pictures.passes import FORMAT, PictureShards, PicturesReady, PreparePictures, pictures_pass
from gazeray.studies.pictures.scores import SCORES, means_of
from gazeray.studies.pictures.summary import Models, summarise
from gazeray.studies.shared.declared import find_declaration
from gazeray.study import Finished, Items, Pass, Summary
from gazeray.synth.saliency import simulate_saliency
from gazeray.tables import DataError, Reject
from gazeray.unit import Json

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


def open_dataset(cfg: PictureScoring) -> tuple[PictureSetSpec, Folder]:
    """The declaration of the set and its folder. Raises ConfigError."""
    values, source, root = find_declaration(cfg, ("scenes", SIMULATION), cfg.data.simulate, simulate_saliency)
    return validate(PictureSetSpec, values, source), root


def plan_pictures(cfg: PictureScoring) -> PicturePlan:
    """Look at what there is; no picture is decoded. Raises ConfigError, DataError."""
    spec, root = open_dataset(cfg)
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


def prepare_pictures(cfg: PictureScoring, plan: PicturePlan, store: Folder) -> Generator[Pass, Store, PicturesReady]:
    """The pass that decodes, measures and draws. Raises DataError when too little is left."""
    targets = cfg.targets.model_dump(mode="json")
    folder = store.sub(f"stores/pictures-{digest([FORMAT, plan.fingerprint, targets, cfg.score.longest_px])[:16]}")
    spec = plan.spec
    prepare = PreparePictures(
        plan.found.root, folder, cfg.targets, spec.px_per_deg, spec.max_pixels, cfg.score.longest_px
    )
    return (yield from pictures_pass(plan.found, prepare, cfg.folds, cfg.run.seed))


def picture_items(
    plan: PicturePlan, ready: PicturesReady, shards: PictureShards, content: str, manifest: Mapping[str, object],
    rejects: Sequence[Reject] = (),
) -> Items:  # fmt: skip
    """The pictures. content, manifest, rejects: what the study adds."""
    everything = [*plan.found.rejects, *ready.rejects, *rejects]
    numbers = [info.fold for info in shards.pictures]
    own: Json = {
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
            "rejected": len(everything),
        },
        "folds": [{"fold": fold, "pictures": numbers.count(fold)} for fold in range(shards.folds)],
        "judged": [info.stimulus for info in shards.judged],
        "judged_fixations": sum(info.n_fixations for info in shards.judged),
    }
    table = pa.table({"stimulus": [info.stimulus for info in shards.pictures], "fold": numbers})
    folds = numbered_folds(table["fold"].to_numpy(), ("stimulus",))
    return Items(table, ("stimulus",), folds, content, {**own, **manifest}, everything)


def picture_summary(
    cfg: PictureScoring, manifest: Json, models: Models, finished: Finished, shards: PictureShards | None
) -> Summary:
    """metrics.json and per_item.parquet; with the pictures also those to show, and what the centre bias looks like."""
    n = {"pictures": len(manifest["judged"]), "fixations": manifest["judged_fixations"]}
    return summarise(cfg, {"n": {**manifest["counts"], **n}}, manifest["judged"], models, finished, shards)


def picture_checked(run: Folder, manifest: Json, finished: Finished) -> list[str]:
    """Every picture in one fold, and scored once by each predictor; results say what their tables say."""
    counted = sum(fold["pictures"] for fold in manifest["folds"])
    faults = [] if counted == manifest["counts"]["pictures"] else ["manifest.json: pictures: folds hold another number"]
    table = run.read_table("per_item.parquet", ["stimulus", "fold", "predictor"]).to_pylist()
    scored = Counter((row["predictor"], row["stimulus"]) for row in table)
    twice = [f"{stimulus} by {predictor}" for (predictor, stimulus), count in scored.items() if count > 1]
    folds: dict[str, set[int]] = {}
    for row in table:
        folds.setdefault(row["stimulus"], set()).add(row["fold"])
    several = [stimulus for stimulus, numbers in folds.items() if len(numbers) > 1]
    absent = sorted(set(manifest["judged"]) ^ set(folds)) if not finished.failed else []
    told = {"scored twice": twice, "in several folds": several, "not both judged and scored": absent}
    faults += [f"per_item.parquet: {what}: {', '.join(names[:5])}" for what, names in told.items() if names]
    for name, unit in finished.done.items():
        if means_of(unit.folder.read_table(SCORES).to_pylist()) != (unit.result() or {}).get("means"):
            faults.append(f"units/{name}/result.json: its means are not those of {SCORES}")
    return faults
