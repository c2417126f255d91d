# SPDX-License-Identifier: Apache-2.0
"""What the frozen part of the network says of each picture, plain and moved, computed once and kept: a store of
stimuli.

View 0 is the plain picture, the others are moved by fixed random affines, the same ones that move the gaze. The stored
tensors are those at the cut between what is frozen and what is trained, or the pooled features where nothing is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from gazeray.config import digest
from gazeray.gaze.augment import move_pictures, move_points, random_affines
from gazeray.gaze.augment_config import AugmentConfig
from gazeray.gaze.readers.base import fetched
from gazeray.learn.folds import derive_seed
from gazeray.models.backbone import without_head
from gazeray.stimuli.decode import MID_GREY, PictureError, decode_picture, read_picture
from gazeray.storage import Folder
from gazeray.store import Column, Shard, Store, write_shard
from gazeray.studies.emotion.network import OpenedNetwork, PictureNetwork, open_network
from gazeray.studies.shared.networks import as_halves, at_size, keep_weights
from gazeray.studies.shared.npz import npz
from gazeray.study import Pass
from gazeray.tables import DataError, Reject
from gazeray.unit import Json

__all__ = [
    "COLUMNS",
    "OpenedNetwork",
    "PictureNetwork",
    "augmentation_pairs",
    "open_network",
    "picture_pass",
    "view_affines",
]

FORMAT = 1
"""Raised when features of an older version can no longer be used."""

PICTURES_PER_SHARD = 16

COLUMNS = ("picture", "affine")
"""What units read."""

MOST_PIXELS = 50_000_000
"""A picture with more is refused before it is unpacked."""

PAIRS = 10
"""Of pictures before and after, for the report."""


def view_affines(stimulus: str, augment: AugmentConfig, seed: int) -> np.ndarray:
    """The affines of a picture's views, (1 + views, 2, 3) float32, the plain one first; the same wherever asked."""
    return random_affines(1 + augment.views, augment, derive_seed(seed, "views", stimulus), plain_first=True)


@dataclass(frozen=True)
class SeePictures:
    """Runs pictures through the frozen part of a network; see the module. batch_size: what goes through together."""

    network: PictureNetwork
    root: Folder
    folder: Folder
    augment: AugmentConfig
    seed: int
    batch_size: int

    def __call__(self, device: torch.device) -> Callable[[Mapping[str, Any]], None]:
        """Build the network on the device; returns the function that does a piece."""
        frozen = self.network.frozen().to(device).to(memory_format=torch.channels_last)

        def do(piece: Mapping[str, Any]) -> None:
            write_shard(self.folder, piece["key"], self.shard(piece["pictures"], frozen, device))

        return do

    def shard(self, pictures: Sequence[tuple[str, str]], frozen: torch.nn.Module, device: torch.device) -> Shard:
        """Some pictures, (stimulus, path) each, seen by the network; those that cannot be decoded are rejects."""
        side = self.network.size_px
        kept: dict[str, torch.Tensor] = {}
        rejects: list[Reject] = []
        content = hashlib.sha256()
        for stimulus, path in pictures:
            try:
                data = fetched(self.root, path)
                kept[stimulus] = at_size(decode_picture(data, path, MOST_PIXELS), (side, side))
                content.update(f"{stimulus} {hashlib.sha256(data).hexdigest()}\n".encode())
            except PictureError as error:
                rejects.append(Reject(error.source, -1, "pictures", error.reason, trial=stimulus))
        names = list(kept)
        affines = np.empty((len(names), 1 + self.augment.views, 2, 3), np.float32)
        for row, stimulus in enumerate(names):
            affines[row] = view_affines(stimulus, self.augment, self.seed)
        columns: dict[str, Column] = {"affine": affines, "picture": np.empty((0, 0), np.float16)}
        if names:
            columns["picture"] = self._seen(names, torch.stack(list(kept.values())), affines, frozen, device)
        rows = pa.table({"stimulus": pa.array(names, pa.string())})
        return Shard(rows, columns, rejects, content=content.hexdigest(), rows_read=len(pictures))

    @torch.inference_mode()
    def _seen(
        self, names: Sequence[str], plain: torch.Tensor, affines: np.ndarray, frozen: torch.nn.Module,
        device: torch.device,
    ) -> np.ndarray:  # fmt: skip
        """(N, 1 + views, ...) float16 of N pictures (N, 3, S, S) uint8."""
        views = affines.shape[1]
        mean, std = (torch.tensor(of, device=device)[:, None, None] for of in (self.network.mean, self.network.std))
        parts = []
        for part in torch.arange(len(names) * views).split(self.batch_size):
            picture, view = part // views, part % views
            x = (plain[picture].to(device).float().div_(255) - mean) / std
            moved = torch.from_numpy(affines)[picture, view].to(device)
            x[view > 0] = move_pictures(x[view > 0], moved[view > 0])  # where it does not reach: the mean colour
            found = frozen(x.contiguous(memory_format=torch.channels_last))
            parts.append(as_halves(found, [names[row] for row in picture], "what the network says of it"))
        return np.concatenate(parts).reshape(len(names), views, *parts[0].shape[1:])


def picture_pass(
    network: PictureNetwork, root: Folder, paths: Mapping[str, str], augment: AugmentConfig, store: Folder, seed: int,
    weights: Mapping[str, torch.Tensor] | None = None, batch_size: int = 8,
) -> Generator[Pass, Store, Store]:  # fmt: skip
    """The pass that runs the pictures through the frozen part; a store with a row per usable picture.

    paths: {stimulus: path below root}. store: the folder below which all stores lie. seed: of the views. weights: of
    the network, kept where the workers, and later the units, find them. The table has the column `stimulus`; the
    tensors are `picture` (1 + views, ...) float16, for `network.tail()`, and `affine` (1 + views, 2, 3) float32. A
    picture that cannot be decoded is in the log's rejects, and not in the table.
    """
    if weights is not None:
        keep_weights(without_head(weights), network.folder, network.file)
    drawn = [augment.model_dump(mode="json", exclude={"outside"}), seed] if augment.views else None
    own = [network.arch, network.state, network.size_px, network.unfreeze, network.mean, network.std]
    untrained = network.seed if network.state == "none" else None
    folder = store.sub(f"stores/emotion-pictures-{digest([FORMAT, *own, untrained, drawn])[:16]}")
    stats, stimuli = root.stats(paths.values()), sorted(paths)
    groups = {}
    for start in range(0, len(stimuli), PICTURES_PER_SHARD):
        some = [(stimulus, paths[stimulus]) for stimulus in stimuli[start : start + PICTURES_PER_SHARD]]
        state = digest([root.uri, [[*one, asdict(stats[one[1]]) if one[1] in stats else None] for one in some]])
        groups[f"{start // PICTURES_PER_SHARD:05d}-{state[:8]}"] = some

    def pieces(keys: Sequence[str]) -> list[Json]:
        return [{"key": key, "pictures": groups[key]} for key in keys]

    make = SeePictures(network, root, folder, augment, seed, batch_size)
    return (yield Pass.over("seeing pictures", list(groups), pieces, make, folder, memory=COLUMNS, network=True))


def augmentation_pairs(
    root: Folder, trials: Sequence[tuple[str, str, np.ndarray]], augment: AugmentConfig, seed: int, size_px: int
) -> bytes:
    """Pictures with the gaze on them, before and after they were moved as in the training: an .npz for the report.

    trials: (stimulus, path below root, gaze (2, T) -1..1 over the stimulus, NaN = lost) each; the first PAIRS whose
    pictures can be decoded are taken, each in another of its views. seed: of the views, as in `picture_pass`.

    In the file, N pairs: stimulus (N,) str; before, after (N, S, S, 3) uint8, S = `size_px`, grey where the picture
    does not reach; gaze_before, gaze_after (N, 2, T) float32; affine (N, 2, 3) float32.

    Raises ValueError where `augment` has no views, DataError where no picture can be decoded.
    """
    if not augment.views:
        raise ValueError("augment.views is 0: nothing is moved")
    names: list[str] = []
    pictures, gazes, affines = [], [], []
    for stimulus, path, gaze in trials:
        try:
            pictures.append(at_size(read_picture(root, path, MOST_PIXELS), (size_px, size_px)))
        except PictureError:
            continue  # among the rejects of the pass
        affines.append(view_affines(stimulus, augment, seed)[1 + len(names) % augment.views])
        names.append(stimulus)
        gazes.append(gaze)
        if len(names) == PAIRS:
            break
    if not names:
        raise DataError(["none of the pictures can be decoded"])
    before, xy, affine = torch.stack(pictures), torch.from_numpy(np.stack(gazes)).float(), np.stack(affines)
    moves = torch.from_numpy(affine)
    after = move_pictures(before, moves, fill=MID_GREY)
    return npz({
        "stimulus": np.array(names),
        "before": before.movedim(1, -1).numpy(),
        "after": after.movedim(1, -1).numpy(),
        "gaze_before": xy.numpy(),
        "gaze_after": move_points(xy, moves, augment.outside).numpy(),
        "affine": affine,
    })  # fmt: skip
