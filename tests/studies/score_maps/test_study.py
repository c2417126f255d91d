# SPDX-License-Identifier: Apache-2.0
"""People's own maps: every format and size, and everything that can be wrong with them."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gazeray.config import ConfigError, load_config
from gazeray.engine.experiment import Outcome
from gazeray.stimuli.dataset import PictureSet
from gazeray.stimuli.decode import PictureError
from gazeray.storage import Folder, StorageError
from gazeray.studies.pictures.passes import PictureData, PictureInfo
from gazeray.studies.score_maps.config import MapsConfig
from gazeray.studies.score_maps.passes import MapError, fit_to_grid, load_map
from gazeray.studies.score_maps.study import ScoreMapsConfig, ScoreMapsStudy, StoredMaps
from gazeray.tables import DataError
from gazeray.unit import Json, Unit, UnitFolder, Worker
from tests.studies.here import faults, in_this_process, whole


def picture(width: int = 80, height: int = 60, grid: tuple[int, int] = (30, 40)) -> PictureData:
    info = PictureInfo("p", "p.png", "00000", width, height, 1, 0)
    one = np.ones(1, np.float32)
    return PictureData(info, one, one, np.zeros(1, np.int32), np.ones(grid, np.float32))


def npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=values.dtype == object)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def declared(shape: str, values: bytes) -> bytes:
    """A .npy file whose header says that its values have the shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


def zipped(files: dict[str, bytes], flags: int = 0, method: int = 0, crc: int | None = None) -> bytes:
    """A .npz file; its only entry may say that it is encrypted, of an unknown method or of another checksum."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    data = bytearray(buffer.getvalue())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # its header, and the list at the end
        start = data.find(mark) + at
        if files:
            struct.pack_into("<HH", data, start, flags, method)
        if crc is not None:
            struct.pack_into("<I", data, start + 8, crc)
    return bytes(data)


def png(values: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", values)[1].tobytes())


def read(tmp_path: Path, name: str, data: bytes) -> np.ndarray:
    (tmp_path / name).write_bytes(data)
    return load_map(Folder(tmp_path), name, 10_000)


MAP = np.arange(12.0).reshape(3, 4)


def test_one_map_in_every_format_is_the_same(tmp_path: Path) -> None:
    whole = (MAP * 20).astype(np.uint8)
    found = [
        read(tmp_path, "a.npy", npy(whole.astype(np.float32))),
        read(tmp_path, "a.npz", npz(map=whole)),
        read(tmp_path, "b.npy", npy(whole[None, :, :, None])),
        read(tmp_path, "a.png", png(whole)) * 255,
    ]
    for values in found:
        assert np.allclose(values, whole, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.npy", npy(np.zeros((2, 3, 4))), r"shape \(2, 3, 4\)"),
        ("a.npy", npy(np.array([[{}]], dtype=object)), "cannot be read"),
        ("a.npy", npy(np.array([["x"]])), "not numbers"),
        ("a.npy", npy(MAP)[:90], "cannot be read"),
        ("a.npy", b"", "cannot be read"),
        ("a.npz", npz(a=MAP, b=MAP), "2 arrays"),
        ("a.npz", npz(map=np.zeros((2000, 2000))), "unpacks to"),
        ("a.npz", b"PK\x03\x04 broken", "cannot be read"),
        ("a.npy", npy(np.zeros((0, 5))), r"shape \(0, 5\), not \(height, width\)"),
        ("a.npy", declared("(0, 5)", b""), r"shape \(0, 5\)"),
        ("a.npy", declared("(1000000, 1000000)", b"1234"), "more than 10000 values"),
        ("a.npy", declared("(10**9, 1)", b"1234"), "cannot be read: ValueError"),
        ("a.npy", declared("(99, 99)", b"1234"), r"too few bytes for the shape \(99, 99\)"),
        ("a.npy", declared("(-3, -4)", b"1234" * 999), r"shape \(-3, -4\)"),
        ("a.npy", declared("(3, 4), 'x': 1", b"1234"), "cannot be read: ValueError"),
        ("a.npy", b"\x93NUMPY\x07\x00" + npy(MAP)[8:], "cannot be read: "),
        ("a.npy", npy(MAP * 1j), "complex128, not numbers"),
        ("a.npz", zipped({"map.npy": declared("(1000000, 1000000)", b"1234")}), "more than 10000 values"),
        ("a.npz", zipped({"map.npy": npy(MAP)}, flags=1), "cannot be read: RuntimeError: .*encrypted"),
        ("a.npz", zipped({"map.npy": npy(MAP)}, method=97), "cannot be read: NotImplementedError"),
        ("a.npz", zipped({"map.npy": npy(MAP)}, crc=7), "cannot be read: BadZipFile"),
        ("a.npz", zipped({"map.npy": npy(np.zeros((0, 5)))}), r"shape \(0, 5\)"),
        ("a.npz", zipped({}), "holds 0 arrays"),
        ("a.png", b"", "empty"),
        ("a.png", png(np.full((200, 100), 9, np.uint8)), "10000|10,000"),
    ],
)
def test_unusable_file_is_refused_with_the_reason(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    with pytest.raises((MapError, PictureError), match=told):
        read(tmp_path, name, data)


def test_a_huge_shape_allocates_nothing(tmp_path: Path) -> None:
    tracemalloc.start()
    for name, shape in (("a.npy", "(30000, 40000)"), ("a.npz", "(30000, 40000)")):
        data = declared(shape, b"1234")
        (tmp_path / name).write_bytes(data if name == "a.npy" else zipped({"map.npy": data}))
        with pytest.raises(MapError, match="too few bytes"):
            load_map(Folder(tmp_path), name, 10**10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_storage_that_fails_is_no_bad_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.npy").write_bytes(npy(MAP))
    with pytest.raises(PictureError, match="No such file"):
        load_map(Folder(tmp_path), "b.npy", 10_000)

    def fail(self: Folder, path: str) -> bytes:
        raise StorageError(f"{path}: tried for 90 s")

    monkeypatch.setattr(Folder, "read_bytes", fail)
    with pytest.raises(StorageError):
        load_map(Folder(tmp_path), "a.npy", 10_000)


@pytest.mark.parametrize("size", [(30, 40), (60, 80), (300, 400), (15, 20), (29, 40)])
def test_map_of_any_size_comes_to_the_grid(size: tuple[int, int]) -> None:
    values = np.tile(np.linspace(0, 1, size[1]), (size[0], 1))
    fitted = fit_to_grid(values, picture(), MapsConfig())
    assert fitted.shape == (30, 40)
    assert np.allclose(fitted, np.tile(np.linspace(0, 1, 40), (30, 1)), atol=0.03)


def test_densities_sum_to_one_again_and_logarithms_may_hold_minus_infinity() -> None:
    values = np.random.default_rng(0).random((60, 80))
    values[:10] = 0
    density = fit_to_grid(values, picture(), MapsConfig(kind="density"))
    with np.errstate(divide="ignore"):
        logarithm = fit_to_grid(np.log(values) + 7, picture(), MapsConfig(kind="log_density"))
    assert np.exp(density.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
    assert np.allclose(np.exp(density), np.exp(logarithm), atol=1e-7)
    assert np.allclose(np.exp(density[0]), 1e-3 / 1200, rtol=1e-4), "0 becomes the share of the uniform density"


def spoilt(change: Callable[[np.ndarray], Any]) -> np.ndarray:
    values = np.ones((30, 40))
    change(values)
    return values


@pytest.mark.parametrize(
    ("values", "kind", "told"),
    [
        (spoilt(lambda v: v.__setitem__((0, 0), np.nan)), "saliency", "1 of 1200 values are not finite"),
        (spoilt(lambda v: v.__setitem__((0, 0), -np.inf)), "saliency", "not finite"),
        (spoilt(lambda v: v.__setitem__((0, 0), np.inf)), "log_density", "not finite"),
        (np.ones((40, 30)), "saliency", "another aspect"),
        (np.ones((300, 300)), "saliency", "another aspect"),
        (spoilt(lambda v: v.__setitem__((0, 0), -1.0)), "density", "smallest value is -1"),
        (np.zeros((30, 40)), "density", "0 everywhere"),
        (np.full((30, 40), -np.inf), "log_density", "0 everywhere"),
        (np.empty((0, 40)), "saliency", "no values"),
        (spoilt(lambda v: v.__imul__(-1e37)), "saliency", "up to 1e\\+37, are too great to be summed"),
        (spoilt(lambda v: v.__setitem__((0, 0), 1e300)), "saliency", r"holds 1e\+300: .*float32"),
        (spoilt(lambda v: v.__setitem__((0, 0), 1e308)), "density", r"holds 1e\+308: .*float32"),
        (spoilt(lambda v: v.__imul__(1e-300).__setitem__((0, 0), 1e-301)), "saliency", "all the same in float32"),
    ],
)
def test_unusable_values_are_refused_with_the_reason(values: np.ndarray, kind: str, told: str) -> None:
    with pytest.raises(MapError, match=told):
        fit_to_grid(values, picture(), MapsConfig.model_validate({"kind": kind}))


def made(tmp_path: Path, *words: str) -> ScoreMapsConfig:
    scenes = ["data.simulate.pictures=8", "data.simulate.width_px=80", "data.simulate.height_px=64", "folds.outer=3"]
    return load_config(ScoreMapsConfig, None, [f"run.dir={tmp_path}/runs", *scenes, *words])


def pictures_of(cfg: ScoreMapsConfig) -> PictureSet:
    """The pictures of a study."""
    return ScoreMapsStudy(cfg).open().data.pictures


def do(cfg: ScoreMapsConfig) -> Outcome:
    """The whole study."""
    return whole(ScoreMapsStudy(cfg))


def test_bad_and_missing_maps_are_rejected_by_name_and_the_others_are_used(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    good = npy(np.random.default_rng(0).random((32, 40)))
    names = [source.stimulus for source in pictures_of(made(tmp_path)).pictures]
    for name in names[:5]:
        (folder / f"{name}.npy").write_bytes(good)
    (folder / f"{names[5]}.npy").write_bytes(npy(np.full((32, 40), np.nan)))
    (folder / f"{names[6]}.npy").write_bytes(good)
    (folder / f"{names[6]}.png").write_bytes(png(np.zeros((32, 40), np.uint8)))
    (folder / "nobody.npy").write_bytes(good)
    study = ScoreMapsStudy(made(tmp_path, f"maps.path={folder}"))
    source = study.open()
    stores, _ = in_this_process(study.passes(source, Folder(tmp_path / "runs")))
    items = study.items(source, stores)
    found = {one.source: one.reason for one in items.rejects if one.stage == "maps"}
    assert found["nobody.npy"] == "no picture of this name"
    assert "1280 of 1280 values" in found[f"{names[5]}.npy"]
    assert found[f"{names[6]}.npy"] == "2 maps of this name"
    assert any(reason.startswith("no map of this picture") for reason in found.values())
    assert len(found) == 4
    assert sorted(info.stimulus for info in stores.pictures.shards.judged) == names[:5]
    assert len(stores.pictures.shards.pictures) == 8
    assert items.manifest["maps"] == {"label": "theirs", "root": str(folder), "kind": "saliency", "used": 5}
    assert items.manifest["counts"]["rejected"] == len(items.rejects)


def test_no_usable_map_ends_the_job_with_the_reasons(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    study = ScoreMapsStudy(made(tmp_path, f"maps.path={folder}"))
    with pytest.raises(DataError, match="no map is named as a picture is"):
        study.open()
    for source in pictures_of(made(tmp_path)).pictures:
        (folder / f"{source.stimulus}.npy").write_bytes(npy(np.full((32, 40), np.nan)))
    with pytest.raises(DataError, match="none of 8 maps can be used: 1280 of 1280"):
        in_this_process(study.passes(study.open(), Folder(tmp_path / "runs")))


def test_maps_must_be_named_for_a_data_set_of_ones_own(tmp_path: Path) -> None:
    dataset = f"{pictures_of(made(tmp_path)).root.uri}/dataset.yaml"
    with pytest.raises(ConfigError, match=r"maps\.path: which"):
        ScoreMapsStudy(made(tmp_path, f"data.dataset={dataset}")).open()
    with pytest.raises(ConfigError, match="no such folder"):
        ScoreMapsStudy(made(tmp_path, f"maps.path={tmp_path}/nowhere")).open()


def test_whole_run_scores_maps_beside_baselines_and_finishes_what_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["resources.workers=0", "score.resamples=100", "score.longest_px=40", "baselines.splits=1"]
    undisturbed = do(made(tmp_path / "whole", *words))
    assert undisturbed.metrics is not None
    kinds = {key: entry["kind"] for key, entry in undisturbed.metrics["predictors"].items()}
    assert kinds["model:contrast"] == "model"
    assert set(kinds.values()) == {"model", "baseline", "ceiling"}
    assert set(undisturbed.metrics["rows"]) == set(kinds)
    assert undisturbed.metrics["n"]["pictures"] == 8
    told = StoredMaps.run

    def stop(self: StoredMaps, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        if unit.name == "maps-fold-1":
            raise KeyboardInterrupt
        return told(self, unit, worker, out)

    monkeypatch.setattr(StoredMaps, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        do(made(tmp_path / "cut", *words))
    monkeypatch.setattr(StoredMaps, "run", told)
    cut = do(made(tmp_path / "cut", *words))
    assert cut.run.read_bytes("metrics.json") == undisturbed.run.read_bytes("metrics.json")
    assert faults(cut.run) == []
    fewer = do(made(tmp_path / "cut", *words, "show.pictures=1"))
    assert fewer.run.uri == cut.run.uri
    assert len(fewer.run.list("maps")) < len(undisturbed.run.list("maps")), "those that are shown no longer are gone"
    assert fewer.run.read_bytes("metrics.json") == cut.run.read_bytes("metrics.json")
    assert faults(fewer.run) == []
