# SPDX-License-Identifier: Apache-2.0
"""Does a score say anything: labels exchanged as the design allows, and what may be claimed of it.

Predictions of a cross-validation stay as they are and labels are shuffled. That alone calls too many scores of nothing
remarkable, for two reasons, both seen in simulation (tests/metrics/test_null_claims.py):

* Two examples of different folds teach each other: what the first gives the prediction of the second, the second gives
  that of the first. Shuffles with fixed predictions count such a pair once, the score counts it twice. Where a score
  is a sum over pairs its variance without an effect is twice that of the shuffles (Bengio & Grandvalet, J. Mach. Learn.
  Res. 5, 2004, show that folds alone cannot tell; Nadeau & Bengio, Mach. Learn. 52, 2003, correct by about as much).
* What is left out to be tested leaves its opposite to train on, so that scores of nothing lie below chance in many
  folds at once, and the more folds the more. Labels are therefore exchanged among what is tested in the same fold, and
  the folds do not count as independent evidence that a score is too low.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, lgamma
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gazeray.metrics.bootstrap import TIE, number
from gazeray.metrics.classification import (
    LOWER_IS_BETTER,
    Floats,
    Integers,
    auroc,
    blocks,
    checked_groups,
    checked_labels,
    score_all,
)

CLAIM = 0.025
"""A claim takes a one-sided p below this."""

LEAST_UNITS = 6
"""People (or stimuli) that must have been held out for a claim: all of five on one side come about by chance in 3 %."""

ONE = {"participants": "participant", "stimuli": "stimulus"}
"""What may be held out: the word for one of it, which is also the column of its names."""

PAIRS = 2.0
"""Variance of a cross-validated score without an effect, relative to that of shuffles with fixed predictions."""


RANKED = ("average_precision",)
"""The metrics that rank examples anew for all labels, which takes long."""


@dataclass(frozen=True)
class Exchange:
    """Which labels may change places.

    name: in words. kinds: what changes places, such as participants. units (N,): the rows of a unit have one label and
    keep it together. blocks (N,): units change places within a block. alike (N,): what changes places in the same way
    in all blocks, such as stimuli in those of participants; None: each block by itself. Numbers from 0.
    """

    name: str
    kinds: str
    units: Integers
    blocks: Integers
    alike: Integers | None = None

    @property
    def of_people(self) -> bool:
        """Whether the label is the participant's."""
        return self.kinds == "participants"

    def of_units(self, values: Integers) -> Integers:
        """What the rows (N,) of each unit have in common, (U,), in the order of the units."""
        return values[np.unique(self.units, return_index=True)[1]]


def exchanges(
    labels: ArrayLike,
    participants: ArrayLike,
    stimuli: ArrayLike,
    trials: ArrayLike,
    unseen: Sequence[str] = ("participant",),
) -> tuple[Exchange, Exchange | None]:
    """The question that the labels (N,) allow, and a second one where they allow it.

    participants, stimuli, trials: (N,) names; a trial is one of a participant, and may have several rows. unseen: which
    of participant and stimulus were held out, none where trials were split at random: labels change places within
    participants as in other splits, although people and stimuli are on both sides.

    * The label is the participant's: whole participants exchange it.
    * It is the stimulus's, and several participants saw the same: whole stimuli exchange it.
    * Else the trials of each participant do: do predictions know more than whose a trial is? Second, where several
      participants saw the same stimuli, the trials of each stimulus: do they know more than what was looked at?
      Where stimuli were held out, they change places for all participants alike: the labels of a stimulus resemble each
      other, so that a model which happens to suit it is lucky once, and not in each of its trials.

    Raises ValueError for arrays that do not fit each other.
    """
    truth = np.asarray(labels)
    people, whose = checked_groups(participants, truth.size, "participants")
    _, what = checked_groups(stimuli, truth.size, "stimuli")
    _, which = checked_groups(trials, truth.size, "trials")
    everybody = np.zeros(truth.size, np.int64)
    seen = np.unique(what * len(people) + whose)  # each stimulus with each who saw it
    shared = len(seen) > len(np.unique(what))
    if _belongs_to(truth, whose):
        return Exchange("between participants", "participants", whose, everybody), None
    if shared and _belongs_to(truth, what):
        return Exchange("between stimuli", "stimuli", what, everybody), None
    trial = _numbered(whose, which)
    second = Exchange("within stimuli", "trials", trial, what) if shared else None
    alike = what if shared and "stimulus" in unseen else None
    return Exchange("within participants", "trials", trial, whose, alike), second


def permutation_test(
    labels: ArrayLike,
    scores: ArrayLike,
    folds: ArrayLike,
    exchange: Exchange,
    classes: Sequence[str],
    metric: str = "balanced_accuracy",
    n: int = 1000,
    seed: int = 0,
    over: Mapping[str, ArrayLike] = MappingProxyType({}),
) -> dict[str, Any]:
    """Where a score lies among those of labels (N,) that were exchanged; the predictions (scores, (N, K)) stay.

    folds (N,): in which fold a row was tested. Units exchange with units that were tested in the same folds; where so
    few are that no predictions would be remarkable, with all of their block. over: {other predictor: its scores}.

        metric, value         of the labels as they are
        design, units         `Exchange.name`, and how many of its units can exchange their labels for others
        p                     one-sided, that the score is above what exchanged labels give, widened by sqrt(`PAIRS`)
        p_below               that it is below, widened by the root of the number of folds; None across folds
        gain                  {other: {value, p, p_below}}: the same of the difference, both widened by sqrt(`PAIRS`)
        n                     exchanges
        null_mean, null_p95   mean and 95th percentile of the exchanged labels' scores, not widened
        reason                only where nothing can be claimed: why

    p = (1 + exchanges as far or farther) / (1 + n), never 0 (Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010);
    p, p_below, the null and gain are None where nothing can be exchanged or the metric is not defined.
    Raises ValueError for arrays that do not fit each other, a metric that is unknown or better when lower, or n < 1.
    """
    observed = {name: own for name, own in score_all(labels, scores, classes).items() if name not in LOWER_IS_BETTER}
    if metric not in observed:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(observed)}")
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    truth, value = checked_labels(labels, len(classes)), observed[metric][0]
    names, fold = checked_groups(folds, truth.size, "folds")
    found: dict[str, Any] = {"metric": metric, "value": number(value), "design": exchange.name, "units": 0, "n": n}
    found |= dict.fromkeys(("p", "p_below", "null_mean", "null_p95", "gain"))
    if np.isnan(value):
        return found | {"reason": f"{metric} is not defined on these labels"}
    own, mixed, ways = _exchangeable(truth, exchange, fold)
    if not mixed:
        return found | {"reason": f"no two {exchange.kinds} that could exchange their labels differ in them"}
    shuffles = _Shuffles(truth, own, mixed, classes, metric, n, seed)
    nulls = shuffles.scored({"": scores, **over})
    null, gains = nulls[""], {name: value - float(shuffles.score(truth, theirs)[0]) for name, theirs in over.items()}
    found |= _placed(value, null, len(names)) | {
        "units": sum(map(len, mixed)),
        "null_mean": float(null.mean()),
        "null_p95": float(np.quantile(null, 0.95)),
        "gain": {
            name: {"value": float(gain), **_placed(gain, null - nulls[name], PAIRS)} for name, gain in gains.items()
        },
    }
    if own is exchange and len(names) > 1:
        found["p_below"] = None
    if ways * CLAIM > 1:
        return found
    movable = f"the labels of {found['units']} {exchange.kinds} can be exchanged in {ways:.0f} ways"
    return found | {"reason": f"{movable}, too few for p < {CLAIM} whatever is predicted"}


def _placed(value: float, null: Floats, variance_below: float) -> dict[str, float]:
    """One-sided p above and below of a value among its null (n,)."""
    return {
        "p": _share(_widened(null, PAIRS) >= value - TIE),
        "p_below": _share(_widened(null, variance_below) <= value + TIE),
    }


def _exchangeable(truth: Integers, exchange: Exchange, folds: Integers) -> tuple[Exchange, list[Integers], float]:
    """The exchange within folds, or across them where that leaves too few ways; the groups that mix; in how many."""
    for own in (_tested_together(exchange, folds), exchange):
        mixed = _mixed(truth, own)
        ways = _arrangements([own.of_units(truth)[group] for group in mixed])
        if exchange.alike is not None:  # what one participant's can, all together do
            whose, logs = exchange.of_units(exchange.blocks), np.zeros(int(exchange.blocks.max()) + 1)
            np.add.at(logs, [whose[group[0]] for group in mixed], [lgamma(len(group) + 1) for group in mixed])
            ways = min(ways, exp(min(logs.max(), 700)))
        if ways * CLAIM > 1:
            break
    return own, mixed, ways


@dataclass(frozen=True)
class _Shuffles:
    """n copies of the labels (N,), in each of which the units of every group have a new order; always the same ones."""

    truth: Integers
    exchange: Exchange
    groups: Sequence[Integers]
    classes: Sequence[str]
    metric: str
    n: int
    seed: int

    def scored(self, predictors: Mapping[str, ArrayLike]) -> dict[str, Floats]:
        """{predictor: the metric of its scores under the copies, (n,)}."""
        found: dict[str, list[Floats]] = {name: [] for name in predictors}
        for labels in self:
            for name, scores in predictors.items():
                found[name].append(self.score(labels, scores))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def score(self, labels: Integers, scores: ArrayLike) -> Floats:
        """The metric, (R,), under labels (N,) or (R, N)."""
        if self.metric == "auroc":
            return auroc(labels, scores, self.classes)
        return score_all(labels, scores, self.classes, ranked=self.metric in RANKED)[self.metric]

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """(R, N), some copies at a time: all at once would fill the memory."""
        rng = np.random.default_rng(self.seed)
        _, first, whose = np.unique(self.exchange.units, return_index=True, return_inverse=True)
        own, groups = self.truth[first], self.groups
        alike = None if self.exchange.alike is None else self.exchange.alike[first]
        if alike is not None:  # from the same order in each group
            groups = [group[np.argsort(alike[group], kind="stable")] for group in groups]
        order = np.concatenate(groups)
        for rows in blocks(self.n, len(self.truth)):
            neighbours = np.tile(own[order], (rows.stop - rows.start, 1))  # each group side by side
            places = None if alike is None else rng.random((len(neighbours), int(alike.max()) + 1))
            start = 0
            for group in groups:
                labels = neighbours[:, start : start + len(group)]
                if alike is None or places is None:
                    rng.permuted(labels, axis=1, out=labels)
                else:
                    np.put_along_axis(labels, places[:, alike[group]].argsort(axis=1), labels.copy(), axis=1)
                start += len(group)
            exchanged = np.tile(own, (len(neighbours), 1))
            exchanged[:, order] = neighbours
            yield exchanged[:, whose]


def _arrangements(groups: Sequence[Integers]) -> float:
    """In how many ways labels can lie, those of each group among its units; infinite where it is no float."""
    logs: float = sum(lgamma(len(group) + 1) - sum(lgamma(n + 1) for n in np.bincount(group)) for group in groups)
    return exp(logs) if logs < 700 else inf


def _mixed(truth: Integers, exchange: Exchange) -> list[Integers]:
    """The units of each block whose units differ in their labels, as places among the sorted units."""
    labels, block = exchange.of_units(truth), exchange.of_units(exchange.blocks)
    order = np.argsort(block, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(block[order])) + 1)
    return [group for group in groups if labels[group].min() < labels[group].max()]


def _tested_together(exchange: Exchange, folds: Integers) -> Exchange:
    """The same exchange, only among units that were tested in the same folds."""
    count = int(folds.max()) + 1
    met = np.unique(exchange.units * count + folds)
    units, starts, whose = np.unique(met // count, return_index=True, return_inverse=True)
    several = np.bincount(whose) > 1
    together = met[starts] % count  # of most units it is one fold
    lookup: dict[bytes, int] = {}
    for place in np.flatnonzero(several):
        stop = starts[place + 1] if place + 1 < len(starts) else len(met)
        theirs = (met[starts[place] : stop] % count).tobytes()
        together[place] = count + lookup.setdefault(theirs, len(lookup))
    where = together[np.searchsorted(units, exchange.units)]
    return replace(exchange, blocks=_numbered(exchange.blocks, where))


def _belongs_to(labels: Integers, groups: Integers) -> bool:
    """Whether all rows of a group have the same label."""
    _, first, whose = np.unique(groups, return_index=True, return_inverse=True)
    return bool((labels[first][whose] == labels).all())


def _numbered(first: Integers, second: Integers) -> Integers:
    """(N,) from 0: a number for each pair of numbers."""
    pairs = first * (int(second.max()) + 1) + second
    return np.unique(pairs, return_inverse=True)[1].astype(np.int64)


def _widened(null: Floats, variance: float) -> Floats:
    """The same distribution with so many times its variance."""
    return null.mean() + np.sqrt(variance) * (null - null.mean())


def _share(as_far: NDArray[np.bool_]) -> float:
    return float((1 + np.count_nonzero(as_far)) / (1 + len(as_far)))


# -- what may be claimed


@dataclass(frozen=True)
class Claim:
    """side: `above` or `below` chance; `mixed`: the interval is above, the exchange of labels is not sure; `none`:
    nothing can be told from chance; `too_few`: there is too little to claim anything, and why."""

    side: Literal["above", "below", "mixed", "none", "too_few"]
    why: str = ""


def claim(
    ci95: Sequence[float] | None, chance: float | None, test: Mapping[str, Any], held_out: Mapping[str, int]
) -> Claim:
    """What may be said of a score: interval and exchange of labels must agree, above chance and below.

    ci95: [low, high] over what was held out. chance: the score of a blind guesser. test: as `permutation_test` gives
    it. held_out: {"participants" or "stimuli": how many were drawn from for the interval}.
    """
    for name, count in held_out.items():
        if count < LEAST_UNITS:
            held = f"{count} {name} were" if count != 1 else f"1 {ONE[name]} was"
            return Claim("too_few", f"{held} held out, and a claim takes at least {LEAST_UNITS}")
    if test.get("reason"):
        return Claim("too_few", test["reason"])
    if ci95 is None or chance is None:
        return Claim("none")
    p, p_below = test.get("p"), test.get("p_below")
    if ci95[0] > chance:
        return Claim("above" if p is not None and p < CLAIM else "mixed")
    return Claim("below" if ci95[1] < chance and p_below is not None and p_below < CLAIM else "none")
