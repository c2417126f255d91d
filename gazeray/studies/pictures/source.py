# SPDX-License-Identifier: Apache-2.0
"""What the studies on pictures find before a picture is decoded. Neither PyTorch nor Ray is needed for it."""

from __future__ import annotations

from collections.abc import Sequence

from gazeray.config import ConfigError, validate
from gazeray.learn.fold_files import read_numbers
from gazeray.stimuli.dataset import PictureSet, open_pictures
from gazeray.stimuli.declaration import PictureSetSpec
from gazeray.storage import Folder
from gazeray.studies.pictures.config import PictureScoring
from gazeray.studies.shared.declared import find_declaration, simulated_folder
from gazeray.synth.saliency import DECLARATION, name_of, simulate_saliency
from gazeray.tables import DataError

SIMULATION = ("scenes", 1)
"""Name and version of the embedded scenes; raised when the same parameters give others: older are then not reused."""


def open_dataset(cfg: PictureScoring) -> tuple[PictureSetSpec, Folder]:
    """The declaration of the set and its folder; the embedded scenes are painted first. Raises ConfigError."""
    data, storage = cfg.data, cfg.storage
    values, source, root = find_declaration(
        data.dataset, data.root, Folder(cfg.run.dir, storage), storage, SIMULATION, data.simulate, simulate_saliency
    )
    return validate(PictureSetSpec, values, source), root


def open_set(cfg: PictureScoring) -> tuple[PictureSet, list[str]]:
    """What there is, and that in words; no picture is decoded. Raises ConfigError, DataError."""
    spec, root = open_dataset(cfg)
    _check_sigma(cfg, spec)
    found = open_pictures(spec, root)
    _check_folds(cfg, [source.stimulus for source in found.pictures])
    fixations = sum(len(gaze.x_px) for gaze in found.gaze.values())
    return found, [
        f"{_named(spec)} at {root.uri}",
        f"pictures: {len(found.pictures)}; observers: {len(found.observers)}; fixations: {fixations}; "
        f"rejected before reading: {len(found.rejects)}",
        _folds(cfg),
    ]


def scenes_lines(cfg: PictureScoring) -> list[str]:
    """`open_set` of the embedded scenes in words, from their parameters: painting them takes longer than a plan should.

    Raises ConfigError, DataError.
    """
    params = cfg.data.simulate
    spec = validate(PictureSetSpec, DECLARATION, "dataset.yaml")
    _check_sigma(cfg, spec)
    _check_folds(cfg, [name_of(picture) for picture in range(params.pictures)])
    fixations = round(params.pictures * params.observers * params.fixations)
    return [
        f"{_named(spec)}, painted by the run at {scenes_folder(cfg).uri}",
        f"pictures: {params.pictures}; observers: {params.observers}; fixations: about {fixations}",
        _folds(cfg),
    ]


def scenes_folder(cfg: PictureScoring) -> Folder:
    """Where the embedded scenes are, or will be."""
    return simulated_folder(Folder(cfg.run.dir, cfg.storage), SIMULATION, cfg.data.simulate)


def _named(spec: PictureSetSpec) -> str:
    return f"data set: {spec.name} (licence {spec.licence or 'not stated'})"


def _folds(cfg: PictureScoring) -> str:
    return f"folds of pictures: {cfg.folds.outer}; metrics: {', '.join(cfg.score.metrics)}"


def _check_sigma(cfg: PictureScoring, spec: PictureSetSpec) -> None:
    try:
        cfg.targets.sigma_of(1, spec.px_per_deg)
    except ValueError as error:  # in degrees, and the set does not say how large one is
        raise ConfigError([f"targets: {error}"]) from error


def _check_folds(cfg: PictureScoring, stimuli: Sequence[str]) -> None:
    if cfg.folds.path is not None:
        read_numbers(cfg.folds.path, stimuli, 3)
    elif len(stimuli) < cfg.folds.outer:
        raise DataError([f"{len(stimuli)} pictures, fewer than folds.outer = {cfg.folds.outer}"])
