# SPDX-License-Identifier: Apache-2.0
"""The signals of a trial (gaze, pupil, skin conductance, heart rate, ...) cleaned and on a fixed grid of times.

Pupils are cleaned an eye at a time and then joined: limits of what a pupil can be, margins around losses, for eyelids
cover it before and after they are seen to, and the usual difference of the eyes where one of them is lost, so that a
blink of one is no step (Kret & Sjak-Shie 2019, "Preprocessing pupil size data: guidelines and code", Behavior Research
Methods 51, 1336-1342).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazeray.config import ConfigError
from gazeray.gaze.clock import ONE, interval_ms, spread
from gazeray.gaze.eda import TONIC_PHASIC, check_eda, tonic_phasic
from gazeray.gaze.quality import TrialGaze
from gazeray.gaze.signal_grid import Floats, forward, on_grid, reach_ms
from gazeray.gaze.signals_config import PLAUSIBLE, SignalsConfig
from gazeray.tables import CHANNELS

GAZE = ("x", "y")
PUPILS = (("pupil_left", "pupil_right"), ("pupil",), ("pupil_mm",))
"""What the pupil is taken from: the first of these of which a data set has any."""


@dataclass(frozen=True)
class Series:
    """The signals of a trial.

    values   (C, S) float32, a row for each channel, NaN where it is lost (masked)
    quality  a row of the table `tables.CHANNELS` for each channel that was measured
    fault    why the trial cannot be used; "": it can
    """

    values: np.ndarray
    quality: list[dict[str, Any]]
    fault: str


def channel_names(
    found: Sequence[str], units: Mapping[str, str], has_gaze: bool, cfg: SignalsConfig
) -> tuple[str, ...]:
    """The channels of the series, in order: x and y, the pupil, then the others by name. None: nothing was measured.

    found: the channels of numbers that the samples of the data set have, by name. units: theirs. The pupil is called
    pupil_mm where its unit is mm, else pupil. Raises ConfigError for settings that name channels which are not there,
    and where what parts skin conductance is not installed.
    """
    eyes = _eyes(found)
    pupil = [_pupil_name(eyes, units)] if eyes else []
    others = sorted(set(found) - {name for names in PUPILS for name in names})
    measured = [*(GAZE if has_gaze else ()), *pupil, *others]
    names = list(measured)
    if cfg.eda == "tonic_phasic":
        check_eda(found, units)
        names = [*names[: len(names) - len(others)], *sorted({*others, *TONIC_PHASIC} - {"gsr"})]
    wanted = {"signals.channels": (cfg.channels or [], names), "signals.max_lost_share": (cfg.max_lost_share, measured),
              "signals.plausible": (cfg.plausible.keys() - PLAUSIBLE.keys(), measured)}  # fmt: skip
    errors = [
        f"{key}: no channel {name!r} (the data set has: {', '.join(known) or 'none'})"
        for key, (asked, known) in wanted.items()
        for name in sorted(asked)
        if name not in known
    ]
    if errors:
        raise ConfigError(errors)
    return tuple(name for name in names if cfg.channels is None or name in cfg.channels)


def trial_series(
    trial: TrialGaze,
    window: Sequence[float],
    names: Sequence[str],
    cfg: SignalsConfig,
    shift_ms: float = 0.0,
) -> Series:
    """The channels `names` (see `channel_names`) of a trial on the grid of the settings.

    x and y are -1..1 from the left to the right and from the top to the bottom of the window of the stimulus, and more
    outside; all else is in its own unit. Time begins at the trial's first sample. Samples whose stamp is not later than
    all before are left out. What the trial does not last for is masked.

    window: left, top, width, height of the stimulus, px. shift_ms: the window of time begins so much later.
    """
    measured = list(dict.fromkeys("gsr" if cfg.eda == "tonic_phasic" and name in TONIC_PHASIC else name
                                  for name in names))  # fmt: skip
    grid_ms = cfg.start_ms + shift_ms + np.linspace(0.0, cfg.duration_ms, cfg.samples)
    time_ms, samples = _of_window(trial, grid_ms, cfg)
    rows = [_measured(name, samples, trial.units, window, time_ms, cfg) for name in measured]
    values = np.array([row.values for row in rows]).reshape(len(rows), len(time_ms))
    quality = _quality(trial, measured, rows, time_ms, grid_ms, cfg)
    gridded = on_grid(time_ms, values, grid_ms, cfg.max_gap_ms)
    gridded[[bool(row["gate"]) for row in quality]] = np.nan
    series = dict(zip(measured, gridded, strict=True))
    if cfg.eda == "tonic_phasic" and "gsr" in series:
        hz = 1e3 * (cfg.samples - 1) / cfg.duration_ms
        series |= dict(zip(TONIC_PHASIC, tonic_phasic(series["gsr"], trial.units.get("gsr", ""), hz), strict=True))
    found = np.array([series[name] for name in names], dtype=np.float32).reshape(len(names), cfg.samples)
    return Series(found, quality, _fault(found, names, len(time_ms), grid_ms, cfg))


def _eyes(found: Sequence[str]) -> list[str]:
    """The channels that the pupil is made of."""
    return next((there for names in PUPILS if (there := [name for name in names if name in found])), [])


def _pupil_name(eyes: Sequence[str], units: Mapping[str, str]) -> str:
    return "pupil_mm" if all(units.get(name) == "mm" or name == "pupil_mm" for name in eyes) else "pupil"


def _of_window(trial: TrialGaze, grid_ms: Floats, cfg: SignalsConfig) -> tuple[Floats, dict[str, np.ndarray]]:
    """Times from the first sample, ms, and samples of the trial that any point of the grid or the baseline needs."""
    samples = trial.samples
    if samples is None or not len(samples["timestamp_ms"]):
        return np.empty(0), {}
    time_ms = spread(samples["timestamp_ms"])
    time_ms = time_ms - time_ms[0]
    around_ms = reach_ms(grid_ms) + cfg.blink_margin_ms + cfg.max_gap_ms
    first_ms = min(grid_ms[0] - around_ms, np.inf if cfg.baseline_ms is None else 0.0)
    kept = np.flatnonzero(forward(time_ms) & (time_ms >= first_ms) & (time_ms <= grid_ms[-1] + around_ms))
    return time_ms[kept], {name: values[kept] for name, values in samples.items()}


@dataclass(frozen=True)
class _Measured:
    """A channel at the samples, (N,): NaN where lost; where it is lost without margins; the values before the baseline
    is taken off; the share of implausible values at each sample; and why it cannot be used."""

    values: Floats
    lost: np.ndarray
    plain: Floats
    implausible: Floats
    fault: str = ""


def _measured(
    name: str,
    samples: Mapping[str, np.ndarray],
    units: Mapping[str, str],
    window: Sequence[float],
    time_ms: Floats,
    cfg: SignalsConfig,
) -> _Measured:
    """One channel, without what is implausible."""
    if name in GAZE:
        place = GAZE.index(name)
        raw = samples.get(f"{name}_px", np.full(len(time_ms), np.nan))[None].astype(np.float64)
        raw = (raw - window[place]) * (2 / window[place + 2]) - 1
    elif name in ("pupil_mm", "pupil"):
        eyes = _eyes(list(samples))
        if eyes and _pupil_name(eyes, units) != name:
            eyes = []
        raw = np.array([samples[eye] for eye in eyes], dtype=np.float64).reshape(len(eyes), len(time_ms))
    else:
        raw = samples.get(name, np.full(len(time_ms), np.nan))[None].astype(np.float64)
    raw[np.isinf(raw)] = np.nan
    wrong = _implausible(raw, *cfg.plausible.get(name, (None, None)))
    raw[wrong] = np.nan
    lost = np.asarray(np.isnan(raw).all(axis=0))
    share = wrong.mean(axis=0) if len(raw) else np.zeros(len(time_ms))
    if name not in ("pupil_mm", "pupil"):
        return _Measured(raw[0], lost, raw[0], share)
    plain = _joined(_margins(raw, time_ms, cfg.blink_margin_ms))
    if cfg.baseline_ms is None:
        return _Measured(plain, lost, plain, share)
    first = plain[(time_ms < cfg.baseline_ms) & ~np.isnan(plain)]
    if not len(first):
        return _Measured(
            np.full(len(plain), np.nan), lost, plain, share, f"no value in the first {cfg.baseline_ms:g} ms"
        )
    return _Measured(plain - first.mean(), lost, plain, share)


def _implausible(raw: Floats, low: float | None, high: float | None) -> np.ndarray:
    """What lies outside; a limit of 0 is outside itself."""
    tiny = np.finfo(np.float64).tiny
    wrong = np.zeros(raw.shape, dtype=bool)
    if low is not None:
        wrong |= raw < (low or tiny)
    if high is not None:
        wrong |= raw > (high or -tiny)
    return wrong


def _margins(eyes: Floats, time_ms: Floats, margin_ms: float) -> Floats:
    """The pupils (E, N) without what is nearer than the margin to a lost sample or to where samples are missing."""
    if not margin_ms or len(time_ms) < 2:
        return eyes
    pause = np.diff(time_ms) > ONE * np.nan_to_num(interval_ms(time_ms), nan=np.inf)
    beside = np.concatenate([pause, [False]]) | np.concatenate([[False], pause])
    lost = np.isnan(eyes) | beside
    before = np.maximum.accumulate(np.where(lost, time_ms, -np.inf), axis=1)
    after = np.minimum.accumulate(np.where(lost, time_ms, np.inf)[:, ::-1], axis=1)[:, ::-1]
    return np.where((time_ms - before <= margin_ms) | (after - time_ms <= margin_ms), np.nan, eyes)


def _joined(eyes: Floats) -> Floats:
    """The mean of the eyes (E, N); where one is lost, the other and half of their mean difference in the trial."""
    if len(eyes) < 2:
        return eyes[0] if len(eyes) else np.full(eyes.shape[1], np.nan)
    difference = eyes[0] - eyes[1]
    both = ~np.isnan(difference)
    half = difference[both].mean() / 2 if both.any() else 0.0
    mean = (eyes[0] + eyes[1]) / 2
    one = np.where(np.isnan(eyes[0]), eyes[1] + half, eyes[0] - half)
    return np.where(both, mean, one)


def _quality(
    trial: TrialGaze,
    names: Sequence[str],
    rows: Sequence[_Measured],
    time_ms: Floats,
    grid_ms: Floats,
    cfg: SignalsConfig,
) -> list[dict[str, Any]]:
    """A row of `tables.CHANNELS` for each channel, of the samples in the window of time alone."""
    here = slice(*np.searchsorted(time_ms, [grid_ms[0], np.nextafter(grid_ms[-1], np.inf)]))
    time_ms = time_ms[here]
    found = []
    for name, row in zip(names, rows, strict=True):
        lost, plain = row.lost[here], row.plain[here]
        good = plain[~np.isnan(plain)]
        low, high = (float(good.min()), float(good.max())) if len(good) else (np.nan, np.nan)
        lost_share = float(lost.mean()) if len(lost) else np.nan
        limit, gates = cfg.max_lost_share.get(name), [row.fault] if row.fault else []
        if limit is not None and not lost_share <= limit:
            gates.append(f"lost_share {lost_share:.4g} > signals.max_lost_share.{name} {limit:g}")
        values = {
            "participant": trial.participant,
            "trial": trial.trial,
            "channel": name,
            "unit": _unit(name, trial.units),
            "lost_share": lost_share,
            "implausible_share": float(row.implausible[here].mean()) if len(lost) else np.nan,
            "longest_gap_ms": _longest_gap_ms(time_ms, lost),
            "low": low,
            "high": high,
            "flat": len(good) > 1 and low == high,
            "saturated_share": float(((good == low) | (good == high)).mean()) if len(good) else np.nan,
            "gate": "; ".join(gates),
        }
        found.append({column: values[column] for column in CHANNELS.names})
    return found


def _unit(name: str, units: Mapping[str, str]) -> str:
    if name in GAZE:
        return "half windows"
    if name == "pupil_mm":
        return "mm"
    return next((units[eye] for eye in _eyes(list(units)) if name == "pupil"), units.get(name, ""))


def _longest_gap_ms(time_ms: Floats, lost: np.ndarray) -> float:
    """The longest time between neighbouring samples that are not lost, or from the first or to the last of all."""
    return float(np.diff(np.concatenate([time_ms[:1], time_ms[~lost], time_ms[-1:]])).max()) if len(time_ms) else np.nan


def _fault(values: np.ndarray, names: Sequence[str], n_samples: int, grid_ms: Floats, cfg: SignalsConfig) -> str:
    """Why a trial cannot be used: no channel has enough of the window."""
    when = f"from {grid_ms[0]:g} to {grid_ms[-1]:g} ms"
    if not n_samples:
        return f"no sample {when}"
    shares = (~np.isnan(values)).mean(axis=1)
    if (shares >= cfg.min_share).any() and shares.any():
        return ""
    said = ", ".join(f"{name} {share:.3g}" for name, share in zip(names, shares.tolist(), strict=True))
    return f"no channel is there for signals.min_share {cfg.min_share:g} of the time {when}: {said}"
