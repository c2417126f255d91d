# SPDX-License-Identifier: Apache-2.0
"""Which file of a data set is what: its tables, the gaze of each trial, and the files that belong to a gaze file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from gazeray.gaze.declaration import NAMES, WORDS, DatasetSpec, GazeSpec, TableSpec, TrialsSpec, parts_in_path
from gazeray.gaze.files import (
    Listing,
    fits_path,
    ids_in_path,
    matching_files,
    placeholders,
    plain_part,
    preferred_files,
    some_paths,
    spelt_there,
)
from gazeray.gaze.labels import Label
from gazeray.gaze.logs import trials_of_log, with_delimiter
from gazeray.gaze.readers import READERS
from gazeray.gaze.readers.base import IDS, SCREEN_COLUMNS, GazeFile, Kind, ReadError
from gazeray.gaze.text_tables import TextTable, read_text_table, stacked, trials_in_gaze, with_ids
from gazeray.gaze.trials_in_names import ids_in_name, misnamed, trials_in_names
from gazeray.storage import FileStat, Folder
from gazeray.tables import Reject


def without_tables(spec: DatasetSpec, files: Sequence[FileStat]) -> list[FileStat]:
    """The files that may hold gaze: all but the tables and the messages, unless the gaze is declared to be in them."""
    own = {gaze.path for gaze in spec.gaze().values()}
    others = [table.path for table in spec.tables() if not (isinstance(table, TrialsSpec) and table.reader == NAMES)]
    others += [gaze.messages.file.path for gaze in spec.gaze().values() if gaze.messages and gaze.messages.file]
    apart = [path for path in others if path not in own]
    return [stat for stat in files if not any(fits_path(path, stat.path) for path in apart)]


def trials_table(
    root: Folder,
    files: Sequence[FileStat],
    spec: DatasetSpec,
    table: TableSpec,
    labels: Sequence[Label],
    errors: list[str],
    rejects: list[Reject],
) -> TextTable | None:
    """A declared table of one file or of many, or None after noting in `errors` why there is none.

    Of many files, one that cannot be read is rejected, and the others are used.
    """
    found = preferred_files(table.path, matching_files(table.path, files), rejects)
    in_names = isinstance(table, TrialsSpec) and table.reader == NAMES
    rejects += misnamed(spec, files) if in_names else []
    if not found:
        errors.append(f"{root.uri}: no file {table.path} (there are: {some_paths(files)})")
        return None
    if isinstance(table, TrialsSpec) and in_names:
        return trials_in_names(table, found)
    several = bool(placeholders(table.path)) or "*" in table.path
    tables: list[TextTable] = []
    for stat in found if several else found[:1]:
        try:
            one, bad_rows = _read(root, stat.path, spec, table, labels)
        except (ReadError, OSError) as error:
            reason = str(error) if isinstance(error, ReadError) else f"{stat.path}: cannot be read: {error}"
            if several:
                rejects.append(Reject(stat.path, -1, "trials", reason.removeprefix(f"{stat.path}: ")))
            else:
                errors.append(reason)
            continue
        ids, used = ids_in_path(table.path, stat.path)[0], _used_columns(spec, table, labels)
        tables.append(with_ids(one, {name: ids[name] for name in ids if name in used}) if several else one)
        rejects += bad_rows
    if several and not tables:
        errors.append(f"{table.path}: none of {len(found)} files can be read, the first because: {rejects[-1].reason}")
    return stacked(table.path if several else found[0].path, tables) if tables else None


def _read(
    root: Folder, path: str, spec: DatasetSpec, table: TableSpec, labels: Sequence[Label]
) -> tuple[TextTable, list[Reject]]:
    """One file of a table. Raises ReadError, whatever is wrong with it, and OSError when the storage fails."""
    data = root.read_bytes(path)
    try:
        if isinstance(table, TrialsSpec) and table.reader:
            return _told_by_gaze(data, path, spec, table, labels), []
        of_gaze = next((gaze for gaze in spec.gaze().values() if gaze.path == table.path), None)
        if isinstance(table, TrialsSpec) and table.log:
            found, bad_rows = read_text_table(data, path, with_delimiter(table, data, path))
            return trials_of_log(found, table.log), bad_rows
        if of_gaze is None or not isinstance(table, TrialsSpec):
            return read_text_table(data, path, table)
        written = ("delimiter", "encoding", "names", "skip_lines", "decimal")
        inherited = {name: getattr(of_gaze, name) for name in written}
        own = table.model_copy(
            update={name: value for name, value in inherited.items() if name not in table.model_fields_set}
        )
        return trials_in_gaze(data, path, own, _used_columns(spec, table, labels)), []
    except ReadError:
        raise
    except Exception as error:  # whatever a damaged file makes the parsers raise
        raise ReadError(path, f"cannot be read: {type(error).__name__}: {error}") from error


def _used_columns(spec: DatasetSpec, table: TableSpec, labels: Sequence[Label]) -> set[str]:
    """The file's names of the columns that the data set takes from a table."""
    names = [*table.needed, "stimulus", *(label.column for label in labels), *SCREEN_COLUMNS.values(), *spec.nuisance]
    names += [WORDS] if WORDS in table.columns else []
    for section in (spec.screen, spec.stimulus):
        names += [value for value in dict(section or ()).values() if isinstance(value, str)]
    own = [table.columns.get(name, name) for name in names]
    return {name for one in own for name in ([one] if isinstance(one, str) else one)}


def _told_by_gaze(data: bytes, path: str, spec: DatasetSpec, table: TrialsSpec, labels: Sequence[Label]) -> TextTable:
    """What a gaze file says of its trials in the columns that are used; unless presentations are numbered, those of a
    trial of which it says the same are one row. Raises ReadError."""
    gaze = next((gaze for gaze in spec.gaze().values() if gaze.reader == table.reader), None)
    if gaze is None:
        raise ReadError(path, f"trials.reader {table.reader}: no gaze is declared to be read by it")
    tell = READERS[gaze.reader].trials
    assert tell is not None, "TrialsSpec asks for it"
    ids = ids_in_path(table.path, path)[0]
    names, records = tell(GazeFile(data, path, gaze, ids))
    used = _used_columns(spec, table, labels)
    columns = {name: [record[at] for record in records] for at, name in enumerate(names) if name in used}
    rows = list(range(len(records)))
    if table.repeats != "number":
        first: dict[tuple[str, ...], int] = {}
        for row, said in enumerate(zip(*columns.values(), strict=True)):
            first.setdefault(said, row)
        rows = list(first.values())
    columns = {name: [cells[row] for row in rows] for name, cells in columns.items()}
    return TextTable(path, table, columns, [row + 1 for row in rows], [path] * len(rows))


class GazeFiles:
    """The gaze files of one kind, by what their paths say. Files that nothing in the trials table asks for, or that ask
    for the same without a placeholder in which they may differ, go to `rejects`."""

    def __init__(
        self,
        spec: DatasetSpec,
        gaze: GazeSpec,
        files: Sequence[FileStat],
        named: Collection[tuple[str, str]],
        rejects: list[Reject],
    ) -> None:
        self.gaze, self._spec = gaze, spec
        self._parts = parts_in_path(gaze, spec.trials)
        self._keys = [name for name in placeholders(gaze.path) if name in (*IDS, *self._parts)]
        self._several = len(self._keys) < len(placeholders(gaze.path)) or "*" in gaze.path
        self._found: dict[tuple[str, ...], list[FileStat]] = defaultdict(list)
        self._deal(preferred_files(gaze.path, matching_files(gaze.path, files), rejects), named, rejects)

    def of(self, pair: tuple[str, str]) -> list[FileStat]:
        """The files that may hold a (participant, trial)."""
        return self._found.get(self._key(pair), [])

    def of_all(self, pairs: Iterable[tuple[str, str]]) -> dict[str, FileStat]:
        """The files of some (participant, trial), by path."""
        return {stat.path: stat for key in {self._key(pair) for pair in pairs} for stat in self._found.get(key, [])}

    def _key(self, pair: tuple[str, str]) -> tuple[str, ...]:
        """What a path must say to hold a (participant, trial), in the order of its placeholders."""
        said = path_ids(pair, self._parts)
        return tuple(said.get(name, "") for name in self._keys)

    def _deal(self, files: Sequence[FileStat], named: Collection[tuple[str, str]], rejects: list[Reject]) -> None:
        known = {self._key(pair) for pair in named}
        for stat in files:
            readings = [self._said(ids) for ids in readings_of(self._spec, self.gaze, stat.path)]
            fitting = [ids for ids in dict.fromkeys(readings) if ids in known]
            if len(fitting) == 1 and (self._several or not self._found[fitting[0]]):
                self._found[fitting[0]].append(stat)
                continue
            ids = dict(zip(self._keys, (fitting or readings)[0], strict=True))
            if not fitting:
                what = " ".join(f"{name} {value!r}" for name, value in ids.items())
                reason = f"{what} is not in the trials table{spelt_there(readings[0], known)}"
            elif len(fitting) > 1:
                reason = f"the name of the file fits more than one of them: {', '.join(map(' '.join, fitting))}"
            else:
                reason = f"{self._found[fitting[0]][0].path} is read for the same {' and '.join(self._keys)}"
            rejects.append(Reject(stat.path, -1, "read", reason, ids.get("participant", ""), ids.get("trial", "")))

    def _said(self, ids: dict[str, str]) -> tuple[str, ...]:
        """What a reading of a path says, spelt as names are composed."""
        spelt = {name: plain_part(ids[name]) for name in ("trial", *self._parts) if self._parts and name in ids}
        return tuple((ids | spelt)[name] for name in self._keys)


def readings_of(spec: DatasetSpec, gaze: GazeSpec, path: str) -> list[dict[str, str]]:
    """What a path of gaze may say, see `ids_in_path`; one reading where trials are told by the names of files, and this
    is the name of one."""
    found = ids_in_path(gaze.path, path)
    if len(found) < 2 or spec.trials.reader != NAMES:
        return found
    told = ids_in_name(spec.trials, path)
    told = told | {"trial": told.get(spec.trials.trial_columns[-1], "")} if told else {}
    return [ids for ids in found if all(told.get(name, ids[name]) == ids[name] for name in ids)] or found


def path_ids(pair: tuple[str, str], parts: Sequence[str]) -> dict[str, str]:
    """participant, trial and the `parts` of a composed trial's name that stand in paths."""
    participant, trial = pair
    pieces = trial.split("/", len(parts))
    return {"participant": participant, "trial": pieces[-1], **dict(zip(parts, pieces[:-1], strict=False))}


class Companions:
    """The files that belong to gaze files: those of the format, and declared files of messages."""

    def __init__(self, spec: DatasetSpec, listing: Listing) -> None:
        self._spec, self._listing = spec, listing
        self._messages: dict[Kind, dict[tuple[str, ...], list[str]]] = {}
        for kind, gaze in spec.gaze().items():
            if gaze.messages and gaze.messages.file:
                self._messages[kind] = self._by_ids(gaze.messages.file.path, self._shared(gaze))

    def of(self, kind: Kind, path: str) -> list[str]:
        """The paths of the files that belong to a gaze file."""
        gaze = self._spec.gaze()[kind]
        found = READERS[gaze.reader].companions(path, self._listing)
        if kind in self._messages:
            for ids in ids_in_path(gaze.path, path):
                found = [*found, *self._messages[kind].get(tuple(ids[name] for name in self._shared(gaze)), [])]
        return list(dict.fromkeys(found))

    def _shared(self, gaze: GazeSpec) -> list[str]:
        """The placeholders that the paths of gaze and messages share."""
        own = gaze.messages.file if gaze.messages else None
        return [name for name in placeholders(own.path) if name in placeholders(gaze.path)] if own else []

    def _by_ids(self, template: str, names: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
        found: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for stat in preferred_files(template, matching_files(template, list(self._listing.files.values())), []):
            for ids in ids_in_path(template, stat.path):
                found[tuple(ids[name] for name in names)].append(stat.path)
        return found
