"""Coding rate: what always holds, and that both rooms agree."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslsim.coding_rate import coding_rate
from theory.coding_rate.bounds import energy_bounds, gradient_norm_bound, hadamard_bound
from theory.coding_rate.rate import coding_rate as twin
from theory.coding_rate.rate import coding_rate_gradient

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12)) | st.just((3, 40)) | st.just((40, 3))
EPS = st.floats(-3, 1).map(lambda power: 10**power)


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def bound(z, eps):
    """Rounding of the rate: 1e-16 of the matrix where that is formed, else of its square root."""
    n, d = z.shape
    energy = d / (n * eps**2) * z.square().sum().item()
    each = 2e-16 * energy if 2e-16 * energy < 1e-10 else 2e-16 * math.sqrt(energy)
    return 100 * min(n, d) * (each + 1e-16)


@pytest.mark.machine
@given(SEEDS, SHAPES, EPS, st.sampled_from([torch.float32, torch.float64]), st.booleans())
def test_both_rooms_agree(seed, shape, eps, dtype, deficient):
    z = normal(seed, *shape)
    if deficient:
        z = z[:, :1] @ normal(seed + 1, 1, shape[1])
    z = z.to(dtype)
    found = coding_rate(z, eps)
    assert found.dtype == torch.float64
    exact = twin(z.double().numpy(), eps)
    assert abs(found.item() - exact) < bound(z, eps) + 1e-13 * exact


def torch_gradient(z, eps):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(coding_rate(z, eps), z)[0]


ROOMS = pytest.mark.parametrize(
    "rate",
    [lambda z, eps: coding_rate(z, eps).item(), lambda z, eps: twin(z.numpy(), eps)],
    ids=["sslsim", "theory"],
)
GRADIENTS = pytest.mark.parametrize(
    "gradient",
    [torch_gradient, lambda z, eps: torch.from_numpy(coding_rate_gradient(z.numpy(), eps))],
    ids=["sslsim", "theory"],
)


@ROOMS
@given(SEEDS, SHAPES, st.floats(-1, 1).map(lambda power: 10**power))
def test_sum_over_singular_values_and_determinants_of_both_sides(rate, seed, shape, eps):
    n, d = shape
    z = normal(seed, n, d)
    a, close = d / (n * eps**2), 2 * bound(z, eps) + 1e-12
    sigma = np.linalg.svd(z.numpy())[1]
    found = rate(z, eps)
    assert abs(found - 0.5 * np.log1p(a * sigma**2).sum()) < close * (1 + found)
    for gram in (z.T @ z, z @ z.T):
        exact = 0.5 * np.linalg.slogdet(np.eye(len(gram)) + a * gram.numpy())[1]
        assert abs(found - exact) < (close + 1e-14 * a * z.square().sum().item()) * (1 + found)


@ROOMS
@given(SEEDS, SHAPES, EPS)
def test_rotation_permutation_transposition_scale_and_duplication(rate, seed, shape, eps):
    n, d = shape
    z = normal(seed, n, d)
    exact, close = rate(z, eps), 2 * bound(z, eps) + 1e-12
    left, right = (torch.linalg.qr(normal(seed + k, k, k)).Q for k in (n, d))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    same = [
        rate(left @ z @ right, eps),
        rate(z[order], eps),
        rate(3 * z, 3 * eps),
        rate(torch.cat([z, z]), eps),
        rate(z.T, eps * n / d),  # on the other side d and n change places, so eps grows by d / n
        # Dimensions of zeros are noticed, as d enters the distortion of each.
        rate(torch.cat([z, 0 * z], dim=1), math.sqrt(2) * eps),
    ]
    assert max(abs(found - exact) for found in same) < close * (1 + exact)
    assert rate(torch.cat([z, 0 * z], dim=1), eps) > exact


@ROOMS
@given(SEEDS, SHAPES, EPS)
def test_between_one_direction_and_all_alike(rate, seed, shape, eps):
    n, d = shape
    z = normal(seed, n, d)
    a, energy, q = d / (n * eps**2), z.square().sum().item(), min(n, d)
    found, close = rate(z, eps), bound(z, eps) + 1e-12
    low, high = energy_bounds(energy, n, d, eps)
    assert low <= found + close * (1 + found)
    assert found <= high + close * (1 + found)
    assert high <= a * energy / 2 * (1 + 1e-15)
    one = math.sqrt(energy) * torch.outer(unit(z[:, 0]), unit(z[0]))
    assert abs(rate(one, eps) - low) < (bound(one, eps) + 1e-12) * (1 + low)
    alike = torch.linalg.qr(normal(seed, max(n, d), q)).Q * math.sqrt(energy / q)
    alike = alike if n >= d else alike.T
    assert abs(rate(alike, eps) - high) < (bound(alike, eps) + 1e-12) * (1 + high)
    assert rate(0 * z, eps) == 0
    assert found > 0 or a * energy < 1e-12


def unit(vector):
    return vector / vector.norm()


@ROOMS
@given(SEEDS, SHAPES, EPS)
def test_hadamard_reached_by_orthogonal_samples_or_dimensions(rate, seed, shape, eps):
    n, d = shape
    z = normal(seed, n, d)
    found, close = rate(z, eps), bound(z, eps) + 1e-12
    a, least = d / (n * eps**2), hadamard_bound(z.numpy(), eps)
    for axis in (0, 1):
        assert least <= 0.5 * torch.log1p(a * z.square().sum(dim=axis)).sum() * (1 + 1e-12)
    assert found <= least + close * (1 + found)
    orthogonal = torch.linalg.qr(normal(seed, max(n, d), min(n, d))).Q * z[0, 0]
    orthogonal *= torch.arange(1, min(n, d) + 1)
    for these in (orthogonal, orthogonal.T):
        reached = hadamard_bound(these.numpy(), eps)
        assert abs(rate(these, eps) - reached) < (bound(these, eps) + 1e-12) * (1 + reached)


@ROOMS
@given(SEEDS, SHAPES, EPS, st.floats(0.1, 0.9))
def test_monotone_and_concave_in_the_second_moment(rate, seed, shape, eps, share):
    n, d = shape
    z, other = normal(seed, n, d), normal(seed + 1, n, d)
    # Stacked, second moments add, and rows of twice the number have twice the eps^2.
    more, twice = torch.cat([z, other]), eps / math.sqrt(2)
    zero = torch.cat([z, 0 * z])
    close = (bound(more, twice) + 1e-12) * (1 + rate(more, twice))
    assert abs(rate(zero, twice) - rate(z, eps)) < close
    assert rate(more, twice) >= rate(zero, twice) - close
    mixed = torch.cat([math.sqrt(share) * z, math.sqrt(1 - share) * other])
    mean = share * rate(z, eps) + (1 - share) * rate(other, eps)
    assert rate(mixed, twice) >= mean - close
    if n >= d:  # of full rank: bounded below by the curvature, hence strictly concave
        c, moments = d / eps**2, [z.T @ z / n, other.T @ other / n]
        largest = max(torch.linalg.matrix_norm(moment, 2).item() for moment in moments)
        apart = (moments[0] - moments[1]).square().sum().item()
        least = 0.25 * share * (1 - share) * c**2 * apart / (1 + c * largest) ** 2
        assert rate(mixed, twice) - mean >= least - close


@ROOMS
@given(SEEDS, st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)), EPS)
def test_sub_additive_over_groups_additive_iff_orthogonal(rate, seed, sizes, eps):
    n, m, d = sizes
    first, second = normal(seed, n, d), normal(seed + 1, m, d)

    def at_fixed_a(z):  # a = d / ((n + m) eps^2) for every one of them
        return rate(z, eps * math.sqrt((n + m) / len(z)))

    both = torch.cat([first, second])
    close = 3 * (bound(both, eps) + 1e-12) * (1 + rate(both, eps))
    gap = at_fixed_a(first) + at_fixed_a(second) - at_fixed_a(both)
    assert gap >= -close
    apart = torch.cat([torch.cat([first, 0 * first], 1), torch.cat([0 * second, second], 1)])
    eps *= math.sqrt(2)  # as there are twice the dimensions
    parts = [torch.cat([z, 0 * z], 1) for z in (first, second)]
    gap = sum(map(at_fixed_a, parts)) - at_fixed_a(apart)
    assert abs(gap) < close


@GRADIENTS
@given(SEEDS, SHAPES, EPS)
def test_gradient_is_bounded_and_reaches_its_bound(gradient, seed, shape, eps):
    n, d = shape
    z = normal(seed, n, d)
    a, most = d / (n * eps**2), gradient_norm_bound(n, d, eps)
    found = gradient(z, eps)
    # a Z (I + a Z^T Z)^-1 is solved for, in a matrix of that condition.
    condition = 1 + a * torch.linalg.matrix_norm(z, 2).item() ** 2
    exact = a * torch.linalg.solve(torch.eye(d) + a * z.T @ z, z.T).T
    assert (found - exact).abs().max() < 1e-14 * condition * most
    assert torch.linalg.matrix_norm(found, 2) <= most * (1 + 1e-9)
    reaching = torch.outer(unit(z[:, 0]), unit(z[0])) / math.sqrt(a)
    norm = torch.linalg.matrix_norm(gradient(reaching, eps), 2).item()
    assert abs(norm - most) < 1e-9 * most


@pytest.mark.parametrize("shape", [(6, 4), (3, 5), (1, 1)])
@pytest.mark.parametrize("eps", [0.5, 1e-4])
def test_gradients_of_both_routes_and_orders(shape, eps):
    z = normal(0, *shape)
    if eps < 0.1:  # so ill-conditioned that finite differences fail: compare with a Z (I + ..)^-1
        n, d = shape
        z.requires_grad_()
        (found,) = torch.autograd.grad(coding_rate(z, eps), z)
        u, s, v = torch.linalg.svd(z.detach(), full_matrices=False)
        a = d / (n * eps**2)
        exact = (u * (a * s / (1 + a * s**2))) @ v
        torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-8)
    else:
        z.requires_grad_()
        assert torch.autograd.gradcheck(lambda x: coding_rate(x, eps), (z,))
        assert torch.autograd.gradgradcheck(lambda x: coding_rate(x, eps), (z,))


def test_second_derivative_where_the_factor_is_taken_by_qr():
    """For one number R = 1/2 log(1 + (z / eps)^2)."""
    z, eps = torch.tensor([[1.0]], dtype=torch.float64, requires_grad=True), 1e-6
    (first,) = torch.autograd.grad(coding_rate(z, eps), z, create_graph=True)
    (second,) = torch.autograd.grad(first, z)
    assert abs(first.item() - 1) < 1e-9
    assert abs(second.item() + 1) < 1e-9


@pytest.mark.parametrize(("n", "d"), [(256, 64), (64, 256), (128, 128)])
def test_rank_deficient_float32_at_a_tiny_eps(n, d):
    z = (normal(0, n, 8) @ normal(1, 8, d)).float()
    z = torch.nn.functional.normalize(z, dim=1)
    found, exact = coding_rate(z, 1e-6).item(), twin(z.double().numpy(), 1e-6)
    assert abs(found - exact) < 1e-7 * exact


@pytest.mark.machine
def test_both_routes_meet_where_one_takes_over():
    z = torch.linalg.qr(normal(0, 30, 5)).Q * math.sqrt(30 / 5)  # unit singular values, a scaled
    for energy in (4.4e5, 4.6e5):  # either side of 1e-10 / machine epsilon
        eps = math.sqrt(5 / 30 * 30 / energy)
        exact = 2.5 * math.log1p(energy / 5)
        assert abs(coding_rate(z, eps).item() - exact) < 1e-9


@pytest.mark.parametrize("rate", [coding_rate, twin])
@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan, math.inf])
def test_unfit_eps_is_refused(rate, eps):
    with pytest.raises(ValueError, match="eps is"):
        rate(torch.ones(2, 2), eps)


@pytest.mark.parametrize("rate", [coding_rate, twin])
def test_unfit_embeddings_are_refused(rate):
    with pytest.raises(ValueError, match="NaN"):
        rate(torch.tensor([[1.0, math.nan]]), 1.0)
    with pytest.raises(ValueError, match="z has shape"):
        rate(torch.ones(3), 1.0)
    with pytest.raises(ValueError, match="at least"):
        rate(torch.ones(0, 3), 1.0)
