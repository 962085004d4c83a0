"""Sketched tangent kernels: their mean, their error and its decay."""

import pytest
import torch
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.encoders.build import build_encoder
from sslsim.encoders.vit import VisionTransformer
from sslsim.ntk import empirical_ntk, sketched_ntk


def inputs(n, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.slow
def test_the_error_falls_as_one_over_the_root_of_the_directions():
    encoder = build_encoder("convnet", (1, 6, 6), 3, seed=0, widths=(4, 5)).double().eval()
    x = inputs(5, 1, 6, 6)
    exact = empirical_ntk(encoder, x)
    spread = {}
    for k in (8, 72):
        runs = [sketched_ntk(encoder, x, sketch=k, seed=seed) for seed in range(12)]
        errors = torch.stack([run.kernel - exact for run in runs])
        stated = torch.stack([run.standard_error for run in runs]).square().mean(0).sqrt()
        found = errors.square().mean(0).sqrt()
        # 12 runs give a standard deviation to a fifth.
        assert abs(found.mean() / stated.mean() - 1) < 0.5
        bound = (2 * exact.diagonal()[:, None] * exact.diagonal() / k).sqrt()
        assert (stated < 1.3 * bound).all()
        spread[k] = float(stated.mean())
    assert abs(spread[8] / spread[72] - 3) < 0.4


@pytest.mark.slow
def test_the_error_of_one_output_is_known():
    layer, x, k = nn.Linear(3, 1, bias=False).double(), inputs(4, 3), 1000
    exact = x @ x.T
    found = sketched_ntk(layer, x, sketch=k, seed=1)
    squares = exact.diagonal()[:, None] * exact.diagonal() + exact**2
    error = (squares / k).sqrt()
    assert ((found.kernel - exact).abs() < 4 * error).all()
    # The standard deviation of products of normal numbers, from 1000 of them, errs by 10 %.
    assert (found.standard_error / error - 1).abs().max() < 0.3


@pytest.mark.slow
@pytest.mark.machine
def test_two_sets_batches_frozen_parameters_and_the_seed():
    with seeded(0):
        module = VisionTransformer((1, 8, 8), 8, 1, 2, class_token=True).double().eval()
    module.embedding.weight.requires_grad_(False)
    x, other = inputs(3, 1, 8, 8), inputs(2, 1, 8, 8, seed=3)
    exact = empirical_ntk(module, x, other)
    found = sketched_ntk(module, x, other, sketch=60, seed=0)
    assert found.kernel.shape == exact.shape
    assert ((found.kernel - exact).abs() < 4 * found.standard_error).all()
    again = sketched_ntk(module, x, other, sketch=60, seed=0, batch_size=2)
    assert (again.kernel - found.kernel).abs().max() < 1e-12 * exact.abs().max()
    whole = sketched_ntk(module, x, sketch=2, seed=0).kernel
    assert torch.equal(whole, whole.T)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sketch": 1}, "sketch is 1; expected 2 directions or more"),
        ({"sketch": 0}, "sketch is 0; expected a whole number above zero"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"x1": torch.zeros(0, 2)}, r"x1 has shape \(0, 2\)"),
        ({"module": nn.BatchNorm1d(2)}, "BatchNorm1d is in training mode"),
    ],
)
def test_unfit_arguments_are_refused(change, message):
    arguments = {"module": nn.Linear(2, 2), "x1": torch.zeros(3, 2), "sketch": 4, "seed": 0}
    with pytest.raises(ValueError, match=message):
        sketched_ntk(**arguments | change)


def test_the_error_is_that_of_the_mean_of_few_directions():
    """Two and three directions, where a divisor of k instead of k - 1 shows."""
    layer, x = nn.Linear(2, 3, bias=False).double(), torch.tensor([[1.0, 2.0], [0.5, -1.0]])
    x = x.double()
    for count in (2, 3):
        generator = torch.Generator().manual_seed(7)
        singles = []
        for _ in range(count):
            change = x @ torch.randn(3, 2, generator=generator, dtype=torch.float64).T
            singles.append(change @ change.T)
        drawn = torch.stack(singles)
        found = sketched_ntk(layer, x, sketch=count, seed=7)
        torch.testing.assert_close(found.kernel, drawn.mean(0), rtol=1e-12, atol=1e-12)
        expected = drawn.std(0, correction=1) / count**0.5
        torch.testing.assert_close(found.standard_error, expected, rtol=1e-9, atol=1e-12)
