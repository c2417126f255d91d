# SPDX-License-Identifier: Apache-2.0
"""The heatmap study: which of two (or more) kinds of reading is it, judged by a small CNN from where the gaze dwelt.

After Ryzhova et al. (2023), doi 10.1145/3588015.3590118. Raw gaze becomes heatmaps or scanpaths of the stimulus window,
or the pictures come drawn; participants are held out; a logistic regression on simple features stands beside the CNN.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from gazeray.config import digest
from gazeray.explain.summary import MapSummary
from gazeray.gaze.notes import by_cause
from gazeray.gaze.screens import ScreensSpec
from gazeray.learn.fold_files import unmatched
from gazeray.learn.folds import fold_record, held_out
from gazeray.learn.trained import Trained, search_record
from gazeray.metrics.permutation import claim
from gazeray.report.results import HEADLINE, MODEL, Results
from gazeray.report.sections.without_gaze import best_gain
from gazeray.storage import Folder
from gazeray.store import FORMAT, Shard, Store
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.studies.heatmap.learner import SUMMARY, HeatmapLearner
from gazeray.studies.heatmap.passes import ReadRecording, ReadScreens
from gazeray.studies.heatmap.source import Recordings, deal, open_recordings
from gazeray.studies.shared.baselines import baselines, joined_folds, whole_folds
from gazeray.studies.shared.checks import fold_faults, prediction_faults
from gazeray.studies.shared.classification import score_predictions
from gazeray.studies.shared.flow import flow_faults, flow_of_study
from gazeray.studies.shared.recordings import SeeRecording
from gazeray.studies.shared.without_gaze import with_trials
from gazeray.study import Finished, Headline, Items, Learning, Pass, Predictor, Ready, Row, Source, Summary
from gazeray.tables import DataError, table_digest
from gazeray.unit import Json

__all__ = ["HeatmapConfig", "HeatmapStudy"]

Prepared = Ready[Recordings, Store]


@dataclass(frozen=True)
class HeatmapStudy:
    """See `gazeray.study.Study`."""

    cfg: HeatmapConfig

    name: ClassVar[str] = "heatmap"

    def open(self) -> Source[Recordings]:
        """See `open_recordings`. Raises DataError, ConfigError."""
        return open_recordings(self.cfg)

    def passes(self, source: Source[Recordings], store: Folder) -> Generator[Pass, Store, Store]:
        """Read, detect, gate, render: one recording's files to its examples."""
        found = source.data
        folder = store.sub(f"stores/reading-{digest([FORMAT, found.fingerprint])[:16]}")
        read: Callable[[Mapping[str, Any]], Shard]
        if isinstance(found.spec, ScreensSpec):
            read = ReadScreens(found.spec, found.root, self.cfg)
        else:
            trials, cfg = found.trials.to_pandas(), self.cfg
            see = SeeRecording(found.spec, found.root, trials, cfg.events, cfg.quality)
            read = ReadRecording(see, cfg)
        memory = ("picture", "features")
        examples = yield Pass.reading("reading recordings", found.recordings, read, folder, memory)
        if not len(examples):
            reasons = sorted({reject.reason for reject in (*found.rejects, *examples.rejects)})
            raise DataError(["no usable trial is left; reasons: " + "; ".join(reasons[:10])])
        examples.window_examples = self.cfg.data.window_examples
        log = examples.log
        quality = examples.table_of("quality") if log is not None and "quality" in log.tables else None
        return examples.with_table(with_trials(examples.table, found.trials, found.beside, found.order, quality))

    def items(self, source: Source[Recordings], stores: Store) -> Items:
        """The examples: a trial each."""
        found, log, table = source.data, stores.log, stores.table
        assert log is not None
        folds = deal(self.cfg, table, found.classes, found.label)
        trials = digest([found.classes, table_digest(found.trials)])
        notes = found.spec.notes
        named = unmatched(table, self.cfg.folds) if self.cfg.folds.path is not None else []
        rejects = [*found.rejects, *log.rejects, *named]
        manifest = {
            "data": {
                "dataset": found.spec.name,
                "licence": found.spec.licence,
                "label": found.label,
                "notes": [*found.given_away, *([notes[found.label]] if found.label in notes else [])],
                "root": found.root.uri,
                "declaration": found.spec.model_dump(mode="json"),
            },
            "classes": list(found.classes),
            "pictures": asdict(found.pictures),
            "notes_on_recordings": by_cause([*found.notes, *log.notes]),
            "folds": [fold_record(fold, table, self.cfg.folds) for fold in folds],
            "flow": flow_of_study(found.declared, found.trials, table, folds, rejects, found.classes),
            "counts": {
                "recordings": len(found.recordings),
                "participants": len(np.unique(stores.plain("participant"))),
                "trials": found.trials.num_rows,
                "examples": len(stores),
                "rejected": len(rejects),
                "rows_read": log.rows_read,
            },
        }
        parts = [FORMAT, found.meaning, sorted(log.contents), trials]
        if self.cfg.folds.path is not None:  # other folds in the same file are other results
            sides = [[fold.train, fold.validation.rows, *(side.rows for side in fold.tests)] for fold in folds]
            parts.append([[fold.fold for fold in folds], [[rows.tolist() for rows in side] for side in sides]])
        tables = {name: partial(stores.tables_of, name) for name in log.tables}
        return Items(table, ("participant", "trial"), folds, digest(parts), manifest, rejects, tables)

    def learning(self, ready: Prepared) -> Learning:
        """The CNN."""
        found, store = ready.source.data, ready.stores
        learner = HeatmapLearner(self.cfg.train, self.cfg, found.classes, found.pictures)
        return Learning(learner, store, store.plain("label_index"), self.cfg.folds, self.cfg.search)

    def predictors(self, ready: Prepared) -> list[Predictor]:
        """The CNN, and what stands beside it, fitted to the same people."""
        cnn = Trained.of({MODEL: Row("CNN", "model")}, self.learning(ready), ready, self.cfg.run.seed)
        return [cnn, baselines(ready, ready.stores, ready.source.data.classes)]

    def summary(self, manifest: Json, finished: Finished, ready: Prepared | None) -> Summary | None:
        """Everybody's predictions put together and scored, of the folds whose units are both done; what their maps add
        up to."""
        folds, classes = manifest["folds"], tuple(manifest["classes"])
        whole = whole_folds(finished.done, [fold["fold"] for fold in folds])
        if not whole:
            return None
        done = {place: finished.done[f"fold-{fold['fold']}"] for place, fold in enumerate(folds)
                if fold["fold"] in whole}  # fmt: skip
        predictions = joined_folds(finished.done, whole)
        tables = {"predictions": predictions}
        if "map" in predictions.column_names:
            ids = [field.name for field in predictions.schema if not pa.types.is_list(field.type)]
            tables["maps/index"] = predictions.select(ids).rename_columns({"map": "path"})
        results = {place: unit.result() or {} for place, unit in done.items()}
        scored = {
            place: {"fold": folds[place]["fold"], "metrics": result["metrics"]} for place, result in results.items()
        }
        metrics: Json = {
            "n": {
                "participants": len(set(predictions.column("participant").to_pylist())),
                "trials": predictions.num_rows,
                "rejected": manifest["counts"]["rejected"],
            },
            "folds": [{**one, "test": folds[place]["test"]} for place, one in scored.items()],
        }
        search = self.cfg.search
        if search is not None:
            about = {"chosen_by": search.metric, "scheduler": search.scheduler, "space": search.space}
            metrics["search"] = search_record(manifest["searched"], scored, HEADLINE, about)
        explained = [unit for unit in done.values() if unit.wrote(SUMMARY)]
        files = {}
        if explained:
            merged = MapSummary.merge([MapSummary.from_npz(unit.folder.read_bytes(SUMMARY)) for unit in explained])
            metrics["explanations"], files[SUMMARY] = merged.figures(self.cfg.run.seed), merged.to_npz()
        scores = self._scores(predictions, classes)
        return Summary({**metrics, **scores}, tables, files, _headline(scores))

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> Iterator[str]:
        """Folds and predictions."""
        yield from fold_faults(manifest, self.cfg.folds)
        yield from flow_faults(manifest, manifest["counts"]["examples"] if self.cfg.folds.path is None else None)
        yield from prediction_faults(run, manifest, finished, self.cfg.folds)

    def _scores(self, predictions: pa.Table, classes: tuple[str, ...]) -> Json:
        """What metrics.json says of predictions: of all together, and of each test regime where there are several."""
        cfg, seed = self.cfg.scores, self.cfg.run.seed
        regimes = predictions.column("regime").to_pylist()
        names = sorted(set(regimes))
        found = score_predictions(predictions, classes, cfg, seed, held_out(self.cfg.folds, names))
        if len(names) > 1:
            found["regimes"] = {}
            for name in names:
                own = predictions.take(np.flatnonzero([other == name for other in regimes]))
                scores = score_predictions(own, classes, cfg, seed, held_out(self.cfg.folds, [name]))
                found["regimes"][name] = {"n": own.num_rows, **scores}
        return found


def _headline(scores: Json) -> Headline:
    """Balanced accuracy of the CNN, and its gain over the best that can be had without gaze."""
    test, held = scores["permutation"], scores["held_out"]
    metric, entry = test["metric"], scores["rows"][MODEL][test["metric"]]
    chance, best = scores["metrics"][metric]["chance"], scores["without_gaze"]["best"]
    found = best_gain(Results({}, scores), MODEL, metric, held)
    gain: Json | None = None
    if found is not None:
        gain = {"over": best, "value": found.gain, "ci95": found.ci95, "p": found.p, "side": found.found.side}
    against = claim(entry["ci95"], chance, test, held).side
    return Headline(metric, MODEL, entry, chance, against, gain, "the best that can be had without gaze")
