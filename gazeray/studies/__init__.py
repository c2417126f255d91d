# SPDX-License-Identifier: Apache-2.0
"""The studies: each says what it reads, how it draws, what it fits and which baselines stand beside it.

A study does not know the engine, so it can be tested without Ray.
"""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, NamedTuple

from gazeray.config import ConfigError, validate
from gazeray.study import Study
from gazeray.unit import Json


@dataclass(frozen=True)
class Later:
    """A function or class of this package by its place, `module:name`; imported when it is called or asked for."""

    place: str

    def get(self) -> Any:
        """The function or class itself."""
        return resolve_name(f"{__name__}.{self.place}")

    def __call__(self, about: Any) -> Any:
        return self.get()(about)


class Known(NamedTuple):
    """A study by its parts: the model of its config; config -> plan, lines of text; config -> study; what draws its
    report in a run folder. PyTorch and Matplotlib take seconds to import, and --help, a typo and a plan need neither.
    """

    settings: Later
    plan: Later
    study: Later
    report: Later


HEATMAP = Known(
    Later("heatmap.config:HeatmapConfig"),
    Later("heatmap.source:plan"),
    Later("heatmap.study:HeatmapStudy"),
    Later("heatmap.report:write_report"),
)
PROBE_SALIENCY = Known(
    Later("probe_saliency.config:ProbeSaliencyConfig"),
    Later("probe_saliency.source:plan"),
    Later("probe_saliency.study:ProbeSaliencyStudy"),
    Later("pictures.report:write_saliency_report"),
)
SCORE_MAPS = Known(
    Later("score_maps.config:ScoreMapsConfig"),
    Later("score_maps.source:plan"),
    Later("score_maps.study:ScoreMapsStudy"),
    Later("pictures.report:write_saliency_report"),
)
EMOTION = Known(
    Later("emotion.config:EmotionConfig"),
    Later("emotion.source:plan"),
    Later("emotion.study:EmotionStudy"),
    Later("emotion.report:write_report"),
)

KNOWN = {"heatmap": HEATMAP, "probe_saliency": PROBE_SALIENCY, "score_maps": SCORE_MAPS, "emotion": EMOTION}
"""All studies by name."""


def known_as(manifest: object) -> Known:
    """The entry of `KNOWN` that a manifest names. Raises ConfigError: no such study."""
    name = manifest.get("study") if isinstance(manifest, dict) else None
    if name not in KNOWN:
        raise ConfigError([f"manifest.json: study: {name!r} is none of {', '.join(KNOWN)}"])
    return KNOWN[name]


def study_of(manifest: Json) -> Study[Any, Any]:
    """The study of a run folder, with the config it was run with. Raises ConfigError: no such study, no such config."""
    known = known_as(manifest)
    study: Study[Any, Any] = known.study(validate(known.settings.get(), manifest["config"], "manifest.json: config"))
    return study
