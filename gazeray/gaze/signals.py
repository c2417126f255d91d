# SPDX-License-Identifier: Apache-2.0
"""The signals of a trial (gaze, pupil, skin conductance, heart rate, ...) cleaned and on a fixed grid of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazeray.config import ConfigError
from gazeray.gaze.clock import interval_ms, spread
from gazeray.gaze.eda import TONIC_PHASIC, check_eda, tonic_phasic
from gazeray.gaze.pupils import EYES, PUPILS, eyes_of, joined, pupil_name, without_margins
from gazeray.gaze.quality import TrialGaze
from gazeray.gaze.signal_grid import Floats, forward, on_grid, reach_ms
from gazeray.gaze.signal_quality import channels_quality
from gazeray.gaze.signals_config import PLAUSIBLE, SignalsConfig

GAZE = ("x", "y")

TINY = float(np.finfo(np.float64).tiny)


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
    eyes = eyes_of(found)
    pupil = [pupil_name(eyes, units)] if eyes else []
    others = sorted(set(found) - {name for names in EYES for name in names})
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
    grid_ms = cfg.start_ms + shift_ms + np.linspace(0.0, cfg.duration_ms, cfg.samples)
    time_ms, samples = _of_window(trial, grid_ms, cfg)
    usual_ms = interval_ms(time_ms)
    columns = _columns(names, list(samples), trial.units, cfg)
    values, lost, implausible = _measured(columns, samples, window, time_ms, usual_ms, cfg)
    here = slice(*np.searchsorted(time_ms, [grid_ms[0], np.nextafter(grid_ms[-1], np.inf)]).tolist())
    units = {name: unit_of(name, own, trial.units) for name, own in columns.items()}
    quality = channels_quality((trial.participant, trial.trial), units, time_ms[here], values[:, here], lost[:, here],
                               implausible[:, here], cfg.max_lost_share)  # fmt: skip
    gridded = on_grid(time_ms, values, grid_ms, cfg.max_gap_ms, usual_ms)
    gridded[[bool(row["gate"]) for row in quality]] = np.nan
    series = dict(zip(columns, gridded, strict=True))
    if cfg.baseline_ms is not None:
        _take_off_baseline(series, quality, values, time_ms, cfg.baseline_ms)
    if cfg.eda == "tonic_phasic" and "gsr" in series:
        hz = 1e3 * (cfg.samples - 1) / cfg.duration_ms
        series |= dict(zip(TONIC_PHASIC, tonic_phasic(series["gsr"], trial.units.get("gsr", ""), hz), strict=True))
    found = np.array([series[name] for name in names], dtype=np.float32).reshape(len(names), cfg.samples)
    return Series(found, quality, _fault(found, names, len(time_ms[here]), grid_ms, cfg))


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


def _columns(
    names: Sequence[str], found: Sequence[str], units: Mapping[str, str], cfg: SignalsConfig
) -> dict[str, list[str]]:
    """The channels that have to be measured for those asked for, each with the columns of the samples it is made of.

    The pupil has none where this trial has it in another unit than the data set."""
    columns: dict[str, list[str]] = {}
    for name in names:
        if name in GAZE:
            columns[name] = [f"{name}_px"]
        elif name in PUPILS:
            eyes = eyes_of(found)
            columns[name] = eyes if eyes and pupil_name(eyes, units) == name else []
        elif cfg.eda == "tonic_phasic" and name in TONIC_PHASIC:
            columns["gsr"] = ["gsr"]
        else:
            columns[name] = [name]
    return {name: [one for one in own if one in found] for name, own in columns.items()}


def _measured(
    columns: Mapping[str, Sequence[str]],
    samples: Mapping[str, np.ndarray],
    window: Sequence[float],
    time_ms: Floats,
    usual_ms: float,
    cfg: SignalsConfig,
) -> tuple[Floats, np.ndarray, Floats]:
    """The channels at the samples, (C, N) each: the values, NaN where lost; where they are lost or implausible (without
    margins); and how many of their columns are implausible, as a share."""
    values = np.full((len(columns), len(time_ms)), np.nan)
    lost, implausible = np.isnan(values), np.zeros(values.shape)
    for place, (name, own) in enumerate(columns.items()):
        if not own:
            continue
        rows = np.array([samples[column] for column in own], dtype=np.float64)
        if name in GAZE:
            axis = GAZE.index(name)
            rows = (rows - window[axis]) * (2 / window[axis + 2]) - 1
        if name in cfg.plausible:
            wrong = _implausible(rows, *cfg.plausible[name])
            if wrong.any():
                rows[wrong], implausible[place] = np.nan, wrong.mean(axis=0)
        lost[place] = np.isnan(rows).all(axis=0)
        if name in PUPILS:
            rows = joined(without_margins(rows, time_ms, cfg.blink_margin_ms, usual_ms))[None]
        values[place] = rows[0]
    return values, lost, implausible


def _implausible(values: Floats, low: float | None, high: float | None) -> np.ndarray:
    """What lies outside; a limit of 0 is outside itself."""
    below = values < (-np.inf if low is None else low or TINY)
    return np.asarray(below | (values > (np.inf if high is None else high or -TINY)))


def _take_off_baseline(
    series: dict[str, Floats], quality: Sequence[dict[str, Any]], values: Floats, time_ms: Floats, baseline_ms: float
) -> None:
    """The pupil in `series` minus its mean over the first ms of the trial; its gate says where it has none there."""
    for name, row, measured in zip(series, quality, values, strict=True):
        if name in PUPILS:
            first = measured[(time_ms < baseline_ms) & ~np.isnan(measured)]
            series[name] = series[name] - (first.mean() if len(first) else np.nan)
            gates = [row["gate"], "" if len(first) else f"no value in signals.baseline_ms {baseline_ms:g}"]
            row["gate"] = "; ".join(filter(None, gates))


def unit_of(name: str, columns: Sequence[str], units: Mapping[str, str]) -> str:
    """The unit of a channel that is made of columns of the samples, whose units are known; "" where they are not."""
    if name in GAZE:
        return "half windows"
    known = next((units[column] for column in columns if column in units), "uS" if name in TONIC_PHASIC else "")
    return "mm" if name == "pupil_mm" else known


def _fault(values: np.ndarray, names: Sequence[str], n_samples: int, grid_ms: Floats, cfg: SignalsConfig) -> str:
    """Why a trial cannot be used: no channel has enough of the window."""
    when = f"from {grid_ms[0]:g} to {grid_ms[-1]:g} ms"
    if not n_samples:
        return f"no sample {when}"
    shares = 1 - np.isnan(values).sum(axis=1) / len(grid_ms)
    if shares.max(initial=0.0) >= (cfg.min_share or 1 / len(grid_ms)):
        return ""
    said = ", ".join(f"{name} {share:.3g}" for name, share in zip(names, shares.tolist(), strict=True))
    return f"no channel is there for signals.min_share {cfg.min_share:g} of the time {when}: {said}"
