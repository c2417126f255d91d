# SPDX-License-Identifier: Apache-2.0
"""Skin conductance: in microsiemens, and parted into its slow (tonic) and fast (phasic) component by neurokit2."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

import numpy as np

from gazeray.config import ConfigError
from gazeray.gaze.signal_grid import Floats

TONIC_PHASIC = ("gsr_tonic", "gsr_phasic")

MICROSIEMENS = {"us": 1.0, "µs": 1.0, "μs": 1.0, "s": 1e6, "ms": 1e3, "ns": 1e-3}
OHM = {"ohm": 1e6, "kohm": 1e3, "mohm": 1.0}
"""Unit in lower case -> microsiemens of one of it; of resistances: microsiemens times one of it. Nobody's skin is in
megasiemens, nor in milliohm."""


def conductance_us(values: Floats, unit: str) -> Floats | None:
    """Skin conductance or resistance in microsiemens; None where the unit is neither's."""
    unit = unit.lower()
    if unit in OHM:
        return OHM[unit] / np.where(values > 0, values, np.nan)
    return values * MICROSIEMENS[unit] if unit in MICROSIEMENS else None


def check_eda(found: Sequence[str], units: Mapping[str, str]) -> None:
    """Raises ConfigError where channels cannot be parted into tonic and phasic: no gsr, no unit of it, no neurokit2."""
    errors = []
    if "gsr" not in found:
        errors.append(f"signals.eda: no channel gsr (the data set has: {', '.join(found) or 'none'})")
    elif conductance_us(np.empty(0), units.get("gsr", "")) is None:
        known = ", ".join(["uS", "nS", "mS", "S", "ohm", "kohm", "Mohm"])
        errors.append(f"signals.eda: the unit of gsr is {units.get('gsr', '')!r}, which is none of {known}")
    if importlib.util.find_spec("neurokit2") is None:
        errors.append("signals.eda: tonic_phasic needs neurokit2: pip install 'gazeray[eda]', or set it to raw")
    if errors:
        raise ConfigError(errors)


def tonic_phasic(gsr: Floats, unit: str, hz: float) -> tuple[Floats, Floats]:
    """The tonic and the phasic part of skin conductance, microsiemens, (S,) each, NaN where `gsr` (S,) is.

    The phasic part is what neurokit2's high-pass at 0.05 Hz leaves (Makowski et al. 2021, "NeuroKit2: a Python toolbox
    for neurophysiological signal processing", Behavior Research Methods 53, 1689-1696), the tonic part the rest. Of a
    window much shorter than 20 s the tonic part is hardly more than a straight line. gsr: even steps at `hz`, in a
    unit that `check_eda` lets pass; gaps are bridged by straight lines to be filtered, and lost again.
    """
    import neurokit2  # optional, and slow to import

    values = conductance_us(gsr, unit)
    there = np.zeros(len(gsr), bool) if values is None else ~np.isnan(values)
    if values is None or there.sum() < 2:
        return np.full(len(gsr), np.nan), np.full(len(gsr), np.nan)
    at = np.arange(len(gsr))
    filled = np.interp(at, at[there], values[there])
    parts = neurokit2.eda_phasic(filled, sampling_rate=hz, method="highpass")
    phasic = np.where(there, parts["EDA_Phasic"].to_numpy(), np.nan)
    return values - phasic, phasic
