# SPDX-License-Identifier: Apache-2.0
"""The studies: each says what it reads, how it draws, what it fits and which baselines stand beside it.

A study does not know the engine, so it can be tested without Ray.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from gazeray.config import ConfigError, validate
from gazeray.storage import Folder
from gazeray.study import Study
from gazeray.unit import Json

Known = tuple[Callable[[Any], Study[Any, Any]], type[BaseModel], Callable[[Folder], None]]
"""A study, the model of its config, and what draws its report in a run folder."""


def _heatmap() -> Known:
    from gazeray.studies.heatmap.report import write_report
    from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy

    return HeatmapStudy, HeatmapConfig, write_report


def _probe_saliency() -> Known:
    from gazeray.studies.pictures.report import write_saliency_report
    from gazeray.studies.probe_saliency.study import ProbeSaliencyConfig, ProbeSaliencyStudy

    return ProbeSaliencyStudy, ProbeSaliencyConfig, write_saliency_report


def _score_maps() -> Known:
    from gazeray.studies.pictures.report import write_saliency_report
    from gazeray.studies.score_maps.study import ScoreMapsConfig, ScoreMapsStudy

    return ScoreMapsStudy, ScoreMapsConfig, write_saliency_report


STUDIES: dict[str, Callable[[], Known]] = {
    "heatmap": _heatmap,
    "probe_saliency": _probe_saliency,
    "score_maps": _score_maps,
}
"""Each imports its study when it is asked for: one study does not need another, nor its networks."""


def known_as(manifest: object) -> Known:
    """What `STUDIES` has of the study that a manifest names. Raises ConfigError: no such study."""
    name = manifest.get("study") if isinstance(manifest, dict) else None
    if name not in STUDIES:
        raise ConfigError([f"manifest.json: study: {name!r} is none of {', '.join(STUDIES)}"])
    return STUDIES[name]()


def study_of(manifest: Json) -> Study[Any, Any]:
    """The study of a run folder, with the config it was run with. Raises ConfigError: no such study, no such config."""
    study, settings, _ = known_as(manifest)
    return study(validate(settings, manifest["config"], "manifest.json: config"))
