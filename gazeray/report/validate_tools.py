# SPDX-License-Identifier: Apache-2.0
"""What the checks of a run folder share: findings, and readers that turn what cannot be read into one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from gazeray.storage import Folder

T = TypeVar("T")


class Open(BaseModel):
    """A part of a manifest: what is named must be there, more may be."""

    model_config = ConfigDict(extra="allow")


class RunManifest(Open):
    """What manifest.json says of a run of any study."""

    job: str
    study: str
    status: Literal["running", "done", "failed"]
    config: dict[str, Any]
    config_hash: str
    seed: int
    started: str
    finished: str | None
    versions: dict[str, str]
    units: dict[str, Literal["done", "failed"]]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: in which file or folder of the run, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return " ".join(f"{self.where}: {self.what}".split())


@dataclass
class Check:
    """A run folder under examination: its files (path -> bytes) and what was found so far."""

    run: Folder
    files: dict[str, int]
    findings: list[Finding] = field(default_factory=list)

    def found(self, where: str, what: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(where, what))

    def read(self, path: str, parse: Callable[[bytes], T]) -> T | None:
        """A parsed file; None (and a finding) when it is missing or cannot be parsed. OSError of the storage passes."""
        if path not in self.files:
            self.found(path, "missing")
            return None
        data = self.run.read_bytes(path)
        try:
            return parse(data)
        except (ValueError, KeyError, EOFError, OSError) as error:  # pyarrow says OSError for a broken Parquet file
            self.found(path, f"cannot be read: {type(error).__name__}: {str(error)[:200]}")
            return None

    def json(self, path: str, keys: Sequence[str]) -> dict[str, Any] | None:
        """A JSON object with these keys; None (and a finding) otherwise."""
        value = self.read(path, json.loads)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.found(path, "not a JSON object")
            return None
        missing = [key for key in keys if key not in value]
        if missing:
            self.found(path, f"no {', '.join(missing)}")
            return None
        return value

    def lines(self, path: str) -> list[dict[str, Any]] | None:
        """A file with one JSON object per line."""
        return self.read(path, lambda data: [dict(json.loads(line)) for line in data.splitlines() if line.strip()])

    def table(self, path: str, columns: Sequence[str]) -> pa.Table | None:
        """A Parquet table with these columns; None (and a finding) otherwise."""
        table = self.read(path, lambda data: pq.read_table(io.BytesIO(data)))
        if table is None:
            return None
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            self.found(path, f"no column {', '.join(missing)}")
            return None
        return table


def some(names: Iterable[Any], limit: int = 5) -> str:
    """The first few names, and how many more there are."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
