# SPDX-License-Identifier: Apache-2.0
"""From recordings to cached examples, on Ray Data.

One row per recording and one pass: a task reads a recording's files, turns them into a shard of examples and writes
the shard, then a small note beside it. The note is written last, so a shard with a note is complete; a run that was
cut off reads only the recordings whose notes are missing. The driver sees the notes, never the pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from gazeray.config import digest
from gazeray.engine.cluster import quiet_data
from gazeray.engine.progress import ProgressView
from gazeray.storage import Folder, StorageError
from gazeray.store import ExampleIndex, Examples, SharedExamples, StreamedExamples, load_shared, tensors_of
from gazeray.study import Plan, Stage
from gazeray.tables import QUALITY, DataError, Reject

FORMAT = 2
"""Raised when shards of an older version can no longer be used."""


@dataclass(frozen=True)
class Cache:
    """The examples of a plan, cached: where they lie, which there are, and what was refused on the way."""

    folder: Folder
    index: ExampleIndex
    columns: tuple[str, ...]
    bytes_total: int
    rejects: list[Reject]
    quality: pa.Table
    content: str
    rows_read: int
    notes: list[str]
    further: tuple[tuple[str, tuple[str, ...]], ...]

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """The recordings' further tables, each put together: (name, table)."""
        for name, paths in self.further:
            yield name, pa.concat_tables([self.folder.read_table(path) for path in paths])


class ShardWriter:
    """Reads one recording with the study's stage and writes its shard. Runs in Ray Data's workers."""

    def __init__(self, stage: Stage, folder: Folder) -> None:
        self.stage, self.folder = stage, folder

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        try:
            keys = [self.write(json.loads(text)) for text in batch["recording"]]
        except OSError as error:  # the storage: told as a row, since Ray would log a traceback and keep no cause
            return {"key": [""], "fault": [str(error)]}
        return {"key": keys, "fault": [""] * len(keys)}

    def write(self, recording: Mapping[str, Any]) -> str:
        key = str(recording["key"])
        try:
            shard = self.stage.fn(recording)
        except OSError:
            raise
        except Exception as error:
            raise RuntimeError(f"recording {key} cannot be read: {type(error).__name__}: {error}") from error
        self.folder.write_table(f"{key}.parquet", shard.table)
        for name, table in shard.tables.items():
            self.folder.write_table(f"{name}/{key}.parquet", table)
        tensors = tensors_of(shard.table)
        note = {
            "key": key,
            "content": shard.content,
            "rows_read": shard.rows_read,
            "tables": sorted(shard.tables),
            "notes": shard.notes,
            "rejects": [asdict(reject) for reject in shard.rejects],
            "quality": [_finite(row) for row in shard.quality.to_pylist()],
            "examples": shard.table.drop_columns(tensors).to_pylist(),
            "tensors": tensors,
            "bytes": int(sum(shard.table.column(name).nbytes for name in tensors)),
        }
        self.folder.write_json(f"{key}.json", note)
        return key


def cache_examples(stage: Stage, plan: Plan, store: Folder, view: ProgressView) -> Cache:
    """Read what is not cached yet, and return the cache. Raises DataError when no example is left."""
    folder = store.sub(f"examples/{digest([FORMAT, plan.fingerprint])[:16]}")
    present = {stat.path for stat in folder.list() if stat.path.endswith(".json")}
    missing = [recording for recording in plan.recordings if f"{recording['key']}.json" not in present]
    with view.stage("reading recordings", len(missing)) as progress:
        if missing:
            read_recordings(stage, missing, folder, progress.step)
        cache = _open_cache(plan, folder)
        progress.summary(
            f"{len(cache.index)} examples of {len(np.unique(cache.index.participants))} participants, "
            f"{len(cache.rejects)} rejected, {len(plan.recordings) - len(missing)} recordings from the cache"
        )
    return cache


def read_recordings(stage: Stage, recordings: Sequence[Mapping[str, Any]], folder: Folder, step: Any) -> None:
    """Write the shards of these recordings with Ray Data; `step()` is called once for each that is done.

    Raises StorageError when a worker could not read or write.
    """
    quiet_data()
    cores = int(ray.cluster_resources().get("CPU", 1))
    rows = [{"recording": json.dumps(dict(recording))} for recording in recordings]
    blocks = min(len(rows), 8 * cores)
    dataset = ray.data.from_items(rows, override_num_blocks=blocks)
    writer = ShardWriter(stage, folder)
    for row in dataset.map_batches(writer.__call__, batch_size=1, num_cpus=stage.cpu).iter_rows():
        if row["fault"]:
            raise StorageError(row["fault"])
        step()


def _open_cache(plan: Plan, folder: Folder) -> Cache:
    """Put the notes of all shards together; labels come from the plan's trials."""
    notes = [folder.read_json(f"{recording['key']}.json") for recording in plan.recordings]
    rejects = [Reject(**reject) for note in notes for reject in note["rejects"]]
    quality = pa.Table.from_pylist([row for note in notes for row in note["quality"]], schema=QUALITY)
    shards = np.repeat(np.arange(len(notes)), [len(note["examples"]) for note in notes])
    offsets = np.concatenate([np.arange(len(note["examples"])) for note in notes]) if notes else np.empty(0, np.int64)
    rows = [row for note in notes for row in note["examples"]]
    if not rows:
        reasons = sorted({reject.reason for reject in [*plan.rejects, *rejects]})
        raise DataError(["no usable trial is left; reasons: " + "; ".join(reasons[:10])])
    table = _with_labels(pa.Table.from_pylist(rows), plan.trials)
    index = ExampleIndex(table, shards, offsets, tuple(f"{note['key']}.parquet" for note in notes))
    content = digest([FORMAT, plan.meaning, sorted(note["content"] for note in notes), plan.fingerprint_of_trials()])
    return Cache(
        folder,
        index,
        tuple(next(note["tensors"] for note in notes if note["examples"])),
        sum(note["bytes"] for note in notes),
        rejects,
        quality,
        content,
        sum(note["rows_read"] for note in notes),
        [text for note in notes for text in note["notes"]],
        tuple(
            (name, tuple(f"{name}/{note['key']}.parquet" for note in notes if name in note["tables"]))
            for name in sorted({name for note in notes for name in note["tables"]})
        ),
    )


def _with_labels(examples: pa.Table, trials: pa.Table) -> pa.Table:
    """The examples with the columns of their trials, in the order of the examples."""
    keys = zip(trials.column("participant").to_pylist(), trials.column("trial").to_pylist(), strict=True)
    position = {key: number for number, key in enumerate(keys)}
    wanted = zip(examples.column("participant").to_pylist(), examples.column("trial").to_pylist(), strict=True)
    return trials.take([position[key] for key in wanted])


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """The row with NaN as None, since JSON has no NaN."""
    return {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}


@dataclass(frozen=True)
class ExampleSource:
    """The examples on their way to the workers: a reference to shared memory, or the shards to stream from."""

    cache: Cache
    window_examples: int
    reference: Any | None

    def open(self) -> Examples:
        """The examples, in a worker (or the driver): shared memory is mapped, not copied."""
        if self.reference is None:
            return StreamedExamples(self.cache.index, self.cache.folder, self.window_examples)
        return SharedExamples(self.cache.index, ray.get(self.reference), self.window_examples)


def share_examples(cache: Cache, cache_gb: float, window_examples: int, view: ProgressView) -> ExampleSource:
    """Put the examples into the object store when they fit in `cache_gb`; else they are streamed from the shards."""
    if cache.bytes_total > cache_gb * 1e9:
        view.line(
            f"examples: {cache.bytes_total / 1e9:.2f} GB, streamed from the shards ({cache_gb:g} left of data.cache_gb)"
        )
        return ExampleSource(cache, window_examples, None)
    arrays = load_shared(cache.index, cache.folder, cache.columns)
    view.line(f"examples: {cache.bytes_total / 1e6:.1f} MB in shared memory")
    return ExampleSource(cache, window_examples, ray.put(arrays))
