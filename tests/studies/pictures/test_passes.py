# SPDX-License-Identifier: Apache-2.0
"""Pictures made ready: bad ones end as rejects with a reason, the others stay, and what is done is not done again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gazeray.metrics.resampling import grid_size
from gazeray.models.probes import ProbePicture
from gazeray.models.probes.ridge import fit_ridge
from gazeray.stimuli.human_maps import draw_target
from gazeray.stimuli.recipes import TargetConfig
from gazeray.storage import Folder
from gazeray.studies.pictures.config import PictureFolds
from gazeray.studies.pictures.passes import PicturesReady, PreparePictures, pictures_pass
from gazeray.studies.probe_saliency.config import BackboneConfig
from gazeray.studies.probe_saliency.passes import Extract, features_pass
from gazeray.tables import DataError
from tests.stimuli.test_decode import bomb
from tests.stimuli.tiny_pictures import encoded, opened, photo
from tests.studies.here import in_this_process
from tests.studies.pictures.picture_set import Row, plain_set, prepared, somewhere, table

PHOTO = photo(48, 64)


def rotated(tag: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = tag
    return encoded(PHOTO, "JPEG", exif=exif.tobytes())


USABLE: dict[str, bytes] = {
    "plain.jpg": encoded(PHOTO, "JPEG"),
    "grey.png": encoded(PHOTO[:, :, 0]),
    "cmyk.jpg": encoded(Image.fromarray(PHOTO).convert("CMYK"), "JPEG"),
    "wide.png": encoded(PHOTO[:, :, 0].astype(np.uint16) * 257),
    "alpha.png": encoded(np.dstack([PHOTO, PHOTO[:, :, :1]])),
    "turned.jpg": rotated(6),
}
UNUSABLE: dict[str, tuple[bytes, str]] = {
    "cut.jpg": (USABLE["plain.jpg"][:900], "cut off or damaged"),
    "empty.jpg": (b"", "empty file"),
    "bomb.png": (bomb(60_000, 60_000), "more than 100000 pixels"),
    "large.png": (encoded(photo(400, 300)), "300 x 400 px; a picture has 1 to 100000 pixels"),
    "text.jpg": (b"no picture at all", "not a picture"),
}


def mixed_set(folder: Path, more: list[Row] | None = None) -> Any:
    contents = USABLE | {name: data for name, (data, _) in UNUSABLE.items()}
    files: dict[str, str | bytes] = {f"pictures/{name}": data for name, data in contents.items()}
    names = [name.partition(".")[0] for name in contents]
    rows = somewhere(names, 48, 48) + (more or [])
    return opened(folder, files | {"fixations.csv": table(rows)}, pictures={"path": "pictures/{stimulus}"})


def stimuli(ready: PicturesReady) -> list[str]:
    return [info.stimulus for info in ready.shards.pictures]


def one(ready: PicturesReady, stimulus: str) -> Any:
    return next(picture for picture in ready.shards if picture.info.stimulus == stimulus)


def same(one: PicturesReady, other: PicturesReady) -> bool:
    kept = [(each.shards.pictures, each.observers, each.rejects, each.content, each.pictures) for each in (one, other)]
    return kept[0] == kept[1]


def test_pictures_of_every_kind_are_used_or_rejected_with_the_reason(tmp_path: Path) -> None:
    ready, _ = prepared(mixed_set(tmp_path / "set"), tmp_path / "ready")
    assert sorted(stimuli(ready)) == sorted(name.partition(".")[0] for name in USABLE)
    found = {reject.source: reject for reject in ready.rejects}
    assert sorted(found) == sorted(f"pictures/{name}" for name in UNUSABLE)
    for name, (_, reason) in UNUSABLE.items():
        reject = found[f"pictures/{name}"]
        assert reason in reject.reason
        assert (reject.stage, reject.row, reject.trial) == ("pictures", -1, name.partition(".")[0])


def test_fixations_refer_to_the_upright_picture(tmp_path: Path) -> None:
    low = [("turned", 7, 10.0, 60.0), ("plain", 7, 60.0, 10.0), ("plain", 7, 10.0, 60.0)]
    ready, _ = prepared(mixed_set(tmp_path / "set", low), tmp_path / "ready")
    turned, plain = one(ready, "turned"), one(ready, "plain")
    assert (turned.info.width_px, turned.info.height_px, turned.grid) == (48, 64, (40, 30))
    assert (plain.info.width_px, plain.info.height_px, plain.grid) == (64, 48, (30, 40))
    assert (turned.x_px[-1], turned.y_px[-1]) == (10, 60)
    assert (plain.x_px[-1], plain.y_px[-1]) == (60, 10)
    assert turned.info.n_fixations == plain.info.n_fixations == 13
    reject = next(reject for reject in ready.rejects if reject.stage == "gaze")
    assert (reject.source, reject.reason.partition(",")[0]) == (
        "pictures/plain.jpg",
        "1 of 14 fixations are outside the picture of 64 x 48 px",
    )
    thumbnail = ready.shards.thumbnail(turned.info)
    upright = np.rot90(ready.shards.thumbnail(plain.info), -1)
    assert thumbnail.shape == upright.shape == (40, 30, 3)
    assert np.abs(thumbnail.astype(int) - upright).mean() < 2


def test_fixations_outside_and_not_finite_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = somewhere(["a", "b", "c"], 64, 48)
    rows += [("a", 0, 64.0, 5.0), ("a", 0, -0.1, 5.0), ("a", 1, 5.0, 48.0), ("b", 1, 63.9, 47.9), ("b", 1, 0.0, 0.0)]
    files: dict[str, str | bytes] = {f"pictures/{name}.jpg": encoded(PHOTO, "JPEG") for name in "abc"}
    found = opened(tmp_path / "set", files | {"fixations.csv": table(rows)})
    ready, _ = prepared(found, tmp_path / "ready")
    assert {info.stimulus: info.n_fixations for info in ready.shards.pictures} == {"a": 12, "b": 14, "c": 12}
    assert [(one.source, one.stage, one.trial) for one in ready.rejects] == [("pictures/a.jpg", "gaze", "a")]
    assert ready.rejects[0].reason.startswith("3 of 15 fixations are outside")
    assert one(ready, "b").cells[-2:].tolist() == [[29, 39], [0, 0]]


def test_a_picture_whose_fixations_all_lie_outside_is_rejected(tmp_path: Path) -> None:
    rows = [*somewhere(["a", "b", "c"], 64, 48), ("d", 0, 100.0, 5.0), ("d", 1, 5.0, 100.0)]
    files: dict[str, str | bytes] = {f"pictures/{name}.jpg": encoded(PHOTO, "JPEG") for name in "abcd"}
    ready, _ = prepared(opened(tmp_path / "set", files | {"fixations.csv": table(rows)}), tmp_path / "ready")
    assert stimuli(ready) == ["a", "b", "c"]
    reasons = [reject.reason for reject in ready.rejects if reject.source == "pictures/d.jpg"]
    assert any(reason.startswith("2 of 2 fixations are outside") for reason in reasons)
    assert "none of its fixations lies on it" in reasons


def test_shards_hold_what_was_seen_and_the_drawn_map(tmp_path: Path) -> None:
    found = plain_set(tmp_path / "set", 3)
    ready, _ = prepared(found, tmp_path / "ready")
    for picture in ready.shards:
        gaze = found.gaze[picture.info.stimulus]
        np.testing.assert_array_equal(picture.x_px, gaze.x_px)
        np.testing.assert_array_equal(picture.observer, gaze.observer)
        drawn = draw_target(gaze, (48, 64), grid_size((48, 64), 40), TargetConfig())
        np.testing.assert_array_equal(picture.target, drawn)
        assert (picture.target.dtype, float(picture.target.max())) == (np.float32, 1.0)
        floored = np.stack([np.floor(gaze.y_px / 48 * 30), np.floor(gaze.x_px / 64 * 40)], 1)
        np.testing.assert_array_equal(picture.cells, floored)
    assert ready.observers == 3


@pytest.mark.parametrize(("count", "folds"), [(17, 5), (20, 4), (5, 5)])
def test_each_picture_is_in_one_fold_and_folds_differ_by_one_at_most(tmp_path: Path, count: int, folds: int) -> None:
    found = plain_set(tmp_path / "set", count)
    ready, done = prepared(found, tmp_path / "ready", folds)
    assert len(done) == -(-count // 16)
    assert sorted(stimuli(ready)) == sorted(source.stimulus for source in found.pictures)
    sizes = Counter(info.fold for info in ready.shards.pictures)
    assert set(sizes) == set(range(folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_the_seed_alone_decides_who_is_in_which_fold(tmp_path: Path) -> None:
    found = plain_set(tmp_path / "set", 12)
    one_way, other, again = (
        [info.fold for info in prepared(found, tmp_path / "ready", 4, seed)[0].shards.pictures] for seed in (0, 1, 0)
    )
    assert one_way == again
    assert one_way != other


def test_folds_of_a_file_are_used_and_change_the_content(tmp_path: Path) -> None:
    found = plain_set(tmp_path / "set", 6)
    (tmp_path / "folds.csv").write_text("stimulus,fold\n" + "".join(f"a{n:02d},{10 - n // 2}\n" for n in range(6)))
    dealt, _ = prepared(found, tmp_path / "ready")
    read, done = prepared(found, tmp_path / "ready", path=str(tmp_path / "folds.csv"))
    assert [info.fold for info in read.shards.pictures] == [2, 2, 1, 1, 0, 0]
    assert (read.shards.folds, done) == (3, [])
    assert read.content != dealt.content
    assert read.pictures == dealt.pictures
    (tmp_path / "folds.csv").write_text("stimulus,fold\na00,0\n")
    with pytest.raises(DataError, match="5 pictures have no fold, the first is a01"):
        prepared(found, tmp_path / "ready", path=str(tmp_path / "folds.csv"))


def test_fewer_usable_pictures_than_folds_end_the_job_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepared(mixed_set(tmp_path / "set"), tmp_path / "ready", folds=7)
    lines = caught.value.errors
    assert lines[0] == "6 usable pictures, fewer than folds.outer = 7"
    assert len(lines) <= 7
    told = {reason for _, reason in UNUSABLE.values()}
    assert all(": " in line and any(reason in line for reason in told) for line in lines[1:6])


def test_a_rerun_does_nothing_and_finds_the_same(tmp_path: Path) -> None:
    found = plain_set(tmp_path / "set", 20)
    first, done = prepared(found, tmp_path / "ready")
    again, done_again = prepared(found, tmp_path / "ready")
    assert (done, done_again) == (["00000", "00001"], [])
    assert same(again, first)


def test_a_pass_that_was_cut_short_goes_on_where_it_stopped(tmp_path: Path) -> None:
    found = plain_set(tmp_path / "set", 20)
    first, _ = prepared(found, tmp_path / "ready")
    (tmp_path / "ready" / "00001.json").unlink()  # written last: without it a shard is not done
    again, done = prepared(found, tmp_path / "ready")
    assert done == ["00001"]
    assert same(again, first)


def test_changed_pixels_change_the_content_and_changed_gaze_leaves_the_pictures_as_they_are(tmp_path: Path) -> None:
    rows = somewhere(["a", "b", "c"], 64, 48)
    files: dict[str, str | bytes] = {f"pictures/{name}.png": encoded(photo(48, 64, ord(name))) for name in "abc"}
    files["fixations.csv"] = table(rows)

    def made(name: str) -> PicturesReady:
        found = opened(tmp_path / "set", files, pictures={"path": "pictures/{stimulus}.png"})
        return prepared(found, tmp_path / name)[0]

    first = made("first")
    files["fixations.csv"] = table([*rows, ("a", 1, 3.0, 3.0)])
    gaze = made("gaze")
    changed = photo(48, 64, ord("a"))
    changed[5, 5, 1] ^= 1
    files["pictures/a.png"] = encoded(changed)
    picture = made("picture")
    assert first.pictures == gaze.pictures != picture.pictures
    assert len({first.content, gaze.content, picture.content}) == 3


def test_changed_maps_change_the_content_and_leave_the_features_as_they_are(tmp_path: Path) -> None:
    """A bitmap keeps its size whatever is drawn on it, so that size and path alone would not tell."""
    ready = []
    for name, value in (("first", 200), ("second", 100)):
        spots = {stimulus: np.zeros((96, 128), np.uint8) for stimulus in "abc"}
        for place, spot in enumerate(spots.values()):
            spot[place * 20 : place * 20 + 30, :value] = 200
        found = map_pairs(tmp_path / "set", **{stimulus: encoded(spot, "BMP") for stimulus, spot in spots.items()})
        ready.append(prepared(found, tmp_path / name)[0])
    assert ready[0].pictures == ready[1].pictures
    assert ready[0].content != ready[1].content


@pytest.mark.parametrize("unit", ["relative", "degrees"])
def test_fixations_in_another_unit_are_an_error_or_a_note(tmp_path: Path, unit: str) -> None:
    rows = somewhere(["a", "b", "c"], 64, 48)
    scale = (1 / 64, 1 / 48) if unit == "relative" else (1 / 12, 1 / 12)
    files: dict[str, str | bytes] = {f"pictures/{name}.png": encoded(photo(48, 64, ord(name))) for name in "abc"}
    files["fixations.csv"] = table([(name, who, x * scale[0], y * scale[1]) for name, who, x, y in rows])
    found = opened(tmp_path / "set", files, pictures={"path": "pictures/{stimulus}.png"})
    if unit == "relative":
        with pytest.raises(DataError, match="must be px of the picture"):
            prepared(found, tmp_path / "ready")
    else:
        assert "top left 15%" in prepared(found, tmp_path / "ready")[0].notes[0]
    files["fixations.csv"] = table(rows)
    found = opened(tmp_path / "set", files, pictures={"path": "pictures/{stimulus}.png"})
    assert prepared(found, tmp_path / "right")[0].notes == []


def test_picture_may_have_any_name(tmp_path: Path) -> None:
    names = ["__metadata__", "a b", "ä"]
    files: dict[str, str | bytes] = {f"pictures/{name}.png": encoded(photo(48, 64, i)) for i, name in enumerate(names)}
    files["fixations.csv"] = table(somewhere(names, 64, 48))
    found = opened(tmp_path / "set", files, pictures={"path": "pictures/{stimulus}.png"})
    shards = prepared(found, tmp_path / "ready")[0].shards
    assert sorted(picture.info.stimulus for picture in shards) == sorted(names)
    assert shards.thumbnail(shards.pictures[0]).shape[2] == 3


def test_pictures_of_other_shape_and_the_same_bytes_are_other_pictures(tmp_path: Path) -> None:
    rows = somewhere(["a", "b", "c"], 20, 20)
    pictures = []
    for name, size in (("wide", (24, 40)), ("high", (40, 24))):
        grey = np.full((*size, 3), 90, np.uint8)
        files: dict[str, str | bytes] = {f"pictures/{stimulus}.png": encoded(grey) for stimulus in "abc"}
        found = opened(
            tmp_path / f"set-{name}",
            files | {"fixations.csv": table(rows)},
            pictures={"path": "pictures/{stimulus}.png"},
        )
        pictures.append(prepared(found, tmp_path / name)[0].pictures)
    assert pictures[0] != pictures[1]


def map_pairs(folder: Path, **maps: bytes) -> Any:
    files: dict[str, str | bytes] = {f"pictures/{name}.jpg": encoded(PHOTO, "JPEG") for name in maps}
    files |= {f"maps/{name}.png": data for name, data in maps.items()}
    return opened(folder, files, fixations=None, maps={"path": "maps/{stimulus}.png"})


def test_map_pairs_need_no_fixations_and_bad_maps_are_rejected(tmp_path: Path) -> None:
    spot = np.zeros((96, 128), np.uint8)
    spot[:48, :64] = 200
    found = map_pairs(
        tmp_path / "set",
        a=encoded(spot),
        b=encoded(spot[:, ::-1]),
        c=encoded(spot.astype(np.uint16) * 257),
        square=encoded(spot[:, :96]),
        black=encoded(np.zeros((96, 128), np.uint8)),
        cut=encoded(spot)[:40],
    )
    ready, _ = prepared(found, tmp_path / "ready")
    assert stimuli(ready) == ["a", "b", "c"]
    assert {reject.source: reject.trial for reject in ready.rejects} == {
        f"maps/{name}.png": name for name in ("square", "black", "cut")
    }
    assert "another aspect" in next(reject.reason for reject in ready.rejects if reject.trial == "square")
    for name in "abc":
        picture = one(ready, name)
        half = picture.target[:15, :20] if name != "b" else picture.target[:15, 20:]
        assert (picture.grid, len(picture.x_px), picture.info.n_fixations) == ((30, 40), 0, 0)
        assert (half == 1).all()
        assert picture.target.sum() == half.sum()


def test_portrait_and_landscape_in_one_set_go_from_files_to_maps(tmp_path: Path) -> None:
    sizes = {f"p{number}": (96, 64) if number % 2 else (64, 96) for number in range(6)}
    files: dict[str, str | bytes] = {
        f"pictures/{name}.jpg": encoded(photo(*size, number), "JPEG")
        for number, (name, size) in enumerate(sizes.items())
    }
    rows = [row for name, (height, width) in sizes.items() for row in somewhere([name], width, height)]
    found = opened(tmp_path / "set", files | {"fixations.csv": table(rows)})
    ready, _ = prepared(found, tmp_path / "ready")
    cfg = BackboneConfig(arch="resnet18", longest_px=96)
    extract = Extract(found.root, Folder(tmp_path / "features"), cfg, ("layer2",), 100_000, 0, None)
    features, _ = in_this_process(features_pass(ready.shards, extract))
    values = dict(zip(stimuli(ready), features.take(np.arange(len(features)), ["layer2"])["layer2"], strict=True))

    def pictures(seed: int | None) -> Any:
        for picture in ready.shards:
            yield ProbePicture(values[picture.info.stimulus], picture.info.fold, picture.cells, picture.target)

    probe = fit_ridge(pictures, 3, (0.1, 1.0), torch.device("cpu"))
    for picture in ready.shards:
        high = picture.info.height_px > picture.info.width_px
        seen = values[picture.info.stimulus]
        assert seen.shape == ((128, 12, 8) if high else (128, 8, 12))
        assert picture.grid == ((40, 27) if high else (27, 40))
        drawn = probe.predict(seen, picture.grid, picture.info.fold)
        assert drawn.shape == picture.grid
        assert np.isfinite(drawn).all()


def test_the_pass_carries_the_gaze_in_files_and_not_in_its_pieces(tmp_path: Path) -> None:
    found = plain_set(tmp_path / "set", 17)
    prepare = PreparePictures(found.root, Folder(tmp_path / "new"), TargetConfig(), None, 100_000, 40)
    work = next(pictures_pass(found, prepare, PictureFolds(), 0))
    keys = ["00000", "00001"]
    assert work.keys == keys
    assert [len(piece["pictures"]) for piece in work.pieces] == [16, 1]
    assert all(set(piece) == {"key", "pictures"} for piece in work.pieces)
    assert sorted(stat.path for stat in prepare.folder.list()) == [f"gaze/{key}.safetensors" for key in keys]
