# SPDX-License-Identifier: Apache-2.0
"""Linear probes: which layer of which network knows where people look?

Features of a frozen network are computed once; linear probes of each layer are fitted and tested over folds of the
pictures, and stand in one table with baselines that never look at the picture and with ceilings from its observers.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gazeray.config import digest
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.pictures.predictors import PictureBaselines
from gazeray.studies.pictures.study import PictureStores, PictureStudy
from gazeray.studies.pictures.summary import Models
from gazeray.studies.probe_saliency.config import ProbeSaliencyConfig
from gazeray.studies.probe_saliency.passes import Extract, features_folder, features_pass, precision_of
from gazeray.studies.probe_saliency.predictors import Probes, Probing
from gazeray.studies.probe_saliency.source import ProbeSaliencyPlan, open_probing
from gazeray.study import Finished, Items, Pass, Predictor, Ready, Source
from gazeray.unit import Json

__all__ = ["ProbeSaliencyConfig", "ProbeSaliencyStudy"]


@dataclass(frozen=True)
class Stores(PictureStores):
    """The pictures, and the same joined with the features of all layers. folder: where the features lie."""

    features: Store
    folder: Folder


Prepared = Ready[ProbeSaliencyPlan, Stores]


@dataclass(frozen=True)
class ProbeSaliencyStudy(PictureStudy):
    """See `gazeray.study.Study`."""

    cfg: ProbeSaliencyConfig

    name: ClassVar[str] = "probe_saliency"

    def open(self) -> Source[ProbeSaliencyPlan]:
        """See `open_probing`. Raises ConfigError, DataError."""
        return open_probing(self.cfg)

    def passes(self, source: Source[ProbeSaliencyPlan], store: Folder) -> Generator[Pass, Store, Stores]:
        """The pictures, then the features of the layers."""
        cfg, plan, found = self.cfg, source.data, source.data.pictures
        ready = yield from self.prepare_pictures(found, store)
        folder = features_folder(store, cfg.backbone, plan.state, ready.pictures, cfg.run.seed)
        weights = None if plan.weights is None else (store.sub("weights"), f"{plan.state}.safetensors")
        extract = Extract(found.root, folder, cfg.backbone, plan.layers, found.spec.max_pixels, cfg.run.seed, weights)
        features = yield from features_pass(ready.shards, extract, plan.weights)
        return Stores(ready, features, folder)

    def items(self, source: Source[ProbeSaliencyPlan], stores: Stores) -> Items:
        """The pictures."""
        plan, own, ready = source.data, self.cfg.backbone, stores.pictures
        network = {
            "arch": own.arch,
            "weights": own.weights,
            "sha256": plan.state,
            "layers": list(plan.layers),
            "longest_px": own.longest_px,
            "precision": precision_of(stores.folder) or own.precision,
        }
        content = digest([ready.content, plan.state, stores.folder.uri.rpartition("/")[2]])
        return self.picture_items(plan.pictures, ready, content, {"backbone": network})

    def predictors(self, ready: Prepared) -> list[Predictor]:
        """Baselines and ceilings, then the probes."""
        shards = ready.stores.pictures.shards
        probes = Probes(self.cfg, shards, ready.stores.features, self._probings(ready.source.data.layers))
        return [PictureBaselines(self.cfg, shards), probes]

    def models(self, manifest: Json, finished: Finished) -> Models:
        """The probes whose units are done, and in each fold the layer whose read-out was the best on inner folds."""
        layers = manifest["backbone"]["layers"]
        entries, units, readouts = {}, {}, {}
        for one in self._probings(layers):
            if one.unit in finished.done:
                result = finished.done[one.unit].result() or {}
                units[one.predictor] = [one.unit]
                entries[one.predictor] = {
                    "layer": one.layer,
                    "probe": one.probe,
                    "density": one.probe == "readout",
                    "penalty": result["penalty"],
                    "inner": result["inner"],
                }
                if one.probe == "readout":  # the best inner log-likelihood of each fold
                    readouts[one.predictor] = [max(score for _, score in scores) for scores in result["inner"]]
        names = list(readouts) if len(readouts) > 1 else []
        of_folds = zip(*(readouts[name] for name in names), strict=True)
        chosen = {fold: names[int(np.argmax(scores))] for fold, scores in enumerate(of_folds)}
        return Models(entries, units, chosen, {"layers": list(layers), "probes": list(self.cfg.probes.kinds)})

    def _probings(self, layers: Sequence[str]) -> list[Probing]:
        return [Probing(probe, layer) for layer in layers for probe in self.cfg.probes.kinds]
