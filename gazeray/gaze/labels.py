# SPDX-License-Identifier: Apache-2.0
"""Labels of trials: how a declaration says what the cells of a column mean, and which class a cell stands for.

A label is nominal (raw value -> class), or has ordered levels, or is cut in two at a threshold of a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from gazeray.config import ConfigError, Section, validate
from gazeray.gaze.files import canonical, plain_number
from gazeray.gaze.readers.cells import COMMA_NUMBER, MISSING_CELLS, Decimal
from gazeray.gaze.study_facts import StudyFacts


def _no_text(parts: Sequence[Any]) -> None:
    """Raises ValueError naming the words that YAML reads as no text."""
    odd = [str(part) for part in parts if isinstance(part, bool) or not isinstance(part, str | int | float)]
    if odd:
        words = "YAML reads yes, no, on, off, true, false, null as no text"
        raise ValueError(f"write {', '.join(odd)} in quotes, as it stands in the file: {words}")


def _words(values: Any) -> list[str]:
    """The levels of a label as they are compared, lowest first."""
    if not isinstance(values, list | tuple):
        raise ValueError("must be a list, as [1, 2, 3], lowest first")
    _no_text(values)
    words = [canonical(value) for value in values]
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise ValueError(f"the level {twice[0]!r} is there twice")
    if len(words) < 2 or not all(words):
        raise ValueError("needs at least two levels, none of them empty")
    numbers = [number for word in words if (number := plain_number(word)) is not None]
    if len(numbers) == len(words) and numbers not in (sorted(numbers), sorted(numbers, reverse=True)):
        raise ValueError(f"numbers must rise or fall, not {', '.join(words)}")
    return words


class Levels(Section):
    """A label with ordered levels, which are its classes."""

    levels: Annotated[list[str], PlainValidator(_words)] = Field(description="as they stand in the file, lowest first")
    column: str | None = Field(None, min_length=1, description="default: the name of the label")


class Threshold(Section):
    """A label of two classes: a number below a threshold, and from it on."""

    at_least: float = Field(description="the smallest number of the second, positive class")
    column: str | None = Field(None, min_length=1, description="default: the name of the label")


def _label_values(value: Any) -> dict[str, str] | Levels | Threshold:
    """Raw label value -> class name, with the raw values made canonical and the order kept; or one of the forms."""
    if isinstance(value, Levels | Threshold):
        return value
    if not isinstance(value, dict):
        raise ValueError("must map each raw value to the name of its class, or have the key levels or at_least")
    forms: dict[str, type[Levels | Threshold]] = {"levels": Levels, "at_least": Threshold}
    for key, form in forms.items():
        if key in value and not isinstance(value[key], str):  # text is the class of a raw value that is called so
            try:
                return validate(form, value)
            except ConfigError as error:
                raise ValueError("; ".join(error.errors)) from None
    _no_text([part for pair in value.items() for part in pair])
    classes: dict[str, str] = {}
    for raw, name in value.items():
        if canonical(raw) in classes:
            raise ValueError(f"the raw value {raw!r} is there twice")
        classes[canonical(raw)] = str(name)
    if len(set(classes.values())) < 2:
        raise ValueError("needs at least two classes")
    return classes


LabelForm = Annotated[dict[str, str] | Levels | Threshold, BeforeValidator(_label_values)]
"""Raw value -> class; {levels: [...], column: ...}; {column: ..., at_least: ...}."""


class LabelledSpec(Section):
    """What every data set with labels declares."""

    name: str = Field(min_length=1)
    licence: str | None = None
    study: StudyFacts | None = Field(None, description="who was recorded, and how; for the report alone")
    labels: dict[str, LabelForm] = Field(
        {},
        description="label -> raw value -> class (the last is positive); or {levels: [...]}, lowest first; or "
        "{column: ..., at_least: ...}",
    )
    notes: dict[str, str] = Field({}, description="label -> what the report must say about it, such as a confound")

    @field_validator("notes")
    @classmethod
    def _notes_of_labels(cls, notes: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        unknown = [name for name in notes if name not in info.data.get("labels", notes)]
        if unknown:
            raise ValueError(f"no such label: {', '.join(unknown)} (declared: {', '.join(info.data['labels'])})")
        return notes


class UnlabelledError(ValueError):
    """A cell stands for no class, for which the reason is the text. `missing`: the cell says that there is no value."""

    def __init__(self, reason: str, missing: bool) -> None:
        self.missing = missing
        super().__init__(reason)


@dataclass(frozen=True)
class Target:
    """What a label can say.

    classes  in the declared order: the last is the positive one, or the highest level
    ordered  do the classes have an order?
    """

    name: str
    classes: tuple[str, ...]
    ordered: bool


@dataclass(frozen=True)
class Label(Target):
    """A declared label, and how it is read.

    column   of the trials or the participants, under gazeray's name or the file's
    places   raw value, as `canonical` has it -> index of its class; none where a threshold cuts numbers
    at_least the threshold: the smallest number of the second class
    """

    column: str
    places: Mapping[str, int]
    at_least: float | None = None

    def index(self, raw: str, decimal: Decimal = ".") -> int:
        """The index of the class that a cell stands for; `decimal` is the sign of the numbers of its table.

        Raises UnlabelledError: there is no value, none that is declared, no number.
        """
        plain = raw if decimal != "," else raw.translate({ord("."): "?", ord(","): "."})
        number = plain_number(plain)
        if self.at_least is not None and number is not None:
            return int(number >= self.at_least)
        for cell in (plain,) if self.ordered else (raw, plain):
            if canonical(cell) in self.places:
                return self.places[canonical(cell)]
        why = f"is not declared (declared: {', '.join(self.places)})" if self.at_least is None else "is not a number"
        hint = " (a decimal comma? declare decimal: ',')" if self._would_be(raw.strip(), decimal) else ""
        raise UnlabelledError(f"{raw!r} {why}{hint}", missing=raw.strip() in MISSING_CELLS)

    def _would_be(self, cell: str, decimal: Decimal) -> bool:
        """Would a cell be a class with the other decimal sign?"""
        return (
            decimal == "."
            and COMMA_NUMBER.fullmatch(cell) is not None
            and (self.at_least is not None or canonical(cell.replace(",", ".")) in self.places)
        )


def label_of(spec: LabelledSpec, name: str) -> Label:
    """A declared label by its name. Raises KeyError when there is none."""
    return _label(name, spec.labels[name])


def labels_of(labels: Mapping[str, dict[str, str] | Levels | Threshold]) -> list[Label]:
    """The labels of a declaration's section `labels`, in their order."""
    return [_label(name, form) for name, form in labels.items()]


def _label(name: str, form: dict[str, str] | Levels | Threshold) -> Label:
    if isinstance(form, Levels):
        places = {word: place for place, word in enumerate(form.levels)}
        return Label(name, tuple(form.levels), True, form.column or name, places)
    if isinstance(form, Threshold):
        column, cut = form.column or name, f"{form.at_least:.10g}"
        return Label(name, (f"{column} < {cut}", f"{column} >= {cut}"), True, column, {}, form.at_least)
    classes = tuple(dict.fromkeys(form.values()))
    return Label(name, classes, False, name, {raw: classes.index(own) for raw, own in form.items()})
