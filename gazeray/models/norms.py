# SPDX-License-Identifier: Apache-2.0
"""Batch normalisations that take the statistics of what they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def measured_norms(network: nn.Module) -> Iterator[bool]:
    """While it lasts, running statistics become a plain mean over the batches that go through, without gradients.

    Everything else of the network is in eval mode, and so are the normalisations afterwards. Yields whether there are
    any.
    """
    norms = [module for module in network.eval().modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        yield bool(norms)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@contextmanager
def settled_norms(network: nn.Module) -> Iterator[None]:
    """While it lasts, batch normalisations of a network in training go by their running statistics and leave them as
    they are: of a batch of one example there are none of its own."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    training = [norm.training for norm in norms]
    for norm in norms:
        norm.eval()
    yield
    for norm, mode in zip(norms, training, strict=True):
        norm.train(mode)
