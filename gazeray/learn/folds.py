# SPDX-License-Identifier: Apache-2.0
"""Who is trained on, who stops the training, who is tested: folds of participants, of stimuli, of both, or of trials.

Folds are dealt here or read from a file (`gazeray.learn.fold_files`), and whatever they claim is checked by one guard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gazeray.config import FoldsConfig
from gazeray.learn.fold_files import read_folds
from gazeray.study import Fold, Side
from gazeray.tables import DataError
from gazeray.unit import Json

HELD_OUT: dict[str, tuple[str, ...]] = {
    "participants": ("participant",),
    "stimuli": ("stimulus",),
    "both": ("participant", "stimulus"),
    "neither": (),
}
"""folds.hold_out -> the columns whose values are on one side only."""


def held_out(cfg: FoldsConfig, regimes: Sequence[str]) -> tuple[str, ...]:
    """The columns that tested items of these regimes were drawn from: what any of them claims unseen.

    Where none claims anything it is participants, whose trials resemble each other whoever was trained on. Of trials
    that are dealt at random it is nothing.
    """
    unseen = HELD_OUT[cfg.hold_out]
    if cfg.path is None:
        return unseen
    claimed = {column for regime in regimes for column in cfg.unseen.get(regime, unseen)}
    return tuple(column for column in HELD_OUT["both"] if column in claimed) or HELD_OUT["participants"]


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed from the run's seed and a name, the same on every machine and in every process."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def assign_folds(participants: np.ndarray, labels: np.ndarray, groups: int, seed: int) -> list[list[str]]:
    """Deal the participants into groups whose sizes differ by at most one, with similar class shares.

    participants, labels: (N,) one entry per example. Participants are put in order of their class shares (ties in
    random order) and every consecutive `groups` of them go to different groups, in random order: a randomised block
    design. Deterministic in the seed, and independent of the order of the examples.

    Raises ValueError when there are fewer participants than groups.
    """
    rng = np.random.default_rng(seed)
    order = _by_class_shares(participants, labels, rng)
    if len(order) < groups:
        raise ValueError(f"{len(order)} participants cannot fill {groups} folds")
    dealt: list[list[str]] = [[] for _ in range(groups)]
    for start in range(0, len(order), groups):
        block = order[start : start + groups]
        for group, person in zip(rng.permutation(groups), block, strict=False):
            dealt[group].append(str(person))
    return [sorted(group) for group in dealt]


def draw(participants: np.ndarray, labels: np.ndarray, count: int, seed: int) -> list[str]:
    """Draw `count` participants whose class shares are spread like everybody's: one from each of `count` strata.

    participants, labels: (N,) one entry per example. The strata are equal parts of the participants in the order of
    their class shares.
    """
    rng = np.random.default_rng(seed)
    strata = np.array_split(_by_class_shares(participants, labels, rng), count)
    return sorted(str(rng.choice(stratum)) for stratum in strata)


def _by_class_shares(participants: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The participants in the order of their class shares, the rarest class first; ties in random order."""
    people, who = np.unique(participants, return_inverse=True)
    counts = np.zeros((len(people), int(labels.max()) + 1))
    np.add.at(counts, (who, labels), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    rarest_last = np.argsort(-counts.sum(axis=0), kind="stable")
    return np.asarray(people[np.lexsort([rng.permutation(len(people)), *(shares[:, c] for c in rarest_last)])])


def group_folds(
    groups: np.ndarray, labels: np.ndarray, outer: int, validation: float, seed: int, unit: str = "participant"
) -> list[tuple[list[str], list[str], list[str]]]:
    """(train, validation, test) groups of folds in which every group is tested exactly once.

    groups, labels: (N,) one entry per example. validation: share (0 to 0.5) of the training groups that decides when to
    stop; at least one, and they are neither trained nor tested on. unit: what a group is called.

    Raises ValueError when the groups do not suffice.
    """
    everybody = set(map(str, np.unique(groups)))
    folds = []
    for number, test in enumerate(assign_folds(groups, labels, outer, derive_seed(seed, "outer"))):
        rest = np.isin(groups, test, invert=True)
        chosen = _to_validate(groups[rest], labels[rest], validation, seed, number, unit)
        folds.append((sorted(everybody - set(test) - set(chosen)), sorted(chosen), sorted(test)))
    return folds


def _to_validate(groups: np.ndarray, labels: np.ndarray, share: float, seed: int, fold: int, unit: str) -> list[str]:
    """A share of the training groups, at least one; not all. Raises ValueError where there is only one."""
    count = len(np.unique(groups))
    if count < 2:
        raise ValueError(f"fold {fold} leaves {count} {unit} to train on and to validate; it takes two")
    return draw(groups, labels, min(max(1, round(share * count)), count - 1), derive_seed(seed, "validation", fold))


def make_folds(table: pa.Table, labels: np.ndarray, cfg: FoldsConfig, seed: int) -> list[Fold]:
    """The outer folds that the config asks for, checked.

    table: one row per example with participant and stimulus. labels (N,) int: folds get similar shares of them.
    `participants`: see `group_folds`. `stimuli`: the same with stimuli in their place. `both`: every participant fold
    is crossed with every one of `cfg.stimuli` stimulus folds. `neither`: trials are dealt, with similar shares of the
    labels; the same people and stimuli are on all sides, and nothing is claimed unseen. With `cfg.path` the folds are
    those of the file. A label of -1, not known, is dealt as if it were the lowest.

    Raises DataError when participants, stimuli or examples do not suffice, or a claim does not hold.
    """
    labels = np.maximum(labels, 0)
    try:
        folds = _read(table, labels, cfg, seed) if cfg.path is not None else _dealt(table, labels, cfg, seed)
        guard(folds, table)
    except DataError:
        raise
    except ValueError as error:
        raise DataError([str(error)]) from error
    fewer = _FEWER["read" if cfg.path is not None else cfg.hold_out]
    for fold in folds:
        for side, rows in (("train", fold.train), ("validate", fold.validation.rows), ("test", fold.test)):
            if not len(rows):
                raise DataError([f"fold {fold.fold}: no example to {side} on; {fewer}"])
    return folds


_FEWER = {
    "participants": "lower folds.outer",
    "stimuli": "lower folds.outer",
    "neither": "lower folds.outer",
    "both": "not everybody saw every stimulus: lower folds.outer or folds.stimuli, or hold out one of them",
    "read": "see folds.path and folds.sides",
}


def text_column(table: pa.Table, name: str) -> np.ndarray:
    """(N,) str: a column of the table."""
    return np.asarray(table.column(name).to_pylist(), dtype=object).astype(str)


def _trials(table: pa.Table) -> np.ndarray:
    """(N,) str: the trial of each row, in all of its examples the same and nobody else's."""
    pairs = np.stack([text_column(table, "participant"), text_column(table, "trial")])
    return np.unique(pairs, axis=1, return_inverse=True)[1].ravel().astype(str)


def _dealt(table: pa.Table, labels: np.ndarray, cfg: FoldsConfig, seed: int) -> list[Fold]:
    """Raises ValueError when participants, stimuli or trials do not suffice."""
    stimuli = text_column(table, "stimulus")
    groups, unit = _groups(table, cfg)
    count = len(np.unique(groups))
    if count < cfg.outer:
        what = "are usable" if unit == "trials" else "have usable trials"
        raise ValueError(f"{count} {unit} {what}, fewer than folds.outer = {cfg.outer}; lower folds.outer")
    unseen = HELD_OUT[cfg.hold_out]
    if cfg.hold_out == "both" and (pictures := len(np.unique(stimuli))) < cfg.stimuli:
        raise ValueError(f"{pictures} stimuli have usable trials, fewer than folds.stimuli = {cfg.stimuli}; lower it")
    folds: list[Fold] = []
    for names in group_folds(groups, labels, cfg.outer, cfg.validation, seed, (*unseen, "trial")[0]):
        train, validation, test = (np.isin(groups, some) for some in names)
        parts: Sequence[list[str]] = [[]]
        if cfg.hold_out == "both":
            parts = assign_folds(stimuli, labels, cfg.stimuli, derive_seed(seed, "stimuli"))
        for part in parts:
            new = np.isin(stimuli, part) if part else np.zeros(len(stimuli), bool)
            sides = [train & ~new, validation & ~new, test & new if part else test]
            rows = [np.flatnonzero(side) for side in sides]
            stops = Side("validation", rows[1], unseen[:1])
            folds.append(Fold(len(folds), rows[0], stops, (Side("test", rows[2], unseen),)))
    return folds


def _groups(table: pa.Table, cfg: FoldsConfig) -> tuple[np.ndarray, str]:
    """(N,) str: what is dealt to the outer folds, and how it is called."""
    if cfg.hold_out == "neither":
        return _trials(table), "trials"
    unit = "stimuli" if cfg.hold_out == "stimuli" else "participants"
    return text_column(table, HELD_OUT[unit][0]), unit


def _read(table: pa.Table, labels: np.ndarray, cfg: FoldsConfig, seed: int) -> list[Fold]:
    """The folds of a file; where it names nobody to validate on, they are drawn from the training groups."""
    unseen = HELD_OUT[cfg.hold_out]
    folds = read_folds(table, cfg, unseen)
    groups, _ = _groups(table, cfg)
    for place, fold in enumerate(folds):
        if not len(fold.validation.rows):
            theirs = groups[fold.train]
            chosen = _to_validate(theirs, labels[fold.train], cfg.validation, seed, fold.fold, (*unseen, "trial")[0])
            stops = np.isin(theirs, chosen)
            side = Side("validation", fold.train[stops], unseen[:1])
            folds[place] = Fold(fold.fold, fold.train[~stops], side, fold.tests)
    return folds


def guard(folds: Sequence[Fold], table: pa.Table) -> None:
    """Check that no item is on two sides of a fold, and that what a side claims unseen was never trained on.

    Tested items share nothing claimed with training and validation, validated ones nothing with training.
    Raises ValueError naming fold, side and whoever is on two sides.
    """
    known: dict[str, np.ndarray] = {}
    for fold in folds:
        for side, before in [(fold.validation, fold.train), *((side, fold.known) for side in fold.tests)]:
            if np.intersect1d(side.rows, before).size:
                raise ValueError(f"fold {fold.fold}: the same item is on two sides, {side.name} and another")
            for column in side.unseen:
                if column not in known:
                    known[column] = text_column(table, column)
                twice = set(known[column][side.rows]) & set(known[column][before])
                if twice:
                    names = ", ".join(sorted(twice)[:10])
                    raise ValueError(f"fold {fold.fold}: on two sides ({column}, {side.name}): {names}")


def fold_record(fold: Fold, table: pa.Table, cfg: FoldsConfig) -> Json:
    """A fold for manifest.json: who is on which side; stimuli per side where they are held out.

    When only stimuli are held out the lists of participants are empty: everybody is on every side. Where neither is,
    `trials` says how many rows each side has.
    """
    sides = {"train": fold.train, "validation": fold.validation.rows, "test": fold.test}
    people, stimuli = text_column(table, "participant"), text_column(table, "stimulus")
    unseen = HELD_OUT[cfg.hold_out]
    record: Json = {"fold": fold.fold, "stimuli": None}
    for name, rows in sides.items():
        record[name] = sorted(set(people[rows])) if "participant" in unseen else []
    if "stimulus" in unseen:
        record["stimuli"] = {name: sorted(set(stimuli[rows])) for name, rows in sides.items()}
    if not unseen:
        record["trials"] = {name: len(rows) for name, rows in sides.items()}
    if cfg.path is not None:
        record["regimes"] = {side.name: {"n": len(side.rows), "unseen": list(side.unseen)} for side in fold.tests}
    return record


def inner_seed(seed: int, fold: Fold) -> int:
    """The seed of an outer fold's inner folds."""
    return derive_seed(seed, "inner", fold.fold)


def inner_splits(
    rows: np.ndarray, table: pa.Table, labels: np.ndarray, cfg: FoldsConfig, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, validation rows) of the inner folds of an outer fold's training rows (M,).

    table, labels: as in `make_folds`. What the outer folds hold out the inner ones do too; with `both`, inner fold i
    holds out its people and its stimuli at once; with `neither` it is trials.

    Raises ValueError when participants, stimuli or trials do not suffice.
    """
    held = [text_column(table, column) for column in HELD_OUT[cfg.hold_out]] or [_trials(table)]
    labels = np.maximum(labels, 0)
    dealt = [
        assign_folds(groups[rows], labels[rows], cfg.inner, derive_seed(seed, "inner", number))
        for number, groups in enumerate(held)
    ]
    splits = []
    for inner in range(cfg.inner):
        outside = [np.isin(groups[rows], parts[inner]) for groups, parts in zip(held, dealt, strict=True)]
        splits.append((rows[~np.any(outside, axis=0)], rows[np.all(outside, axis=0)]))
    return splits


# -- folds in which every item is tested once and stands alone, such as pictures


def dealt_numbers(items: int, folds: int, seed: int) -> np.ndarray:
    """(N,) int64, the fold that tests each item: folds differ by one item at most."""
    order = np.random.default_rng([seed, 2]).permutation(items)  # another number would deal other folds
    number = np.empty(items, np.int64)
    number[order] = np.arange(items) % folds
    return number


def numbered_folds(numbers: np.ndarray, unseen: tuple[str, ...]) -> list[Fold]:
    """The folds of items that are tested in the fold of their number (N,) and trained on in all others."""
    nobody = Side("validation", np.empty(0, np.int64))
    rows = {int(number): np.flatnonzero(numbers == number) for number in np.unique(numbers)}
    return [
        Fold(number, np.flatnonzero(numbers != number), nobody, (Side("test", tested, unseen),))
        for number, tested in rows.items()
    ]
