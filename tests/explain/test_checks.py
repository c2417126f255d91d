# SPDX-License-Identifier: Apache-2.0
"""The checks of maps: correlations against scipy, deletion against a loop over pixels, and nets with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from gazeray.explain.checks import (
    content,
    curve_area,
    deletion_curve,
    map_similarity,
    random_order,
    randomisation,
    randomised_copy,
)
from gazeray.explain.gradients import class_gradients
from gazeray.models.heatmap_cnn import HeatmapCNN

SIZE = (18, 20)


def network() -> HeatmapCNN:
    torch.manual_seed(0)
    model = HeatmapCNN(2, SIZE, 4, 3)
    model(torch.rand(8, 2, *SIZE))
    return model.eval()


def pictures(n: int = 4) -> Tensor:
    x = torch.rand(n, 2, *SIZE, generator=torch.Generator().manual_seed(1))
    return (x - 0.6).clamp(min=0) * 5


TARGETS = torch.tensor([2, 0, 1, 1])


class Weighted(nn.Module):
    """Two classes; the logit of class 1 is a weighted sum of the pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        logit = (x * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def test_similarity_agrees_with_scipy_and_ties_share_ranks() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-3, 4, (6, 2, 5, 7)).astype(np.float32), rng.normal(size=(6, 2, 5, 7)).astype(np.float32)
    b[0] = a[0] * 2
    flat = [
        (np.abs(one).ravel().astype(float), np.abs(two).ravel().astype(float)) for one, two in zip(a, b, strict=True)
    ]
    found = map_similarity(torch.tensor(a), torch.tensor(b))
    assert found.numpy() == pytest.approx([spearmanr(one, two).statistic for one, two in flat])


def test_sign_of_a_map_does_not_count_and_a_constant_map_has_no_similarity() -> None:
    a = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert map_similarity(a, -a).tolist() == pytest.approx([1, 1])
    assert map_similarity(a, torch.ones_like(a)).isnan().all()
    with pytest.raises(ValueError, match="must have one shape"):
        map_similarity(a, a[:1])


def test_map_that_ignores_the_weights_is_the_same_with_random_weights() -> None:
    model, x = network(), pictures()
    fresh = [randomised_copy(model, [x], seed) for seed in (1, 2)]
    same = randomisation(x, fresh, x, TARGETS, lambda net, inputs, targets: inputs)
    assert same.shape == (2, 4)
    assert same.numpy() == pytest.approx(1)
    own = class_gradients(model, x, TARGETS)
    other = randomisation(own, fresh, x, TARGETS, class_gradients)
    assert other.max() < 0.8  # the last rows and columns, which pooling drops, are 0 in both
    assert randomisation(own, [], x, TARGETS, class_gradients).shape == (0, 4)


def test_randomised_copy_has_new_weights_and_statistics_of_the_data() -> None:
    model, x = network().train(), 10 + 3 * pictures(8)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.random.get_rng_state()
    one, again, two = (randomised_copy(model, [x[:4], x[4:]], seed) for seed in (1, 1, 2))
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert model.training
    assert not any(module.training for module in one.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    weights = [net.get_parameter("layers.1.weight") for net in (model, one, two)]
    assert not torch.allclose(weights[0], weights[1])
    assert not torch.allclose(weights[1], weights[2])
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in one.state_dict().items())
    mean = one.get_buffer("layers.0.running_mean")
    assert torch.allclose(mean, x.mean(dim=(0, 2, 3)), rtol=1e-5)


def test_parameter_that_cannot_be_drawn_anew_raises_value_error() -> None:
    with pytest.raises(ValueError, match="Weighted cannot draw its parameters anew"):
        randomised_copy(Weighted(torch.ones(1, 2, 2)), [], 0)


@pytest.mark.parametrize("rows", [1, 3, 256])
def test_deletion_equals_a_loop_over_pixels(rows: int) -> None:
    model, x, fractions = network(), pictures(), [0.0, 0.013, 0.1, 0.5, 1.0]
    maps = torch.randint(-4, 5, (4, 2, *SIZE), generator=torch.Generator().manual_seed(2)).float()  # with ties
    expected = np.empty((4, 5))
    for index in range(4):
        ranked = sorted(range(360), key=lambda pixel: (-float(maps[index].sum(0).flatten()[pixel]), pixel))
        for column, share in enumerate(fractions):
            picture = x[index].clone().flatten(1)
            for pixel in ranked[: round(share * 360)]:
                picture[:, pixel] = 0.25
            with torch.no_grad():
                scores = model(picture.view(1, 2, *SIZE)).softmax(dim=1)
            expected[index, column] = scores[0, TARGETS[index]]
    found = deletion_curve(model, x, TARGETS, maps, fractions, 0.25, rows)
    assert found.numpy() == pytest.approx(expected, abs=1e-5)


def test_order_of_the_true_contributions_has_the_smallest_area() -> None:
    weights = torch.randn(1, 8, 9, generator=torch.Generator().manual_seed(3))
    model, x = Weighted(weights), torch.rand(6, 1, 8, 9, generator=torch.Generator().manual_seed(4))
    targets, fractions = torch.ones(6, dtype=torch.int64), list(np.linspace(0, 1, 21))
    orders = {"best": x * weights, "worst": -x * weights}
    orders |= {"random": random_order(x, 0, range(6)), "dwell": content(x)[:, None]}
    area = {
        name: curve_area(deletion_curve(model, x, targets, maps, fractions), fractions) for name, maps in orders.items()
    }
    for other in ("random", "dwell", "worst"):
        assert (area["best"] < area[other]).all()
    assert (area["worst"] > area["random"]).all()


def test_random_order_depends_on_seed_and_key_alone() -> None:
    x = pictures()
    noise = random_order(x, 5, [8, 1, 2, 3])
    assert noise.shape == (4, 1, *SIZE)
    assert torch.equal(noise[1:2], random_order(x[:1], 5, [1]))
    assert not torch.equal(noise, random_order(x, 6, [8, 1, 2, 3]))


def test_content_is_the_distance_from_blank() -> None:
    x = torch.tensor([[[[3.0, -1.0]], [[1.0, 1.0]]]])
    assert content(x, 1.0).tolist() == [[[2.0, 2.0]]]


def test_area_is_the_mean_probability() -> None:
    assert curve_area(torch.tensor([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]]), [0, 0.5, 1]).tolist() == [0.5, 1.0]
    for fractions in ([0, 0.5], [0.1, 1], [0, 0, 1], [1.0]):
        with pytest.raises(ValueError, match="rise from 0 to 1"):
            curve_area(torch.ones(len(fractions)), fractions)


def test_deletion_arguments_that_do_not_fit_raise_value_error() -> None:
    model, x, maps = network().train(), pictures(), torch.ones(4, 1, *SIZE)
    with pytest.raises(ValueError, match="do not fit x"):
        deletion_curve(model, x, TARGETS, maps[:2], [0, 1])
    deletion_curve(model, x, TARGETS, maps, [0, 1])
    assert model.training
