# SPDX-License-Identifier: Apache-2.0
"""The emotion study: what do gaze and body say about felt arousal and valence, in people and pictures never seen?

Series of signals, the scanpath and the stimulus are branches; every subset of them is a model of its own, beside rows
that know only the person, the picture or the circumstances, and ceilings of other people's ratings.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from gazeray.config import digest
from gazeray.gaze.notes import by_cause
from gazeray.learn.fold_files import unmatched
from gazeray.learn.folds import fold_record
from gazeray.learn.trained import Trained, search_record
from gazeray.storage import Folder
from gazeray.store import FORMAT, Store
from gazeray.studies.emotion.config import Branch, EmotionConfig, subsets_of
from gazeray.studies.emotion.control_models import controls
from gazeray.studies.emotion.courses import AUGMENTATION, COURSES, courses, pairs
from gazeray.studies.emotion.importance import SWAPPED
from gazeray.studies.emotion.learner import EmotionLearner
from gazeray.studies.emotion.passes import ReadTrials
from gazeray.studies.emotion.pictures import PictureNetwork, picture_pass
from gazeray.studies.emotion.predictors import baselines
from gazeray.studies.emotion.source import EmotionTrials, deal, open_trials
from gazeray.studies.emotion.summary import headline, score_faults, score_run
from gazeray.studies.shared.baselines import KEY, joined_folds, whole_folds
from gazeray.studies.shared.checks import fold_faults, gate_faults, tested_faults
from gazeray.studies.shared.classification import PREDICTIONS
from gazeray.studies.shared.flow import flow_faults, flow_of_study
from gazeray.studies.shared.recordings import SeeRecording
from gazeray.studies.shared.without_gaze import with_trials
from gazeray.study import Finished, Items, Learning, Pass, Predictor, Ready, Row, Source, Summary, Tried
from gazeray.tables import DataError, Reject
from gazeray.unit import Json

__all__ = ["EmotionConfig", "EmotionStudy"]

EXAMPLES = 1
"""Raised when units must be done again although neither config nor data have changed."""


@dataclass(frozen=True)
class Stores:
    """The examples, and the network that saw their pictures; None: no branch sees them. rejects: of trials whose
    picture cannot be decoded. seen: SHA-256 of the pictures' bytes and of the network's weights."""

    examples: Store
    network: PictureNetwork | None = None
    rejects: Sequence[Reject] = ()
    seen: str = ""


Prepared = Ready[EmotionTrials, Stores]


@dataclass(frozen=True)
class EmotionStudy:
    """See `gazeray.study.Study`."""

    cfg: EmotionConfig

    name: ClassVar[str] = "emotion"

    def open(self) -> Source[EmotionTrials]:
        """See `open_trials`. Raises DataError, ConfigError."""
        return open_trials(self.cfg)

    def passes(self, source: Source[EmotionTrials], store: Folder) -> Generator[Pass, Store, Stores]:
        """Read, clean, draw: one recording's files to its examples; then the pictures through the frozen network."""
        found, cfg = source.data, self.cfg
        folder = store.sub(f"stores/emotion-{digest([FORMAT, found.fingerprint])[:16]}")
        see = SeeRecording(found.spec, found.root, found.trials.to_pandas(), cfg.events, cfg.quality)
        read = ReadTrials(see, cfg, found.channels, "scanpath" in found.branches)
        examples = yield Pass.reading("reading trials", found.recordings, read, folder, read.columns)
        if not len(examples):
            reasons = sorted({reject.reason for reject in (*found.rejects, *examples.rejects)})
            raise DataError(["no usable trial is left; reasons: " + "; ".join(reasons[:10])])
        examples.window_examples = cfg.data.window_examples
        quality = examples.table_of("quality")
        table = with_trials(examples.table, found.trials, found.beside, found.order, quality)
        examples = examples.with_table(table)
        if "picture" not in found.branches:
            return Stores(examples)
        opened = found.network
        assert opened is not None
        network = PictureNetwork.of(cfg.picture, opened, store, cfg.run.seed)
        paths = {name: found.pictures.paths[name] for name in sorted(set(examples.plain("stimulus").tolist()))}
        pictures = yield from picture_pass(
            network, found.root, paths, cfg.augment, store, cfg.run.seed, opened.weights, cfg.picture.batch_size
        )
        undecoded = _undecoded(examples, pictures)
        seen = np.isin(examples.plain("stimulus"), pictures.plain("stimulus"))
        if not seen.any():
            raise DataError(["no picture can be decoded", *sorted({one.reason for one in undecoded})[:10]])
        examples = examples.select(np.flatnonzero(seen)).join(pictures, ("stimulus",))
        return Stores(examples, network, undecoded, digest([pictures.content, network.state]))

    def items(self, source: Source[EmotionTrials], stores: Stores) -> Items:
        """The examples: a trial each."""
        found, store, cfg = source.data, stores.examples, self.cfg
        log, table = store.log, store.table
        assert log is not None
        folds = deal(cfg, table, found.labels)
        named = unmatched(table, cfg.folds) if cfg.folds.path is not None else []
        rejects = [*found.rejects, *log.rejects, *stores.rejects, *named]
        first = found.labels[0]
        manifest = {
            "data": {
                "dataset": found.spec.name,
                "licence": found.spec.licence,
                "label": first.name,
                "labels": [
                    {"name": one.name, "levels": list(one.classes), "ordered": one.ordered} for one in found.labels
                ],
                "notes": [*found.notes, *(found.spec.notes[one.name] for one in found.labels
                                          if one.name in found.spec.notes)],
                "root": found.root.uri,
                "declaration": found.spec.model_dump(mode="json"),
            },
            "classes": list(first.classes),
            "channels": [{"name": name, "unit": found.units.get(name, "")} for name in found.channels],
            "branches": {"used": list(found.branches), "left_out": found.left_out},
            "network": stores.network.facts if stores.network is not None else None,
            "notes_on_recordings": by_cause(log.notes),
            "folds": [fold_record(fold, table, cfg.folds) for fold in folds],
            "flow": flow_of_study(found.declared, found.trials, table, folds, rejects, first.classes),
            "counts": {
                "recordings": len(found.recordings),
                "participants": len(np.unique(store.plain("participant"))),
                "stimuli": len(np.unique(store.plain("stimulus"))),
                "trials": found.trials.num_rows,
                "examples": len(store),
                "rejected": len(rejects),
                "rows_read": log.rows_read,
                "missing_pictures": len(found.pictures.missing),
                "unused_pictures": len(found.pictures.unused),
            },
        }  # fmt: skip
        labels = [[one.name, *one.classes] for one in found.labels]
        parts = [EXAMPLES, FORMAT, sorted(log.contents), labels, found.fingerprint, stores.seen]
        tables = {name: partial(store.tables_of, name) for name in log.tables}
        return Items(table, ("participant", "trial"), folds, digest(parts), manifest, rejects, tables)

    def learning(self, ready: Prepared) -> Learning:
        """The model of all branches."""
        store, found = ready.stores.examples, ready.source.data
        index = np.maximum(store.plain(f"{found.labels[0].name}_index"), 0)
        return Learning(self._learner(ready, found.branches), store, index, self.cfg.folds, self.cfg.search)

    def predictors(self, ready: Prepared) -> list[Predictor]:
        """The model of all branches, those of fewer, the controls, and what stands beside them."""
        cfg, found, store = self.cfg, ready.source.data, ready.stores.examples
        subsets = {"-".join(own): own for own in subsets_of(found.branches, cfg.model.rows)}
        whole = "-".join(found.branches)
        models = {key: self._learner(ready, own) for key, own in subsets.items()}
        made: list[Predictor] = [Trained.of(self._rows(whole, found), self.learning(ready), ready, cfg.run.seed)]
        made += [
            self._trained(key, self._rows(key, found), learner, store, ready)
            for key, learner in models.items() if key != whole
        ]  # fmt: skip
        if cfg.controls.of in models:
            names = [label.name for label in found.labels]
            asked = controls(cfg.controls, models[cfg.controls.of], store, names, cfg.signals.duration_ms, cfg.run.seed)
            made += [self._trained(key, {key: row}, learner, own, ready) for key, (row, learner, own) in asked.items()]
        return [*made, baselines(ready, store, found.labels)]

    def summary(self, manifest: Json, finished: Finished, ready: Prepared | None) -> Summary | None:
        """Everybody's predictions put together and scored, label by label, of the folds whose model and baselines are
        done."""
        folds = manifest["folds"]
        whole = whole_folds(finished.done, [fold["fold"] for fold in folds])
        if not whole:
            return None
        model = "-".join(manifest["branches"]["used"])
        fits = [key for key, row in finished.rows.items() if row.kind in ("model", "control") and key != model]
        units = [key for key in fits if f"{key}-{whole[0]}" in finished.done]
        there = [key for key in units if whole_folds(finished.done, whole, [key]) == whole]
        predictions = joined_folds(finished.done, whole, (KEY, "fold", *there))
        scores = score_run(predictions, manifest, finished, whole, model, self.cfg)
        search = self.cfg.search
        if search is not None:
            results = {place: finished.done[f"fold-{fold['fold']}"].result() or {} for place, fold in enumerate(folds)
                       if fold["fold"] in whole}  # fmt: skip
            of_folds = {place: {"fold": folds[place]["fold"], "metrics": one["metrics"]}
                        for place, one in results.items()}  # fmt: skip
            about = {"chosen_by": search.metric, "scheduler": search.scheduler, "space": search.space}
            scores["search"] = search_record(manifest["searched"], of_folds, EmotionLearner.headline, about)
        files = {} if ready is None else self._files(ready)
        return Summary(scores, {"predictions": predictions}, files, headline(scores))

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> Iterator[str]:
        """Folds and predictions."""
        dealt = self.cfg.folds.path is None
        yield from fold_faults(manifest, self.cfg.folds)
        yield from flow_faults(manifest, manifest["counts"]["examples"] if dealt else None)
        table = run.read_table(PREDICTIONS)
        yield from tested_faults(table, manifest, finished, self.cfg.folds)
        yield from gate_faults(run, table)
        yield from score_faults(table, manifest)

    def _learner(self, ready: Prepared, branches: Sequence[Branch], key: str = "") -> EmotionLearner:
        found, cfg = ready.source.data, self.cfg
        network = ready.stores.network if "picture" in branches else None
        return EmotionLearner(cfg.train, cfg, found.labels, found.channels, tuple(branches), network, key=key)

    def _trained(
        self, key: str, rows: Mapping[str, Row], learner: EmotionLearner, store: Store, ready: Prepared
    ) -> Trained:
        """A model that no search steers."""
        one = Tried({}, replace(learner, key=key), store, ready.items.content)
        return Trained(rows, [one], ready.items.folds, self.cfg.run.seed, key=key)

    def _rows(self, key: str, found: EmotionTrials) -> dict[str, Row]:
        """The row of a model, and that of the control that is made of it in the test."""
        alone = " alone" if "-" not in key and len(found.branches) > 1 else ""
        rows = {key: Row(" + ".join(key.split("-")) + alone, "model")}
        if key == self.cfg.controls.of and self.cfg.controls.swap_signals:
            rows[SWAPPED] = Row("signals of somebody else", "control")
        return rows

    def _files(self, ready: Prepared) -> dict[str, bytes]:
        """What the report draws: the mean course of each channel at each level, and pictures before and after they are
        moved."""
        found, store, cfg = ready.source.data, ready.stores.examples, self.cfg
        files = {}
        if found.channels:
            files[COURSES] = courses(store, found.channels, found.labels, cfg.signals)
        if cfg.augment.views and "picture" in found.branches:
            files[AUGMENTATION] = pairs(found, store, cfg)
        return files


def _undecoded(examples: Store, pictures: Store) -> list[Reject]:
    """A reject for each trial whose picture could not be decoded."""
    faults = {reject.trial: reject for reject in pictures.rejects}
    ids = zip(*(examples.plain(name).tolist() for name in ("stimulus", "participant", "trial")), strict=True)
    return [
        Reject(faults[stimulus].source, -1, "pictures", faults[stimulus].reason, participant, trial)
        for stimulus, participant, trial in ids if stimulus in faults
    ]  # fmt: skip
