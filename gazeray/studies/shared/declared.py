# SPDX-License-Identifier: Apache-2.0
"""Where a study's data are: the declaration that the config names, or an embedded simulation, made where missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from gazeray.config import ConfigError, StorageConfig, digest, parse_yaml
from gazeray.gaze.declaration import read_declaration
from gazeray.storage import Folder, split_uri
from gazeray.unit import Json

P = TypeVar("P", bound=BaseModel)

SIMULATED = "simulated"


def find_declaration(
    dataset: str, place: str | None, runs: Folder, storage: StorageConfig, simulation: tuple[str, int], params: P,
    simulate: Callable[[Folder, P], object],
) -> tuple[Json, str, Folder]:  # fmt: skip
    """(declaration, not yet checked; what to call it in errors; the folder of the data).

    dataset: a declaration, or SIMULATED. place: the folder of the data; None: that of the declaration. simulation: name
    and version of the embedded data, which `simulate` writes below the folder of the runs where they are not there yet;
    another version or other parameters are other data. Raises ConfigError.
    """
    if dataset != SIMULATED:
        if "://" not in dataset and not Path(dataset).is_file():
            raise ConfigError([f"data.dataset: no such file: {dataset} (the YAML of a data set, or {SIMULATED!r})"])
        home = split_uri(dataset)[0] if "://" in dataset else str(Path(dataset).parent)
        return read_declaration(dataset, storage), dataset, Folder(place if place is not None else home, storage)
    root = simulated_folder(runs, simulation, params)
    if not root.exists("dataset.yaml"):
        simulate(root, params)
    source = f"{root.uri}/dataset.yaml"
    return parse_yaml(root.read_text("dataset.yaml"), source), source, root


def simulated_folder(runs: Folder, simulation: tuple[str, int], params: BaseModel) -> Folder:
    """Where the embedded data of these parameters are, or will be. simulation: see `find_declaration`."""
    name, version = simulation
    return runs.sub(f"data/{name}-{digest([version, params.model_dump(mode='json')])[:10]}")
