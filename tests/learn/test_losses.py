# SPDX-License-Identifier: Apache-2.0
"""Losses beside plain loops and torch's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from gazeray.learn.losses import LOSSES, focal_loss, published_focal_loss

LEVELS = 5
WEIGHTS = torch.tensor([0.2, 1.0, 0.0, 3.0, 1.5])


def examples(count: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels; some labels are not known."""
    torch.manual_seed(seed)
    labels = torch.randint(0, LEVELS, (count,))
    labels[::7] = -1
    return torch.randn(count, LEVELS, dtype=torch.float64) * 2, labels


def looped(
    logits: Tensor, labels: Tensor, gamma: float, weights: Sequence[float], smoothing: float, form: str
) -> float:
    """The loss by plain arithmetic, example by example."""
    total = norm = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label < 0:
            continue
        p = [math.exp(value) / sum(math.exp(other) for other in row) for value in row]
        target = [smoothing / len(p) + (1 - smoothing) * (k == label) for k in range(len(p))]
        if form == "focal":
            total += sum(weights[k] * target[k] * (1 - p[k]) ** gamma * -math.log(p[k]) for k in range(len(p)))
            norm += weights[label]
        else:
            ce = sum(weights[k] * target[k] * -math.log(p[k]) for k in range(len(p)))
            total += (1 - math.exp(-ce)) ** gamma * ce
            norm += 1
    return total / norm


@pytest.mark.parametrize("form", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
def test_losses_are_those_of_a_plain_loop(form: str, gamma: float, smoothing: float, weights: Tensor | None) -> None:
    logits, labels = examples()
    found = LOSSES[form](log_softmax(logits, dim=1), labels, gamma, weights, smoothing)
    plain = [1.0] * LEVELS if weights is None else weights.tolist()
    assert float(found) == pytest.approx(looped(logits, labels, gamma, plain, smoothing, form), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS.double()], ids=["alike", "weighted"])
def test_gamma_0_is_cross_entropy(smoothing: float, weights: Tensor | None) -> None:
    logits, labels = examples()
    theirs = cross_entropy(logits, labels, weights, ignore_index=-1, label_smoothing=smoothing)
    torch.testing.assert_close(focal_loss(log_softmax(logits, dim=1), labels, 0, weights, smoothing), theirs)


def test_published_form_is_what_the_published_code_computes() -> None:
    """Weighted cross-entropy with one-hot float targets, pt = exp(-ce), mean((1 - pt)^3 ce)."""
    logits, labels = examples()
    labels = labels.clamp_min(0)
    ce = cross_entropy(logits, torch.eye(LEVELS, dtype=torch.float64)[labels], WEIGHTS.double(), reduction="none")
    theirs = ((1 - torch.exp(-ce)) ** 3 * ce).mean()
    torch.testing.assert_close(published_focal_loss(log_softmax(logits, dim=1), labels, 3, WEIGHTS), theirs)


def test_the_two_forms_differ_where_a_class_has_a_weight_and_only_there() -> None:
    logits, labels = examples()
    log_p = log_softmax(logits, dim=1)
    torch.testing.assert_close(focal_loss(log_p, labels, 2), published_focal_loss(log_p, labels, 2))
    one = torch.full((LEVELS,), 3.0)
    assert float(focal_loss(log_p, labels, 2, one)) == pytest.approx(float(focal_loss(log_p, labels, 2)))
    assert float(published_focal_loss(log_p, labels, 2, one)) > 3 * float(focal_loss(log_p, labels, 2, one))


@pytest.mark.parametrize("form", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_batch_without_a_known_label_costs_nothing_and_moves_nothing(form: str, gamma: float) -> None:
    logits, labels = examples()
    logits.requires_grad_()
    loss = LOSSES[form](log_softmax(logits, dim=1), torch.full_like(labels, -1), gamma, WEIGHTS, 0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("form", LOSSES)
def test_examples_with_unknown_labels_change_nothing(form: str) -> None:
    logits, labels = examples()
    known, log_p = labels >= 0, log_softmax(logits, dim=1)
    whole = LOSSES[form](log_p, labels, 2, WEIGHTS)
    torch.testing.assert_close(whole, LOSSES[form](log_p[known], labels[known], 2, WEIGHTS))


@pytest.mark.parametrize("form", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_gradients_are_finite_however_sure_the_model_is(form: str, gamma: float) -> None:
    logits = torch.tensor([[100.0, 0, 0], [0, 100, 0], [-100, 0, 100], [0, 0, 0]], requires_grad=True)
    labels = torch.tensor([0, 0, 2, 1])
    weights = torch.tensor([1.0, 0.0, 2.0])
    LOSSES[form](log_softmax(logits, dim=1), labels, gamma, weights, 0.1).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_larger_gamma_looks_less_at_what_is_sure() -> None:
    sure, unsure = log_softmax(torch.tensor([[3.0, 0.0]]), 1), log_softmax(torch.tensor([[0.1, 0.0]]), 1)
    label = torch.tensor([0])
    shares = [float(focal_loss(sure, label, gamma) / focal_loss(unsure, label, gamma)) for gamma in (0, 1, 2, 4)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 10 * shares[2]
