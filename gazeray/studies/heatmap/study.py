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

from gazeray.config import ConfigError, digest, validate
from gazeray.explain.summary import MapSummary
from gazeray.gaze.dataset import Dataset, DatasetSpec, open_dataset
from gazeray.gaze.screens import ScreensSpec, open_screens
from gazeray.learn.fold_files import unmatched
from gazeray.learn.folds import fold_record, make_folds
from gazeray.learn.space import settings_to_try
from gazeray.learn.trained import Trained, search_record
from gazeray.storage import Folder
from gazeray.store import FORMAT, Shard, Store
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.studies.heatmap.learner import SUMMARY, HeatmapLearner, PictureKind
from gazeray.studies.heatmap.passes import ReadRecording, ReadScreens
from gazeray.studies.shared.checks import fold_faults, prediction_faults
from gazeray.studies.shared.classification import PREDICTIONS, ROWS, check_classes, score_predictions
from gazeray.studies.shared.declared import find_declaration
from gazeray.study import Finished, Fold, Items, Learning, Pass, Predictor, Ready, Source, Summary
from gazeray.synth.reading import simulate
from gazeray.tables import DataError, Reject, table_digest
from gazeray.unit import Json

__all__ = ["HeatmapConfig", "HeatmapStudy"]

READING, SIMULATION = 1, 1
"""Raised when the code reads or draws, or simulates, the same input differently: older examples are then not reused."""


@dataclass(frozen=True)
class Recordings:
    """What was found before any gaze was read.

    trials: one row per trial that may be used. recordings: one mapping per recording, with at least `key`.
    fingerprint: changes when anything that the examples depend on changes, be it only a file's date or place. meaning:
    hash of how files are read and drawn, wherever they lie.
    """

    spec: DatasetSpec | ScreensSpec
    root: Folder
    label: str
    classes: tuple[str, ...]
    trials: pa.Table
    recordings: list[Json]
    rejects: list[Reject]
    fingerprint: str
    meaning: str
    pictures: PictureKind


Prepared = Ready[Recordings, Store]


@dataclass(frozen=True)
class HeatmapStudy:
    """See `gazeray.study.Study`."""

    cfg: HeatmapConfig

    name: ClassVar[str] = "heatmap"

    def open(self) -> Source[Recordings]:
        """Open the data set (simulate it first where asked) and check that it can be drawn as the config says."""
        cfg = self.cfg
        settings_to_try(cfg)
        values, source, root = find_declaration(
            cfg.data.dataset, cfg.data.root, Folder(cfg.run.dir, cfg.storage), cfg.storage, ("reading", SIMULATION),
            cfg.data.simulate, simulate,
        )  # fmt: skip
        kind: type[DatasetSpec | ScreensSpec] = ScreensSpec if "pictures" in values else DatasetSpec
        spec = validate(kind, values, source)
        data: Any
        if isinstance(spec, ScreensSpec):
            data, pictures = open_screens(spec, root), PictureKind("screens", 3, 1.0)
            if cfg.data.label not in (None, data.label):
                raise ConfigError([f"data.label: {spec.name} has no label {cfg.data.label!r} (allowed: {data.label})"])
        else:
            data = open_dataset(spec, root, cfg.data.label)
            pictures = PictureKind(cfg.render.kind, cfg.render.channels, cfg.render.blank)
            _check_geometry(cfg, data)
        trials = pa.Table.from_pandas(data.trials, preserve_index=False)
        recordings = [asdict(recording) for recording in data.recordings]
        parts = [READING, spec.model_dump(mode="json", exclude={"notes", "licence", "name"})]
        parts += [part.model_dump(mode="json") for part in (cfg.render, cfg.events, cfg.quality, cfg.features)]
        meaning = digest(parts)
        fingerprint = digest([meaning, root.uri, recordings, table_digest(trials)])
        classes = tuple(data.classes)
        found = Recordings(
            spec, root, data.label, classes, trials, recordings, data.rejects, fingerprint, meaning, pictures
        )
        self._folds(trials, classes, data.label)
        return Source(found, self._lines(found))

    def _folds(self, table: pa.Table, classes: tuple[str, ...], label: str) -> list[Fold]:
        """The folds of trials or examples. Raises DataError when people, stimuli or classes do not suffice."""
        labels = table.column("label_index").to_numpy()
        folds = make_folds(table, labels, self.cfg.folds, self.cfg.run.seed)
        check_classes(folds, table, labels, classes, label, self.cfg)
        return folds

    def _lines(self, found: Recordings) -> list[str]:
        trials = found.trials
        people = len(set(trials.column("participant").to_pylist()))
        labels = trials.column("label_index").to_numpy()
        counts = ", ".join(f"{name} {int(np.sum(labels == c))}" for c, name in enumerate(found.classes))
        cfg = self.cfg
        folds = cfg.folds.outer * (cfg.folds.stimuli if cfg.folds.hold_out == "both" else 1)
        number = f"{folds} folds" if cfg.folds.path is None else f"the folds of {cfg.folds.path}"
        units = f"{number} (held out: {cfg.folds.hold_out}), each up to {cfg.train.epochs} epochs"
        if cfg.search is not None:
            settings = f"{len(settings_to_try(cfg))} settings x {cfg.folds.inner} inner folds"
            units += f"; before that in each a search over {settings}"
        return [
            f"data set: {found.spec.name} (licence {found.spec.licence or 'not stated'}) at {found.root.uri}",
            f"people: {people}; recordings: {len(found.recordings)}; rejected before reading: {len(found.rejects)}",
            f"trials: {trials.num_rows}; label {found.label}: {counts}",
            f"units: {units}",
        ]

    def passes(self, source: Source[Recordings], store: Folder) -> Generator[Pass, Store, Store]:
        """Read, detect, gate, render: one recording's files to its examples."""
        found = source.data
        folder = store.sub(f"stores/reading-{digest([FORMAT, found.fingerprint])[:16]}")
        read: Callable[[Mapping[str, Any]], Shard]
        if isinstance(found.spec, ScreensSpec):
            read = ReadScreens(found.spec, found.root, self.cfg)
        else:
            read = ReadRecording(found.spec, found.root, found.trials.to_pandas(), self.cfg)
        memory = ("picture", "features")
        examples = yield Pass.reading("reading recordings", found.recordings, read, folder, memory)
        if not len(examples):
            reasons = sorted({reject.reason for reject in (*found.rejects, *examples.rejects)})
            raise DataError(["no usable trial is left; reasons: " + "; ".join(reasons[:10])])
        examples.window_examples = self.cfg.data.window_examples
        return examples.with_table(_with_labels(examples.table, found.trials))

    def items(self, source: Source[Recordings], stores: Store) -> Items:
        """The examples: a trial each."""
        found, log, table = source.data, stores.log, stores.table
        assert log is not None
        folds = self._folds(table, found.classes, found.label)
        trials = digest([found.classes, table_digest(found.trials)])
        notes = found.spec.notes
        named = unmatched(table, self.cfg.folds) if self.cfg.folds.path is not None else []
        rejects = [*found.rejects, *log.rejects, *named]
        manifest = {
            "data": {
                "dataset": found.spec.name,
                "licence": found.spec.licence,
                "label": found.label,
                "notes": [notes[found.label]] if found.label in notes else [],
                "root": found.root.uri,
                "declaration": found.spec.model_dump(mode="json"),
            },
            "classes": list(found.classes),
            "pictures": asdict(found.pictures),
            "notes_on_recordings": log.notes,
            "folds": [fold_record(fold, table, self.cfg.folds) for fold in folds],
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
        """The CNN; its units fill the rows of the baselines too, which are fitted to the same people."""
        return [Trained.of(ROWS, self.learning(ready), ready, self.cfg.run.seed)]

    def summary(self, manifest: Json, finished: Finished, ready: Prepared | None) -> Summary:
        """Everybody's predictions put together and scored; what the maps of all folds add up to."""
        folds, classes = manifest["folds"], tuple(manifest["classes"])
        done = {place: finished.done[f"fold-{fold['fold']}"] for place, fold in enumerate(folds)
                if f"fold-{fold['fold']}" in finished.done}  # fmt: skip
        predictions = pa.concat_tables([unit.folder.read_table(PREDICTIONS) for unit in done.values()])
        predictions = predictions.sort_by([("fold", "ascending"), ("participant", "ascending"), ("trial", "ascending")])
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
            metrics["search"] = search_record(manifest["searched"], scored, "balanced_accuracy", about)
        explained = [unit for unit in done.values() if unit.wrote(SUMMARY)]
        files = {}
        if explained:
            merged = MapSummary.merge([MapSummary.from_npz(unit.folder.read_bytes(SUMMARY)) for unit in explained])
            metrics["explanations"], files[SUMMARY] = merged.figures(self.cfg.run.seed), merged.to_npz()
        return Summary({**metrics, **self._scores(predictions, classes)}, tables, files)

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> Iterator[str]:
        """Folds and predictions."""
        yield from fold_faults(manifest, self.cfg.folds)
        yield from prediction_faults(run, manifest, finished, self.cfg.folds)

    def _scores(self, predictions: pa.Table, classes: tuple[str, ...]) -> Json:
        """What metrics.json says of predictions: of all together, and of each test regime where there are several."""
        cfg, seed = self.cfg.scores, self.cfg.run.seed
        regimes = predictions.column("regime").to_pylist()
        found = score_predictions(predictions, classes, cfg, seed)
        names = sorted(set(regimes))
        if len(names) > 1:
            rows = {name: np.flatnonzero([other == name for other in regimes]) for name in names}
            each = {name: score_predictions(predictions.take(own), classes, cfg, seed) for name, own in rows.items()}
            found["regimes"] = {name: {"n": len(rows[name]), **scores} for name, scores in each.items()}
        return found


def _with_labels(examples: pa.Table, trials: pa.Table) -> pa.Table:
    """The examples with the columns of their trials, in the order of the examples."""
    keys = zip(trials.column("participant").to_pylist(), trials.column("trial").to_pylist(), strict=True)
    position = {key: number for number, key in enumerate(keys)}
    wanted = zip(examples.column("participant").to_pylist(), examples.column("trial").to_pylist(), strict=True)
    return trials.take([position[key] for key in wanted])


def _check_geometry(cfg: HeatmapConfig, data: Dataset) -> None:
    """What is asked for in degrees needs to know the screen. Raises ConfigError, DataError."""
    if cfg.render.source == "samples" and data.spec.samples is None and cfg.render.kind != "scanpath":
        raise ConfigError([f"render.source: data set {data.spec.name} declares no samples (allowed: fixations)"])
    errors = []
    everything = ["screen_width_mm", "screen_height_mm", "distance_mm"]
    needs = {
        "render.sigma_deg": (["screen_width_mm", "distance_mm"], cfg.render.sigma_deg is not None),
        "events.detector": (everything, cfg.events.in_deg and data.spec.samples is not None),
        "quality.max_rms_s2s_deg": (everything, cfg.quality.max_rms_s2s_deg is not None),
        "quality.max_bcea_deg2": (everything, cfg.quality.max_bcea_deg2 is not None),
    }
    for key, (columns, wanted) in needs.items():
        unknown = int(data.trials[columns].isna().any(axis=1).sum()) if wanted else 0
        if unknown:
            names = ", ".join(name.removeprefix("screen_") for name in columns)
            errors.append(f"{key}: {unknown} trials lack one of the screen's {names}, which degrees need: declare them")
    if errors:
        raise DataError(errors)
