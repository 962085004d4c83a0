"""A centred network: small at the start, with the gradients of the network itself."""

import numpy as np
import pytest
import torch

from sslsim.encoders.build import build_encoder
from sslsim.encoders.centred import Centred
from sslsim.ntk import empirical_ntk
from sslsim.training.full_batch import train_full_batch


def network(seed=0):
    return build_encoder(
        "mlp", (1, 2, 3), 3, seed=seed, widths=(10,), parameterization="ntk"
    ).double()


def inputs(n=5, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 6)))


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.3, 1.0])
def test_outputs_start_scaled_to_the_last_bit(scale):
    net, x = network(), inputs()
    assert torch.equal(Centred(net, scale)(x), scale * net(x))


def test_gradients_and_kernel_are_those_of_the_network():
    net, x = network(), inputs()
    centred = Centred(net, 1e-3)
    assert [p for p in centred.parameters() if p.requires_grad] == list(net.parameters())
    weights = inputs(5, 1)[:, :3]
    own = torch.autograd.grad((net(x) * weights).sum(), list(net.parameters()))
    found = torch.autograd.grad((centred(x) * weights).sum(), list(net.parameters()))
    for one, other in zip(own, found, strict=True):
        assert torch.equal(one, other)
    for output in ("trace", "full"):
        np.testing.assert_allclose(
            empirical_ntk(centred, x, output=output), empirical_ntk(net, x, output=output), 1e-12
        )


def test_training_leaves_the_reference_as_it_was():
    net, x = network(), inputs(8)
    centred = Centred(net, 0.5)
    start = centred.reference(x)
    train_full_batch(centred, x[:4], x[4:], 1e-2, 5)
    assert torch.equal(centred.reference(x), start)
    assert torch.equal(centred(x), (net(x) - start) + 0.5 * start)
    assert not torch.equal(net(x), start)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_bad_scales_are_refused(scale):
    with pytest.raises(ValueError, match="scale is"):
        Centred(network(), scale)
