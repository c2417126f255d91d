# SPDX-License-Identifier: Apache-2.0
"""Opening a set of pictures: which pictures there are, who looked where on them, and everything that does not fit."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np

from gazeray.config import digest
from gazeray.gaze.dataset import listed_files, why_rejected
from gazeray.gaze.files import ids_in_path, matching_files, natural, preferred_files, some_paths
from gazeray.gaze.readers.base import CHUNK_BYTES, ReadError
from gazeray.stimuli.declaration import PictureSetSpec, TemplateSpec, load_pictures
from gazeray.stimuli.decode import PictureError, read_map, read_picture
from gazeray.stimuli.readers import PICTURE_READERS
from gazeray.stimuli.readers.base import (
    NO_OBSERVER,
    SUFFIXES,
    FixationsSpec,
    Gaze,
    RawGaze,
    checked_name,
    in_picture,
    in_words,
    stimulus_id,
)
from gazeray.storage import FileStat, Folder
from gazeray.tables import DataError, Fault, Reject

__all__ = ["Gaze", "PictureSet", "PictureSetSpec", "PictureSource", "clean_gaze", "load_pictures", "open_pictures"]


READING = 2
"""Raised when a reader finds other fixations in the same files than it did: pictures are then made ready again."""


@dataclass(frozen=True)
class PictureSource:
    """A picture: its name, its path and that of its fixation map, below the root."""

    stimulus: str
    path: str
    map_path: str | None = None


@dataclass(frozen=True)
class PictureSet:
    """A set that was opened: its gaze is read, its pictures are not.

    pictures    sorted by name; each has gaze or a map
    gaze        stimulus -> its fixations as they stand in the files (`clean_gaze` takes out what is outside)
    observers   their names; empty where nobody knows who looked
    named       the names of all picture files that can be names, those of duplicates included
    content     hex digest of what the declaration says of the files, of the gaze files' bytes and of the paths and
                sizes of all pictures
    """

    spec: PictureSetSpec
    root: Folder
    pictures: list[PictureSource]
    gaze: dict[str, Gaze]
    observers: list[str]
    rejects: list[Reject]
    notes: list[str]
    content: str
    named: list[str]


def open_pictures(spec: PictureSetSpec, root: Folder) -> PictureSet:
    """List the pictures and the maps, read the gaze, and bring them together.

    Rejected: pictures (and maps) whose names are the same but for the suffix, all of them, since nobody knows which is
    right; gaze files that cannot be used; fixations without a picture, one reject for each picture that is not there;
    maps without a picture; pictures without fixations and map.
    Raises DataError: no such folder, no picture or gaze file that matches, no gaze file that can be used, none left.
    """
    files = listed_files(root)
    rejects: list[Reject] = []
    found = _by_name(spec.pictures, files, root, "picture", rejects)
    named = list(dict.fromkeys([*found, *(reject.trial for reject in rejects if reject.trial)]))
    maps = _by_name(spec.maps, files, root, "map", rejects) if spec.maps else {}
    aliases = _aliases(found)
    raws, hashes = _read_all(spec.fixations, root, files, aliases, rejects) if spec.fixations else ({}, {})
    gaze, observers = _joined(raws, aliases, rejects)
    for name in sorted(set(maps) - set(found)):
        rejects.append(Reject(maps[name].path, -1, "read", f"a map without picture: {name!r}", trial=name))
    pictures = []
    for name in sorted(found, key=natural):
        path, own = found[name].path, maps.get(name)
        if name in gaze or own:
            pictures.append(PictureSource(name, path, own.path if own else None))
        else:
            rejects.append(
                Reject(path, -1, "gaze", "a picture without fixations" + " and map" * bool(maps), trial=name)
            )
    if not pictures:
        raise DataError([f"{spec.name}: no picture is left{why_rejected(rejects)}"])
    sizes = sorted((stat.path, stat.size) for stats in (found, maps) for stat in stats.values())
    declared = spec.model_dump(mode="json", exclude={"name", "licence", "notes", "study"})
    content = digest({"declaration": declared, "gaze": hashes, "pictures": sizes, "reading": READING})
    notes = [*spec.notes, *_notes_of(raws)]
    if gaze and not observers:
        notes.append("the data do not say which observer a fixation is of: there is no ceiling of other observers")
    return PictureSet(spec, root, pictures, gaze, observers, rejects, notes, content, named)


def first_picture(found: PictureSet) -> list[str]:
    """Lines on the first picture and the first fixation map; a Fault for one that cannot be read.

    Raises OSError when the storage fails.
    """
    pictures = [("picture", found.pictures[0].path)]
    maps = [("fixation map", one.map_path) for one in found.pictures if one.map_path is not None]
    lines = []
    for what, path in [*pictures, *maps[:1]]:
        read = read_picture if what == "picture" else read_map
        try:
            height, width = read(found.root, path, found.spec.max_pixels).shape[:2]
            lines.append(f"first {what} {path}: {width} x {height} px")
        except PictureError as error:
            lines.append(Fault(f"first {what} {path}: {error.reason}"))
    return lines


def clean_gaze(source: str, gaze: Gaze, width_px: int, height_px: int) -> tuple[Gaze, list[Reject]]:
    """The fixations inside a picture, 0 <= x < width and 0 <= y < height.

    One reject for those outside and one for those that are not finite, each with the number; `source` is the picture.
    """
    inside = in_picture(gaze, (height_px, width_px))
    finite = np.isfinite(gaze.x_px) & np.isfinite(gaze.y_px)
    rejects = []
    for bad, what in (
        (~finite, "not finite"),
        (finite & ~inside, f"outside the picture of {width_px} x {height_px} px"),
    ):
        if bad.any():
            first = int(np.argmax(bad))
            place = f"({gaze.x_px[first]:g}, {gaze.y_px[first]:g})"
            reason = f"{int(bad.sum())} of {len(gaze)} fixations are {what}, the first at {place} px"
            rejects.append(Reject(source, -1, "gaze", reason))
    return (gaze if inside.all() else gaze.where(inside)), rejects


def _name_in(ids: Mapping[str, str]) -> str:
    """The name of a picture from the placeholders of a path."""
    return "_".join([*([ids["category"]] if "category" in ids else []), stimulus_id(ids["stimulus"])])


def _by_name(
    spec: TemplateSpec, files: Sequence[FileStat], root: Folder, what: str, rejects: list[Reject]
) -> dict[str, FileStat]:
    """Name -> file, of the files that match and end as pictures do."""
    named: dict[str, list[FileStat]] = defaultdict(list)
    for stat in matching_files(spec.path, files):
        if stat.path.lower().endswith(SUFFIXES):
            named[_name_in(ids_in_path(spec.path, stat.path)[0])].append(stat)
    if not named:
        there = f"there is: {some_paths(files)}; suffixes: {' '.join(SUFFIXES)}"
        raise DataError([f"{root.uri}: no {what} matches {spec.path} ({there})"])
    for name, stats in named.items():
        for stat in stats if len(stats) > 1 else ():
            others = ", ".join(other.path for other in stats if other is not stat)
            reason = f"duplicate: {others} has the same name {name!r}"
            rejects.append(Reject(stat.path, -1, "read", reason, trial=name))
    found = {name: stats[0] for name, stats in named.items() if len(stats) == 1}
    for name in list(found):
        try:
            checked_name(name)
        except ValueError as error:
            rejects.append(Reject(found.pop(name).path, -1, "read", f"{what}: {error}"))
    return found


def _aliases(found: Mapping[str, FileStat]) -> dict[str, str]:
    """What a gaze file may call a picture -> its name: the name, the file's name, folder/file; where one alone fits."""
    called: dict[str, set[str]] = defaultdict(set)
    for name, stat in found.items():
        path = PurePosixPath(stat.path)
        for alias in (path.name, f"{path.parent.name}/{path.name}"):
            called[stimulus_id(alias)].add(name)
    clear = {alias: next(iter(names)) for alias, names in called.items() if len(names) == 1}
    return {**clear, **{name: name for name in found}}


class _Hashing(io.RawIOBase):
    """A stream that hashes what is read from it. `failed`: what the storage raised, which no parser did."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.sha = stream, hashlib.sha256()
        self.failed: OSError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except OSError as error:
            self.failed = error
            raise
        buffer[: len(data)] = data
        self.sha.update(data)
        return len(data)


def _read_all(
    spec: FixationsSpec, root: Folder, files: Sequence[FileStat], aliases: Collection[str], rejects: list[Reject]
) -> tuple[dict[str, RawGaze], dict[str, str]]:
    """What each gaze file holds, by path, and its SHA-256. Raises DataError when none can be used."""
    paths = [stat.path for stat in preferred_files(spec.path, matching_files(spec.path, files), rejects)]
    if not paths:
        raise DataError([f"{root.uri}: no gaze file matches {spec.path} (there is: {some_paths(files)})"])
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda path: _read_one(spec, root, path, aliases), paths))
    raws: dict[str, RawGaze] = {}
    failed: list[Reject] = []
    for path, (result, _) in zip(paths, results, strict=True):
        if isinstance(result, ReadError):
            failed.append(Reject(result.source, -1, "read", result.reason))
        else:
            raws[path] = result
    if not raws:
        raise DataError([f"{reject.source}: {reject.reason}" for reject in failed[:20]])
    rejects += [*failed, *(reject for raw in raws.values() for reject in raw.rejects)]
    return raws, dict(zip(paths, (sha for _, sha in results), strict=True))


def _read_one(
    spec: FixationsSpec, root: Folder, path: str, aliases: Collection[str]
) -> tuple[RawGaze | ReadError, str]:
    """One gaze file, or why it cannot be used, and its SHA-256. Raises DataError when the storage fails."""
    readings = ids_in_path(spec.path, path)  # several of a_b_c under {observer}_{stimulus}: the known picture counts
    known = [ids for ids in readings if "stimulus" in ids and _name_in(ids) in aliases]
    ids = (known or readings)[0]
    fixed = {"stimulus": _name_in(ids)} if "stimulus" in ids else {}
    fixed |= {"observer": ids["observer"]} if "observer" in ids else {}
    try:
        filesystem, _ = root.arrow()
        with filesystem.open_input_stream(root.full(path), compression=None) as stream:
            hashing = _Hashing(stream)
            buffered = io.BufferedReader(hashing, CHUNK_BYTES)
            packed = buffered.peek(2)[:2] == b"\x1f\x8b"
            plain = gzip.GzipFile(fileobj=buffered) if packed else buffered
            result: RawGaze | ReadError
            try:
                result = PICTURE_READERS[spec.reader].read(cast(BinaryIO, plain), path, spec, fixed)
            except ReadError as error:
                result = error
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                result = ReadError(path, f"truncated or damaged gzip: {error}")
            except Exception as error:
                result = ReadError(path, f"cannot be read: {in_words(error)}")
            if hashing.failed:
                raise hashing.failed
            while buffered.read(CHUNK_BYTES):
                pass
    except (FileNotFoundError, PermissionError) as error:
        return ReadError(path, f"cannot be read: {error.strerror or error}"), ""
    except OSError as error:
        raise DataError([f"{path}: cannot be read: {error}"]) from error
    return result, hashing.sha.hexdigest()


def _notes_of(raws: Mapping[str, RawGaze]) -> list[str]:
    """What the readers remark, each once: with the file, or with the first of them and their number."""
    paths: dict[str, list[str]] = defaultdict(list)
    for path, raw in raws.items():
        for note in dict.fromkeys(raw.notes):
            paths[note].append(path)
    return [
        f"{note} (in {f'{len(where)} files, first: ' * (len(where) > 1)}{where[0]})" for note, where in paths.items()
    ]


def _joined(
    raws: Mapping[str, RawGaze], aliases: Mapping[str, str], rejects: list[Reject]
) -> tuple[dict[str, Gaze], list[str]]:
    """The gaze of all files by picture, and the names of the observers. Empties `raws` on the way. Fixations on
    pictures that are not there go to `rejects`."""
    missing: Counter[str] = Counter()
    first: dict[str, str] = {}
    used: set[str] = set()
    for path, raw in raws.items():
        for name in list(raw.gaze):
            if stimulus_id(name) not in aliases:
                missing[name] += len(raw.gaze.pop(name))
                first.setdefault(name, path)
            else:
                codes = np.unique(raw.gaze[name].observer)
                used.update(raw.observers[code] for code in codes if code != NO_OBSERVER)
    for name, count in missing.items():
        rejects.append(Reject(first[name], -1, "gaze", f"{count} fixations without picture: {name!r}", trial=name))
    observers = sorted(used, key=natural)
    number = {name: code for code, name in enumerate(observers)}
    parts: dict[str, list[Gaze]] = defaultdict(list)
    for raw in raws.values():
        codes = np.array([*(number.get(name, NO_OBSERVER) for name in raw.observers), NO_OBSERVER], np.int32)
        for name in list(raw.gaze):
            gaze = raw.gaze.pop(name)
            if len(gaze):
                parts[aliases[stimulus_id(name)]].append(Gaze(gaze.x_px, gaze.y_px, codes[gaze.observer]))
    fields, joined = ("x_px", "y_px", "observer"), dict[str, Gaze]()
    for name, some in parts.items():  # one part alone is not copied
        whole = (np.concatenate([getattr(part, field) for part in some]) for field in fields)
        joined[name] = some[0] if len(some) == 1 else Gaze(*whole)
    return joined, observers
