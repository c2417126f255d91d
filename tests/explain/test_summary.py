# SPDX-License-Identifier: Apache-2.0
"""Sums over examples: against plain loops, in any batching and order of folds, through a file, and as verdicts."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gazeray.explain import verdict
from gazeray.explain.checks import randomised_copy
from gazeray.explain.examples import ExampleBatch, MapSettings, explain_batch
from gazeray.explain.gradients import class_gradients, integrated_gradients
from gazeray.explain.summary import MapSummary
from gazeray.models.heatmap_cnn import HeatmapCNN

SIZE, COUNT = (18, 20), 10
SETTINGS = MapSettings(steps=3, samples=2, fractions=(0.0, 0.1, 0.5, 1.0))
KEYS = [40, 3, 7, 21, 5, 60, 11, 2, 90, 8]
GROUPS = ["P1", "P2", "P1", "P3", "P2", "P4", "P3", "P1", "P10", "P4"]


def network(in_channels: int) -> nn.Module:
    torch.manual_seed(0)
    model = HeatmapCNN(in_channels, SIZE, 4, 3)
    model(torch.rand(8, in_channels, *SIZE))
    return model.double().eval()


def pictures(in_channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(COUNT, in_channels, *SIZE, dtype=torch.float64, generator=generator) - 0.5).clamp(min=0)


def batch(in_channels: int, rows: list[int]) -> ExampleBatch:
    labels = torch.arange(COUNT) % 3
    return ExampleBatch(pictures(in_channels)[rows], labels[rows], [KEYS[i] for i in rows], [GROUPS[i] for i in rows])


def summary_of(in_channels: int, parts: list[list[int]], settings: MapSettings = SETTINGS) -> MapSummary:
    model = network(in_channels)
    fresh = [randomised_copy(model, [pictures(in_channels)], seed) for seed in (1, 2)]
    return MapSummary.merge([explain_batch(model, fresh, batch(in_channels, rows), settings).summary for rows in parts])


@pytest.fixture(scope="module")
def whole() -> MapSummary:
    return summary_of(1, [list(range(COUNT))])


def assert_same(one: MapSummary, two: MapSummary) -> None:
    for item in fields(MapSummary):
        a, b = getattr(one, item.name), getattr(two, item.name)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=item.name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=item.name)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_class_sums_equal_a_loop_over_examples(in_channels: int) -> None:
    found, model, x = (
        summary_of(in_channels, [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]),
        network(in_channels),
        pictures(in_channels),
    )
    labels, predicted = torch.arange(COUNT) % 3, model(x).argmax(dim=1)
    assert (labels != predicted).any()
    shape = (3, *SIZE)
    expected: dict[str, Any] = {
        name: np.zeros(shape) for name in ("dwell", "signed", "absolute", "integrated", "chosen")
    }
    for index in range(COUNT):
        one, label = x[index : index + 1], labels[index : index + 1]
        gradient = class_gradients(model, one, label)[0].numpy()
        expected["dwell"][label] += one[0].sum(0).numpy()
        expected["signed"][label] += gradient.sum(0)
        expected["absolute"][label] += np.abs(gradient).sum(0)
        expected["integrated"][label] += integrated_gradients(model, one, label, 3)[0].sum(0).numpy()
        chosen = predicted[index : index + 1]
        expected["chosen"][chosen] += class_gradients(model, one, chosen)[0].sum(0).numpy()
    assert found.dwell_label == pytest.approx(expected["dwell"])
    assert found.signed_label[0] == pytest.approx(expected["signed"])
    assert found.absolute_label[0] == pytest.approx(expected["absolute"])
    assert found.signed_label[1] == pytest.approx(expected["integrated"])
    assert found.signed_predicted[0] == pytest.approx(expected["chosen"])
    assert found.count_label.tolist() == [4, 3, 3]
    assert found.count_predicted.tolist() == torch.bincount(predicted, minlength=3).tolist()
    assert found.mean("signed_label")[0, 1] == pytest.approx(expected["signed"][1] / 3)
    empty = found.count_predicted == 0
    assert np.isnan(found.mean("signed_predicted")).any(axis=(0, 2, 3)).tolist() == empty.tolist()


def test_batches_and_order_of_folds_do_not_change_the_summary(whole: MapSummary) -> None:
    assert_same(whole, summary_of(1, [[9, 0], [4], [1, 2, 3, 5, 6, 7, 8]]))
    one, two = summary_of(1, [[0, 2, 4, 6, 8]]), summary_of(1, [[1, 3, 5, 7, 9]])
    assert_same(MapSummary.merge([one, two]), MapSummary.merge([two, one]))
    assert_same(whole, MapSummary.merge([two, one]))
    assert whole.key.tolist() == sorted(KEYS)
    assert whole.group[whole.key == 90].tolist() == ["P10"]


def test_maps_of_a_batch_are_those_of_its_examples() -> None:
    model, some = network(1), batch(1, [3, 1, 2])
    explained = explain_batch(model, [], some, SETTINGS)
    for index in range(3):
        x, label = some.x[index : index + 1], some.labels[index : index + 1]
        true = class_gradients(model, x, label)[0, 0].float().numpy()
        chosen = class_gradients(model, x, torch.from_numpy(explained.targets[index : index + 1]))[0, 0].float().numpy()
        np.testing.assert_allclose(explained.true["gradient"][index], true, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(explained.predicted["gradient"][index], chosen, rtol=1e-5, atol=1e-9)
    assert {maps.dtype for maps in explained.true.values()} == {np.dtype(np.float32)}
    assert explained.summary.random_weights.shape == (3, 0, 3)
    entry = explained.summary.figures()["gradient"]
    assert entry["randomisation_correlation"] == {"median": None, "iqr": None, "n": 0}
    assert entry["verdict"].startswith("not checked against random weights")


def test_summary_survives_its_file(whole: MapSummary) -> None:
    content = whole.to_npz()
    assert content == whole.to_npz()
    again = MapSummary.from_npz(content)
    assert_same(whole, again)
    assert again.figures() == whole.figures()


def test_other_files_raise_value_error(whole: MapSummary) -> None:
    other, newer, array = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(other, key=np.arange(3))
    arrays = {item.name: getattr(whole, item.name) for item in fields(MapSummary)}
    np.savez(newer, format=np.int64(99), **arrays)
    np.save(array, np.arange(3))
    cases = [
        (other, "no absolute_label"),
        (newer, "format 99"),
        (array, "single array"),
        (io.BytesIO(b"PK"), "not a map"),
    ]
    for buffer, message in [*cases, (io.BytesIO(), "not a map"), (io.BytesIO(whole.to_npz()[:500]), "not a map")]:
        with pytest.raises(ValueError, match=message):
            MapSummary.from_npz(buffer.getvalue())


def test_parts_that_do_not_belong_together_raise_value_error(whole: MapSummary) -> None:
    with pytest.raises(ValueError, match="no map summary"):
        MapSummary.merge([])
    with pytest.raises(ValueError, match=r"more than one map summary: \[2, 3"):
        MapSummary.merge([whole, whole])
    with pytest.raises(ValueError, match="differ in their fractions"):
        MapSummary.merge([whole, dataclasses.replace(whole, fractions=np.array([0.0, 1.0]))])
    with pytest.raises(ValueError, match="differ in the shape of count_label"):
        MapSummary.merge([whole, dataclasses.replace(whole, count_label=np.zeros(2, np.int64))])
    with pytest.raises(ValueError, match="number of networks"):
        MapSummary.merge([whole, dataclasses.replace(whole, random_weights=whole.random_weights[:, :1])])


def test_curves_and_areas_agree(whole: MapSummary) -> None:
    assert whole.checked.all()
    shares = whole.fractions
    for row in range(5):
        assert np.trapezoid(whole.curve(row), shares) == pytest.approx(whole.area[row].mean())
    assert np.ptp([whole.curve(row)[0] for row in range(5)]) == pytest.approx(0)
    assert np.ptp([whole.curve(row)[-1] for row in range(5)]) == pytest.approx(0)
    entry = whole.figures()["smoothgrad"]
    assert entry["deletion_auc_random"] - entry["deletion_auc"] == pytest.approx(entry["gain_over_random"]["value"])
    assert entry["deletion_auc_dwell"] == pytest.approx(whole.area[4].mean())


def test_integrated_gradients_of_sparse_pictures_resemble_the_picture_and_not_the_weights(whole: MapSummary) -> None:
    entries = whole.figures()
    entry, plain = entries["integrated_gradients"], entries["gradient"]
    for check in ("randomisation_correlation", "dwell_correlation"):
        assert entry[check]["median"] > max(0.5, plain[check]["median"])
    assert "the same with random weights" in entry["verdict"]


def test_share_of_checked_examples_does_not_depend_on_batching(whole: MapSummary) -> None:
    settings = dataclasses.replace(SETTINGS, check_share=0.5)
    one, two = summary_of(1, [list(range(COUNT))], settings), summary_of(1, [[i] for i in range(COUNT)], settings)
    assert_same(one, two)
    assert 0 < one.checked.sum() < COUNT
    assert np.array_equal(np.isfinite(one.area).all(axis=0), one.checked)
    np.testing.assert_allclose(one.area[:, one.checked], whole.area[:, one.checked], rtol=1e-9)
    none = summary_of(1, [[0, 1]], dataclasses.replace(SETTINGS, check_share=0.0)).figures()["gradient"]
    assert (none["deletion_auc"], none["n"]) == (None, 0)
    assert none["verdict"] == "not checked against random weights; not compared with random order; " + (
        "not compared with the order of dwell"
    )


@pytest.mark.parametrize(
    ("median", "low", "high", "people", "expected"),
    [
        (0.1, 0.01, 0.2, 6, "changes with the weights; better than random order; better than the order of dwell"),
        (0.5, -0.2, -0.1, 40, "partly the same with random weights: read with care; worse than random order; worse"),
        (0.8, -0.1, 0.1, 40, "looks the same with random weights: do not read it; cannot be told apart from random"),
        (0.1, 0.01, 0.2, 5, "changes with the weights; too few participants to compare with random order; too few"),
    ],
)
def test_verdict_follows_its_rules(median: float, low: float, high: float, people: int, expected: str) -> None:
    gain = {"value": (low + high) / 2, "ci95": [low, high], "groups": people}
    entry = {"randomisation_correlation": {"median": median}, "gain_over_random": gain, "gain_over_dwell": gain}
    assert verdict.words(entry).startswith(expected)


def test_interval_resamples_people_and_not_examples() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(12), 50)
    values = rng.normal(0, 1, 12)[people] + rng.normal(0, 0.1, 600)
    by_person = verdict.mean_interval(values, people.astype(str), 1)
    by_example = verdict.mean_interval(values, np.arange(600).astype(str), 1)
    assert by_person["value"] == pytest.approx(values.mean())
    assert np.ptp(by_person["ci95"]) > 4 * np.ptp(by_example["ci95"])
    expected = 3.92 * np.std([values[people == person].mean() for person in range(12)]) / np.sqrt(12)
    assert np.ptp(by_person["ci95"]) == pytest.approx(expected, rel=0.15)
    assert by_person["groups"] == 12
    assert verdict.mean_interval(values, np.full(600, "P1"), 1)["ci95"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("gradient", "lrp")}, "methods must be some of"),
        ({"methods": ()}, "methods must be some of"),
        ({"fractions": (0.1, 1.0)}, "rise from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense_raise_value_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MapSettings(**change)


def test_batches_that_do_not_fit_raise_value_error() -> None:
    with pytest.raises(ValueError, match="1 keys"):
        explain_batch(network(1), [], dataclasses.replace(batch(1, [0, 1]), keys=[1]), SETTINGS)
    with pytest.raises(ValueError, match="0 keys"):
        explain_batch(network(1), [], batch(1, []), SETTINGS)
