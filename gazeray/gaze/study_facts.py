# SPDX-License-Identifier: Apache-2.0
"""What a paper says of its data and the files do not: the section `study` of a declaration.

Which facts count follows the items of Dunn et al. (2024), "Minimal reporting guideline for research involving eye
tracking (2023 edition)", Behavior Research Methods 56, 4351-4357, doi 10.3758/s13428-023-02187-1. All are optional:
what is left out, the report calls not stated. Nothing is computed from them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from gazeray.config import Section

DOI = re.compile(
    r"(?:(?:https?://)?(?:(?:dx|www)\.)?doi\.org/|doi:?\s*)?(10\.\d{4,9}(?:\.\d+)*/\S*[^\s.,;])", re.IGNORECASE
)
URL = re.compile(r"https?://[^\s/?#@]+\.[^\s/?#@]+(?:[/?#]\S*)?", re.IGNORECASE)


def _doi(text: str) -> str:
    """The DOI alone, without the address of its resolver."""
    found = DOI.fullmatch(text)
    if found is None:
        raise ValueError("must be a DOI, as 10.3758/s13428-023-02187-1, with or without https://doi.org/")
    return found[1]


def _url(text: str) -> str:
    if URL.fullmatch(text) is None:
        raise ValueError("must be an address, as https://osf.io/abcde")
    return text


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(_no_bool), Field(gt=0)]
NotNegative = Annotated[float, BeforeValidator(_no_bool), Field(ge=0)]
"""Numbers; yes, which YAML reads as true, is none."""

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Doi = Annotated[Words, AfterValidator(_doi)]
"""Kept as 10.x/..., however it was written."""
Url = Annotated[Words, AfterValidator(_url)]


class Population(Section):
    """Who took part."""

    who: Words | None = Field(None, description="such as students, native speakers, patients with what")
    asked: Count | None = Field(None, description="people who were asked to take part")
    took_part: Count | None = Field(None, description="people who were recorded")
    age: Words | None = Field(None, description="such as mean, spread and range, in years")
    vision: Words | None = Field(None, description="such as normal or corrected, and how that was tested")


class DataSource(Section):
    """Where the data come from."""

    doi: Doi | None = Field(None, description="of the data")
    url: Url | None = Field(None, description="where they can be had")
    version: Words | None = Field(None, description="release, commit or date; and what is not as it was published")
    paper: Doi | None = Field(None, description="DOI of the paper that describes them")


class Tracker(Section):
    """The eye tracker and how it was used."""

    make: Words | None = Field(None, description="manufacturer")
    model: Words | None = None
    technology: Words | None = Field(None, description="such as video of pupil and corneal reflection, or a webcam")
    software: Words | None = Field(None, description="software and firmware, with versions")
    filter: Words | None = Field(None, description="what was filtered before the files were written")
    rate_hz: Positive | None = Field(None, description="nominal sampling rate")
    latency_ms: NotNegative | None = Field(None, description="from the eye to the file")
    eyes: Words | None = Field(None, description="recorded: left, right, both, the dominant one")
    head_support: Words | None = Field(None, description="such as a chin rest, or none")


class Calibration(Section):
    """How the tracker was calibrated, and how good it was as reported."""

    procedure: Words | None = Field(None, description="such as how often, who accepted it, by which limit")
    points: Count | None = Field(None, description="targets of the calibration")
    accuracy_deg: NotNegative | None = Field(None, description="mean error of validation as reported")
    precision_deg: NotNegative | None = Field(None, description="precision as reported")
    precision_measure: Words | None = Field(None, description="of what, such as RMS-S2S or SD")


class Display(Section):
    """The screen as reported; what works in degrees takes the declaration's own `screen`."""

    make: Words | None = Field(None, description="make and model")
    width_mm: Positive | None = None
    height_mm: Positive | None = None
    distance_mm: Positive | None = Field(None, description="from the eyes to the screen")
    refresh_hz: Positive | None = Field(None, description="refresh rate")


class Environment(Section):
    """Where people were recorded."""

    place: Words | None = Field(None, description="such as a laboratory, at home over the web")
    lighting: Words | None = None


class StudyFacts(Section):
    """The section `study`."""

    population: Population = Population()
    sampling: Words | None = Field(None, description="how people were found, and what they were given for it")
    exclusions: Words | None = Field(None, description="who and what was left out before these files, and why")
    task: Words | None = Field(None, description="what people were asked to do, and for how long")
    outcome: Words | None = Field(None, description="what the labels mean")
    labels_from: Words | None = Field(None, description="who or what gave each trial its label")
    preregistration: Words | None = Field(None, description="where; or none")
    data: DataSource = DataSource()
    ethics: Words | None = Field(None, description="who approved of it, under which number")
    consent: Words | None = Field(None, description="what people agreed to")
    tracker: Tracker = Tracker()
    calibration: Calibration = Calibration()
    screen: Display = Display()
    environment: Environment = Environment()
