"""Kernel and embeddings of the same pairs, and what BatchNorm's statistics do to them."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sslsim.ntk.embedded_pairs import kernel_and_embeddings


def _network(batch_norm=True):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3) if batch_norm else nn.Identity()
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)
    ).eval()


def _views(n=8):
    generator = torch.Generator().manual_seed(1)
    return tuple(2 + 3 * torch.rand(2, n, 1, 6, 6, generator=generator))


def test_statistics_of_the_pairs_are_a_fixed_affine_map():
    network, views = _network(), _views()
    kernel, z = kernel_and_embeddings(network, *views, batch_norm="pairs")
    inputs = network[0](torch.cat(views)).detach()
    by_hand = copy.deepcopy(network)
    by_hand[1].running_mean.copy_(inputs.mean(dim=(0, 2, 3)))
    by_hand[1].running_var.copy_(inputs.transpose(0, 1).flatten(1).var(dim=1))
    expected = kernel_and_embeddings(by_hand, *views, batch_norm="running")
    for ours, theirs in zip((kernel, z), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    other, _ = kernel_and_embeddings(network, *views)
    assert np.abs(other - kernel).max() > 0.1 * np.abs(kernel).max()


def test_the_network_is_left_as_it_is():
    network, views = _network(), _views()
    before = copy.deepcopy(network.state_dict())
    kernel_and_embeddings(network, *views, batch_norm="pairs")
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_without_batch_norm_statistics_make_no_difference():
    network, views = _network(batch_norm=False), _views()
    running, pairs = (
        kernel_and_embeddings(network, *views, batch_norm=kind) for kind in ("running", "pairs")
    )
    for ours, theirs in zip(running, pairs, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_unknown_statistics_are_refused():
    with pytest.raises(ValueError, match="batch_norm is 'batch'; expected one of running, pairs"):
        kernel_and_embeddings(_network(), *_views(), batch_norm="batch")
