# SPDX-License-Identifier: Apache-2.0
"""The studies: each says what it reads, how it draws, what it fits and which baselines stand beside it.

A study does not know the engine, so it can be tested without Ray.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from gazeray.config import ConfigError, validate
from gazeray.study import Study
from gazeray.unit import Json


def known() -> dict[str, tuple[Callable[[Any], Study[Any, Any]], type[BaseModel]]]:
    """All studies by name, each with the model of its config. Imported here, since one study does not need another."""
    from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
    from gazeray.studies.probe_saliency.study import ProbeSaliencyConfig, ProbeSaliencyStudy
    from gazeray.studies.score_maps.study import ScoreMapsConfig, ScoreMapsStudy

    return {
        "heatmap": (HeatmapStudy, HeatmapConfig),
        "probe_saliency": (ProbeSaliencyStudy, ProbeSaliencyConfig),
        "score_maps": (ScoreMapsStudy, ScoreMapsConfig),
    }


def study_of(manifest: Json) -> Study[Any, Any]:
    """The study of a run folder, with the config it was run with. Raises ConfigError: no such study, no such config."""
    studies = known()
    if manifest["study"] not in studies:
        raise ConfigError([f"manifest.json: study: {manifest['study']!r} is none of {', '.join(studies)}"])
    study, settings = studies[manifest["study"]]
    return study(validate(settings, manifest["config"], "manifest.json: config"))
