# SPDX-License-Identifier: Apache-2.0
"""A job's config: YAML plus `section.key=value` words, checked as a whole before any work starts.

Every mistake is reported at once, each with its path and, where there is a closed list, the allowed values.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo
from pydantic.functional_validators import AfterValidator, field_validator, model_validator

from gazeray.config.reading import C, Values, apply_override
from gazeray.config.reading import ConfigError as ConfigError
from gazeray.config.reading import parse_yaml as parse_yaml
from gazeray.config.reading import read_yaml as read_yaml
from gazeray.config.reading import validate as validate


class Section(BaseModel):
    """A part of the config: unknown keys are errors, values are immutable, numbers must be finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression."""


class StoreConfig(Section):
    """How the examples are kept."""

    cache_gb: float = Field(4.0, ge=0, description="share the examples in memory up to this size, stream them above")
    window_examples: int = Field(4096, ge=1, description="examples within which a training epoch is shuffled")


class DataConfig(StoreConfig):
    """Which recordings, and which label."""

    dataset: str = Field("simulated", description="a data set YAML, or 'simulated' for the embedded study")
    root: str | None = Field(None, description="folder or URI of the recordings; default: the folder of the YAML")
    label: str | None = Field(None, description="label column to predict; default: the data set's only label")


class FoldsConfig(Section):
    """Who is tested when."""

    outer: int = Field(8, ge=2, description="number of folds; whoever is held out is tested in exactly one")
    validation: float = Field(0.2, gt=0, le=0.5, description="share of the training people that decide when to stop")
    inner: int = Field(3, ge=2, description="inner folds of the training people, for a search")
    hold_out: Literal["participants", "stimuli", "both", "neither"] = Field(
        "participants",
        description="what test examples share with no training example; neither: trials split at random, which leaks",
    )
    stimuli: int = Field(4, ge=2, description="with hold_out both: folds of stimuli, each crossed with each outer fold")
    path: str | None = Field(
        None, description="CSV or Parquet file with folds dealt elsewhere; {fold} in its name: one file per fold"
    )
    side: str = Field("side", min_length=1, description="of that file: the column that names the side")
    sides: dict[str, Pattern] = Field(
        {"train": "train", "validation": "val|validation", "test": "test"},
        description="side -> regular expression for its words; all but train and validation are test regimes",
    )
    unseen: dict[str, list[Literal["participant", "stimulus"]]] = Field(
        {}, description="test regime -> what was never trained on, which is checked; default: what hold_out says"
    )

    @property
    def count(self) -> int | None:
        """How many folds there are; None where a file deals them."""
        crossed = self.stimuli if self.hold_out == "both" else 1
        return self.outer * crossed if self.path is None else None

    @field_validator("sides")
    @classmethod
    def _some_test_side(cls, sides: dict[str, str]) -> dict[str, str]:
        if "train" not in sides or not set(sides) - {"train", "validation"}:
            raise ValueError("name the side train and at least one test regime")
        return sides

    @model_validator(mode="after")
    def _unseen_of_regimes(self) -> FoldsConfig:
        strange = sorted(set(self.unseen) - set(self.sides) | set(self.unseen) & {"train", "validation"})
        if strange:
            raise ValueError(f"folds.unseen: {', '.join(strange)}: no test regime of folds.sides")
        return self


class SearchConfig(Section):
    """Hyper-parameters chosen by inner cross-validation, anew in every outer fold."""

    space: dict[str, Any] = Field(
        {}, description="settings to try, laid out as the config: a list of values, or {low, high, log}"
    )
    settings: int = Field(12, ge=1, description="draws from the space; a space of lists that is smaller is tried whole")
    metric: str = Field(
        "loss", description="of the inner validation people, averaged over the inner folds; loss is the smoother one"
    )
    scheduler: Literal["halving", "asha"] = Field(
        "halving", description="halving: rungs that wait for all; asha: no waiting, but what stops depends on timing"
    )
    grace_epochs: int = Field(5, ge=1, description="epochs that every setting gets")
    reduction: int = Field(3, ge=2, description="the best 1 in so many settings go on to so many times the epochs")


class TrainConfig(Section):
    """One fit."""

    epochs: int = Field(40, ge=1, description="passes over the training examples, at most")
    batch_size: int = Field(32, ge=1, description="examples per step")
    learning_rate: float = Field(1e-3, gt=0, description="step size of the optimizer")
    weight_decay: float = Field(1e-2, ge=0, description="of the optimizer")
    momentum: float = Field(0.0, ge=0, lt=1, description="of sgd")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="AdamW, or plain SGD")
    patience: int = Field(10, ge=1, description="epochs without a better stop_on before stopping")
    stop_on: str = Field("loss", description="metric of the validation people that decides when to stop")
    class_weights: bool = Field(True, description="weigh classes the same, counted in the training people")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU")


class PerUnit(Section):
    """What one unit (one fit) takes."""

    cpu: int = Field(1, ge=1, description="threads of a fit; sums in another order change the last digits")
    gpu: float | None = Field(None, ge=0, description="share of a GPU; default: 0.25 where there are GPUs, else 0")


class ResourcesConfig(Section):
    """How much of the cluster the job takes. The number of workers changes no result."""

    per_unit: PerUnit = PerUnit()
    workers: int | None = Field(
        None, ge=0, description="units at the same time; default: as many as fit; 0: in this process, without Ray"
    )


class RunSettings(Section):
    """Where results go, and the seed of everything."""

    dir: str = Field("runs", description="folder or URI that holds the runs")
    seed: int = Field(0, ge=0, lt=2**31, description="every random number comes from it")


class StorageConfig(Section):
    """How an object store (s3://) is asked; no result depends on it."""

    filesystem: Literal["pyarrow", "s3fs"] = Field(
        "pyarrow", description="the client; s3fs for endpoints and options that pyarrow's lacks"
    )
    options: dict[str, Any] = Field({}, description="s3fs: its keyword options, such as client_kwargs, config_kwargs")

    @field_validator("options")
    @classmethod
    def _of_s3fs_and_not_secret(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if options and info.data.get("filesystem") == "pyarrow":
            raise ValueError("are those of s3fs: set storage.filesystem to s3fs; pyarrow's stand in the URI")
        secret = sorted(
            name for name in _keys(options) if re.search("(?i)secret|token|password|customerkey|^key$|access_key", name)
        )
        if secret:
            raise ValueError(
                f"must not hold credentials ({', '.join(secret)}), since configs are shown: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or write them into the URI"
            )
        return options


def _keys(values: Any) -> Iterator[str]:
    """Every key in nested mappings and lists."""
    if isinstance(values, dict):
        yield from map(str, values)
    for value in values.values() if isinstance(values, dict) else values if isinstance(values, list) else ():
        yield from _keys(value)


class TrackingConfig(Section):
    """Who else hears of every epoch: a run per unit, with the config as its parameters. No result depends on it."""

    tracker: Literal["none", "tensorboard", "mlflow"] = Field("none", description="none, or a tracker's own writer")
    dir: str | None = Field(
        None, description="local folder; default: tracking/ in run.dir. mlflow: or a URI; default: $MLFLOW_TRACKING_URI"
    )


class VariantsConfig(Section):
    """The same study in other settings and with other seeds, all of which are reported."""

    seeds: int = Field(1, ge=1, description="runs of every setting, with run.seed and the numbers after it")
    grid: dict[str, Any] = Field({}, description="settings to vary, laid out as the config: lists of values")
    settings: int = Field(200, ge=1, description="an error where the grid and the seeds make more than so many")

    @property
    def asked(self) -> bool:
        """Is there anything beside the config's own setting?"""
        return self.seeds > 1 or bool(self.grid)


class JobConfig(Section):
    """The sections that every job has. A study adds its own."""

    data: StoreConfig = StoreConfig()
    folds: FoldsConfig = FoldsConfig()
    train: TrainConfig = TrainConfig()
    search: SearchConfig | None = Field(None, description="null: train with the settings above")
    resources: ResourcesConfig = ResourcesConfig()
    run: RunSettings = RunSettings()
    storage: StorageConfig = StorageConfig()
    tracking: TrackingConfig = TrackingConfig()
    variants: VariantsConfig = VariantsConfig()

    def only_scores(self) -> Self:
        """The same without what only people look at: that is how variants are run."""
        return self

    def faults_of_search(self, tried: Sequence[Self]) -> list[str]:
        """What has to be the same in all settings that a search tries and is not: each key, with the way out."""
        return []

    @model_validator(mode="after")
    def _one_setting_each(self) -> JobConfig:
        if self.search and self.variants.asked:
            raise ValueError(
                "variants: not together with search: every setting would have to be searched anew, nested in its own "
                "folds; set search to null, and vary the settings that a search has chosen"
            )
        return self

    @model_validator(mode="after")
    def _asha_needs_workers(self) -> JobConfig:
        if self.search and self.search.scheduler == "asha" and self.resources.workers == 0:
            raise ValueError("search.scheduler: asha needs workers; with resources.workers=0 it must be halving")
        return self


def check_watched(cfg: JobConfig, watched: Iterable[str]) -> None:
    """Raises ConfigError where a fit is to stop, or a search to choose, on a metric that nobody computes."""
    wanted = {"train.stop_on": cfg.train.stop_on} | ({"search.metric": cfg.search.metric} if cfg.search else {})
    faults = [f"{key}: no metric {name!r} (allowed: {', '.join(watched)})" for key, name in wanted.items()
              if name not in watched]  # fmt: skip
    if faults:
        raise ConfigError(faults)


def load_config(model: type[C], path: str | Path | None, overrides: Sequence[str] = ()) -> C:
    """Read the YAML at `path` (None: the defaults), apply `section.key=value` words, validate.

    Raises ConfigError with every mistake: unreadable file, not a mapping, malformed word, unknown key, wrong value.
    """
    values, errors = (read_yaml(path) if path is not None else Values()), []
    for word in overrides:
        error = apply_override(values, word)
        if error:
            errors.append(error)
    try:
        config = validate(model, values)
    except ConfigError as error:
        raise ConfigError(errors + error.errors) from None
    if errors:
        raise ConfigError(errors)
    return config


RESULT_FREE: dict[str, Any] = {
    "resources": {"workers": True, "per_unit": {"gpu"}},
    "run": {"dir"},
    "storage": True,
    "tracking": True,
    "variants": True,
    "data": {"cache_gb"},
    "backbone": {"batch_size"},
    "show": True,
}
"""What may change without changing any result: left out of the hash."""


class Dumped(Protocol):
    """A pydantic model, as far as its hash is concerned."""

    def model_dump(self, *, mode: str, exclude: Any = None) -> dict[str, Any]:
        """The settings as plain values."""


def config_hash(config: Dumped) -> str:
    """Ten hex digits that name the results this config stands for (what is in RESULT_FREE does not count).

    Nor do credentials in URIs count: another key of the same bucket is no other run.
    """
    text = masked(json.dumps(config.model_dump(mode="json", exclude=RESULT_FREE), allow_nan=False))
    return digest(json.loads(text))[:10]


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-serialisable value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


LAYOUT = 3
"""Raised when run folders of an older version can no longer be used or read."""


def check_layout(manifest: object, where: str) -> None:
    """Raises ConfigError for the manifest of a run folder that another version has laid out."""
    found = manifest.get("layout", 1) if isinstance(manifest, dict) else None
    if found is not None and found != LAYOUT:
        raise ConfigError([f"{where}: a run folder of another version (layout {found}, this one writes {LAYOUT}); "
                           "move it away, or use the version that wrote it"])  # fmt: skip


_USER = re.compile(r"(?<=://)[^\s\"'<>/@]*(?::[^\s\"'<>@]*)?(?=@)")
_SECRET = re.compile(
    r"([?&](?:[^=&\s]*(?:key|secret|token|password|signature|credential)[^=&\s]*|sig)=)[^\s\"'<>&]+", re.IGNORECASE
)


def masked(text: str) -> str:
    """`text` with the credentials in its URIs (s3://key:secret@bucket, ?secret_key=...) replaced by ***."""
    return _SECRET.sub(r"\1***", _USER.sub("***", text))
