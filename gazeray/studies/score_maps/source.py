# SPDX-License-Identifier: Apache-2.0
"""What scoring of somebody's maps finds before a picture or a map is decoded: the pictures, and the map of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from gazeray.config import ConfigError
from gazeray.gaze.files import identifier, visible_files
from gazeray.stimuli.dataset import PictureSet, first_picture
from gazeray.stimuli.decode import PictureError
from gazeray.storage import FileStat, Folder, masked
from gazeray.studies.pictures.source import open_dataset, open_set, scenes_folder, scenes_lines
from gazeray.studies.score_maps.config import ScoreMapsConfig
from gazeray.studies.score_maps.maps import MapError, load_map
from gazeray.studies.shared.declared import SIMULATED
from gazeray.study import Source
from gazeray.synth.contrast_maps import write_contrast_maps
from gazeray.tables import DataError, Fault, Reject

SUFFIXES = (".png", ".jpg", ".jpeg", ".npy", ".npz")

CONTRAST = "contrast_maps"
"""The folder of the example maps, below that of the embedded scenes."""


@dataclass(frozen=True)
class MapsPlan:
    """The pictures, and the map of each by its name; what there is no use for."""

    pictures: PictureSet
    root: Folder
    label: str
    files: dict[str, FileStat]
    rejects: list[Reject]


def plan(cfg: ScoreMapsConfig) -> Sequence[str]:
    """What a run would do. Raises ConfigError, DataError."""
    if cfg.data.dataset != SIMULATED or cfg.maps.path is not None:
        return open_maps(cfg).planned()
    root, maps = scenes_folder(cfg).sub(CONTRAST), cfg.data.simulate.pictures
    return [*scenes_lines(cfg), *_lines(cfg, f"{maps} of {cfg.maps.label or 'contrast'}, drawn by the run", root, 0)]


def open_maps(cfg: ScoreMapsConfig) -> Source[MapsPlan]:
    """Look at the pictures and at the names of the maps. Raises ConfigError, DataError."""
    pictures, lines = open_set(cfg)
    root, label = _folder(cfg)
    stimuli = {source.stimulus for source in pictures.pictures}
    by_name: dict[str, list[FileStat]] = {}
    for stat in visible_files(root):
        name = PurePosixPath(stat.path)
        if name.suffix.lower() in SUFFIXES:
            by_name.setdefault(identifier(str(name.with_suffix("")).replace("/", "_")), []).append(stat)
    rejects, files = [], {}
    for own, stats in sorted(by_name.items()):
        if own not in stimuli:
            rejects.append(Reject(stats[0].path, -1, "maps", "no picture of this name"))
        elif len(stats) > 1:
            rejects.append(Reject(stats[0].path, -1, "maps", f"{len(stats)} maps of this name", trial=own))
        else:
            files[own] = stats[0]
    if not files:
        some = ", ".join(sorted(stimuli)[:3])
        raise DataError([f"maps.path: no map is named as a picture is (such as {some}) with {', '.join(SUFFIXES)}"])
    rejects += [
        Reject(source.path, -1, "maps", "no map of this picture: it is not scored", trial=source.stimulus)
        for source in pictures.pictures
        if source.stimulus not in by_name
    ]
    lines += _lines(cfg, f"{len(files)} of {label}", root, len(rejects))
    found = MapsPlan(pictures, root, label, files, rejects)
    return Source(found, lines, lambda most_bytes: [*first_picture(pictures), _first_map(found)])


def _first_map(found: MapsPlan) -> str:
    """A line on the first map; a Fault where it cannot be read."""
    path = next(iter(found.files.values())).path
    try:
        height, width = load_map(found.root, path, found.pictures.spec.max_pixels).shape
    except (PictureError, MapError) as error:
        return Fault(f"first map {path}: {error.reason if isinstance(error, PictureError) else error}")
    return f"first map {path}: {width} x {height} px"


def _folder(cfg: ScoreMapsConfig) -> tuple[Folder, str]:
    """The folder of the maps and what they are called. Raises ConfigError."""
    if cfg.maps.path is not None:
        folder = Folder(cfg.maps.path, cfg.storage)
        if not folder.exists():
            raise ConfigError([f"maps.path: no such folder: {masked(cfg.maps.path)}"])
        return folder, cfg.maps.label or PurePosixPath(folder.uri).name or "maps"
    if cfg.data.dataset != SIMULATED:
        raise ConfigError(["maps.path: which maps? Give the folder with one map per picture"])
    _, root = open_dataset(cfg)
    folder = root.sub(CONTRAST)
    write_contrast_maps(root, folder)
    return folder, cfg.maps.label or "contrast"


def _lines(cfg: ScoreMapsConfig, maps: str, root: Folder, left: int) -> list[str]:
    folds = cfg.folds.outer
    return [
        f"maps: {maps} at {root.uri}; without picture or picture without map: {left}",
        f"units: {folds} of baselines, {folds} of maps",
    ]
