# SPDX-License-Identifier: Apache-2.0
"""What the emotion study finds before any signal is read: the recordings, the labels, the channels, the pictures.

Neither PyTorch nor Ray is needed for it, so that a plan (--dry-run) is there at once; only a network that is not known
by heart is built, and weights that are asked for are loaded and checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial

import numpy as np
import pyarrow as pa

from gazeray.config import ConfigError, digest, validate
from gazeray.gaze.beside import beside_notes
from gazeray.gaze.dataset import Dataset, DatasetSpec, listed_files, open_dataset
from gazeray.gaze.declaration import WORDS
from gazeray.gaze.first import first_of_gaze
from gazeray.gaze.labels import Label
from gazeray.gaze.pupils import eyes_of
from gazeray.gaze.recording import read_recording
from gazeray.gaze.signals import channel_names, unit_of
from gazeray.gaze.stimulus_pictures import Pictures, find_pictures
from gazeray.learn.folds import make_folds
from gazeray.learn.space import settings_to_try
from gazeray.report.words import counted
from gazeray.storage import Folder
from gazeray.studies.emotion.config import Branch, EmotionConfig, check_metrics, subsets_of
from gazeray.studies.emotion.network import OpenedNetwork, open_network
from gazeray.studies.shared.declared import find_declaration
from gazeray.studies.shared.without_gaze import further_columns, given_away, trial_order
from gazeray.study import Fold, Source
from gazeray.synth.emotion import simulate_emotion
from gazeray.tables import DataError, Reject, table_digest
from gazeray.unit import Json

READING, SIMULATION = 1, 1
"""Raised when the code reads, cleans or draws, or simulates, the same input differently: older examples are then not
reused."""

KEYS = ("participant", "trial", "stimulus")
"""Columns that every table of trials has."""

PROBED, PROBED_BYTES = 5, 200e6
"""Channels are those of the first so many recordings, each of so many bytes at most."""


@dataclass(frozen=True)
class EmotionTrials:
    """What was found before any signal was read.

    trials: one row per trial that may be used, with `<label>_index`. beside: what is declared to be known of them
    beside gaze and body. recordings: one mapping per recording, with at least `key`. fingerprint: changes when anything
    that the examples depend on changes, be it only a file's date or place. declared: every (participant, trial) that
    tables speak of, with the class of the first label. units: of the channels. branches: those that the data allow;
    left_out: of the others, why.
    """

    spec: DatasetSpec
    root: Folder
    labels: tuple[Label, ...]
    trials: pa.Table
    beside: pa.Table
    recordings: list[Json]
    rejects: list[Reject]
    fingerprint: str
    declared: dict[tuple[str, str], str]
    channels: tuple[str, ...]
    units: dict[str, str]
    branches: tuple[Branch, ...]
    left_out: dict[str, str]
    pictures: Pictures
    network: OpenedNetwork | None = field(repr=False)

    @cached_property
    def order(self) -> np.ndarray:
        """(N,) the place of each trial among those of its participant, which a refused one keeps; NaN where the table
        has no order."""
        if not self.spec.trials.in_order:
            return np.full(self.trials.num_rows, np.nan)
        place = dict(zip(self.declared, trial_order(who for who, _ in self.declared), strict=True))
        names = (self.trials.column(name).to_pylist() for name in ("participant", "trial"))
        return np.array([place[key] for key in zip(*names, strict=True)], np.float64)

    @property
    def notes(self) -> list[str]:
        """What should be known of the data before anything is fitted: what gives a label away, what is left out."""
        found = [f"the branch {name} is left out: {why}" for name, why in self.left_out.items()]
        for label in self.labels:
            index = self.trials.column(f"{label.name}_index").to_numpy()
            known = np.flatnonzero(index >= 0)
            part = self.trials.take(known), self.order[known], index[known]
            found += given_away(*part, label.classes, label.name, self.beside.take(known))
        if self.pictures.unused and "picture" in self.branches:
            found.append(f"{counted(len(self.pictures.unused), 'picture')} that no trial uses")
        return [*found, *beside_notes(self.spec, self.beside)]


def plan(cfg: EmotionConfig) -> Sequence[str]:
    """What a run would do. Raises DataError, ConfigError."""
    return open_trials(cfg).planned()


def open_trials(cfg: EmotionConfig) -> Source[EmotionTrials]:
    """Open the data set (simulate it first where asked) and find out what of the study it allows.

    Raises DataError, ConfigError.
    """
    settings_to_try(cfg)
    values, source, root = find_declaration(
        cfg.data.dataset, cfg.data.root, Folder(cfg.run.dir, cfg.storage), cfg.storage, ("emotion", SIMULATION),
        cfg.data.simulate, simulate_emotion,
    )  # fmt: skip
    spec = validate(DatasetSpec, values, source)
    _check_names(spec, source)
    data = open_dataset(spec, root, cfg.data.labels or list(spec.labels))
    check_metrics(cfg, data.labels)
    everything = pa.Table.from_pandas(data.trials, preserve_index=False)
    pictures = find_pictures(spec, listed_files(root), sorted(set(everything.column("stimulus").to_pylist())))
    channels, units = _channels(cfg, data, root)
    branches, left_out = _branches(cfg, spec, channels)
    rejects = list(data.rejects)
    if "picture" in branches:
        everything, further = _with_pictures(everything, pictures, spec)
        rejects += further
    refused = {f"{one.participant}\n{one.trial}" for one in rejects[len(data.rejects) :]}
    columns = further_columns(everything)
    trials, beside = everything.drop_columns(columns), everything.select(columns)
    recordings = [asdict(recording) for recording in data.recordings]
    for one in recordings:
        own = tuple(f"{name}\n" for name in one["participants"])
        one["refused"] += sorted(pair for pair in refused if pair.startswith(own))
    apart = dict.fromkeys(("notes", "licence", "name", "study", "nuisance", "labels"), True)
    parts = [READING, spec.model_dump(mode="json", exclude={**apart, "trials": {"columns": {WORDS}, "in_order": True}})]
    parts += [part.model_dump(mode="json") for part in (cfg.signals, cfg.events, cfg.quality, cfg.scanpath)]
    parts += [cfg.controls.shift_ms, list(channels), "scanpath" in branches]
    fingerprint = digest([*parts, root.uri, recordings, table_digest(trials.select(["participant", "trial"]))])
    found = EmotionTrials(
        spec, root, tuple(data.labels), trials, beside, recordings, rejects, fingerprint, data.declared, channels,
        units, branches, left_out, pictures, open_network(cfg.picture, cfg.run.seed) if "picture" in branches else None,
    )  # fmt: skip
    deal(cfg, trials, found.labels)
    first = partial(first_of_gaze, spec, root, data.recordings, data.trials)
    return Source(found, _lines(cfg, found), first)


def deal(cfg: EmotionConfig, table: pa.Table, labels: Sequence[Label]) -> list[Fold]:
    """The folds of trials or examples, with similar shares of the levels of the first label.

    Raises DataError when people or stimuli do not suffice, or where a label is known of no trial of a fold that is
    trained on, or of none that is tested.
    """
    known = {label.name: table.column(f"{label.name}_index").to_numpy() >= 0 for label in labels}
    index = np.maximum(table.column(f"{labels[0].name}_index").to_numpy(), 0)
    folds = make_folds(table, index, cfg.folds, cfg.run.seed)
    faults = []
    for name, own in known.items():
        said = f"label {name}, which {int(own.sum())} of {counted(len(own), 'trial')} have, is known of none"
        mend = "other folds, or data.labels without it"
        faults += [f"{said} to train on in fold {fold.fold}: {mend}" for fold in folds if not own[fold.train].any()][:1]
        if not any(own[fold.test].any() for fold in folds):
            faults.append(f"{said} that is tested: {mend}")
    if faults:
        raise DataError(faults)
    return folds


def _check_names(spec: DatasetSpec, source: str) -> None:
    """Raises ConfigError for names of labels that would be taken for something else in the tables of a run."""
    own = [*KEYS, "fold", "regime"]
    faults = [f"{source}: labels.{name}: another name: no ':', and none of {', '.join(own)}"
              for name in spec.labels if name in own or ":" in name]  # fmt: skip
    if faults:
        raise ConfigError(faults)


def _channels(cfg: EmotionConfig, data: Dataset, root: Folder) -> tuple[tuple[str, ...], dict[str, str]]:
    """The channels of the series in their order, and their units: those that are asked for, else those that are
    declared or that the first recordings have. Raises ConfigError."""
    samples = data.spec.samples
    if samples is None:
        return (), {}
    units = {name: channel.unit for name, channel in samples.channels.items()}
    some = [one for one in data.recordings if one.size <= PROBED_BYTES][:PROBED]
    if not some and cfg.signals.channels is None and not units:
        most = f"{PROBED_BYTES / 1e6:.0f} MB"
        raise ConfigError([f"signals.channels: name them: every recording is larger than {most}, none is looked into"])
    for recording in some:
        for trial in read_recording(data.spec, root, recording, data.trials).trials:
            numbers = {name for name, values in (trial.samples or {}).items() if values.dtype.kind == "f"}
            units = {name: unit for name, unit in trial.units.items() if name in numbers} | units
    names = channel_names(list(units), units, samples.has_gaze, cfg.signals)
    eyes = eyes_of(list(units))
    return names, {name: unit_of(name, eyes if name == "pupil" else [name], units) for name in names}


def _branches(
    cfg: EmotionConfig, spec: DatasetSpec, channels: Sequence[str]
) -> tuple[tuple[Branch, ...], dict[str, str]]:
    """Those of the wanted branches that the data allow, and why not the others. Raises DataError: none;
    ConfigError: the model that controls ask is left out."""
    gaze = spec.fixations is not None or (spec.samples is not None and spec.samples.has_gaze)
    why: dict[Branch, str] = {
        "series": "" if channels else "no samples are declared",
        "scanpath": "" if gaze else "neither x_px, y_px nor fixations are declared",
        "picture": "" if spec.pictures is not None else "no pictures are declared",
    }
    left_out: dict[str, str] = {name: why[name] for name in cfg.model.branches if why[name]}
    if len(left_out) == len(cfg.model.branches):
        raise DataError([f"{spec.name}: branch {name}: {reason}" for name, reason in left_out.items()])
    found = tuple(name for name in cfg.model.branches if name not in left_out)
    gone = [f"{name} is left out: {reason}" for name, reason in left_out.items() if name in cfg.controls.of.split("-")]
    if gone and cfg.controls.asked:
        allowed = ", ".join("-".join(own) for own in subsets_of(found, cfg.model.rows))
        raise ConfigError([f"controls.of: no model {cfg.controls.of!r} here: {'; '.join(gone)} (allowed: {allowed})"])
    return found, left_out


def _with_pictures(trials: pa.Table, pictures: Pictures, spec: DatasetSpec) -> tuple[pa.Table, list[Reject]]:
    """The trials whose picture is there, and rejects of the others. Raises DataError: none is."""
    missing = set(pictures.missing)
    gone = np.array([name in missing for name in trials.column("stimulus").to_pylist()])
    if gone.all():
        raise DataError([f"{spec.name}: none of {counted(len(missing), 'picture')} is there, such as {min(missing)!r}"])
    own = trials.filter(pa.array(gone)).select(["participant", "trial", "stimulus", "row"]).to_pylist()
    further = [
        Reject(spec.trials.path, one["row"], "pictures", f"no picture of stimulus {one['stimulus']!r}",
               one["participant"], one["trial"])
        for one in own
    ]  # fmt: skip
    return trials.filter(pa.array(~gone)), further


def _lines(cfg: EmotionConfig, found: EmotionTrials) -> list[str]:
    trials = found.trials
    people, stimuli = (len(set(trials.column(name).to_pylist())) for name in ("participant", "stimulus"))
    models = len(subsets_of(found.branches, cfg.model.rows))
    count = cfg.folds.count
    number = counted(count, "fold") if count is not None else f"the folds of {cfg.folds.path}"
    units = f"{number} (held out: {cfg.folds.hold_out}) x {counted(models + len(cfg.controls.fits), 'model')}"
    units += f", each up to {counted(cfg.train.epochs, 'epoch')}, and their baselines"
    if cfg.search is not None:
        settings = f"{counted(len(settings_to_try(cfg)), 'setting')} x {cfg.folds.inner} inner folds"
        units += f"; before that in each a search over {settings}"
    return [
        f"data set: {found.spec.name} (licence {found.spec.licence or 'not stated'}) at {found.root.uri}",
        f"people: {people}; stimuli: {stimuli}; recordings: {len(found.recordings)}; "
        f"rejected before reading: {len(found.rejects)}",
        *(_label_line(trials, label) for label in found.labels),
        f"channels: {', '.join(found.channels) or 'none'}; branches: {', '.join(found.branches)}",
        *found.notes,
        f"units: {units}",
    ]


def _label_line(trials: pa.Table, label: Label) -> str:
    index = trials.column(f"{label.name}_index").to_numpy()
    counts = ", ".join(f"{name}: {int(np.sum(index == place))}" for place, name in enumerate(label.classes))
    return f"trials: {int(np.sum(index >= 0))} with {label.name}; {counts}"
