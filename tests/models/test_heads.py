# SPDX-License-Identifier: Apache-2.0
"""Heads: log-probabilities of classes and of ordered levels."""

from __future__ import annotations

import pytest
import torch

from gazeray.models.heads import ClassHead, OrdinalHead, cumulative_log_probabilities


def test_levels_are_differences_of_the_published_cumulative_odds() -> None:
    """P(level > k) = 1 / (1 + exp(-(f - t_k))), by plain subtraction in float64."""
    position, thresholds = torch.randn(20, 1, dtype=torch.float64), torch.tensor([-2.0, -0.5, 0.1, 3.0]).double()
    above = 1 / (1 + torch.exp(thresholds - position))
    edges = torch.cat([torch.ones(20, 1), above, torch.zeros(20, 1)], dim=1)
    found = cumulative_log_probabilities(position - thresholds).exp()
    torch.testing.assert_close(found, edges[:, :-1] - edges[:, 1:])
    torch.testing.assert_close(found.sum(dim=1), torch.ones(20, dtype=torch.float64))


@pytest.mark.parametrize("far", [-500.0, 500.0])
def test_levels_far_away_keep_finite_log_probabilities_and_gradients(far: float) -> None:
    cumulative = (far - torch.tensor([[-1.0, 0.0, 1.0]])).requires_grad_()
    found = cumulative_log_probabilities(cumulative)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(found).all()
    assert cumulative.grad is not None
    assert torch.isfinite(cumulative.grad).all()
    assert int(found.argmax()) == (3 if far > 0 else 0)


@pytest.mark.parametrize("levels", [2, 3, 7])
def test_a_fresh_ordinal_head_finds_all_levels_alike_where_its_number_is_0(levels: int) -> None:
    found = OrdinalHead(4, levels)(torch.zeros(1, 4)).exp()
    torch.testing.assert_close(found, torch.full((1, levels), 1 / levels), atol=1e-5, rtol=0)


def test_thresholds_rise_whatever_is_learned() -> None:
    """Gaps as small as they get: no level vanishes, and the expected level rises with the number."""
    head = OrdinalHead(1, 5)
    with torch.no_grad():
        head.gaps.fill_(-1e6)
        head.position.weight.fill_(1.0)
    found = head(torch.linspace(-5, 5, 50)[:, None])
    assert torch.isfinite(found).all()
    expected = found.exp() @ torch.arange(5.0)
    assert (expected.diff() > 0).all()


def test_odds_are_proportional() -> None:
    """A step of the number multiplies the odds of every threshold by the same."""
    head = OrdinalHead(1, 4)
    with torch.no_grad():
        head.position.weight.fill_(1.0)
    p = head(torch.tensor([[0.0], [0.7]])).exp().double()
    above = p.flip(1).cumsum(1).flip(1)[:, 1:]
    odds = torch.logit(above)
    torch.testing.assert_close(odds[1] - odds[0], torch.full((3,), 0.7, dtype=torch.float64), atol=1e-5, rtol=1e-4)


def test_the_class_head_is_a_softmax() -> None:
    head, x = ClassHead(3, 4), torch.randn(5, 3)
    torch.testing.assert_close(head(x), torch.log_softmax(head.logits(x), dim=1))


@pytest.mark.parametrize("kind", [ClassHead, OrdinalHead])
def test_log_probabilities_are_float32_under_autocast(kind: type[ClassHead] | type[OrdinalHead]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert kind(3, 4)(torch.randn(5, 3)).dtype == torch.float32
