# SPDX-License-Identifier: Apache-2.0
"""What the heatmap study finds before any gaze is read: the recordings, and the folds that they can be dealt to.

Neither PyTorch nor Ray is needed for it, so that a plan (--dry-run) is there at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.config import ConfigError, digest, validate
from gazeray.gaze.beside import beside_notes
from gazeray.gaze.dataset import Dataset, DatasetSpec, Recording, open_dataset
from gazeray.gaze.declaration import WORDS
from gazeray.gaze.first import first_of_gaze
from gazeray.gaze.screen_pictures import first_screen
from gazeray.gaze.screens import ScreensRecording, ScreensSpec, open_screens
from gazeray.learn.folds import make_folds
from gazeray.learn.space import settings_to_try
from gazeray.report.words import counted
from gazeray.storage import Folder
from gazeray.studies.heatmap.config import HeatmapConfig, PictureKind
from gazeray.studies.shared.classification import check_classes
from gazeray.studies.shared.declared import find_declaration
from gazeray.studies.shared.without_gaze import further_columns, given_away, trial_order
from gazeray.study import Fold, Source
from gazeray.synth.reading import simulate
from gazeray.tables import DataError, Reject, table_digest
from gazeray.unit import Json

READING, SIMULATION = 3, 1
"""Raised when the code reads or draws, or simulates, the same input differently: older examples are then not reused."""


@dataclass(frozen=True)
class Recordings:
    """What was found before any gaze was read.

    trials: one row per trial that may be used. beside: what is declared to be known of them beside the gaze, see
    `gazeray.gaze.beside`; examples do not depend on it. recordings: one mapping per recording, with at least `key`.
    fingerprint: changes when anything that the examples depend on changes, be it only a file's date or place. meaning:
    hash of how files are read and drawn, wherever they lie. declared: every (participant, trial) that tables (or the
    names of pictures) speak of, with its class, "" where that is not known.
    """

    spec: DatasetSpec | ScreensSpec
    root: Folder
    label: str
    classes: tuple[str, ...]
    trials: pa.Table
    beside: pa.Table
    recordings: list[Json]
    rejects: list[Reject]
    fingerprint: str
    meaning: str
    pictures: PictureKind
    declared: dict[tuple[str, str], str]

    @cached_property
    def order(self) -> np.ndarray:
        """(N,) the place of each trial among those of its participant, which a refused one keeps; NaN where pictures
        or the table have no order."""
        if isinstance(self.spec, ScreensSpec) or not self.spec.trials.in_order:
            return np.full(self.trials.num_rows, np.nan)
        place = dict(zip(self.declared, trial_order(who for who, _ in self.declared), strict=True))
        names = (self.trials.column(name).to_pylist() for name in ("participant", "trial"))
        return np.array([place[key] for key in zip(*names, strict=True)], np.float64)

    @cached_property
    def given_away(self) -> list[str]:
        """What gives the label away without any gaze, a sentence each."""
        labels = self.trials.column("label_index").to_numpy()
        return given_away(self.trials, self.order, labels, self.classes, self.label, self.beside)

    @property
    def notes(self) -> list[str]:
        """What is odd about what is declared beside the gaze."""
        return beside_notes(self.spec, self.beside) if isinstance(self.spec, DatasetSpec) else []


def plan(cfg: HeatmapConfig) -> Sequence[str]:
    """What a run would do. Raises DataError, ConfigError."""
    return open_recordings(cfg).planned()


def open_recordings(cfg: HeatmapConfig) -> Source[Recordings]:
    """Open the data set (simulate it first where asked) and check that it can be drawn as the config says.

    Raises DataError, ConfigError.
    """
    settings_to_try(cfg)
    values, source, root = find_declaration(
        cfg.data.dataset, cfg.data.root, Folder(cfg.run.dir, cfg.storage), cfg.storage, ("reading", SIMULATION),
        cfg.data.simulate, simulate,
    )  # fmt: skip
    of_screens = "pictures" in values and "trials" not in values
    kind: type[DatasetSpec | ScreensSpec] = ScreensSpec if of_screens else DatasetSpec
    spec = validate(kind, values, source)
    data: Any
    if isinstance(spec, ScreensSpec):
        data, pictures = open_screens(spec, root), PictureKind("screens", 3, 1.0)
        if cfg.data.label not in (None, data.label):
            raise ConfigError([f"data.label: {spec.name} has no label {cfg.data.label!r} (allowed: {data.label})"])
    else:
        if not spec.has_gaze:
            raise DataError([f"{spec.name} has channels alone, no coordinates (x_px, y_px): there is no gaze to draw"])
        data = open_dataset(spec, root, cfg.data.label)
        pictures = PictureKind(cfg.render.kind, cfg.render.channels, cfg.render.blank)
        _check_geometry(cfg, data)
    everything = pa.Table.from_pandas(data.trials, preserve_index=False)
    further = further_columns(everything)
    trials, beside = everything.drop_columns(further), everything.select(further)
    recordings = [asdict(recording) for recording in data.recordings]
    apart = dict.fromkeys(("notes", "licence", "name", "study", "nuisance"), True)
    apart |= {} if of_screens else {"pictures": True}  # of stimuli: they are not looked at here
    parts = [READING, spec.model_dump(mode="json", exclude={**apart, "trials": {"columns": {WORDS}, "in_order": True}})]
    parts += [part.model_dump(mode="json") for part in (cfg.render, cfg.events, cfg.quality, cfg.features)]
    meaning = digest(parts)
    fingerprint = digest([meaning, root.uri, recordings, table_digest(trials)])
    classes = tuple(data.classes)
    found = Recordings(
        spec,
        root,
        data.label,
        classes,
        trials,
        beside,
        recordings,
        data.rejects,
        fingerprint,
        meaning,
        pictures,
        data.declared,
    )
    deal(cfg, trials, classes, data.label)
    return Source(found, _lines(cfg, found), partial(_first, found))


def deal(cfg: HeatmapConfig, table: pa.Table, classes: tuple[str, ...], label: str) -> list[Fold]:
    """The folds of trials or examples. Raises DataError when people, stimuli or classes do not suffice."""
    labels = table.column("label_index").to_numpy()
    folds = make_folds(table, labels, cfg.folds, cfg.run.seed)
    check_classes(folds, table, labels, classes, label, cfg)
    return folds


def _first(found: Recordings, most_bytes: float) -> list[str]:
    """What the first files hold, in words."""
    if isinstance(found.spec, ScreensSpec):
        return [first_screen(found.spec, found.root, ScreensRecording(**found.recordings[0]))]
    recordings = [Recording(**one) for one in found.recordings]
    return first_of_gaze(found.spec, found.root, recordings, found.trials.to_pandas(), most_bytes)


def _lines(cfg: HeatmapConfig, found: Recordings) -> list[str]:
    trials = found.trials
    people = len(set(trials.column("participant").to_pylist()))
    labels = trials.column("label_index").to_numpy()
    counts = ", ".join(f"{name} {int(np.sum(labels == c))}" for c, name in enumerate(found.classes))
    count = cfg.folds.count
    number = counted(count, "fold") if count is not None else f"the folds of {cfg.folds.path}"
    units = f"{number} (held out: {cfg.folds.hold_out}), each up to {counted(cfg.train.epochs, 'epoch')}"
    units += ", and its baselines"
    if cfg.search is not None:
        settings = f"{counted(len(settings_to_try(cfg)), 'setting')} x {cfg.folds.inner} inner folds"
        units += f"; before that in each a search over {settings}"
    return [
        f"data set: {found.spec.name} (licence {found.spec.licence or 'not stated'}) at {found.root.uri}",
        f"people: {people}; recordings: {len(found.recordings)}; rejected before reading: {len(found.rejects)}",
        f"trials: {trials.num_rows}; label {found.label}: {counts}",
        *found.given_away,
        *found.notes,
        f"units: {units}",
    ]


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
