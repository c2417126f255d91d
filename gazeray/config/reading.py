# SPDX-License-Identifier: Apache-2.0
"""YAML as plain values, checked against a model: every mistake with its path, in words, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

C = TypeVar("C", bound=BaseModel)

BARE = (bool, int, float, date, type(None))
"""What YAML 1.1 makes of words without quotes that are no text."""


MUST_BE = {
    "model_type": "must be keys with values, as {key: value}",
    "dict_type": "must be keys with values, as {key: value}",
    "list_type": "must be a list, as [value]",
}
"""Kind of a mistake -> what to write, where pydantic's words are those of programmers."""


class ConfigError(ValueError):
    """The config (or the declaration of a data set) is wrong. `errors` holds one line per mistake."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(self.errors))


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a mapping with the same key twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in own]
        twice = [key for number, key in enumerate(keys) if key in keys[:number]]
        if twice:
            raise yaml.YAMLError(f"key {twice[0]!r} stands twice (line {node.start_mark.line + 1} and after)")
        return super().construct_mapping(node, deep)


class Values(dict[str, Any]):
    """The values of a YAML, and how they are written, which errors quote.

    spelled: the same with every scalar as it stands in the text. words: the dotted keys that the command line has set.
    """

    def __init__(self, values: dict[str, Any] | None = None, spelled: Any = None) -> None:
        super().__init__(values or {})
        self.spelled: Any = spelled or {}
        self.words: set[str] = set()


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file ({} when it is empty). Raises ConfigError naming the file."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """The mapping in YAML text. Raises ConfigError naming `source`."""
    try:
        values = _StrictLoader(text).get_single_data()
        if values is None:
            return Values()
        if not isinstance(values, dict):
            raise ConfigError([f"{source}: must be a mapping of sections, not {type(values).__name__}"])
        return Values(values, yaml.BaseLoader(text).get_single_data())
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        hint = "; indent with blanks" if "found character '\\t'" in str(error) else ""
        raise ConfigError([f"{source}: not valid YAML: {' '.join(str(error).split())}{hint}"]) from error


def apply_override(values: dict[str, Any], word: str) -> str | None:
    """Set one dotted key, `section.key=value`, in the nested dict; returns what is wrong with the word, or None."""
    key, equals, text = word.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        return f"{word}: must look like section.key=value"
    try:
        value, spelled = (yaml.safe_load(text), yaml.BaseLoader(text).get_single_data()) if text else (None, "")
    except (yaml.YAMLError, ValueError):
        return f"{word}: the value is not valid YAML"
    wrong = _set(values, parts, value)
    if isinstance(values, Values) and wrong is None:
        _set(values.spelled, parts, spelled)
        values.words.add(key)
    return wrong and f"{key}: {wrong}"


def _set(node: Any, parts: Sequence[str], value: Any) -> str | None:
    """Set a value in nested dicts, which are made where they are not; returns why it cannot be, or None."""
    for part in parts[:-1]:
        child = node.get(part)
        if child is None or child == "":
            child = node[part] = {}
        if not isinstance(child, dict):
            return f"{part} is a value, not a section"
        node = child
    node[parts[-1]] = value
    return None


def validate(model: type[C], values: dict[str, Any], source: str = "") -> C:
    """`values` as the pydantic `model`. Raises ConfigError, one line per mistake, each with its dotted path."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        prefix = f"{source}: " if source else ""
        written = values if isinstance(values, Values) else Values()
        details = _one_each(error.errors(), values)
        raise ConfigError([prefix + _line(model, detail, written) for detail in details]) from None


def _one_each(details: Sequence[Any], values: Any) -> list[Any]:
    """The errors without those that tell again of a value that may be text or a list of it, and is neither.

    Of such a value pydantic tells once for each type that it may have: a bare word is meant as text, a list as a list.
    """
    placed = [{**detail, "loc": _place(values, detail["loc"]), "typed": detail["loc"]} for detail in details]
    words = {one["loc"] for one in placed if one["type"] == "string_type" and isinstance(one["input"], BARE)}
    inner = {one["loc"][:-1] for one in placed}

    def again(one: Any) -> bool:
        place = one["loc"]
        return place != one["typed"] and (one["type"] != "string_type" if place in words else place in inner)

    return [one for one in placed if not again(one)]


def _place(values: Any, location: Sequence[Any]) -> tuple[Any, ...]:
    """The place of an error without the names of types that pydantic puts into it."""
    found, kept = values, []
    for part in location:
        inside = dict(enumerate(found)) if isinstance(found, list) else found
        there = isinstance(inside, dict) and part in inside
        if there or part == "[key]" or isinstance(found, dict):  # a key may be missing, and is then the place
            kept.append(part)
            found = inside[part] if there else {}
    return tuple(kept)


def unknown_key(path: str, known: Iterable[str]) -> str:
    """A dotted path whose last key is none of those that are known there, in words."""
    allowed = sorted(known)
    close = difflib.get_close_matches(path.rpartition(".")[2], allowed, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{path}: unknown key{hint} (allowed: {', '.join(allowed)})"


def _line(model: type[BaseModel], detail: Any, written: Values) -> str:
    """One validation error in words: where, what, and what is allowed."""
    location = [str(part) for part in detail["loc"]]
    path = ".".join(location) or "config"
    if detail["type"] == "extra_forbidden":
        return unknown_key(path, _fields_at(model, location[:-1]))
    if is_key := detail["type"] == "invalid_key" or location[-1:] == ["[key]"]:
        location = location[: -2 if location[-1] == "[key]" else -1]
    given = detail["input"]
    quoted = _quoted(given, _spelling(written.spelled, location, given, is_key), path if path in written.words else "")
    if quoted and (is_key or detail["type"] == "string_type"):
        return f"{'.'.join(location) or 'config'}: {'a key ' * is_key}must be text: {quoted}"
    message = MUST_BE.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    got = "" if isinstance(given, dict) else f" (got {given!r})"
    if detail["type"] == "value_error" and isinstance(given, bool | date):  # such as a number or the name of a column
        got += f"; is text meant? {quoted}"
    return f"{path}: {message[0].lower()}{message[1:]}{got}"


def _quoted(value: Any, spelling: str, word: str) -> str:
    """How to write as text what YAML 1.1 reads as something else; "" for what is written as no single word.

    word: the dotted key where the command line gives the value, whose own quotes the shell takes away.
    """
    kinds = {bool: "true or false", int: "a number", float: "a number", date: "a date", type(None): "nothing"}
    kind = next((kind for type_, kind in kinds.items() if isinstance(value, type_)), None)
    if kind is None:
        return ""
    shell = f" ({word}='\"{spelling}\"')" if word else ""
    return f"write '{spelling}' in quotes{shell}, since YAML reads it as {kind}" if spelling else "nothing stands there"


def _spelling(spelled: Any, location: Sequence[str], value: Any, is_key: bool) -> str:
    """How the value at a place, or a key of the mapping there, is written in the YAML.

    What a program has put together instead is written in one of the ways that YAML reads as the same.
    """
    for part in location:
        inside = dict(enumerate(spelled)) if isinstance(spelled, list) else spelled
        keys = {str(key): key for key in inside} if isinstance(inside, dict) else {}
        if part not in keys:
            break
        spelled = inside[keys[part]]
    else:
        found = [spelled] if not is_key else list(spelled) if isinstance(spelled, dict) else []
        for text in found:
            if isinstance(text, str) and _same(text, value):
                return text
    return {"True": "on", "False": "off", "None": "null"}.get(str(value), str(value))


def _same(text: str, value: Any) -> bool:
    """Does YAML read the text, written without quotes, as the value?"""
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return False
    return type(read) is type(value) and bool(read == value)


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The keys allowed at a place in the nested model."""
    current: Any = model
    for part in location:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            return []
        current = _model_in(field.annotation)
    return list(getattr(current, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """The pydantic model inside an annotation such as `X | None` or `dict[str, X]`."""
    if get_origin(annotation) is None:
        return annotation
    models = [_model_in(argument) for argument in get_args(annotation)]
    return next((item for item in models if isinstance(item, type) and issubclass(item, BaseModel)), None)
