"""Muon: the polar factor against an SVD, its steps against a literal transcription and torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sslsim.training.muon import Muon, polar_factor
from sslsim.training.optimizers import make_optimizer


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def planted(rows, columns, values, seed, dtype):
    """A matrix of given singular values, and its polar factor."""
    draws = np.random.default_rng(seed)
    left = np.linalg.qr(draws.standard_normal((rows, len(values))))[0]
    right = np.linalg.qr(draws.standard_normal((columns, len(values))))[0]
    return torch.tensor((left * values) @ right.T, dtype=dtype), left @ right.T


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.floats(0.0, 2.0),
    st.floats(-12.0, 12.0),
    st.integers(0, 10),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_the_polar_factor_is_that_of_the_svd(rows, columns, decades, scale, seed, dtype):
    values = np.logspace(0, -decades, min(rows, columns)) * 10.0**scale
    matrix, expected = planted(rows, columns, values, seed, dtype)
    # The iteration itself leaves 1e-5; the Gram matrix squares the condition number.
    tolerance = 1e-5 + 100 * torch.finfo(dtype).eps * 10 ** (2 * decades)
    assert np.abs(polar_factor(matrix).double().numpy() - expected).max() < tolerance


def test_small_singular_values_rise_and_none_goes_beyond_one():
    values = np.logspace(0, -6, 13)
    matrix, _ = planted(13, 40, values, 0, torch.float64)
    found = torch.linalg.svdvals(polar_factor(matrix))
    assert bool((found < 1 + 1e-6).all())
    assert (found[:7] - 1).abs().max() < 1e-2  # 1e-3 of the largest
    assert found[-1] < 0.1


def test_no_gradient_is_no_step():
    assert polar_factor(torch.zeros(3, 5)).abs().max() == 0


@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.float32, 1e-30), (torch.bfloat16, 1.0), (torch.float16, 1e-4)]
)
def test_small_numbers_and_short_ones_have_a_polar_factor(dtype, scale):
    matrix = (scale * torch.randn(8, 20, generator=generator())).to(dtype)
    found = polar_factor(matrix)
    assert found.dtype is dtype
    expected = polar_factor(matrix.double() / scale)
    assert (found.double() - expected).abs().max() < 4 * torch.finfo(dtype).eps + 1e-4


@given(st.integers(0, 20))
def test_rotations_of_both_sides_rotate_the_polar_factor(seed):
    draws = np.random.default_rng(seed)
    left, right = (torch.tensor(np.linalg.qr(draws.standard_normal((n, n)))[0]) for n in (4, 7))
    matrix = torch.tensor(draws.standard_normal((4, 7)))
    rotated = polar_factor(left @ matrix @ right)
    assert (rotated - left @ polar_factor(matrix) @ right).abs().max() < 1e-9


def test_a_step_is_its_definition():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(6, 9)).double()
    weights = [p.detach().clone() for p in net.parameters()]
    buffers = [torch.zeros_like(w) for w in weights]
    optimizer = make_optimizer("muon", net, 0.1, momentum=0.8, weight_decay=0.02)
    for step in range(5):
        for k, p in enumerate(net.parameters()):
            p.grad = torch.randn(p.shape, generator=generator(step), dtype=p.dtype)
            buffers[k] = 0.8 * buffers[k] + p.grad
            change = buffers[k]
            if p.ndim > 1:
                ahead = (p.grad + 0.8 * buffers[k]).reshape(len(p), -1)
                u, _, v = torch.linalg.svd(ahead, full_matrices=False)
                change = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5 * (u @ v)
                weights[k] = weights[k] * (1 - 0.1 * 0.02)
            weights[k] = weights[k] - 0.1 * change.reshape(p.shape)
        optimizer.step()
    for found, expected in zip(net.parameters(), weights, strict=True):
        assert (found - expected).abs().max() < 1e-4 * 5 * 0.1


def test_matrices_step_as_torch_s_muon_with_a_longer_iteration():
    ours, theirs = (nn.Parameter(torch.randn(5, 8, generator=generator())) for _ in range(2))
    first = Muon([ours], lr=0.1, momentum=0.9)
    # As many iterations as bfloat16 allows, by the polynomial that converges.
    second = torch.optim.Muon(
        [theirs], lr=0.1, momentum=0.9, weight_decay=0.0,
        ns_coefficients=(1.875, -1.25, 0.375), ns_steps=20,
    )  # fmt: skip
    for step in range(4):
        ours.grad = torch.randn(5, 8, generator=generator(10 + step))
        theirs.grad = ours.grad.clone()
        first.step()
        second.step()
    # bfloat16 has 8 bits: the steps of 0.1 agree to a few of them.
    assert (ours - theirs).abs().max() < 4 * 0.1 * 2**-5
    assert (ours - torch.randn(5, 8, generator=generator())).abs().max() > 0.05


def test_single_rows_and_vectors_step_by_plain_momentum():
    net = nn.Module()
    net.row, net.vector = (nn.Parameter(torch.ones(shape)) for shape in ((1, 4), (4,)))
    optimizer = make_optimizer("muon", net, 0.1, momentum=0.5, weight_decay=0.3)
    for p in (net.row, net.vector):
        p.grad = torch.full(p.shape, 2.0)
    for _ in range(2):
        optimizer.step()
    for p in (net.row, net.vector):
        assert (p - (1 - 0.1 * (2 + 3))).abs().max() < 1e-6


def test_memory_formats_do_not_matter():
    draws = torch.randn(2, 6, 4, 3, 3, generator=generator())
    found = []
    for form in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(draws[0].clone().contiguous(memory_format=form))
        weight.grad = draws[1].clone().contiguous(memory_format=form)
        Muon([weight], lr=0.1).step()
        found.append(weight.detach())
    assert torch.allclose(*found, atol=1e-6)


def test_more_dimensions_than_two_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\); expected two dimensions"):
        polar_factor(torch.zeros(2, 2, 2))
