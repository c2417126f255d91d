# SPDX-License-Identifier: Apache-2.0
"""What the studies on pictures share: the set, its human maps, its folds, and what the units add up to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gazeray.config import digest
from gazeray.learn.folds import numbered_folds
from gazeray.stimuli.dataset import PictureSet
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.pictures.config import PictureScoring
from gazeray.studies.pictures.passes import FORMAT, PicturesReady, PreparePictures, pictures_pass
from gazeray.studies.pictures.scores import SCORES, means_of
from gazeray.studies.pictures.summary import Models, summarise
from gazeray.studies.shared.flow import Passed, flow_faults, pictures_flow
from gazeray.study import Finished, Items, Pass, Ready, Summary
from gazeray.tables import Reject
from gazeray.unit import Json


@dataclass(frozen=True)
class PictureStores:
    """Stores of a study on pictures: the pictures, of which some may not be judged."""

    pictures: PicturesReady


@dataclass(frozen=True)
class PictureStudy(ABC):
    """What all of them do alike. A study adds its own passes and predictors, and says what its models are."""

    cfg: PictureScoring

    @abstractmethod
    def models(self, manifest: Json, finished: Finished) -> Models:
        """The models whose units are done."""

    def learning(self, ready: Ready[Any, Any]) -> None:  # noqa: B027
        """Nothing that a search could steer."""

    def prepare_pictures(self, found: PictureSet, store: Folder) -> Generator[Pass, Store, PicturesReady]:
        """The pass that decodes, measures and draws. Raises DataError when too little is left."""
        cfg, spec, longest_px = self.cfg, found.spec, self.cfg.score.longest_px
        used = {source.path for source in found.pictures} | {source.map_path for source in found.pictures}
        files = [[stat.path, stat.size, stat.mtime_ns] for stat in found.root.list() if stat.path in used]
        fingerprint = digest([FORMAT, found.root.uri, found.content, files])
        targets = cfg.targets.model_dump(mode="json")
        folder = store.sub(f"stores/pictures-{digest([FORMAT, fingerprint, targets, longest_px])[:16]}")
        prepare = PreparePictures(found.root, folder, cfg.targets, spec.px_per_deg, spec.max_pixels, longest_px)
        return (yield from pictures_pass(found, prepare, cfg.folds, cfg.run.seed))

    def picture_items(
        self, found: PictureSet, ready: PicturesReady, content: str, manifest: Mapping[str, object],
        rejects: Sequence[Reject] = (),
    ) -> Items:  # fmt: skip
        """The pictures. content, manifest, rejects: what the study adds."""
        everything = [*found.rejects, *ready.rejects, *rejects]
        shards = ready.shards
        numbers = [info.fold for info in shards.pictures]
        sets = ([one.stimulus for one in some] for some in (found.pictures, shards.pictures, shards.judged))
        passed = Passed(*(dict.fromkeys(("", name) for name in names) for names in (found.named, *sets)))
        own: Json = {
            "data": {
                "dataset": found.spec.name,
                "licence": found.spec.licence,
                "notes": list(dict.fromkeys([*found.spec.notes, *found.notes, *ready.notes])),
                "root": found.root.uri,
                "declaration": found.spec.model_dump(mode="json"),
            },
            "counts": {
                "pictures": len(shards.pictures),
                "observers": ready.observers,
                "fixations": sum(info.n_fixations for info in shards.pictures),
                "rejected": len(everything),
            },
            "flow": pictures_flow(passed, everything),
            "folds": [{"fold": fold, "pictures": numbers.count(fold)} for fold in range(shards.folds)],
            "judged": [info.stimulus for info in shards.judged],
            "judged_fixations": sum(info.n_fixations for info in shards.judged),
        }
        table = pa.table({"stimulus": [info.stimulus for info in shards.pictures], "fold": numbers})
        folds = numbered_folds(table["fold"].to_numpy(), ("stimulus",))
        return Items(table, ("stimulus",), folds, content, {**own, **manifest}, everything)

    def summary(self, manifest: Json, finished: Finished, ready: Ready[Any, PictureStores] | None) -> Summary:
        """The table of predictors; with the pictures also those to show, and what the centre bias looks like."""
        shards = ready.stores.pictures.shards if ready else None
        return summarise(self.cfg, manifest, self.models(manifest, finished), finished, shards)

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> list[str]:
        """Every picture in one fold, and scored once by each predictor; results say what their tables say."""
        counted = sum(fold["pictures"] for fold in manifest["folds"]) == manifest["counts"]["pictures"]
        faults = [] if counted else ["manifest.json: pictures: folds hold another number"]
        faults += flow_faults(manifest, len(manifest["judged"]))
        table = run.read_table("per_item.parquet", ["stimulus", "fold", "predictor"]).to_pylist()
        scored = Counter((row["predictor"], row["stimulus"]) for row in table)
        folds = Counter(stimulus for stimulus, _ in {(row["stimulus"], row["fold"]) for row in table})
        told = {
            "scored twice": [f"{stimulus} by {predictor}" for (predictor, stimulus), n in scored.items() if n > 1],
            "in several folds": [stimulus for stimulus, count in folds.items() if count > 1],
            "not both judged and scored": [] if finished.failed else sorted(set(manifest["judged"]) ^ set(folds)),
        }
        faults += [f"per_item.parquet: {what}: {', '.join(names[:5])}" for what, names in told.items() if names]
        for name, unit in finished.done.items():
            if means_of(unit.folder.read_table(SCORES).to_pylist()) != (unit.result() or {}).get("means"):
                faults.append(f"units/{name}/result.json: its means are not those of {SCORES}")
        return faults
