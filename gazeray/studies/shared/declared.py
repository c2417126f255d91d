# SPDX-License-Identifier: Apache-2.0
"""Where a study's data are: the declaration that the config names, or an embedded simulation, made where missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel

from gazeray.config import ConfigError, RunSettings, StorageConfig, digest, parse_yaml
from gazeray.gaze.declaration import read_declaration
from gazeray.storage import Folder, split_uri
from gazeray.unit import Json

P = TypeVar("P", bound=BaseModel)

SIMULATED = "simulated"


class DataPlace(Protocol):
    """What a section `data` says of the place."""

    @property
    def dataset(self) -> str:
        """A declaration, or SIMULATED."""

    @property
    def root(self) -> str | None:
        """The folder of the data; None: that of the declaration."""


class PlacedConfig(Protocol):
    """The sections that say where data lie and results go."""

    @property
    def data(self) -> DataPlace:
        """The data."""

    @property
    def run(self) -> RunSettings:
        """The results."""

    @property
    def storage(self) -> StorageConfig:
        """How object stores are asked."""


def find_declaration(
    cfg: PlacedConfig, simulation: tuple[str, int], params: P, simulate: Callable[[Folder, P], object]
) -> tuple[Json, str, Folder]:
    """(declaration, not yet checked; what to call it in errors; the folder of the data).

    simulation: name and version of the embedded data, which `simulate` writes below the folder of the runs where they
    are not there yet; another version or other parameters are other data. Raises ConfigError.
    """
    path = cfg.data.dataset
    if path != SIMULATED:
        if "://" not in path and not Path(path).is_file():
            raise ConfigError([f"data.dataset: no such file: {path} (the YAML of a data set, or {SIMULATED!r})"])
        home = split_uri(path)[0] if "://" in path else str(Path(path).parent)
        root = Folder(cfg.data.root if cfg.data.root is not None else home, cfg.storage)
        return read_declaration(path, cfg.storage), path, root
    name, version = simulation
    settings = digest([version, params.model_dump(mode="json")])[:10]
    root = Folder(cfg.run.dir, cfg.storage).sub(f"data/{name}-{settings}")
    if not root.exists("dataset.yaml"):
        simulate(root, params)
    source = f"{root.uri}/dataset.yaml"
    return parse_yaml(root.read_text("dataset.yaml"), source), source, root
